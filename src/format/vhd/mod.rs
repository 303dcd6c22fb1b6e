//! VHD: Hyper-V, Virtual PC, Azure.
//!
//! In: a raw disk. Out: `vhd`, which holds only the blocks with something in them, or `vhd-fixed`, the disk as it is with
//! a footer, which is what Azure takes; and back. Never writes or follows a differencing disk.

mod footer;

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use self::footer::{Footer, Geometry, Kind, SizeBy};
use super::mapped::{self, Flat, Layout, Whole, damaged, leans};
use super::stream::{Blocks, Stream};
use super::{DiskFormat, Writing, switch, unknown_option, unknown_value};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result, Warning};
use crate::pieces::Pieces;
use crate::release::Artifact;

pub use self::footer::COOKIE;

/// Length of a block, the one that every reader knows.
const BLOCK: u64 = 2 << 20;
/// The largest disk: readers refuse more sectors than 0xff000000.
const LARGEST: u64 = 2040 << 30;
/// Where Azure looks for a tag.
const TAG: u64 = 64 << 10;

/// `format="vhd"`.
pub struct Vhd;

/// `format="vhd-fixed"`.
pub struct VhdFixed;

/// `formatoptions`, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Options {
    kind: Kind,
    size_by: SizeBy,
    /// `vhdfixedtag`, as it is written to the disk.
    tag: Option<[u8; 16]>,
}

impl Options {
    fn parse(name: &'static str, kind: Kind, options: &BTreeMap<String, String>) -> Result<Options> {
        let known: &[&str] = match kind {
            Kind::Dynamic => &["force_size=on|off", "subformat=dynamic|fixed"],
            Kind::Fixed => &["force_size=on|off", "subformat=fixed", "tag=GUID"],
        };
        let mut result = Options { kind, size_by: SizeBy::Geometry, tag: None };
        for (key, value) in options {
            let bad = || unknown_value(name, key, value, known);
            match (key.as_str(), value.as_str()) {
                ("force_size", value) => {
                    result.size_by = if switch(value).ok_or_else(bad)? { SizeBy::Size } else { SizeBy::Geometry };
                }
                ("subformat", "fixed") => result.kind = Kind::Fixed,
                ("subformat", "dynamic") if kind == Kind::Dynamic => {}
                ("tag", value) if kind == Kind::Fixed => result.tag = Some(guid(value).ok_or_else(bad)?),
                ("subformat", _) => return Err(bad()),
                _ => return Err(unknown_option(name, key, known)),
            }
        }
        Ok(result)
    }
}

/// A GUID in the form that Windows stores: its first three numbers are little-endian.
fn guid(text: &str) -> Option<[u8; 16]> {
    let lengths = text.split('-').map(str::len);
    let digits: Vec<u8> = text
        .chars()
        .filter(|char| *char != '-')
        .map(|char| char.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    if !lengths.eq([8, 4, 4, 4, 12]) {
        return None;
    }
    let bytes: Vec<u8> = digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect();
    Some(crate::plan::Uuid(bytes.try_into().ok()?).to_gpt())
}

impl DiskFormat for Vhd {
    fn name(&self) -> &'static str {
        "vhd"
    }

    fn extension(&self) -> &'static str {
        "vhd"
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        Options::parse(self.name(), Kind::Dynamic, options).map(drop)
    }

    fn write(&self, writing: &Writing<'_>, _pieces: &mut Pieces) -> Result<Artifact> {
        write(writing, self.name(), Options::parse(self.name(), Kind::Dynamic, writing.options)?)
    }
}

impl DiskFormat for VhdFixed {
    fn name(&self) -> &'static str {
        "vhd-fixed"
    }

    fn extension(&self) -> &'static str {
        "vhdfixed"
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        Options::parse(self.name(), Kind::Fixed, options).map(drop)
    }

    fn write(&self, writing: &Writing<'_>, _pieces: &mut Pieces) -> Result<Artifact> {
        write(writing, self.name(), Options::parse(self.name(), Kind::Fixed, writing.options)?)
    }
}

fn write(writing: &Writing<'_>, name: &str, options: Options) -> Result<Artifact> {
    let Writing { disk, identity, .. } = *writing;
    let asked = disk.size().0;
    let size = match options.size_by {
        SizeBy::Size => asked,
        SizeBy::Geometry => Geometry::rounded(asked / 512) * 512,
    };
    if size > LARGEST {
        return Err(Error::cannot(Exit::Description, format!("hold a disk of {}", Bytes(size)))
            .because(format!("a vhd holds {} at most", Bytes(LARGEST)))
            .hint("vhdx holds 64 TiB"));
    }
    warn(writing, name, options, asked, size);
    let uuid = identity.seed.uuid("vhd");
    let footer = Footer { kind: options.kind, size, size_by: options.size_by, uuid, epoch: identity.epoch };
    match options.kind {
        Kind::Fixed => fixed(writing, name, &footer, options.tag),
        Kind::Dynamic => dynamic(writing, name, &footer),
    }
}

/// What a reader would stumble over, and what helps.
fn warn(writing: &Writing<'_>, name: &str, options: Options, asked: u64, size: u64) {
    let say = |text: String| writing.step.reporter().warn(Warning { text, place: None });
    if size != asked {
        let table = "a backup partition table no longer lies at its end";
        say(format!(
            "{name}: the disk grew from {asked} to {size} bytes, a whole number of cylinders: {table}; formatoptions=\"force_size\" keeps its size"
        ));
    }
    if name == "vhd-fixed" && options.size_by == SizeBy::Size && !size.is_multiple_of(1 << 20) {
        say(format!("{name}: the disk has {size} bytes, no whole number of MiB: Azure refuses it"));
    }
}

fn fixed(writing: &Writing<'_>, name: &str, footer: &Footer, tag: Option<[u8; 16]>) -> Result<Artifact> {
    let Writing { disk, folder, step, .. } = *writing;
    let blocks = Blocks::find(disk, TAG)?;
    let mut stream = Stream::create(folder, writing.name)?;
    step.total(blocks.count());
    if tag.is_some() && footer.size < TAG + 512 {
        return Err(Error::cannot(Exit::Description, "tag the disk").because("it ends before the place of the tag"));
    }
    let tagged = tag.map_or(0..0, |_| TAG..TAG + 512);
    let parts: Vec<Range<u64>> = blocks.pieces().iter().map(|piece| blocks.part(piece)).collect();
    let copy = |stream: &mut Stream, wanted: Range<u64>| {
        for part in &parts {
            let part = part.start.max(wanted.start)..part.end.min(wanted.end);
            if !part.is_empty() {
                stream.pad_to(part.start)?;
                stream.disk(&blocks, part.clone())?;
                step.advance((part.end - part.start).div_ceil(TAG), part.end - part.start);
            }
        }
        Ok::<_, Error>(())
    };
    copy(&mut stream, 0..tagged.start)?;
    if let Some(tag) = tag {
        if !blocks.is_zero(tagged.clone())? {
            return Err(Error::cannot(Exit::Description, "tag the disk")
                .because("something lies at 64 KiB already, where the tag would go")
                .hint("a GPT leaves room there: firmware=\"efi\" or \"uefi\""));
        }
        stream.pad_to(TAG)?;
        stream.write([tag.as_slice(), &[0; 512 - 16]].concat())?;
    }
    copy(&mut stream, tagged.end..disk.size().0)?;
    stream.pad_to(footer.size)?;
    stream.write(footer.encode())?;
    stream.finish(name)
}

fn dynamic(writing: &Writing<'_>, name: &str, footer: &Footer) -> Result<Artifact> {
    let Writing { disk, folder, step, .. } = *writing;
    let blocks = Blocks::find(disk, BLOCK)?;
    let count = footer.size.div_ceil(BLOCK);
    let mut stream = Stream::create(folder, writing.name)?;
    step.total(blocks.count());
    stream.write(footer.encode())?;
    stream.write(footer::header(count as u32, BLOCK as u32))?;
    let table = (count * 4).next_multiple_of(512);
    // In sectors: a bitmap of one sector, then the block.
    let mut next = (stream.at() + table) / 512;
    let mut entries = vec![0xff; table as usize];
    for block in blocks.data.iter().cloned().flatten() {
        entries[block as usize * 4..][..4].copy_from_slice(&(next as u32).to_be_bytes());
        next += (512 + BLOCK) / 512;
    }
    stream.write(entries)?;
    for block in blocks.data.iter().cloned().flatten() {
        stream.write(vec![0xff; 512])?;
        stream.blocks(&blocks, &(block..block + 1))?;
        step.advance(1, BLOCK);
    }
    stream.write(footer.encode())?;
    stream.finish(name)
}

/// Opens a VHD: one that begins with a footer grows, else the footer at its end says what it is.
pub fn open(file: File) -> Result<mapped::Reader> {
    let length = file.metadata().or_cannot(|| "look at the image")?.len();
    let at = length.checked_sub(footer::LENGTH).ok_or_else(|| damaged("vhd", "it is shorter than its footer"))?;
    let read = |offset| mapped::read_table(&file, "vhd", "the footer", offset, footer::LENGTH);
    // The copy at the beginning counts where the end was cut off.
    let found = footer::decode(&read(at)?).or_else(|error| match read(0) {
        Ok(copy) if copy.starts_with(COOKIE) => footer::decode(&copy),
        _ => Err(error),
    })?;
    let layout = match found.kind {
        2 if found.size > at => return Err(damaged("vhd", "the file is shorter than the disk")),
        2 => {
            let block = 1 << 20;
            Layout { format: "vhd-fixed", size: found.size, block, table: Box::new(Whole(block)) }
        }
        3 => {
            let header = mapped::read_table(&file, "vhd", "the header", found.header, footer::HEADER)?;
            let (table, entries, block) = footer::decode_header(&header)?;
            if !block.is_power_of_two() || !(512..=1 << 30).contains(&block) {
                return Err(damaged("vhd", format!("blocks of {block} bytes cannot be")));
            }
            if u64::from(entries) < found.size.div_ceil(block.into()) {
                return Err(damaged("vhd", "its table is shorter than the disk"));
            }
            let table = mapped::read_table(&file, "vhd", "the table of blocks", table, u64::from(entries) * 4)?;
            // Each block has a bitmap in front of it, a bit for each sector.
            let bitmap = (u64::from(block) / 512 / 8).next_multiple_of(512);
            let offset = |entry: &[u8; 4]| match u32::from_be_bytes(*entry) {
                u32::MAX => None,
                sector => Some(u64::from(sector) * 512 + bitmap),
            };
            let table = table.as_chunks::<4>().0.iter().map(offset).collect();
            Layout { format: "vhd", size: found.size, block: block.into(), table: Box::new(Flat(table)) }
        }
        4 => return Err(leans("vhd", "it holds only what differs from its parent")),
        other => return Err(damaged("vhd", format!("its type {other} is unknown"))),
    };
    mapped::Reader::new(file, layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood_or_refused_by_name() {
        let parse = |kind, text: &str| {
            let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
            Options::parse("vhd", kind, &pairs.map(|(key, value)| (key.into(), value.into())).collect())
        };
        let tag = "tag=22222222-3333-4444-5555-666666666666";
        let good = parse(Kind::Fixed, &format!("force_size=on {tag}")).unwrap();
        assert_eq!(good.tag.unwrap()[..8], [0x22, 0x22, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44]);
        assert_eq!(good.size_by, SizeBy::Size);
        assert_eq!(parse(Kind::Dynamic, "subformat=fixed").unwrap().kind, Kind::Fixed);
        assert_eq!(guid("00112233-4455-6677-8899-aabbccddeeff").unwrap()[..6], [0x33, 0x22, 0x11, 0x00, 0x55, 0x44]);
        for (kind, text) in [
            (Kind::Dynamic, tag),
            (Kind::Fixed, "subformat=dynamic"),
            (Kind::Fixed, "tag=2222"),
            (Kind::Dynamic, "force_size=maybe"),
            (Kind::Dynamic, "size=5"),
        ] {
            let error = parse(kind, text).unwrap_err();
            assert_eq!(error.exit(), Exit::Description, "{text}");
            assert!(error.what().contains(text.split('=').next().unwrap()), "{}", error.what());
        }
    }
}
