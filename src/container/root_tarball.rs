//! The tree as a compressed tarball (`image="tbz"`).
//!
//! In: a tree. Out: `STEM.tar.xz`, compressed by liblzma's threads in blocks of fixed length, so that the bytes do not
//! depend on their number.

use std::path::Path;

use liblzma::stream::{Check, MtStreamBuilder};
use liblzma::write::XzEncoder;

use super::tar;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::release::{Artifact, ArtifactWriter};
use crate::report::Step;
use crate::scrub::ScrubbedTree;

/// What one thread compresses at a time, in bytes.
const BLOCK: u64 = 8 << 20;
/// xz's preset: larger ones cost several times as much for a few percent.
const PRESET: u32 = 2;
/// No more memory than this for all threads together, in bytes.
const MEMORY: u64 = 256 << 20;

/// Writes `folder/STEM.tar.xz`.
pub fn write(tree: &ScrubbedTree, folder: &Path, stem: &str, step: &Step) -> Result<Artifact> {
    let name = format!("{stem}.tar.xz");
    let out = ArtifactWriter::create(folder, &name)?;
    let stream = encoder(rayon::current_num_threads() as u32)?;
    let mut xz = XzEncoder::new_stream(out, stream);
    tar::write(tree, &mut xz, step)?;
    let out = xz.finish().or_cannot(|| format!("write {name}"))?;
    out.finish("tar.xz")
}

fn encoder(threads: u32) -> Result<liblzma::stream::Stream> {
    let mut builder = MtStreamBuilder::new();
    builder.preset(PRESET).block_size(BLOCK).check(Check::Crc64).threads(threads.max(1));
    let mut threads = threads.max(1);
    while threads > 1 && builder.memusage() > MEMORY {
        threads -= 1;
        builder.threads(threads);
    }
    builder.encoder().map_err(|error| Error::cannot(Exit::Bug, "start the xz encoder").because(error))
}
