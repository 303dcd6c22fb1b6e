//! zypper as the solver: it reads the repositories, decides and downloads; nothing is installed by it.
//!
//! In: the request and a [`ManagerFolder`]. Out: the archives that it chose, each checked against signed metadata. Never
//! says yes to a key, never reads the host's configuration of zypper or libzypp.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::decision::{self, Answered, Check, Decision, Metadata, Solver};
use super::folder::ManagerFolder;
use super::{Chosen, IGNORED, Repository, Rpm, failure, query, repomd};
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::program::Ended;
use crate::host::sandbox::Sandbox;
use crate::package::{Solution, solver};
use crate::plan::{Address, Named, Recommends, Signed};
use crate::report::Reporter;

/// Exit code of zypper for a name that nobody provides (zypper(8)).
const NOT_FOUND: i32 = 104;

/// What identifies a package: name, version with epoch and release, architecture.
type Identity = (String, String, String);

/// Solves and downloads, where an earlier build did not.
pub(super) fn solve(
    rpm: &Rpm,
    folder: &ManagerFolder,
    used: &[&Repository],
    check: &Check<'_>,
    reporter: &Reporter,
) -> Result<(Decision, Solution)> {
    let zypper = Zypper { rpm, folder, used, reporter };
    zypper.configure()?;
    decision::decide(&zypper, folder, used, check, reporter)
}

struct Zypper<'a> {
    rpm: &'a Rpm,
    folder: &'a ManagerFolder,
    used: &'a [&'a Repository],
    reporter: &'a Reporter,
}

enum Found {
    All(Vec<Chosen>),
    Ambiguous(Vec<PathBuf>),
}

impl Solver for Zypper<'_> {
    fn question(&self) -> Result<Option<String>> {
        let libraries = ["libzypp.so", "libsolv.so", "libsolvext.so", "librpm.so"];
        let manager = solver::HostSolver { program: "/usr/bin/zypper", libraries: &libraries, modules: &[] };
        let Some(mut lines) = decision::common(self.rpm, &manager, self.folder, self.used)? else { return Ok(None) };
        lines.push(decision::settings(&self.folder.scratch.join("zypp.conf"), self.folder)?);
        lines.push(self.locks());
        lines.push(format!("{:?}", self.rpm.request.rpm.release_version));
        lines.extend(self.install_words());
        Ok(Some(lines.join("\n")))
    }

    fn ask(&self, known: Option<&Metadata>) -> Result<Answered> {
        self.refresh()?;
        if known.is_some() && repomd::digests(self.folder, self.used)?.as_ref() == known {
            return Ok(Answered::Unchanged);
        }
        let decided = |chosen| Answered::Decided(Decision { chosen, ..Decision::default() });
        let wanted = self.download()?;
        let archives = match self.archives(&wanted)? {
            Found::All(chosen) => return Ok(decided(chosen)),
            Found::Ambiguous(archives) => archives,
        };
        // What an earlier build left in the cache may be of another repository than the one chosen now.
        archives.iter().try_for_each(|path| file::remove(path))?;
        let wanted = self.download()?;
        match self.archives(&wanted)? {
            Found::All(chosen) => Ok(decided(chosen)),
            Found::Ambiguous(archives) => Err(Error::cannot(Exit::Bug, "tell which packages zypper chose")
                .because(format!("{} is there twice", archives[0].display()))),
        }
    }
}

impl Zypper<'_> {
    fn configure(&self) -> Result<()> {
        let scratch = &self.folder.scratch;
        let own = scratch.join("etc");
        file::create_folders(&own)?;
        let settings = [
            ("arch", self.rpm.arch.clone()),
            ("configdir", own.display().to_string()),
            ("cachedir", self.folder.cache.display().to_string()),
            ("multiversiondir", own.join("multiversion.d").display().to_string()),
            ("vendordir", own.join("vendors.d").display().to_string()),
            ("varsdir", own.join("vars.d").display().to_string()),
            ("servicesdir", own.join("services.d").display().to_string()),
            ("history.logfile", scratch.join("log/history").display().to_string()),
            // These are below the root.
            ("credentials.global.file", "/credentials.cat".to_string()),
            ("locksfile.path", "/locks".to_string()),
            ("download.use_deltarpm", "false".to_string()),
            // The versions that may be installed beside each other: kernels.
            ("multiversion", "provides:multiversion(kernel)".to_string()),
        ];
        let lines = settings.iter().map(|(name, value)| format!("{name} = {value}\n"));
        let text = format!("[main]\n{}", lines.collect::<String>());
        file::write(&scratch.join("zypp.conf"), text.as_bytes())?;
        file::write(&scratch.join("zypper.conf"), b"[main]\n")?;
        for repository in self.used {
            repository.source.check_login("zypper", unfit_for_a_login)?;
            let path = scratch.join("repos.d").join(format!("{}.repo", repository.id()));
            file::write(&path, self.repository_file(repository).as_bytes())?;
            repository.source.customize(&path, self.reporter)?;
        }
        let passwords: String = self.used.iter().filter_map(|repository| credentials(repository)).collect();
        if !passwords.is_empty() {
            file::write_private(&self.folder.root.join("credentials.cat"), passwords.as_bytes())?;
        }
        let locks = self.locks();
        if !locks.is_empty() {
            file::write(&self.folder.root.join("locks"), locks.as_bytes())?;
        }
        Ok(())
    }

    fn repository_file(&self, repository: &Repository) -> String {
        let source = &repository.source;
        let yes = |signed: Signed| u8::from(signed == Signed::Required);
        let (metadata, packages) = (yes(source.signed), yes(repository.signed_packages));
        let address = match repository.address {
            Address::Repository => "baseurl",
            Address::Metalink => "metalink",
            Address::MirrorList => "mirrorlist",
        };
        let mut text = format!("[{0}]\nname={0}\nenabled=1\nautorefresh=1\nkeeppackages=1\n", repository.id());
        text.push_str(&format!("{address}={}\ntype=rpm-md\n", place(repository)));
        text.push_str(&format!(
            "gpgcheck={}\nrepo_gpgcheck={metadata}\npkg_gpgcheck={packages}\n",
            metadata | packages
        ));
        for key in self.folder.key_files(&source.alias, self.used) {
            text.push_str(&format!("gpgkey=file://{}\n", key.display()));
        }
        if let Some(priority) = source.priority {
            text.push_str(&format!("priority={priority}\n"));
        }
        text
    }

    fn sandbox(&self) -> Sandbox {
        let scratch = &self.folder.scratch;
        let sandbox = self.folder.sandbox().env("ZYPP_CONF", scratch.join("zypp.conf"));
        sandbox.env("ZYPP_LOGFILE", scratch.join("log/zypper.log")).env("ZYPP_LOCKFILE_ROOT", &self.folder.root)
    }

    fn run(&self, words: &[&str]) -> Result<Ended> {
        let scratch = &self.folder.scratch;
        let path = |path: &Path| path.display().to_string();
        let mut all = vec!["zypper".to_string(), "--xmlout".into(), "--non-interactive".into()];
        all.extend(["--config".into(), path(&scratch.join("zypper.conf"))]);
        all.extend(["--root".into(), path(&self.folder.root)]);
        all.extend(["--reposd-dir".into(), path(&scratch.join("repos.d"))]);
        all.extend(["--cache-dir".into(), path(&self.folder.cache)]);
        if let Some(version) = &self.rpm.request.rpm.release_version {
            all.extend(["--releasever".into(), version.clone()]);
        }
        all.extend(words.iter().map(|word| word.to_string()));
        self.sandbox().run_to_end(self.reporter, &all, |_| {})
    }

    fn refresh(&self) -> Result<()> {
        let ended = self.run(&["refresh"])?;
        if ended.status.success() {
            return Ok(());
        }
        let said = failure::messages(&String::from_utf8_lossy(&ended.output.stdout));
        Err(failure::of_transfer("read the repositories", &ended, &said, self.used))
    }

    /// What must not be installed, as libzypp reads it.
    fn locks(&self) -> String {
        self.rpm.request.ignore.iter().map(lock).collect()
    }

    /// What zypper is asked to do.
    fn install_words(&self) -> Vec<String> {
        let request = &self.rpm.request;
        let recommends = match request.recommends {
            Recommends::No => "--no-recommends",
            Recommends::Yes => "--recommends",
        };
        let mut words = vec!["--no-refresh", "install", "--download-only", "--auto-agree-with-licenses"];
        words.extend(["--auto-agree-with-product-licenses", recommends, "--"]);
        let names: BTreeSet<&str> = self.rpm.named().map(|named| named.name.as_str()).collect();
        let mut capabilities = BTreeSet::new();
        for groups in [&request.bootstrap_groups, &request.image_groups] {
            capabilities.extend(groups.collections.iter().map(|named| format!("pattern() = {}", named.name)));
            capabilities.extend(groups.products.iter().map(|named| format!("product() = {}", named.name)));
        }
        words.extend(names.iter().copied().chain(capabilities.iter().map(String::as_str)));
        words.into_iter().map(str::to_string).collect()
    }

    /// What zypper decided; it is in its cache then.
    fn download(&self) -> Result<BTreeSet<Identity>> {
        let words = self.install_words();
        let ended = self.run(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let text = String::from_utf8_lossy(&ended.output.stdout).into_owned();
        if ended.status.success() {
            return Ok(to_install(&text));
        }
        let said = failure::messages(&text);
        let missing = said.iter().any(|line| line.starts_with("No provider of") || line.contains("not found in"));
        let problem = said.iter().position(|line| line.starts_with("Problem:"));
        if ended.status.code() == Some(NOT_FOUND) || missing {
            return Err(self.not_found(&said));
        }
        match problem {
            Some(first) => Err(self.unsatisfiable(&said[first..])),
            None => Err(failure::of_transfer("fetch the packages", &ended, &said, self.used)),
        }
    }

    /// All that the description asks for, with what zypper calls it.
    fn asked(&self) -> Vec<(&Named, String)> {
        let request = &self.rpm.request;
        let mut asked: Vec<(&Named, String)> = self.rpm.named().map(|named| (named, named.name.clone())).collect();
        for groups in [&request.bootstrap_groups, &request.image_groups] {
            asked.extend(groups.collections.iter().map(|named| (named, format!("pattern() = {}", named.name))));
            asked.extend(groups.products.iter().map(|named| (named, format!("product() = {}", named.name))));
        }
        asked
    }

    fn not_found(&self, said: &[String]) -> Error {
        let asked = self.asked();
        let about = |line: &String| asked.iter().find(|(_, word)| line.contains(&format!("'{word}'")));
        let error = Error::cannot(Exit::Description, "resolve the packages");
        let Some((named, word)) = said.iter().find_map(about) else { return error.because(said.join("\n")) };
        let error = match word.strip_suffix(named.name.as_str()) {
            Some("pattern() = ") => error.because(format!("there is no pattern `{}`", named.name)),
            Some("product() = ") => error.because(format!("there is no product `{}`", named.name)),
            _ => error.because(format!("there is no package `{}`, and none provides it", named.name)),
        };
        let error = error.because(said.join("\n")).at(named.place.clone());
        match self.similar(&named.name) {
            Some(name) if *word == named.name => error.hint(format!("did you mean `{name}`?")),
            _ => error,
        }
    }

    /// A package with a name that is almost the same.
    fn similar(&self, name: &str) -> Option<String> {
        let ended = self.run(&["--no-refresh", "search", "--type", "package"]).ok()?;
        let text = String::from_utf8_lossy(&ended.output.stdout).into_owned();
        let names: Vec<String> = solvables(&text).into_iter().map(|(name, ..)| name).collect();
        crate::package::similar(query::base_name(name), names.iter().map(String::as_str)).map(str::to_string)
    }

    fn unsatisfiable(&self, said: &[String]) -> Error {
        let asked = self.asked();
        let is_about = |line: &String, named: &Named| {
            let name = query::base_name(&named.name);
            line.split([' ', '\'']).any(|word| {
                word == name || word.strip_prefix(name).is_some_and(|rest| rest.starts_with('-') && is_version(rest))
            })
        };
        let named = said.iter().find_map(|line| asked.iter().find(|(named, _)| is_about(line, named)));
        let named = named.or_else(|| {
            asked.iter().find(|(named, word)| {
                word.starts_with("pattern()") && said.iter().any(|line| has_pattern(line, &named.name))
            })
        });
        let ignored = |named: &Named| said.iter().any(|line| is_about(line, named));
        let error = Error::cannot(Exit::Description, "resolve the packages");
        let error = match self.rpm.request.ignore.iter().any(ignored) {
            true => error.hint(IGNORED),
            false => error,
        };
        let reason = said.iter().take(12).map(String::as_str).collect::<Vec<_>>().join("\n");
        match named {
            Some((named, _)) => {
                error.because(format!("zypper cannot satisfy `{}`\n{reason}", named.name)).at(named.place.clone())
            }
            None => error.because(format!("zypper cannot satisfy it\n{reason}")),
        }
    }

    /// Finds in the cache what zypper chose.
    fn archives(&self, wanted: &BTreeSet<Identity>) -> Result<Found> {
        let mut found: BTreeMap<Identity, Vec<Chosen>> = BTreeMap::new();
        for repository in self.used {
            let packages = self.folder.cache.join("packages").join(repository.id());
            for path in rpm_files(&packages)? {
                let header = query::header(&path)?;
                let identity = header.identity();
                if wanted.contains(&identity) {
                    let chosen = Chosen::new(path, repository.source.alias.clone(), false);
                    found.entry(identity).or_default().push(chosen);
                }
            }
        }
        if let Some((name, version, arch)) = wanted.iter().find(|identity| !found.contains_key(*identity)) {
            return Err(Error::cannot(Exit::Bug, format!("find {name}-{version}.{arch} in the cache of zypper"))
                .because("zypper says that it was downloaded"));
        }
        let twice: Vec<PathBuf> =
            found.values().filter(|all| all.len() > 1).flatten().map(|one| one.archive.clone()).collect();
        if twice.is_empty() {
            Ok(Found::All(found.into_values().flatten().collect()))
        } else {
            Ok(Found::Ambiguous(twice))
        }
    }
}

/// Whether a line speaks of the package of a pattern: `patterns-base-NAME-1.2-3.x86_64`.
fn has_pattern(line: &str, name: &str) -> bool {
    let end = format!("-{name}");
    line.split([' ', '\'']).filter(|word| word.starts_with("patterns-")).any(|word| {
        word.match_indices(&end).any(|(at, _)| {
            let rest = &word[at + end.len()..];
            rest.starts_with('-') && is_version(rest)
        })
    })
}

/// Whether what follows a name in `name-1.2-3.x86_64` is its version.
fn is_version(rest: &str) -> bool {
    rest[1..].starts_with(|char: char| char.is_ascii_digit())
}

/// All package files below a folder.
fn rpm_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !file::is_folder(folder) {
        return Ok(found);
    }
    for name in file::names(folder)? {
        let path = folder.join(name);
        if file::is_folder(&path) {
            found.extend(rpm_files(&path)?);
        } else if path.extension().is_some_and(|end| end == "rpm") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A package that must not be installed (the format of /etc/zypp/locks).
fn lock(named: &Named) -> String {
    format!("\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: {}\n", named.name)
}

/// Where libzypp finds a repository. With the slash, a login is not used for what is beside it and begins with the same
/// letters; without it here, none that has it there would be used at all.
fn place(repository: &Repository) -> String {
    match repository.address {
        Address::Repository => format!("{}/", repository.url()),
        Address::Metalink | Address::MirrorList => repository.url(),
    }
}

/// Why libzypp would not read a user name or password as it is: it strips blanks, and uses no empty one.
fn unfit_for_a_login(text: &str) -> Option<&'static str> {
    match text {
        "" => Some("is empty"),
        _ => (text.trim_matches(' ') != text).then_some("begins or ends with a blank"),
    }
}

/// User and password of a repository, as libzypp reads them.
fn credentials(repository: &Repository) -> Option<String> {
    let (user, password) = repository.source.credentials.as_ref()?;
    Some(format!("[{}]\nusername = {user}\npassword = {password}\n\n", place(repository)))
}

/// Packages that the summary of an installation says will be installed; it names others, too.
fn to_install(text: &str) -> BTreeSet<Identity> {
    let sections =
        text.split("<to-install>").skip(1).map(|rest| rest.split("</to-install>").next().unwrap_or_default());
    sections.flat_map(solvables).collect()
}

/// Every `<solvable>` that is a package.
fn solvables(text: &str) -> Vec<Identity> {
    let mut reader = Reader::from_str(text);
    let mut found = Vec::new();
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Eof => break,
            Event::Start(start) | Event::Empty(start) if start.name().as_ref() == "solvable" => {
                let value = |name: &str| attribute(&start, name);
                if value("type") == "package" || value("kind") == "package" {
                    found.push((value("name"), value("edition"), value("arch")));
                }
            }
            _ => {}
        }
    }
    found
}

fn attribute(start: &BytesStart<'_>, name: &str) -> String {
    let found = start.attributes().flatten().find(|attribute| attribute.key.as_ref() == name);
    let value = found.map(|attribute| attribute.value.to_string()).unwrap_or_default();
    value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_known_by_its_package() {
        let line = "Problem: nothing provides x needed by patterns-base-minimal_base-20200124-1.2.x86_64";
        assert!(has_pattern(line, "minimal_base") && !has_pattern(line, "base") && !has_pattern(line, "minimal"));
    }

    #[test]
    fn the_packages_of_a_summary_are_read_and_its_patterns_are_not() {
        let text = "<stream><to-install><solvable type=\"package\" name=\"a\" edition=\"1:2-3\" arch=\"noarch\">\
                    <description>x</description></solvable><solvable type=\"pattern\" name=\"p\" edition=\"1\" \
                    arch=\"noarch\"/><solvable type=\"package\" name=\"b\" edition=\"4-5\" arch=\"x86_64\"/></to-install>\
                    <recommended><solvable type=\"package\" name=\"c\" edition=\"6\" arch=\"noarch\"/></recommended>";
        let wanted = [("a", "1:2-3", "noarch"), ("b", "4-5", "x86_64")];
        let wanted = wanted.map(|(name, version, arch)| (name.to_string(), version.to_string(), arch.to_string()));
        assert_eq!(to_install(text), wanted.into());
    }
}
