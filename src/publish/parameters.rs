//! `publish.toml`: what differs from cloud to cloud.
//!
//! In: the file. Out: [`Parameters`], every default filled in. Never holds a credential; an unknown table or key is an
//! error with its place.

use std::path::{Path, PathBuf};

use super::toml_table::Document;
use super::{aws, azure, gce, openstack, registry};
use crate::error::{Error, Exit, Result};
use crate::host::file;

/// The file's name.
pub const FILE: &str = "publish.toml";

/// The parameters of each cloud.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// `[aws]`.
    pub aws: aws::Parameters,
    /// `[azure]`.
    pub azure: azure::Parameters,
    /// `[gce]`.
    pub gce: gce::Parameters,
    /// `[openstack]`.
    pub openstack: openstack::Parameters,
    /// `[registry]`.
    pub registry: registry::Parameters,
}

impl Parameters {
    /// What stands in `named` (a file, or a folder that holds one), else in the release's folder, else nothing but
    /// defaults. 66 where what is named is not there, 78 where it is wrong.
    pub fn load(named: Option<&Path>, release: &Path) -> Result<Parameters> {
        let path: PathBuf = match named {
            Some(folder) if file::is_folder(folder) => folder.join(FILE),
            Some(path) => path.into(),
            None => release.join(FILE),
        };
        if named.is_none() && !file::exists(&path) {
            return Parameters::parse(&path, "");
        }
        let text = String::from_utf8(file::read(&path)?).map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
            Error::cannot(Exit::Configuration, format!("use {}", path.display()))
                .because(format!("line {line} is not UTF-8"))
        })?;
        Parameters::parse(&path, &text).map_err(|error| error.within(format!("use {}", path.display())))
    }

    /// Reads the text of a file called `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Parameters> {
        let document = Document::parse(path, text)?;
        document.only(&["aws", "azure", "gce", "openstack", "registry"])?;
        Ok(Parameters {
            aws: aws::Parameters::read(document.table("aws")?)?,
            azure: azure::Parameters::read(document.table("azure")?)?,
            gce: gce::Parameters::read(document.table("gce")?)?,
            openstack: openstack::Parameters::read(document.table("openstack")?)?,
            registry: registry::Parameters::read(document.table("registry")?)?,
        })
    }
}

/// A name by a pattern: `{name}`, `{version}`, `{arch}` and `{digest}` (8 digits of the artifact's SHA-256) stand for
/// what they say. 78 where it names something else.
pub fn named(pattern: Option<&String>, image: &super::Image) -> Result<String> {
    let pattern = pattern.map_or("{name}-{version}-{arch}-{digest}", String::as_str);
    let mut name = pattern.to_string();
    let digest = image.checksums.sha256.get(..8).unwrap_or_default();
    for (place, text) in
        [("{name}", &image.name[..]), ("{version}", &image.version), ("{arch}", &image.arch), ("{digest}", digest)]
    {
        name = name.replace(place, text);
    }
    if name.contains(['{', '}']) || name.is_empty() {
        return Err(Error::new(Exit::Configuration, format!("`name` in {FILE}: `{pattern}` names no image"))
            .because("{name}, {version}, {arch} and {digest} stand for something, nothing else in braces does"));
    }
    Ok(name)
}

/// 78 where a name has another length, or another character than ASCII letters, digits and these.
pub fn check_name(name: &str, length: std::ops::RangeInclusive<usize>, more: &str) -> Result<()> {
    let good = |char: char| char.is_ascii_alphanumeric() || more.contains(char);
    if length.contains(&name.len()) && name.chars().all(good) {
        return Ok(());
    }
    let (least, most) = length.into_inner();
    Err(Error::new(Exit::Configuration, format!("the cloud takes no image called `{name}`"))
        .because(format!("a name has {least} to {most} letters, digits and characters of `{more}`"))
        .hint("`name` in publish.toml gives another one; {name}, {version}, {arch} and {digest} may stand in it"))
}
