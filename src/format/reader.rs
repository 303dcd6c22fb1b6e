//! A disk image opened for reading, whatever its format.
//!
//! In: a file, recognised by its content. Out: the virtual disk's bytes, with random access and without its holes. Never
//! follows a reference from an image to another file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::stream::write_sparse;
use super::{mapped, qcow2, vdi, vhd, vhdx, vmdk};
use crate::bytes::Bytes;
use crate::error::{OrCannot, Result};
use crate::host;

/// A disk image opened for reading, whatever its format: the virtual disk's bytes, with random access.
pub enum DiskReader {
    /// A raw disk.
    Raw(File),
    /// A qcow2 image.
    Qcow2(Box<qcow2::Reader>),
    /// An image that is a table of blocks.
    Mapped(Box<mapped::Reader>),
}

/// Opens a disk by its content. 65 where the image is damaged or refers to other files.
pub fn open(path: &Path) -> Result<DiskReader> {
    let what = || format!("read {}", path.display());
    recognise(host::file::open(path)?).map_err(|error| error.within(what()))
}

/// What stands at the beginning of images, and how far into them it is.
const START: usize = 128;

/// Whether an image of a format that is not raw begins with these bytes.
pub fn is_image(start: &[u8]) -> bool {
    let magics: [&[u8]; 5] = [&qcow2::MAGIC, vhd::COOKIE, vhdx::SIGNATURE, vmdk::MAGIC, vmdk::DESCRIPTOR];
    magics.iter().any(|magic| start.starts_with(magic)) || is_vdi(start)
}

fn is_vdi(start: &[u8]) -> bool {
    start.get(vdi::SIGNATURE_AT..).is_some_and(|rest| rest.starts_with(&vdi::SIGNATURE.to_le_bytes()))
}

fn recognise(mut file: File) -> Result<DiskReader> {
    let length = file.metadata().or_cannot(|| "look at the image")?.len();
    let mut start = vec![0; START.min(length as usize)];
    file.read_exact_at(&mut start, 0).or_cannot(|| "look at the image")?;
    if start.starts_with(&qcow2::MAGIC) {
        return Ok(DiskReader::Qcow2(Box::new(qcow2::Reader::open(file)?)));
    }
    if start.starts_with(vmdk::DESCRIPTOR) {
        return Err(mapped::leans("vmdk", "this is its descriptor, its data lies elsewhere"));
    }
    let mapped = |reader| Ok(DiskReader::Mapped(Box::new(reader)));
    if start.starts_with(vmdk::MAGIC) {
        return mapped(vmdk::open(file)?);
    }
    if start.starts_with(vhdx::SIGNATURE) {
        return mapped(vhdx::open(file)?);
    }
    if is_vdi(&start) {
        return mapped(vdi::open(file)?);
    }
    // A fixed VHD begins as a raw disk does; its footer is at the end.
    let mut end = vec![0; vhd::COOKIE.len()];
    if length > 512 {
        file.read_exact_at(&mut end, length - 512).or_cannot(|| "look at the image")?;
    }
    if start.starts_with(vhd::COOKIE) || end == vhd::COOKIE {
        return mapped(vhd::open(file)?);
    }
    file.rewind().or_cannot(|| "look at the image")?;
    Ok(DiskReader::Raw(file))
}

impl DiskReader {
    /// Size of the virtual disk.
    pub fn size(&self) -> io::Result<Bytes> {
        match self {
            DiskReader::Raw(file) => file.metadata().map(|metadata| Bytes(metadata.len())),
            DiskReader::Qcow2(reader) => Ok(reader.size()),
            DiskReader::Mapped(reader) => Ok(reader.size()),
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
        loop {
            let next = match self {
                DiskReader::Raw(_) => break,
                DiskReader::Qcow2(reader) => reader.next_data(at),
                DiskReader::Mapped(reader) => reader.next_data(at),
            };
            let Some(range) = next.or_cannot(|| "read the disk")? else { break };
            at = range.end;
            write(self, range).or_cannot(|| "copy the disk")?;
        }
        Ok(())
    }

    /// Its format's name, as [`super::FORMATS`] has it.
    pub fn format(&self) -> &'static str {
        match self {
            DiskReader::Raw(_) => "raw",
            DiskReader::Qcow2(_) => "qcow2",
            DiskReader::Mapped(reader) => reader.format(),
        }
    }
}

impl Read for DiskReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            DiskReader::Raw(file) => file.read(buffer),
            DiskReader::Qcow2(reader) => reader.read(buffer),
            DiskReader::Mapped(reader) => reader.read(buffer),
        }
    }
}

impl Seek for DiskReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            DiskReader::Raw(file) => file.seek(to),
            DiskReader::Qcow2(reader) => reader.seek(to),
            DiskReader::Mapped(reader) => reader.seek(to),
        }
    }
}
