//! What is known of the files of a stage, so that a build on top of it reads only what it changed.
//!
//! In: a workspace that shows a stage. Out: its tree with the notes of earlier builds ([`root::known`](crate::root::known)), and
//! better notes for later ones. They hold for this very stage, ingot and build host; what is packed is audited without.

use std::io::Write;

use super::Order;
use super::stages::{Memory, Reuse, TOOL};
use crate::bytes::Bytes;
use crate::cache::Sha256;
use crate::cache::stages::{Key, StageStore};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::plan::Plan;
use crate::root::known::{Ground, Notes};
use crate::root::{RootTree, Workspace};

const STAGE: &str = "notes";

/// The workspace's tree, with what is known of it.
pub(super) fn tree(plan: &Plan, order: &Order, workspace: &Workspace, memory: &Memory) -> Result<RootTree> {
    let (Some(ground), Reuse::UpTo(limit)) = (&memory.ground, order.reuse) else { return workspace.tree() };
    let store = StageStore::open(&order.cache_dir, limit)?;
    // There are none where this build makes the stage.
    let stage = ground.get().map(|ground| store.find(&key(plan, order, ground))).transpose()?.flatten();
    let content = stage.map(|stage| stage.content()).transpose()?.flatten().unwrap_or_default();
    workspace.tree_knowing(ground, serde_json::from_slice::<Notes>(&content).unwrap_or_default())
}

/// Keeps what a build learned whose tree passed its audit, if the stage is kept by now. A cache that cannot be written is no reason to fail.
pub(super) fn keep(plan: &Plan, order: &Order, learned: Option<(Ground, Notes)>) -> Result<()> {
    let (Some((ground, notes)), Reuse::UpTo(limit)) = (learned, order.reuse) else { return Ok(()) };
    let Some(ground) = ground.get() else { return Ok(()) };
    let text = serde_json::to_vec(&notes).map_err(|error| Error::cannot(Exit::Bug, "note files").because(error))?;
    let kept = || {
        let mut content = file::anonymous(&order.folder)?;
        content.write_all(&text).or_cannot(|| "note files")?;
        let store = StageStore::open(&order.cache_dir, limit)?;
        store.replace(&key(plan, order, ground), serde_json::Value::Null, &content, Bytes(text.len() as u64))
    };
    // They are made again.
    let _: Result<_> = kept();
    Ok(())
}

fn key(plan: &Plan, order: &Order, ground: &str) -> Key {
    let mut key = Key::new(STAGE, &plan.image.name);
    key.add(TOOL, &order.tool);
    key.add("the stage", ground);
    let names: Vec<&str> = order.build_host.names.iter().map(String::as_str).collect();
    key.add("the build host", Sha256::of(names.join("\n")).to_string());
    key
}
