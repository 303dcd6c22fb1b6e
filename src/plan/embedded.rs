//! `<containers>`: images of containers that the system holds.
//!
//! In: the sections that count, and what ingot's own elements pin. Out: an [`EmbeddedPlan`] for each. Never looks whether
//! one is there.

use std::path::Path;

use serde::Serialize;

use super::selection::Selection;
use super::{ImageAddress, address};
use crate::description::{Container, Containers, Extension, Problem, Problems, Spanned, shown};
use crate::error::Place;

/// An image that the system holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EmbeddedPlan {
    /// `NAME:TAG`.
    pub name: String,
    /// Where it comes from, for people: `registry.opensuse.org/opensuse/tumbleweed:latest`.
    pub written: String,
    /// Where it is.
    pub source: ImageAddress,
    /// `<ingot:container digest>`: what it must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What runs it.
    pub backend: Backend,
    /// What becomes of it.
    pub load: Load,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

/// `backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// podman.
    Podman,
    /// Docker.
    Docker,
    /// container-snap: containers in snapshots of a btrfs filesystem.
    ContainerSnap,
}

/// `fetch_only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// The backend has it after the first start, and the archive is gone.
    AtFirstBoot,
    /// The archive stays where it is.
    Never,
}

impl Backend {
    /// Its program's name.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Podman => "podman",
            Backend::Docker => "docker",
            Backend::ContainerSnap => "container-snap",
        }
    }
}

impl EmbeddedPlan {
    /// `NAME_TAG`, KIWI's name for the archive.
    pub fn file(&self) -> String {
        self.name.replacen(':', "_", 1)
    }
}

/// Plans all that count, in their order; `folder` is that of the description.
pub fn plan(selection: &Selection<'_>, folder: &Path, problems: &mut Problems) -> Vec<EmbeddedPlan> {
    let mut plans: Vec<EmbeddedPlan> = Vec::new();
    for section in &selection.containers {
        for written in section.containers.iter().filter(|one| selection.on_arch(&one.arch)) {
            let Some(plan) = embedded(section, written, folder, problems) else { continue };
            match plans.iter().find(|other| other.file() == plan.file()) {
                None => plans.push(plan),
                // Sections of several profiles may name the same one.
                Some(other) if EmbeddedPlan { place: plan.place.clone(), ..other.clone() } == plan => {}
                Some(other) => problems.add(
                    Problem::invalid(format!("two containers would be kept as `{}`", shown(&plan.file())))
                        .at(&written.name.span)
                        .label(format!("the first one is in line {}", other.place.line)),
                ),
            }
        }
    }
    let pins = selection.extensions.iter().filter(|extension| extension.name == "container");
    pins.for_each(|pin| apply(pin, &mut plans, problems));
    plans
}

fn apply(pin: &Extension, plans: &mut [EmbeddedPlan], problems: &mut Problems) {
    let (Some(name), Some(digest)) = (pin.attributes.get("name"), pin.attributes.get("digest")) else { return };
    let is_meant = |plan: &&mut EmbeddedPlan| plan.name == **name || plan.name.split(':').next() == Some(name.as_str());
    let mut meant: Vec<&mut EmbeddedPlan> = plans.iter_mut().filter(is_meant).collect();
    match meant.as_mut_slice() {
        [plan] => plan.digest = Some(digest.to_string()),
        [] => problems.add(
            Problem::invalid("<ingot:container> pins a container that this image does not hold")
                .at(&name.span)
                .hint("its `name` is that of a <container>"),
        ),
        _ => problems.add(
            Problem::invalid("<ingot:container> does not say which of several containers it pins")
                .at(&name.span)
                .hint("name it with its tag, NAME:TAG"),
        ),
    }
}

fn embedded(section: &Containers, written: &Container, folder: &Path, problems: &mut Problems) -> Option<EmbeddedPlan> {
    let tag = written.tag.as_ref().filter(|tag| !tag.is_empty());
    let mut fits = true;
    for (text, what) in [(Some(&written.name), "name"), (tag, "tag")] {
        if let Some(text) = text.filter(|text| !is_word(text)) {
            let problem = Problem::invalid(format!("`{}` is not the {what} of a container", shown(text)));
            problems.add(match text.contains('/') {
                true => problem.at(&text.span).label("what stands before the name is its `path`"),
                false => problem.at(&text.span).label("letters, digits, `.`, `_` and `-`"),
            });
            fits = false;
        }
    }
    if !fits {
        return None;
    }
    let name = format!("{}:{}", *written.name, tag.map_or("latest", |tag| tag.as_str()));
    let path = written.path.as_ref().map(|path| path.as_str()).unwrap_or_default();
    let (text, source) = match locate(&section.source, path, &name, folder) {
        Ok(found) => found,
        Err(why) => {
            let title = format!("`{}` is no place of containers", shown(&section.source));
            let problem = match section.source.starts_with("obs") {
                true => Problem::refused(format!("source=\"{}\"", shown(&section.source))),
                false => Problem::invalid(title),
            };
            problems.add(problem.at(place_of(section, written, &why)).label(why));
            return None;
        }
    };
    Some(EmbeddedPlan {
        name,
        written: text,
        source,
        digest: None,
        backend: match section.backend.as_str() {
            "docker" => Backend::Docker,
            "container-snap" => Backend::ContainerSnap,
            _ => Backend::Podman,
        },
        load: if written.fetch_only { Load::Never } else { Load::AtFirstBoot },
        place: written.name.span.place(),
    })
}

/// The path is to blame where the reason is about it.
fn place_of<'a>(section: &'a Containers, written: &'a Container, why: &str) -> &'a crate::description::Span {
    let path: Option<&Spanned<String>> = written.path.as_ref().filter(|path| why.contains(path.as_str()));
    path.map_or(&section.source.span, |path| &path.span)
}

/// The whole address, and what it means: an archive or a layout on this host, or what skopeo fetches.
fn locate(source: &str, path: &str, name: &str, folder: &Path) -> Result<(String, ImageAddress), String> {
    if source.starts_with("obsrepositories:") {
        return Err("only a worker of the build service has it: name an archive or a registry".to_string());
    }
    let is_local = ["this:", "file:", "dir:", "oci:", "oci-archive:", "docker-archive:"];
    if is_local.iter().any(|scheme| source.starts_with(scheme)) {
        let text = match path.trim_start_matches('/') {
            "" => source.to_string(),
            path => format!("{}/{path}", source.trim_end_matches('/')),
        };
        // The source may be anywhere; what stands behind it stays there.
        if path.split(['/', ':']).any(|part| part == "..") {
            return Err(format!("`{}` climbs out of its folder", shown(path)));
        }
        let address = address::read(&text, folder)?;
        return Ok((text, address));
    }
    let schemes = ["docker://", "containers-storage:", "docker-daemon:"];
    let scheme = schemes.into_iter().find(|scheme| source.starts_with(scheme)).unwrap_or_default();
    let parts = source[scheme.len()..].split('/').chain(path.split('/')).chain([name]);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty() && *part != ".").collect();
    if source.contains("://") && scheme.is_empty() {
        // The reason of an address that means nothing here.
        return address::read(source, folder).map(|address| (source.to_string(), address));
    }
    if parts.contains(&"..") {
        return Err(format!("`{}` is not the path of an image", shown(path)));
    }
    let reference = parts.join("/");
    let address = address::read(&format!("{scheme}{reference}"), folder)?;
    Ok((reference, address))
}

/// A component of a name, or a tag.
fn is_word(text: &str) -> bool {
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
    text.chars().all(fits) && text.starts_with(|char: char| char.is_ascii_alphanumeric() || char == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_path_and_name_make_one_address() {
        let fetched = |text: &str, address: &str| Ok((text.to_string(), ImageAddress::Fetched(address.to_string())));
        let local = |text: &str, path: &str, name: Option<&str>| {
            let name = name.map(str::to_string);
            Ok((text.to_string(), ImageAddress::Local { path: path.into(), name }))
        };
        for (source, path, wanted) in [
            (
                "registry.opensuse.org",
                "opensuse",
                fetched("registry.opensuse.org/opensuse/a:1", "docker://registry.opensuse.org/opensuse/a:1"),
            ),
            (
                "registry.opensuse.org/",
                "/some//path/",
                fetched("registry.opensuse.org/some/path/a:1", "docker://registry.opensuse.org/some/path/a:1"),
            ),
            ("docker://host:5000", "", fetched("host:5000/a:1", "docker://host:5000/a:1")),
            ("containers-storage:localhost", "", fetched("localhost/a:1", "containers-storage:localhost/a:1")),
            ("this://images", "a.oci.tar", local("this://images/a.oci.tar", "/d/images/a.oci.tar", None)),
            ("file:///srv/a.tar#b:2", "", local("file:///srv/a.tar#b:2", "/srv/a.tar", Some("b:2"))),
            ("oci:layout:1", "", local("oci:layout:1", "/d/layout", Some("1"))),
        ] {
            assert_eq!(locate(source, path, "a:1", Path::new("/d")), wanted, "{source} {path}");
        }
        for (source, path) in [
            ("this://images", "../x.tar"),
            ("registry.example.org", "../x"),
            ("https://registry.example.org", ""),
            ("obs://a/b", ""),
            ("obsrepositories:/", ""),
            ("a b", ""),
            ("this://", ""),
        ] {
            assert!(locate(source, path, "a:1", Path::new("/d")).is_err(), "{source} {path}");
        }
    }
}
