//! Rules about containers: what a registry verifies before it takes an image.
//!
//! In: a docker archive or an OCI layout. Out: its images with their layers, each blob's digest computed from its bytes, and
//! what the rules make of it. Never unpacks anything, never believes a size or a digest that the archive states.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::evidence::Evidence;
use super::form::shown;
use super::rule::Outcome;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::rooted::Kind;
use crate::host::untar::{Compression, Members, What, decompressed};
use crate::plan::Target;
use crate::release::artifact::hex;

/// Documents are read up to this size.
const LONGEST_DOCUMENT: u64 = 4 << 20;
/// Most members of an archive, and images of an index.
const MOST_MEMBERS: usize = 100_000;
const MOST_IMAGES: usize = 64;
/// Nothing is decompressed further than this.
const MOST_DATA: u64 = 1 << 40;
/// The layer limit of overlay2, which pulls would run into.
const MOST_LAYERS: usize = 126;

/// A member of the archive.
#[derive(Clone, Debug, Default)]
struct Blob {
    size: u64,
    /// SHA-256 of its bytes, and of its bytes decompressed.
    digest: String,
    unpacked: String,
    /// The whole of a small one that is not compressed.
    document: Option<Vec<u8>>,
    symlink: Option<String>,
}

/// An image of the archive.
#[derive(Clone, Debug)]
struct Image {
    name: String,
    config: Option<Value>,
    /// SHA-256 of each layer, unpacked, in order.
    layers: Vec<String>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    images: Vec<Image>,
    /// What is wrong with names, digests and sizes.
    problems: Vec<String>,
}

impl Archive {
    /// Reads an archive once. 65 where it is damaged.
    pub fn read(path: &Path) -> Result<Archive> {
        let damaged = |error: io::Error| Error::cannot(Exit::Description, "read the archive").because(error);
        let mut members = Members::new(decompressed(file::open(path)?)?);
        let mut blobs = BTreeMap::new();
        while let Some(member) = members.next_member().map_err(damaged)? {
            let name = String::from_utf8_lossy(&member.name).trim_start_matches("./").to_string();
            if blobs.len() >= MOST_MEMBERS {
                return Err(damaged(io::Error::other("it has too many members")));
            }
            match &member.what {
                What::Is(Kind::File) => {
                    blobs.insert(name, blob(&mut members).map_err(damaged)?);
                }
                What::Is(Kind::Symlink(target)) => {
                    let symlink = Some(String::from_utf8_lossy(target).into_owned());
                    blobs.insert(name, Blob { symlink, ..Blob::default() });
                }
                _ => {}
            }
        }
        let mut archive = Archive::default();
        if blobs.contains_key("index.json") {
            archive.layout(&blobs);
        } else {
            archive.docker(&blobs);
        }
        Ok(archive)
    }

    /// An OCI layout: index.json names manifests, they name a configuration and layers, all by digest.
    fn layout(&mut self, blobs: &BTreeMap<String, Blob>) {
        if !blobs.contains_key("oci-layout") {
            self.problems.push("it has an index.json, and no oci-layout".into());
        }
        let mut left: Vec<Value> = Vec::new();
        match blobs.get("index.json").and_then(json) {
            Some(index) => left.extend(list(&index, "manifests")),
            None => self.problems.push("index.json is no JSON".into()),
        }
        let mut seen = 0;
        while let Some(descriptor) = left.pop() {
            seen += 1;
            if seen > MOST_IMAGES {
                self.problems.push(format!("its index leads to more than {MOST_IMAGES} manifests"));
                return;
            }
            let Some((name, blob)) = self.described(blobs, &descriptor) else { continue };
            let Some(manifest) = json(blob) else {
                self.problems.push(format!("the manifest {name} is no JSON"));
                continue;
            };
            if manifest.get("manifests").is_some() {
                left.extend(list(&manifest, "manifests"));
                continue;
            }
            let config = manifest.get("config").cloned().unwrap_or_default();
            let config = self.described(blobs, &config).and_then(|(_, blob)| json(blob));
            let mut layers = Vec::new();
            for layer in list(&manifest, "layers") {
                layers.extend(self.described(blobs, &layer).map(|(_, blob)| blob.unpacked.clone()));
            }
            self.images.push(Image { name, config, layers });
        }
        if self.images.is_empty() && self.problems.is_empty() {
            self.problems.push("index.json names no manifest".into());
        }
    }

    /// The blob that a descriptor names; what does not fit is a problem.
    fn described<'a>(&mut self, blobs: &'a BTreeMap<String, Blob>, descriptor: &Value) -> Option<(String, &'a Blob)> {
        let Some(digest) = descriptor.get("digest").and_then(Value::as_str) else {
            self.problems.push("a descriptor names no digest".into());
            return None;
        };
        let short = shown(digest.as_bytes());
        let Some((algorithm, hash)) = digest.split_once(':') else {
            self.problems.push(format!("{short} is no digest"));
            return None;
        };
        let Some(blob) = blobs.get(&format!("blobs/{algorithm}/{hash}")) else {
            self.problems.push(format!("{short} is named, and not in the archive"));
            return None;
        };
        if algorithm == "sha256" && blob.digest != hash {
            self.problems.push(format!("the blob {short} has the digest sha256:{}", blob.digest));
        }
        if let Some(size) = descriptor.get("size").and_then(Value::as_u64)
            && size != blob.size
        {
            self.problems.push(format!("the blob {short} has {} bytes, and {size} are stated", blob.size));
        }
        Some((short, blob))
    }

    /// A docker archive: manifest.json names a configuration and layers by path.
    fn docker(&mut self, blobs: &BTreeMap<String, Blob>) {
        let Some(Value::Array(manifest)) = blobs.get("manifest.json").and_then(json) else {
            self.problems.push("manifest.json is missing, or no JSON list".into());
            return;
        };
        for entry in manifest.into_iter().take(MOST_IMAGES) {
            let named = list(&entry, "RepoTags").first().and_then(Value::as_str).map(|tag| shown(tag.as_bytes()));
            let name = named.unwrap_or_else(|| "an image without a name".into());
            let path = entry.get("Config").and_then(Value::as_str).unwrap_or_default();
            let config = blobs.get(path);
            let stated = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
            match config {
                None => self.problems.push(format!("{name}: its configuration {} is missing", shown(path.as_bytes()))),
                Some(blob) if stated.len() == 64 && blob.digest != stated => {
                    self.problems.push(format!("{name}: its configuration has the digest sha256:{}", blob.digest));
                }
                Some(_) => {}
            }
            let mut layers = Vec::new();
            for layer in list(&entry, "Layers") {
                let path = layer.as_str().unwrap_or_default();
                match follow(blobs, path) {
                    Some(blob) => layers.push(blob.unpacked.clone()),
                    None => self.problems.push(format!("{name}: the layer {} is missing", shown(path.as_bytes()))),
                }
            }
            self.images.push(Image { name, config: config.and_then(json), layers });
        }
        if self.images.is_empty() {
            self.problems.push("manifest.json names no image".into());
        }
    }
}

/// Old docker archives link layers that are the same: one step, never out of the archive.
fn follow<'a>(blobs: &'a BTreeMap<String, Blob>, path: &str) -> Option<&'a Blob> {
    let blob = blobs.get(path)?;
    match &blob.symlink {
        None => Some(blob),
        Some(target) => blobs.get(target.trim_start_matches("../")).filter(|blob| blob.symlink.is_none()),
    }
}

fn list(value: &Value, key: &str) -> Vec<Value> {
    value.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn json(blob: &Blob) -> Option<Value> {
    serde_json::from_slice(blob.document.as_ref()?).ok()
}

/// Reads a member to its end, twice hashed where it is compressed.
fn blob(source: &mut (impl Read + Send)) -> io::Result<Blob> {
    let mut start = Vec::new();
    source.take(6).read_to_end(&mut start)?;
    let compressed = Compression::of(&start) != Compression::None;
    let mut raw = Hashed { source: io::Cursor::new(start).chain(source), hash: Sha256::new(), size: 0 };
    let mut document = Vec::new();
    let mut unpacked = String::new();
    if compressed {
        let stream = decompressed(&mut raw).map_err(|error| io::Error::other(error.causes().join("; ")))?;
        let mut data = Hashed { source: stream.take(MOST_DATA), hash: Sha256::new(), size: 0 };
        // A layer that cannot be decompressed has no digest that any configuration could name.
        if io::copy(&mut data, &mut io::sink()).is_ok() {
            unpacked = hex(&data.hash.finalize());
        }
    } else {
        (&mut raw).take(LONGEST_DOCUMENT).read_to_end(&mut document)?;
    }
    let more = io::copy(&mut raw, &mut io::sink())?;
    let digest = hex(&raw.hash.finalize());
    if !compressed {
        unpacked = digest.clone();
    }
    Ok(Blob {
        size: raw.size,
        digest,
        unpacked,
        document: (!compressed && more == 0).then_some(document),
        symlink: None,
    })
}

struct Hashed<R> {
    source: R,
    hash: Sha256,
    size: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.size += read as u64;
        Ok(read)
    }
}

fn archive(evidence: &Evidence) -> Result<&Archive, Vec<Outcome>> {
    evidence.container.as_ref().map_err(Outcome::unknown)
}

/// The rule `container-index`.
pub fn index(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let archive = match archive(evidence) {
        Ok(archive) => archive,
        Err(outcome) => return outcome,
    };
    if archive.problems.is_empty() {
        let layers: usize = archive.images.iter().map(|image| image.layers.len()).sum();
        return Outcome::good(format!("{} images, {layers} layers: every digest is right", archive.images.len()));
    }
    let remedy = "write the archive again; nobody's copy of it is whole";
    archive.problems.iter().flat_map(|problem| Outcome::bad(problem, remedy)).collect()
}

/// The rule `container-config`.
pub fn config(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let archive = match archive(evidence) {
        Ok(archive) => archive,
        Err(outcome) => return outcome,
    };
    let mut bad = Vec::new();
    for image in &archive.images {
        let name = &image.name;
        let Some(config) = &image.config else {
            bad.push(format!("{name} has no configuration that is JSON"));
            continue;
        };
        for key in ["os", "architecture"] {
            if config.get(key).and_then(Value::as_str).unwrap_or_default().is_empty() {
                bad.push(format!("the configuration of {name} names no {key}"));
            }
        }
        let stated = list(config.get("rootfs").unwrap_or(&Value::Null), "diff_ids");
        let stated: Vec<&str> = stated.iter().map(|id| id.as_str().unwrap_or_default()).collect();
        if stated.len() != image.layers.len() {
            bad.push(format!(
                "the configuration of {name} names {} layers, and there are {}",
                stated.len(),
                image.layers.len()
            ));
            continue;
        }
        for (number, (stated, layer)) in (1..).zip(stated.iter().zip(&image.layers)) {
            if *stated != format!("sha256:{layer}") {
                let layer =
                    if layer.is_empty() { "cannot be decompressed".into() } else { format!("is sha256:{layer}") };
                bad.push(format!("layer {number} of {name} is stated as {}, and {layer}", shown(stated.as_bytes())));
            }
        }
    }
    if bad.is_empty() {
        return Outcome::good("system, architecture and the digests of the unpacked layers are right");
    }
    bad.into_iter().flat_map(|what| Outcome::bad(what, "write the archive again")).collect()
}

/// The rule `layers`.
pub fn layers(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let archive = match archive(evidence) {
        Ok(archive) => archive,
        Err(outcome) => return outcome,
    };
    let most = archive.images.iter().max_by_key(|image| image.layers.len());
    match most {
        Some(image) if image.layers.len() > MOST_LAYERS => Outcome::bad(
            format!("{} has {} layers", image.name, image.layers.len()),
            "squash it: an image built by ingot has one layer for each description",
        ),
        Some(image) => Outcome::good(format!("{} at most", image.layers.len())),
        None => Outcome::unknown("there is no image in it"),
    }
}
