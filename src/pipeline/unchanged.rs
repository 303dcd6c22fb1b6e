//! A build whose inputs did not change: the result that is there already is verified, and nothing is made.
//!
//! In: everything that a result follows from, and what an earlier build remembered of the files that it published. Out:
//! whether those files are what this build would make. Never trusts a file that it has not read through.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::stages::{Explain, Reuse, TOOL};
use super::{Order, Supplies};
use crate::cache::stages::{self, Key};
use crate::cache::{Sha256, results};
use crate::error::{Error, Exit, Result, Warning};
use crate::host::file;
use crate::host::rooted::{RootPath, Rooted};
use crate::plan::Plan;
use crate::release::artifact::hex;
use crate::report::Reporter;

/// What a build leaves in the staging folder for [`remember`].
const NOTE: &str = ".result.json";
/// What it leaves there when nothing has to be done.
const UNCHANGED: &str = ".unchanged";

/// What was published, and what it was made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    key: Key,
    files: Vec<Published>,
}

/// A file of the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Published {
    name: String,
    /// Made and compared on all cores ([`stages::digest`]): SHA-256 takes five times as long, and nobody else compares it.
    content: String,
}

/// Where the cache remembers what was published in `target`.
fn place(cache: &Path, target: &Path) -> PathBuf {
    // Whoever goes through a symlink finds the same one, also if the target was not there before.
    let target = file::canonical(target).unwrap_or_else(|_| target.into());
    let name = Sha256::of(target.as_os_str().as_encoded_bytes());
    results::folder(cache).join(format!("{name}.json"))
}

/// What an earlier build remembered, and threads that read its files while packages are resolved: they are likely to be
/// all that there is to do. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Earlier {
    note: Option<Note>,
    is_other: bool,
    stop: Arc<AtomicBool>,
    read: Option<JoinHandle<Vec<Found>>>,
}

/// What a file of the target is now.
#[derive(Clone, Debug)]
enum Found {
    Good,
    Other(String),
}

impl Earlier {
    /// Begins to read, unless `own` says that it is another result.
    pub fn look(own: &Key, order: &Order) -> Result<Earlier> {
        let stop = Arc::new(AtomicBool::new(false));
        let nothing = |stop| Ok(Earlier { note: None, is_other: true, stop, read: None });
        let (Some(target), Reuse::UpTo(_)) = (&order.published, order.reuse) else { return nothing(stop) };
        let path = place(&order.cache_dir, target);
        let note = if file::is_file(&path) { file::read(&path)? } else { Vec::new() };
        let Ok(note) = serde_json::from_slice::<Note>(&note) else { return nothing(stop) };
        if own.names().any(|name| own.get(name) != note.key.get(name)) {
            return Ok(Earlier { note: Some(note), is_other: true, stop, read: None });
        }
        let (files, target, stopped) = (note.files.clone(), target.clone(), Arc::clone(&stop));
        // Not the threads that resolving packages needs.
        let pool = rayon::ThreadPoolBuilder::new().build();
        let read = move || {
            let look = || files.par_iter().map(|file| file.read(&target, &stopped)).collect();
            pool.map_or_else(|_| look(), |pool| pool.install(look))
        };
        Ok(Earlier { note: Some(note), is_other: false, stop, read: Some(std::thread::spawn(read)) })
    }

    /// Whether it is known already that the target does not hold what this build would make.
    pub fn is_other(&self) -> bool {
        self.is_other
    }
}

impl Published {
    /// What is in `folder` under this name.
    fn of(folder: &Path, name: String, in_vain: &AtomicBool) -> Result<Published> {
        let path = folder.join(&name);
        let content = stages::digest(&file::open(&path)?, file::size_of_tree(&path)?, in_vain)?.to_string();
        Ok(Published { name, content })
    }

    /// Whether the file in `target` is this one. What cannot be read is another one.
    fn read(&self, target: &Path, stop: &AtomicBool) -> Found {
        match Published::of(target, self.name.clone(), stop) {
            Ok(found) if found == *self && !stop.load(Ordering::Relaxed) => Found::Good,
            _ => Found::Other(self.name.clone()),
        }
    }
}

impl Drop for Earlier {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether the target holds what this build would make; then a mark is left for [`outcome`].
pub(super) fn is_there(
    mut earlier: Earlier,
    own: &Key,
    order: &Order,
    supplies: &Supplies,
    reporter: &Reporter,
) -> Result<bool> {
    let (Some(target), Reuse::UpTo(_)) = (&order.published, order.reuse) else { return Ok(false) };
    let say = |line: &str| match order.explain {
        Explain::Aloud => reporter.say(&format!("{:>14}  {line}", "cache")),
        Explain::InTheLog => reporter.log_line(line),
    };
    let Some(note) = earlier.note.take() else {
        say("result: made, because there is none of this description in the target yet");
        return Ok(false);
    };
    let differences = key(own, supplies).differences(&note.key);
    if !differences.is_empty() {
        let shown: Vec<String> = differences.iter().take(3).map(ToString::to_string).collect();
        let more = match differences.len() - shown.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        say(&format!("result: made, because {}{more}", shown.join(", ")));
        return Ok(false);
    }
    let step = reporter.step("verify");
    let read = earlier.read.take().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
    let other = read.unwrap_or_default().into_iter().find_map(|found| match found {
        Found::Good => None,
        Found::Other(name) => Some(name),
    });
    if let Some(name) = other {
        step.finish(&format!("{name} is not what was published"));
        say(&format!("result: made again, because {name} in the target changed"));
        return Ok(false);
    }
    step.finish(&format!("{} files are there already: nothing changed", note.files.len()));
    warn_again(target, reporter)?;
    file::write(&order.folder.join(UNCHANGED), b"")?;
    Ok(true)
}

/// What the build that made the result warned of holds for this one, too.
fn warn_again(target: &Path, reporter: &Reporter) -> Result<()> {
    let manifest: serde_json::Value =
        serde_json::from_slice(&file::read(&target.join("manifest.json"))?).unwrap_or_default();
    let warned: Vec<String> = reporter.warnings().into_iter().map(|warning| warning.text).collect();
    let texts = manifest["warnings"].as_array().into_iter().flatten().filter_map(|text| text.as_str());
    for text in texts.filter(|text| !warned.iter().any(|other| other == text)) {
        reporter.warn(Warning { text: text.into(), place: None });
    }
    Ok(())
}

/// Notes what is about to be published, for the next build.
pub(super) fn note(own: &Key, order: &Order, supplies: &Supplies) -> Result<()> {
    if !is_remembered(order) {
        return Ok(());
    }
    let mut names = Vec::new();
    for name in file::names(&order.folder)? {
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with('.') && !name.ends_with(".log") && file::is_plain_file(&order.folder.join(&name)) {
            names.push(name);
        }
    }
    // They are read from memory while the disk takes them, and have to wait for it anyway.
    names.iter().for_each(|name| file::begin_to_sync(&order.folder.join(name)));
    let published = |name| Published::of(&order.folder, name, &AtomicBool::new(false));
    let files = names.into_iter().map(published).collect::<Result<_>>()?;
    let note = Note { key: key(own, supplies), files };
    file::write(&order.folder.join(NOTE), &text(&note)?)
}

fn text(note: &Note) -> Result<Vec<u8>> {
    serde_json::to_vec(note).map_err(|error| Error::cannot(Exit::Bug, "note a result").because(error))
}

/// What the build left in the staging folder for the process that publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target holds the result already.
    Unchanged,
    /// There is a new result, and this is what is to be remembered of it.
    New(Vec<u8>),
}

/// What came of a build that succeeded; before its files are published.
pub fn outcome(order: &Order) -> Result<Outcome> {
    if file::exists(&order.folder.join(UNCHANGED)) {
        return Ok(Outcome::Unchanged);
    }
    let note = order.folder.join(NOTE);
    Ok(Outcome::New(if file::is_file(&note) { file::read(&note)? } else { Vec::new() }))
}

/// Remembers what was published; after it was.
pub fn remember(order: &Order, note: &[u8]) -> Result<()> {
    let (Some(target), false) = (&order.published, note.is_empty()) else { return Ok(()) };
    let path = place(&order.cache_dir, target);
    file::create_folders(path.parent().unwrap_or(&order.cache_dir))?;
    file::write_atomically(&path, note)
}

/// Whether the result of this build is remembered, and one that was is looked for.
fn is_remembered(order: &Order) -> bool {
    order.published.is_some() && order.reuse != Reuse::No
}

/// What the files of a release follow from, as far as it is known before packages are resolved. Read once, at the start: an
/// input that changes while it is used makes the next build find another one. Nothing is read, and it is empty, where no
/// result is remembered.
pub(super) fn own_key(plans: &[Plan], order: &Order) -> Result<Key> {
    let bug = |error: serde_json::Error| Error::cannot(Exit::Bug, "compare a plan").because(error);
    let name = plans.first().map(|plan| plan.image.name.as_str());
    let mut key = Key::new("result", name.unwrap_or_default());
    if !is_remembered(order) {
        return Ok(key);
    }
    key.add(TOOL, &order.tool);
    key.add("reports", format!("{:?}", order.reports));
    // Passwords are no part of a plan's text.
    key.add("the description's file", &order.description.sha256);
    for (number, plan) in plans.iter().enumerate() {
        let sections = serde_json::to_value(plan).map_err(bug)?;
        for (name, section) in sections.as_object().into_iter().flatten() {
            let name =
                if number == 0 { format!("{name} of the plan") } else { format!("{name} of plan {}", number + 1) };
            key.add(name, Sha256::of(section.to_string()).to_string());
        }
    }
    let inputs: BTreeSet<PathBuf> = plans.iter().flat_map(Plan::inputs).collect();
    for path in inputs {
        fingerprint(&path, &mut key)?;
    }
    Ok(key)
}

/// Everything that the files of a release follow from.
fn key(own: &Key, supplies: &Supplies) -> Key {
    let mut key = own.clone();
    key.add("the image's date", supplies.epoch.to_string());
    supplies.manager.influences().into_iter().for_each(|(name, value)| key.add(name, value));
    if let Some(base) = &supplies.base {
        key.add("the container below", base.digest());
    }
    for record in supplies.embedded.records() {
        key.add(format!("the container {}", record.name), format!("{} {}", record.image.source, record.image.digest));
    }
    key.add("where packages come from", supplies.manager.fingerprint());
    for (number, package) in supplies.packages.packages.iter().enumerate() {
        let text = format!("{number} {} {}", package.version, package.sha256);
        key.add(format!("package {}:{}", package.name, package.arch), text);
    }
    for release in &supplies.packages.releases {
        key.add(format!("{} of {}", release.title, release.repository), &release.sha256);
    }
    key
}

/// Content, and whatever else of a file or folder an overlay takes over.
fn fingerprint(path: &Path, key: &mut Key) -> Result<()> {
    if !file::is_folder(path) {
        let mode = file::metadata(path).map(|metadata| (file::mode(&metadata), metadata.modified().ok()));
        key.add(path.display().to_string(), format!("{mode:?} {}", hex(&file::digest(path)?)));
        return Ok(());
    }
    let folder = Rooted::open(path)?;
    for entry in folder.walk(&RootPath::root())? {
        let content = if entry.is_file() { Sha256::of_reader(folder.open_file(&entry.path)?).ok() } else { None };
        let xattrs = folder.xattrs(&entry.path)?;
        let time = (entry.mtime, entry.mtime_nanoseconds);
        let what = format!("{:?} {:o} {time:?} {} {xattrs:?} {content:?}", entry.kind, entry.mode, entry.links);
        key.add(format!("{}{}", path.display(), entry.path), what);
    }
    Ok(())
}
