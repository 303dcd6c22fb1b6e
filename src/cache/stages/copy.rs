//! Copying sparse files on all cores, with a digest of what was copied.
//!
//! In: two files. Out: the same content, holes where there are zeros, and a SHA-256 over every piece that is not zero.
//! Never depends on where the filesystem happens to have holes.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rayon::prelude::*;
use sha2::Digest;

use crate::bytes::Bytes;
use crate::cache::digest::Sha256;
use crate::error::{OrCannot, Result};
use crate::host::file;

/// What one core works on at a time.
const PIECE: u64 = 4 << 20;
/// Zeros of this length are a hole.
const BLOCK: usize = 64 << 10;

/// Where a piece begins, and its SHA-256.
type PieceDigest = (u64, [u8; 32]);

/// Bytes of data in the first `length` bytes, as far as the filesystem knows.
pub fn size_of_data(file: &File, length: Bytes) -> Result<Bytes> {
    let ranges = file::data_ranges(file)?.into_iter();
    Ok(Bytes(ranges.map(|range| range.end.min(length.0).saturating_sub(range.start)).sum()))
}

/// Copies the first `length` bytes of `from` to the same places of `to`, which must hold nothing but zeros there.
pub fn copy(from: &File, to: &File, length: Bytes) -> Result<Sha256> {
    each_piece(from, length, |bytes, offset| to.write_all_at(bytes, offset))
}

/// The digest that [`copy`] would give.
pub fn digest(file: &File, length: Bytes) -> Result<Sha256> {
    each_piece(file, length, |_, _| Ok(()))
}

fn each_piece(file: &File, length: Bytes, write: impl Fn(&[u8], u64) -> std::io::Result<()> + Sync) -> Result<Sha256> {
    let pieces = pieces(file, length)?;
    let digests: Vec<Option<PieceDigest>> = pieces
        .into_par_iter()
        .map_init(Vec::new, |buffer, (offset, length)| {
            buffer.resize(length as usize, 0);
            file.read_exact_at(buffer, offset).or_cannot(|| "read a stage")?;
            let mut hash = sha2::Sha256::new();
            let mut empty = true;
            for (at, block) in buffer.chunks(BLOCK).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0))
            {
                let at = offset + (at * BLOCK) as u64;
                hash.update(at.to_le_bytes());
                hash.update(block);
                write(block, at).or_cannot(|| "write a stage")?;
                empty = false;
            }
            Ok((!empty).then(|| (offset, hash.finalize().into())))
        })
        .collect::<Result<_>>()?;
    let mut hash = Vec::new();
    for (offset, digest) in digests.into_iter().flatten() {
        hash.extend_from_slice(&offset.to_le_bytes());
        hash.extend_from_slice(&digest);
    }
    hash.extend_from_slice(&length.0.to_le_bytes());
    Ok(Sha256::of(hash))
}

/// The aligned pieces of the first `length` bytes that hold data.
fn pieces(file: &File, length: Bytes) -> Result<Vec<(u64, u64)>> {
    let mut pieces: Vec<(u64, u64)> = Vec::new();
    for range in file::data_ranges(file)? {
        let mut at = range.start / PIECE * PIECE;
        while at < range.end.min(length.0) {
            if pieces.last().is_none_or(|(last, _)| *last < at) {
                pieces.push((at, PIECE.min(length.0 - at)));
            }
            at += PIECE;
        }
    }
    Ok(pieces)
}
