//! Reading a qcow2 image: the virtual disk's bytes with random access.
//!
//! In: a file that may be damaged or hostile. Out: bytes, or an error that says what is wrong. Never opens another file
//! (backing files, external data files and encryption are refused), never holds more than a few clusters in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::table::{self, COMPRESSED, CompressionType, Header, OFFSET, ZERO};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::format::mapped::sought;

/// Entries of an L2 table that are read at once.
const SLICE: u64 = 512;
/// Slices that are kept.
const SLICES: usize = 32;
/// Bytes of uncompressed clusters that are kept (at least one cluster).
const KEPT: u64 = 4 << 20;

/// A qcow2 image, opened for reading.
pub struct Reader {
    file: File,
    length: u64,
    header: Header,
    l1: Vec<u64>,
    position: u64,
    /// (offset in the file, entries), the last used one first.
    slices: VecDeque<(u64, Vec<u64>)>,
    /// (L2 entry, content), the last used one first.
    clusters: VecDeque<(u64, Vec<u8>)>,
}

fn corrupt(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}

impl Reader {
    /// Reads the header and L1. 65 where the image is damaged or refers to something outside of itself.
    pub fn open(file: File) -> Result<Reader> {
        let length = file.metadata().or_cannot(|| "look at the image")?.len();
        let mut bytes = [0; 112];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64).or_cannot(|| "read the header")? {
                0 => break,
                read => filled += read,
            }
        }
        if filled < 72 {
            return Err(Error::cannot(Exit::Description, "use the qcow2 image").because("it ends inside its header"));
        }
        let header = Header::decode(&bytes, length)?;
        let mut l1 = vec![0; header.l1_entries as usize * 8];
        file.read_exact_at(&mut l1, header.l1_offset).or_cannot(|| "read the L1 table")?;
        let l1 = numbers(&l1);
        Ok(Reader { file, length, header, l1, position: 0, slices: VecDeque::new(), clusters: VecDeque::new() })
    }

    /// Size of the virtual disk.
    pub fn size(&self) -> Bytes {
        Bytes(self.header.size)
    }

    fn cluster(&self) -> u64 {
        1 << self.header.cluster_bits
    }

    /// An offset from a table: at a cluster's boundary, the whole cluster inside the file.
    fn checked(&self, offset: u64, what: &str) -> io::Result<u64> {
        let inside = offset.checked_add(self.cluster()).is_some_and(|end| end <= self.length);
        if !offset.is_multiple_of(self.cluster()) || !inside {
            return Err(corrupt(format!("the qcow2 image is damaged: {what} lies at {offset:#x}")));
        }
        Ok(offset)
    }

    /// The L2 entry of a cluster; 0 where there is no table.
    fn entry(&mut self, number: u64) -> io::Result<u64> {
        let per_table = self.cluster() / 8;
        // `decode` made sure that L1 covers the disk.
        let l1 = self.l1[(number / per_table) as usize];
        if l1 & OFFSET == 0 {
            return Ok(0);
        }
        let l2 = self.checked(l1 & OFFSET, "an L2 table")?;
        let slot = number % per_table;
        let slice = SLICE.min(per_table);
        let offset = l2 + slot / slice * slice * 8;
        if let Some(at) = self.slices.iter().position(|(kept, _)| *kept == offset) {
            self.slices.swap(0, at);
        } else {
            let mut bytes = vec![0; slice as usize * 8];
            self.file.read_exact_at(&mut bytes, offset)?;
            self.slices.truncate(SLICES - 1);
            self.slices.push_front((offset, numbers(&bytes)));
        }
        Ok(self.slices[0].1[(slot % slice) as usize])
    }

    /// The first range at or behind `from` that may hold something else than zeros, a cluster at most.
    pub fn next_data(&mut self, from: u64) -> io::Result<Option<std::ops::Range<u64>>> {
        let bits = self.header.cluster_bits;
        let per_table = self.cluster() / 8;
        let mut number = from >> bits;
        while (number << bits).max(from) < self.header.size {
            if self.l1[(number / per_table) as usize] & OFFSET == 0 {
                number = (number / per_table + 1) * per_table;
            } else if self.is_hole(number)? {
                number += 1;
            } else {
                let end = ((number + 1) << bits).min(self.header.size);
                return Ok(Some((number << bits).max(from)..end));
            }
        }
        Ok(None)
    }

    fn is_hole(&mut self, number: u64) -> io::Result<bool> {
        let entry = self.entry(number)?;
        let zero = entry & OFFSET == 0 || (entry & ZERO != 0 && self.header.version == 3);
        Ok(entry & COMPRESSED == 0 && zero)
    }

    fn uncompressed(&mut self, entry: u64) -> io::Result<&[u8]> {
        if let Some(at) = self.clusters.iter().position(|(kept, _)| *kept == entry) {
            self.clusters.swap(0, at);
            return Ok(&self.clusters[0].1);
        }
        let (offset, most) = table::compressed_place(self.header.cluster_bits, entry);
        if offset >= self.length || most > 2 * self.cluster() {
            return Err(corrupt(format!("the qcow2 image is damaged: a compressed cluster lies at {offset:#x}")));
        }
        // The last sector may be cut by the end of the file.
        let mut packed = vec![0; most.min(self.length - offset) as usize];
        self.file.read_exact_at(&mut packed, offset)?;
        let mut cluster = vec![0; self.cluster() as usize];
        let filled = match self.header.compression {
            CompressionType::Zlib => libdeflater::Decompressor::new().deflate_decompress(&packed, &mut cluster).ok(),
            // What follows the frame in its last sector belongs to others, so the decoder must stop by itself.
            CompressionType::Zstd => zstd::stream::read::Decoder::with_buffer(&packed[..])
                .map(zstd::stream::read::Decoder::single_frame)
                .and_then(|mut decoder| decoder.read_exact(&mut cluster))
                .ok()
                .map(|()| cluster.len()),
        };
        if filled != Some(cluster.len()) {
            return Err(corrupt(format!("the qcow2 image is damaged: the cluster at {offset:#x} does not decompress")));
        }
        let most_kept = (KEPT >> self.header.cluster_bits).max(1) as usize;
        self.clusters.truncate(most_kept - 1);
        self.clusters.push_front((entry, cluster));
        Ok(&self.clusters[0].1)
    }
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|number| u64::from_be_bytes(*number)).collect()
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.header.size.saturating_sub(self.position);
        let inside = self.position % self.cluster();
        let length = left.min(self.cluster() - inside).min(buffer.len() as u64) as usize;
        if length == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..length];
        let entry = self.entry(self.position >> self.header.cluster_bits)?;
        if entry & COMPRESSED != 0 {
            let start = inside as usize;
            buffer.copy_from_slice(&self.uncompressed(entry)?[start..start + length]);
        } else if entry & OFFSET == 0 || (entry & ZERO != 0 && self.header.version == 3) {
            buffer.fill(0);
        } else {
            let offset = self.checked(entry & OFFSET, "a cluster")?;
            self.file.read_exact_at(buffer, offset + inside)?;
        }
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = sought(self.position, self.header.size, to)?;
        Ok(self.position)
    }
}
