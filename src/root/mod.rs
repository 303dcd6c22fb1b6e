//! From packages to a complete root filesystem.
//!
//! In: a [`Plan`](crate::plan::Plan) and a [`PackageSet`](crate::package::PackageSet). Out: a [`RootTree`].
//! Never writes outside the tree, never gives a script anything of the host.

pub mod tree;
pub mod workspace;

pub use tree::{RootPath, RootTree};
pub use workspace::{Workspace, WorkspaceKind};
