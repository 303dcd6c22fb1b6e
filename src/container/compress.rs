//! gzip and Zstandard on all cores.
//!
//! In: a stream. Out: members of about 1 MiB each (RFC 1952 allows several in a file, RFC 8878 several frames), compressed
//! by libdeflate or libzstd, or left as they are, the same bytes whatever the number of threads, with the digests of both
//! sides. Never a file name or a time in a header.
//!
//! Where a member ends is decided by the block of the stream before it, not by its place: behind a file that became
//! longer, members are as they were, and those of an earlier build are found again.

use std::io::{self, Write};
use std::sync::Arc;

use super::header::BLOCK;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::parallel::InOrder;
use crate::pieces::{Mark, Pieces, Search};
use crate::plan::LayerCompression;
use crate::release::hash::Hasher;

/// What goes into one member, at least and at most.
const SHORTEST: usize = 768 << 10;
const LONGEST: usize = 2 << 20;
/// One in so many blocks of a tar archive ends a member that is long enough.
const ONE_IN: u32 = 1 << 10;
/// libdeflate's level: a little smaller than `gzip -6` in a quarter of its time.
const LEVEL: i32 = 5;
/// libzstd's level: smaller than gzip, in about the same time.
const ZSTD_LEVEL: i32 = 7;

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
pub struct LayerWriter<'p, W: Write> {
    out: W,
    member: Vec<u8>,
    members: InOrder<Arc<Vec<u8>>, Member>,
    pieces: &'p mut Pieces,
    /// Of the stream in the artifact.
    offset: u64,
    plain: Hasher,
    packed: Hasher,
    size: u64,
    empty: bool,
}

/// A compressed member.
pub(super) struct Member {
    /// What goes into the stream.
    pub packed: Vec<u8>,
    /// For [`Pieces::note`].
    pub mark: Option<Mark>,
}

impl<'p, W: Write> LayerWriter<'p, W> {
    /// Begins a stream at `offset` of an artifact whose pieces are `pieces`.
    pub fn new(out: W, how: LayerCompression, pieces: &'p mut Pieces, offset: u64) -> LayerWriter<'p, W> {
        let search = pieces.search();
        LayerWriter {
            out,
            member: Vec::with_capacity(LONGEST),
            members: InOrder::new(move |bytes: Arc<Vec<u8>>| pack(&bytes, how, &search)),
            pieces,
            offset,
            plain: Hasher::start(),
            packed: Hasher::start(),
            size: 0,
            empty: true,
        }
    }

    fn finish_member(&mut self) -> Result<()> {
        let bytes = Arc::new(std::mem::replace(&mut self.member, Vec::with_capacity(LONGEST)));
        self.plain.add(Arc::clone(&bytes));
        self.empty = false;
        match self.members.push(bytes)? {
            Some(member) => self.emit(member),
            None => Ok(()),
        }
    }

    fn emit(&mut self, Member { packed, mark }: Member) -> Result<()> {
        self.pieces.note(mark, self.offset + self.size);
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
        while let Some(member) = self.members.take()? {
            self.emit(member)?;
        }
        Ok(Compressed { plain_sha256: self.plain.finish()?, sha256: self.packed.finish()?, size: self.size })
    }
}

/// Takes what of `bytes` belongs to the member that is growing in `member`, and says how much that was, and whether the member
/// ends there.
pub(super) fn grow(member: &mut Vec<u8>, bytes: &[u8]) -> (usize, bool) {
    let before = member.len();
    let taken = bytes.len().min(LONGEST - before);
    member.extend_from_slice(&bytes[..taken]);
    let Some(end) = end_of_member(member, before) else { return (taken, false) };
    member.truncate(end);
    (end - before, true)
}

/// The end of the member that begins at 0 of `bytes`, if it is there; blocks before `from` are known not to end it.
fn end_of_member(bytes: &[u8], from: usize) -> Option<usize> {
    let first = from.max(SHORTEST - BLOCK) / BLOCK;
    let blocks = bytes.as_chunks::<BLOCK>().0.iter().enumerate().skip(first);
    let ends = |block: &[u8; BLOCK]| crc32fast::hash(block) % ONE_IN == ONE_IN - 1;
    let end = blocks.map(|(at, block)| ((at + 1) * BLOCK, block)).find(|(end, block)| *end == LONGEST || ends(block));
    end.map(|(end, _)| end)
}

/// Compresses a member, or finds what it was compressed to.
pub(super) fn pack(bytes: &[u8], how: LayerCompression, search: &Search) -> Result<Member> {
    if how == LayerCompression::None {
        return Ok(Member { packed: bytes.to_vec(), mark: None });
    }
    let found = search.find(bytes);
    let packed = match found.piece() {
        Some(known) => known.to_vec(),
        None if how == LayerCompression::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL)
            .map_err(|error| Error::cannot(Exit::Bug, "compress a piece with zstd").because(error))?,
        None => deflate(bytes)?,
    };
    Ok(Member { mark: found.mark(&packed), packed })
}

fn deflate(bytes: &[u8]) -> Result<Vec<u8>> {
    let bug = || Error::cannot(Exit::Bug, "compress a piece with deflate");
    let level = libdeflater::CompressionLvl::new(LEVEL).map_err(|_| bug())?;
    let mut encoder = libdeflater::Compressor::new(level);
    let mut packed = vec![0; encoder.gzip_compress_bound(bytes.len())];
    let length = encoder.gzip_compress(bytes, &mut packed).map_err(|_| bug())?;
    packed.truncate(length);
    Ok(packed)
}

impl<W: Write> Write for LayerWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (taken, ends) = grow(&mut self.member, bytes);
        if ends {
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

    fn packed(plain: &[u8], pieces: &mut Pieces) -> (Vec<u8>, Compressed) {
        let mut packed = Vec::new();
        let mut writer = LayerWriter::new(&mut packed, LayerCompression::Gzip, pieces, 0);
        plain.chunks(70_001).for_each(|chunk| writer.write_all(chunk).unwrap());
        let sums = writer.finish().unwrap();
        (packed, sums)
    }

    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let mut back = Vec::new();
        flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut back).unwrap();
        back
    }

    /// Bytes without a pattern in their blocks.
    fn noise(length: usize) -> Vec<u8> {
        (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 37) as u8 & 0x3f).collect()
    }

    #[test]
    fn members_read_back_whole_and_do_not_depend_on_threads() {
        for length in [0, 1, SHORTEST - 1, SHORTEST, LONGEST + 1, 5 * LONGEST + 77] {
            for plain in [(0..length).map(|at| (at * at / 1000) as u8).collect(), vec![7; length], noise(length)] {
                let mut seen: Option<Vec<u8>> = None;
                for threads in [1, 3] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let (packed, sums) = pool.install(|| packed(&plain, &mut Pieces::ignored()));
                    assert!(unpacked(&packed) == plain);
                    assert_eq!(sums.size, packed.len() as u64);
                    assert_eq!(sums.plain_sha256, hex(&Sha256::digest(&plain)));
                    assert_eq!(sums.sha256, hex(&Sha256::digest(&packed)));
                    assert!(seen.is_none_or(|seen| seen == packed));
                    seen = Some(packed);
                }
            }
        }
    }

    #[test]
    fn behind_what_was_put_in_members_are_those_of_the_earlier_stream_and_the_bytes_are_the_same() {
        let plain = noise(24 << 20);
        let mut first = Pieces::unknown();
        let (earlier, _) = packed(&plain, &mut first);
        let changed = [&plain[..3 << 20], &[1; 3 * BLOCK], &plain[3 << 20..]].concat();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&earlier).unwrap();
        let mut second = Pieces::of(file, first.index());
        let (with, sums) = packed(&changed, &mut second);
        let (without, same) = packed(&changed, &mut Pieces::ignored());
        assert!(with == without);
        assert_eq!(sums, same);
        let (reused, made) = second.reused_and_made();
        assert!(reused > 6 * made, "{reused} bytes reused, {made} made");
    }
}
