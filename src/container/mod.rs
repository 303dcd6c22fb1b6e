//! Container images and root tarballs.
//!
//! In: a [`ScrubbedTree`] and a [`ContainerPlan`]. Out: one archive, its digests computed on the way. And back, for the
//! audit: [`unpack`] lays the layers of any such archive into a folder. Never needs a container engine.

mod archive;
mod config;
mod docker;
mod gzip;
mod header;
mod oci;
mod root_tarball;
mod tar;
mod unpack;

use std::path::Path;

use crate::error::Result;
use crate::pieces::Pieces;
use crate::plan::{ContainerArchive, ContainerPlan, Image};
use crate::release::Artifact;
use crate::report::Step;
use crate::scrub::ScrubbedTree;

pub use unpack::{Form, Unpacked, unpack};

/// Writes `folder/STEM.docker.tar` or `folder/STEM.oci.tar`. What `pieces` knows is not compressed again. 74 where
/// the tree cannot be read or the file not be written.
pub fn write(
    tree: &ScrubbedTree,
    plan: &ContainerPlan,
    image: &Image,
    folder: &Path,
    stem: &str,
    pieces: &mut Pieces,
    step: &Step,
) -> Result<Artifact> {
    match plan.archive {
        ContainerArchive::Docker => docker::write(tree, plan, image, folder, stem, pieces, step),
        ContainerArchive::Oci => oci::write(tree, plan, image, folder, stem, pieces, step),
    }
}

/// Writes `folder/STEM.tar.xz`, the bare tree.
pub fn write_root_tarball(tree: &ScrubbedTree, folder: &Path, stem: &str, step: &Step) -> Result<Artifact> {
    root_tarball::write(tree, folder, stem, step)
}
