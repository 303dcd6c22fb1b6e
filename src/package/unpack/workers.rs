//! Staging on all cores while packages are unpacked in order.
//!
//! In: the set and the order in which it is unpacked. Out: each package's staged content when it is asked for. What is
//! needed first is staged first, large packages before small ones, so that no core waits for the last archive alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use super::archive::{Archive, Readable};
use super::control::Control;
use super::order::Act;
use super::staging::{Hashing, Staged, Stop, stage};
use crate::cache::UnpackedStore;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::folder::Folder;
use crate::host::rooted::{RootPath, Rooted};
use crate::package::Package;

/// The packages of a set and where their content is staged.
pub struct Workers<'a> {
    set: &'a [Package],
    opened: &'a [(Control, Readable)],
    tree: &'a Rooted,
    staging: &'a RootPath,
    store: &'a UnpackedStore,
    /// Numbers in the order in which they are staged.
    order: Vec<usize>,
}

/// Staged packages as they come.
pub struct Arrivals<'a> {
    tree: &'a Rooted,
    staging: &'a RootPath,
    receiver: Receiver<(usize, Result<Staged>)>,
    /// Arrived before it was asked for.
    waiting: BTreeMap<usize, Staged>,
}

impl<'a> Workers<'a> {
    /// Prepares the order of staging by that of `acts`.
    pub fn new(
        set: &'a [Package],
        opened: &'a [(Control, Readable)],
        tree: &'a Rooted,
        staging: &'a RootPath,
        store: &'a UnpackedStore,
        acts: &[Act],
    ) -> Workers<'a> {
        let mut rounds = vec![1; set.len()];
        for act in acts {
            if let Act::Place(packages) = act {
                packages.iter().for_each(|number| rounds[*number] = 0);
            }
        }
        let mut order: Vec<usize> = (0..set.len()).filter(|number| opened[*number].1 == Readable::Yes).collect();
        order.sort_by_key(|number| (rounds[*number], std::cmp::Reverse(set[*number].size), *number));
        Workers { set, opened, tree, staging, store, order }
    }

    /// Stages everything in rayon's threads while `work` takes what arrives, here.
    pub fn run(&self, work: impl FnOnce(&mut Arrivals) -> Result<()>) -> Result<()> {
        let (sender, receiver) = channel();
        let (next, stop) = (AtomicUsize::new(0), Stop::default());
        let mut arrivals = Arrivals { tree: self.tree, staging: self.staging, receiver, waiting: BTreeMap::new() };
        rayon::in_place_scope(|scope| {
            for _ in 0..rayon::current_num_threads() {
                let (sender, next, stop) = (sender.clone(), &next, &stop);
                scope.spawn(move |_| {
                    while let Some(number) = self.order.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if stop.asked() || sender.send((*number, self.stage(*number, stop))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let done = work(&mut arrivals);
            if done.is_err() {
                stop.ask();
            }
            done
        })
    }

    fn stage(&self, number: usize, stop: &Stop) -> Result<Staged> {
        let (package, (control, _)) = (&self.set[number], &self.opened[number]);
        let path = self.staging.join(number.to_string());
        self.tree.create_folders(&path, 0o700)?;
        let folder = self.tree.open_folder(&path).or_cannot(|| format!("open {path} in the image"))?;
        let hashing = if control.has("md5sums") { Hashing::None } else { Hashing::Md5 };
        let archive = Archive::open(&package.archive)?;
        let bug = |_| Error::cannot(Exit::Bug, format!("unpack {}: it has no digest", package.name));
        let mut data = archive.data(self.store, package.sha256.parse().map_err(bug)?)?;
        let staged = stage(&mut data, &package.name, &folder, hashing, stop)?;
        data.keep();
        Ok(staged)
    }
}

impl Arrivals<'_> {
    /// Waits for a package's content and opens the folder that holds it.
    pub fn take(&mut self, number: usize) -> Result<(Staged, Folder)> {
        let staged = loop {
            if let Some(staged) = self.waiting.remove(&number) {
                break staged;
            }
            let lost = |_| Error::cannot(Exit::Bug, "stage the packages: a worker is gone");
            let (arrived, staged) = self.receiver.recv().map_err(lost)?;
            self.waiting.insert(arrived, staged?);
        };
        let path = self.staging.join(number.to_string());
        let folder = self.tree.open_folder(&path).or_cannot(|| format!("open {path} in the image"))?;
        Ok((staged, folder))
    }

    /// What was not placed is not needed any more.
    pub fn done(&mut self, number: usize) -> Result<()> {
        self.tree.remove(&self.staging.join(number.to_string()))
    }
}
