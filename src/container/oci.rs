//! An OCI image layout in a tar (OCI image specification, image-layout.md), as skopeo's `oci-archive:`, umoci (unpacked)
//! and `podman load` take it.
//!
//! In: a tree, a plan, and the base where there is one. Out: `STEM.oci.tar` with one image, under each of its names.

use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::archive::Archive;
use super::base::Base;
use super::follow::LayerReader;
use super::layers::{self, Layer};
use super::source::{REFERENCE, WHOLE_NAME};
use super::{Order, Written, config};
use crate::error::Result;
use crate::pieces::Pieces;
use crate::release::artifact::hex;
use crate::report::Step;

/// The media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of a configuration.
pub const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
/// What Docker reads instead of the index.
pub const DOCKER: &str = "manifest.json";
/// Where blobs lie.
pub const BLOBS: &str = "blobs/sha256/";

/// Writes `folder/STEM.oci.tar`.
pub fn write(
    order: &Order<'_>,
    folder: &Path,
    stem: &str,
    pieces: &mut Pieces,
    reader: Option<&dyn LayerReader>,
    step: &Step,
) -> Result<Written> {
    let Order { tree, plan, image, base, .. } = *order;
    let mut archive = Archive::create(folder, &format!("{stem}.oci.tar"), tree.epoch())?;
    archive.folder("blobs/")?;
    archive.folder(BLOBS)?;
    let name = |layer: &Layer| format!("{BLOBS}{}", layer.sha256);
    let layers = layers::put(&mut archive, order, name, pieces, reader, step)?;
    let configuration = config::encode(plan, image, base, &layers, tree.epoch())?;
    let configuration = blob(&mut archive, &configuration, CONFIGURATION)?;
    let docker = for_docker(&plan.names(), &configuration, layers.iter().map(|layer| layer.sha256.as_str()));
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": configuration,
        "layers": layers.iter().map(descriptor).collect::<Vec<Value>>(),
    });
    let annotations = annotations(order);
    if !annotations.is_empty() {
        manifest["annotations"] = Value::Object(annotations);
    }
    let mut manifest = blob(&mut archive, &config::json(&manifest)?, MANIFEST)?;
    manifest["platform"] = platform(&image.arch);
    // Containerd and podman take the whole name from one annotation, skopeo and umoci the tag from the other. Two
    // entries of the same tag would be one too many for them: then the second has the whole name there.
    let mut entries: Vec<Value> = Vec::new();
    for name in plan.names() {
        let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        let is_taken = entries.iter().any(|entry| entry["annotations"][REFERENCE] == tag);
        let reference = if is_taken { name.as_str() } else { tag };
        let mut entry = manifest.clone();
        entry["annotations"] = json!({WHOLE_NAME: name, REFERENCE: reference});
        entries.push(entry);
    }
    if entries.len() > 1 {
        let text = "the OCI archive has several names: skopeo wants one of their tags, oci-archive:FILE:TAG";
        layers::warn(step, text.to_string());
    }
    archive.file(DOCKER, &config::json(&json!([docker]))?)?;
    finish_index(&mut archive, entries)?;
    Ok(Written { artifact: archive.finish("oci", step)?, inherited: super::inherited(&layers, name) })
}

/// What Docker's manifest.json says of an image whose blobs are those of the layout. `docker save` writes both, too: any
/// Docker loads it, and podman, which takes an OCI archive of one name only, goes on to this where there are several.
pub fn for_docker<'a>(names: &[String], configuration: &Value, layers: impl Iterator<Item = &'a str>) -> Value {
    let digest = configuration["digest"].as_str().unwrap_or_default().trim_start_matches("sha256:");
    let layers: Vec<String> = layers.map(|sha256| format!("{BLOBS}{sha256}")).collect();
    json!({"Config": format!("{BLOBS}{digest}"), "RepoTags": names, "Layers": layers})
}

/// Adds the two files that make a layout of blobs.
pub fn finish_index(archive: &mut Archive, entries: Vec<Value>) -> Result<()> {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    archive.file("index.json", &config::json(&index)?)?;
    archive.file("oci-layout", &config::json(&json!({"imageLayoutVersion": "1.0.0"}))?)
}

/// A layer's descriptor.
pub fn descriptor(layer: &Layer) -> Value {
    json!({"mediaType": layer.media_type(), "digest": format!("sha256:{}", layer.sha256), "size": layer.size})
}

/// GOARCH, the operating system and the variant.
pub fn platform(arch: &str) -> Value {
    match config::platform(arch) {
        (architecture, Some(variant)) => json!({"architecture": architecture, "os": "linux", "variant": variant}),
        (architecture, None) => json!({"architecture": architecture, "os": "linux"}),
    }
}

/// What registries show of an image without reading its configuration (OCI image specification, annotations.md): what
/// the description asks for, labels that have these very names, and the base.
fn annotations(order: &Order<'_>) -> Map<String, Value> {
    let plan = order.plan;
    let standard = |name: &str| name.starts_with("org.opencontainers.image.");
    let mut all = Map::new();
    if let Some(record) = order.base.and_then(|base| Base::records(base).last()) {
        all.insert("org.opencontainers.image.base.digest".into(), json!(record.digest));
        if let Some(name) = record.source.strip_prefix("docker://") {
            all.insert("org.opencontainers.image.base.name".into(), json!(name));
        }
    }
    all.extend(plan.labels.iter().filter(|(name, _)| standard(name)).map(|(name, value)| (name.clone(), json!(value))));
    all.extend(plan.annotations.iter().map(|(name, value)| (name.clone(), json!(value))));
    all.sort_keys();
    all
}

/// Adds a blob; returns its descriptor.
pub fn blob(archive: &mut Archive, content: &[u8], media_type: &str) -> Result<Value> {
    let digest = hex(&Sha256::digest(content));
    archive.file(&format!("{BLOBS}{digest}"), content)?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len()}))
}
