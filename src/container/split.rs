//! Layers that hold what changes together, so that a registry stores and a host pulls only what changed.
//!
//! In: the pieces of a tree and its package database. Out: [`Division`]s, the lowest first: the packages that every system
//! needs, the other packages by their source, the package database, and on top what no package brought. Laid over each
//! other they give the same tree as one layer. What goes where is decided by names and rough sizes: an update of a package
//! changes its own layer and the database, and no other.

use crate::error::{Error, Exit, Result};
use crate::report::Step;
use crate::scrub::ScrubbedTree;

use super::tar::Piece;

/// A new layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Division {
    /// What it holds, for people.
    pub what: String,
    /// The pieces, each parent before what is in it.
    pub pieces: Vec<Piece>,
}

/// Divides the pieces into at most `most` layers.
pub fn by_packages(_: &ScrubbedTree, _: Vec<Piece>, _: usize, _: &Step) -> Result<Vec<Division>> {
    Err(Error::cannot(Exit::Description, "divide an image into layers by packages").because("not made yet"))
}
