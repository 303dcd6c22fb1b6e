//! rpm, run from the host against the tree: one transaction for each phase.
//!
//! In: verified archives and a tree. Out: the tree with them, and rpm's database where the image's own rpm looks for it, in
//! the form that it reads. The host's configuration of rpm is not read, and nothing of the host can be changed. A scriptlet
//! that fails is an error, whatever rpm thinks of it.

use std::collections::BTreeSet;

use super::{DATABASE, Dependencies, Rpm, failure, query};
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::program::{Ended, status_text};
use crate::host::rooted::{RootPath, Rooted};
use crate::host::sandbox::Sandbox;
use crate::package::deferred::Initrds;
use crate::package::rpmdb;
use crate::package::{Beneath, Package, Phase};
use crate::report::Reporter;

/// What programs in the image expect, with the modes of every distribution's `filesystem` package. rpm leaves what is on
/// them alone: something of the build is mounted there.
const SURROUNDINGS: [(&str, u32); 3] = [("/dev", 0o755), ("/proc", 0o555), ("/sys", 0o555)];

/// Files where the image's rpm says how its database is: the last word counts (rpm: docs/manual/macros.md).
const MACROS: [&str; 4] = ["/usr/lib/rpm/macros", "/usr/lib/rpm/macros.d", "/usr/lib/rpm/suse/macros", "/etc/rpm"];

/// What SUSE's packages call, after a transaction, to make the initrds that are made at the end: here nothing. What stands
/// in the place of the programs themselves, as for dpkg, would be in the way of packages that have them.
const MAKES_INITRDS: (&str, &str) = ("DRACUT", "/usr/bin/true");

/// What else rpm says of how far it is.
const STAGES: [&str; 4] =
    ["Verifying packages...", "Preparing packages...", "Updating / installing...", "Cleaning up / removing..."];

/// Where rpm works on a copy of the database.
const COPY: &str = "/.rpmdb-of-the-build";

/// Where a database is, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Database {
    pub folder: RootPath,
    pub backend: String,
}

impl Database {
    /// Where it is; `None` where there is none yet.
    fn existing(tree: &Rooted) -> Result<Option<Database>> {
        let found = rpmdb::find(tree)?.into_iter().next();
        Ok(found.map(|(path, format)| {
            let backend = match format {
                rpmdb::Format::Sqlite => "sqlite",
                rpmdb::Format::Ndb => "ndb",
            };
            Database { folder: path.parent(), backend: backend.into() }
        }))
    }

    /// Where the image's own rpm looks for it; where the image has no rpm, where it is.
    pub fn of(tree: &Rooted) -> Result<Database> {
        let new = || Database { folder: DATABASE.into(), backend: "sqlite".into() };
        let mut database = Database::existing(tree)?.unwrap_or_else(new);
        for path in MACROS.map(RootPath::from) {
            let mut files = Vec::new();
            match tree.entry(&path)? {
                Some(entry) if entry.is_folder() => {
                    let mut names = tree.names(&path)?;
                    names.sort();
                    files.extend(names.iter().filter(|name| name.starts_with(b"macros")).map(|name| path.join(name)));
                }
                Some(_) => files.push(path),
                None => {}
            }
            for file in files.into_iter().filter(|file| !tree.is_folder(file)) {
                let text = tree.read_if_there(&file)?.unwrap_or_default();
                database.read(&String::from_utf8_lossy(&text));
            }
        }
        Ok(database)
    }

    fn read(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("%_dbpath"), Some(path)) => {
                    let path = path.replace("%{_var}", "/var").replace("%{_localstatedir}", "/var");
                    let path = path.replace("%{_usr}", "/usr").replace("%{_prefix}", "/usr");
                    if path.starts_with('/') && !path.contains('%') {
                        self.folder = path.as_str().into();
                    }
                }
                (Some("%_db_backend"), Some(backend)) => self.backend = backend.to_string(),
                _ => {}
            }
        }
    }
}

/// Installs the packages of one phase.
pub(super) fn install(
    rpm: &Rpm,
    packages: &[&Package],
    phase: Phase,
    tree: &Rooted,
    sandbox: &Sandbox,
    reporter: &Reporter,
) -> Result<()> {
    for (path, mode) in SURROUNDINGS {
        let path = RootPath::from(path);
        if !tree.exists(&path) {
            tree.create_folders(&path, mode)?;
            tree.set_mode(&path, mode)?;
        }
    }
    if packages.is_empty() {
        return Ok(());
    }
    let step = reporter.step(match phase {
        Phase::Bootstrap => "bootstrap",
        Phase::Image => "install",
    });
    step.total(packages.len() as u64);
    let before = match Database::existing(tree)? {
        Some(existing) => existing,
        None => Database::of(tree)?,
    };
    let sandbox = match rpm.initrds {
        Initrds::AtTheEnd => sandbox.clone().env(MAKES_INITRDS.0, MAKES_INITRDS.1),
        Initrds::ByPackages => sandbox.clone(),
    };
    let labels: BTreeSet<String> = packages.iter().map(|package| label(package)).collect();
    let see = |line: &str| {
        if labels.contains(line) {
            step.now(line);
            step.advance(1, 0);
        }
    };
    let program = RpmProgram { rpm, tree, sandbox: &sandbox, database: &before, see: &see };
    // Packages of a base may be older than what the new ones need.
    let verb = if rpm.beneath == Beneath::Nothing { "--install" } else { "--upgrade" };
    let mut words = vec![verb, "--verbose", "--nosignature", "--ignorearch", "--ignoreos", "--noplugins"];
    if rpm.request.rpm.exclude_documentation {
        words.push("--excludedocs");
    }
    // They are still installed in the order of their dependencies.
    if rpm.dependencies == Dependencies::WithoutStack {
        words.push("--nodeps");
    }
    let archives: Vec<String> = packages.iter().map(|package| package.archive.display().to_string()).collect();
    words.extend(archives.iter().map(String::as_str));
    let ended = without_progress(program.run("rpm", &words, reporter)?, &labels);
    judge(&ended).map_err(|error| located(error, rpm, packages).within("install the packages"))?;
    let after = Database::of(tree)?;
    if after != before {
        move_database(&before, &after, tree)?;
    }
    forget_traces(tree)?;
    step.finish(&format!("{} packages", packages.len()));
    Ok(())
}

/// What rpm says when it begins with a package.
fn label(package: &Package) -> String {
    format!("{}-{}.{}", package.name, package.version, package.arch)
}

/// What is left is what went wrong, and what scriptlets said.
fn without_progress(mut ended: Ended, labels: &BTreeSet<String>) -> Ended {
    let said = String::from_utf8_lossy(&ended.output.stdout).into_owned();
    let is_progress = |line: &&str| labels.contains(*line) || STAGES.contains(line);
    ended.output.stdout =
        said.lines().filter(|line| !is_progress(line)).flat_map(|line| [line, "\n"]).collect::<String>().into();
    ended
}

/// A program of the host's rpm that works on a tree.
pub(super) struct RpmProgram<'a> {
    pub rpm: &'a Rpm,
    pub tree: &'a Rooted,
    pub sandbox: &'a Sandbox,
    pub database: &'a Database,
    /// Sees each line that it says, as it says it.
    pub see: &'a (dyn Fn(&str) + Sync),
}

impl RpmProgram<'_> {
    /// Runs it and returns what it said and how it ended. Few builds of rpm know its own database format, so that it
    /// works on a copy in SQLite where the image has that.
    pub fn run(&self, program: &str, words: &[&str], reporter: &Reporter) -> Result<Ended> {
        if self.database.backend == "sqlite" {
            return self.run_on(&self.database.folder, program, words, None, reporter);
        }
        let copy = RootPath::from(COPY);
        self.tree.create_folders(&copy, 0o700)?;
        let mut list = Vec::new();
        for header in rpmdb::installed(self.tree)? {
            list.extend(query::HEADER);
            list.extend(header.bytes());
        }
        if !list.is_empty() {
            self.tree.write(&copy.join("list"), list, 0o600)?;
            let list = self.tree.host_path().join(COPY.trim_start_matches('/')).join("list").display().to_string();
            let ended = self.run_on(&copy, "rpmdb", &["--importdb"], Some(&list), reporter)?;
            judge(&ended).map_err(|error| error.within("copy rpm's database"))?;
        }
        let ended = self.run_on(&copy, program, words, None, reporter)?;
        if judge(&ended).is_ok() {
            let file = copy.join(rpmdb::Format::Sqlite.file());
            let log = rpmdb::read_log(self.tree, &file)?;
            write_ndb(self.tree, &self.database.folder, &self.tree.read(&file)?, &log)?;
        }
        self.tree.remove(&copy)?;
        Ok(ended)
    }

    fn run_on(
        &self,
        folder: &RootPath,
        program: &str,
        words: &[&str],
        input: Option<&str>,
        reporter: &Reporter,
    ) -> Result<Ended> {
        let scratch = self.rpm.scratch.join("rpm");
        file::create_folders(&scratch)?;
        let macros = scratch.join("macros");
        file::write(&macros, self.macros(folder).as_bytes())?;
        // The host's own macros say where its programs are; what it configures beside that is not for this image.
        let macros = format!("/usr/lib/rpm/macros:{}", macros.display());
        let root = self.tree.host_path().display().to_string();
        // Programs in a sandbox have no input of their own.
        let shell = input.map(|path| ["sh", "-c", "exec \"$@\" < \"$0\"", path]);
        let start = shell.into_iter().flatten().chain([program, "--macros", &macros, "--root", &root]);
        let all = start.chain(words.iter().copied());
        let folders: [&std::path::Path; 1] = [&scratch];
        self.sandbox.clone().of_host(&folders).run_to_end(reporter, &all.collect::<Vec<_>>(), self.see)
    }

    fn macros(&self, folder: &RootPath) -> String {
        let languages = match &self.rpm.request.rpm.languages {
            // `C` and `POSIX` are no languages; what has none is installed in any case.
            Some(languages) => languages.join(":"),
            None => "all".to_string(),
        };
        format!(
            "%_dbpath {folder}\n%_db_backend sqlite\n%_netsharedpath /dev:/proc:/sys\n%_install_langs {languages}\n\
             %_excludedocs 0\n%_flush_io 0\n%_minimize_writes 0\n%_pkgverify_level digest\n"
        )
    }
}

/// Whether rpm did what it was asked to: a failed scriptlet is a warning for it, and the image is not what it should be.
pub(super) fn judge(ended: &Ended) -> Result<()> {
    let said = failure::text_of(ended);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty() && !failure::is_advice(line)).collect();
    let failed = lines.iter().position(|line| {
        (line.starts_with("warning: %") || line.starts_with("error: %")) && line.contains("scriptlet failed")
    });
    if ended.status.success() && failed.is_none() {
        return Ok(());
    }
    let shown = match failed {
        // What a scriptlet said stands before.
        Some(at) => &lines[at.saturating_sub(8)..=at],
        None => &lines[lines.len().saturating_sub(12)..],
    };
    let full = lines.iter().any(|line| line.contains("needs") && line.contains("on the / filesystem"))
        || lines.iter().any(|line| line.contains("No space left on device"));
    let damaged = lines.iter().any(|line| line.contains("BAD") || line.contains("digest") && line.contains("mismatch"));
    let exit = match (full, damaged) {
        (true, _) => Exit::Io,
        (_, true) => Exit::Integrity,
        _ => Exit::Description,
    };
    let status = status_text(ended.status);
    let error = Error::cannot(exit, "run rpm").because(if shown.is_empty() { status } else { shown.join("\n") });
    Err(match failed {
        Some(_) => error.hint("the image has no running system: a scriptlet must not need one"),
        None => error,
    })
}

/// Says where the description names the package that rpm complains about.
fn located(error: Error, rpm: &Rpm, packages: &[&Package]) -> Error {
    let said = error.causes().join("\n");
    let about = |package: &&&Package| {
        let version = package.version.split_once(':').map_or(package.version.as_str(), |(_, version)| version);
        said.contains(&format!("{}-{version}", package.name))
    };
    let names: Vec<&str> = packages.iter().filter(about).map(|package| package.name.as_str()).collect();
    let named = rpm.named().find(|named| names.contains(&super::query::base_name(&named.name)));
    match named {
        Some(named) => error.at(named.place.clone()),
        None => error,
    }
}

/// Brings the database to where, and into the form in which, the image's own rpm reads it.
fn move_database(before: &Database, after: &Database, tree: &Rooted) -> Result<()> {
    let known = [("sqlite", "sqlite"), ("sqlite", "ndb"), ("ndb", "ndb")];
    if !known.contains(&(before.backend.as_str(), after.backend.as_str())) {
        return Err(Error::cannot(Exit::HostLacks, "write rpm's database as the image's rpm reads it")
            .because(format!("it was `{}` and is `{}` now", before.backend, after.backend))
            .hint("Berkeley DB, `bdb`, is written by rpm 4.16 and older: such an image is built without rpm"));
    }
    if after.folder != before.folder {
        tree.create_folders(&after.folder, 0o755)?;
    }
    let same = tree.leads_to_same_folder(&after.folder, before.folder.as_bytes());
    if after.backend != before.backend {
        for name in tree.names(&before.folder)?.into_iter().filter(|name| name.starts_with(b"rpmdb.sqlite")) {
            // The file itself is the last one that goes: its log belongs to it.
            if name == rpmdb::Format::Sqlite.file().as_bytes() {
                let file = before.folder.join(&name);
                let log = rpmdb::read_log(tree, &file)?;
                write_ndb(tree, &after.folder, &tree.read(&file)?, &log)?;
            }
        }
        for name in tree.names(&before.folder)?.into_iter().filter(|name| name.starts_with(b"rpmdb.sqlite")) {
            tree.remove(&before.folder.join(&name))?;
        }
    } else if !same {
        for name in tree.names(&before.folder)? {
            tree.rename(&before.folder.join(&name), &after.folder.join(&name))?;
        }
    }
    if after.folder != before.folder {
        let owned: Vec<RootPath> =
            rpmdb::installed(tree)?.iter().flat_map(|header| header.files()).map(|file| file.path).collect();
        for folder in [before.folder.clone(), before.folder.parent()] {
            if tree.is_folder(&folder) && tree.names(&folder)?.is_empty() && !owned.contains(&folder) {
                tree.remove(&folder)?;
            }
        }
    }
    Ok(())
}

/// Writes the packages of a database in SQLite in rpm's own format.
fn write_ndb(tree: &Rooted, folder: &RootPath, database: &[u8], log: &[u8]) -> Result<()> {
    let headers = rpmdb::read(rpmdb::Format::Sqlite, database, log)?;
    tree.create_folders(folder, 0o755)?;
    tree.write(&folder.join(rpmdb::Format::Ndb.file()), rpmdb::ndb(headers)?, 0o644)?;
    // rpm makes it from the other one.
    tree.remove(&folder.join("Index.db"))
}

/// Takes away what only a running rpm needs beside its database; the database's own log is applied first.
pub(super) fn forget_traces(tree: &Rooted) -> Result<()> {
    for (path, _) in rpmdb::find(tree)? {
        tree.remove(&path.parent().join(".rpm.lock"))?;
        tree.remove(&RootPath::new([path.as_bytes(), b"-shm"].concat()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_say_where_the_database_is() {
        let mut database = Database { folder: DATABASE.into(), backend: "sqlite".into() };
        database.read("%_dbpath\t\t%{_var}/lib/rpm\n%_db_backend ndb\n#%_dbpath /x\n%_dbpath %{getenv:HOME}/y\n");
        assert_eq!(database, Database { folder: "/var/lib/rpm".into(), backend: "ndb".into() });
    }
}
