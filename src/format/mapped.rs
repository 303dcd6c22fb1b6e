//! Reading images that are a table of blocks: vhd, vmdk, vdi, vhdx.
//!
//! In: a file that may be damaged or hostile, and what its format's header says of it. Out: the virtual disk's bytes with
//! random access. Never opens another file, never holds more than the table and a few blocks in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host;

/// No table is read that is longer, in bytes: what a header says must not take all memory.
const LONGEST_TABLE: u64 = 64 << 20;
/// Unpacked blocks that are kept.
const KEPT: usize = 32;

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: zeros.
    Hole,
    /// At this offset of the file, as it is.
    At(u64),
    /// At this offset, compressed (zlib) to so many bytes.
    Packed(u64, u64),
}

/// A format's table of blocks.
pub trait Table: Send {
    /// Where a block of the disk is.
    fn place(&mut self, file: &File, block: u64) -> io::Result<Place>;

    /// The first range of blocks at or behind `block`, below `end`, that may hold something.
    fn next_data(&mut self, file: &File, block: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        for number in block..end {
            if self.place(file, number)? != Place::Hole {
                return Ok(Some(number..number + 1));
            }
        }
        Ok(None)
    }
}

/// A table that is held whole: offsets in the file, `None` for a hole.
pub struct Flat(pub Vec<Option<u64>>);

impl Table for Flat {
    fn place(&mut self, _file: &File, block: u64) -> io::Result<Place> {
        Ok(self.0.get(block as usize).copied().flatten().map_or(Place::Hole, Place::At))
    }
}

/// No table: the disk lies in the file as it is, from its beginning, in blocks of this length.
pub struct Whole(pub u64);

impl Table for Whole {
    fn place(&mut self, _file: &File, block: u64) -> io::Result<Place> {
        Ok(Place::At(block * self.0))
    }

    fn next_data(&mut self, file: &File, block: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        let found = host::file::next_data(file, block * self.0..end * self.0)?;
        Ok(found.map(|range| (range.start / self.0).max(block)..range.end.div_ceil(self.0).min(end)))
    }
}

/// What a header says.
pub struct Layout {
    /// The format's name.
    pub format: &'static str,
    /// Size of the virtual disk in bytes.
    pub size: u64,
    /// Length of a block in bytes.
    pub block: u64,
    /// Where blocks are.
    pub table: Box<dyn Table>,
}

/// An image, opened for reading.
pub struct Reader {
    file: File,
    length: u64,
    layout: Layout,
    position: u64,
    /// (offset, content), the last used one first.
    unpacked: VecDeque<(u64, Vec<u8>)>,
}

/// The error of an image that is not what its format demands.
pub fn damaged(format: &str, why: impl std::fmt::Display) -> Error {
    Error::cannot(Exit::Description, format!("use the {format} image")).because(why)
}

/// The error of an image that needs another file.
pub fn leans(format: &str, on: impl std::fmt::Display) -> Error {
    damaged(format, format!("it needs another file: {on}"))
        .hint("flatten it first: `qemu-img convert` writes an image that stands alone")
}

/// `length` bytes at `offset` of a header or table; an error where the file ends before, or where it is too much.
pub fn read_table(file: &File, format: &str, what: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
    let size = file.metadata().or_cannot(|| "look at the image")?.len();
    if length > LONGEST_TABLE {
        return Err(damaged(format, format!("{what} of {} is longer than this version reads", Bytes(length))));
    }
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(damaged(format, format!("the file ends before {what} does")));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset).or_cannot(|| format!("read {what}"))?;
    Ok(bytes)
}

fn corrupt(format: &str, why: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the {format} image is damaged: {why}"))
}

impl Reader {
    /// Takes what a format found in the header of `file`. 65 where no disk can be of that size.
    pub fn new(file: File, layout: Layout) -> Result<Reader> {
        let length = file.metadata().or_cannot(|| "look at the image")?.len();
        if layout.size == 0 || !layout.size.is_multiple_of(512) || layout.size > 1 << 60 || layout.block == 0 {
            return Err(damaged(layout.format, format!("a disk of {} bytes cannot be", layout.size)));
        }
        Ok(Reader { file, length, layout, position: 0, unpacked: VecDeque::new() })
    }

    /// The format's name.
    pub fn format(&self) -> &'static str {
        self.layout.format
    }

    /// Size of the virtual disk.
    pub fn size(&self) -> Bytes {
        Bytes(self.layout.size)
    }

    /// The first range at or behind `from` that may hold something else than zeros.
    pub fn next_data(&mut self, from: u64) -> io::Result<Option<Range<u64>>> {
        let Layout { size, block, .. } = self.layout;
        if from >= size {
            return Ok(None);
        }
        let found = self.layout.table.next_data(&self.file, from / block, size.div_ceil(block))?;
        Ok(found.map(|range| (range.start * block).max(from)..(range.end * block).min(size)))
    }

    fn unpacked(&mut self, offset: u64, length: u64) -> io::Result<&[u8]> {
        let Layout { format, block, .. } = self.layout;
        if let Some(at) = self.unpacked.iter().position(|(kept, _)| *kept == offset) {
            self.unpacked.swap(0, at);
            return Ok(&self.unpacked[0].1);
        }
        if length > 2 * block || offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(corrupt(format, format!("a compressed block of {length} bytes lies at {offset:#x}")));
        }
        let mut packed = vec![0; length as usize];
        self.file.read_exact_at(&mut packed, offset)?;
        let mut bytes = vec![0; block as usize];
        let filled = libdeflater::Decompressor::new().zlib_decompress(&packed, &mut bytes);
        // The last block may hold no more than the disk does.
        if filled.is_err() {
            return Err(corrupt(format, format!("the block at {offset:#x} does not decompress")));
        }
        self.unpacked.truncate(KEPT - 1);
        self.unpacked.push_front((offset, bytes));
        Ok(&self.unpacked[0].1)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Layout { format, size, block, .. } = self.layout;
        let inside = self.position % block;
        let left = size.saturating_sub(self.position).min(block - inside);
        let length = left.min(buffer.len() as u64) as usize;
        if length == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..length];
        match self.layout.table.place(&self.file, self.position / block)? {
            Place::Hole => buffer.fill(0),
            Place::At(offset) => {
                let start =
                    offset.checked_add(inside).filter(|start| start.saturating_add(length as u64) <= self.length);
                let start = start.ok_or_else(|| corrupt(format, format!("a block lies at {offset:#x}")))?;
                self.file.read_exact_at(buffer, start)?;
            }
            Place::Packed(offset, packed) => {
                let inside = inside as usize;
                buffer.copy_from_slice(&self.unpacked(offset, packed)?[inside..inside + length]);
            }
        }
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = sought(self.position, self.layout.size, to)?;
        Ok(self.position)
    }
}

/// Where a seek leads on a disk of `size` bytes.
pub fn sought(position: u64, size: u64, to: SeekFrom) -> io::Result<u64> {
    let found = match to {
        SeekFrom::Start(offset) => Some(offset),
        SeekFrom::End(by) => size.checked_add_signed(by),
        SeekFrom::Current(by) => position.checked_add_signed(by),
    };
    found.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "seek before the disk's beginning"))
}
