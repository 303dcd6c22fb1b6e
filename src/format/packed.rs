//! A stream that is compressed in frames of one length, on all cores.
//!
//! In: bytes, parts of files and runs of zeros. Out: gzip members (RFC 1952 allows several in a file) or Zstandard frames (RFC 8878, the
//! same), each of a fixed length of the stream, so that the bytes do not depend on the number of threads. Never a file
//! name or a time in a header. A frame of zeros is compressed once.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use super::stream::Stream;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::parallel::{InOrder, Spare};

/// libdeflate's level: a little smaller than `gzip -6` in a quarter of its time.
const DEFLATE_LEVEL: i32 = 5;
const ZSTD_LEVEL: i32 = 3;

/// How frames are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// gzip.
    Gzip,
    /// Zstandard, with a checksum.
    Zstd,
}

impl Codec {
    /// What goes into one frame, in bytes.
    fn frame(self) -> usize {
        match self {
            Codec::Gzip => 1 << 20,
            Codec::Zstd => 4 << 20,
        }
    }

    fn encoder(self) -> Result<Encoder> {
        Ok(match self {
            Codec::Gzip => {
                let level = libdeflater::CompressionLvl::new(DEFLATE_LEVEL).map_err(|_| bug())?;
                Encoder::Gzip(libdeflater::Compressor::new(level))
            }
            Codec::Zstd => {
                let start = || "start the zstd encoder";
                let mut encoder = zstd::bulk::Compressor::new(ZSTD_LEVEL).or_cannot(start)?;
                encoder.include_checksum(true).or_cannot(start)?;
                Encoder::Zstd(encoder)
            }
        })
    }
}

fn bug() -> Error {
    Error::cannot(Exit::Bug, "compress a piece with deflate")
}

enum Encoder {
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

/// What a thread compresses with.
struct Tools {
    encoder: Encoder,
    frame: Vec<u8>,
    room: Vec<u8>,
}

impl Tools {
    fn new(codec: Codec) -> Result<Tools> {
        Ok(Tools { encoder: codec.encoder()?, frame: Vec::new(), room: Vec::new() })
    }

    fn pack(&mut self, parts: &[Part]) -> Result<Vec<u8>> {
        self.frame.clear();
        for part in parts {
            part.append_to(&mut self.frame)?;
        }
        let length = match &mut self.encoder {
            Encoder::Gzip(encoder) => {
                self.room.resize(encoder.gzip_compress_bound(self.frame.len()), 0);
                encoder.gzip_compress(&self.frame, &mut self.room).map_err(|_| bug())?
            }
            Encoder::Zstd(encoder) => {
                self.room.resize(zstd::zstd_safe::compress_bound(self.frame.len()), 0);
                let packed = encoder.compress_to_buffer(&self.frame, self.room.as_mut_slice());
                packed.or_cannot(|| "compress a piece with zstd")?
            }
        };
        Ok(self.room[..length].to_vec())
    }
}

/// A part of a frame. The thread that compresses it reads what lies in a file.
enum Part {
    Bytes(Vec<u8>),
    Zeros(usize),
    File(Arc<File>, Range<u64>),
}

impl Part {
    fn append_to(&self, frame: &mut Vec<u8>) -> Result<()> {
        let start = frame.len();
        match self {
            Part::Bytes(bytes) => frame.extend_from_slice(bytes),
            Part::Zeros(length) => frame.resize(start + length, 0),
            Part::File(file, range) => {
                frame.resize(start + (range.end - range.start) as usize, 0);
                file.read_exact_at(&mut frame[start..], range.start).or_cannot(|| "read what is compressed")?;
            }
        }
        Ok(())
    }
}

/// Compresses what is written to it into a [`Stream`].
pub struct Packer {
    stream: Stream,
    codec: Codec,
    /// The frame under construction and its length.
    frame: (Vec<Part>, usize),
    /// No part: a frame of zeros.
    frames: InOrder<Vec<Part>, Vec<u8>>,
    empty: bool,
}

impl Packer {
    /// Begins at the end of `stream`.
    pub fn new(stream: Stream, codec: Codec) -> Packer {
        let zeros: OnceLock<Vec<u8>> = OnceLock::new();
        let spare = Spare::new(move || Tools::new(codec));
        let pack = move |parts: Vec<Part>| {
            if !parts.is_empty() {
                return spare.lend(|tools| tools.pack(&parts));
            }
            if zeros.get().is_none() {
                let packed = spare.lend(|tools| tools.pack(&[Part::Zeros(codec.frame())]))?;
                // Another thread's is the same.
                let _ = zeros.set(packed);
            }
            Ok(zeros.get().cloned().unwrap_or_default())
        };
        Packer { stream, codec, frame: (Vec::new(), 0), frames: InOrder::new(pack), empty: true }
    }

    fn push(&mut self, frame: Vec<Part>) -> Result<()> {
        self.empty = false;
        match self.frames.push(frame)? {
            Some(packed) => self.stream.write(packed),
            None => Ok(()),
        }
    }

    /// So much fits into the frame under construction.
    fn room(&self) -> usize {
        self.codec.frame() - self.frame.1
    }

    fn add(&mut self, part: Part, length: usize) -> Result<()> {
        self.frame.0.push(part);
        self.frame.1 += length;
        if self.room() > 0 {
            return Ok(());
        }
        let (parts, _) = std::mem::take(&mut self.frame);
        self.push(parts)
    }

    /// The next bytes.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.room()));
            self.add(Part::Bytes(now.to_vec()), now.len())?;
            bytes = later;
        }
        Ok(())
    }

    /// The next bytes are these of a file.
    pub fn copy(&mut self, file: &Arc<File>, mut range: Range<u64>) -> Result<()> {
        while !range.is_empty() {
            let length = (range.end - range.start).min(self.room() as u64);
            let now = range.start..range.start + length;
            self.add(Part::File(Arc::clone(file), now), length as usize)?;
            range.start += length;
        }
        Ok(())
    }

    /// So many zeros.
    pub fn zeros(&mut self, mut length: u64) -> Result<()> {
        let whole = self.codec.frame() as u64;
        while length > 0 {
            let now = length.min(self.room() as u64);
            if now == whole {
                self.push(Vec::new())?;
            } else {
                self.add(Part::Zeros(now as usize), now as usize)?;
            }
            length -= now;
        }
        Ok(())
    }

    /// Ends the compressed stream.
    pub fn finish(mut self) -> Result<Stream> {
        let (mut parts, length) = std::mem::take(&mut self.frame);
        if length > 0 || self.empty {
            // A frame of nothing is one part of no length.
            parts.push(Part::Zeros(0));
            self.push(parts)?;
        }
        while let Some(packed) = self.frames.take()? {
            self.stream.write(packed)?;
        }
        Ok(self.stream)
    }
}
