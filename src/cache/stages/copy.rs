//! Copying sparse files on all cores, with a digest of what was copied.
//!
//! In: two files. Out: the same content, holes where there are zeros, and a SHA-256 over the BLAKE3 of every piece that is
//! not zero: nobody else's digest is compared with it, and it is made each time that a stage is used.
//! Never depends on where the filesystem happens to have holes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::bytes::{Bytes, is_zero};
use crate::cache::digest::Sha256;
use crate::error::{OrCannot, Result};
use crate::host::{file, signal};

/// What one core works on at a time.
const PIECE: u64 = 4 << 20;
/// Zeros of this length are a hole.
const BLOCK: usize = 64 << 10;

/// Where a piece begins, and its BLAKE3.
type PieceDigest = (u64, [u8; 32]);

/// Bytes of data in the first `length` bytes, as far as the filesystem knows.
pub fn size_of_data(file: &File, length: Bytes) -> Result<Bytes> {
    let ranges = file::data_ranges(file)?.into_iter();
    Ok(Bytes(ranges.map(|range| range.end.min(length.0).saturating_sub(range.start)).sum()))
}

/// Copies the first `length` bytes of `from` to the same places of `to`, which must hold nothing but zeros there.
pub fn copy(from: &File, to: &File, length: Bytes) -> Result<Sha256> {
    each_piece(from, length, &AtomicBool::new(false), |bytes, offset| to.write_all_at(bytes, offset))
}

/// The digest that [`copy`] would give. Once `in_vain` says so, nothing more is read, and the digest is worth nothing.
pub fn digest(file: &File, length: Bytes, in_vain: &AtomicBool) -> Result<Sha256> {
    each_piece(file, length, in_vain, |_, _| Ok(()))
}

fn each_piece(
    file: &File,
    length: Bytes,
    in_vain: &AtomicBool,
    write: impl Fn(&[u8], u64) -> std::io::Result<()> + Sync,
) -> Result<Sha256> {
    let pieces = pieces(file, length)?;
    // Few buffers: each is new memory, which the kernel fills with zeros.
    let share = pieces.len().div_ceil(2 * rayon::current_num_threads());
    let digests: Vec<Option<PieceDigest>> = pieces
        .into_par_iter()
        .with_min_len(share.max(1))
        .map_init(Vec::new, |buffer, (offset, length)| {
            if in_vain.load(Ordering::Relaxed) {
                return Ok(None);
            }
            signal::check()?;
            buffer.resize(length as usize, 0);
            file.read_exact_at(buffer, offset).or_cannot(|| "read a stage")?;
            let mut hash = blake3::Hasher::new();
            let mut empty = true;
            for (at, data) in stretches_of_data(buffer) {
                let at = offset + at as u64;
                hash.update(&at.to_le_bytes());
                hash.update(data);
                write(data, at).or_cannot(|| "write a stage")?;
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

/// Where data begins, and the data, between holes: the longer a write, the fewer threads wait for another's.
fn stretches_of_data(piece: &[u8]) -> Vec<(usize, &[u8])> {
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    for (index, block) in piece.chunks(BLOCK).enumerate() {
        if is_zero(block) {
            continue;
        }
        let start = index * BLOCK;
        match stretches.last_mut() {
            Some((_, end)) if *end == start => *end += block.len(),
            _ => stretches.push((start, start + block.len())),
        }
    }
    stretches.into_iter().map(|(start, end)| (start, &piece[start..end])).collect()
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
