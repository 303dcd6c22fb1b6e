//! xz, on all cores, the same bytes whatever their number.
//!
//! In: a writer. Out: an encoder that compresses blocks of fixed length on liblzma's threads. Never needs more than
//! [`MEMORY`] bytes for all of them together.

use std::io::Write;

use liblzma::stream::{Check, MtStreamBuilder};
use liblzma::write::XzEncoder;

use crate::error::{Error, Exit, Result};

/// What one thread compresses at a time, in bytes.
const BLOCK: u64 = 8 << 20;
/// xz's preset: larger ones cost several times as much for a few percent.
const PRESET: u32 = 2;
/// No more memory than this for all threads together, in bytes.
const MEMORY: u64 = 256 << 20;

/// An encoder that writes to `out`.
pub fn encoder<W: Write>(out: W) -> Result<XzEncoder<W>> {
    let mut threads = rayon::current_num_threads().max(1) as u32;
    let mut builder = MtStreamBuilder::new();
    builder.preset(PRESET).block_size(BLOCK).check(Check::Crc64).threads(threads);
    while threads > 1 && builder.memusage() > MEMORY {
        threads -= 1;
        builder.threads(threads);
    }
    let stream = builder.encoder().map_err(|error| Error::cannot(Exit::Bug, "start the xz encoder").because(error))?;
    Ok(XzEncoder::new_stream(out, stream))
}
