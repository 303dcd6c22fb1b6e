//! A Docker archive, as `docker load` and `podman load` take it (Docker image specification v1.2, "Combined Image JSON +
//! Filesystem Changeset Format").
//!
//! In: a tree, a plan, and the base where there is one. Out: `STEM.docker.tar` with compressed layers, which loaders
//! decompress themselves: a third of the size of what `docker save` writes. Names and tags stand in manifest.json,
//! additional ones too.

use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::archive::Archive;
use super::follow::LayerReader;
use super::layers::{self, Layer};
use super::{Written, config};
use crate::error::Result;
use crate::pieces::Pieces;
use crate::release::artifact::hex;
use crate::report::Step;

/// Writes `folder/STEM.docker.tar`.
pub fn write(
    order: &super::Order<'_>,
    folder: &Path,
    stem: &str,
    pieces: &mut Pieces,
    reader: Option<&dyn LayerReader>,
    step: &Step,
) -> Result<Written> {
    let super::Order { tree, plan, image, base, .. } = *order;
    if !plan.annotations.is_empty() {
        layers::warn(step, "annotations are left out: a Docker archive has no place for them".to_string());
    }
    let mut archive = Archive::create(folder, &format!("{stem}.docker.tar"), tree.epoch())?;
    let name = |layer: &Layer| format!("{}{}", layer.diff_id, layer.end());
    let layers = layers::put(&mut archive, order, name, pieces, reader, step)?;
    let configuration = config::encode(plan, image, base, &layers, tree.epoch())?;
    let configuration_name = format!("{}.json", hex(&Sha256::digest(&configuration)));
    archive.file(&configuration_name, &configuration)?;
    let manifest = json!([{
        "Config": configuration_name,
        "RepoTags": plan.names(),
        "Layers": layers.iter().map(name).collect::<Vec<String>>(),
    }]);
    archive.file("manifest.json", &config::json(&manifest)?)?;
    Ok(Written { artifact: archive.finish("docker", step)?, inherited: super::inherited(&layers, name) })
}
