//! Container images and root tarballs.
//!
//! In: a [`ScrubbedTree`], a [`ContainerPlan`], and the [`Base`] that it is built on. Out: one archive, its digests
//! computed on the way. And back: [`unpack`] lays the layers of any such archive into a folder, for the audit, and
//! [`Base`] for images that are built on others. Never needs a container engine.

mod archive;
pub mod base;
mod bound;
mod compress;
mod config;
mod difference;
mod docker;
pub mod embed;
mod fetch;
mod find;
mod follow;
mod foresee;
mod header;
pub mod index;
mod layers;
mod lower;
mod member;
mod oci;
mod root_tarball;
pub mod source;
mod split;
mod tar;
mod unpack;

use std::path::Path;

use crate::error::Result;
use crate::pieces::Pieces;
use crate::plan::{ContainerArchive, ContainerPlan, Image};
use crate::release::Artifact;
use crate::report::Step;
use crate::scrub::ScrubbedTree;

pub use base::{Base, BaseRecord};
pub use embed::{Embedded, EmbeddedRecord};
pub use fetch::Registries;
pub use find::Finder;
pub use follow::LayerReader;
pub use foresee::foresee;
pub use unpack::{Form, Unpacked, unpack, unpack_chosen};

/// What an image is made of.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Its files.
    pub tree: &'a ScrubbedTree,
    /// Its names, settings and layers.
    pub plan: &'a ContainerPlan,
    /// What it is for.
    pub image: &'a Image,
    /// What it is built on.
    pub base: Option<&'a Base>,
    /// A disk that is the image's only file, in place of the tree's files.
    pub disk: Option<&'a Path>,
}

/// A written image.
#[derive(Clone, Debug)]
pub struct Written {
    /// The archive.
    pub artifact: Artifact,
    /// The names of members of the archive that are layers of the base, and so nothing that this build made.
    pub inherited: Vec<String>,
}

/// Writes `folder/STEM.docker.tar` or `folder/STEM.oci.tar`. What `pieces` knows is not compressed again. A `reader` reads what
/// becomes of the tree back from the file, while it is written; its errors end it. 74 where the tree cannot be read or the file
/// not be written.
pub fn write(
    order: &Order<'_>,
    folder: &Path,
    stem: &str,
    pieces: &mut Pieces,
    reader: Option<&dyn LayerReader>,
    step: &Step,
) -> Result<Written> {
    match order.plan.archive {
        ContainerArchive::Docker => docker::write(order, folder, stem, pieces, reader, step),
        ContainerArchive::Oci => oci::write(order, folder, stem, pieces, reader, step),
    }
}

fn inherited(layers: &[layers::Layer], name: impl Fn(&layers::Layer) -> String) -> Vec<String> {
    layers.iter().filter(|layer| layer.new.is_none()).map(name).collect()
}

/// Writes `folder/STEM.tar.xz`, the bare tree.
pub fn write_root_tarball(tree: &ScrubbedTree, folder: &Path, stem: &str, step: &Step) -> Result<Artifact> {
    root_tarball::write(tree, folder, stem, step)
}
