//! Initrds of an earlier build, where the same would be made again.
//!
//! In: the tree, and what is wanted of it. Out: finished initrds, made now and kept, or from the stage store. Never takes
//! a kept one unless every file that was opened while it was made has the same content now, and everything in the tree
//! has the same name, type, mode, owner and target: so a program that looked for something and did not find it would
//! not find it now either.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Order;
use super::stages::{Explain, Reuse, because};
use crate::bytes::Bytes;
use crate::cache::Sha256;
use crate::cache::stages::{Kept, Key, Stage, StageStore};
use crate::disk::boot::initrd::{Initrds, Origin, Wanted};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::opened::{Seen, Watch};
use crate::plan::Plan;
use crate::report::Reporter;
use crate::root::tree::{Entry, Kind};
use crate::root::{RootPath, RootTree, Workspace, WorkspaceKind};

const STAGE: &str = "initrd";
/// Older ones are not even compared.
const CANDIDATES: usize = 4;

/// Where initrds are kept, for one tree.
pub struct KeptInitrds<'a> {
    store: Option<StageStore>,
    image: &'a str,
    tool: &'a str,
    tree: &'a RootTree,
    scratch: &'a Path,
    explain: Explain,
    reporter: &'a Reporter,
}

/// What belongs to kept initrds beside their bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    lengths: Vec<u64>,
    /// Folders that something was made in and removed again; their time tells.
    touched: Vec<String>,
}

impl<'a> KeptInitrds<'a> {
    /// Opens the store, where this build may use it.
    pub(super) fn of(
        plan: &'a Plan,
        order: &'a Order,
        workspace: &'a Workspace,
        tree: &'a RootTree,
        reporter: &'a Reporter,
    ) -> Result<KeptInitrds<'a>> {
        let store = match order.reuse {
            Reuse::UpTo(limit) if workspace.kind() == WorkspaceKind::Loop => {
                Some(StageStore::open(&order.cache_dir, limit)?)
            }
            _ => None,
        };
        let (image, tool, scratch) = (plan.image.name.as_str(), order.tool.as_str(), workspace.folder());
        Ok(KeptInitrds { store, image, tool, tree, scratch, explain: order.explain, reporter })
    }

    /// See [`Keeper`](crate::disk::boot::initrd::Keeper).
    pub fn get(&self, wanted: &Wanted, make: &dyn Fn() -> Result<Vec<Vec<u8>>>) -> Result<Initrds> {
        let made = |packed| Initrds { packed, origin: Origin::Made };
        let Some(store) = &self.store else { return make().map(made) };
        let before = self.tree.walk_whole()?;
        let key = self.key(wanted, &before);
        if let Some(packed) = self.find(store, &key, &before)? {
            self.say("initrd: reused");
            return Ok(Initrds { packed, origin: Origin::Kept });
        }
        let watch = match Watch::begin(self.tree.host_path()) {
            Ok(watch) => watch,
            Err(error) => {
                self.say(&format!("initrd: not kept: {error}"));
                return make().map(made);
            }
        };
        let packed = make()?;
        let seen = watch.finish();
        let kept = self.keep(store, key, &before, seen, &packed);
        self.say(&match kept {
            Ok(Ok(size)) => format!("initrd: kept, {size}"),
            Ok(Err(reason)) => format!("initrd: not kept, because {reason}"),
            // A cache that cannot be written is no reason to fail.
            Err(error) => format!("initrd: not kept: {error}"),
        });
        Ok(made(packed))
    }

    /// What must be the same whatever was read.
    fn key(&self, wanted: &Wanted, tree: &[Entry]) -> Key {
        let mut key = Key::new(STAGE, self.image);
        key.add("ingot itself", self.tool);
        key.add("the image's date", wanted.epoch.to_string());
        for (number, order) in wanted.orders.iter().enumerate() {
            key.add(format!("kernel {}", number + 1), order);
        }
        let mut folders: BTreeMap<&[u8], Vec<u8>> = BTreeMap::new();
        for entry in tree {
            let top = entry.path.relative().split(|byte| *byte == b'/').next().unwrap_or_default();
            folders.entry(top).or_default().extend(outside(entry));
        }
        for (top, names) in folders {
            let top = String::from_utf8_lossy(top);
            key.add(format!("what there is in /{top}"), Sha256::of(names).to_string());
        }
        key
    }

    /// Kept initrds that would be made again from this tree.
    fn find(&self, store: &StageStore, key: &Key, tree: &[Entry]) -> Result<Option<Vec<Vec<u8>>>> {
        let files: BTreeMap<&RootPath, &Entry> =
            tree.iter().filter(|entry| entry.is_file()).map(|entry| (&entry.path, entry)).collect();
        let mut differences = Vec::new();
        for stage in store.alike(key)?.iter().take(CANDIDATES) {
            let mut now = key.clone();
            let paths = stage.key().names().filter(|name| name.starts_with('/')).map(RootPath::new);
            self.add_contents(&mut now, paths.filter_map(|path| files.get(&path).copied()).collect())?;
            if now != *stage.key() {
                differences.push(now.differences(stage.key()));
                continue;
            }
            if let Some(packed) = self.unpack(stage)? {
                return Ok(Some(packed));
            }
            self.say("initrd: made again, because the kept one was damaged");
            return Ok(None);
        }
        let nearest = differences.into_iter().min_by_key(Vec::len).unwrap_or_default();
        self.say(&because(STAGE, &nearest));
        Ok(None)
    }

    fn unpack(&self, stage: &Stage) -> Result<Option<Vec<Vec<u8>>>> {
        let Ok(payload) = serde_json::from_value::<Payload>(stage.payload().clone()) else { return Ok(None) };
        let Some(content) = stage.content()? else { return Ok(None) };
        let mut rest = content.as_slice();
        let mut packed = Vec::new();
        for length in payload.lengths {
            let Some((initrd, others)) = rest.split_at_checked(length as usize) else { return Ok(None) };
            packed.push(initrd.to_vec());
            rest = others;
        }
        for folder in payload.touched {
            self.tree.touch(&RootPath::new(folder))?;
        }
        Ok(Some(packed))
    }

    /// Keeps what was just made; the inner error says why that cannot be.
    fn keep(
        &self,
        store: &StageStore,
        mut key: Key,
        before: &[Entry],
        seen: Option<Seen>,
        packed: &[Vec<u8>],
    ) -> Result<Result<Bytes, String>> {
        let Some(seen) = seen else { return Ok(Err("the kernel lost count of what was opened".into())) };
        let after = self.tree.walk_whole()?;
        let touched = match touched(before, &after, &seen) {
            Ok(touched) => touched,
            Err(reason) => return Ok(Err(reason)),
        };
        let read = before.iter().filter(|entry| entry.is_file() && seen.opened.contains(&entry.inode.1));
        let read: Vec<&Entry> = read.collect();
        if read.is_empty() {
            return Ok(Err("nothing seems to have been read".into()));
        }
        if let Some(entry) = read.iter().find(|entry| std::str::from_utf8(entry.path.as_bytes()).is_err()) {
            return Ok(Err(format!("{} is not UTF-8", entry.path)));
        }
        self.add_contents(&mut key, read)?;
        let payload = Payload { lengths: packed.iter().map(|initrd| initrd.len() as u64).collect(), touched };
        let payload =
            serde_json::to_value(payload).map_err(|error| Error::cannot(Exit::Bug, "keep an initrd").because(error))?;
        let what = || "write an initrd to the work folder";
        let mut content = tempfile::tempfile_in(self.scratch).or_cannot(what)?;
        packed.iter().try_for_each(|initrd| content.write_all(initrd)).or_cannot(what)?;
        let length = Bytes(packed.iter().map(|initrd| initrd.len() as u64).sum());
        Ok(match store.keep(&key, payload, &content, length)? {
            Kept::Yes(size) => Ok(size),
            Kept::NoRoom => Err("there is no room for it".into()),
        })
    }

    /// Adds the digest of each file, by its path.
    fn add_contents(&self, key: &mut Key, files: Vec<&Entry>) -> Result<()> {
        let unchanged = self.tree.unchanged()?;
        let digest = |entry: &Entry| {
            let digest = match unchanged.digest(entry) {
                Some(known) => known.to_string(),
                None => {
                    let file = self.tree.open_file(&entry.path)?;
                    let read = Sha256::of_reader(file).or_cannot(|| format!("read {} in the image", entry.path));
                    let digest = read?.0.to_string();
                    unchanged.learn_digest(entry, &digest);
                    digest
                }
            };
            Ok((String::from_utf8_lossy(entry.path.as_bytes()).into_owned(), digest))
        };
        let digests: Vec<(String, String)> = files.into_par_iter().map(digest).collect::<Result<_>>()?;
        digests.into_iter().for_each(|(path, digest)| key.add(path, digest));
        Ok(())
    }

    fn say(&self, line: &str) {
        match self.explain {
            Explain::Aloud => self.reporter.say(&format!("{:>14}  {line}", "cache")),
            Explain::InTheLog => self.reporter.log_line(line),
        }
    }
}

/// Everything about an entry that a program can see without opening it, but for times and exact lengths.
fn outside(entry: &Entry) -> Vec<u8> {
    let links = if entry.is_folder() { 0 } else { entry.links };
    let empty = entry.is_file() && entry.size == Bytes::ZERO;
    let (kind, mode, uid, gid) = (&entry.kind, entry.mode, entry.uid, entry.gid);
    [entry.path.as_bytes(), format!("\0{kind:?} {mode:o} {uid}:{gid} {links} {empty}\n").as_bytes()].concat()
}

/// The folders that differ in nothing but their time. What else differs is an error: nobody could repeat it.
fn touched(before: &[Entry], after: &[Entry], seen: &Seen) -> Result<Vec<String>, String> {
    let mut left: BTreeMap<&RootPath, &Entry> = before.iter().map(|entry| (&entry.path, entry)).collect();
    let mut touched = Vec::new();
    for now in after {
        let path = &now.path;
        let Some(then) = left.remove(path) else { return Err(format!("making it made {path}, too")) };
        let same_time = (then.mtime, then.mtime_nanoseconds) == (now.mtime, now.mtime_nanoseconds);
        let same = outside(then) == outside(now) && then.inode == now.inode;
        let written = now.kind == Kind::File && (!same_time || then.size != now.size);
        if !same || written || seen.written.contains(&now.inode.1) {
            return Err(format!("making it changed {path}, too"));
        }
        if !same_time {
            match std::str::from_utf8(path.as_bytes()) {
                Ok(path) if now.is_folder() => touched.push(path.to_string()),
                _ => return Err(format!("making it changed {path}, too")),
            }
        }
    }
    match left.keys().next() {
        None => Ok(touched),
        Some(path) => Err(format!("making it removed {path}")),
    }
}
