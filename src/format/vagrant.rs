//! Boxes for Vagrant: a disk for one provider, with what Vagrant wants to know of it.
//!
//! In: a raw disk, what `<vagrantconfig>` says. Out: a tar archive, compressed with gzip: `metadata.json`, a `Vagrantfile`,
//! and `box.img` (qcow2, for libvirt) or `box.ovf` and `box.vmdk` (for VirtualBox). Never the name of an owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::machine::{Firmware, Machine};
use super::ovf::{Family, System};
use super::packed::{Codec, Packer};
use super::stream::Stream;
use super::vmdk::{self, Subformat};
use super::{DiskFormat, Writing, qcow2, switch, tar, unknown_value};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, Result};
use crate::host;
use crate::pieces::Pieces;
use crate::release::Artifact;

const KNOWN: &[&str] = &[
    "virtual_size=GIB",
    "box_name=NAME",
    "vagrantfile=FILE",
    "guest_additions=on|off",
    "firmware=bios|efi",
    "and those of the disk inside",
];

/// `format="vagrant"`, one for each provider.
pub enum Vagrant {
    /// libvirt: qcow2.
    Libvirt,
    /// VirtualBox: vmdk and a descriptor.
    VirtualBox,
}

#[derive(Debug, Default)]
struct Settings {
    /// Size of the disk that machines get, in GiB.
    virtual_size: Option<u64>,
    box_name: Option<String>,
    vagrantfile: Option<String>,
    guest_additions: bool,
    firmware: Firmware,
    /// What is left is for the disk inside.
    disk: BTreeMap<String, String>,
}

impl Vagrant {
    fn settings(&self, options: &BTreeMap<String, String>) -> Result<Settings> {
        let mut settings = Settings::default();
        let is_virtualbox = matches!(self, Vagrant::VirtualBox);
        for (key, value) in options {
            let bad = || unknown_value(self.name(), key, value, KNOWN);
            match key.as_str() {
                "virtual_size" => {
                    let size = value.parse().ok().filter(|size| (1..1 << 22).contains(size));
                    settings.virtual_size = Some(size.ok_or_else(bad)?);
                }
                "box_name" if !value.is_empty() => settings.box_name = Some(value.clone()),
                "vagrantfile" if !value.is_empty() => settings.vagrantfile = Some(value.clone()),
                "box_name" | "vagrantfile" => return Err(bad()),
                "guest_additions" if is_virtualbox => settings.guest_additions = switch(value).ok_or_else(bad)?,
                "firmware" if is_virtualbox && value == "efi" => settings.firmware = Firmware::Efi,
                "firmware" if value != "bios" => return Err(bad()),
                "firmware" => {}
                _ => drop(settings.disk.insert(key.clone(), value.clone())),
            }
        }
        match self {
            Vagrant::Libvirt => qcow2::Qcow2.check(&settings.disk)?,
            Vagrant::VirtualBox => match vmdk::settings(&settings.disk)?.subformat {
                Subformat::StreamOptimized => {}
                Subformat::MonolithicSparse if !settings.disk.contains_key("subformat") => {}
                Subformat::MonolithicSparse => {
                    let error = Error::cannot(Exit::Description, "put a monolithicSparse vmdk into a box");
                    return Err(error.because("its descriptor says streamOptimized, as VirtualBox wants it"));
                }
            },
        }
        Ok(settings)
    }

    fn provider(&self) -> &'static str {
        match self {
            Vagrant::Libvirt => "libvirt",
            Vagrant::VirtualBox => "virtualbox",
        }
    }

    fn metadata(&self, settings: &Settings, gib: u64) -> Result<Vec<u8>> {
        let mut metadata = Map::new();
        if let Some(name) = &settings.box_name {
            metadata.insert("name".into(), json!(name));
        }
        metadata.insert("provider".into(), json!(self.provider()));
        if let Vagrant::Libvirt = self {
            metadata.insert("format".into(), json!("qcow2"));
            metadata.insert("virtual_size".into(), json!(gib));
        }
        metadata.sort_keys();
        let text = serde_json::to_vec_pretty(&Value::Object(metadata));
        text.map_err(|error| Error::cannot(Exit::Bug, "write metadata.json").because(error))
    }

    fn vagrantfile(&self, writing: &Writing<'_>, settings: &Settings) -> Result<Vec<u8>> {
        if let Some(name) = &settings.vagrantfile {
            return host::file::read(&writing.identity.folder.join(name));
        }
        let mut lines: Vec<String> = Vec::new();
        let rsync = "config.vm.synced_folder \".\", \"/vagrant\", type: \"rsync\"".to_string();
        match self {
            Vagrant::Libvirt => {
                lines.push(rsync);
                lines.push("config.vm.provider :libvirt do |libvirt|".into());
                lines.push("  libvirt.driver = \"kvm\"".into());
                lines.push("end".into());
            }
            Vagrant::VirtualBox => {
                // The addresses that belong to VirtualBox; each machine gets one of its own by this one.
                let address = writing.identity.seed.uuid("vagrant mac").short() & 0xff_ffff;
                lines.push(format!("config.vm.base_mac = \"080027{address:06X}\""));
                if !settings.guest_additions {
                    lines.push(rsync);
                }
                if settings.firmware == Firmware::Efi {
                    lines.push("config.vm.provider :virtualbox do |virtualbox|".into());
                    lines.push("  virtualbox.customize [\"modifyvm\", :id, \"--firmware\", \"efi\"]".into());
                    lines.push("end".into());
                }
            }
        }
        let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        Ok(format!("Vagrant.configure(\"2\") do |config|\n{lines}end\n").into_bytes())
    }

    /// Writes the disk into a file of its own: the archive says how long it is before it comes.
    fn disk(&self, writing: &Writing<'_>, settings: &Settings, gib: u64) -> Result<Artifact> {
        match self {
            Vagrant::Libvirt => {
                qcow2::Qcow2.write(&Writing { options: &settings.disk, ..*writing }, &mut Pieces::ignored())
            }
            Vagrant::VirtualBox => {
                let mut of_disk = vmdk::settings(&settings.disk)?;
                of_disk.subformat = Subformat::StreamOptimized;
                of_disk.size = Bytes::gib(gib);
                vmdk::write(writing, &of_disk, &mut Pieces::ignored())
            }
        }
    }
}

impl DiskFormat for Vagrant {
    fn name(&self) -> &'static str {
        match self {
            Vagrant::Libvirt => "vagrant-libvirt",
            Vagrant::VirtualBox => "vagrant-virtualbox",
        }
    }

    fn extension(&self) -> &'static str {
        match self {
            Vagrant::Libvirt => "vagrant.libvirt.box",
            Vagrant::VirtualBox => "vagrant.virtualbox.box",
        }
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        self.settings(options).map(drop)
    }

    fn files(&self) -> &'static [&'static str] {
        &["vagrantfile"]
    }

    fn write(&self, writing: &Writing<'_>, _pieces: &mut Pieces) -> Result<Artifact> {
        let Writing { disk, identity, folder, name, .. } = *writing;
        let settings = self.settings(writing.options)?;
        let needed = disk.size().0.div_ceil(1 << 30);
        let gib = settings.virtual_size.unwrap_or(needed);
        if gib < needed {
            return Err(Error::cannot(Exit::Description, format!("give machines a disk of {gib} GiB"))
                .because(format!("the image's own has {}, and its end would be cut off", disk.size()))
                .hint(format!("virtualsize=\"{needed}\" at least")));
        }
        let scratch = format!(".{name}.disk");
        let inner = Writing { name: &scratch, ..*writing };
        let image = self.disk(&inner, &settings, gib)?;
        let mut packer = Packer::new(Stream::create(folder, name)?, Codec::Gzip);
        let mut small = |member: &str, content: &[u8]| {
            packer.write(&tar::file(member, content.len() as u64, identity.epoch))?;
            packer.write(content)?;
            packer.zeros(tar::padding(content.len() as u64))
        };
        small("metadata.json", &self.metadata(&settings, gib)?)?;
        small("Vagrantfile", &self.vagrantfile(writing, &settings)?)?;
        let member = match self {
            Vagrant::Libvirt => "box.img",
            Vagrant::VirtualBox => {
                let system = System {
                    family: Family::VirtualBox,
                    name: settings.box_name.as_deref().unwrap_or(&identity.name),
                    machine: &Machine::default(),
                    file: "box.vmdk",
                    length: image.size.0,
                    capacity: gib << 30,
                };
                small("box.ovf", system.descriptor().as_bytes())?;
                "box.vmdk"
            }
        };
        packer.write(&tar::file(member, image.size.0, identity.epoch))?;
        let scratch = folder.join(scratch);
        packer.copy(&Arc::new(host::file::open(&scratch)?), 0..image.size.0)?;
        host::file::remove(&scratch)?;
        packer.zeros(tar::padding(image.size.0) + 2 * tar::BLOCK)?;
        packer.finish()?.finish(self.name())
    }
}
