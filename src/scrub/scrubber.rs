//! One scrub under way: what rules are made of.
//!
//! In: a tree, what is owned, what was asked for. Out: a changed tree and the list of what was done. Every path comes
//! from a [`Listing`] and so leads through no symlink; a file that a package owns, or that the description put there,
//! is spared as the rule says.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::plan::Warning;
use crate::report::Reporter;
use crate::root::tree::Entry;
use crate::root::{RootPath, RootTree};
use crate::scrub::listing::Listing;
use crate::scrub::owned::Owned;
use crate::scrub::pattern::Pattern;
use crate::scrub::rule::Spares;
use crate::scrub::{Action, Asked, BuildHost, Done, homes};

/// A scrub under way.
pub struct Scrubber<'a> {
    tree: &'a RootTree,
    listing: Listing,
    owned: Owned,
    homes: Vec<RootPath>,
    described: BTreeSet<RootPath>,
    /// What the description asked for.
    pub asked: &'a Asked,
    /// Where the build ran.
    pub host: &'a BuildHost,
    /// The image's date, seconds since 1970.
    pub epoch: i64,
    reporter: &'a Reporter,
    actions: BTreeSet<Action>,
}

impl<'a> Scrubber<'a> {
    /// Looks through the tree once; nothing is changed yet.
    pub fn new(
        tree: &'a RootTree,
        asked: &'a Asked,
        host: &'a BuildHost,
        epoch: i64,
        reporter: &'a Reporter,
    ) -> Result<Scrubber<'a>> {
        let listing = Listing::read(tree)?;
        let owned = Owned::read(tree, &listing)?;
        let passwd = listing.target(&"/etc/passwd".into());
        let is_file = listing.get(&passwd).is_some_and(Entry::is_file);
        let passwd = if is_file { tree.read(&passwd)? } else { Vec::new() };
        let homes = homes::homes(&passwd, &listing);
        // A description may say /lib where the tree has /usr/lib.
        let described = asked.paths.iter().map(|path| listing.real(path)).collect();
        Ok(Scrubber { tree, listing, owned, homes, described, asked, host, epoch, reporter, actions: BTreeSet::new() })
    }

    /// What was done, sorted by rule and path.
    pub fn into_actions(self) -> Vec<Action> {
        self.actions.into_iter().collect()
    }

    /// What is in the tree right now.
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    /// Whether something is there, symlinks followed inside the tree.
    pub fn has(&self, path: &str) -> bool {
        self.listing.get(&self.listing.target(&path.into())).is_some()
    }

    /// Whether a package owns it.
    pub fn is_owned(&self, path: &RootPath) -> bool {
        self.owned.contains(path)
    }

    /// Whether the description put it there.
    pub fn is_described(&self, path: &RootPath) -> bool {
        self.described.contains(path)
    }

    /// Says something that a person should know.
    pub fn warn(&self, text: String) {
        self.reporter.warn(Warning { text, place: None });
    }

    /// Everything that one of the patterns matches, sorted. The root itself never matches.
    pub fn matching(&self, patterns: &[&str]) -> Vec<RootPath> {
        let mut found = BTreeSet::new();
        for pattern in patterns.iter().flat_map(|pattern| Pattern::read(pattern, &self.homes)) {
            for entry in self.listing.at_and_below(&pattern.fixed_prefix()) {
                let path = entry.path.as_bytes();
                if path != b"/" && pattern.matches(path) {
                    found.insert(entry.path.clone());
                }
            }
        }
        found.into_iter().collect()
    }

    /// The regular file at this path, whole; `None` where there is none. A symlink counts as none.
    pub fn content(&self, path: &RootPath) -> Result<Option<Vec<u8>>> {
        match self.listing.get(path) {
            Some(entry) if entry.is_file() => self.tree.read(path).map(Some),
            _ => Ok(None),
        }
    }

    /// Removes what the patterns match, with all that is below, and leaves what is spared.
    pub fn remove_all(&mut self, rule: &'static str, patterns: &[&str], spares: Spares) -> Result<()> {
        for path in self.matching(patterns) {
            self.remove(rule, &path, spares)?;
        }
        Ok(())
    }

    /// Removes one path with all that is below it. Where something below is spared, it and its folders stay.
    pub fn remove(&mut self, rule: &'static str, path: &RootPath, spares: Spares) -> Result<()> {
        let Some(entry) = self.listing.get(path) else { return Ok(()) };
        let is_folder = entry.is_folder();
        if self.listing.at_and_below(path.as_bytes()).any(|entry| self.is_spared(&entry.path, spares)) {
            if is_folder {
                for child in self.listing.children(path) {
                    self.remove(rule, &child, spares)?;
                }
            }
            return Ok(());
        }
        let described: Vec<&Entry> = self
            .listing
            .at_and_below(path.as_bytes())
            .filter(|entry| !entry.is_folder() && self.is_described(&entry.path))
            .collect();
        for entry in described {
            self.warn(format!(
                "the scrub removed {}, which the description put there: `--scrub-except {rule}` would keep it",
                entry.path
            ));
        }
        self.tree.remove(path)?;
        self.listing.forget(path);
        self.did(rule, Done::Removed, path);
        Ok(())
    }

    fn is_spared(&self, path: &RootPath, spares: Spares) -> bool {
        match spares {
            Spares::Nothing => false,
            Spares::Owned => self.is_owned(path),
            Spares::OwnedAndDescribed => self.is_owned(path) || self.is_described(path),
        }
    }

    /// Empties a regular file and keeps it; one that is empty stays as it is.
    pub fn truncate(&mut self, rule: &'static str, path: &RootPath) -> Result<()> {
        if self.listing.get(path).is_some_and(|entry| entry.is_file() && entry.size.0 > 0) {
            self.put_content(path, b"")?;
            self.did(rule, Done::Truncated, path);
        }
        Ok(())
    }

    /// Replaces the content of a regular file where it differs; owner and mode stay.
    pub fn replace(&mut self, rule: &'static str, done: Done, path: &RootPath, content: &[u8]) -> Result<()> {
        match self.content(path)? {
            Some(old) if old != content => {
                self.put_content(path, content)?;
                self.did(rule, done, path);
            }
            _ => {}
        }
        Ok(())
    }

    /// Keeps the lines of a regular file that `keep` says yes to; lines keep their ends.
    pub fn keep_lines(&mut self, rule: &'static str, path: &RootPath, keep: impl Fn(&[u8]) -> bool) -> Result<()> {
        let Some(old) = self.content(path)? else { return Ok(()) };
        let kept: Vec<u8> = old
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| keep(line.strip_suffix(b"\n").unwrap_or(line)))
            .flatten()
            .copied()
            .collect();
        self.replace(rule, Done::Edited, path, &kept)
    }

    fn put_content(&mut self, path: &RootPath, content: &[u8]) -> Result<()> {
        let Some(old) = self.listing.get(path).cloned() else { return Ok(()) };
        if old.links > 1 {
            // Another name of the file may be anything, even /etc/passwd: it keeps its content.
            self.tree.remove(path)?;
            self.tree.write(path, content, old.mode)?;
            self.tree.set_owner(path, old.uid, old.gid)?;
            self.tree.set_mode(path, old.mode)?;
        } else {
            self.tree.write(path, content, old.mode)?;
        }
        self.refresh(path)
    }

    /// Makes a file that was not there, and the folders above it; one that is there stays.
    pub fn add(&mut self, rule: &'static str, path: &RootPath, content: &[u8], mode: u32) -> Result<()> {
        if self.may_add(path) {
            self.tree.write(path, content, mode)?;
            self.refresh(path)?;
            self.did(rule, Done::Added, path);
        }
        Ok(())
    }

    /// Makes a symlink that was not there; anything that is there stays.
    pub fn add_symlink(&mut self, rule: &'static str, target: &str, path: &RootPath) -> Result<()> {
        if self.may_add(path) {
            self.tree.symlink(target, path)?;
            self.refresh(path)?;
            self.did(rule, Done::Added, path);
        }
        Ok(())
    }

    /// Nothing is there, and no folder above is a symlink.
    fn may_add(&self, path: &RootPath) -> bool {
        self.listing.get(path).is_none() && self.listing.real(path) == *path
    }

    /// Renames within the tree and replaces what is there.
    pub fn rename(&mut self, rule: &'static str, old: &RootPath, new: &RootPath) -> Result<()> {
        self.tree.rename(old, new)?;
        self.listing.forget(old);
        self.refresh(new)?;
        self.did(rule, Done::Reset, new);
        Ok(())
    }

    /// Sets the permission bits where they differ.
    pub fn set_mode(&mut self, rule: &'static str, path: &RootPath, mode: u32) -> Result<()> {
        if self.listing.get(path).is_some_and(|entry| entry.mode != mode) {
            self.tree.set_mode(path, mode)?;
            self.refresh(path)?;
            self.did(rule, Done::Reset, path);
        }
        Ok(())
    }

    /// Looks through the tree again, for times that other rules have changed.
    pub fn read_again(&mut self) -> Result<()> {
        self.listing = Listing::read(self.tree)?;
        Ok(())
    }

    /// Sets the modification time; no action of its own, because every image has thousands of them.
    pub fn set_time(&mut self, path: &RootPath, seconds: i64) -> Result<()> {
        self.tree.set_mtime(path, seconds)
    }

    fn refresh(&mut self, path: &RootPath) -> Result<()> {
        // Folders above may be new, too.
        let mut above = path.clone();
        while above != RootPath::root() {
            if let Some(entry) = self.tree.entry(&above)? {
                self.listing.put(entry);
            }
            above = above.parent();
        }
        Ok(())
    }

    fn did(&mut self, rule: &'static str, done: Done, path: &RootPath) {
        self.reporter.log_line(&format!("{rule}: {done:?} {path}"));
        self.actions.insert(Action { rule, done, path: path.clone() });
    }
}
