//! OVA: a machine in one file, for VMware and VirtualBox (DMTF DSP0243).
//!
//! In: a raw disk, what its machine has. Out: a ustar archive of the descriptor, its digests, and a stream optimized vmdk,
//! in this order. Never signs it.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::ovf::Machine;
use super::stream::Stream;
use super::vmdk::{self, Subformat};
use super::{DiskFormat, Writing, tar};
use crate::error::Result;
use crate::host;
use crate::pieces::Pieces;
use crate::release::Artifact;
use crate::release::artifact::hex;

/// `ova`.
pub struct Ova;

impl DiskFormat for Ova {
    fn name(&self) -> &'static str {
        "ova"
    }

    fn extension(&self) -> &'static str {
        "ova"
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        Machine::parse(options).map(drop)
    }

    fn write(&self, writing: &Writing<'_>, _pieces: &mut Pieces) -> Result<Artifact> {
        let Writing { disk, identity, folder, name, .. } = *writing;
        let machine = Machine::parse(writing.options)?;
        // The descriptor says how long the disk's file is, and its digest stands in front of it: so it is written first.
        let scratch = format!(".{name}.vmdk");
        let mut settings = vmdk::settings(&BTreeMap::new())?;
        settings.subformat = Subformat::StreamOptimized;
        settings.adapter = "lsilogic";
        let inner = Writing { name: &scratch, ..*writing };
        let vmdk = vmdk::write(&inner, &settings, &mut Pieces::ignored())?;
        let scratch = folder.join(scratch);
        let stem = name.strip_suffix(".ova").unwrap_or(name);
        // Names in a ustar header have 100 bytes.
        let stem = if stem.len() > 80 { "disk" } else { stem };
        let file = format!("{stem}-disk1.vmdk");
        let descriptor = machine.descriptor(&identity.name, &file, vmdk.size.0, disk.size().0);
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
