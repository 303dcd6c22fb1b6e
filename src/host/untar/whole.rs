//! Decompressing members of a stream whose ends are known.
//!
//! In: one gzip member or one Zstandard frame. Out: its content. Never believes a length: what comes out is exactly as long as
//! the member says, and no longer than was allowed, and nothing follows it.

use std::io::{Error, ErrorKind, Result};

use super::compression::Compression;
use super::gzip::Decoder;

/// See the module.
pub struct MemberDecoder {
    how: Compression,
    most: usize,
    gzip: Decoder,
    zstd: zstd::bulk::Decompressor<'static>,
}

fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

impl MemberDecoder {
    /// For members with no more than `most` bytes of content, gzip, Zstandard, or not compressed.
    pub fn new(how: Compression, most: usize) -> Result<MemberDecoder> {
        Ok(MemberDecoder { how, most, gzip: Decoder::new(), zstd: zstd::bulk::Decompressor::new()? })
    }

    /// How long the content is, as the member says.
    pub fn length(&self, packed: &[u8]) -> Result<usize> {
        let length = match self.how {
            Compression::None => Some(packed.len() as u64),
            // RFC 1952, 2.3.1: the last four bytes.
            Compression::Gzip => packed.last_chunk::<4>().map(|length| u32::from_le_bytes(*length).into()),
            Compression::Zstd => zstd::zstd_safe::get_frame_content_size(packed).ok().flatten(),
            Compression::Xz | Compression::Bzip2 => None,
        };
        let length = length.ok_or_else(|| damaged("a compressed member does not say how long it is"))?;
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.most)
            .ok_or_else(|| damaged("a compressed member is longer than any that is written"))
    }

    /// Decompresses it into `plain`, which has the content's length.
    pub fn unpack(&mut self, packed: &[u8], plain: &mut [u8]) -> Result<()> {
        let is_whole = match self.how {
            Compression::None if packed.len() == plain.len() => {
                plain.copy_from_slice(packed);
                true
            }
            Compression::Gzip => self.gzip.member(packed, plain) == Some((packed.len(), plain.len())),
            Compression::Zstd => self.zstd.decompress_to_buffer(packed, plain)? == plain.len(),
            _ => false,
        };
        if is_whole { Ok(()) } else { Err(damaged("a compressed member is damaged")) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(how: Compression, packed: &[u8]) -> Result<Vec<u8>> {
        let mut decoder = MemberDecoder::new(how, 1 << 20)?;
        let mut plain = vec![0; decoder.length(packed)?];
        decoder.unpack(packed, &mut plain)?;
        Ok(plain)
    }

    #[test]
    fn a_member_gives_its_content_and_one_that_is_damaged_too_long_or_not_alone_gives_none() {
        for length in [0, 1, 1000, 1 << 20] {
            let plain: Vec<u8> = (0..length).map(|at: usize| ((at * at) >> 5) as u8).collect();
            let zstd = zstd::bulk::compress(&plain, 3).unwrap();
            for (how, packed) in
                [(Compression::None, plain.clone()), (Compression::Gzip, gzip(&plain)), (Compression::Zstd, zstd)]
            {
                assert!(unpacked(how, &packed).unwrap() == plain, "{how:?} {length}");
                if how != Compression::None {
                    assert!(unpacked(how, &packed[..packed.len() - 1]).is_err(), "{how:?} {length}");
                    assert!(unpacked(how, &packed.repeat(2)).is_err() || length == 0, "{how:?} {length}");
                    assert!(unpacked(how, b"").is_err());
                }
            }
        }
        let long = vec![7; (1 << 20) + 1];
        assert!(unpacked(Compression::None, &long).is_err());
        assert!(unpacked(Compression::Gzip, &gzip(&long)).is_err());
        assert!(unpacked(Compression::Zstd, &zstd::bulk::compress(&long, 1).unwrap()).is_err());
        assert!(unpacked(Compression::Xz, b"").is_err());
    }
}
