//! The table of rules: which target wants what of an image.
//!
//! In: [`Evidence`] of an artifact. Out: what each rule makes of it. A rule is a row and a function; docs/clouds.md shows
//! the same table, and a test holds that it does. Never reads the artifact itself.

use serde::Serialize;

use super::evidence::Evidence;
use super::{boot, container, drivers, envelope, network, system};
use crate::plan::Target;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The target would refuse the image, or it would not work there.
    Refuse,
    /// It works, and something that one expects there does not.
    Warn,
}

/// What a rule makes of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds, by this evidence.
    Good(String),
    /// It does not.
    Bad {
        /// What was found.
        evidence: String,
        /// What to do.
        remedy: String,
    },
    /// It holds, and something should be known; never more than a warning.
    Note {
        /// What was found.
        evidence: String,
        /// What to do.
        remedy: String,
    },
    /// It cannot be said, for this reason.
    Unknown(String),
}

impl Outcome {
    pub(super) fn good(evidence: impl Into<String>) -> Vec<Outcome> {
        vec![Outcome::Good(evidence.into())]
    }

    pub(super) fn bad(evidence: impl Into<String>, remedy: impl Into<String>) -> Vec<Outcome> {
        vec![Outcome::Bad { evidence: evidence.into(), remedy: remedy.into() }]
    }

    pub(super) fn note(evidence: impl Into<String>, remedy: impl Into<String>) -> Vec<Outcome> {
        vec![Outcome::Note { evidence: evidence.into(), remedy: remedy.into() }]
    }

    pub(super) fn unknown(why: impl Into<String>) -> Vec<Outcome> {
        vec![Outcome::Unknown(why.into())]
    }
}

/// A row of the table.
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// What it asks for, in a sentence without a full stop.
    pub about: &'static str,
    /// Targets that an image that fails it is refused for.
    pub refuse: &'static [Target],
    /// Targets that it is a warning for.
    pub warn: &'static [Target],
    /// What it makes of it.
    pub check: fn(&Evidence, Target) -> Vec<Outcome>,
}

impl Rule {
    /// How much it matters to a target; `None`: nothing.
    pub fn severity(&self, target: Target) -> Option<Severity> {
        match target {
            target if self.refuse.contains(&target) => Some(Severity::Refuse),
            target if self.warn.contains(&target) => Some(Severity::Warn),
            _ => None,
        }
    }
}

use Target::{Aws, Azure, Gce, Hyperv, Libvirt, Openstack, Registry, Vmware};

const DISKS: &[Target] = &[Aws, Azure, Gce, Openstack, Vmware, Hyperv, Libvirt];
const CLOUDS: &[Target] = &[Aws, Azure, Gce, Openstack];
const OWN_MACHINES: &[Target] = &[Vmware, Hyperv, Libvirt];
const NONE: &[Target] = &[];

/// The rule that says whether the others have a meaning.
pub const FORMAT: &str = "format";

/// The table.
pub const RULES: &[Rule] = &[
    Rule {
        name: FORMAT,
        about: "The target takes the format",
        refuse: &Target::ALL,
        warn: NONE,
        check: envelope::format,
    },
    Rule {
        name: "envelope",
        about: "Header, footer or archive around the disk are sound",
        refuse: DISKS,
        warn: NONE,
        check: envelope::sound,
    },
    Rule {
        name: "backing-file",
        about: "The image refers to no other file",
        refuse: DISKS,
        warn: NONE,
        check: envelope::alone,
    },
    Rule {
        name: "size",
        about: "The disk's size is one that the target takes",
        refuse: DISKS,
        warn: NONE,
        check: envelope::size,
    },
    Rule {
        name: "contents",
        about: "The disk and its root filesystem can be read by this check",
        refuse: DISKS,
        warn: NONE,
        check: envelope::contents,
    },
    Rule {
        name: "partition-table",
        about: "The partition table is valid, and all partitions lie on the disk",
        refuse: DISKS,
        warn: NONE,
        check: boot::table,
    },
    Rule {
        name: "backup-gpt",
        about: "A GPT has its backup at the end of the disk, the same as the primary one",
        refuse: DISKS,
        warn: NONE,
        check: boot::backup,
    },
    Rule {
        name: "boot-loader",
        about: "A BIOS or UEFI finds a boot loader without being told where",
        refuse: DISKS,
        warn: NONE,
        check: boot::loader,
    },
    Rule {
        name: "boot-mode",
        about: "The disk starts from both BIOS and UEFI",
        refuse: NONE,
        warn: DISKS,
        check: boot::mode,
    },
    Rule {
        name: "secure-boot",
        about: "What UEFI starts is signed",
        refuse: NONE,
        warn: &[Azure, Gce, Hyperv],
        check: boot::signed,
    },
    Rule {
        name: "kernel",
        about: "The boot loader's configuration names a kernel and an initrd that are there",
        refuse: DISKS,
        warn: NONE,
        check: boot::kernel,
    },
    Rule {
        name: "disk-drivers",
        about: "The drivers of the target's disks are in the initrd or built into the kernel",
        refuse: DISKS,
        warn: NONE,
        check: drivers::disk,
    },
    Rule {
        name: "network-drivers",
        about: "The image has the drivers of the target's network",
        refuse: CLOUDS,
        warn: OWN_MACHINES,
        check: drivers::network,
    },
    Rule {
        name: "console",
        about: "The kernel writes to the serial console",
        refuse: NONE,
        warn: &[Aws, Azure, Gce, Openstack, Hyperv, Libvirt],
        check: boot::console,
    },
    Rule {
        name: "device-names",
        about: "fstab and the kernel's command line name no /dev/sda, which other machines call otherwise",
        refuse: CLOUDS,
        warn: OWN_MACHINES,
        check: boot::device_names,
    },
    Rule {
        name: "network",
        about: "A wired interface of any name asks for an address",
        refuse: CLOUDS,
        warn: OWN_MACHINES,
        check: network::network,
    },
    Rule {
        name: "agent",
        about: "What the target configures an instance with is there",
        refuse: &[Azure],
        warn: &[Aws, Gce, Openstack, Vmware, Hyperv, Libvirt],
        check: system::agent,
    },
    Rule {
        name: "login",
        about: "Somebody can get in: an SSH server that starts, and keys that come from the target",
        refuse: NONE,
        warn: DISKS,
        check: system::login,
    },
    Rule {
        name: "ssh-host-keys",
        about: "An SSH server that starts gets host keys at first boot",
        refuse: CLOUDS,
        warn: OWN_MACHINES,
        check: system::host_keys,
    },
    Rule {
        name: "grow",
        about: "The root filesystem grows to its disk",
        refuse: NONE,
        warn: DISKS,
        check: system::grow,
    },
    Rule {
        name: "swap",
        about: "No swap on the disk of the system, where it wears out network storage",
        refuse: NONE,
        warn: &[Azure],
        check: system::swap,
    },
    Rule {
        name: "leftovers",
        about: "No identity, key, history or secret: what `ingot audit` looks for",
        refuse: &Target::ALL,
        warn: NONE,
        check: system::leftovers,
    },
    Rule {
        name: "container-index",
        about: "Manifest, configuration and layers are there and have the digests that name them",
        refuse: &[Registry],
        warn: NONE,
        check: container::index,
    },
    Rule {
        name: "container-config",
        about: "The configuration names a system, an architecture and the digest of each unpacked layer",
        refuse: &[Registry],
        warn: NONE,
        check: container::config,
    },
    Rule {
        name: "layers",
        about: "An image has fewer than 127 layers",
        refuse: &[Registry],
        warn: NONE,
        check: container::layers,
    },
];
