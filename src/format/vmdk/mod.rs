//! VMDK: VMware, VirtualBox.
//!
//! In: a raw disk. Out: `monolithicSparse` (the default) or `streamOptimized`; and back. Never writes or follows extents
//! in other files, parents, or raw devices.

mod descriptor;
mod header;
mod reader;
mod writer;

use std::collections::BTreeMap;

use super::{DiskFormat, Writing, unknown_option, unknown_value};
use crate::bytes::Bytes;
use crate::error::Result;
use crate::pieces::Pieces;
use crate::release::Artifact;

pub use self::descriptor::Subformat;
pub use self::header::MAGIC;
pub use self::reader::open;
pub use self::writer::{Settings, write};

/// What a descriptor in a file of its own begins with.
pub const DESCRIPTOR: &[u8] = b"# Disk DescriptorFile";

/// `ddb.adapterType`, with what `adapter_type` calls it. VMware has no word of its own for a SAS adapter.
const ADAPTERS: &[(&str, &str)] = &[
    ("ide", "ide"),
    ("buslogic", "buslogic"),
    ("lsilogic", "lsilogic"),
    ("lsisas1068", "lsilogic"),
    ("legacyESX", "legacyESX"),
    ("pvscsi", "pvscsi"),
];

const KNOWN: &[&str] = &[
    "subformat=monolithicSparse|streamOptimized",
    "adapter_type=ide|buslogic|lsilogic|lsisas1068|legacyESX|pvscsi",
    "hwversion=NUMBER",
    "toolsversion=NUMBER",
    "compat6=on|off",
];

/// `format="vmdk"`.
pub struct Vmdk;

/// What `formatoptions` decide.
pub fn settings(options: &BTreeMap<String, String>) -> Result<Settings> {
    let mut result = Settings {
        subformat: Subformat::MonolithicSparse,
        adapter: "ide",
        hardware: 4,
        tools: None,
        size: Bytes::ZERO,
    };
    for (key, value) in options {
        let bad = || unknown_value("vmdk", key, value, KNOWN);
        match (key.as_str(), value.as_str()) {
            ("subformat", "monolithicSparse") => result.subformat = Subformat::MonolithicSparse,
            ("subformat", "streamOptimized") => result.subformat = Subformat::StreamOptimized,
            ("adapter_type", name) => {
                let found = ADAPTERS.iter().find(|(known, _)| *known == name);
                result.adapter = found.map(|(_, word)| *word).ok_or_else(bad)?;
            }
            ("hwversion", number) => result.hardware = number.parse().map_err(|_| bad())?,
            ("toolsversion", number) => result.tools = Some(number.parse().map_err(|_| bad())?),
            ("compat6", value) => match super::switch(value) {
                // As hwversion=6 says it, which may stand beside it.
                Some(true) if !options.contains_key("hwversion") => result.hardware = 6,
                Some(_) => {}
                None => return Err(bad()),
            },
            ("subformat", _) => return Err(bad()),
            _ => return Err(unknown_option("vmdk", key, KNOWN)),
        }
    }
    Ok(result)
}

impl DiskFormat for Vmdk {
    fn name(&self) -> &'static str {
        "vmdk"
    }

    fn extension(&self) -> &'static str {
        "vmdk"
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        settings(options).map(drop)
    }

    fn write(&self, writing: &Writing<'_>, pieces: &mut Pieces) -> Result<Artifact> {
        write(writing, &settings(writing.options)?, pieces)
    }
}
