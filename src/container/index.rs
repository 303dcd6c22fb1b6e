//! Images for several machines under one name (OCI image specification, image-index.md).
//!
//! In: archives and layout folders of one image each, or more. Out: one OCI layout in a tar, whose index names the image of
//! each machine. Blobs that several images share are there once; manifests, configurations and layers stay byte for byte.
//! Never guesses what an image is for: its configuration says it.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::archive::Archive;
use super::config;
use super::layers::Layer;
use super::oci::{self, BLOBS, CONFIGURATION, INDEX, MANIFEST};
use super::source::{REFERENCE, Store, StoredImage, WHOLE_NAME};
use crate::error::{Error, Exit, Result};
use crate::host::untar;
use crate::release::Artifact;
use crate::release::artifact::hex;
use crate::report::Step;

/// What an index is made of.
#[derive(Clone, Debug)]
pub struct IndexOrder<'a> {
    /// The archives and folders.
    pub from: &'a [PathBuf],
    /// `name:tag` or a tag; that of the first image where it is missing.
    pub name: Option<&'a str>,
}

/// A platform, as an index and a person have it.
type Platform = (String, String, Option<String>);

/// Writes `folder/name`.
///
/// 65 for a malformed archive and for two images for the same machine, 66 for a missing one, 76 for a wrong digest.
pub fn write(order: &IndexOrder<'_>, folder: &Path, name: &str, step: &Step) -> Result<Artifact> {
    let mut images: BTreeMap<Platform, (PathBuf, StoredImage)> = BTreeMap::new();
    let mut first = None;
    for path in order.from {
        let read = || Store::open(path, folder)?.images();
        for image in read().map_err(|error| error.within(format!("take the images of {}", path.display())))? {
            let platform = platform(&image)?;
            first = first.or_else(|| image.names.last().cloned());
            if let Some((other, _)) = images.get(&platform) {
                let (os, architecture, variant) = &platform;
                let machine = [Some(os), Some(architecture), variant.as_ref()].into_iter().flatten();
                let machine: Vec<&str> = machine.map(String::as_str).collect();
                return Err(Error::cannot(Exit::Description, "make an index of these images").because(format!(
                    "{} and {} both hold one for {}",
                    other.display(),
                    path.display(),
                    machine.join("/").escape_debug()
                )));
            }
            images.insert(platform, (path.clone(), image));
        }
    }
    if images.is_empty() {
        return Err(Error::cannot(Exit::Description, "make an index of these images").because("there is none in them"));
    }
    let newest = images.values().filter_map(|(_, image)| created(image)).max().unwrap_or(0);
    let mut archive = Archive::create(folder, name, newest)?;
    archive.folder("blobs/")?;
    archive.folder(BLOBS)?;
    let mut there = HashSet::new();
    let mut entries = Vec::new();
    for ((os, architecture, variant), (path, image)) in images {
        step.now(&path.display().to_string());
        let mut entry = put(&mut archive, &image, &mut there)
            .map_err(|error| error.within(format!("take the image of {}", path.display())))?
            .manifest;
        entry["platform"] = json!({"architecture": architecture, "os": os});
        if let Some(variant) = variant {
            entry["platform"]["variant"] = json!(variant);
        }
        entries.push(entry);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    let mut whole = oci::blob(&mut archive, &config::json(&index)?, INDEX)?;
    let name = order.name.map(str::to_string).or(first).unwrap_or_else(|| "latest".into());
    let last = name.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map_or(name.as_str(), |(_, tag)| tag);
    whole["annotations"] = json!({REFERENCE: tag});
    if tag != name {
        whole["annotations"][WHOLE_NAME] = json!(name);
    }
    oci::finish_index(&mut archive, vec![whole])?;
    archive.finish("oci", step)
}

/// An image in an archive.
#[derive(Clone, Debug)]
pub struct Put {
    /// The descriptor of its manifest.
    pub manifest: Value,
    /// The descriptor of its configuration.
    pub configuration: Value,
    /// SHA-256 of each layer as it is stored, in hexadecimal.
    pub layers: Vec<String>,
}

/// Puts what an image has and the archive has not.
pub fn put(archive: &mut Archive, image: &StoredImage, there: &mut HashSet<String>) -> Result<Put> {
    let mut layers = Vec::new();
    for stored in &image.layers {
        // Both digests are computed before anything is taken over.
        stored.read(|plain| std::io::copy(plain, &mut std::io::sink()).map(drop).map_err(untar::broken))?;
        let hexadecimal = |digest: &str| digest.trim_start_matches("sha256:").to_string();
        let layer = Layer {
            diff_id: hexadecimal(&stored.diff_id),
            sha256: match &stored.digest {
                Some(digest) => hexadecimal(digest),
                None => stored.blob.sha256()?,
            },
            size: stored.blob.size,
            compression: stored.blob.compression()?,
            new: None,
        };
        if there.insert(layer.sha256.clone()) {
            archive.blob(&format!("{BLOBS}{}", layer.sha256), &stored.blob)?;
        }
        layers.push(layer);
    }
    let mut put = |content: &[u8], media_type: &str| -> Result<Value> {
        let digest = hex(&Sha256::digest(content));
        match there.insert(digest.clone()) {
            true => oci::blob(archive, content, media_type),
            false => Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len()})),
        }
    };
    let configuration = put(&image.configuration, CONFIGURATION)?;
    let manifest = match &image.manifest {
        Some(manifest) => {
            let stated = serde_json::from_slice::<Value>(manifest).unwrap_or_default();
            put(manifest, stated["mediaType"].as_str().unwrap_or(MANIFEST))?
        }
        None => {
            let layers: Vec<Value> = layers.iter().map(oci::descriptor).collect();
            let whole = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": configuration, "layers": layers});
            put(&config::json(&whole)?, MANIFEST)?
        }
    };
    Ok(Put { manifest, configuration, layers: layers.into_iter().map(|layer| layer.sha256).collect() })
}

fn configuration(image: &StoredImage) -> Value {
    serde_json::from_slice(&image.configuration).unwrap_or_default()
}

/// When an image was made, in seconds since 1970, where it says so.
pub fn created(image: &StoredImage) -> Option<i64> {
    config::seconds(configuration(image)["created"].as_str()?)
}

fn platform(image: &StoredImage) -> Result<Platform> {
    let configuration = configuration(image);
    let word = |name: &str| configuration[name].as_str().filter(|word| !word.is_empty()).map(str::to_string);
    match (word("os"), word("architecture")) {
        (Some(os), Some(architecture)) => Ok((os, architecture, word("variant"))),
        _ => Err(Error::cannot(Exit::Description, "make an index of these images")
            .because("the configuration of one does not say which machine it is for")),
    }
}

/// A layout in a tar as a folder.
pub fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    use crate::host::rooted::{RootPath, Rooted};
    use crate::host::untar::{Owners, Policy, extract};
    let content = crate::host::file::open(archive)?;
    let into = Rooted::open(folder)?;
    extract(content, &into, &RootPath::root(), Policy::new(Owners::Caller)).map(drop)
}
