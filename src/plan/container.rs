//! `<containerconfig>` to a [`ContainerPlan`].
//!
//! In: a checked `<type>`. Out: names, command, settings, with KIWI's defaults. Never knows what is in the image.

use super::{ContainerArchive, ContainerPlan, History, Image, Warning};
use crate::description::xml::Node;
use crate::description::{Type, truth};

/// Plans a container.
pub fn plan(kind: &Type, image: &Image, warnings: &mut Vec<Warning>) -> ContainerPlan {
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
    if let (ContainerArchive::Oci, Some(attribute)) =
        (archive, config.and_then(|node| node.attribute("additionalnames")))
    {
        let text = "`additionalnames` is ignored: an OCI archive holds one name".to_string();
        warnings.push(Warning { text, place: Some(attribute.name.span.place()) });
    }
    if let Some(temporary) = kind.get("ensure_empty_tmpdirs").filter(|value| !truth(value)) {
        let text =
            "ensure_empty_tmpdirs=\"false\" is ignored: /tmp and /run of a container are always empty".to_string();
        warnings.push(Warning { text, place: Some(temporary.span.place()) });
    }
    let entrypoint = config.and_then(|config| command(config, "entrypoint"));
    let mut command = config.and_then(|config| command(config, "subcommand"));
    if entrypoint.is_none() && command.is_none() {
        command = Some(vec!["/bin/bash".to_string()]);
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
        additional_names: if archive == ContainerArchive::Oci { Vec::new() } else { additional_names },
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
        name,
        tag,
    }
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
