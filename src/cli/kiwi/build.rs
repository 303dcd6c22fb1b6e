//! `kiwi system build`: tree, image and KIWI's list of results, in a target folder.
//!
//! In: arguments. Out: `TARGET/STEM.*`, `TARGET/kiwi.result.json`, and in `TARGET/build` the image's tree and the log.
//! What an earlier build put there is replaced only when everything is finished.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::arguments::BuildArguments;
use super::frame::{CacheUse, Frame, Places, last_line};
use super::request::{Planned, Request};
use crate::cli::build::since_1970;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::pipeline::{self, KeepRoot, Order};
use crate::plan::Plan;
use crate::release::Staging;
use crate::release::kiwi_result::{KiwiResult, Naming};
use crate::report::Reporter;

/// Where a build keeps its tree.
const TREE: &str = "build/image-root";
/// Its log.
const LOG: &str = "build/image-root.log";

/// Builds.
pub fn run(arguments: &BuildArguments, frame: &mut Frame<'_>) -> Result<u8> {
    let common = &arguments.common;
    let mut warnings = Vec::new();
    let request = Request::new(frame.globals, common, &frame.settings, &mut warnings)?;
    frame.warnings.extend(warnings);
    let planned = request.plan(frame.colour)?;
    let target = &arguments.target_dir;
    if file::exists(&target.join(TREE)) && !common.allow_existing_root {
        let error = Error::cannot(Exit::CannotCreate, format!("build in {}", target.display()));
        let error = error.because(format!("there is {TREE} of an earlier build"));
        return Err(error.hint("remove it, or say --allow-existing-root to have it replaced"));
    }
    let cache = if common.clear_cache { CacheUse::OwnAndEmpty } else { CacheUse::Shared };
    into_target(frame, &planned, target, TreeKept::InBuildFolder, cache, |order, reporter| {
        pipeline::cast(std::slice::from_ref(&planned.plan), order, reporter)
    })
}

/// Whether the image's tree stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeKept {
    /// As `build/image-root`: a farm reads its package database.
    InBuildFolder,
    /// It is elsewhere already.
    Elsewhere,
}

/// Does `work` in a staging folder and publishes what it made as KIWI would.
pub fn into_target(
    frame: &Frame<'_>,
    planned: &Planned,
    target: &Path,
    tree: TreeKept,
    cache: CacheUse,
    work: impl FnOnce(&Order, &Reporter) -> Result<()>,
) -> Result<u8> {
    let plan = &planned.plan;
    let staging = Staging::begin(target)?;
    staging.check_outside(&plan.inputs())?;
    let folder = staging.folder();
    file::create_folders(&folder.join("build"))?;
    let places = Places {
        folder,
        log: folder.join(LOG),
        shown_log: staging.target().join(LOG),
        keep_root: match tree {
            TreeKept::InBuildFolder => KeepRoot::OfGoodBuild(folder.join(TREE)),
            TreeKept::Elsewhere => KeepRoot::No,
        },
        cache,
    };
    let order = frame.order(plan, &places)?;
    let code = frame.isolated(plan, &order, &places, |reporter| work(&order, reporter))?;
    if code != 0 {
        return Ok(code);
    }
    let artifacts = artifacts(folder)?;
    let result = list(plan, staging.target(), &artifacts, folder, planned.naming.clone())?;
    result.write(folder)?;
    let target = staging.publish()?;
    finished(frame, &target, &artifacts, &result)
}

/// Name, format, digest and size of what the manifest lists.
fn artifacts(folder: &Path) -> Result<Vec<Value>> {
    let bad = |error: serde_json::Error| Error::cannot(Exit::Bug, "read manifest.json").because(error);
    let mut manifest: Value = serde_json::from_slice(&file::read(&folder.join("manifest.json"))?).map_err(bad)?;
    Ok(manifest["artifacts"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

fn list(plan: &Plan, target: &Path, artifacts: &[Value], folder: &Path, naming: Naming) -> Result<KiwiResult> {
    let stem = plan.image.stem();
    let named = artifacts.iter().map(|artifact| (text(&artifact["name"]), text(&artifact["format"])));
    let beside = ["packages", "verified", "changes"].map(|end| format!("{stem}.{end}"));
    let beside = beside.into_iter().chain(["manifest.json".to_string()]);
    let beside: Vec<String> = beside.filter(|name| file::is_file(&folder.join(name))).collect();
    Ok(KiwiResult::new(target, named, beside, naming))
}

/// Tells the person, the watching program and the farm.
fn finished(frame: &Frame<'_>, target: &Path, artifacts: &[Value], result: &KiwiResult) -> Result<u8> {
    let reporter = frame.reporter()?;
    let list: Vec<Value> = artifacts
        .iter()
        .map(|artifact| {
            let path: PathBuf = target.join(text(&artifact["name"]));
            json!({"path": path, "sha256": artifact["sha256"], "size": artifact["size"]})
        })
        .collect();
    reporter.say("Result files:");
    for (key, file) in &result.files {
        reporter.say(&format!("--> {key}: {}", file.filename.display()));
    }
    reporter.event(json!({"step": "release", "event": "finished", "pct": 100, "artifacts": list}));
    let finished = crate::report::timestamp(since_1970());
    last_line(&json!({"exit": 0, "finished": finished, "artifacts": list}));
    Ok(0)
}
