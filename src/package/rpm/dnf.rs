//! dnf decides which packages are installed, fetches them and verifies them; it installs nothing.
//!
//! In: repositories with their keys, names, groups, modules. Out: the archives, each with the repository that it came
//! from, as dnf itself reports them: dnf4 through a plugin of ours, dnf5 in the transaction that it stores. One solution
//! for both phases, and one load of the metadata but for modules, which dnf enables in a command of its own. microdnf
//! only ever runs in an image; its packages are chosen by whichever dnf this host has. Never reads the host's own
//! configuration, aliases or plugins of dnf.

mod configuration;
mod failure;
mod modules;
mod transaction;

use std::path::{Path, PathBuf};

use super::decision::{self, Answered, Check, Decision, Metadata, Solver};
use super::folder::ManagerFolder;
use super::{Repository, Rpm, repomd};
use crate::error::{Error, Exit, Result, Warning};
use crate::host::file;
use crate::host::program::Ended;
use crate::host::sandbox::short_path;
use crate::package::{Solution, solver};
use crate::plan::{Manager, Named, Recommends};
use crate::report::Reporter;

pub(super) use modules::{State as ModuleState, write as write_modules};

/// The two programs that are called dnf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    /// dnf 4, a program in Python.
    Four,
    /// dnf 5.
    Five,
}

/// What runs, for one image.
struct Dnf<'a> {
    rpm: &'a Rpm,
    folder: &'a ManagerFolder,
    used: &'a [&'a Repository],
    program: &'static str,
    generation: Generation,
    reporter: &'a Reporter,
}

/// Programs by the names that tell the generation, in the order in which they are looked for.
const FOUR: [(&str, Generation); 2] = [("/usr/bin/dnf-3", Generation::Four), ("/usr/bin/dnf4", Generation::Four)];
const FIVE: [(&str, Generation); 1] = [("/usr/bin/dnf5", Generation::Five)];

/// Solves, fetches and verifies, where an earlier build did not.
pub(super) fn solve(
    rpm: &Rpm,
    folder: &ManagerFolder,
    used: &[&Repository],
    check: &Check<'_>,
    reporter: &Reporter,
) -> Result<(Decision, Solution)> {
    let (program, generation) = program(rpm.manager, reporter)?;
    let dnf = Dnf { rpm, folder, used, program, generation, reporter };
    dnf.check_names()?;
    configuration::write(&dnf)?;
    decision::decide(&dnf, folder, used, check, reporter)
}

impl Solver for Dnf<'_> {
    fn question(&self) -> Result<Option<String>> {
        let manager = match self.generation {
            Generation::Four => solver::HostSolver {
                program: self.program,
                libraries: &["libdnf.so", "libsolv.so", "libmodulemd.so", "librpm.so"],
                modules: &["dnf"],
            },
            Generation::Five => solver::HostSolver {
                program: self.program,
                libraries: &["libdnf5.so", "libsolv.so", "libmodulemd.so", "librpm.so"],
                modules: &[],
            },
        };
        let Some(mut lines) = decision::common(self.rpm, &manager, self.folder, self.used)? else { return Ok(None) };
        lines.push(decision::settings(&self.folder.scratch.join("dnf.conf"), self.folder)?);
        lines.push(configuration::report());
        let modules = &self.rpm.request.modules;
        lines.extend(modules.iter().map(|module| format!("{} {}", module.spelled(), module.enabled)));
        lines.extend(configuration::options(self));
        lines.extend(self.install_words());
        Ok(Some(lines.join("\n")))
    }

    fn ask(&self, known: Option<&Metadata>) -> Result<Answered> {
        let mut commands = self.module_commands();
        let arguments = self.wanted();
        commands.push(Command { what: "resolve the packages".into(), words: self.install_words(), arguments });
        transaction::forget(self)?;
        if let Some(known) = known {
            match self.generation {
                // The plugin looks at the metadata before the first command does anything.
                Generation::Four => configuration::write_known(self, known)?,
                Generation::Five => {
                    let ended = self.run(&[REFRESH.to_string(), "makecache".to_string()])?;
                    if !ended.status.success() {
                        return Err(failure::of(self, "read the repositories", &ended, &[]));
                    }
                    if repomd::digests(self.folder, self.used)?.as_ref() == Some(known) {
                        return Ok(Answered::Unchanged);
                    }
                }
            }
        }
        let mut last = None;
        for (position, command) in commands.iter().enumerate() {
            let mut words = command.words.clone();
            if position == 0 {
                words.insert(0, REFRESH.to_string());
            }
            let ended = self.run(&words)?;
            if !ended.status.success() {
                return Err(failure::of(self, &command.what, &ended, &command.arguments));
            }
            if configuration::is_unchanged(self)? {
                return Ok(Answered::Unchanged);
            }
            last = Some(ended);
        }
        let ended =
            last.ok_or_else(|| Error::cannot(Exit::Bug, "resolve the packages").because("dnf was not asked"))?;
        let (chosen, modules) = transaction::read(self, &ended)?;
        Ok(Answered::Decided(Decision { chosen, warnings: failure::passed_over(&ended), modules }))
    }
}

/// One run of dnf.
struct Command<'a> {
    /// What it is for.
    what: String,
    words: Vec<String>,
    /// Which of the words the description says.
    arguments: Vec<(String, &'a Named)>,
}

/// The dnf of this host. The other generation takes the place of one that is missing: it reads the same repositories,
/// and says so.
fn program(manager: Manager, reporter: &Reporter) -> Result<(&'static str, Generation)> {
    let (own, other): (&[_], &[_]) = match manager {
        Manager::Dnf5 => (&FIVE, &FOUR),
        _ => (&FOUR, &FIVE),
    };
    let here = |(path, _): &&(&'static str, Generation)| file::is_file(Path::new(path));
    if let Some(found) = own.iter().find(here) {
        return Ok(*found);
    }
    let Some(found) = other.iter().find(here) else {
        return Err(Error::cannot(Exit::HostLacks, "resolve the packages")
            .because(format!("this host has neither dnf4 nor dnf5, and the description says {}", manager.word()))
            .hint("install the package dnf or dnf5 on this host"));
    };
    if manager != Manager::Microdnf {
        let text = format!("this host has no {}: {} resolves the packages", manager.word(), found.0);
        reporter.warn(Warning { text, place: None });
    }
    Ok(*found)
}

/// Asks each repository whether it changed: dnf counts seconds, and takes what it read in this one for current, whatever
/// `metadata_expire` says.
const REFRESH: &str = "--refresh";

impl Dnf<'_> {
    fn install_words(&self) -> Vec<String> {
        let mut words = vec!["install".to_string()];
        words.extend(transaction::options(self));
        words.push("--".into());
        words.extend(self.wanted().into_iter().map(|(argument, _)| argument));
        words
    }

    /// What dnf is asked to install: each argument with what the description calls it.
    fn wanted(&self) -> Vec<(String, &Named)> {
        let request = &self.rpm.request;
        let names = self.rpm.named().map(|named| (spelled(&named.name), named));
        let groups = request.bootstrap_groups.collections.iter().chain(&request.image_groups.collections);
        let mut wanted: Vec<(String, &Named)> = names.collect();
        wanted.extend(groups.map(|named| (format!("@{}", named.name), named)));
        wanted.sort_by(|one, other| one.0.cmp(&other.0));
        wanted.dedup_by(|one, other| one.0 == other.0);
        wanted
    }

    /// dnf takes files and addresses for packages, too, which come from no repository and nobody signed for.
    fn check_names(&self) -> Result<()> {
        let file = |named: &&Named| named.name.ends_with(".rpm") || named.name.contains("://");
        match self.rpm.named().find(file) {
            None => Ok(()),
            Some(named) => Err(Error::cannot(Exit::Description, "resolve the packages")
                .because(format!("`{}` is a file, not a package of a repository", named.name))
                .at(named.place.clone())
                .hint("make a repository of the file with createrepo_c, and name it with <repository>")),
        }
    }

    /// Runs dnf in the folder's empty root.
    fn run(&self, words: &[String]) -> Result<Ended> {
        let mut line = vec![self.program.to_string()];
        line.extend(configuration::options(self));
        line.extend(words.iter().cloned());
        let sandbox = self.folder.sandbox().env("DNF_DISABLE_ALIASES", "1").env("PYTHONDONTWRITEBYTECODE", "1");
        let sandbox = sandbox.env(configuration::KNOWN, self.inside(&self.known()));
        let sandbox = sandbox.env(configuration::CACHE, self.inside(&self.folder.cache));
        sandbox.env(transaction::REPORT, self.inside(&self.report())).run_to_end(self.reporter, &line, |_| {})
    }

    /// A path as dnf is given it: dnf divides many of its options at blanks.
    fn inside(&self, path: &Path) -> String {
        let found = self.folder.writable().into_iter().enumerate().find_map(|(position, folder)| {
            let rest = path.strip_prefix(folder).ok()?;
            Some(short_path(position).join(rest))
        });
        found.as_deref().unwrap_or(path).display().to_string()
    }

    /// The path of a file that dnf names.
    fn outside(&self, path: &Path) -> PathBuf {
        let found = self.folder.writable().into_iter().enumerate().find_map(|(position, folder)| {
            let rest = path.strip_prefix(short_path(position)).ok()?;
            Some(folder.join(rest))
        });
        found.unwrap_or_else(|| path.to_path_buf())
    }

    fn report(&self) -> PathBuf {
        self.folder.scratch.join("dnf-transaction.json")
    }

    /// What the plugin compares the metadata with.
    fn known(&self) -> PathBuf {
        self.folder.scratch.join("dnf-known.json")
    }

    /// The folder in which dnf5 stores what it would do, and the packages, which it finds there again the next time.
    fn stored(&self) -> PathBuf {
        self.folder.cache.join("stored")
    }

    fn recommends(&self) -> bool {
        self.rpm.request.recommends == Recommends::Yes
    }

    /// The repository that dnf knows by this name.
    fn repository(&self, id: &str) -> Option<&Repository> {
        self.used.iter().copied().find(|repository| repository.id() == id)
    }
}

/// `foo>=1.2` as dnf wants it: `foo >= 1.2`. A description has no blanks in names.
fn spelled(name: &str) -> String {
    let operator = |char: char| "<>=".contains(char);
    if name.starts_with(['(', '/', '@']) {
        return name.to_string();
    }
    let Some(at) = name.find(operator) else { return name.to_string() };
    let (package, rest) = name.split_at(at);
    let version = rest.trim_start_matches(operator);
    format!("{package} {} {version}", &rest[..rest.len() - version.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_spelled_as_dnf_reads_them() {
        for (written, meant) in [
            ("foo", "foo"),
            ("foo>=1.2", "foo >= 1.2"),
            ("foo=1:2-3", "foo = 1:2-3"),
            ("foo.x86_64<7", "foo.x86_64 < 7"),
            ("/usr/bin/a=b", "/usr/bin/a=b"),
            ("(foo if bar)", "(foo if bar)"),
        ] {
            assert_eq!(spelled(written), meant);
        }
    }
}
