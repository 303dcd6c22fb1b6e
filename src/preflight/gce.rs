//! The archive that Google takes: a tar.gz with one member, disk.raw.
//!
//! In: such an archive. Out: the disk in it, as a sparse file without a name. Never believes where its holes are: the reader
//! of archives checks that they fit.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::host::untar::{Members, decompressed};

/// The disk in Google's archive as a sparse file without a name.
pub(super) fn from_archive(path: &Path, work_dir: &Path) -> Result<File> {
    let damaged = |error: io::Error| Error::cannot(Exit::Description, "read the archive").because(error);
    let mut members = Members::new(decompressed(file::open(path)?)?);
    let member = members.next_member().map_err(damaged)?;
    let Some(member) = member.filter(|member| member.name.ends_with(b"disk.raw")) else {
        return Err(damaged(io::Error::other("its first member is not disk.raw")));
    };
    let disk = file::anonymous(work_dir)?;
    let length = member.size;
    let segments = member.segments.unwrap_or_else(|| vec![(0, length)]);
    let end = segments.iter().map(|(offset, length)| offset.saturating_add(*length)).max().unwrap_or(0);
    disk.set_len(length.max(end)).or_cannot(|| "make room for the disk")?;
    let mut buffer = vec![0; 1 << 20];
    for (offset, length) in segments {
        let mut at = 0;
        while at < length {
            let piece = &mut buffer[..(length - at).min(1 << 20) as usize];
            members.read_exact(piece).map_err(damaged)?;
            if piece.iter().any(|byte| *byte != 0) {
                disk.write_all_at(piece, offset + at).or_cannot(|| "unpack the disk")?;
            }
            at += piece.len() as u64;
        }
    }
    if members.next_member().map_err(damaged)?.is_some() {
        return Err(damaged(io::Error::other("it has another member beside disk.raw")));
    }
    Ok(disk)
}
