//! gzip and Zstandard on all cores.
//!
//! In: a stream. Out: members of about 1 MiB each (RFC 1952 allows several in a file, RFC 8878 several frames), compressed
//! by libdeflate or libzstd, or left as they are, the same bytes whatever the number of threads, with the digests of both
//! sides. Never a file name or a time in a header. [`super::member`] says where members end; files in members that are known
//! are not read.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::follow::Written;
use super::member::{Growing, Member};
use super::tar::{FileInTree, Sink};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::parallel::InOrder;
use crate::pieces::{Mark, Pieces, Search};
use crate::plan::LayerCompression;
use crate::release::hash::Hasher;

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
    growing: Growing,
    members: InOrder<Member, Packed>,
    pieces: &'p mut Pieces,
    /// Of the stream in the artifact.
    offset: u64,
    plain: Plain,
    packed: Hasher,
    size: u64,
    empty: bool,
}

/// Who hashes the stream as it was before it was compressed.
pub enum Plain {
    /// The writer, which then needs all of it.
    Written(Hasher),
    /// Whoever reads it back, and is told of each member as soon as it is there.
    ReadBack(Sender<Written>),
}

/// A stream that was written.
pub struct Streamed {
    /// SHA-256 of what was written, where the writer hashed it.
    pub plain_sha256: Option<String>,
    /// SHA-256 of what came out.
    pub sha256: String,
    /// Length of what came out.
    pub size: u64,
}

/// A compressed member.
pub(super) struct Packed {
    /// What goes into the stream.
    pub packed: Vec<u8>,
    /// What it was before, if that was asked for.
    plain: Option<Vec<u8>>,
    /// For [`Pieces::note`].
    pub mark: Option<Mark>,
}

impl<'p, W: Write> LayerWriter<'p, W> {
    /// Begins a stream at `offset` of an artifact whose pieces are `pieces`.
    pub fn new(out: W, how: LayerCompression, pieces: &'p mut Pieces, offset: u64, plain: Plain) -> LayerWriter<'p, W> {
        let (search, wanted) = (pieces.search(), matches!(plain, Plain::Written(_)));
        LayerWriter {
            out,
            growing: Growing::default(),
            members: InOrder::new(move |member| pack(member, how, &search, wanted)),
            pieces,
            offset,
            plain,
            packed: Hasher::start(),
            size: 0,
            empty: true,
        }
    }

    /// Lets the stream grow, and goes on with each member that ends.
    fn grow(
        &mut self,
        add: impl FnOnce(&mut Growing, &mut dyn FnMut(Member) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let mut growing = std::mem::take(&mut self.growing);
        let added = add(&mut growing, &mut |member| self.push(member));
        self.growing = growing;
        added
    }

    fn push(&mut self, member: Member) -> Result<()> {
        self.empty = false;
        match self.members.push(member)? {
            Some(packed) => self.emit(packed),
            None => Ok(()),
        }
    }

    fn emit(&mut self, Packed { packed, plain, mark }: Packed) -> Result<()> {
        let what = || "write the compressed archive";
        self.pieces.note(mark, self.offset + self.size);
        self.out.write_all(&packed).or_cannot(what)?;
        self.size += packed.len() as u64;
        match (&self.plain, plain) {
            (Plain::Written(hasher), Some(plain)) => hasher.add(Arc::new(plain)),
            (Plain::Written(_), None) => return Err(Error::cannot(Exit::Bug, "hash the archive")),
            (Plain::ReadBack(reader), _) => {
                self.out.flush().or_cannot(what)?;
                // It fails only where the reader does, which says why.
                let _ = reader.send(Written { length: packed.len(), sum: crc32fast::hash(&packed) });
            }
        }
        self.packed.add(Arc::new(packed));
        Ok(())
    }

    /// Ends the stream.
    pub fn finish(mut self) -> Result<Streamed> {
        let rest = self.growing.rest().or_else(|| self.empty.then(Member::default));
        if let Some(member) = rest {
            self.push(member)?;
        }
        while let Some(member) = self.members.take()? {
            self.emit(member)?;
        }
        let plain_sha256 = match self.plain {
            Plain::Written(hasher) => Some(hasher.finish()?),
            Plain::ReadBack(_) => None,
        };
        Ok(Streamed { plain_sha256, sha256: self.packed.finish()?, size: self.size })
    }
}

impl<W: Write> Sink for LayerWriter<'_, W> {
    fn blocks(&mut self, bytes: &[u8]) -> Result<()> {
        self.grow(|growing, ended| growing.blocks(bytes, ended))
    }

    fn content(&mut self, file: &FileInTree<'_>) -> Result<()> {
        self.grow(|growing, ended| growing.content(file, ended).map(drop))
    }
}

/// Compresses a member, or finds what it was compressed to. What it is made from is read if nothing was found, or it is
/// `wanted`.
pub(super) fn pack(member: Member, how: LayerCompression, search: &Search, wanted: bool) -> Result<Packed> {
    if how == LayerCompression::None {
        let plain = member.read()?;
        return Ok(Packed { packed: plain.clone(), plain: wanted.then_some(plain), mark: None });
    }
    let mut found = search.find_by(|| member.key());
    if let Some((packed, mark)) = found.take() {
        let plain = wanted.then(|| member.read()).transpose()?;
        return Ok(Packed { packed, plain, mark });
    }
    let plain = member.read()?;
    let packed = match how {
        LayerCompression::Zstd => zstd::bulk::compress(&plain, ZSTD_LEVEL)
            .map_err(|error| Error::cannot(Exit::Bug, "compress a piece with zstd").because(error))?,
        _ => deflate(&plain)?,
    };
    Ok(Packed { mark: found.mark(&packed), packed, plain: wanted.then_some(plain) })
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::header::BLOCK;
    use super::super::member::{LONGEST, SHORTEST};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::release::artifact::hex;

    fn packed(plain: &[u8], pieces: &mut Pieces) -> (Vec<u8>, Compressed) {
        let mut packed = Vec::new();
        let hashed = Plain::Written(Hasher::start());
        let mut writer = LayerWriter::new(&mut packed, LayerCompression::Gzip, pieces, 0, hashed);
        plain.chunks(137 * BLOCK).for_each(|chunk| writer.blocks(chunk).unwrap());
        let Streamed { plain_sha256, sha256, size } = writer.finish().unwrap();
        (packed, Compressed { plain_sha256: plain_sha256.unwrap(), sha256, size })
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
        for length in [0, BLOCK, SHORTEST - BLOCK, SHORTEST, LONGEST + BLOCK, 5 * LONGEST + 77 * BLOCK] {
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
