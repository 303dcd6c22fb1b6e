//! Recognising and undoing the compression of an archive by its first bytes.
//!
//! In: a stream. Out: the stream decompressed. Never trusts a file's name; never needs unbounded memory.

use std::io::{Chain, Cursor, Read};

use super::gzip::GzipReader;
use crate::error::{Error, Exit, OrCannot, Result};

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952), one member or several.
    Gzip,
    /// xz, one stream or several.
    Xz,
    /// Zstandard (RFC 8878), one frame or several.
    Zstd,
    /// bzip2: recognised to be refused by name.
    Bzip2,
}

impl Compression {
    /// By the first bytes (six are enough); anything else counts as not compressed.
    pub fn of(start: &[u8]) -> Compression {
        match start {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            _ => Compression::None,
        }
    }
}

/// Most memory that a decoder may ask for, in bytes (`xz -9` needs 65 MiB).
const MOST_MEMORY: u64 = 512 << 20;

/// The content of `input`, whatever its compression; bzip2 is 65.
pub fn decompressed<'a>(mut input: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    let mut start = Vec::with_capacity(6);
    input.by_ref().take(6).read_to_end(&mut start).or_cannot(|| "read the archive")?;
    let compression = Compression::of(&start);
    let whole: Chain<Cursor<Vec<u8>>, _> = Cursor::new(start).chain(input);
    Ok(match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(GzipReader::new(whole)),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(MOST_MEMORY, liblzma::stream::CONCATENATED)
                .map_err(|error| Error::cannot(Exit::Bug, "start the xz decoder").because(error))?;
            Box::new(liblzma::read::XzDecoder::new_stream(whole, stream))
        }
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(whole).or_cannot(|| "start the zstd decoder")?),
        Compression::Bzip2 => {
            return Err(Error::cannot(Exit::Description, "read the archive")
                .because("it is compressed with bzip2")
                .hint("compress it with zstd, xz or gzip"));
        }
    })
}
