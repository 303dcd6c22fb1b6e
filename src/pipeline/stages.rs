//! Going on from where an earlier build was: which stage a build may reuse, and what it keeps for the next one.
//!
//! In: a plan and its resolved packages. Out: keys, a tree from the stage store, and stages kept there. Never reuses a
//! stage unless everything that could have influenced its tree is the same, and it was read through.
//!
//! Two points are kept: `bootstrapped` (where enough comes after it to be worth it) and `installed`. What comes after
//! them, the description's overlays and scripts, is quick and changes most often. A tree with all packages is shown
//! where it is; one that packages are still to be installed into is copied, so that they meet the filesystem that
//! they meet in any other build.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::early::Early;
use super::foresight::Foreseen;
use super::{Order, Supplies};
use crate::bytes::Bytes;
use crate::cache::stages::{Difference, Kept, Key, Stage, StageStore};
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::package::{Package, Phase};
use crate::plan::{NetworkForScripts, Plan, ScriptPhase};
use crate::release::artifact::hex;
use crate::report::Reporter;
use crate::root::known::Ground;
use crate::root::{RootPath, Workspace, WorkspaceKind};

/// The name of the stage with the packages of the bootstrap phase.
const BOOTSTRAPPED: &str = "bootstrapped";
/// The name of the stage with all packages.
pub(super) const INSTALLED: &str = "installed";
/// The part of a key that says which ingot made it.
pub(super) const TOOL: &str = "ingot itself";

/// Whether stages of earlier builds are used and this build's are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Yes; all of them together take no more than this.
    UpTo(Bytes),
    /// No (`--no-stage-cache`, `--no-cache`).
    No,
}

/// Whether the user wants to know why (`--explain-cache`); the log has it in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explain {
    /// On the terminal, too.
    Aloud,
    /// Only in the log.
    InTheLog,
}

/// How far a tree has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// It is empty.
    Nothing,
    /// The bootstrap packages, archives and `post_bootstrap.sh`.
    Bootstrapped,
    /// All packages.
    Installed,
}

/// What a build knows beside the tree at such a point.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The paths that the description put there.
    pub described: Vec<Vec<u8>>,
    /// When the builds began that wrote to the tree, seconds since 1970 by the host's clock.
    pub builds_began: Vec<i64>,
    /// Whether the tree has to be copied, because it cannot be shown lying under its changes.
    #[serde(default)]
    pub is_plain: bool,
    /// What names the tree exactly, where it is kept as it is; not kept.
    #[serde(skip)]
    pub ground: Option<Ground>,
    /// What of a container's layer is compressed already; not kept.
    #[serde(skip)]
    pub(super) foreseen: Option<Foreseen>,
}

/// The stages of one build.
pub struct Stages<'a> {
    store: Option<StageStore>,
    keys: Vec<(Point, Key)>,
    explain: Explain,
    reporter: &'a Reporter,
}

impl<'a> Stages<'a> {
    /// Computes the keys.
    pub(super) fn of(
        plan: &Plan,
        order: &Order,
        supplies: &Supplies,
        workspace: &Workspace,
        reporter: &'a Reporter,
    ) -> Result<Stages<'a>> {
        let mut stages = Stages { store: None, keys: Vec::new(), explain: order.explain, reporter };
        stages.say(&supplies.packages.solution.to_string());
        let Reuse::UpTo(limit) = order.reuse else {
            stages.say("stages: not used, as asked for");
            return Ok(stages);
        };
        if workspace.kind() == WorkspaceKind::Folder {
            stages.say("stages: not used, because the tree is built in a folder");
            return Ok(stages);
        }
        if reaches_the_network(plan) {
            stages.say("stages: not used, because post_bootstrap.sh reaches the network and may do anything");
            return Ok(stages);
        }
        stages.keys = keys(plan, order, supplies)?;
        stages.store = Some(StageStore::open(&order.cache_dir, limit)?);
        Ok(stages)
    }

    /// Restores the latest point that an earlier build reached with the same input; `early` is a guess which one it is.
    pub fn resume(&self, workspace: &mut Workspace, mut early: Option<Early>) -> Result<(Point, Memory)> {
        let Some(store) = &self.store else { return Ok((Point::Nothing, Memory::default())) };
        for (point, key) in self.keys.iter().rev() {
            // Where the tree is there already, no stage was when the build began.
            let Some(stage) = store.find(key)?.filter(|_| !workspace.is_laid_out()) else {
                self.say(&why_not(store, key)?);
                continue;
            };
            let step = self.reporter.step("stage");
            step.now(key.stage());
            let early = early.take_if(|early| early.is(key));
            let memory = match point {
                Point::Installed => self.show(stage, early, workspace)?,
                _ => restore(&stage, workspace)?,
            };
            match memory {
                Some(memory) => {
                    step.finish(&format!("{} reused ({:.8})", key.stage(), key.digest().to_string()));
                    self.say(&format!("{}: reused", key.stage()));
                    return Ok((*point, memory));
                }
                None => {
                    step.finish(&format!("{} was damaged, and is made again", key.stage()));
                    self.say(&format!("{}: made again, because the kept one was damaged", key.stage()));
                }
            }
        }
        Ok((Point::Nothing, Memory::default()))
    }

    /// Shows the tree of a stage, which stays where it is. It was read while packages were resolved: `early`.
    fn show(&self, stage: Stage, early: Option<Early>, workspace: &mut Workspace) -> Result<Option<Memory>> {
        let stage = match early {
            // The very file that was read: another build may have put another one in its place.
            Some(early) => match early.intact()? {
                Some(intact) => intact,
                None => return stage.remove().map(|()| None),
            },
            None if stage.is_intact(&AtomicBool::new(false))? => Arc::new(stage),
            None => return stage.remove().map(|()| None),
        };
        let Ok(mut memory) = serde_json::from_value::<Memory>(stage.payload().clone()) else { return Ok(None) };
        memory.ground = Some(Arc::new(OnceLock::from(stage.identity().to_owned())));
        let shown = !memory.is_plain && workspace.show(stage.image(), stage.length(), self.reporter)?;
        if shown { Ok(Some(memory)) } else { restore(&stage, workspace) }
    }

    /// Keeps the tree for later builds, if this point is one that is kept: while the build goes on, where the tree stays as it
    /// is. A cache that cannot be written is no reason to fail.
    pub fn keep(&self, point: Point, kept: &mut Memory, workspace: &mut Workspace) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let Some((_, key)) = self.keys.iter().find(|(kept, _)| *kept == point) else { return Ok(()) };
        let memory =
            serde_json::to_value(&*kept).map_err(|error| Error::cannot(Exit::Bug, "keep a stage").because(error))?;
        let ground = Ground::default();
        let aside = {
            let (store, key, memory, reporter) = (store.clone(), key.clone(), memory.clone(), self.reporter.clone());
            let ground = Arc::clone(&ground);
            move |image: Option<(&Path, Bytes)>| {
                let step = reporter.step("stage");
                let own = image.map(|(image, _)| file::open(image));
                let keep = || image.map(|(image, length)| store.take(&key, memory.clone(), image, length));
                // Not the threads that the build goes on with.
                let pool = rayon::ThreadPoolBuilder::new().build();
                let done = pool.map_or_else(|_| keep(), |pool| pool.install(keep));
                // Not where another build was faster: the same files have other numbers there.
                if let (Some(Ok(own)), Ok(Some(stage))) = (&own, store.find(&key))
                    && file::is_same(own, stage.image())
                {
                    ground.get_or_init(|| stage.identity().to_owned());
                }
                step.finish(&told(&key, done));
            }
        };
        if workspace.aside(aside) {
            kept.ground = Some(ground);
            return Ok(());
        }
        let step = self.reporter.step("stage");
        step.now(key.stage());
        let kept = workspace.freeze(|image, length| Ok(store.keep(key, memory, image, length)))?;
        step.finish(&told(key, kept));
        Ok(())
    }

    fn say(&self, line: &str) {
        match self.explain {
            Explain::Aloud => self.reporter.say(&format!("{:>14}  {line}", "cache")),
            Explain::InTheLog => self.reporter.log_line(line),
        }
    }
}

/// Whether a build cannot go on from any earlier one.
pub(super) fn none_is_kept(plan: &Plan, order: &Order) -> Result<bool> {
    let Reuse::UpTo(limit) = order.reuse else { return Ok(true) };
    let store = StageStore::open(&order.cache_dir, limit)?;
    for stage in [BOOTSTRAPPED, INSTALLED] {
        if !store.alike(&Key::new(stage, &plan.image.name))?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn restore(stage: &Stage, workspace: &mut Workspace) -> Result<Option<Memory>> {
    let Ok(memory) = serde_json::from_value(stage.payload().clone()) else { return Ok(None) };
    let restored = workspace.restore(stage.length(), |image| stage.copy_into(image))?;
    Ok(restored.then_some(memory))
}

/// What became of a stage; `None` where it could not even be tried.
fn told(key: &Key, kept: Option<Result<Kept>>) -> String {
    match kept {
        Some(Ok(Kept::Yes(size))) => format!("{} kept, {size}", key.stage()),
        Some(Ok(Kept::NoRoom)) => format!("{} not kept: there is no room for it", key.stage()),
        Some(Err(error)) => format!("{} not kept: {error}", key.stage()),
        None => format!("{} not kept: something still writes to the tree", key.stage()),
    }
}

/// `installed: made, because package jq changed, and 2 more`.
fn why_not(store: &StageStore, key: &Key) -> Result<String> {
    Ok(because(key.stage(), &store.nearest(key)?))
}

/// Why something is made, by what differs from the nearest that is kept; nothing means that there is none.
pub(super) fn because(stage: &str, differences: &[Difference]) -> String {
    let shown: Vec<String> = differences.iter().take(3).map(ToString::to_string).collect();
    let more = match differences.len().saturating_sub(shown.len()) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    match shown.is_empty() {
        true => format!("{stage}: made, because there is none of this image yet"),
        false => format!("{stage}: made, because {}{more}", shown.join(", ")),
    }
}

/// Whether a script of the description runs before the packages of the image are installed.
pub(super) fn post_bootstrap(plan: &Plan) -> bool {
    plan.root.scripts.iter().any(|script| script.phase == ScriptPhase::PostBootstrap)
}

fn reaches_the_network(plan: &Plan) -> bool {
    post_bootstrap(plan) && plan.root.network == NetworkForScripts::Host
}

fn keys(plan: &Plan, order: &Order, supplies: &Supplies) -> Result<Vec<(Point, Key)>> {
    let bootstrap = supplies.manager.members(&supplies.packages, Phase::Bootstrap);
    let image = supplies.manager.members(&supplies.packages, Phase::Image);
    let mut key = Key::new(BOOTSTRAPPED, &plan.image.name);
    key.add(TOOL, &order.tool);
    supplies.manager.influences().into_iter().for_each(|(name, value)| key.add(name, value));
    key.add("the image's date", supplies.epoch.to_string());
    if let Some(base) = &supplies.base {
        key.add("the container below", base.digest());
    }
    add_packages(&mut key, "bootstrap", &bootstrap);
    for archive in &plan.root.bootstrap_archives {
        let target = RootPath::new(&archive.target);
        key.add(format!("archive {}", archive.path.display()), format!("{} to {target}", digest(&archive.path)?));
    }
    if post_bootstrap(plan) {
        // It finds all of them in /image.
        key.add("config.xml", digest(&plan.description_file)?);
        for script in &plan.root.scripts {
            key.add(format!("script {}", script.path.display()), digest(&script.path)?);
        }
        for (name, value) in &plan.root.variables {
            key.add(format!("variable {name}"), value);
        }
    }
    let mut keys = Vec::new();
    // Almost the same tree twice is not worth the room.
    if image.len() * 4 >= bootstrap.len() {
        keys.push((Point::Bootstrapped, key.clone()));
    }
    let mut key = key.followed_by(INSTALLED);
    add_packages(&mut key, "image", &image);
    keys.push((Point::Installed, key));
    Ok(keys)
}

fn add_packages(key: &mut Key, phase: &str, packages: &[&Package]) {
    let mut order = String::new();
    for package in packages {
        let name = format!("package {}:{}", package.name, package.arch);
        order.push_str(&format!("{name}\n"));
        key.add(name, format!("{} {}", package.version, package.sha256));
    }
    key.add(format!("the order of {phase} packages"), crate::cache::Sha256::of(order).to_string());
}

fn digest(path: &Path) -> Result<String> {
    Ok(hex(&file::digest(path)?))
}
