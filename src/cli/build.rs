//! `ingot build`: the frame around the recipe.
//!
//! In: the arguments. Out: a published release, or an error and a log. The recipe runs in namespaces of its own; what
//! it left in the staging folder becomes visible only here, when nothing of the build is alive any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::say::{print_line, say};
use super::{BuildArguments, UnpackerChoice, WorkspaceChoice};
use crate::description::Colour;
use crate::error::{self, Error, Exit, Result, Warning};
use crate::host::{self, file, identity};
use crate::package::{Mirrors, Unpacker};
use crate::pipeline::stages::{Explain, Reuse};
use crate::pipeline::unchanged::{self, Outcome};
use crate::pipeline::{self, KeepRoot, Order, Reports};
use crate::plan::{ContainerArchive, Output, Plan};
use crate::release::Staging;
use crate::release::manifest::digest_description;
use crate::report::{Reporter, Verbosity};
use crate::root::{Workspace, WorkspaceKind};
use crate::scrub::BuildHost;
use crate::{description, plan};

/// Loads, plans, casts and publishes.
pub fn run(arguments: BuildArguments, colour: Colour) -> Result<u8> {
    let started = since_1970();
    let selection = &arguments.selection;
    let description = description::load(&selection.description).map_err(|problems| problems.into_error(colour))?;
    let plans = super::plan::decide_all(&description, &selection.choices());
    let plans = plans.map_err(|problems| problems.into_error(colour))?;
    let Some(plan) = plans.first() else { return Ok(0) };
    let staging = Staging::begin(&arguments.target_dir)?;
    let log = format!("{}.log", plan.image.stem());
    let order = order(&arguments, &plans, plan, &staging)?;
    let build = Build { plan, plans: &plans, order: &order, arguments: &arguments, staging: &staging, log: &log };
    let ended = host::namespace::isolated(|| build.in_namespace());
    if !matches!(ended, Ok(0)) {
        // What was killed could not clean up, and what it left is unlocked now. How the build ended is what counts: a
        // failure of this is no second message, and the next build sweeps, too.
        let _ = (Workspace::sweep(&order.work_dir), build.keep_log());
        return ended;
    }
    let (target, ended) = match unchanged::outcome(&order)? {
        Outcome::Unchanged => (staging.target().to_path_buf(), "unchanged"),
        Outcome::New(note) => {
            let target = staging.publish()?;
            unchanged::remember(&order, &note)?;
            (target, "done")
        }
    };
    file::remove(&log_of_failure(&target, plan))?;
    let manifest = file::read(&target.join("manifest.json"))?;
    finished(
        &arguments,
        plan,
        &target,
        &manifest,
        &format!("{ended} in {:.1} s", since_1970().saturating_sub(started).as_secs_f64()),
    )
}

fn order(arguments: &BuildArguments, plans: &[Plan], plan: &Plan, staging: &Staging) -> Result<Order> {
    let config_home = arguments.config_home.clone().unwrap_or_else(|| arguments.cache.home().join(".config"));
    let cache_dir = match arguments.no_cache {
        true => staging.folder().join(".cache"),
        false => arguments.cache.folder(),
    };
    let cache_dir = file::absolute(&cache_dir)?;
    file::create_folders(&cache_dir)?;
    file::check_writable(&cache_dir)?;
    let no_work_dir =
        |error: Error| error.with_exit(Exit::CannotCreate).hint("--work-dir names a folder that is there");
    let work_dir = file::canonical(&arguments.work_dir).map_err(no_work_dir)?;
    file::check_writable(&work_dir)?;
    let inputs: BTreeSet<PathBuf> = plans.iter().flat_map(Plan::inputs).collect();
    let inputs: Vec<PathBuf> = inputs.into_iter().collect();
    staging.check_outside(&inputs)?;
    Ok(Order {
        folder: staging.folder().to_path_buf(),
        workspace: match arguments.workspace {
            WorkspaceChoice::Loop => WorkspaceKind::Loop,
            WorkspaceChoice::Folder => WorkspaceKind::Folder,
        },
        unpacker: match arguments.unpacker {
            UnpackerChoice::Dpkg => Unpacker::Dpkg,
            UnpackerChoice::Parallel => Unpacker::Parallel,
        },
        cache_dir,
        reuse: match arguments.no_cache || arguments.no_stage_cache {
            true => Reuse::No,
            false => Reuse::UpTo(arguments.cache_limit),
        },
        published: (!arguments.keep_root).then(|| staging.target().to_path_buf()),
        explain: if arguments.explain_cache { Explain::Aloud } else { Explain::InTheLog },
        tool: identity::of_this_program()?,
        mirrors: Mirrors::load(&arguments.mirrors, Some(&config_home.join("ingot/mirrors.toml")))?,
        registries: arguments.registries.registries()?,
        keep_root: match arguments.keep_root {
            true => KeepRoot::OfAnyBuild(staging.folder().join(name_of_tree(plan))),
            false => KeepRoot::No,
        },
        build_host: BuildHost::this_machine(&work_dir, since_1970().as_secs() as i64),
        description: digest_description(&plan.description_file, &plan.description_dir, &inputs)?,
        reports: Reports::Manifest,
        work_dir,
    })
}

/// `--keep-root`.
fn name_of_tree(plan: &Plan) -> String {
    format!("{}.root", plan.image.name)
}

fn log_of_failure(target: &Path, plan: &Plan) -> PathBuf {
    target.join(format!("{}.failed.log", plan.image.stem()))
}

/// One build, as both sides of the fork see it.
struct Build<'a> {
    /// The first.
    plan: &'a Plan,
    plans: &'a [Plan],
    order: &'a Order,
    arguments: &'a BuildArguments,
    staging: &'a Staging,
    log: &'a str,
}

impl Build<'_> {
    /// Where the log is after a failure.
    fn log_of_failure(&self) -> PathBuf {
        log_of_failure(self.staging.target(), self.plan)
    }

    /// The child's side: cast, and print what went wrong.
    fn in_namespace(&self) -> u8 {
        let reporter = match self.reporter() {
            Ok(reporter) => reporter,
            Err(error) => return tell(&error),
        };
        reporter.say(&self.title());
        let mut warned: Vec<&Warning> = Vec::new();
        for warning in self.plans.iter().flat_map(|plan| &plan.warnings) {
            if !warned.contains(&warning) {
                reporter.warn(warning.clone());
                warned.push(warning);
            }
        }
        for name in self.order.mirrors.unused(self.plans.iter().flat_map(|plan| &plan.repositories)) {
            let text = format!("--mirror {name}=... is not used: no repository is at mirror://{name}");
            reporter.warn(Warning { text, place: None });
        }
        match error::caught(|| pipeline::cast(self.plans, self.order, &reporter)) {
            Ok(_) => 0,
            Err(error) => {
                let error = error.log(self.log_of_failure());
                reporter.failed(None, &error);
                let code = tell(&error);
                for (what, kept) in [("log", self.keep_log()), ("tree", self.keep_tree())] {
                    if let Err(error) = kept {
                        reporter.warn(Warning { text: format!("the {what} could not be kept: {error}"), place: None });
                    }
                }
                code
            }
        }
    }

    fn reporter(&self) -> Result<Reporter> {
        let events = match (&self.arguments.events, self.arguments.status_fd) {
            (Some(path), _) => Some(file::create(path)?),
            (None, number) => number.map(file::from_descriptor).transpose()?,
        };
        let reporter = Reporter::new(self.arguments.verbosity(), events, since_1970);
        let log = file::create(&self.order.folder.join(self.log))?;
        reporter.log_to(log);
        Ok(reporter)
    }

    fn title(&self) -> String {
        let plan = self.plan;
        let kind = |output: &Output| match output {
            Output::Disk(disk) => {
                let yes = |support| support != plan::Support::No;
                let firmware = [("bios", disk.firmware.bios), ("uefi", disk.firmware.uefi)];
                let names: Vec<_> =
                    firmware.iter().filter(|(_, support)| yes(*support)).map(|(name, _)| *name).collect();
                format!("disk, {}", names.join("+"))
            }
            Output::Container(_) => "container".into(),
            Output::RootTarball => "root tarball".into(),
        };
        let kinds: Vec<String> = self.plans.iter().map(|plan| kind(&plan.output)).collect();
        let kind = kinds.join(" and ");
        let profiles =
            if plan.profiles.is_empty() { String::new() } else { format!(" ({})", plan.profiles.join(", ")) };
        format!("{:>14}  {} {}{profiles}: {kind}", "description", plan.image.name, plan.image.version)
    }

    /// The log stays after a failure. Whichever side of the fork comes first moves it.
    fn keep_log(&self) -> Result<()> {
        let log = self.order.folder.join(self.log);
        if file::is_file(&log) {
            file::create_folders(self.staging.target())?;
            file::move_file(&log, &self.log_of_failure())?;
        }
        Ok(())
    }

    /// So does the tree that `--keep-root` asked for; it takes the place of an earlier one. Only the child knows that it
    /// is whole.
    fn keep_tree(&self) -> Result<()> {
        let tree = self.order.folder.join(name_of_tree(self.plan));
        if file::is_folder(&tree) {
            let kept = self.staging.target().join(name_of_tree(self.plan));
            file::create_folders(self.staging.target())?;
            file::remove_tree(&kept)?;
            file::rename(&tree, &kept)?;
        }
        Ok(())
    }
}

fn tell(error: &Error) -> u8 {
    say(&error.text());
    error.exit().code()
}

#[allow(clippy::disallowed_methods)] // Time for the events' stamps enters here; nothing of it reaches the image.
pub(super) fn since_1970() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// Says what there is now, to the person and to whoever reads the events.
fn finished(arguments: &BuildArguments, plan: &Plan, target: &Path, manifest: &[u8], ended: &str) -> Result<u8> {
    let bad = |error: serde_json::Error| Error::cannot(Exit::Bug, "read manifest.json").because(error);
    let mut manifest: Value = serde_json::from_slice(manifest).map_err(bad)?;
    let artifacts = manifest["artifacts"].take();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let path = |artifact: &Value| target.join(text(&artifact["name"]));
    let events = match (&arguments.events, arguments.status_fd) {
        (Some(path), _) => Some(file::append(path)?),
        (None, number) => number.map(file::from_descriptor).transpose()?,
    };
    if let Some(events) = events {
        let reporter = Reporter::new(Verbosity::Quiet, Some(events), since_1970);
        let list: Vec<Value> = artifacts
            .as_array()
            .into_iter()
            .flatten()
            .map(|artifact| json!({"path": path(artifact), "sha256": artifact["sha256"], "size": artifact["size"]}))
            .collect();
        reporter.event(json!({"step": "release", "event": "finished", "artifacts": list}));
    }
    for artifact in artifacts.as_array().into_iter().flatten() {
        let printed = print_line(path(artifact).display());
        printed.map_err(|error| {
            error.within("say what was built").hint(format!("the result is complete in {}", target.display()))
        })?;
    }
    if arguments.verbosity() == Verbosity::Quiet {
        return Ok(0);
    }
    if let Some(last) = artifacts.as_array().and_then(|all| all.last()) {
        let shown = path(last);
        say(&format!("{ended}: {}  sha256:{:.12}", shown.display(), text(&last["sha256"])));
        match &plan.output {
            Output::Disk(_) => say(&format!("next: ingot boot {}", shown.display())),
            Output::Container(plan) if plan.archive == ContainerArchive::Docker => {
                say(&format!("next: podman load --input {}", shown.display()));
            }
            _ => say(&format!("next: ingot audit {}", shown.display())),
        }
    }
    Ok(0)
}
