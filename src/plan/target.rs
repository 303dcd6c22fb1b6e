//! Where an image is meant to run, or to be kept.
//!
//! In: `<ingot:target cloud="..."/>`, `--for`, a format that only one cloud takes. Out: a [`Target`]. Never says what the
//! target wants of an image: that is `preflight`'s table.

use serde::{Deserialize, Serialize};

use super::selection::Selection;
use super::{Choices, Output, Warning};
use crate::bytes::Bytes;
use crate::description::Type;

/// A cloud, a hypervisor or a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Amazon EC2.
    Aws,
    /// Microsoft Azure.
    Azure,
    /// Google Compute Engine.
    Gce,
    /// OpenStack, with KVM.
    Openstack,
    /// VMware.
    Vmware,
    /// Hyper-V on a machine of one's own.
    Hyperv,
    /// libvirt and QEMU.
    Libvirt,
    /// A registry of container images.
    Registry,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 8] = [
        Target::Aws,
        Target::Azure,
        Target::Gce,
        Target::Openstack,
        Target::Vmware,
        Target::Hyperv,
        Target::Libvirt,
        Target::Registry,
    ];

    /// What the command line and descriptions call it.
    pub fn name(self) -> &'static str {
        match self {
            Target::Aws => "aws",
            Target::Azure => "azure",
            Target::Gce => "gce",
            Target::Openstack => "openstack",
            Target::Vmware => "vmware",
            Target::Hyperv => "hyperv",
            Target::Libvirt => "libvirt",
            Target::Registry => "registry",
        }
    }

    /// What the size of a disk has to be a multiple of.
    pub fn size_unit(self) -> Bytes {
        match self {
            Target::Aws | Target::Gce => Bytes::gib(1),
            Target::Azure | Target::Hyperv => Bytes::mib(1),
            Target::Vmware => Bytes::kib(64),
            Target::Openstack | Target::Libvirt | Target::Registry => Bytes::SECTOR,
        }
    }

    /// The target with this name.
    pub fn named(name: &str) -> Option<Target> {
        Target::ALL.into_iter().find(|target| target.name() == name)
    }
}

/// A target of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedTarget {
    /// Which one.
    pub target: Target,
    /// Whether anybody named it.
    pub demand: Demand,
}

/// Whether anybody named a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Demand {
    /// The description or the command line: an image that the target would refuse fails the build.
    Named,
    /// A format or a firmware of that target only: what the target would refuse is a warning.
    Implied,
}

/// The targets of an output, each once: containers go to registries, disks to all others. A target that takes no such
/// output is a warning.
pub fn targets(
    selection: &Selection<'_>,
    kind: &Type,
    output: &Output,
    choices: &Choices,
    warnings: &mut Vec<Warning>,
) -> Vec<PlannedTarget> {
    let extensions = selection.extensions.iter().filter(|extension| extension.name == "target");
    let described = extensions.filter_map(|extension| extension.attributes.get("cloud"));
    let mut named: Vec<Target> =
        described.filter_map(|cloud| Target::named(cloud)).chain(choices.targets.iter().copied()).collect();
    named.sort();
    named.dedup();
    let implied = match output {
        Output::Disk(disk) => {
            let has = |name: &str| disk.formats.iter().any(|format| format.name == name);
            let ec2 = kind.get("firmware").is_some_and(|firmware| firmware.as_str() == "ec2");
            [(Target::Aws, ec2), (Target::Azure, has("vhd-fixed")), (Target::Gce, has("gce"))]
                .into_iter()
                .filter(|(target, implied)| *implied && !named.contains(target))
                .map(|(target, _)| PlannedTarget { target, demand: Demand::Implied })
                .collect()
        }
        _ => Vec::new(),
    };
    let fits = |target: &Target| match output {
        Output::Disk(_) => *target != Target::Registry,
        Output::Container(_) => *target == Target::Registry,
        Output::RootTarball => false,
    };
    for target in named.iter().filter(|target| !fits(target)) {
        let text =
            format!("target {} is ignored: it does not take what image=\"{}\" makes", target.name(), kind.image.value);
        warnings.push(Warning { text, place: Some(kind.image.span.place()) });
    }
    let named = named.into_iter().filter(fits).map(|target| PlannedTarget { target, demand: Demand::Named });
    named.chain(implied).collect()
}
