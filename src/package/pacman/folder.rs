//! The private folder in which the host's pacman works.
//!
//! In: repositories and their keys. Out: a [`PacmanFolder`] in `CACHE_DIR/pacman/KEY` with an empty root of its own, lists
//! of what the repositories have, and a folder for archives. pacman sees the host read-only, its configuration and keys
//! among it: it cannot import a key that somebody else offers. Never a password in what is printed: they are in the
//! configuration, which is in the build's scratch folder, for its owner to read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::database::{self, Entry, LOCAL};
use super::{Pacman, Section, beneath, failure};
use crate::cache::Sha256;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::lock::FileLock;
use crate::host::program::{Ended, Program};
use crate::host::rooted::Rooted;
use crate::host::sandbox::{Network, Sandbox};
use crate::package::certificates::Certificates;
use crate::package::keyring::Keyring;
use crate::package::repository::{Source, with_authority};
use crate::package::signing_keys;
use crate::plan::Signed;
use crate::report::Reporter;

/// gpg in a folder that nobody may write to, with a fixed idea of whom to trust.
const GPG: &str = "lock-never\nno-auto-check-trustdb\nno-autostart\nno-auto-key-retrieve\n";
/// What pacman may do at once.
const DOWNLOADS: &str = "4";

/// See the module. Locked against other builds with the same repositories while it exists.
#[derive(Debug)]
pub(super) struct PacmanFolder {
    state: PathBuf,
    scratch: PathBuf,
    /// The keys of each database, by its name; empty where nothing of it is verified.
    keys: BTreeMap<String, Keyring>,
    /// Databases whose packages must be signed.
    signed_packages: Vec<String>,
    /// What downloads trust.
    certificates: Certificates,
    _lock: FileLock,
}

impl PacmanFolder {
    /// Makes or finds it, and waits until no other build uses it.
    pub fn open(pacman: &Pacman, reporter: &Reporter) -> Result<PacmanFolder> {
        let scratch = pacman.scratch.clone();
        file::create_folders(&scratch.join("keys"))?;
        let mut keys = BTreeMap::new();
        let mut text = pacman.arch.clone();
        for section in pacman.used() {
            let keyring = trusted(pacman, section, &scratch, reporter)?;
            text.push_str(&format!("\n{section:?} {}", keyring.digest()));
            file::write(&scratch.join("keys").join(format!("{}.gpg", section.name)), keyring.binary())?;
            keys.insert(section.name.clone(), keyring);
        }
        let all: Keyring = together(keys.values())?;
        trust(&scratch.join("gnupg"), &all, reporter)?;
        file::write_private(&scratch.join("pacman.conf"), configuration(pacman).as_bytes())?;
        let state = pacman.store.cache().join("pacman").join(&Sha256::of(text).to_string()[..32]);
        file::create_folders(&state)?;
        let lock = FileLock::wait(&state.join("lock"))?;
        // Nothing of an earlier run but the lists of what there is, and signatures and halves of archives.
        for name in ["root", "db/local", "db/db.lck", "log", "as-installed"] {
            file::remove_tree(&state.join(name))?;
        }
        for name in ["root", "db/sync", "archives"] {
            file::create_folders(&state.join(name))?;
        }
        beneath::lay(&pacman.beneath, &state.join("db"))?;
        let signed = |section: &&Section| section.signed_packages == Signed::Required;
        let signed_packages = pacman.used().filter(signed).map(|section| section.name.clone()).collect();
        let certificates = Certificates::gather(&pacman.certificates, &scratch.join("trusted"), reporter)?;
        Ok(PacmanFolder { state, scratch, keys, signed_packages, certificates, _lock: lock })
    }

    /// The list of what a repository has.
    pub fn database(&self, section: &str) -> PathBuf {
        self.state.join("db/sync").join(format!("{section}.db"))
    }

    /// A file with the keys of a repository.
    pub fn keys(&self, section: &str) -> PathBuf {
        self.scratch.join("keys").join(format!("{section}.gpg"))
    }

    /// A file with the keys of the packages of a repository, where these must be signed and pacman, which trusts the keys
    /// of all repositories for each of them, may have believed another one's.
    pub fn keys_of_packages(&self, section: &str) -> Option<PathBuf> {
        let others = self.keys.values().any(|keyring| !keyring.is_empty() && Some(keyring) != self.keys.get(section));
        (others && self.signed_packages.iter().any(|signed| signed == section)).then(|| self.keys(section))
    }

    /// Where solutions are remembered.
    pub fn solutions(&self) -> PathBuf {
        self.state.join("solutions")
    }

    /// Where pacman puts an archive, and looks for it first.
    pub fn archive(&self, name: &str) -> PathBuf {
        self.state.join("archives").join(name)
    }

    /// Brings the lists up to date; those that did not change are not fetched again.
    /// 75 for a mirror that does not answer, 76 for a bad signature, 65 for a database that is not there.
    pub fn refresh(&self, pacman: &Pacman, reporter: &Reporter) -> Result<()> {
        let (line, ended) = self.run(&["--sync", "--refresh"], reporter)?;
        let is_there = |section: &Section| file::is_file(&self.database(&section.name));
        if ended.status.success() && pacman.used().all(is_there) {
            return Ok(());
        }
        // A list that was refused must not be taken for a current one later.
        file::remove_tree(&self.state.join("db/sync"))?;
        Err(failure::explained("read the repositories", &line, &ended, pacman, &[]))
    }

    /// What pacman would install for `words`: repository, name and version of each package.
    pub fn choose(
        &self,
        pacman: &Pacman,
        words: &[String],
        reporter: &Reporter,
    ) -> Result<Vec<(String, String, String)>> {
        let mut arguments = vec!["--sync", "--needed", "--print-format", "%r %n %v"];
        arguments.extend(pacman.assumed.iter().flat_map(|word| ["--assume-installed", word]));
        arguments.push("--");
        arguments.extend(words.iter().map(String::as_str));
        let (line, ended) = self.run(&arguments, reporter)?;
        if !ended.status.success() {
            let names = self.names(pacman)?;
            return Err(failure::explained("resolve the packages", &line, &ended, pacman, &names));
        }
        let text = String::from_utf8_lossy(&ended.output.stdout).into_owned();
        let mut chosen = Vec::new();
        for line in text.lines() {
            if let [repository, name, version] = line.split(' ').collect::<Vec<_>>()[..] {
                chosen.push((repository.to_string(), name.to_string(), version.to_string()));
            }
        }
        Ok(chosen)
    }

    /// Fetches and verifies the archives, and lets pacman install them as far as its own notes go, into a root where
    /// nothing is but the notes about a base: what it says of each is what it will do in the image.
    pub fn commit(&self, pacman: &Pacman, words: &[String], reporter: &Reporter) -> Result<Vec<Entry>> {
        let mut arguments = vec!["--sync", "--needed", "--dbonly", "--noscriptlet"];
        arguments.extend(pacman.assumed.iter().flat_map(|word| ["--assume-installed", word]));
        arguments.push("--");
        arguments.extend(words.iter().map(String::as_str));
        let (line, ended) = self.run(&arguments, reporter)?;
        if !ended.status.success() {
            return Err(failure::explained("fetch the packages", &line, &ended, pacman, &[]));
        }
        let root = self.state.join("as-installed");
        file::remove_tree(&root)?;
        file::create_folders(&root.join("var/lib/pacman"))?;
        file::rename(&self.state.join("db/local"), &root.join(LOCAL.trim_start_matches('/')))?;
        let installed = database::installed(&Rooted::open(&root)?);
        self.keep_lists(pacman)?;
        installed
    }

    /// Lists are needed once more, where nobody brings them up to date meanwhile.
    pub fn keep_lists(&self, pacman: &Pacman) -> Result<()> {
        let lists = self.scratch.join("sync");
        file::create_folders(&lists)?;
        for section in pacman.used() {
            file::copy(&self.database(&section.name), &lists.join(format!("{}.db", section.name)))?;
        }
        Ok(())
    }

    /// Every name in the repositories, to find one that is like a name that is not.
    fn names(&self, pacman: &Pacman) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for section in pacman.used() {
            let packages = database::read(&self.database(&section.name), &section.name)?;
            names.extend(packages.into_iter().map(|package| package.name));
        }
        Ok(names)
    }

    fn run(&self, arguments: &[&str], reporter: &Reporter) -> Result<(String, Ended)> {
        let sandbox = Sandbox::new(&self.state.join("root")).of_host(&[&self.state]).network(Network::Host);
        let sandbox = self.certificates.shown_to(sandbox);
        let folders = [
            ("--root", self.state.join("root")),
            ("--dbpath", self.state.join("db")),
            ("--cachedir", self.state.join("archives")),
            ("--logfile", self.state.join("log")),
            ("--gpgdir", self.scratch.join("gnupg")),
            ("--hookdir", self.state.join("no-hooks")),
            ("--config", self.scratch.join("pacman.conf")),
        ];
        run(&sandbox.env("HOME", &self.state), &folders, arguments, reporter)
    }
}

/// pacman with these folders. The first word of the line is pacman, the folders are not shown in it.
pub(super) fn run(
    sandbox: &Sandbox,
    folders: &[(&str, PathBuf)],
    arguments: &[&str],
    reporter: &Reporter,
) -> Result<(String, Ended)> {
    let mut words: Vec<String> = vec!["pacman".into()];
    words.extend(arguments[..1].iter().map(|word| word.to_string()));
    for (name, path) in folders {
        let path = path.to_str().ok_or_else(|| {
            Error::cannot(Exit::Usage, format!("use the folder {} for pacman", path.display()))
                .because("its name has bytes that are not UTF-8")
                .hint("choose another --cache-dir or --work-dir")
        })?;
        words.extend([name.to_string(), path.to_string()]);
    }
    words.extend(["--noconfirm", "--color", "never"].map(str::to_string));
    if arguments[0] != "--database" {
        words.push("--noprogressbar".to_string());
    }
    words.extend(arguments[1..].iter().map(|word| word.to_string()));
    let ended = sandbox.clone().env("LC_ALL", "C.UTF-8").run_to_end(reporter, &words, |_| {})?;
    Ok((std::iter::once("pacman").chain(arguments.iter().copied()).collect::<Vec<_>>().join(" "), ended))
}

/// pacman.conf(5) of this build: passwords are in it.
fn configuration(pacman: &Pacman) -> String {
    let mut text = format!(
        "[options]\nArchitecture = {}\nParallelDownloads = {DOWNLOADS}\nLocalFileSigLevel = Never\n",
        pacman.arch
    );
    for section in pacman.used() {
        let signed = level(section.source.signed, section.signed_packages);
        text.push_str(&format!("\n[{}]\nSigLevel = {signed}\nServer = {}\n", section.name, address(&section.source)));
    }
    text
}

/// `SigLevel` (pacman.conf(5)).
pub(super) fn level(database: Signed, packages: Signed) -> String {
    let word = |signed| if signed == Signed::Required { "Required" } else { "Never" };
    format!("Package{} Database{} TrustedOnly", word(packages), word(database))
}

/// The URL as pacman takes it, with what it needs to get in.
fn address(source: &Source) -> String {
    let url = with_authority(&source.url);
    let Some((user, password)) = &source.credentials else { return url };
    match url.split_once("://").filter(|(scheme, _)| scheme.starts_with("http")) {
        Some((scheme, rest)) => format!("{scheme}://{}:{}@{rest}", encoded(user), encoded(password)),
        None => url,
    }
}

/// Percent-encoded, apart from what is unreserved (RFC 3986, 2.3).
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

/// The keys that may sign a repository or its packages: those that the description names, and no others.
pub(super) fn trusted(pacman: &Pacman, section: &Section, scratch: &Path, reporter: &Reporter) -> Result<Keyring> {
    let source = &section.source;
    if (source.signed, section.signed_packages) == (Signed::NotChecked, Signed::NotChecked) {
        return Ok(Keyring::default());
    }
    let hint = "add <signing key=\"...\"/>; where only packages are signed, repository_gpgcheck=\"false\", too";
    signing_keys::only_named(source, &pacman.certificates, scratch, hint, reporter)
}

fn together<'a>(keyrings: impl Iterator<Item = &'a Keyring>) -> Result<Keyring> {
    let mut all = Keyring::default();
    let mut seen = Vec::new();
    for keyring in keyrings.filter(|keyring| !keyring.is_empty()) {
        if !seen.contains(&keyring.digest()) {
            seen.push(keyring.digest());
            let added = all.add(keyring.binary());
            added.map_err(|why| Error::cannot(Exit::Bug, "put keys together").because(why))?;
        }
    }
    Ok(all)
}

/// A folder of gpg's in which exactly these keys are, and are trusted.
pub(super) fn trust(folder: &Path, keyring: &Keyring, reporter: &Reporter) -> Result<()> {
    file::remove_tree(folder)?;
    file::create_folders(folder)?;
    file::set_mode(folder, 0o700)?;
    file::write(&folder.join("gpg.conf"), GPG.as_bytes())?;
    // pacman looks for a file of this name; gpg takes it where it has no other (gpg(1)).
    file::write(&folder.join("pubring.gpg"), keyring.binary())?;
    if keyring.is_empty() {
        return Ok(());
    }
    let prints = fingerprints(folder, reporter)?;
    let owners: String = prints.iter().map(|print| format!("{print}:6:\n")).collect();
    gpg(folder).arg("--import-ownertrust").input(owners).run(reporter)?;
    gpg(folder).arg("--check-trustdb").run(reporter)?;
    Ok(())
}

fn gpg(folder: &Path) -> Program {
    Program::new("gpg").args(["--batch", "--no-tty", "--homedir"]).arg(folder)
}

/// The fingerprints of the primary keys in a folder of gpg's.
pub(super) fn fingerprints(folder: &Path, reporter: &Reporter) -> Result<Vec<String>> {
    let listed = gpg(folder).args(["--with-colons", "--list-keys"]).run(reporter)?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut prints = Vec::new();
    let mut is_primary = false;
    for line in listed.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        match fields[0] {
            "pub" => is_primary = true,
            "fpr" if is_primary => {
                is_primary = false;
                prints.push(fields.get(9).unwrap_or(&"").to_string());
            }
            _ => {}
        }
    }
    Ok(prints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_encoded_and_a_path_is_a_url() {
        assert_eq!(encoded("p@ss/wörd~"), "p%40ss%2Fw%C3%B6rd~");
        assert_eq!(with_authority("file:/srv/my%20repo"), "file:///srv/my%20repo");
        assert_eq!(with_authority("http://h/$repo/os/$arch"), "http://h/$repo/os/$arch");
    }

    #[test]
    fn only_what_the_description_says_is_left_unverified() {
        assert_eq!(level(Signed::Required, Signed::NotChecked), "PackageNever DatabaseRequired TrustedOnly");
        assert_eq!(level(Signed::NotChecked, Signed::Required), "PackageRequired DatabaseNever TrustedOnly");
    }
}
