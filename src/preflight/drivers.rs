//! Rules about drivers: what the target's disks and network need, and where the image has it.
//!
//! In: initrds, modules.builtin and /lib/modules. Out: what the rules make of it. A disk's driver is needed before the
//! root filesystem is mounted; a network's may come from there.

use std::collections::BTreeSet;

use super::command_line::{BootEntry, resolve};
use super::evidence::{Evidence, FileEvidence, no_root};
use super::files::Files;
use super::initrd::{self, Initrd};
use super::pe;
use super::rule::Outcome;
use crate::plan::Target;

/// All groups are needed, and one of each group is enough.
type Wanted = &'static [&'static [&'static str]];

fn disk_drivers(target: Target) -> Wanted {
    match target {
        // Nitro's volumes are NVMe devices; instances of Xen are not started from new images.
        Target::Aws => &[&["nvme"]],
        Target::Azure | Target::Hyperv => &[&["hv_vmbus"], &["hv_storvsc"]],
        Target::Gce => &[&["virtio_pci"], &["virtio_scsi"]],
        Target::Openstack => &[&["virtio_pci"], &["virtio_blk", "virtio_scsi"]],
        Target::Vmware => &[&["vmw_pvscsi", "mptspi", "ahci", "nvme"]],
        Target::Libvirt => &[&["virtio_pci", "ahci", "ata_piix"], &["virtio_blk", "virtio_scsi", "ahci", "ata_piix"]],
        Target::Registry => &[],
    }
}

/// Newer machines of a target use these; older ones do not.
fn newer_disk_drivers(target: Target) -> Wanted {
    match target {
        Target::Azure | Target::Gce => &[&["nvme"]],
        _ => &[],
    }
}

fn network_drivers(target: Target) -> Wanted {
    match target {
        Target::Aws => &[&["ena"]],
        Target::Azure | Target::Hyperv => &[&["hv_netvsc"]],
        Target::Gce => &[&["virtio_net", "gve"]],
        Target::Openstack => &[&["virtio_net"]],
        Target::Vmware => &[&["vmxnet3", "e1000", "e1000e"]],
        Target::Libvirt => &[&["virtio_net", "e1000", "e1000e"]],
        Target::Registry => &[],
    }
}

fn newer_network_drivers(target: Target) -> Wanted {
    match target {
        Target::Gce => &[&["gve"]],
        _ => &[],
    }
}

/// What a kernel has of drivers.
struct Drivers {
    /// The kernel's version.
    version: String,
    /// modules.builtin of that version.
    builtin: BTreeSet<String>,
    /// Modules in /lib/modules of that version.
    in_root: BTreeSet<String>,
    /// All initrds of the entry together.
    initrd: Initrd,
    /// Their names.
    names: String,
}

impl Drivers {
    fn of(entry: &BootEntry, files: &Files) -> Drivers {
        let mut initrd = Initrd::default();
        let mut add = |found: Initrd| {
            initrd.modules.extend(found.modules);
            initrd.versions.extend(found.versions);
            initrd.entries += found.entries;
            initrd.has_init |= found.has_init;
            initrd.unread = initrd.unread.take().or(found.unread);
        };
        for name in &entry.initrds {
            match resolve(files, name) {
                Some((_, seen)) if seen.is_whole() => add(initrd::read(&seen.content)),
                Some(_) => add(Initrd { unread: Some("it is larger than what is read".into()), ..Initrd::default() }),
                None => {}
            }
        }
        if entry.kernel.is_empty()
            && let Some(image) = files.file(&entry.from)
            && let Some(sections) = pe::sections(&image.content)
            && let Some(content) = pe::section(&image.content, &sections, ".initrd")
        {
            add(initrd::read(content));
        }
        let version = version(entry, files, &initrd);
        let folder = ["/usr/lib/modules", "/lib/modules"].map(|folder| format!("{folder}/{version}"));
        let folder = folder.into_iter().find(|folder| files.exists(folder)).unwrap_or_default();
        let builtin = files.text(format!("{folder}/modules.builtin"));
        let builtin = builtin.lines().filter_map(|line| initrd::module(line.as_bytes())).collect();
        let in_root = match folder.is_empty() {
            true => BTreeSet::new(),
            false => files.below(&folder).filter_map(|(path, _)| initrd::module(path.as_bytes())).collect(),
        };
        let names = if entry.initrds.is_empty() { entry.from.clone() } else { entry.initrds.join(", ") };
        Drivers { version, builtin, in_root, initrd, names }
    }

    fn early(&self, name: &str) -> bool {
        self.builtin.contains(name) || self.initrd.modules.contains(name)
    }

    fn at_all(&self, name: &str) -> bool {
        self.early(name) || self.in_root.contains(name)
    }
}

/// Behind the dash of the kernel's name; else the only one that the initrd or the image has modules of.
fn version(entry: &BootEntry, files: &Files, initrd: &Initrd) -> String {
    let real = resolve(files, &entry.kernel).map(|(path, _)| path.to_string()).unwrap_or(entry.kernel.clone());
    let name = real.rsplit('/').next().unwrap_or_default();
    let named = name.split_once('-').map(|(_, version)| version.to_string());
    let has = |version: &String| {
        ["/usr/lib/modules", "/lib/modules"].iter().any(|folder| files.exists(format!("{folder}/{version}")))
    };
    let folders = files.below("/usr/lib/modules").chain(files.below("/lib/modules"));
    let first = folders.map(|(path, _)| path).find(|path| path.parent().name() == b"modules");
    named
        .clone()
        .filter(has)
        .or(initrd.versions.first().cloned())
        .or(named)
        .unwrap_or_else(|| first.map(|path| String::from_utf8_lossy(path.name()).into_owned()).unwrap_or_default())
}

/// The entries to judge: the first of each kernel, with what is known of it.
fn drivers(evidence: &Evidence) -> Result<(&FileEvidence, Drivers), Vec<Outcome>> {
    let found = evidence.files.as_ref().map_err(Outcome::unknown)?;
    let Some(entry) = found.boot.first() else {
        return Err(Outcome::unknown("no boot loader's configuration names a kernel"));
    };
    Ok((found, Drivers::of(entry, &found.files)))
}

/// The rule `disk-drivers`.
pub fn disk(evidence: &Evidence, target: Target) -> Vec<Outcome> {
    let (found, drivers) = match drivers(evidence) {
        Ok(found) => found,
        Err(outcome) => return outcome,
    };
    let missing = |group: &&[&str]| !group.iter().any(|name| drivers.early(name));
    let lacking: Vec<_> = disk_drivers(target).iter().copied().filter(|group| missing(group)).collect();
    let newer: Vec<_> = newer_disk_drivers(target).iter().copied().filter(|group| missing(group)).collect();
    if lacking.is_empty() && newer.is_empty() {
        return Outcome::good(present(disk_drivers(target), &drivers));
    }
    if let Some(why) = &drivers.initrd.unread {
        return Outcome::unknown(format!("{}: {why}", drivers.names));
    }
    if drivers.builtin.is_empty() && !found.has_root {
        return Outcome::unknown(format!("modules.builtin is not read: {}", no_root(&found.unread)));
    }
    let say = |group: &[&str]| {
        let names = group.join(" or ");
        match group.iter().find(|name| drivers.in_root.contains(**name)) {
            Some(module) => (
                format!("{names} is not in {}, only in /lib/modules/{}", drivers.names, drivers.version),
                format!(
                    "add {module} to /etc/initramfs-tools/modules, or add_drivers+=\" {module} \" to dracut.conf.d"
                ),
            ),
            None => (
                format!("Linux {} has no {names}, neither as module nor built in", drivers.version),
                "install a kernel that has it (a -cloud or -generic one)".to_string(),
            ),
        }
    };
    let bad = lacking.iter().map(|group| say(group)).map(|(evidence, remedy)| Outcome::Bad { evidence, remedy });
    let note = newer
        .iter()
        .map(|group| say(group))
        .map(|(evidence, remedy)| Outcome::Note { evidence: format!("{evidence}: newer machines need it"), remedy });
    bad.chain(note).collect()
}

/// The rule `network-drivers`.
pub fn network(evidence: &Evidence, target: Target) -> Vec<Outcome> {
    let (found, drivers) = match drivers(evidence) {
        Ok(found) => found,
        Err(outcome) => return outcome,
    };
    if !found.has_root {
        return Outcome::unknown(format!("/lib/modules is not read: {}", no_root(&found.unread)));
    }
    let missing = |group: &&[&str]| !group.iter().any(|name| drivers.at_all(name));
    let lacking = network_drivers(target).iter().filter(|group| missing(group));
    let newer = newer_network_drivers(target).iter().filter(|group| missing(group));
    let evidence = |group: &[&str]| format!("Linux {} has no {}", drivers.version, group.join(" or "));
    let remedy = || "install a kernel that has it (a -cloud or -generic one)".to_string();
    let bad = lacking.map(|group| Outcome::Bad { evidence: evidence(group), remedy: remedy() });
    let note = newer.map(|group| Outcome::Note {
        evidence: format!("{}: newer machines need it", evidence(group)),
        remedy: remedy(),
    });
    let mut outcomes: Vec<Outcome> = bad.chain(note).collect();
    if outcomes.is_empty() {
        outcomes = Outcome::good(present(network_drivers(target), &drivers));
    }
    outcomes
}

/// `nvme in /boot/initrd.img-6.1, virtio_pci built in`.
fn present(groups: Wanted, drivers: &Drivers) -> String {
    let place = |name: &str| match () {
        () if drivers.initrd.modules.contains(name) => format!("{name} in {}", drivers.names),
        () if drivers.builtin.contains(name) => format!("{name} built in"),
        () => format!("{name} in /lib/modules/{}", drivers.version),
    };
    let names = groups.iter().filter_map(|group| group.iter().find(|name| drivers.at_all(name)));
    names.map(|name| place(name)).collect::<Vec<_>>().join(", ")
}

/// What is wrong with the initrds of an entry.
pub(super) fn initrd_problem(entry: &BootEntry, files: &Files) -> Option<String> {
    let drivers = Drivers::of(entry, files);
    if entry.initrds.is_empty() && !entry.kernel.is_empty() {
        return None;
    }
    match drivers.initrd.unread {
        Some(why) => Some(format!("{}: {why}", drivers.names)),
        None if !drivers.initrd.has_init => Some(format!("{} has no init", drivers.names)),
        None => None,
    }
}
