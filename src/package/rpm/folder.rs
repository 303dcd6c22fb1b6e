//! The private folder in which the host's zypper or dnf works.
//!
//! In: repositories and their keys. Out: a [`ManagerFolder`]: caches in `CACHE_DIR/rpm/KEY`, an empty root of its own, in
//! whose rpm database nothing but the trusted keys is, and a [`Sandbox`] in which the manager sees the host read-only. Never
//! a password in what is printed or kept in the cache: the root and all configuration are in the build's scratch folder.

use std::path::{Path, PathBuf};

use super::{Repository, Rpm, query};
use crate::cache::Sha256;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::lock::FileLock;
use crate::host::rooted::RootPath;
use crate::host::sandbox::{Network, Sandbox};
use crate::package::certificates::Certificates;
use crate::package::keyring::Keyring;
use crate::package::rpmdb::{self, Format};
use crate::package::signing_keys;
use crate::plan::Signed;
use crate::report::Reporter;

/// See the module.
#[derive(Debug)]
pub(super) struct ManagerFolder {
    /// The root that the manager believes to install into.
    pub root: PathBuf,
    /// Caches that survive the build.
    pub cache: PathBuf,
    /// What only this build needs: configuration, passwords, temporary files.
    pub scratch: PathBuf,
    state: PathBuf,
    keyrings: Vec<Keyring>,
    /// What downloads trust.
    pub certificates: Certificates,
    _lock: FileLock,
}

impl ManagerFolder {
    /// Makes or finds it, and waits until no other build uses it.
    pub fn open(rpm: &Rpm, used: &[&Repository], reporter: &Reporter) -> Result<ManagerFolder> {
        let scratch = rpm.scratch.join("rpm");
        for name in ["home", "tmp", "repos.d", "keys", "log"] {
            file::create_folders(&scratch.join(name))?;
        }
        let mut keyrings = Vec::new();
        for repository in used {
            keyrings.push(keys(rpm, repository, &scratch, reporter)?);
        }
        let mut text = format!("{:?} {} {:?}", rpm.manager, rpm.arch, rpm.request.rpm.release_version);
        for (repository, keyring) in std::iter::zip(used, &keyrings) {
            text.push_str(&format!("\n{repository:?} {}", keyring.digest()));
        }
        let state = rpm.store.cache().join("rpm").join(&Sha256::of(text).to_string()[..32]);
        file::create_folders(&state)?;
        let lock = FileLock::wait(&state.join("lock"))?;
        // Passwords may be in it.
        let root = scratch.join("root");
        // What every sandbox mounts on would be made and removed again by each of them.
        for name in ["dev", "proc", "sys"] {
            file::create_folders(&root.join(name))?;
        }
        file::create_folders(&state.join("cache"))?;
        let beneath = lay_beneath(rpm, &root)?;
        let macros = format!("%_dbpath {}\n%_db_backend sqlite\n", super::DATABASE);
        file::write(&scratch.join("home/.rpmmacros"), macros.as_bytes())?;
        let certificates = Certificates::gather(&rpm.certificates, &scratch.join("trusted"), reporter)?;
        let cache = state.join("cache");
        let folder = ManagerFolder { cache, root, scratch, state, keyrings, certificates, _lock: lock };
        folder.install_beneath(&beneath, reporter)?;
        folder.trust(used, reporter)?;
        Ok(folder)
    }

    /// Where solutions are remembered.
    pub fn solutions(&self) -> PathBuf {
        self.state.join("solutions")
    }

    /// The folders in which a program of the manager may write.
    pub fn writable(&self) -> [&Path; 2] {
        [&self.state, &self.scratch]
    }

    /// A program of the manager, with the network and nothing of the host to write to.
    pub fn sandbox(&self) -> Sandbox {
        let sandbox = Sandbox::new(&self.root).of_host(&self.writable()).network(Network::Host);
        let sandbox = self.certificates.shown_to(sandbox);
        let temporary = self.scratch.join("tmp");
        sandbox
            .env("HOME", self.scratch.join("home"))
            .env("TMPDIR", &temporary)
            .env("ZYPPTMPDIR", &temporary)
            .env("TZ", "UTC")
    }

    /// Files with the armored keys of a repository, one in each.
    pub fn key_files(&self, alias: &str, used: &[&Repository]) -> Vec<PathBuf> {
        let Some(at) = position(alias, used) else { return Vec::new() };
        (0..self.keyrings[at].apart().len()).map(|number| self.key_path(at, number)).collect()
    }

    /// A file with the keys of a repository in binary form, as gpgv reads them; `None` where it has none.
    pub fn binary_keys(&self, alias: &str, used: &[&Repository]) -> Option<PathBuf> {
        let at = position(alias, used)?;
        (!self.keyrings[at].is_empty()).then(|| self.key_folder(at).join("binary.gpg"))
    }

    /// An rpm database that trusts the keys of this repository, and no others.
    pub fn database_of(&self, alias: &str, used: &[&Repository]) -> PathBuf {
        position(alias, used).map_or_else(|| self.scratch.join("keys/none"), |at| self.key_folder(at).join("rpm"))
    }

    fn key_folder(&self, at: usize) -> PathBuf {
        self.scratch.join("keys").join(at.to_string())
    }

    fn key_path(&self, at: usize, number: usize) -> PathBuf {
        self.key_folder(at).join(format!("{number}.asc"))
    }

    /// Makes a database of what is in one whose form this host's rpm may not know.
    fn install_beneath(&self, list: &[u8], reporter: &Reporter) -> Result<()> {
        if list.is_empty() {
            return Ok(());
        }
        let (path, root) = (self.scratch.join("beneath"), self.root.display().to_string());
        file::write(&path, list)?;
        // Programs in a sandbox have no input of their own.
        let shell = ["sh", "-c", "exec \"$@\" < \"$0\"", &path.display().to_string()];
        let words: Vec<&str> = shell.into_iter().chain(["rpmdb", "--root", &root, "--importdb"]).collect();
        let made = self.sandbox().run(reporter, &words).map(drop);
        made.map_err(|error| error.within("read the packages of the base"))
    }

    /// Only what the description trusts is trusted: by the manager, and by each repository on its own.
    fn trust(&self, used: &[&Repository], reporter: &Reporter) -> Result<()> {
        let mut all = Vec::new();
        for (at, repository) in used.iter().enumerate() {
            if self.keyrings[at].is_empty() {
                continue;
            }
            let database = self.key_folder(at).join("rpm");
            file::create_folders(&database)?;
            file::write(&self.key_folder(at).join("binary.gpg"), self.keyrings[at].binary())?;
            let mut files = Vec::new();
            for (number, key) in self.keyrings[at].apart().iter().enumerate() {
                let path = self.key_path(at, number);
                file::write(&path, key.armored().as_bytes())?;
                files.push(path.display().to_string());
            }
            reporter.log_line(&format!("trusted for {}: {}", repository.source.alias, files.join(" ")));
            if repository.signed_packages == Signed::Required {
                let define = format!("_dbpath {}", database.display());
                self.import(&["--define", &define], &files, reporter)
                    .map_err(|error| error.at(repository.source.place.clone()))?;
            }
            all.extend(files);
        }
        if all.is_empty() {
            return Ok(());
        }
        all.sort();
        all.dedup();
        self.import(&["--root", &self.root.display().to_string()], &all, reporter)
    }

    fn import(&self, options: &[&str], files: &[String], reporter: &Reporter) -> Result<()> {
        let words = ["rpmkeys"].into_iter().chain(options.iter().copied()).chain(["--import"]);
        let words: Vec<&str> = words.chain(files.iter().map(String::as_str)).collect();
        let imported = self.sandbox().run(reporter, &words).map(drop);
        imported.map_err(|error| error.with_exit(Exit::Description).within("trust the signing keys"))
    }
}

fn position(alias: &str, used: &[&Repository]) -> Option<usize> {
    used.iter().position(|repository| repository.source.alias == alias)
}

/// Lays the database of the packages that are there already into the root: as it is where it is SQLite, which every rpm
/// knows; else what is in it, for rpm to make one of.
fn lay_beneath(rpm: &Rpm, root: &Path) -> Result<Vec<u8>> {
    let mut list = Vec::new();
    for (path, content) in rpm.beneath.database() {
        if rpmdb::is_berkeley(path) {
            return Err(Error::cannot(Exit::Description, "read the packages of the base")
                .because(format!(
                    "{path} is Berkeley DB, `bdb`, of rpm 4.16 and older, which today's rpm does not write"
                ))
                .hint("build on a newer base, or without packages of this description's own"));
        }
        let log = path.as_bytes().strip_suffix(b"-wal").map(RootPath::new);
        match Format::of(log.as_ref().unwrap_or(path)) {
            None => {}
            Some(Format::Sqlite) => {
                let folder = root.join(super::DATABASE.trim_start_matches('/'));
                file::create_folders(&folder)?;
                file::write(&folder.join(String::from_utf8_lossy(path.name()).as_ref()), content)?;
            }
            Some(Format::Ndb) => {
                for header in rpmdb::read(Format::Ndb, content, &[])?.iter().filter(|header| !header.is_key()) {
                    list.extend(query::HEADER);
                    list.extend(header.bytes());
                }
            }
        }
    }
    Ok(list)
}

/// The keys that may sign a repository or its packages: those that the description names, and no others.
pub(super) fn keys(rpm: &Rpm, repository: &Repository, scratch: &Path, reporter: &Reporter) -> Result<Keyring> {
    let source = &repository.source;
    if (source.signed, repository.signed_packages) == (Signed::NotChecked, Signed::NotChecked) {
        return Ok(Keyring::default());
    }
    let hint = "add <signing key=\"...\"/>, or say repository_gpgcheck=\"false\", which the manifest records";
    signing_keys::only_named(source, &rpm.certificates, scratch, hint, reporter)
}
