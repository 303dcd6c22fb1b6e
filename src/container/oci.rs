//! An OCI image layout in a tar (OCI image specification, image-layout.md), as skopeo's `oci-archive:`, umoci (unpacked)
//! and `podman load` take it.
//!
//! In: a tree and a plan. Out: `STEM.oci.tar` with one image of one gzip layer.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::archive::Archive;
use super::config;
use crate::error::{Result, Warning};
use crate::pieces::Pieces;
use crate::plan::{ContainerPlan, Image};
use crate::release::Artifact;
use crate::release::artifact::hex;
use crate::report::Step;
use crate::scrub::ScrubbedTree;

const BLOBS: &str = "blobs/sha256/";

/// Writes `folder/STEM.oci.tar`.
pub fn write(
    tree: &ScrubbedTree,
    plan: &ContainerPlan,
    image: &Image,
    folder: &Path,
    stem: &str,
    pieces: &mut Pieces,
    step: &Step,
) -> Result<Artifact> {
    if !plan.additional_names.is_empty() {
        // With several entries in its index, an archive is no longer one image: skopeo asks which one is meant.
        let names = plan.additional_names.join(", ");
        let text = format!("an OCI archive holds one name: {names} of additionalnames is left out");
        step.reporter().warn(Warning { text, place: None });
    }
    let mut archive = Archive::create(folder, &format!("{stem}.oci.tar"), tree.epoch())?;
    archive.folder("blobs/")?;
    archive.folder(BLOBS)?;
    let layer = archive.layer(tree, |layer| format!("{BLOBS}{}", layer.sha256), pieces, step)?;
    let configuration = config::encode(plan, image, &layer, tree.epoch())?;
    let configuration = blob(&mut archive, &configuration, "application/vnd.oci.image.config.v1+json")?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": configuration,
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": format!("sha256:{}", layer.sha256),
            "size": layer.size,
        }],
    });
    let mut manifest = blob(&mut archive, &config::json(&manifest)?, "application/vnd.oci.image.manifest.v1+json")?;
    let (architecture, variant) = config::platform(&image.arch);
    manifest["platform"] = match variant {
        Some(variant) => json!({"architecture": architecture, "os": "linux", "variant": variant}),
        None => json!({"architecture": architecture, "os": "linux"}),
    };
    // The reference is the tag, as skopeo and umoci have it; containerd and podman take the whole name from the other.
    manifest["annotations"] = json!({
        "io.containerd.image.name": format!("{}:{}", plan.name, plan.tag),
        "org.opencontainers.image.ref.name": plan.tag,
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    archive.file("index.json", &config::json(&index)?)?;
    archive.file("oci-layout", &config::json(&json!({"imageLayoutVersion": "1.0.0"}))?)?;
    archive.finish("oci", step)
}

/// Adds a blob; returns its descriptor.
fn blob(archive: &mut Archive, content: &[u8], media_type: &str) -> Result<Value> {
    let digest = hex(&Sha256::digest(content));
    archive.file(&format!("{BLOBS}{digest}"), content)?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len()}))
}
