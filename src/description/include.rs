//! `<include>`: the children of another file's `<image>` take its place.
//!
//! In: the main file. Out: one tree, converted to schema 8.5. Never follows an include inside an included file,
//! and never reads anything but local files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::convert;
use super::lookup::{self, Local};
use super::markup::{self, Language};
use super::problem::{Problem, Problems, shown};
use super::source::{Source, Spanned};
use super::xml::{self, Node};

/// A description's one tree, in the words of schema 8.5.
pub struct Expanded {
    /// `<image>`.
    pub image: Node,
    /// The files that were included, in order, each once.
    pub included: Vec<PathBuf>,
    /// What older schemas had and the newest has not, for warnings.
    pub dropped: Vec<Spanned<String>>,
}

/// Parses the file and what it includes.
pub fn expand(source: &Arc<Source>, folder: &Path) -> Result<Expanded, Problems> {
    let mut image = markup::parse(source)?;
    if *image.name != "image" {
        // The schema says what is wrong with it.
        return Ok(Expanded { image, included: Vec::new(), dropped: Vec::new() });
    }
    let version = convert::version(&image)?;
    let mut dropped = convert::convert(&mut image, version);
    let mut problems = Problems::new();
    let mut children = Vec::new();
    let mut included: Vec<PathBuf> = Vec::new();
    for child in std::mem::take(&mut image.children) {
        if *child.name != "include" {
            children.push(child);
            continue;
        }
        match part(&child, folder, version) {
            // An include without `from` stays, so that the schema complains.
            Ok(None) => children.push(child),
            Ok(Some(part)) => {
                children.extend(part.children);
                dropped.extend(part.dropped);
                if !included.contains(&part.path) {
                    included.push(part.path);
                }
            }
            Err(problem) => problems.add(problem),
        }
    }
    image.children = children;
    problems.or(Expanded { image, included, dropped })
}

/// An included file.
struct Part {
    path: PathBuf,
    children: Vec<Node>,
    dropped: Vec<Spanned<String>>,
}

/// Reads what an `<include>` names; `None` where `from` is missing.
fn part(node: &Node, folder: &Path, version: convert::Version) -> Result<Option<Part>, Problem> {
    let Some(from) = node.attribute("from") else {
        return Ok(None);
    };
    let name = from.value.as_str();
    let problem = |title: String| Problem::invalid(title).at(&from.value.span);
    let wanted = match name.split_once(':') {
        Some(("file" | "dir", rest)) => format!("/{}", rest.trim_start_matches('/')),
        Some(("this", rest)) => rest.trim_start_matches('/').to_string(),
        Some((scheme @ ("http" | "https" | "ftp" | "obs"), _)) => {
            return Err(problem(format!("<include> cannot read from {scheme}:")).label("only local files"));
        }
        _ => name.to_string(),
    };
    let path = match lookup::local(folder, &wanted) {
        Local::Path(path) => path,
        Local::Outside => {
            return Err(problem(format!("<include from=\"{}\"> leaves the description's folder", shown(name))));
        }
    };
    let source = lookup::read_file(&path).map_err(|error| match error.span {
        Some(_) => error,
        None => error.at(&from.value.span),
    })?;
    if Language::of(source.text()) != Some(Language::Xml) {
        // Nothing of it is shown: it may be any file of the host.
        let title = format!("<include> of {}, which is not XML,", shown(name));
        return Err(Problem::refused(title).at(&from.value.span).label("KIWI includes XML alone"));
    }
    let mut image = xml::parse(&source)?;
    if *image.name != "image" {
        return Err(Problem::invalid(format!("the included file's root element is <{}>", shown(&image.name)))
            .at(&image.name.span)
            .label("<image> is expected"));
    }
    if let Some(inner) = image.children("include").next() {
        let place = node.name.span.place();
        return Err(Problem::invalid("<include> inside an included file")
            .at(&inner.name.span)
            .label(format!("this file was included in {place}"))
            .hint("includes go one level deep, as in KIWI: include both files from the main one"));
    }
    let version = match image.attribute("schemaversion") {
        Some(_) => convert::version(&image)?,
        None => version,
    };
    let dropped = convert::convert(&mut image, version);
    Ok(Some(Part { path, children: image.children, dropped }))
}
