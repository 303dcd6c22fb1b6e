//! The tree as a compressed tarball (`image="tbz"`).
//!
//! In: a tree. Out: `STEM.tar.xz`, compressed by liblzma's threads in blocks of fixed length, so that the bytes do not
//! depend on their number.

use std::path::Path;

use super::tar;
use crate::error::{OrCannot, Result};
use crate::release::{Artifact, ArtifactWriter, xz};
use crate::report::Step;
use crate::scrub::ScrubbedTree;

/// Writes `folder/STEM.tar.xz`.
pub fn write(tree: &ScrubbedTree, folder: &Path, stem: &str, step: &Step) -> Result<Artifact> {
    let name = format!("{stem}.tar.xz");
    let out = ArtifactWriter::create(folder, &name)?;
    let mut xz = xz::encoder(out)?;
    let pieces = tar::pieces(tree)?;
    step.total(pieces.len() as u64);
    tar::write(tree, &pieces, &mut tar::Plain(&mut xz), step)?;
    let out = xz.finish().or_cannot(|| format!("write {name}"))?;
    out.finish("tar.xz")
}
