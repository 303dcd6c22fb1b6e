//! Packages into a tree, and out of it: pacman's transactions.
//!
//! In: what was resolved, and a tree. Out: the tree with these packages and pacman's notes about them. Scripts and hooks of
//! packages run in the tree, without a network. pacman's lock, log, lists and archives are in the build's scratch folder.
//! Never goes on where a script or a hook failed, as pacman does.

use std::path::{Path, PathBuf};

use super::database::{self, LOCAL};
use super::folder::run;
use super::request::base_name;
use super::{DATABASE, FILE_NAME, Pacman, failure};
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::rooted::{RootPath, Rooted};
use crate::host::sandbox::Sandbox;
use crate::package::failure::text_of;
use crate::package::{Package, Phase};
use crate::plan::{Named, Warning};
use crate::report::Reporter;

/// pacman's folder in a tree.
const STATE: &str = "/var/lib/pacman";
/// Hooks of the image's own, beside those of its packages.
const HOOKS: &str = "etc/pacman.d/hooks";

impl Pacman {
    /// Installs these packages in one transaction.
    pub(super) fn install(
        &self,
        packages: &[&Package],
        phase: Phase,
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<()> {
        if packages.is_empty() {
            return Ok(());
        }
        let step = reporter.step(match phase {
            Phase::Bootstrap => "bootstrap",
            Phase::Image => "install",
        });
        step.now(&format!("{} packages", packages.len()));
        let archives = self.scratch.join("archives");
        file::remove_tree(&archives)?;
        file::create_folders(&archives)?;
        let mut words = Vec::new();
        for package in packages {
            // pacman finds an archive by its name, the store by its content.
            file::symlink(&package.archive, &archives.join(package.control.text(FILE_NAME)))?;
            words.push(format!("{}/{}", package.control.text(DATABASE), package.name));
        }
        let sync = RootPath::from(STATE).join("sync");
        tree.create_folders(&sync, 0o755)?;
        for section in self.used() {
            let name = format!("{}.db", section.name);
            tree.write(&sync.join(&name), file::read(&self.scratch.join("sync").join(&name))?, 0o644)?;
        }
        let mut arguments = vec!["--sync"];
        arguments.extend(self.assumed.iter().flat_map(|word| ["--assume-installed", word]));
        arguments.push("--");
        arguments.extend(words.iter().map(String::as_str));
        let done = self.transact("install the packages", &arguments, tree, sandbox, reporter);
        tree.remove(&sync)?;
        done?;
        let needed: Vec<&str> =
            packages.iter().filter(|package| !package.requested).map(|package| package.name.as_str()).collect();
        if !needed.is_empty() {
            let arguments = [&["--database", "--asdeps", "--"], &needed[..]].concat();
            self.transact("note which packages were asked for", &arguments, tree, sandbox, reporter)?;
        }
        step.finish(&format!("{} packages", packages.len()));
        Ok(())
    }

    /// Removes these and what only they needed, with their scripts.
    pub(super) fn uninstall(
        &self,
        named: &[Named],
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<Vec<String>> {
        self.remove("uninstall", named, &["--recursive"], tree, sandbox, reporter)
    }

    /// Removes the delete list, whatever depends on it.
    pub(super) fn delete(&self, tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<Vec<String>> {
        self.remove("delete", &self.request.delete, &["--nodeps", "--nodeps"], tree, sandbox, reporter)
    }

    fn remove(
        &self,
        list: &'static str,
        named: &[Named],
        how: &[&str],
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<Vec<String>> {
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let before = names(tree)?;
        let mut words = Vec::new();
        for one in named {
            let name = base_name(&one.name);
            match before.iter().any(|other| other == name) {
                true => words.push(name),
                false => {
                    let text = format!("<packages type=\"{list}\"> names `{name}`, which is not installed");
                    reporter.warn(Warning { text, place: Some(one.place.clone()) });
                }
            }
        }
        if words.is_empty() {
            let error = Error::cannot(Exit::Description, format!("{list} packages from the image"));
            return Err(error.because("none of the list is installed").at(named[0].place.clone()));
        }
        let step = reporter.step(list);
        // Changed configuration goes too: nobody reads `.pacsave` in an image.
        let arguments = [&["--remove", "--nosave"], how, &["--"], &words[..]].concat();
        self.transact(&format!("{list} packages from the image"), &arguments, tree, sandbox, reporter)?;
        let after = names(tree)?;
        let gone: Vec<String> = before.into_iter().filter(|name| !after.contains(name)).collect();
        step.finish(&format!("{} packages", gone.len()));
        Ok(gone)
    }

    /// Runs pacman on the tree.
    pub(super) fn transact(
        &self,
        what: &str,
        arguments: &[&str],
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<()> {
        let root = tree.host_path();
        let work = self.scratch.join("work");
        file::create_folders(&work)?;
        let log = work.join("log");
        file::remove(&log)?;
        file::write(&self.scratch.join("install.conf"), self.offline().as_bytes())?;
        let folders = [
            ("--root", root.to_path_buf()),
            ("--dbpath", below(root, STATE)),
            ("--cachedir", self.scratch.join("archives")),
            ("--logfile", log.clone()),
            ("--gpgdir", self.scratch.join("gnupg")),
            ("--hookdir", root.join(HOOKS)),
            ("--config", self.scratch.join("install.conf")),
        ];
        tree.create_folders(&LOCAL.into(), 0o755)?;
        file::create_folders(&self.scratch.join("archives"))?;
        let host = sandbox.clone().of_host(&[&work, &self.scratch.join("archives")]);
        let (line, ended) = run(&host, &folders, arguments, reporter)?;
        // Left by a pacman that was killed.
        tree.remove(&RootPath::from(STATE).join("db.lck"))?;
        let written = if file::is_file(&log) { file::read(&log)? } else { Vec::new() };
        if !ended.status.success() {
            return Err(failure::explained(what, &line, &ended, self, &[]));
        }
        match failure::failed_scripts(&text_of(&ended), &String::from_utf8_lossy(&written)) {
            None => Ok(()),
            Some(said) => {
                let steps: Vec<&str> = said.lines().filter(|line| line.contains("nstalled ")).collect();
                let place = failure::place(&steps, self);
                let error = Error::cannot(Exit::Description, what).because("a script or a hook of a package failed");
                let error = error.because(said);
                Err(match place {
                    Some(place) => error.at(place),
                    None => error,
                })
            }
        }
    }

    /// pacman.conf(5) for a pacman that fetches nothing: everything was verified before it came into the store, and is
    /// compared with its SHA-256 once more.
    fn offline(&self) -> String {
        let mut text =
            format!("[options]\nArchitecture = {}\nSigLevel = Never\nLocalFileSigLevel = Never\n", self.arch);
        for section in self.used() {
            text.push_str(&format!("\n[{}]\nServer = file:///nonexistent\n", section.name));
        }
        text
    }
}

fn names(tree: &Rooted) -> Result<Vec<String>> {
    Ok(database::installed(tree)?.iter().map(|entry| entry.text("NAME").to_string()).collect())
}

/// A path of the tree for pacman, which is given the whole tree.
fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}
