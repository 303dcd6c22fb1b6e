//! `format`, `<machine>` and `<vagrantconfig>` to the files that hold a disk.
//!
//! In: a checked `<type>`. Out: formats with their options. Never knows which options a format takes: `format` checks them.

use std::collections::BTreeMap;

use super::{ContainerArchive, FormatChoice, Support, Warning};
use crate::description::xml::Node;
use crate::description::{Problem, Problems, Spanned, Type, shown};

/// Formats that are written; a test of the schema holds that it says the same.
const FORMATS: &[&str] = &["qcow2", "vhd", "vhd-fixed", "vhdx", "vmdk", "vdi", "gce", "ova", "vagrant"];
/// Those that virtual machines take out of a container (KubeVirt, "Container disks").
const IN_CONTAINERS: &[&str] = &["raw", "qcow2"];
/// Formats that say something of the machine.
const OF_MACHINES: &[&str] = &["vmdk", "ova"];
/// `(format, attribute, option)`: options of a format that have an attribute of their own.
const OF_FORMATS: &[(&str, &str, &str)] = &[("vhd-fixed", "vhdfixedtag", "tag"), ("gce", "gcelicense", "license")];
/// `(attribute of <machine>, option)`.
const OF_MACHINE: &[(&str, &str)] =
    &[("memory", "memory"), ("ncpus", "ncpus"), ("HWversion", "hwversion"), ("guestOS", "guest_os")];

type Options = BTreeMap<String, String>;

/// The files of a disk, `raw` first. `bios` says whether a BIOS can start it.
pub fn choices(kind: &Type, bios: Support, problems: &mut Problems, warnings: &mut Vec<Warning>) -> Vec<FormatChoice> {
    Maker { kind, bios, problems, warnings }.choices()
}

/// The archive around the disk, and the format of the disk itself.
pub fn in_container(format: &str) -> (Option<ContainerArchive>, &str) {
    match format.split_once(':') {
        Some(("oci", disk)) => (Some(ContainerArchive::Oci), disk),
        Some(("docker", disk)) => (Some(ContainerArchive::Docker), disk),
        _ => (None, format),
    }
}

/// Warns of elements that say something of a format that is not written.
pub fn warn_of_elements(kind: &Type, format: Option<&str>, warnings: &mut Vec<Warning>) {
    for (element, of) in [("machine", OF_MACHINES), ("vagrantconfig", &["vagrant"])] {
        if let (Some(node), false) = (kind.child(element), format.is_some_and(|name| of.contains(&name))) {
            let text = format!("<{element}> is ignored: the format is not {}", of.join(" or "));
            warnings.push(Warning { text, place: Some(node.name.span.place()) });
        }
    }
}

struct Maker<'a> {
    kind: &'a Type,
    bios: Support,
    problems: &'a mut Problems,
    warnings: &'a mut Vec<Warning>,
}

impl Maker<'_> {
    fn warn(&mut self, text: String, at: &Spanned<String>) {
        self.warnings.push(Warning { text, place: Some(at.span.place()) });
    }

    fn choices(mut self) -> Vec<FormatChoice> {
        let mut choices = vec![FormatChoice { name: "raw".to_string(), options: BTreeMap::new() }];
        let written = self.kind.get("formatoptions").cloned();
        let format = self.kind.get("format").cloned();
        let name = format.as_ref().map(|format| format.as_str());
        for (of, attribute, _) in OF_FORMATS.iter().filter(|(of, ..)| name != Some(*of)) {
            if let Some(value) = self.kind.get(attribute).cloned() {
                self.warn(format!("`{attribute}` is ignored: the format is not {of}"), &value);
            }
        }
        warn_of_elements(self.kind, name, self.warnings);
        let Some(format) = format else {
            if let Some(options) = &written {
                self.warn("`formatoptions` is ignored: no `format` is set".to_string(), options);
            }
            return choices;
        };
        let (container, disk) = in_container(&format);
        if container.is_some() && IN_CONTAINERS.contains(&disk) {
            if disk != "raw" {
                choices.push(FormatChoice { name: disk.to_string(), options: format_options(written.as_ref()) });
            } else if let Some(options) = &written {
                self.warn("`formatoptions` is ignored: a raw disk has none".to_string(), options);
            }
            return choices;
        }
        if !FORMATS.contains(&format.as_str()) {
            let title = format!("disk format {}", shown(&format));
            let hint = format!("this version writes raw, {}", FORMATS.join(", "));
            self.problems.add(Problem::refused(title).at(&format.span).label("not written yet").hint(hint));
            return choices;
        }
        let mut options = format_options(written.as_ref());
        for (_, attribute, option) in OF_FORMATS.iter().filter(|(of, ..)| format.as_str() == *of) {
            if let Some(value) = self.kind.get(attribute) {
                options.insert(option.to_string(), value.to_string());
            }
        }
        match format.as_str() {
            "vmdk" => {
                let (machine, disk) = self.machine();
                // What `formatoptions` says of the disk is said by name.
                add(&mut options, disk);
                choices.push(FormatChoice { name: format.value, options });
                choices.push(FormatChoice { name: "vmx".to_string(), options: machine });
            }
            "ova" => {
                let (machine, disk) = self.machine();
                if let Some(mode) = disk.get("subformat").filter(|mode| *mode != "streamOptimized") {
                    let place = self.kind.child("machine").map(|machine| machine.name.span.place());
                    let text = format!("diskmode=\"{mode}\" is ignored: an ova holds a streamOptimized disk");
                    self.warnings.push(Warning { text, place });
                }
                add(&mut options, machine);
                choices.push(FormatChoice { name: format.value, options });
            }
            "vagrant" => choices.push(self.vagrant(options)),
            _ => choices.push(FormatChoice { name: format.value, options }),
        }
        choices
    }

    /// What `<machine>` says of the machine, and of its disk.
    fn machine(&mut self) -> (Options, Options) {
        let (mut machine, mut of_disk) = (Options::new(), Options::new());
        if self.bios == Support::No {
            machine.insert("firmware".into(), "efi".into());
        }
        let kind = self.kind;
        let Some(node) = kind.child("machine") else { return (machine, of_disk) };
        let text = |node: &Node, name: &str| node.attribute(name).map(|found| found.value.to_string());
        for (attribute, option) in OF_MACHINE {
            if let Some(value) = text(node, attribute) {
                machine.insert(option.to_string(), value);
            }
        }
        if let Some(disk) = node.children("vmdisk").next() {
            if let Some(controller) = text(disk, "controller") {
                machine.insert("controller".into(), controller.clone());
                of_disk.insert("adapter_type".into(), controller);
            }
            if let Some(id) = text(disk, "id") {
                machine.insert("disk_id".into(), id);
            }
            if let Some(mode) = text(disk, "diskmode") {
                of_disk.insert("subformat".into(), mode);
            }
        }
        if let Some(dvd) = node.children("vmdvd").next()
            && let (Some(controller), Some(id)) = (text(dvd, "controller"), text(dvd, "id"))
        {
            machine.insert("dvd".into(), format!("{controller}:{id}"));
        }
        for card in node.children("vmnic") {
            let words = ["driver", "mode", "mac"].map(|name| Some(format!("{name}={}", text(card, name)?)));
            let words: Vec<String> = words.into_iter().flatten().collect();
            let Some(interface) = card.attribute("interface") else { continue };
            let key = format!("nic.{}", interface.value.trim());
            if machine.insert(key, words.join(" ")).is_some() {
                let title = format!("two network cards have the number {}", shown(&interface.value));
                self.problems.add(Problem::invalid(title).at(&interface.value.span));
            }
        }
        for (number, entry) in node.children("vmconfig-entry").enumerate() {
            machine.insert(format!("entry.{number}"), entry.trimmed().value);
        }
        (machine, of_disk)
    }

    fn vagrant(&mut self, mut options: Options) -> FormatChoice {
        let kind = self.kind;
        let mut boxes = kind.node.children("vagrantconfig");
        // A description without one was refused by then.
        let Some(config) = boxes.next() else {
            return FormatChoice { name: "vagrant-libvirt".into(), options };
        };
        for other in boxes {
            let text = "<vagrantconfig> is ignored: a type makes one box, that of the first one".to_string();
            self.warnings.push(Warning { text, place: Some(other.name.span.place()) });
        }
        let get = |name: &str| config.attribute(name).map(|found| &found.value);
        let provider = get("provider").map_or("libvirt", |provider| provider.as_str());
        let pairs = [("virtualsize", "virtual_size"), ("boxname", "box_name"), ("embedded_vagrantfile", "vagrantfile")];
        for (attribute, option) in pairs {
            if let Some(value) = get(attribute) {
                options.insert(option.into(), value.to_string());
            }
        }
        if let Some(additions) = get("virtualbox_guest_additions_present") {
            let value = if crate::description::truth(additions) { "on" } else { "off" };
            options.insert("guest_additions".into(), value.into());
        }
        if let Some(file) = get("embedded_vagrantfile") {
            self.check_name(file);
        }
        if self.bios == Support::No {
            match (provider, get("embedded_vagrantfile").cloned()) {
                ("virtualbox", None) => drop(options.insert("firmware".into(), "efi".into())),
                (_, file) => {
                    let text = "the box starts from UEFI only: its Vagrantfile must name a firmware, and the one that \
                                ingot writes for libvirt does not";
                    let place = file.map_or(config.name.span.place(), |file| file.span.place());
                    self.warnings.push(Warning { text: text.to_string(), place: Some(place) });
                }
            }
        }
        FormatChoice { name: format!("vagrant-{provider}"), options }
    }

    /// Whether it is there `format` checks, which may look.
    fn check_name(&mut self, name: &Spanned<String>) {
        if name.starts_with('/') || name.split('/').any(|part| part == "..") {
            let problem = Problem::missing(format!("there is no file {}", shown(name))).at(&name.span);
            self.problems.add(problem.label("a name cannot leave the description's folder"));
        }
    }
}

/// What is there already wins.
fn add(options: &mut Options, more: Options) {
    for (key, value) in more {
        options.entry(key).or_insert(value);
    }
}

fn format_options(text: Option<&Spanned<String>>) -> Options {
    let mut options = Options::new();
    let Some(text) = text else { return options };
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some((key, value)) => drop(options.insert(key.trim().to_string(), value.trim().to_string())),
            // `force_size` alone switches it on, as for qemu-img.
            None => drop(options.insert(word.to_string(), "on".to_string())),
        }
    }
    options
}
