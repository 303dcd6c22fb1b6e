//! The raw disk, compressed as a whole: gzip, xz or Zstandard.
//!
//! In: a raw disk. Out: one compressed file, packed on all cores, the same bytes whatever their number. Holes are not
//! read.

use std::collections::BTreeMap;
use std::io::Write;

use super::packed::{Codec, Packer};
use super::stream::{Blocks, Stream};
use super::{DiskFormat, Writing, unknown_option};
use crate::error::{OrCannot, Result};
use crate::pieces::Pieces;
use crate::release::{Artifact, xz};

/// Zeros in front of data are found in blocks of this length.
const BLOCK: u64 = 64 << 10;

/// `raw.gz`, `raw.xz`, `raw.zst`.
pub enum Compressed {
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
}

impl DiskFormat for Compressed {
    fn name(&self) -> &'static str {
        match self {
            Compressed::Gzip => "raw.gz",
            Compressed::Xz => "raw.xz",
            Compressed::Zstd => "raw.zst",
        }
    }

    fn extension(&self) -> &'static str {
        self.name()
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        match options.keys().next() {
            Some(key) => Err(unknown_option(self.name(), key, &[])),
            None => Ok(()),
        }
    }

    fn write(&self, writing: &Writing<'_>, _pieces: &mut Pieces) -> Result<Artifact> {
        let Writing { disk, folder, name, step, .. } = *writing;
        let size = disk.size().0;
        let blocks = Blocks::find(disk, BLOCK)?;
        step.total(blocks.count());
        let stream = Stream::create(folder, name)?;
        let codec = match self {
            Compressed::Gzip => Codec::Gzip,
            Compressed::Zstd => Codec::Zstd,
            Compressed::Xz => {
                let what = || "compress the disk with xz";
                let mut encoder = xz::encoder(stream)?;
                let zeros = vec![0; 1 << 20];
                let mut at = 0;
                let fill = |encoder: &mut dyn Write, at: &mut u64, to: u64| {
                    while *at < to {
                        let length = (to - *at).min(zeros.len() as u64);
                        encoder.write_all(&zeros[..length as usize]).or_cannot(what)?;
                        *at += length;
                    }
                    Ok::<(), crate::error::Error>(())
                };
                blocks.for_each(|piece, mut bytes| {
                    let start = piece.start * BLOCK;
                    fill(&mut encoder, &mut at, start)?;
                    bytes.truncate((size - start).min(bytes.len() as u64) as usize);
                    encoder.write_all(&bytes).or_cannot(what)?;
                    at += bytes.len() as u64;
                    step.advance(piece.end - piece.start, bytes.len() as u64);
                    Ok(())
                })?;
                fill(&mut encoder, &mut at, size)?;
                return encoder.finish().or_cannot(what)?.finish(self.name());
            }
        };
        let mut packer = Packer::new(stream, codec);
        let mut at = 0;
        blocks.for_each(|piece, mut bytes| {
            let start = piece.start * BLOCK;
            packer.zeros(start - at)?;
            bytes.truncate((size - start).min(bytes.len() as u64) as usize);
            packer.write(&bytes)?;
            at = start + bytes.len() as u64;
            step.advance(piece.end - piece.start, bytes.len() as u64);
            Ok(())
        })?;
        packer.zeros(size - at)?;
        packer.finish()?.finish(self.name())
    }
}
