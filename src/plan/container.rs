//! `<containerconfig>` to a [`ContainerPlan`].
//!
//! In: a checked `<type>` and ingot's own elements. Out: names, command, settings, layers, with KIWI's defaults. Never knows what is in the image.

use std::collections::BTreeMap;
use std::path::Path;

use super::selection::Selection;
use super::{
    BasePlan, Choices, ContainerArchive, ContainerPlan, History, Image, LayerCompression, LayerSplit, Warning, address,
};
use crate::description::xml::Node;
use crate::description::{Extension, Problem, Problems, Type, shown, truth};

/// How many new layers there are at most where nothing says it.
pub const MOST_LAYERS: u32 = 20;

/// What is started where nothing else is named.
const DEFAULT_COMMAND: &str = "/bin/bash";

/// Plans a container; `folder` is the description's own.
pub fn plan(
    kind: &Type,
    image: &Image,
    selection: &Selection<'_>,
    folder: &Path,
    choices: &Choices,
    problems: &mut Problems,
    warnings: &mut Vec<Warning>,
) -> ContainerPlan {
    let config = kind.child("containerconfig");
    let text =
        |name: &str| config.and_then(|config| config.attribute(name)).map(|attribute| attribute.value.to_string());
    let inside = |group: &str, element: &str, attributes: &[&str]| -> Vec<Vec<String>> {
        let groups = config.into_iter().flat_map(|config| &config.children).filter(|child| *child.name == *group);
        let nodes = groups.flat_map(|group| &group.children).filter(|child| *child.name == *element);
        let values = |node: &Node| {
            attributes.iter().filter_map(|name| node.attribute(name)).map(|found| found.value.to_string()).collect()
        };
        nodes.map(values).collect()
    };
    let archive = if *kind.image == "oci" { ContainerArchive::Oci } else { ContainerArchive::Docker };
    let name = text("name").unwrap_or_else(|| "kiwi-container".to_string());
    let tag = text("tag").unwrap_or_else(|| "latest".to_string());
    let names = text("additionalnames").unwrap_or_default();
    let additional_names: Vec<String> =
        names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(|other| full(other, &name, &tag)).collect();
    let own = [("name", name.as_str(), format!("{name}:latest")), ("tag", tag.as_str(), format!("{name}:{tag}"))];
    let others = additional_names.iter().map(|other| ("additionalnames", other.as_str(), other.clone()));
    let bad = own.into_iter().chain(others).find(|(_, _, whole)| !is_name(whole));
    if let Some((attribute, text, whole)) = bad
        && let Some(found) = config.and_then(|config| config.attribute(attribute))
    {
        let what = if attribute == "tag" { "tag" } else { "name" };
        if is_name(&whole.to_ascii_lowercase()) {
            let text = format!("`{}`: Docker and podman load no image whose name has capital letters", shown(text));
            warnings.push(Warning { text, place: Some(found.value.span.place()) });
        } else {
            let problem = Problem::invalid(format!("`{}` is not the {what} of a container", shown(text)));
            let problem = problem.label("nobody could load it: [HOST/]name:tag in lower case, without blanks");
            problems.add(problem.at(&found.value.span));
        }
    }
    if let Some(temporary) = kind.get("ensure_empty_tmpdirs").filter(|value| !truth(value)) {
        let text =
            "ensure_empty_tmpdirs=\"false\" is ignored: /tmp and /run of a container are always empty".to_string();
        warnings.push(Warning { text, place: Some(temporary.span.place()) });
    }
    if let Some(config) = config {
        check_settings(config, problems);
    }
    let entrypoint = config.and_then(|config| command(config, "entrypoint"));
    let mut command = config.and_then(|config| command(config, "subcommand"));
    // Around a disk there is nothing: it is refused there by name.
    let bases = if *kind.image == "oem" { Vec::new() } else { bases(kind, selection, folder, problems) };
    // What is built on another image goes on with the command of that one.
    if entrypoint.is_none() && command.is_none() && bases.is_empty() {
        command = Some(vec![DEFAULT_COMMAND.to_string()]);
    }
    let pairs = |group: &str, element: &str| {
        let found = inside(group, element, &["name", "value"]).into_iter();
        found
            .filter_map(|pair| <[String; 2]>::try_from(pair).ok())
            .map(|[name, value]| (name, value))
            .collect::<Vec<_>>()
    };
    ContainerPlan {
        archive,
        additional_names,
        author: text("maintainer").unwrap_or_else(|| format!("{} <{}>", image.author, image.contact)),
        user: text("user"),
        working_dir: text("workingdir"),
        entrypoint,
        command,
        ports: inside("expose", "port", &["number"]).concat(),
        volumes: inside("volumes", "volume", &["name"]).concat(),
        environment: pairs("environment", "env"),
        labels: pairs("labels", "label").into_iter().collect(),
        stop_signal: config
            .and_then(|config| config.children("stopsignal").next())
            .map(|signal| signal.trimmed().value),
        history: config.and_then(|config| config.children("history").next()).map(history).unwrap_or_default(),
        bases,
        layers: layers(selection, choices),
        compression: compression(selection, choices),
        annotations: annotations(selection),
        name,
        tag,
    }
}

/// The plan of a container in which a disk is the only file: nothing is started in it.
pub fn around_disk(archive: ContainerArchive, plan: ContainerPlan) -> ContainerPlan {
    let command = plan.command.filter(|command| command.as_slice() != [DEFAULT_COMMAND]).unwrap_or_default();
    ContainerPlan { archive, command: Some(command), layers: LayerSplit::One, ..plan }
}

/// `derived_from`, with the digests that `<ingot:base>` pins.
fn bases(kind: &Type, selection: &Selection<'_>, folder: &Path, problems: &mut Problems) -> Vec<BasePlan> {
    let mut bases: Vec<BasePlan> = Vec::new();
    let attribute = kind.get("derived_from");
    if let Some(attribute) = attribute {
        for written in attribute.split(',').map(str::trim) {
            match address::read(written, folder) {
                Ok(source) => bases.push(BasePlan {
                    written: written.to_string(),
                    source,
                    digest: None,
                    place: Some(attribute.span.place()),
                }),
                Err(why) => {
                    let title = format!("`{}` is no container to build on", shown(written));
                    // A build service's own address is well-formed: it means something there.
                    let problem = match written.starts_with("obs:") {
                        true => Problem::refused(title),
                        false => Problem::invalid(title),
                    };
                    problems.add(problem.at(&attribute.span).label(why));
                }
            }
        }
    }
    for pin in selection.extensions.iter().filter(|extension| extension.name == "base") {
        let Some(digest) = pin.attributes.get("digest") else { continue };
        let source = pin.attributes.get("source");
        let mut meant: Vec<&mut BasePlan> =
            bases.iter_mut().filter(|base| source.is_none_or(|source| base.written == **source)).collect();
        match meant.as_mut_slice() {
            [base] => base.digest = Some(digest.to_string()),
            // An address that cannot be read was told already.
            [] if source.is_none() && attribute.is_some() => {}
            [] => {
                let title = "<ingot:base> pins a container that this image is not built on";
                let span = source.map_or(&pin.span, |source| &source.span);
                problems.add(Problem::invalid(title).at(span).hint("its `source` is an entry of `derived_from`"));
            }
            _ => problems.add(
                Problem::invalid("<ingot:base> does not say which of several containers it pins")
                    .at(&pin.span)
                    .hint("give it a `source`, an entry of `derived_from`"),
            ),
        }
    }
    bases
}

/// The last word of `<ingot:layers>` on one of its attributes.
fn word<'a>(selection: &Selection<'a>, name: &str) -> Option<&'a str> {
    let layers = selection.extensions.iter().filter(|extension| extension.name == "layers");
    let mut words = layers.filter_map(|extension: &&'a Extension| extension.attributes.get(name));
    words.next_back().map(|word| word.as_str())
}

fn layers(selection: &Selection<'_>, choices: &Choices) -> LayerSplit {
    let most = word(selection, "most").and_then(|most| most.parse().ok()).unwrap_or(MOST_LAYERS);
    choices.layers.unwrap_or(match word(selection, "split") {
        Some("packages") => LayerSplit::Packages { most },
        _ => LayerSplit::One,
    })
}

fn compression(selection: &Selection<'_>, choices: &Choices) -> LayerCompression {
    choices.layer_compression.unwrap_or(match word(selection, "compression") {
        Some("zstd") => LayerCompression::Zstd,
        Some("none") => LayerCompression::None,
        _ => LayerCompression::Gzip,
    })
}

fn annotations(selection: &Selection<'_>) -> BTreeMap<String, String> {
    let annotations = selection.extensions.iter().filter(|extension| extension.name == "annotation");
    let pairs = annotations.filter_map(|one| Some((one.attributes.get("name")?, one.attributes.get("value")?)));
    pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// `name:tag`, `:tag` and `name` with what is missing taken from the container itself.
fn full(other: &str, name: &str, tag: &str) -> String {
    // A colon before a slash belongs to a registry's port.
    let (path, last) = other.rsplit_once('/').map_or(("", other), |(path, last)| (&other[..path.len() + 1], last));
    match last.split_once(':') {
        Some(("", other_tag)) if path.is_empty() => format!("{name}:{other_tag}"),
        Some(_) => other.to_string(),
        None => format!("{other}:{tag}"),
    }
}

/// `[host[:port]/]name:tag`, as registries and everybody who loads images take it (the reference grammar of the OCI's
/// distribution).
fn is_name(text: &str) -> bool {
    let Some((name, tag)) = text.rsplit_once(':') else { return false };
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (host, path),
        _ => ("", name),
    };
    let fits_host = |char: char| char.is_ascii_alphanumeric() || ".-:".contains(char);
    let fits_tag = |char: char| char.is_ascii_alphanumeric() || "_.-".contains(char);
    let is_part = |part: &str| {
        let is_plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit();
        part.starts_with(is_plain)
            && part.ends_with(is_plain)
            && part.chars().all(|char| is_plain(char) || "._-".contains(char))
    };
    let is_tag = !tag.starts_with(['.', '-']) && (1..=128).contains(&tag.len()) && tag.chars().all(fits_tag);
    host.chars().all(fits_host) && path.split('/').all(is_part) && is_tag
}

/// What no engine starts a container with, or would read as something else.
fn check_settings(config: &Node, problems: &mut Problems) {
    let is_absolute = |text: &str| text.starts_with('/');
    let mut check = |node: &Node, attribute: &str, fits: bool, label: &str| {
        if let Some(found) = node.attribute(attribute).filter(|_| !fits) {
            let problem = Problem::invalid(format!("`{}` is not what <{}> may say", shown(&found.value), *node.name));
            problems.add(problem.at(&found.value.span).label(label));
        }
    };
    let text = |node: &Node, name: &str| node.attribute(name).map(|found| found.value.to_string()).unwrap_or_default();
    check(config, "workingdir", is_absolute(&text(config, "workingdir")), "a path from the root on: `/srv`");
    for group in &config.children {
        for node in &group.children {
            let name = text(node, "name");
            match (group.name.as_str(), node.name.as_str()) {
                ("volumes", "volume") => check(node, "name", is_absolute(&name), "a path from the root on: `/data`"),
                ("environment", "env") => check(node, "name", !name.contains('='), "no name of a variable has a `=`"),
                _ => {}
            }
        }
    }
}

/// The words of a command; an empty list clears it.
fn command(config: &Node, name: &str) -> Option<Vec<String>> {
    let node = config.children(name).next()?;
    match (node.attribute("execute"), node.attribute("clear")) {
        (Some(execute), _) => {
            let arguments = node.children("argument").filter_map(|argument| argument.attribute("name"));
            let arguments = arguments.map(|argument| argument.value.to_string());
            Some(std::iter::once(execute.value.to_string()).chain(arguments).collect())
        }
        (None, Some(clear)) if truth(&clear.value) => Some(Vec::new()),
        _ => None,
    }
}

fn history(node: &Node) -> History {
    let text = |name: &str| node.attribute(name).map(|attribute| attribute.value.to_string());
    let comment = node.trimmed().value;
    History {
        author: text("author"),
        created_by: text("created_by"),
        comment: (!comment.is_empty()).then_some(comment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_containers_are_those_that_registries_take() {
        for good in ["a:1", "every/thing:1.2-3", "h.example:5000/a/b_c:Latest_1", "localhost/a:1", "H.example/a--b:1"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["a", "a:", "a:b c", "A/b:1", "a b:1", "a//b:1", "/a:1", "a/:1", "-a:1", "a:.1", "h.e x/a:1", "a:ü"]
        {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(!is_name(&format!("a:{}", "1".repeat(129))));
    }
}
