//! OVA: a machine in one file, for VMware and VirtualBox (DMTF DSP0243).
//!
//! In: a raw disk, what its machine has. Out: a ustar archive of the descriptor, its digests, and a stream optimized vmdk,
//! in this order. Never signs it.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::machine::{self, Machine, Set};
use super::ovf::{self, Family, System};
use super::stream::Stream;
use super::vmdk::{self, Subformat};
use super::{DiskFormat, Writing, tar, unknown_option, unknown_value};
use crate::error::{Result, Warning};
use crate::host;
use crate::pieces::Pieces;
use crate::release::Artifact;
use crate::release::artifact::hex;

/// `ova`.
pub struct Ova;

/// Reads the options; 65 for those that are not known.
fn parse(options: &BTreeMap<String, String>) -> Result<Machine> {
    let known = [machine::KNOWN, &["subformat=streamOptimized"]].concat();
    let mut machine = Machine::default();
    for (key, value) in options {
        let bad = || unknown_value("ova", key, value, &known);
        match (key.as_str(), value.as_str()) {
            ("subformat", "streamOptimized") => {}
            ("subformat", _) => return Err(bad()),
            ("controller", name) if !ovf::knows_controller(name) => return Err(bad()),
            _ => match machine.set(key, value) {
                Set::Done => {}
                Set::BadValue => return Err(bad()),
                Set::Unknown => return Err(unknown_option("ova", key, &known)),
            },
        }
    }
    Ok(machine)
}

impl DiskFormat for Ova {
    fn name(&self) -> &'static str {
        "ova"
    }

    fn extension(&self) -> &'static str {
        "ova"
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        parse(options).map(drop)
    }

    fn write(&self, writing: &Writing<'_>, _pieces: &mut Pieces) -> Result<Artifact> {
        let Writing { disk, identity, folder, name, step, .. } = *writing;
        let machine = parse(writing.options)?;
        for line in machine.entries.values().filter(|line| ovf::setting(line).is_none()) {
            let text = format!("ova: `{line}` is left out: a descriptor holds lines of the form key = \"value\" only");
            step.reporter().warn(Warning { text, place: None });
        }
        // The descriptor says how long the disk's file is, and its digest stands in front of it: so it is written first.
        let scratch = format!(".{name}.vmdk");
        let mut settings = vmdk::settings(&BTreeMap::new())?;
        settings.subformat = Subformat::StreamOptimized;
        settings.adapter = if machine.controller == Some("ide") { "ide" } else { "lsilogic" };
        let inner = Writing { name: &scratch, ..*writing };
        let vmdk = vmdk::write(&inner, &settings, &mut Pieces::ignored())?;
        let scratch = folder.join(scratch);
        // Names in a ustar header have 100 bytes.
        let stem = Some(identity.stem.as_str()).filter(|stem| stem.len() <= 80).unwrap_or("disk");
        let file = format!("{stem}-disk1.vmdk");
        let system = System {
            family: Family::Vmware,
            name: &identity.name,
            machine: &machine,
            file: &file,
            length: vmdk.size.0,
            capacity: disk.size().0,
        };
        let descriptor = system.descriptor();
        let sum = hex(&Sha256::digest(descriptor.as_bytes()));
        let manifest = format!("SHA256({stem}.ovf)= {sum}\nSHA256({file})= {}\n", vmdk.sha256);
        let mut stream = Stream::create(folder, name)?;
        for (end, content) in [("ovf", descriptor), ("mf", manifest)] {
            let length = content.len() as u64;
            stream.write(tar::file(&format!("{stem}.{end}"), length, identity.epoch))?;
            stream.write(content.into_bytes())?;
            stream.zeros(tar::padding(length));
        }
        stream.write(tar::file(&file, vmdk.size.0, identity.epoch))?;
        stream.copy(&host::file::open(&scratch)?)?;
        host::file::remove(&scratch)?;
        stream.zeros(tar::padding(vmdk.size.0) + 2 * tar::BLOCK);
        stream.finish(self.name())
    }
}
