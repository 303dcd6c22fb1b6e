//! From packages to a complete root filesystem.
//!
//! In: a [`Plan`](crate::plan::Plan) and a [`PackageSet`](crate::package::PackageSet). Out: a [`RootTree`].
//! Never writes outside the tree, never gives a script anything of the host.

mod account;
pub mod configure;
pub mod known;
mod overlay;
mod regional;
mod scratch;
pub mod script;
pub mod tree;
mod trust;
mod user;
mod view;
pub mod workspace;

pub use configure::{configure, extract_bootstrap_archives};
pub use script::{asked_for, remove_surroundings, run_script};
pub use tree::{RootPath, RootTree};
pub use trust::trust;
pub use user::passwords;
pub use workspace::{Workspace, WorkspaceKind};
