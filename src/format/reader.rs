//! A disk image opened for reading, whatever its format.
//!
//! In: a file, recognised by its content. Out: the virtual disk's bytes, with random access and without its holes. Never
//! follows a reference from an image to another file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::qcow2;
use crate::bytes::Bytes;
use crate::error::{OrCannot, Result};
use crate::host;

/// A disk image opened for reading, whatever its format: the virtual disk's bytes, with random access.
pub enum DiskReader {
    /// A raw disk.
    Raw(File),
    /// A qcow2 image.
    Qcow2(Box<qcow2::Reader>),
}

/// Opens a raw or qcow2 disk by its content. 65 where the image is damaged or refers to other files.
pub fn open(path: &Path) -> Result<DiskReader> {
    let mut file = host::file::open(path)?;
    let mut magic = [0; 4];
    let read = file.read(&mut magic).or_cannot(|| format!("read {}", path.display()))?;
    if read == 4 && magic == qcow2::MAGIC {
        let reader = qcow2::Reader::open(file);
        return Ok(DiskReader::Qcow2(Box::new(
            reader.map_err(|error| error.within(format!("read {}", path.display())))?,
        )));
    }
    file.rewind().or_cannot(|| format!("read {}", path.display()))?;
    Ok(DiskReader::Raw(file))
}

impl DiskReader {
    /// Size of the virtual disk.
    pub fn size(&self) -> io::Result<Bytes> {
        match self {
            DiskReader::Raw(file) => file.metadata().map(|metadata| Bytes(metadata.len())),
            DiskReader::Qcow2(reader) => Ok(reader.size()),
        }
    }

    /// Writes the virtual disk to `target`, a new file, its holes left as holes. What the loop device wants.
    pub fn expand(&mut self, target: &File) -> Result<()> {
        let size = self.size().or_cannot(|| "read the disk")?.0;
        target.set_len(size).or_cannot(|| "make room for the disk")?;
        let mut buffer = vec![0; 1 << 20];
        let mut write = |reader: &mut DiskReader, range: Range<u64>| {
            reader.seek(SeekFrom::Start(range.start))?;
            let mut at = range.start;
            while at < range.end {
                let length = (range.end - at).min(buffer.len() as u64) as usize;
                reader.read_exact(&mut buffer[..length])?;
                write_sparse(target, &buffer[..length], at)?;
                at += length as u64;
            }
            Ok::<_, io::Error>(())
        };
        if let DiskReader::Raw(file) = self {
            let ranges = host::file::data_ranges(file)?;
            return ranges.into_iter().try_for_each(|range| write(self, range)).or_cannot(|| "copy the disk");
        }
        let mut at = 0;
        while let DiskReader::Qcow2(reader) = self {
            let Some(range) = reader.next_data(at).or_cannot(|| "read the disk")? else { break };
            at = range.end;
            write(self, range).or_cannot(|| "copy the disk")?;
        }
        Ok(())
    }

    /// `raw` or `qcow2`.
    pub fn format(&self) -> &'static str {
        match self {
            DiskReader::Raw(_) => "raw",
            DiskReader::Qcow2(_) => "qcow2",
        }
    }
}

/// Writes what is not zero, in blocks as a filesystem has them.
fn write_sparse(target: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    const BLOCK: usize = 4096;
    let mut at = 0;
    while at < bytes.len() {
        let is_zero = |block: &&[u8]| block.iter().all(|byte| *byte == 0);
        let zeros = bytes[at..].chunks(BLOCK).take_while(is_zero).count() * BLOCK;
        let start = (at + zeros).min(bytes.len());
        let data = bytes[start..].chunks(BLOCK).take_while(|block| !is_zero(block)).count() * BLOCK;
        at = (start + data).min(bytes.len());
        target.write_all_at(&bytes[start..at], offset + start as u64)?;
    }
    Ok(())
}

impl Read for DiskReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            DiskReader::Raw(file) => file.read(buffer),
            DiskReader::Qcow2(reader) => reader.read(buffer),
        }
    }
}

impl Seek for DiskReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            DiskReader::Raw(file) => file.seek(to),
            DiskReader::Qcow2(reader) => reader.seek(to),
        }
    }
}
