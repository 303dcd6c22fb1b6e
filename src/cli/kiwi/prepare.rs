//! `kiwi system prepare`: the tree, and what `system create` must know of it.
//!
//! In: arguments. Out: a folder with the tree. A folder that is there already is replaced only if it is empty or such a
//! tree itself, and only when the new one is complete.

use std::path::Path;

use serde_json::json;

use super::arguments::PrepareArguments;
use super::frame::{CacheUse, Frame, Places, last_line};
use super::request::Request;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::pipeline::{self, KeepRoot, Prepared};
use crate::release::Staging;

/// Prepares.
pub fn run(arguments: &PrepareArguments, frame: &mut Frame<'_>) -> Result<u8> {
    let common = &arguments.common;
    let mut warnings = Vec::new();
    let request = Request::new(frame.globals, common, &frame.settings, &mut warnings)?;
    frame.warnings.extend(warnings);
    let cache = if common.clear_cache { CacheUse::OwnAndEmpty } else { CacheUse::Shared };
    if file::exists(&arguments.root) && !common.allow_existing_root {
        let error = Error::cannot(Exit::CannotCreate, format!("prepare a tree in {}", arguments.root.display()));
        return Err(error.because("it exists").hint("remove it, or say --allow-existing-root to have it replaced"));
    }
    into_root(frame, &request, &arguments.root, cache)
}

/// Grows the tree that `request` describes in `root`.
pub fn into_root(frame: &Frame<'_>, request: &Request, root: &Path, cache: CacheUse) -> Result<u8> {
    check_replaceable(root)?;
    let plan = &request.plan(frame.colour)?.plan;
    let root = file::absolute(root)?;
    let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Beside the target, so that the tree gets there in one step.
    let staging = Staging::begin(&root.with_file_name(format!("{name}.prepared")))?;
    let tree = staging.folder().join("tree");
    let log = root.with_file_name(format!("{name}.log"));
    let places = Places { folder: staging.folder(), log: log.clone(), shown_log: log, keep_root: KeepRoot::No, cache };
    let order = frame.order(plan, &places)?;
    let code = frame.isolated(plan, &order, &places, |reporter| {
        let prepared = pipeline::prepare(plan, &order, &tree, reporter)?;
        prepared.keep(&tree, request)?;
        file::sync_tree(&tree)
    })?;
    if code != 0 {
        return Ok(code);
    }
    check_replaceable(&root)?;
    file::remove_tree(&root)?;
    file::rename(&tree, &root)?;
    frame.reporter()?.say(&format!("--> tree: {}", root.display()));
    last_line(&json!({"exit": 0, "root": root}));
    Ok(0)
}

/// Only what is surely nobody's own may be replaced.
fn check_replaceable(root: &Path) -> Result<()> {
    let empty = !file::exists(root) || file::is_folder(root) && file::names(root)?.is_empty();
    if empty || Prepared::is_in(root) {
        return Ok(());
    }
    let error = Error::cannot(Exit::CannotCreate, format!("prepare a tree in {}", root.display()));
    Err(error.because("it holds files, and no tree of `system prepare`").hint("choose another --root"))
}
