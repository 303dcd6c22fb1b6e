//! The host's apt as a solver: which packages, from where, verified.
//!
//! In: the plan's repositories and names. Out: a [`PackageSet`] with every archive in the store. One solution for the
//! bootstrap and the image list together, against an empty system; apt decides, nothing is re-decided here. Never
//! installs anything on the host, never reads or writes the host's own package database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::apt_folder::{self, AptFolder, Transport};
use super::deb822::{self, Stanza};
use super::deferred::Initrds;
use super::dpkg::Unpacker;
use super::failure;
use super::fetch;
use super::image_sources::release_copy;
use super::keyring::Keyring;
use super::mirror::Mirrors;
use super::release_file;
use super::remembered::{self, Answer, Solution, Solved};
use super::repository::Source;
use super::solution::{self, Chosen};
use super::{Beneath, Package, PackageSet, ReleaseFile, database};
use crate::bytes::Bytes;
use crate::cache::PackageStore;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::plan::{Named, PackageRequest, Plan, Recommends, RepositoryUse, Signed, UpdateStack, Warning};
use crate::report::Reporter;

/// Debian's name for a machine (`dpkg --print-architecture`), from what `uname -m` says.
pub fn debian_architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv7hl" => "armhf",
        "armv6l" | "armv5l" => "armel",
        "i386" | "i486" | "i586" | "i686" | "ix86" => "i386",
        "ppc64le" => "ppc64el",
        other => other,
    }
}

/// A package manager for one image.
#[derive(Debug)]
pub struct Apt {
    pub(super) request: PackageRequest,
    pub(super) update_stack: UpdateStack,
    pub(super) sources: Vec<Source>,
    pub(super) keyrings: Vec<Keyring>,
    pub(super) native: String,
    pub(super) foreign: Vec<String>,
    pub(super) scratch: PathBuf,
    pub(super) unpacker: Unpacker,
    pub(super) initrds: Initrds,
    pub(super) store: PackageStore,
    pub(super) beneath: Beneath,
    pub(super) trusted: Vec<PathBuf>,
}

/// The metadata that apt accepted, in the sources' order.
struct Indexes {
    releases: Vec<ReleaseFile>,
    /// Alias, URL and the files of packages of each source that is used for the build.
    packages: Vec<(String, String, Vec<PathBuf>)>,
    preferences: String,
}

/// Why apt_auth.conf(5), which is words between blanks, cannot hold a user name or password.
fn unfit_for_a_login(text: &str) -> Option<&'static str> {
    match text {
        "" => Some("is empty"),
        _ => text.contains(' ').then_some("has a blank"),
    }
}

impl Apt {
    /// Decides where everything comes from; touches no network. `scratch` is a folder of this build alone.
    /// 65 for a repository that cannot be used, 78 for a mirror that nobody knows.
    pub fn open(plan: &Plan, mirrors: &Mirrors, cache: &PackageStore, scratch: &Path) -> Result<Apt> {
        let sources = plan.repositories.iter().map(|repository| Source::resolve(repository, mirrors));
        let sources: Vec<Source> = sources.collect::<Result<_>>()?;
        sources.iter().try_for_each(|source| source.check_login("apt", unfit_for_a_login))?;
        let native = debian_architecture(&plan.image.arch).to_string();
        let foreign: BTreeSet<&String> = sources.iter().flat_map(|source| &source.architectures).collect();
        let foreign = foreign.into_iter().filter(|arch| **arch != native && *arch != "all").cloned().collect();
        Ok(Apt {
            request: plan.packages.clone(),
            update_stack: plan.update_stack,
            keyrings: vec![Keyring::default(); sources.len()],
            sources,
            native,
            foreign,
            scratch: scratch.to_path_buf(),
            unpacker: Unpacker::default(),
            initrds: Initrds::of(plan),
            store: cache.clone(),
            beneath: Beneath::Nothing,
            trusted: plan.trusted_files(),
        })
    }

    /// Says what the tree begins as.
    pub fn on_top_of(mut self, beneath: Beneath) -> Apt {
        self.beneath = beneath;
        self
    }

    /// Whether the packages of a base are all that is wanted.
    pub(super) fn asks_for_nothing(&self) -> bool {
        self.beneath != Beneath::Nothing && self.named().next().is_none()
    }

    /// Chooses who unpacks archives.
    pub fn unpacker(mut self, unpacker: Unpacker) -> Apt {
        self.unpacker = unpacker;
        self
    }

    /// Solves, fetches and verifies: signatures of the repositories, digests of the archives.
    /// 65 for a request that cannot be satisfied, 75 for a mirror that fails, 76 for a bad signature or digest.
    pub fn resolve(&mut self, reporter: &Reporter) -> Result<PackageSet> {
        let step = reporter.step("resolve");
        self.check_names()?;
        let used: Vec<usize> =
            (0..self.sources.len()).filter(|at| self.sources[*at].used != RepositoryUse::ImageOnly).collect();
        if used.is_empty() && !self.asks_for_nothing() {
            return Err(
                Error::cannot(Exit::Description, "resolve the packages").because("no repository is used for the build")
            );
        }
        let transport = Transport::prepare(&self.sources, &self.scratch)?;
        transport.trust(&self.trusted)?;
        for (source, keyring) in self.sources.iter().zip(&mut self.keyrings) {
            *keyring = apt_folder::keys(source, &transport, &self.scratch, reporter)?;
        }
        if self.asks_for_nothing() {
            step.finish("no packages are asked for: those of the base stay");
            return Ok(PackageSet::default());
        }
        let pairs: Vec<(&Source, &Keyring)> = used.iter().map(|at| (&self.sources[*at], &self.keyrings[*at])).collect();
        let folder = AptFolder::open(self.store.cache(), &self.scratch, &pairs, &self.native, &self.foreign)?;
        folder.installed(self.beneath.status())?;
        folder.update(&self.sources, reporter)?;
        let used: Vec<&Source> = pairs.iter().map(|pair| pair.0).collect();
        let indexes = read_indexes(&folder, &used, &self.scratch, reporter)?;
        let (solved, solution) = self.solution(&folder, &used, &indexes, reporter)?;
        drop(folder);
        let signed = indexes.releases.iter().filter(|release| release.signed == Signed::Required).count();
        step.finish(&format!("{} packages from {} repositories, {signed} signed", solved.len(), used.len()));

        let step = reporter.step("fetch");
        let chosen: Vec<Chosen> = solved.iter().map(|package| package.chosen.clone()).collect();
        let (archives, fetched) = fetch::fetch(&chosen, &self.sources, &self.store, &transport, &step)?;
        let size: Bytes = chosen.iter().map(|archive| archive.size).sum();
        let (count, stored, downloaded) = (chosen.len(), fetched.stored, fetched.downloaded);
        step.cache(stored as u64, downloaded as u64);
        step.finish(&format!("{count} packages, {size}: {stored} from the store, {downloaded} downloaded"));

        let mut packages = Vec::new();
        for Solved { chosen, control, repository } in solved {
            let archive = archives.get(&chosen.digest).cloned().unwrap_or_default();
            packages.push(package(chosen, control, repository, archive));
        }
        self.mark_requested(&mut packages)?;
        let newest_release = newest(&indexes.releases, &packages, reporter)?;
        Ok(PackageSet { packages, newest_release, releases: indexes.releases, solution })
    }

    /// What the description names, in both lists.
    pub(super) fn named(&self) -> impl Iterator<Item = &Named> {
        self.request.bootstrap.iter().chain(&self.request.image)
    }

    fn check_names(&self) -> Result<()> {
        let lists = [&self.request.withdrawn, &self.request.uninstall, &self.request.delete, &self.request.ignore];
        match self.named().chain(lists.into_iter().flatten()).find(|named| !solution::is_name(&named.name)) {
            None => Ok(()),
            Some(named) => Err(Error::cannot(Exit::Description, format!("ask apt for `{}`", named.name))
                .because("it is not the name of a Debian package: name, name:architecture, name=version, name/suite")
                .at(named.place.clone())),
        }
    }

    /// apt_preferences(5): what is ignored is never installed; priorities of repositories; and `usr-is-merged`
    /// instead of `usrmerge`, which would need a whole Perl to convert a tree that was merged from the beginning.
    fn preferences(&self, folder: &AptFolder, indexes: &Indexes, reporter: &Reporter) -> Result<String> {
        let mut text = indexes.preferences.clone();
        let never = |name: &str| format!("Package: {name}\nPin: release *\nPin-Priority: -1\n\n");
        for named in &self.request.ignore {
            text.push_str(&never(solution::base_name(&named.name)));
        }
        if !self.named().any(|named| solution::base_name(&named.name) == "usrmerge") {
            let known = folder.program("apt-cache").args(["pkgnames", "usr-is-merged"]).run(reporter)?;
            if String::from_utf8_lossy(&known.stdout).lines().any(|name| name == "usr-is-merged") {
                text.push_str(&never("usrmerge"));
            }
        }
        Ok(text)
    }

    /// What apt decides, or decided when it was asked the same before.
    fn solution(
        &self,
        folder: &AptFolder,
        used: &[&Source],
        indexes: &Indexes,
        reporter: &Reporter,
    ) -> Result<(Vec<Solved>, Solution)> {
        let answer =
            self.question(folder, used, indexes, reporter)?.map(|question| Answer::to(&question, &folder.solutions()));
        if let Some(solved) = answer.as_ref().map_or(Ok(None), |answer| answer.get(remembered::read))? {
            reporter.log_line("the indexes and the request are those of an earlier build: its solution is used again");
            return Ok((solved, Solution::Remembered));
        }
        folder.prefer(&self.preferences(folder, indexes, reporter)?)?;
        let chosen = self.solve(folder, reporter)?;
        let with_control = control_fields(folder, chosen, reporter)?;
        let repositories = repositories_of(&with_control, &indexes.packages)?;
        let together = with_control.into_iter().zip(repositories);
        let solved: Vec<Solved> =
            together.map(|((chosen, control), repository)| Solved { chosen, control, repository }).collect();
        let Some(answer) = answer else {
            let why = "nothing says what is in a repository without a signed Release file";
            return Ok((solved, Solution::Made(why.into())));
        };
        answer.put(&remembered::write(&solved))?;
        Ok((solved, Solution::new_question()))
    }

    /// Everything that decides what apt answers; `None` where nothing says what is in a repository's indexes: without
    /// a Release file, or without a signature.
    fn question(
        &self,
        folder: &AptFolder,
        used: &[&Source],
        indexes: &Indexes,
        reporter: &Reporter,
    ) -> Result<Option<String>> {
        if indexes.releases.len() != used.len() || used.iter().any(|source| source.signed == Signed::NotChecked) {
            return Ok(None);
        }
        let apt = folder.program("apt-get").arg("--version").run(reporter)?;
        let apt = String::from_utf8_lossy(&apt.stdout).lines().next().unwrap_or_default().to_string();
        let mut lines = vec![format!("ingot {} {apt}", env!("CARGO_PKG_VERSION")), self.native.clone()];
        lines.extend(self.foreign.iter().cloned());
        for (source, release) in used.iter().zip(&indexes.releases) {
            lines.push(format!("{}\nfrom {} {}", source.stanza(&source.url, None), source.alias, release.sha256));
        }
        lines.push(indexes.preferences.clone());
        lines.push(format!("{:?}", self.request.recommends));
        lines.push(format!("on top of {}", crate::cache::Sha256::of(self.beneath.status())));
        lines.extend(self.words());
        lines.extend(self.request.ignore.iter().map(|named| format!("not {}", solution::base_name(&named.name))));
        Ok(Some(lines.join("\n")))
    }

    /// What is asked of `apt-get install`, sorted.
    fn words(&self) -> Vec<String> {
        // apt counts itself among the essential ones.
        let essential = "?essential,?not(?exact-name(apt))";
        let mut words: Vec<String> = self.named().map(|named| named.name.clone()).collect();
        // What a base has of them stays as it is, unless something asks for more.
        let is_new = self.beneath.status().is_empty();
        if is_new {
            words.push(format!("?and(?architecture({}),{essential})", self.native));
        }
        if self.update_stack == UpdateStack::Kept && is_new {
            words.push("apt".into());
            let permanent = self.sources.iter().filter(|source| source.used != RepositoryUse::Build);
            if permanent.into_iter().any(|source| source.permanent_url().starts_with("https:")) {
                words.push("ca-certificates".into());
            }
        }
        words.sort();
        words.dedup();
        words
    }

    fn solve(&self, folder: &AptFolder, reporter: &Reporter) -> Result<Vec<Chosen>> {
        let recommends = match self.request.recommends {
            Recommends::Yes => "true",
            Recommends::No => "false",
        };
        let program =
            folder.program("apt-get").arg("-q").arg("-o").arg(format!("APT::Install-Recommends={recommends}"));
        let program = program.args(["install", "--no-remove", "--print-uris", "--"]).args(self.words());
        let ended = program.run_to_end(reporter, |_| {})?;
        let said = failure::text_of(&ended);
        if ended.status.success() {
            return solution::chosen(&String::from_utf8_lossy(&ended.output.stdout));
        }
        let names = || {
            let output = folder.program("apt-cache").arg("pkgnames").run(&Reporter::silent()).unwrap_or_default();
            String::from_utf8_lossy(&output.stdout).lines().map(str::to_string).collect()
        };
        Err(solution::unsatisfiable(&said, &self.named().collect::<Vec<_>>(), names))
    }

    /// Marks what the description named: by name, or, for a virtual package, what provides it.
    fn mark_requested(&self, packages: &mut [Package]) -> Result<()> {
        let beneath = deb822::parse(&String::from_utf8_lossy(self.beneath.status())).unwrap_or_default();
        let beneath: Vec<&Stanza> = beneath.iter().filter(|stanza| database::is_installed(stanza)).collect();
        for named in self.named() {
            let name = solution::base_name(&named.name);
            let mut found = beneath.iter().any(|stanza| {
                let provided = stanza.text("Provides").split(',').filter_map(|one| one.split_ascii_whitespace().next());
                stanza.text("Package") == name || provided.map(solution::base_name).any(|other| other == name)
            });
            for package in packages.iter_mut().filter(|package| package.name == name) {
                package.requested = true;
                found = true;
            }
            if found {
                continue;
            }
            let provides = |package: &Package| {
                let provided = package.control.text("Provides").split(',');
                provided
                    .into_iter()
                    .any(|one| one.split_ascii_whitespace().next().map(solution::base_name) == Some(name))
            };
            for package in packages.iter_mut().filter(|package| provides(package)) {
                package.requested = true;
                found = true;
            }
            if !found {
                return Err(Error::cannot(Exit::Description, "resolve the packages")
                    .because(format!("no package is called `{name}`, and apt took it for a pattern"))
                    .at(named.place.clone()));
            }
        }
        Ok(())
    }
}

/// The Release files and the indexes that belong to them.
fn read_indexes(folder: &AptFolder, sources: &[&Source], scratch: &Path, reporter: &Reporter) -> Result<Indexes> {
    let format = "$(REPO_URI)|$(RELEASE)|$(METAKEY)|$(FILENAME)";
    let program = folder.program("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]);
    let output = program.run(reporter)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut indexes = Indexes { releases: Vec::new(), packages: Vec::new(), preferences: String::new() };
    for (source, keyring) in sources.iter().zip(folder.keyrings()) {
        let mut files = Vec::new();
        let mut prefix = None;
        for line in text.lines() {
            let fields: Vec<&str> = line.splitn(4, '|').collect();
            let [uri, release, key, path] = fields.as_slice() else { continue };
            if uri.trim_end_matches('/') != source.url || *release != source.suite {
                continue;
            }
            // lists/HOST_PATH_dists_SUITE_ + main_binary-amd64_Packages
            prefix = path.strip_suffix(&key.replace('/', "_")).map(PathBuf::from).or(prefix);
            files.push(PathBuf::from(path));
        }
        let prefix = prefix.unwrap_or_else(|| folder.lists().join("none"));
        let read = release_file::read(source, &prefix, keyring.as_deref(), reporter)?;
        if let Some(signed_file) = read.as_ref().and_then(|read| read.signed_file.as_ref()) {
            file::copy(signed_file, &release_copy(scratch, source))?;
        }
        if let (Some(priority), fields) = (source.priority, read.as_ref().map(|read| &read.fields)) {
            indexes.preferences.push_str(&pin(source, fields, priority));
        }
        indexes.releases.extend(read.map(|read| read.release));
        indexes.packages.push((source.alias.clone(), source.url.clone(), files));
    }
    Ok(indexes)
}

/// Pins by what the Release file says of itself, because several repositories share a host; else by the host.
fn pin(source: &Source, fields: Option<&Stanza>, priority: u32) -> String {
    let mut terms: Vec<String> = Vec::new();
    for (letter, name) in [("o", "Origin"), ("l", "Label"), ("n", "Codename"), ("a", "Suite")] {
        let value = fields.map(|fields| fields.text(name)).unwrap_or_default();
        if !value.is_empty() && !value.contains(',') {
            terms.push(format!("{letter}={value}"));
        }
    }
    let pin = match terms.is_empty() {
        true => format!("origin \"{}\"", source.host()),
        false => format!("release {}", terms.join(",")),
    };
    format!("Package: *\nPin: {pin}\nPin-Priority: {priority}\n\n")
}

fn control_fields(folder: &AptFolder, chosen: Vec<Chosen>, reporter: &Reporter) -> Result<Vec<(Chosen, Stanza)>> {
    let names = chosen.iter().map(Chosen::exactly);
    // What it prints is long and says nothing about this build: it stays out of the log.
    reporter.log_line("+ apt-cache show (every package)");
    let output = folder.program("apt-cache").args(["show", "--"]).args(names).run(&Reporter::silent())?;
    let stanzas = deb822::parse(&String::from_utf8_lossy(&output.stdout))
        .map_err(|error| Error::cannot(Exit::Integrity, "read the indexes of packages").because(error))?;
    solution::with_control(chosen, stanzas)
}

/// The alias of the repository of each package. Where several have the same URL, the indexes say which one.
fn repositories_of(chosen: &[(Chosen, Stanza)], sources: &[(String, String, Vec<PathBuf>)]) -> Result<Vec<String>> {
    let candidates = |uri: &str| -> Vec<usize> {
        let fits = |url: &str| uri.strip_prefix(url).is_some_and(|rest| rest.starts_with('/'));
        let longest = sources.iter().map(|source| &source.1).filter(|url| fits(url)).map(|url| url.len()).max();
        (0..sources.len()).filter(|at| fits(&sources[*at].1) && Some(sources[*at].1.len()) == longest).collect()
    };
    let mut aliases: Vec<String> = Vec::with_capacity(chosen.len());
    let mut known: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for (archive, _) in chosen {
        let mut at = candidates(&archive.uri);
        // The largest index is the last one to be asked, and need not be: what no other holds, it does.
        at.sort_by_key(|at| {
            (sources[*at].2.iter().map(|path| file::metadata(path).map_or(0, |m| m.len())).sum::<u64>(), *at)
        });
        let mut alias = at.last().map(|at| sources[*at].0.clone()).unwrap_or_default();
        for at in at.iter().take(at.len().saturating_sub(1)) {
            let digests = match known.entry(*at) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => entry.insert(digests_in(&sources[*at].2)?),
            };
            if digests.contains(&archive.digest.to_string()) {
                alias = sources[*at].0.clone();
                break;
            }
        }
        aliases.push(alias);
    }
    Ok(aliases)
}

fn digests_in(indexes: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut digests = BTreeSet::new();
    for path in indexes.iter().filter(|path| file::is_file(path)) {
        let text = String::from_utf8_lossy(&file::read(path)?).into_owned();
        digests.extend(text.lines().filter_map(|line| line.strip_prefix("SHA256: ")).map(str::to_string));
    }
    Ok(digests)
}

fn package(chosen: Chosen, control: Stanza, repository: String, archive: PathBuf) -> Package {
    // `Source: name` or `Source: name (version)`, and nothing where both are the package's own.
    let (source, version) = control.text("Source").split_once(" (").unwrap_or((control.text("Source"), ""));
    let or = |text: &str, other: &str| if text.is_empty() { other.to_string() } else { text.to_string() };
    Package {
        source: or(source, &chosen.name),
        source_version: or(version.trim_end_matches(')'), &chosen.version),
        name: chosen.name,
        version: chosen.version,
        arch: chosen.arch,
        sha256: chosen.digest.to_string(),
        size: chosen.size,
        installed_size: Bytes::kib(control.text("Installed-Size").parse().unwrap_or(0)),
        repository,
        archive,
        essential: control.says_yes("Essential"),
        requested: false,
        control,
    }
}

/// The date of the newest signed Release file, else of any, else of the newest package: a build farm indexes its
/// packages without a date.
fn newest(releases: &[ReleaseFile], packages: &[Package], reporter: &Reporter) -> Result<i64> {
    let signed =
        releases.iter().filter(|release| release.signed == Signed::Required).filter_map(|release| release.date);
    let any = || releases.iter().filter_map(|release| release.date).max();
    if let Some(date) = signed.max().or_else(any) {
        return Ok(date);
    }
    let mut newest = None;
    for package in packages {
        newest = newest.max(archive_date(&package.archive)?);
    }
    let text = match newest {
        Some(_) => "no repository says when it was made: the image has the date of its newest package",
        None => "nothing says when the packages were made: without SOURCE_DATE_EPOCH the image's date is 1970",
    };
    reporter.warn(Warning { text: text.into(), place: None });
    Ok(newest.unwrap_or(0))
}

/// When a package was made: the date of its first member, seconds since 1970 (deb(5), ar(5)).
fn archive_date(path: &Path) -> Result<Option<i64>> {
    use std::io::Read;
    let mut head = [0; 36];
    if file::open(path)?.read_exact(&mut head).is_err() {
        return Ok(None);
    }
    Ok(std::str::from_utf8(&head[24..36]).ok().and_then(|date| date.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_their_debian_names() {
        for (machine, debian) in
            [("x86_64", "amd64"), ("aarch64", "arm64"), ("ppc64le", "ppc64el"), ("riscv64", "riscv64")]
        {
            assert_eq!(debian_architecture(machine), debian);
        }
    }
}
