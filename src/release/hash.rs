//! SHA-256 beside the work: of bytes on their way, and of a finished file.
//!
//! In: pieces of a stream, or a sparse file. Out: the digest in hexadecimal, and with it a sparse copy. A thread hashes
//! while the caller reads or writes; holes are not read.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use super::artifact::hex;
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host;
use crate::report::Step;

/// So much is read at once. Small enough to be in the processor's cache still when it is hashed and written.
pub const CHUNK: usize = 256 << 10;
/// Pieces that may wait for the thread.
const WAITING: usize = 8;

/// A stream's digest, computed by a thread of its own.
pub struct Hasher {
    pieces: SyncSender<Piece>,
    thread: JoinHandle<String>,
}

enum Piece {
    Data(Arc<Vec<u8>>),
    Zeros(u64),
}

impl Hasher {
    /// The digest of nothing yet.
    pub fn start() -> Hasher {
        let (pieces, receiver) = sync_channel::<Piece>(WAITING);
        let thread = std::thread::spawn(move || {
            let zeros = vec![0; CHUNK];
            let mut hash = Sha256::new();
            for piece in receiver {
                match piece {
                    Piece::Data(bytes) => hash.update(bytes.as_slice()),
                    Piece::Zeros(mut left) => {
                        while left > 0 {
                            let length = left.min(CHUNK as u64);
                            hash.update(&zeros[..length as usize]);
                            left -= length;
                        }
                    }
                }
            }
            hex(&hash.finalize())
        });
        Hasher { pieces, thread }
    }

    /// The next bytes of the stream.
    pub fn add(&self, bytes: Arc<Vec<u8>>) {
        self.send(Piece::Data(bytes));
    }

    /// So many zeros.
    pub fn add_zeros(&self, length: u64) {
        self.send(Piece::Zeros(length));
    }

    fn send(&self, piece: Piece) {
        // It fails only where the thread panicked, and `finish` tells.
        let _ = self.pieces.send(piece);
    }

    /// The digest in hexadecimal.
    pub fn finish(self) -> Result<String> {
        drop(self.pieces);
        self.thread.join().map_err(|_| Error::cannot(Exit::Bug, "hash a stream: its thread panicked"))
    }
}

/// Buffers for [`Hasher::add`]. One is used again when nobody holds it any more: memory that is new to the process costs
/// as much as reading into it.
#[derive(Debug, Default)]
pub struct Buffers(VecDeque<Arc<Vec<u8>>>);

impl Buffers {
    /// A buffer of that length, filled by `read`, which sees what was left in it.
    pub fn fill(&mut self, length: usize, read: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<Arc<Vec<u8>>> {
        // The oldest is done with first.
        let is_free = self.0.front().is_some_and(|oldest| Arc::strong_count(oldest) == 1);
        let mut buffer = if is_free { self.0.pop_front() } else { None }.unwrap_or_default();
        let bytes = Arc::make_mut(&mut buffer);
        bytes.resize(length, 0);
        read(bytes)?;
        self.0.push_back(Arc::clone(&buffer));
        Ok(buffer)
    }
}

/// The digest and length of a file; `copy`, a new file, becomes the same as it, holes included.
pub fn file(file: &File, copy: Option<&File>, step: &Step) -> Result<(String, Bytes)> {
    let size = file.metadata().or_cannot(|| "look at a file")?.len();
    let ranges = host::file::data_ranges(file)?;
    if let Some(copy) = copy {
        copy.set_len(size).or_cannot(|| "make room for a copy")?;
    }
    let (hasher, mut buffers) = (Hasher::start(), Buffers::default());
    let read = || -> io::Result<()> {
        let mut at = 0;
        for range in ranges {
            hasher.add_zeros(range.start - at);
            at = range.start;
            while at < range.end {
                let length = (range.end - at).min(CHUNK as u64) as usize;
                let chunk = buffers.fill(length, |chunk| file.read_exact_at(chunk, at))?;
                if let Some(copy) = copy {
                    copy.write_all_at(&chunk, at)?;
                }
                at += chunk.len() as u64;
                step.advance(0, chunk.len() as u64);
                hasher.add(chunk);
            }
        }
        hasher.add_zeros(size - at);
        Ok(())
    };
    read().or_cannot(|| if copy.is_some() { "copy a file" } else { "read a file" })?;
    Ok((hasher.finish()?, Bytes(size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_only_when_nobody_holds_it() {
        let mut buffers = Buffers::default();
        let mut fill = |byte: u8, length: usize| {
            let filled = buffers.fill(length, |bytes| {
                bytes.fill(byte);
                Ok(())
            });
            filled.unwrap()
        };
        let first = fill(1, 100);
        let second = fill(2, 10);
        assert_ne!(first.as_ptr(), second.as_ptr());
        let place = first.as_ptr();
        assert_eq!(*first, [1; 100]);
        drop(first);
        let third = fill(3, 50);
        assert_eq!(third.as_ptr(), place);
        assert_eq!(*third, [3; 50]);
        assert_eq!(*second, [2; 10]);
    }
}
