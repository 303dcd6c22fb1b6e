//! How far a publication has come, kept in a file, so that another run goes on from there or undoes it.
//!
//! In: a [`Plan`] and what was done of it. Out: one file for each artifact and target, written before each step that makes
//! something. Never holds a credential.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::step::{Learned, Plan};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::host::lock::FileLock;
use crate::release::artifact::hex;

/// Version of the files' form.
const SCHEMA: u32 = 1;

/// A publication under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    schema: u32,
    /// The same for the same artifact and target.
    pub key: String,
    /// As it was given.
    pub target: String,
    /// File name of the artifact.
    pub artifact: String,
    /// SHA-256 of the artifact.
    pub digest: String,
    /// What is to be done.
    pub plan: Plan,
    /// How many steps are done.
    pub done: usize,
    /// Whether the next one has begun.
    pub begun: Begun,
    /// What was learned.
    pub learned: Learned,
}

/// Whether a step has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Begun {
    /// Not yet: nothing of it can be there.
    No,
    /// It may have made something, or not.
    Perhaps,
}

impl Attempt {
    /// Nothing is done yet. `number` tells this attempt from an earlier one that was given up.
    pub fn new(key: &str, target: &str, artifact: &str, digest: &str, plan: Plan, number: u64) -> Attempt {
        let attempt = format!("{key}-{number}");
        Attempt {
            schema: SCHEMA,
            key: key.into(),
            target: target.into(),
            artifact: artifact.into(),
            digest: digest.into(),
            plan,
            done: 0,
            begun: Begun::No,
            learned: [("attempt".to_string(), attempt)].into(),
        }
    }

    /// Whether everything is done.
    pub fn is_done(&self) -> bool {
        self.done == self.plan.steps.len()
    }

    /// What it made, or may have made, and can be removed: one line each.
    pub fn made(&self) -> Vec<String> {
        let steps = self.plan.steps.iter().enumerate();
        let begun = |index| index < self.done || index == self.done && self.begun == Begun::Perhaps;
        let made = steps.filter(|(index, step)| begun(*index) && !step.undo.is_empty());
        made.filter_map(|(index, step)| {
            let what = step.makes.as_ref()?.shown(&self.artifact, &self.learned);
            Some(if index < self.done { what } else { format!("perhaps {what}") })
        })
        .collect()
    }
}

/// The key of an artifact at a target: 32 digits.
pub fn key(target: &str, digest: &str) -> String {
    hex(&Sha256::digest(format!("{target}\n{digest}")))[..32].to_string()
}

/// The folder of all attempts.
#[derive(Clone, Debug)]
pub struct Attempts {
    folder: PathBuf,
}

impl Attempts {
    /// In this folder, which is made.
    pub fn open(folder: &Path) -> Result<Attempts> {
        file::create_folders(folder)?;
        Ok(Attempts { folder: folder.into() })
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps other processes from the same publication; 75 where one is at it.
    pub fn lock(&self, key: &str) -> Result<FileLock> {
        FileLock::try_now(&self.path(key, "lock"))
            .map_err(|error| error.hint("another ingot publishes the same artifact there: wait for it"))
    }

    fn path(&self, key: &str, end: &str) -> PathBuf {
        self.folder.join(format!("{key}.{end}"))
    }

    /// What was begun; `None` where nothing was.
    pub fn load(&self, key: &str) -> Result<Option<Attempt>> {
        let path = self.path(key, "json");
        if !file::exists(&path) {
            return Ok(None);
        }
        let cannot = || Error::cannot(Exit::Configuration, format!("read {}", path.display()));
        let attempt: Attempt = serde_json::from_slice(&file::read(&path)?).map_err(|error| cannot().because(error))?;
        if attempt.schema != SCHEMA || attempt.key != key || attempt.done > attempt.plan.steps.len() {
            return Err(cannot().because("another version of ingot wrote it"));
        }
        Ok(Some(attempt))
    }

    /// Keeps it, on the disk when this returns.
    pub fn save(&self, attempt: &Attempt) -> Result<()> {
        let json =
            serde_json::to_vec(attempt).map_err(|error| Error::cannot(Exit::Bug, "write JSON").because(error))?;
        file::write_atomically(&self.path(&attempt.key, "json"), &json)?;
        file::sync_folder(&self.folder)
    }

    /// Notes what was asked for when it came to its end.
    pub fn note(&self, key: &str, plan: &Plan) -> Result<()> {
        file::write_atomically(&self.path(key, "asked"), asked(plan)?.as_bytes())
    }

    /// Whether what is asked for now is not what was asked for then; not where nothing is noted of it.
    pub fn differs(&self, key: &str, plan: &Plan) -> Result<bool> {
        let path = self.path(key, "asked");
        Ok(file::exists(&path) && file::read_text(&path)? != asked(plan)?)
    }

    /// Forgets it.
    pub fn remove(&self, key: &str) -> Result<()> {
        file::remove(&self.path(key, "json"))?;
        file::remove(&self.path(key, "blocks"))
    }

    /// The keys of everything that is unfinished.
    pub fn keys(&self) -> Result<Vec<String>> {
        let names = file::names(&self.folder)?;
        Ok(names.iter().filter_map(|name| Some(name.to_str()?.strip_suffix(".json")?.to_string())).collect())
    }

    /// Which blocks of a snapshot were sent.
    pub fn blocks(&self, key: &str, snapshot: &str) -> Result<SentBlocks> {
        let path = self.path(key, "blocks");
        let text = if file::exists(&path) { file::read_text(&path)? } else { String::new() };
        let mut lines = text.split_inclusive('\n');
        let mut sent = BTreeSet::new();
        if lines.next() == Some(&format!("{snapshot}\n")) {
            // A line that was cut off is none.
            sent.extend(lines.filter_map(|line| line.strip_suffix('\n')?.parse::<u64>().ok()));
        }
        let mut begin = format!("{snapshot}\n");
        sent.iter().for_each(|index| begin.push_str(&format!("{index}\n")));
        file::write_atomically(&path, begin.as_bytes())?;
        Ok(SentBlocks { sent, file: Mutex::new(file::append(&path)?), path })
    }
}

fn asked(plan: &Plan) -> Result<String> {
    let json = serde_json::to_vec(plan).map_err(|error| Error::cannot(Exit::Bug, "write JSON").because(error))?;
    Ok(hex(&Sha256::digest(json)))
}

/// A list of blocks that grows.
#[derive(Debug)]
pub struct SentBlocks {
    sent: BTreeSet<u64>,
    file: Mutex<File>,
    path: PathBuf,
}

impl SentBlocks {
    /// Whether an earlier run sent it.
    pub fn has(&self, index: u64) -> bool {
        self.sent.contains(&index)
    }

    /// It was sent now. After a power failure it may be sent again, which changes nothing.
    pub fn add(&self, index: u64) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.write_all(format!("{index}\n").as_bytes()).or_cannot(|| format!("write {}", self.path.display()))
    }
}
