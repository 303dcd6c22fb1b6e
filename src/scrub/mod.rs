//! Removing what the build left behind, and proving that nothing is left.
//!
//! In: a [`RootTree`] after its last script. Out: a [`ScrubbedTree`], which only an audit without findings makes.
//! Never follows a symlink out of the tree, never skips a rule in silence.

pub mod asked;

use serde::Serialize;

use crate::root::{RootPath, RootTree};
pub use asked::{Asked, BuildHost, DescribedPaths};

/// A tree that may be shipped: `disk` and `container` take nothing else.
#[derive(Debug)]
pub struct ScrubbedTree {
    tree: RootTree,
    actions: Vec<Action>,
    epoch: i64,
}

/// What a rule did to a path; the manifest records it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Action {
    /// Name of the rule.
    pub rule: &'static str,
    /// What was done.
    pub done: Done,
    /// To what.
    #[serde(serialize_with = "as_text")]
    pub path: RootPath,
}

/// What can be done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// It is gone.
    Removed,
    /// The file is there and empty.
    Truncated,
    /// Some of its lines are gone or changed.
    Edited,
    /// It holds the same as on every host that builds this image.
    Reset,
    /// It was made, so that the first boot makes what was removed.
    Added,
}

fn as_text<S: serde::Serializer>(path: &RootPath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

impl ScrubbedTree {
    /// A tree that nobody audited, for tests of what comes after the scrub. The feature `unaudited` is switched on by
    /// ingot's own dev-dependency and nowhere else: `cargo build` does not know this function.
    #[cfg(any(test, feature = "unaudited"))]
    #[doc(hidden)]
    pub fn unaudited(tree: RootTree, epoch: i64) -> ScrubbedTree {
        ScrubbedTree { tree, actions: Vec::new(), epoch }
    }

    /// The tree, for reading.
    pub fn tree(&self) -> &RootTree {
        &self.tree
    }

    /// What the scrub did.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// The image's date, seconds since 1970: no time stamp in an artifact is newer.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }
}
