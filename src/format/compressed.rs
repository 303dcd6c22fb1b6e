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
                let mut bytes = Vec::new();
                let read = blocks.reader();
                for piece in blocks.pieces() {
                    let part = blocks.part(&piece);
                    fill(&mut encoder, &mut at, part.start)?;
                    read(piece.clone(), &mut bytes)?;
                    let length = part.end - part.start;
                    encoder.write_all(&bytes[..length as usize]).or_cannot(what)?;
                    at = part.end;
                    step.advance(piece.end - piece.start, length);
                }
                fill(&mut encoder, &mut at, size)?;
                return encoder.finish().or_cannot(what)?.finish(self.name());
            }
        };
        let mut packer = Packer::new(stream, codec);
        let mut at = 0;
        for piece in blocks.pieces() {
            let part = blocks.part(&piece);
            packer.zeros(part.start - at)?;
            packer.copy(blocks.file(), part.clone())?;
            at = part.end;
            step.advance(piece.end - piece.start, part.end - part.start);
        }
        packer.zeros(size - at)?;
        packer.finish()?.finish(self.name())
    }
}
