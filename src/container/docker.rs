//! A Docker archive, as `docker load` and `podman load` take it (Docker image specification v1.2, "Combined Image JSON +
//! Filesystem Changeset Format").
//!
//! In: a tree and a plan. Out: `STEM.docker.tar` with a gzip layer, which loaders decompress themselves: a third of the
//! size of what `docker save` writes. Names and tags stand in manifest.json, additional ones too.

use std::path::Path;

use serde_json::json;

use super::archive::Archive;
use super::config;
use crate::error::Result;
use crate::pieces::Pieces;
use crate::plan::{ContainerPlan, Image};
use crate::release::Artifact;
use crate::release::artifact::hex;
use crate::report::Step;
use crate::scrub::ScrubbedTree;
use sha2::{Digest, Sha256};

/// Writes `folder/STEM.docker.tar`.
pub fn write(
    tree: &ScrubbedTree,
    plan: &ContainerPlan,
    image: &Image,
    folder: &Path,
    stem: &str,
    pieces: &mut Pieces,
    step: &Step,
) -> Result<Artifact> {
    let mut archive = Archive::create(folder, &format!("{stem}.docker.tar"), tree.epoch())?;
    let layer_name = |sha256: &str| format!("{sha256}.tar.gz");
    let layer = archive.layer(tree, |layer| layer_name(&layer.plain_sha256), pieces, step)?;
    let configuration = config::encode(plan, image, &layer, tree.epoch())?;
    let configuration_name = format!("{}.json", hex(&Sha256::digest(&configuration)));
    archive.file(&configuration_name, &configuration)?;
    let mut names = vec![format!("{}:{}", plan.name, plan.tag)];
    for name in &plan.additional_names {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let manifest = json!([{
        "Config": configuration_name,
        "RepoTags": names,
        "Layers": [layer_name(&layer.plain_sha256)],
    }]);
    archive.file("manifest.json", &config::json(&manifest)?)?;
    archive.finish("docker", step)
}
