//! A file that is written from its beginning to its end.
//!
//! In: a disk's blocks that hold something, and what a format puts between them. Out: a sparse file and its SHA-256, which
//! a thread of its own computes on the way, of the bytes that were written: the disk is read once. Never depends on where the source has its holes: what counts as data is what
//! is not zero.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::writeback::WriteBack;
use crate::bytes::{Bytes, is_zero};
use crate::disk::RawDisk;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host;
use crate::parallel::InOrder;
use crate::release::Artifact;
use crate::release::hash::{Buffers, CHUNK, Hasher};

/// About so many bytes of the disk are read at once.
const PIECE: u64 = 1 << 20;
/// Holes are made of blocks of this length, as filesystems have them.
const HOLE: usize = 4096;

/// See the module.
pub struct Stream {
    file: File,
    name: String,
    at: u64,
    hasher: Hasher,
    buffers: Buffers,
    write_back: WriteBack,
}

impl Stream {
    /// Creates `folder/name`.
    pub fn create(folder: &Path, name: &str) -> Result<Stream> {
        let file = host::file::create(&folder.join(name))?;
        let (buffers, write_back) = (Buffers::default(), WriteBack::default());
        Ok(Stream { file, name: name.into(), at: 0, hasher: Hasher::start(), buffers, write_back })
    }

    /// How much was written.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next bytes; blocks of zeros in them become holes.
    pub fn write(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.put(Arc::new(bytes))
    }

    fn put(&mut self, bytes: Arc<Vec<u8>>) -> Result<()> {
        // On its way to be hashed while it is written.
        self.hasher.add(Arc::clone(&bytes));
        write_sparse(&self.file, &bytes, self.at).or_cannot(|| format!("write {}", self.name))?;
        self.at += bytes.len() as u64;
        self.write_back.reached(&self.file, self.at);
        Ok(())
    }

    /// So many zeros, as a hole.
    pub fn zeros(&mut self, length: u64) {
        self.at += length;
        self.hasher.add_zeros(length);
    }

    /// Zeros up to `offset`, which does not lie behind.
    pub fn pad_to(&mut self, offset: u64) -> Result<()> {
        let Some(length) = offset.checked_sub(self.at) else {
            return Err(Error::cannot(Exit::Bug, format!("write {}", self.name))
                .because(format!("{} bytes are there and {offset} are wanted", self.at)));
        };
        self.zeros(length);
        Ok(())
    }

    /// The whole of another file.
    pub fn copy(&mut self, other: &File) -> Result<()> {
        let size = other.metadata().or_cannot(|| "look at a file")?.len();
        self.part(other, 0..size, "read a file")
    }

    fn part(&mut self, other: &File, part: Range<u64>, what: &str) -> Result<()> {
        let mut at = part.start;
        while at < part.end {
            let length = (part.end - at).min(CHUNK as u64);
            let chunk = self.buffers.fill(length as usize, |chunk| other.read_exact_at(chunk, at));
            self.put(chunk.or_cannot(|| what)?)?;
            at += length;
        }
        Ok(())
    }

    /// Bytes of a disk, from where they lie on it.
    pub fn disk(&mut self, blocks: &Blocks, part: Range<u64>) -> Result<()> {
        self.part(&blocks.file, part, "read the disk")
    }

    /// Whole blocks of a disk; behind its end there are zeros.
    pub fn blocks(&mut self, blocks: &Blocks, numbers: &Range<u64>) -> Result<()> {
        let part = blocks.part(numbers);
        let zeros = (numbers.end - numbers.start) * blocks.block - (part.end - part.start);
        self.disk(blocks, part)?;
        self.zeros(zeros);
        Ok(())
    }

    /// Ends the file.
    pub fn finish(mut self, format: &str) -> Result<Artifact> {
        self.file.set_len(self.at).or_cannot(|| format!("write {}", self.name))?;
        self.write_back.last(&self.file, self.at);
        Ok(Artifact {
            name: self.name,
            format: format.into(),
            sha256: self.hasher.finish()?,
            size: Bytes(self.at),
            options: BTreeMap::new(),
        })
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Stream::write(self, bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what is not zero, in blocks as a filesystem has them.
pub fn write_sparse(target: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        let zeros = bytes[at..].chunks(HOLE).take_while(|block| is_zero(block)).count() * HOLE;
        let start = (at + zeros).min(bytes.len());
        let data = bytes[start..].chunks(HOLE).take_while(|block| !is_zero(block)).count() * HOLE;
        at = (start + data).min(bytes.len());
        target.write_all_at(&bytes[start..at], offset + start as u64)?;
    }
    Ok(())
}

/// A disk to be read in blocks of one length, the last one filled with zeros.
pub struct Blocks {
    file: Arc<File>,
    size: u64,
    block: u64,
    /// Numbers of the blocks that hold something, in ascending ranges.
    pub data: Vec<Range<u64>>,
}

impl Blocks {
    /// Finds the blocks that hold something. `block` is their length in bytes.
    pub fn find(disk: &RawDisk, block: u64) -> Result<Blocks> {
        let file = Arc::new(host::file::open(disk.path())?);
        let size = disk.size().0;
        let candidates = pieces(&host::file::data_ranges(&file)?, size, block);
        let source = Arc::clone(&file);
        let mut work = InOrder::new(move |piece: Range<u64>| look(&source, piece, size, block));
        let mut data: Vec<Range<u64>> = Vec::new();
        let mut join = |found: Vec<Range<u64>>| {
            for range in found {
                match data.last_mut().filter(|last| last.end == range.start) {
                    Some(last) => last.end = range.end,
                    None => data.push(range),
                }
            }
        };
        for piece in candidates {
            work.push(piece)?.into_iter().for_each(&mut join);
        }
        while let Some(found) = work.take()? {
            join(found);
        }
        Ok(Blocks { file, size, block, data })
    }

    /// How many blocks hold something.
    pub fn count(&self) -> u64 {
        self.data.iter().map(|range| range.end - range.start).sum()
    }

    /// How many blocks the disk has.
    pub fn total(&self) -> u64 {
        self.size.div_ceil(self.block)
    }

    /// The data in ranges of about 1 MiB.
    pub fn pieces(&self) -> Vec<Range<u64>> {
        let most = (PIECE / self.block).max(1);
        let split = |range: &Range<u64>| {
            let Range { start, end } = *range;
            (start..end).step_by(most as usize).map(move |at| at..end.min(at + most))
        };
        self.data.iter().flat_map(split).collect()
    }

    /// The disk, open.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Whether nothing but zeros is in these bytes, as far as the disk goes.
    pub fn is_zero(&self, part: Range<u64>) -> Result<bool> {
        let mut bytes = vec![0; (part.end.min(self.size).saturating_sub(part.start)) as usize];
        self.file.read_exact_at(&mut bytes, part.start).or_cannot(|| "read the disk")?;
        Ok(is_zero(&bytes))
    }

    /// Where blocks lie on the disk, its last one cut off where it ends.
    pub fn part(&self, numbers: &Range<u64>) -> Range<u64> {
        numbers.start * self.block..(numbers.end * self.block).min(self.size)
    }

    /// What reads a piece, on any thread: whole blocks.
    pub fn reader(&self) -> impl Fn(Range<u64>, &mut Vec<u8>) -> Result<()> + Send + Sync + 'static + use<> {
        let (file, size, block) = (Arc::clone(&self.file), self.size, self.block);
        move |piece, bytes| {
            let start = piece.start * block;
            bytes.resize(((piece.end - piece.start) * block) as usize, 0);
            let length = (size - start).min(bytes.len() as u64) as usize;
            file.read_exact_at(&mut bytes[..length], start).or_cannot(|| "read the disk")?;
            bytes[length..].fill(0);
            Ok(())
        }
    }
}

/// Blocks that `data` touches, in ranges of about 4 MiB.
fn pieces(data: &[Range<u64>], size: u64, block: u64) -> Vec<Range<u64>> {
    let most = (4 * PIECE / block).max(1);
    let mut pieces: Vec<Range<u64>> = Vec::new();
    let mut next = 0;
    for range in data {
        let mut start = next.max(range.start / block);
        let end = range.end.min(size).div_ceil(block);
        while start < end {
            let stop = end.min(start + most);
            pieces.push(start..stop);
            start = stop;
        }
        next = next.max(end);
    }
    pieces
}

/// Most blocks show at their beginning that they hold something; only the others are read whole.
fn look(file: &File, piece: Range<u64>, size: u64, block: u64) -> Result<Vec<Range<u64>>> {
    let mut buffer = vec![0; block.min(PIECE) as usize];
    let mut found: Vec<Range<u64>> = Vec::new();
    for number in piece {
        let (mut at, end) = (number * block, ((number + 1) * block).min(size));
        let mut want = HOLE as u64;
        let mut data = false;
        while at < end && !data {
            let length = (end - at).min(want).min(buffer.len() as u64) as usize;
            file.read_exact_at(&mut buffer[..length], at).or_cannot(|| "read the disk")?;
            data = !is_zero(&buffer[..length]);
            at += length as u64;
            want = PIECE;
        }
        match found.last_mut().filter(|last| data && last.end == number) {
            Some(last) => last.end += 1,
            None if data => found.push(number..number + 1),
            None => {}
        }
    }
    Ok(found)
}
