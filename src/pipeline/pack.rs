//! From the scrubbed tree to the files that are shipped, read back and audited.
//!
//! In: a [`ScrubbedTree`]. Out: artifacts in the order's folder. Never leaves one unread: what a disk's file systems or a layer
//! hold is looked at once more, in the form in which it ships.

use std::panic::resume_unwind;
use std::path::PathBuf;

use super::Order;
use super::foresight::Foreseen;
use super::images::with_room;
use super::pieces::{of_container, with_pieces};
use crate::audit::Layers;
use crate::container::{self, Base};
use crate::error::Result;
use crate::format::{self, Identity};
use crate::pieces::Pieces;
use crate::plan::{FormatChoice, Output, Plan};
use crate::release::Artifact;
use crate::report::Reporter;
use crate::scrub::{self, ScrubbedTree, Standard};
use crate::{audit, disk, host};

/// What [`pack`] made.
pub(super) struct Packed<'a> {
    /// In the order of the formats.
    pub artifacts: Vec<Artifact>,
    /// Members of a container's archive that another build made.
    pub inherited: Vec<String>,
    /// What was not read back yet.
    pub to_audit: Option<ToAudit<'a>>,
}

/// A packed artifact that nobody has looked at as a whole.
pub(super) struct ToAudit<'a> {
    path: PathBuf,
    /// What was seen of it while it was written.
    layers: Option<Layers<'a>>,
}

/// What was packed is read back and audited once more. What a base ships (`inherited`) is not of this build: whoever made it
/// answers for it.
pub(super) fn audit_packed(
    ToAudit { path, layers }: ToAudit<'_>,
    inherited: &[String],
    standard: Standard<'_>,
    order: &Order,
    reporter: &Reporter,
) -> Result<()> {
    // Written back while it is read: publishing has little left to wait for.
    host::file::begin_to_sync(&path);
    let step = reporter.step("audit");
    let report = match layers {
        Some(layers) => audit::audit_rest(&path, inherited, layers, &order.work_dir, &step)?,
        None => audit::audit_own(&path, inherited, &order.work_dir, standard, &step)?,
    };
    scrub::refuse_leftovers(&report)?;
    step.finish(&format!("{} files read back: nothing left", report.files));
    Ok(())
}

/// From the scrubbed tree to the files that are shipped. A disk is audited while its formats are written.
pub(super) fn pack<'a>(
    plan: &Plan,
    tree: &ScrubbedTree,
    base: Option<&Base>,
    foreseen: Option<Foreseen>,
    standard: Standard<'a>,
    order: &Order,
    reporter: &Reporter,
) -> Result<Packed<'a>> {
    let (folder, stem) = (order.folder.as_path(), plan.image.stem());
    let artifact = match &plan.output {
        Output::Disk(disk) => {
            let disk = &with_room(plan, disk, tree.tree(), reporter)?;
            let raw = disk::write(tree, disk, &folder.join(".disk.raw"), reporter)?;
            let identity = Identity {
                seed: plan.seed,
                epoch: tree.epoch(),
                name: plan.image.display_name.clone(),
                stem: stem.clone(),
                folder: plan.description_dir.clone(),
            };
            let write = |choice: &FormatChoice| {
                let step = reporter.step("format");
                let options = choice.options.iter().map(|(key, value)| format!(" {key}={value}"));
                let what = format!("{}{}", choice.name, options.collect::<String>());
                let artifact = with_pieces(&what, plan, order, reporter, None, |pieces| {
                    format::write(choice, &raw, &identity, folder, &stem, pieces, &step)
                })?;
                host::file::begin_to_sync(&folder.join(&artifact.name));
                step.finish(&format!("{}, {}", artifact.format, artifact.size));
                Ok(artifact)
            };
            let to_audit = ToAudit { path: raw.path().to_path_buf(), layers: None };
            // All formats hold the same disk.
            return std::thread::scope(|scope| {
                let audited = scope.spawn(|| audit_packed(to_audit, &[], standard, order, reporter));
                let artifacts: Result<Vec<Artifact>> = disk.formats.iter().map(write).collect();
                audited.join().unwrap_or_else(|panic| resume_unwind(panic))?;
                let mut artifacts = artifacts?;
                if let (Some(container), Some(last)) = (&disk.container, artifacts.last()) {
                    let path = folder.join(&last.name);
                    let image =
                        container::Order { disk: Some(&path), tree, plan: container, image: &plan.image, base: None };
                    let step = reporter.step("container");
                    // The disk was audited, and is compressed already.
                    let written = container::write(&image, folder, &stem, &mut Pieces::ignored(), None, &step)?;
                    step.finish(&format!("{}, {}", written.artifact.format, written.artifact.size));
                    artifacts.push(written.artifact);
                }
                Ok(Packed { artifacts, inherited: Vec::new(), to_audit: None })
            });
        }
        Output::Container(container) => {
            let step = reporter.step("container");
            let image = container::Order { tree, plan: container, image: &plan.image, base, disk: None };
            let mut inherited = Vec::new();
            let foreseen = foreseen.filter(|foreseen| foreseen.how == container.compression);
            let foreseen = foreseen.map(|foreseen| foreseen.search);
            let what = of_container(container.compression);
            let layers = Layers::new(standard);
            let artifact = with_pieces(what, plan, order, reporter, foreseen, |pieces| {
                let written = container::write(&image, folder, &stem, pieces, Some(&layers), &step)?;
                inherited = written.inherited;
                Ok(written.artifact)
            })?;
            step.finish(&format!("{}, {}", artifact.format, artifact.size));
            let to_audit = Some(ToAudit { path: folder.join(&artifact.name), layers: Some(layers) });
            return Ok(Packed { artifacts: vec![artifact], inherited, to_audit });
        }
        Output::RootTarball => {
            let step = reporter.step("container");
            let artifact = container::write_root_tarball(tree, folder, &stem, &step)?;
            step.finish(&format!("{}, {}", artifact.format, artifact.size));
            artifact
        }
    };
    let to_audit = Some(ToAudit { path: folder.join(&artifact.name), layers: None });
    Ok(Packed { artifacts: vec![artifact], inherited: Vec::new(), to_audit })
}
