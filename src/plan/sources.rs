//! Where packages come from.
//!
//! In: the `<repository>` sections that count. Out: [`Repository`]s with resolved sources and keys.
//! Never contacts a mirror and never reads a key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::selection::Selection;
use super::{Address, Manager, Repository, RepositoryUse, Signed, Warning};
use crate::description::{Problem, Problems, Repository as Written, Spanned, shown, truth};

/// Names that are given already.
#[derive(Default)]
struct Aliases {
    taken: BTreeSet<String>,
    /// How often a name was made from a source.
    made: BTreeMap<String, usize>,
}

impl Aliases {
    /// The name, or the name and the first number that is free.
    fn unused(&mut self, name: String) -> String {
        let number = self.made.entry(name.clone()).or_insert(0);
        loop {
            *number += 1;
            let candidate = if *number == 1 { name.clone() } else { format!("{name}-{number}") };
            if !self.taken.contains(&candidate) {
                return candidate;
            }
        }
    }
}

/// Resolves every repository that counts, in the description's order.
pub fn repositories(
    selection: &Selection<'_>,
    manager: Manager,
    folder: &Path,
    problems: &mut Problems,
    warnings: &mut Vec<Warning>,
) -> Vec<Repository> {
    let mut repositories: Vec<Repository> = Vec::new();
    let mut aliases = Aliases::default();
    for written in &selection.repositories {
        let Some(repository) = repository(selection, written, manager, folder, &mut aliases, problems, warnings) else {
            continue;
        };
        if !aliases.taken.insert(repository.alias.clone()) {
            let span = written.alias.as_ref().map_or(&written.span, |alias| &alias.span);
            let title = format!("two repositories are called `{}`", shown(&repository.alias));
            problems.add(Problem::invalid(title).at(span));
            continue;
        }
        repositories.push(repository);
    }
    repositories
}

fn repository(
    selection: &Selection<'_>,
    written: &Written,
    manager: Manager,
    folder: &Path,
    aliases: &mut Aliases,
    problems: &mut Problems,
    warnings: &mut Vec<Warning>,
) -> Option<Repository> {
    match written.kind.as_ref().map(|kind| kind.as_str()) {
        None => {}
        Some("apt-deb") if manager == Manager::Apt => {}
        Some("rpm-md") if manager.is_rpm() => {}
        Some(other) => {
            let span = written.kind.as_ref().map_or(&written.span, |kind| &kind.span);
            let title = format!("repository type {other}");
            let label = match manager {
                Manager::Apt => "apt reads repositories of type apt-deb",
                Manager::Pacman => "repositories of pacman have no type: leave it out",
                _ => "zypper and dnf read repositories of type rpm-md",
            };
            problems.add(Problem::refused(title).at(span).label(label));
            return None;
        }
    }
    let address = match written.source_type.as_ref().map(|kind| kind.as_str()) {
        Some("metalink") => Address::Metalink,
        Some("mirrorlist") => Address::MirrorList,
        _ => Address::Repository,
    };
    if let (Some(kind), false, true) = (&written.source_type, address == Address::Repository, !manager.is_rpm()) {
        let title = format!("sourcetype=\"{}\"", kind.value);
        let label = format!("{} reads repositories by their address", manager.word());
        problems.add(Problem::refused(title).at(&kind.span).label(label));
    }
    if manager != Manager::Apt {
        ignored_beside_apt(written, manager, warnings);
    } else if written.package_gpgcheck == Some(true) {
        let text = "package_gpgcheck=\"true\" on <repository> is ignored: apt verifies the repository, and through it every package";
        warnings.push(Warning { text: text.to_string(), place: Some(written.span.place()) });
    }
    let (source, inline) = match source(&written.path, folder) {
        Ok(resolved) => resolved,
        Err(problem) => {
            problems.add(problem);
            return None;
        }
    };
    let named = |name: &str, secret: &str| Some((name.to_string(), secret.to_string()));
    let credentials = match (&written.username, &written.password) {
        (Some(name), secret) => named(name, secret.as_ref().map_or("", |secret| &secret.0)),
        (None, _) => inline,
    };
    let distribution = written.distribution.as_ref().filter(|_| manager == Manager::Apt);
    let distribution = distribution.map(|text| text.trim().to_string()).unwrap_or_default();
    let components = match (written.components.as_slice(), distribution.as_str()) {
        ([], "") => Vec::new(),
        ([], _) => vec!["main".to_string()],
        (components, _) => components.to_vec(),
    };
    for word in components.iter().chain([&distribution]) {
        if word.contains(|char: char| char.is_whitespace() || char.is_control()) || word.starts_with('-') {
            let title = format!("`{}` is not a suite or component", shown(word));
            problems.add(Problem::invalid(title).at(&written.span));
        }
    }
    let signed = match written.repository_gpgcheck {
        Some(false) => Signed::NotChecked,
        Some(true) | None => Signed::Required,
    };
    let signed_packages = signed_packages(selection, written, manager, signed);
    if (signed, signed_packages) == (Signed::NotChecked, Signed::NotChecked) {
        warnings.push(Warning {
            text: "repository_gpgcheck=\"false\": packages of this repository are not verified".to_string(),
            place: Some(written.span.place()),
        });
    }
    let used = match (written.image_only, written.image_include) {
        (true, _) => RepositoryUse::ImageOnly,
        (false, true) => RepositoryUse::BuildAndImage,
        (false, false) => RepositoryUse::Build,
    };
    if used != RepositoryUse::Build && ["dir:", "file:"].iter().any(|scheme| source.starts_with(scheme)) {
        warnings.push(Warning {
            text: format!("the image gets a repository that only the build host has: {source}"),
            place: Some(written.path.span.place()),
        });
    }
    Some(Repository {
        alias: match &written.alias {
            Some(alias) => alias.to_string(),
            // Not the resolved folder: the name stands in the image, where the host's paths have no place.
            None if written.path.starts_with("this:") => aliases.unused(alias(&written.path, &distribution)),
            None => aliases.unused(alias(&source, &distribution)),
        },
        distribution,
        components,
        architectures: written.architectures.iter().map(|arch| debian_arch(arch).to_string()).collect(),
        priority: written.priority.as_ref().and_then(|priority| {
            let number = priority.trim_start_matches('+').parse();
            if number.is_err() {
                let title = format!("`{}` is not a priority", shown(priority));
                problems.add(Problem::invalid(title).at(&priority.span).label("a whole number from 0 on"));
            }
            number.ok()
        }),
        signed,
        signed_packages,
        address,
        keys: keys(written, problems),
        used,
        credentials,
        customize: customize(written, problems),
        place: written.span.place(),
        source,
    })
}

/// Each package must be signed where the description says so; and, where the repository is not and there are keys,
/// unless the description says otherwise.
fn signed_packages(selection: &Selection<'_>, written: &Written, manager: Manager, signed: Signed) -> Signed {
    let everywhere = selection.preferences.iter().find_map(|preferences| preferences.check_signatures.as_ref());
    let everywhere = everywhere.map(|text| truth(text));
    match (manager != Manager::Apt, written.package_gpgcheck, signed) {
        (false, ..) | (true, Some(false), _) => Signed::NotChecked,
        (true, Some(true), _) => Signed::Required,
        (true, None, Signed::NotChecked) if everywhere.unwrap_or(!written.keys.is_empty()) => Signed::Required,
        (true, None, Signed::Required) if everywhere == Some(true) => Signed::Required,
        (true, None, _) => Signed::NotChecked,
    }
}

/// Words that only mean something for Debian's repositories.
fn ignored_beside_apt(written: &Written, manager: Manager, warnings: &mut Vec<Warning>) {
    let mut ignored = Vec::new();
    if let Some(suite) = &written.distribution {
        ignored.push(format!("distribution=\"{}\"", shown(suite)));
    }
    if !written.components.is_empty() && manager != Manager::Pacman {
        ignored.push("components".to_string());
    }
    if !written.architectures.is_empty() {
        ignored.push("architectures".to_string());
    }
    for what in ignored {
        let text = format!("{what} on <repository> is ignored: only Debian's repositories have it");
        warnings.push(Warning { text, place: Some(written.span.place()) });
    }
}

fn keys(written: &Written, problems: &mut Problems) -> Vec<String> {
    let mut keys = Vec::new();
    for key in &written.keys {
        match (&key.found, key.uri.split(':').next()) {
            (Some(path), _) => keys.push(path.display().to_string()),
            (None, Some("http" | "https")) => keys.push(key.uri.to_string()),
            (None, Some("ftp")) => {
                problems.add(Problem::refused("a signing key over ftp").at(&key.uri.span).label("use https"));
            }
            (None, _) => {
                let title = format!("there is no signing key {}", shown(&key.uri));
                problems.add(Problem::missing(title).at(&key.uri.span));
            }
        }
    }
    keys
}

fn customize(written: &Written, problems: &mut Problems) -> Option<PathBuf> {
    let (name, found) = written.customize.as_ref()?;
    if found.is_none() {
        let title = format!("there is no script {}", shown(name));
        problems.add(Problem::missing(title).at(&name.span).label("looked for beside the description"));
    }
    found.clone()
}

type Credentials = Option<(String, String)>;

/// The mirror below which a build service publishes its projects.
const BUILD_SERVICE: &str = "obs";

/// Where a build service publishes `PROJECT/REPOSITORY`: each colon of the project is followed by a slash.
pub(super) fn published(name: &str) -> String {
    let name = name.trim_matches('/').replace(":/", ":");
    let (project, repository) = name.rsplit_once('/').unwrap_or((&name, ""));
    format!("{}/{repository}", project.replace(':', ":/"))
}

/// Undoes percent-encoding; what is not one stays.
pub fn decoded(url: &str) -> String {
    let bytes = url.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = url.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The source as the plan names it, and credentials that were a part of its address.
fn source(path: &Spanned<String>, folder: &Path) -> Result<(String, Credentials), Problem> {
    let text = path.trim();
    let refused = |label: &str, hint: &str| {
        Err(Problem::refused(format!("repository {}", shown(text))).at(&path.span).label(label).hint(hint))
    };
    if text.contains(|char: char| char.is_whitespace() || char.is_control()) {
        let title = format!("`{}` is not an address", shown(text));
        return Err(Problem::invalid(title).at(&path.span).label("blanks and control characters are not allowed"));
    }
    let elsewhere = "name the repository itself, or mirror://NAME and --mirror NAME=URL";
    match text.split_once(':') {
        Some(("mirror", rest)) => {
            let name = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
            if name.is_empty() || !rest.starts_with("//") {
                return Err(Problem::invalid("mirror:// lacks the mirror's name")
                    .at(&path.span)
                    .label("mirror://debian, for example"));
            }
            Ok((text.to_string(), None))
        }
        Some((scheme @ ("http" | "https"), rest)) => {
            let rest = rest.trim_start_matches('/');
            let host = rest.split('/').next().unwrap_or_default();
            let Some((login, bare)) = host.rsplit_once('@') else {
                return if host.is_empty() {
                    Err(Problem::invalid(format!("`{}` names no host", shown(text))).at(&path.span))
                } else {
                    Ok((format!("{scheme}://{rest}"), None))
                };
            };
            let (name, secret) = login.split_once(':').unwrap_or((login, ""));
            let address = format!("{scheme}://{bare}{}", &rest[host.len()..]);
            Ok((address, Some((decoded(name), decoded(secret)))))
        }
        Some((scheme @ ("file" | "dir"), rest)) => {
            // dir:///path, dir://./path and dir:/path all mean an absolute path, as in OBS.
            let absolute = rest.trim_start_matches('/').trim_start_matches("./");
            Ok((format!("{scheme}:///{absolute}"), None))
        }
        Some(("this", rest)) => {
            let relative = rest.trim_start_matches('/');
            if Path::new(relative).components().any(|part| part == std::path::Component::ParentDir) {
                let title = format!("`{}` leaves the description's folder", shown(text));
                return Err(Problem::invalid(title).at(&path.span));
            }
            Ok((format!("dir://{}", folder.join(relative).display()), None))
        }
        Some(("obs", name)) if name.trim_matches('/').contains('/') => {
            Ok((format!("mirror://{BUILD_SERVICE}/{}", published(name)), None))
        }
        Some(("obs", _)) => Err(Problem::invalid(format!("`{}` names no repository of a project", shown(text)))
            .at(&path.span)
            .label("obs://PROJECT/REPOSITORY, for example")),
        Some(("obsrepositories", _)) => {
            refused("only the Open Build Service knows which repositories these are", elsewhere)
        }
        Some(("ftp", _)) => refused("ftp is not read", "use https"),
        _ => Err(Problem::invalid(format!("`{}` is not the address of a repository", shown(text)))
            .at(&path.span)
            .label("mirror://, https://, http://, file:///, dir:/// or this:// is expected")),
    }
}

/// A name made from the source: its last words and the suite.
fn alias(source: &str, distribution: &str) -> String {
    let words = source.split(['/', ':']).filter(|word| !word.is_empty()).skip(1);
    let words = words.chain(distribution.split('/')).filter(|word| !word.is_empty());
    let name = words.collect::<Vec<_>>().join("-");
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    name.chars().map(|char| if fits(char) { char } else { '-' }).collect()
}

/// Debian's name of an architecture.
pub fn debian_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i586" | "i686" | "ix86" => "i386",
        "armv7l" | "armv7hl" | "armv6l" | "armv6hl" => "armhf",
        "armv5el" | "armv5tel" => "armel",
        "ppc64le" => "ppc64el",
        other => other,
    }
}
