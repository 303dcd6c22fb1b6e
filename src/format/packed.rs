//! A stream that is compressed in frames of one length, on all cores.
//!
//! In: bytes and runs of zeros. Out: gzip members (RFC 1952 allows several in a file) or Zstandard frames (RFC 8878, the
//! same), each of a fixed length of the stream, so that the bytes do not depend on the number of threads. Never a file
//! name or a time in a header. A frame of zeros is compressed once.

use std::sync::{Arc, OnceLock};

use super::stream::Stream;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::parallel::InOrder;

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

    fn pack(self, bytes: &[u8]) -> Result<Vec<u8>> {
        match self {
            Codec::Gzip => {
                let bug = || Error::cannot(Exit::Bug, "compress a piece with deflate");
                let level = libdeflater::CompressionLvl::new(DEFLATE_LEVEL).map_err(|_| bug())?;
                let mut encoder = libdeflater::Compressor::new(level);
                let mut packed = vec![0; encoder.gzip_compress_bound(bytes.len())];
                let length = encoder.gzip_compress(bytes, &mut packed).map_err(|_| bug())?;
                packed.truncate(length);
                Ok(packed)
            }
            Codec::Zstd => {
                let start = || "start the zstd encoder";
                let mut encoder = zstd::bulk::Compressor::new(ZSTD_LEVEL).or_cannot(start)?;
                encoder.include_checksum(true).or_cannot(start)?;
                encoder.compress(bytes).or_cannot(|| "compress a piece with zstd")
            }
        }
    }
}

/// Compresses what is written to it into a [`Stream`].
pub struct Packer {
    stream: Stream,
    codec: Codec,
    frame: Vec<u8>,
    /// `None` is a frame of zeros.
    frames: InOrder<Option<Vec<u8>>, Vec<u8>>,
    empty: bool,
}

impl Packer {
    /// Begins at the end of `stream`.
    pub fn new(stream: Stream, codec: Codec) -> Packer {
        let zeros: Arc<OnceLock<Vec<u8>>> = Arc::default();
        let pack = move |frame: Option<Vec<u8>>| match (frame, zeros.get()) {
            (Some(bytes), _) => codec.pack(&bytes),
            (None, Some(packed)) => Ok(packed.clone()),
            (None, None) => {
                let packed = codec.pack(&vec![0; codec.frame()])?;
                Ok(zeros.get_or_init(|| packed).clone())
            }
        };
        Packer { stream, codec, frame: Vec::with_capacity(codec.frame()), frames: InOrder::new(pack), empty: true }
    }

    fn push(&mut self, frame: Option<Vec<u8>>) -> Result<()> {
        self.empty = false;
        match self.frames.push(frame)? {
            Some(packed) => self.stream.write(packed),
            None => Ok(()),
        }
    }

    fn finish_frame(&mut self) -> Result<()> {
        let frame = std::mem::replace(&mut self.frame, Vec::with_capacity(self.codec.frame()));
        self.push(Some(frame))
    }

    /// The next bytes.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.codec.frame() - self.frame.len()));
            self.frame.extend_from_slice(now);
            bytes = later;
            if self.frame.len() == self.codec.frame() {
                self.finish_frame()?;
            }
        }
        Ok(())
    }

    /// So many zeros.
    pub fn zeros(&mut self, mut length: u64) -> Result<()> {
        let whole = self.codec.frame() as u64;
        while length > 0 {
            if self.frame.is_empty() && length >= whole {
                self.push(None)?;
                length -= whole;
                continue;
            }
            let now = length.min(whole - self.frame.len() as u64);
            self.frame.resize(self.frame.len() + now as usize, 0);
            length -= now;
            if self.frame.len() as u64 == whole {
                self.finish_frame()?;
            }
        }
        Ok(())
    }

    /// Ends the compressed stream.
    pub fn finish(mut self) -> Result<Stream> {
        if !self.frame.is_empty() || self.empty {
            self.finish_frame()?;
        }
        while let Some(packed) = self.frames.take()? {
            self.stream.write(packed)?;
        }
        Ok(self.stream)
    }
}
