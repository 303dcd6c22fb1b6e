//! Removing what the build left behind, and proving that nothing is left.
//!
//! In: a [`RootTree`] after its last script. Out: a [`ScrubbedTree`], which only an audit without findings makes.
//! Never follows a symlink out of the tree, never skips a rule in silence.

use serde::Serialize;

use crate::root::{RootPath, RootTree};

/// A tree that may be shipped: `disk` and `container` take nothing else.
#[derive(Debug)]
pub struct ScrubbedTree {
    tree: RootTree,
    actions: Vec<Action>,
    epoch: i64,
}

/// What a rule did to a path; the manifest records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Action {
    /// Name of the rule.
    pub rule: &'static str,
    /// What was done: `removed`, `truncated`, `edited`, `reset`.
    pub done: &'static str,
    /// To what.
    #[serde(serialize_with = "as_text")]
    pub path: RootPath,
}

fn as_text<S: serde::Serializer>(path: &RootPath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

impl ScrubbedTree {
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
