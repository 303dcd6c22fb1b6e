//! To the clouds and registries, through their own command lines.
//!
//! In: a release and a target. Out: the image's id there. A cloud is a file that turns an artifact into a
//! [`Plan`](step::Plan); [`carry`] carries it out. Never sees a credential: the vendors' programs find theirs in the
//! environment, which is passed on. Never publishes twice what is there, never leaves something unreported.

mod answer;
pub mod attempt;
pub mod aws;
pub mod azure;
mod blocks;
pub mod carry;
pub mod checksum;
mod firmware;
pub mod gce;
pub mod openstack;
pub mod parameters;
pub mod registry;
mod script;
pub mod secret;
pub mod step;
pub mod target;
mod toml_table;
pub mod tool;
pub mod trouble;

use std::path::PathBuf;

use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::format;
use crate::host::file;
use crate::release::Released;
use crate::release::released::ListedArtifact;
use checksum::{Checksums, Kind};
pub use parameters::Parameters;
use step::{Plan, Work};
pub use target::Target;

/// An artifact that is to be published.
#[derive(Clone, Debug)]
pub struct Image {
    /// The image's name.
    pub name: String,
    /// The image's version.
    pub version: String,
    /// The image's architecture.
    pub arch: String,
    /// File name of the artifact.
    pub artifact: String,
    /// The artifact's format.
    pub format: String,
    /// The artifact.
    pub path: PathBuf,
    /// Size of the virtual disk; 0 where it is no disk or packed.
    pub disk: Bytes,
    /// What its content is known by.
    pub checksums: Checksums,
    /// The same for the same artifact and target.
    pub key: String,
}

/// A cloud: what it takes, and how an artifact becomes an image there.
pub trait Cloud {
    /// Formats of artifacts that it takes, the best one first.
    fn formats(&self) -> &'static [&'static str];

    /// Checksums beside SHA-256 by which it knows a file.
    fn checksums(&self) -> &'static [Kind];

    /// Everything that has to be done. 78 where a parameter is missing or wrong, 64 where the target lacks a part.
    fn plan(&self, image: &Image, step: &crate::report::Step) -> Result<Plan>;
}

impl Target {
    /// The cloud behind it.
    pub fn open<'a>(&'a self, parameters: &'a Parameters) -> Box<dyn Cloud + 'a> {
        match self {
            Target::Aws { region, bucket } => {
                Box::new(aws::Aws { region, bucket: bucket.as_deref(), parameters: &parameters.aws })
            }
            Target::Azure { account, container } => {
                Box::new(azure::Azure { account, container, parameters: &parameters.azure })
            }
            Target::Gce { project, bucket } => Box::new(gce::Gce { project, bucket, parameters: &parameters.gce }),
            Target::Openstack { cloud } => Box::new(openstack::Openstack { cloud, parameters: &parameters.openstack }),
            Target::Registry { reference } => {
                Box::new(registry::Registry { reference, parameters: &parameters.registry })
            }
        }
    }
}

/// The artifact of the release that the target takes: the one called `named`, else the only one of the best format. 66
/// with the format to ask for where there is none.
pub fn choose<'a>(
    release: &'a Released,
    target: &Target,
    formats: &[&str],
    named: Option<&str>,
) -> Result<&'a ListedArtifact> {
    let there = || {
        let list: Vec<String> = release.artifacts.iter().map(|one| format!("{} ({})", one.name, one.format)).collect();
        if list.is_empty() { "nothing".to_string() } else { list.join(", ") }
    };
    if let Some(named) = named {
        let Some(artifact) = release.artifacts.iter().find(|artifact| artifact.name == named) else {
            return Err(Error::new(Exit::InputMissing, format!("the release has no {named}, but {}", there())));
        };
        if !formats.contains(&artifact.format.as_str()) {
            let (format, taken) = (&artifact.format, formats.join(", "));
            return Err(Error::new(Exit::Usage, format!("{named} is {format}, and what is taken there is {taken}")));
        }
        return Ok(artifact);
    }
    for format in formats {
        let of_it: Vec<_> = release.artifacts.iter().filter(|artifact| artifact.format == *format).collect();
        match of_it[..] {
            [] => {}
            [artifact] => return Ok(artifact),
            _ => {
                let names: Vec<&str> = of_it.iter().map(|artifact| artifact.name.as_str()).collect();
                return Err(Error::new(Exit::Usage, format!("the release has several: {}", names.join(", ")))
                    .hint("--artifact NAME says which one"));
            }
        }
    }
    let wanted = formats.first().copied().unwrap_or_default();
    let hint = match target {
        Target::Registry { .. } => format!("build it with image=\"{wanted}\" in the description's <type>"),
        _ => format!("build it with format=\"{wanted}\" in the description's <type>"),
    };
    let what = format!("{} takes {}, and the release has {}", target.cloud(), formats.join(" or "), there());
    Err(Error::new(Exit::InputMissing, what).hint(hint))
}

/// Reads the artifact and compares it with the manifest: 76 where it changed since, 66 where it is gone.
pub fn verify(
    release: &Released,
    artifact: &ListedArtifact,
    target: &Target,
    kinds: &[Kind],
    step: &crate::report::Step,
) -> Result<Image> {
    let path = release.folder.join(&artifact.name);
    // A pipe would be waited for without an end.
    if !file::is_file(&path) {
        return Err(Error::cannot(Exit::InputMissing, format!("read {}", path.display()))
            .because("manifest.json lists it, and no such file is there")
            .hint("build it again; nothing was published"));
    }
    step.total(artifact.size.0);
    let checksums = checksum::of(&path, kinds, step)?;
    if checksums.sha256 != artifact.sha256 || checksums.size != artifact.size.0 {
        return Err(Error::new(Exit::Integrity, format!("{} changed since the release was made", path.display()))
            .because(format!(
                "manifest.json: {} bytes, sha256 {}\nthe file:      {} bytes, sha256 {}",
                artifact.size.0, artifact.sha256, checksums.size, checksums.sha256
            ))
            .hint("build it again; nothing was published"));
    }
    let disk = match artifact.format.as_str() {
        "raw" | "qcow2" => format::open(&path)?.size().or_cannot(|| format!("read {}", path.display()))?,
        // Its footer is a sector.
        "vhd-fixed" => Bytes(artifact.size.0.saturating_sub(512)),
        _ => Bytes::ZERO,
    };
    Ok(Image {
        name: release.name.clone(),
        version: release.version.clone(),
        arch: release.arch.clone(),
        artifact: artifact.name.clone(),
        format: artifact.format.clone(),
        path,
        disk,
        key: attempt::key(&target.place(), &checksums.sha256),
        checksums,
    })
}

/// The plan as lines for a shell; what is only asked or repeated stands in comments.
pub fn lines(plan: &Plan, image: &Image) -> Vec<String> {
    let artifact = image.path.to_string_lossy();
    let learned = [("attempt".to_string(), format!("{}-<number>", image.key))].into();
    let mut lines = Vec::new();
    if let Some(find) = plan.steps.iter().find(|step| step.end == step::End::Image).and_then(|step| step.find.as_ref())
    {
        lines.push("# where this finds the image, it is there already:".into());
        lines.push(find.command.line(&artifact, &learned));
    }
    for step in &plan.steps {
        match &step.work {
            Work::Run { checks, .. } if !checks.is_empty() => {
                let names: Vec<&str> = checks.iter().map(|check| check.what.as_str()).collect();
                lines.push(format!("# compares {}:", names.join(", ")));
            }
            Work::Run { .. } => {}
            Work::Wait { until, .. } => lines.push(format!("# again and again until it says {}:", until.join(" or "))),
            Work::Count { what, wanted, .. } => lines.push(format!("# page by page, compares {what} with {wanted}:")),
            Work::Blocks { count, .. } => lines.push(format!("# for each of {count} blocks, several at a time:")),
        }
        lines.push(step.command().line(&artifact, &learned));
    }
    lines
}
