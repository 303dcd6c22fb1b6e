//! A larger disk of a finished one.
//!
//! In: a raw disk and a size. Out: the same disk with that size: the backup of a GPT stands at its new end, partitions and
//! content are as they were. Never makes a disk smaller.

use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{gpt, mbr};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::plan::Uuid;

/// Makes the disk in `path` as large as `size`, a whole number of sectors. 65 where it is larger already, or where its
/// table is none that this program wrote.
pub fn grow(path: &Path, size: Bytes) -> Result<()> {
    let what = || format!("resize {}", path.display());
    let refuse = |why: String| Err(Error::cannot(Exit::Description, what()).because(why));
    let disk = file::open_for_update(path)?;
    let old = Bytes(disk.metadata().or_cannot(what)?.len());
    if size < old || !size.0.is_multiple_of(512) {
        return refuse(format!("it has {} bytes: {} are fewer, or no whole sectors", old.0, size.0));
    }
    if size == old {
        return Ok(());
    }
    let mut head = vec![0; gpt::HEAD.0 as usize];
    disk.read_exact_at(&mut head, 0).or_cannot(what)?;
    let is_gpt = head[512..].starts_with(b"EFI PART");
    if is_gpt && head[512..1024] != gpt::header_of(old, disk_id(&head), &head[1024..])[..] {
        return refuse("its GPT is not one of ingot's".into());
    }
    disk.set_len(size.0).or_cannot(what)?;
    if is_gpt {
        let ends = gpt::ends(size, disk_id(&head), &head[1024..], &mbr::protective_record(&head[..440], size)?);
        let write = || -> std::io::Result<()> {
            // The old backup is nothing any more.
            disk.write_all_at(&vec![0; gpt::TAIL.0 as usize], (old - gpt::TAIL).0)?;
            disk.write_all_at(&ends.tail, (size - gpt::TAIL).0)?;
            disk.write_all_at(&ends.head, 0)?;
            disk.sync_all()
        };
        write().or_cannot(what)?;
    }
    Ok(())
}

/// The disk's own GUID in the primary header.
fn disk_id(head: &[u8]) -> Uuid {
    let mut id = [0; 16];
    id.copy_from_slice(&head[512 + 56..512 + 72]);
    Uuid(Uuid(id).to_gpt())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::disk::gpt::{Attributes, GptPartition, kind};
    use std::fs;

    #[test]
    fn a_grown_disk_is_the_one_that_would_have_been_written_so_large() {
        let partition = GptPartition {
            number: 1,
            kind: kind::LINUX,
            uuid: Uuid([7; 16]),
            start: Bytes::mib(1),
            size: Bytes::mib(2),
            name: "p.lxroot".into(),
            attributes: Attributes::default(),
        };
        let disk = |size: Bytes| {
            let ends = gpt::write(size, Uuid([3; 16]), std::slice::from_ref(&partition), &[0x90; 440]).unwrap();
            let mut bytes = vec![0; size.0 as usize];
            bytes[..ends.head.len()].copy_from_slice(&ends.head);
            let tail = bytes.len() - ends.tail.len();
            bytes[tail..].copy_from_slice(&ends.tail);
            bytes[1 << 20] = 0xaa;
            bytes
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        fs::write(&path, disk(Bytes::mib(4))).unwrap();
        grow(&path, Bytes::mib(9)).unwrap();
        assert!(fs::read(&path).unwrap() == disk(Bytes::mib(9)));
        assert_eq!(grow(&path, Bytes::mib(8)).unwrap_err().exit(), Exit::Description);
        let mut foreign = disk(Bytes::mib(4));
        foreign[512 + 40] = 77;
        fs::write(&path, &foreign).unwrap();
        assert_eq!(grow(&path, Bytes::mib(9)).unwrap_err().exit(), Exit::Description);
        assert!(fs::read(&path).unwrap() == foreign);
        // An MBR needs no end of the disk.
        fs::write(&path, vec![0; 1 << 20]).unwrap();
        grow(&path, Bytes::mib(2)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 2 << 20);
    }
}
