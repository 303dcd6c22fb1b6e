//! gzip on all cores.
//!
//! In: a stream. Out: members of 1 MiB each (RFC 1952 allows several in a file), compressed by libdeflate, the same bytes
//! whatever the number of threads, with the digests of both sides. Never a file name or a time in a header.

use std::io::{self, Write};
use std::sync::Arc;

use crate::error::{Error, Exit, OrCannot, Result};
use crate::parallel::InOrder;
use crate::release::hash::Hasher;

/// What goes into one member.
const MEMBER: usize = 1 << 20;
/// libdeflate's level: a little smaller than `gzip -6` in a quarter of its time.
const LEVEL: i32 = 5;

/// A stream's digests and lengths before and after compression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compressed {
    /// SHA-256 of what was written, in hexadecimal: a layer's `diff_id`.
    pub plain_sha256: String,
    /// SHA-256 of what came out.
    pub sha256: String,
    /// Length of what came out.
    pub size: u64,
}

/// Compresses what is written to it into `out`.
pub struct GzipWriter<W: Write> {
    out: W,
    member: Vec<u8>,
    members: InOrder<Arc<Vec<u8>>, Vec<u8>>,
    plain: Hasher,
    packed: Hasher,
    size: u64,
    empty: bool,
}

impl<W: Write> GzipWriter<W> {
    /// Begins a stream.
    pub fn new(out: W) -> GzipWriter<W> {
        GzipWriter {
            out,
            member: Vec::with_capacity(MEMBER),
            members: InOrder::new(|bytes: Arc<Vec<u8>>| compress(&bytes)),
            plain: Hasher::start(),
            packed: Hasher::start(),
            size: 0,
            empty: true,
        }
    }

    fn finish_member(&mut self) -> Result<()> {
        let bytes = Arc::new(std::mem::replace(&mut self.member, Vec::with_capacity(MEMBER)));
        self.plain.add(Arc::clone(&bytes));
        self.empty = false;
        match self.members.push(bytes)? {
            Some(packed) => self.emit(packed),
            None => Ok(()),
        }
    }

    fn emit(&mut self, packed: Vec<u8>) -> Result<()> {
        self.out.write_all(&packed).or_cannot(|| "write the compressed archive")?;
        self.size += packed.len() as u64;
        self.packed.add(Arc::new(packed));
        Ok(())
    }

    /// Ends the stream.
    pub fn finish(mut self) -> Result<Compressed> {
        if !self.member.is_empty() || self.empty {
            self.finish_member()?;
        }
        while let Some(packed) = self.members.take()? {
            self.emit(packed)?;
        }
        Ok(Compressed { plain_sha256: self.plain.finish()?, sha256: self.packed.finish()?, size: self.size })
    }
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    let bug = || Error::cannot(Exit::Bug, "compress a piece with deflate");
    let level = libdeflater::CompressionLvl::new(LEVEL).map_err(|_| bug())?;
    let mut encoder = libdeflater::Compressor::new(level);
    let mut packed = vec![0; encoder.gzip_compress_bound(bytes.len())];
    let length = encoder.gzip_compress(bytes, &mut packed).map_err(|_| bug())?;
    packed.truncate(length);
    Ok(packed)
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(MEMBER - self.member.len());
        self.member.extend_from_slice(&bytes[..taken]);
        if self.member.len() == MEMBER {
            self.finish_member().map_err(io::Error::other)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::release::artifact::hex;

    #[test]
    fn members_read_back_whole_and_do_not_depend_on_threads() {
        for length in [0, 1, MEMBER - 1, MEMBER, MEMBER + 1, 5 * MEMBER + 77] {
            let plain: Vec<u8> = (0..length).map(|at| (at * at / 1000) as u8).collect();
            let mut seen: Option<Vec<u8>> = None;
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let (packed, sums) = pool.install(|| {
                    let mut packed = Vec::new();
                    let mut writer = GzipWriter::new(&mut packed);
                    plain.chunks(70_001).for_each(|chunk| writer.write_all(chunk).unwrap());
                    let sums = writer.finish().unwrap();
                    (packed, sums)
                });
                let mut back = Vec::new();
                flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
                assert!(back == plain);
                assert_eq!(sums.size, packed.len() as u64);
                assert_eq!(sums.plain_sha256, hex(&Sha256::digest(&plain)));
                assert_eq!(sums.sha256, hex(&Sha256::digest(&packed)));
                assert!(seen.is_none_or(|seen| seen == packed));
                seen = Some(packed);
            }
        }
    }
}
