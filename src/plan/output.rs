//! What is written: a disk, a container or a packed tree, with every default filled in.
//!
//! In: nothing; these are the types that `disk` and `container` of the plan fill. Out: the same, printable as JSON.
//! Never holds a way of making them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Uuid;
use crate::bytes::Bytes;
use crate::error::Place;

/// What is written.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Output {
    /// `oem`.
    Disk(Box<DiskPlan>),
    /// `docker`, `oci`.
    Container(Box<ContainerPlan>),
    /// `tbz`: the tree as `.tar.xz`.
    RootTarball,
}

/// A disk.
#[derive(Clone, Debug, Serialize)]
pub struct DiskPlan {
    /// Architecture as `uname -m` says it: it decides the root partition's type and GRUB's platforms.
    pub arch: String,
    /// GPT or MBR.
    pub table: PartitionTable,
    /// GPT disk GUID; for MBR its first four bytes are the disk signature.
    pub disk_id: Uuid,
    /// Which firmware can start it.
    pub firmware: Firmware,
    /// Partitions in the order of their numbers. Exactly one is [`Role::Root`], the last one.
    pub partitions: Vec<Partition>,
    /// How large the disk becomes.
    pub size: DiskSize,
    /// The disk's size is a multiple of this, unless `<size>` says another one.
    #[serde(skip_serializing_if = "is_usual")]
    pub unit: Bytes,
    /// `<size unpartitioned>`: bytes left free at the end of the disk.
    pub unpartitioned: Bytes,
    /// GRUB and the kernel's command line.
    pub boot: BootPlan,
    /// `oem-resize`: the root filesystem grows to the disk's size at first boot.
    pub grow_root: GrowRoot,
    /// Which files are written: always `raw` or one of the others.
    pub formats: Vec<FormatChoice>,
    /// `format="oci:FORMAT"`, `"docker:FORMAT"`: the container that holds the last of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Box<ContainerPlan>>,
    /// How partitions are named in fstab and on the kernel's command line.
    pub persistency: Persistency,
}

impl DiskPlan {
    /// What KIWI calls `editbootconfig` with: the root filesystem's kind and the number of the partition that GRUB's files
    /// are in.
    pub fn boot_arguments(&self) -> Vec<String> {
        let with = |role| self.partitions.iter().find(|partition| partition.role == role);
        let kind =
            with(Role::Root).and_then(|partition| partition.filesystem.as_ref()).map(|filesystem| filesystem.kind);
        let number = with(Role::Boot).or(with(Role::Root)).map(|partition| partition.number);
        let kind = match kind {
            Some(FilesystemKind::Ext2) => "ext2",
            Some(FilesystemKind::Ext3) => "ext3",
            Some(FilesystemKind::Ext4) | None => "ext4",
            Some(FilesystemKind::Vfat) => "vfat",
            Some(FilesystemKind::Swap) => "swap",
        };
        vec![kind.to_string(), number.unwrap_or_default().to_string()]
    }
}

/// What every disk's size is a multiple of.
pub const USUAL_UNIT: Bytes = Bytes::mib(1);

fn is_usual(unit: &Bytes) -> bool {
    *unit == USUAL_UNIT
}

/// A partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionTable {
    /// GUID partition table with a protective MBR.
    Gpt,
    /// MBR, up to four primary partitions.
    Msdos,
}

/// Which firmware can start a disk; several at once are possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// BIOS through the MBR and, on GPT, a BIOS boot partition.
    pub bios: Support,
    /// UEFI through the removable-media path on the ESP.
    pub uefi: Support,
    /// Signed shim and GRUB of the distribution on the ESP (`firmware="uefi"`, where the image has the packages).
    pub secure_boot: Support,
}

/// Whether something is supported by the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Support {
    /// Not.
    No,
    /// Yes.
    Yes,
    /// If the packages for it are in the image.
    WherePossible,
}

/// A partition.
#[derive(Clone, Debug, Serialize)]
pub struct Partition {
    /// 1-based number in the table.
    pub number: u32,
    /// GPT name (`p.legacy`, `p.UEFI`, `p.lxroot`, as KIWI names them).
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Offset on the disk.
    pub start: Bytes,
    /// How long it is.
    pub size: PartitionSize,
    /// GPT partition GUID.
    pub uuid: Uuid,
    /// What is in it.
    pub filesystem: Option<Filesystem>,
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// GRUB's core image (GPT type 21686148-...).
    BiosBoot,
    /// EFI system partition.
    Esp,
    /// `/boot`.
    Boot,
    /// Swap.
    Swap,
    /// `/`.
    Root,
}

/// How long a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionSize {
    /// Exactly so many bytes.
    Fixed(Bytes),
    /// As the content and [`DiskSize`] ask.
    ToFit,
}

/// A filesystem in a partition.
#[derive(Clone, Debug, Serialize)]
pub struct Filesystem {
    /// Which one.
    pub kind: FilesystemKind,
    /// Volume label.
    pub label: String,
    /// Filesystem UUID; for FAT its first four bytes are the volume id.
    pub uuid: Uuid,
    /// Where it is mounted, absolute; `none` for swap.
    pub mount_point: String,
    /// Mount options for fstab, default `defaults`.
    pub mount_options: Vec<String>,
    /// `fscreateoptions`, words for mkfs.
    pub create_options: Vec<String>,
}

/// Kinds of filesystems that this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilesystemKind {
    /// ext4.
    Ext4,
    /// ext3.
    Ext3,
    /// ext2.
    Ext2,
    /// FAT, 16 or 32 by size.
    Vfat,
    /// Swap.
    Swap,
}

/// How large the disk becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskSize {
    /// The content, plus the documented headroom.
    ToFit,
    /// `<size>`: the whole disk is so many bytes.
    Exactly(Bytes),
    /// `<size additive="true">`: the content and so many free bytes.
    ContentPlus(Bytes),
}

/// Boot loader and kernel command line.
#[derive(Clone, Debug, Serialize)]
pub struct BootPlan {
    /// `<bootloader timeout>` in seconds.
    pub timeout: u32,
    /// `<bootloader timeout_style>`.
    pub timeout_style: TimeoutStyle,
    /// GRUB `terminal_input`/`terminal_output` words (`console`, `serial`), from `output_console`, `input_console`.
    pub output_terminals: Vec<String>,
    /// See `output_terminals`.
    pub input_terminals: Vec<String>,
    /// `serial_line`: arguments of GRUB's `serial` command.
    pub serial: Option<String>,
    /// `kernelcmdline`, verbatim.
    pub command_line: String,
    /// Whether an initrd is made (`initrd_system`).
    pub initrd: Initrd,
    /// `<bootloader>` with `name="none"`-like choices never get here: grub2 is the only loader of this version.
    pub title: String,
}

/// `initrd_system`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initrd {
    /// With whichever of initramfs-tools and dracut the image has; neither is an error.
    Automatic,
    /// `dracut`: with dracut, which the image must have.
    Dracut,
    /// `none`: the kernel mounts the root filesystem itself.
    None,
}

/// GRUB's `timeout_style`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeoutStyle {
    /// Show the menu.
    Menu,
    /// Show a countdown.
    Countdown,
    /// Show nothing.
    Hidden,
}

/// Whether the root filesystem grows at first boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrowRoot {
    /// Stays as it is.
    No,
    /// Grows to the disk's end, by means that the image has (systemd-repart and growfs, or ours).
    AtFirstBoot,
    /// `oem-systemsize`: grows, but its partition does not become larger than this. One that is larger stays as it is.
    UpTo(Bytes),
}

/// A disk format and its options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FormatChoice {
    /// Row of `format`'s table: `raw`, `qcow2`, ...
    pub name: String,
    /// `formatoptions`, `key=value`.
    pub options: BTreeMap<String, String>,
}

/// `devicepersistency`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persistency {
    /// `UUID=`.
    Uuid,
    /// `LABEL=`.
    Label,
    /// `PARTUUID=`.
    PartUuid,
}

/// A container image.
#[derive(Clone, Debug, Serialize)]
pub struct ContainerPlan {
    /// The archive's form.
    pub archive: ContainerArchive,
    /// `<containerconfig name>`.
    pub name: String,
    /// `<containerconfig tag>`.
    pub tag: String,
    /// `additionalnames`, each a full `name:tag`.
    pub additional_names: Vec<String>,
    /// `maintainer`, else `<author> <contact>`.
    pub author: String,
    /// `user`.
    pub user: Option<String>,
    /// `workingdir`.
    pub working_dir: Option<String>,
    /// `<entrypoint>`; empty list: cleared.
    pub entrypoint: Option<Vec<String>>,
    /// `<subcommand>`; empty list: cleared. KIWI's default `/bin/bash` is filled in already.
    pub command: Option<Vec<String>>,
    /// `<expose>`: `80/tcp`.
    pub ports: Vec<String>,
    /// `<volumes>`.
    pub volumes: Vec<String>,
    /// `<environment>`, in order.
    pub environment: Vec<(String, String)>,
    /// `<labels>`.
    pub labels: BTreeMap<String, String>,
    /// `<stopsignal>`.
    pub stop_signal: Option<String>,
    /// `<history>`.
    pub history: History,
    /// `derived_from`: the images whose layers lie below, the lowest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<BasePlan>,
    /// How the files are divided into layers.
    pub layers: LayerSplit,
    /// How new layers are compressed.
    pub compression: LayerCompression,
    /// Annotations of the manifest (`<ingot:annotation>`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image that a container is built on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BasePlan {
    /// As the description writes it.
    pub written: String,
    /// Where it is.
    pub source: ImageAddress,
    /// `<ingot:base digest>`: what it must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Option<Place>,
}

/// Where a container image is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageAddress {
    /// A Docker archive, an OCI layout in a tar or in a folder on this host.
    Local {
        /// Which file or folder.
        path: PathBuf,
        /// Which image of it, where it holds several.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// What skopeo fetches: `docker://registry/name:tag`, `containers-storage:name`.
    Fetched(String),
}

/// How files are divided into layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerSplit {
    /// One layer holds everything.
    One,
    /// What changes together is together: packages by their source, what the description adds on top.
    Packages {
        /// No more new layers than this.
        most: u32,
    },
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerCompression {
    /// gzip, which everything reads.
    #[default]
    Gzip,
    /// Zstandard: smaller and quicker to unpack.
    Zstd,
    /// Not at all.
    None,
}

impl ContainerPlan {
    /// Every `name:tag` that the image has, each once, its own first.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![format!("{}:{}", self.name, self.tag)];
        for name in &self.additional_names {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

/// `<history>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// `author`.
    pub author: Option<String>,
    /// `created_by`.
    pub created_by: Option<String>,
    /// The element's text.
    pub comment: Option<String>,
}

/// The form of a container archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerArchive {
    /// `docker save`'s form: NAME.docker.tar.
    Docker,
    /// An OCI image layout: NAME.oci.tar.
    Oci,
}
