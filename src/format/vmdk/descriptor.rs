//! A VMDK's descriptor: the text that says what the disk is ("Virtual Disk Format 5.0", VMware).
//!
//! In: a layout, an adapter, a size, ids. Out: the text; and back, as far as a reader needs it.

use crate::error::Result;
use crate::format::mapped::leans;

/// How a VMDK is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subformat {
    /// One file that grows.
    MonolithicSparse,
    /// One file, compressed, to be read from its beginning to its end: what OVF carries.
    StreamOptimized,
}

impl Subformat {
    /// As the descriptor calls it.
    pub fn name(self) -> &'static str {
        match self {
            Subformat::MonolithicSparse => "monolithicSparse",
            Subformat::StreamOptimized => "streamOptimized",
        }
    }
}

/// What a descriptor says.
#[derive(Clone, Debug)]
pub struct Descriptor<'a> {
    /// The layout.
    pub subformat: Subformat,
    /// `ddb.adapterType`.
    pub adapter: &'a str,
    /// `ddb.virtualHWVersion`.
    pub hardware: u32,
    /// `ddb.toolsVersion`.
    pub tools: Option<u32>,
    /// The file's own name.
    pub name: &'a str,
    /// Sectors of the virtual disk.
    pub sectors: u64,
    /// Changes with the content.
    pub content_id: u32,
}

impl Descriptor<'_> {
    /// The text.
    pub fn text(&self) -> String {
        let (heads, track) = if self.adapter == "ide" { (16, 63) } else { (255, 63) };
        let cylinders = self.sectors / (heads * track);
        let tools = self.tools.map(|version| format!("ddb.toolsVersion = \"{version}\"\n")).unwrap_or_default();
        format!(
            "# Disk DescriptorFile\nversion=1\nCID={:08x}\nparentCID=ffffffff\ncreateType=\"{}\"\n\n\
             # Extent description\nRW {} SPARSE \"{}\"\n\n# The Disk Data Base\n#DDB\n\n\
             ddb.virtualHWVersion = \"{}\"\nddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"{heads}\"\n\
             ddb.geometry.sectors = \"{track}\"\nddb.adapterType = \"{}\"\n{tools}",
            self.content_id,
            self.subformat.name(),
            self.sectors,
            self.name.replace('"', "_"),
            self.hardware,
            self.adapter,
        )
    }
}

/// Whether an embedded descriptor belongs to a disk that stands alone.
pub fn check(text: &str) -> Result<()> {
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| name.trim().eq_ignore_ascii_case(key)).map(|(_, value)| value.trim().trim_matches('"'))
    };
    if value("parentCID").is_some_and(|parent| !parent.eq_ignore_ascii_case("ffffffff"))
        || value("parentFileNameHint").is_some()
    {
        return Err(leans("vmdk", "it holds only what differs from its parent"));
    }
    match value("createType") {
        Some("monolithicSparse" | "streamOptimized") => {}
        Some(other) => return Err(leans("vmdk", format!("a disk of type {other} is in several files"))),
        None => return Err(leans("vmdk", "its descriptor does not say its type, so that it lies elsewhere")),
    }
    let extents = text.lines().filter(|line| ["RW ", "RDONLY ", "NOACCESS "].iter().any(|word| line.starts_with(word)));
    if extents.count() != 1 {
        return Err(leans("vmdk", "it does not have one extent alone"));
    }
    Ok(())
}
