//! VHDX: Hyper-V since 2012 ("VHDX Format Specification", Microsoft, MS-VHDX).
//!
//! In: a raw disk. Out: an image of blocks that hold something, its log empty; and back. Never writes or follows a
//! differencing disk, never replays a log.

mod structure;

use std::collections::BTreeMap;
use std::fs::File;

use self::structure::{BatEntry, MIB, Metadata};
use super::mapped::{self, Flat, Layout, damaged, leans};
use super::stream::{Blocks, Stream};
use super::{DiskFormat, Writing, unknown_option, unknown_value};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, Result};
use crate::pieces::Pieces;
use crate::release::Artifact;

pub use self::structure::SIGNATURE;

/// The largest disk.
const LARGEST: u64 = 64 << 40;
/// Disks up to here have blocks of 1 MiB, so that little is written that is zero; larger ones would have a table that
/// takes longer to read than it saves.
const SMALL: u64 = 2 << 40;
const LARGE_BLOCK: u64 = 32 << 20;
/// Where the table of blocks lies: behind header, log and metadata.
const BAT: u64 = 3 * MIB;

const KNOWN: &[&str] = &["block_size=1M..256M", "subformat=dynamic"];

/// `format="vhdx"`.
pub struct Vhdx;

/// `formatoptions`: the length of a block, where it is said.
fn block_size(options: &BTreeMap<String, String>) -> Result<Option<u64>> {
    let mut block = None;
    for (key, value) in options {
        let bad = || unknown_value("vhdx", key, value, KNOWN);
        match (key.as_str(), value.as_str()) {
            ("subformat", "dynamic") => {}
            ("block_size", value) => {
                let (digits, shift) = match value.as_bytes().last() {
                    Some(b'm' | b'M') => (&value[..value.len() - 1], 20),
                    _ => (value, 0),
                };
                let size = digits.parse::<u64>().ok().and_then(|digits| digits.checked_mul(1 << shift));
                let fits = |size: &u64| size.is_power_of_two() && (MIB..=256 * MIB).contains(size);
                block = Some(size.filter(fits).ok_or_else(bad)?);
            }
            ("subformat", _) => return Err(bad()),
            _ => return Err(unknown_option("vhdx", key, KNOWN)),
        }
    }
    Ok(block)
}

impl DiskFormat for Vhdx {
    fn name(&self) -> &'static str {
        "vhdx"
    }

    fn extension(&self) -> &'static str {
        "vhdx"
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        block_size(options).map(drop)
    }

    fn write(&self, writing: &Writing<'_>, _pieces: &mut Pieces) -> Result<Artifact> {
        let Writing { disk, folder, name, identity, step, .. } = *writing;
        let size = disk.size().0;
        let block = block_size(writing.options)?.unwrap_or(if size <= SMALL { MIB } else { LARGE_BLOCK });
        if size > LARGEST {
            return Err(Error::cannot(Exit::Description, format!("hold a disk of {}", Bytes(size)))
                .because(format!("a vhdx holds {} at most", Bytes(LARGEST))));
        }
        let metadata = Metadata { block: block as u32, has_parent: false, size, sector: 512 };
        let entries = metadata.entries();
        let table = (entries * 8).next_multiple_of(MIB);
        let blocks = Blocks::find(disk, block)?;
        let mut stream = Stream::create(folder, name)?;
        step.total(blocks.count());
        for (offset, bytes) in structure::beginning(&identity.seed, &metadata, BAT, table) {
            stream.pad_to(offset)?;
            stream.write(bytes)?;
        }
        stream.pad_to(BAT)?;
        let mut bat = vec![0; table as usize];
        let mut entry = |block: u64, entry: BatEntry| {
            bat[metadata.entry(block) as usize * 8..][..8].copy_from_slice(&entry.encode().to_le_bytes());
        };
        (0..blocks.total()).for_each(|block| entry(block, BatEntry::Zero));
        for (place, block) in blocks.data.iter().cloned().flatten().zip(0..).map(|(block, place)| (place, block)) {
            entry(block, BatEntry::At(BAT + table + place * metadata.block as u64));
        }
        stream.write(bat)?;
        for piece in blocks.pieces() {
            stream.blocks(&blocks, &piece)?;
            step.advance(piece.end - piece.start, (piece.end - piece.start) * block);
        }
        stream.finish(self.name())
    }
}

/// Opens a VHDX that was closed well.
pub fn open(file: File) -> Result<mapped::Reader> {
    let regions = structure::regions(&file)?;
    let metadata = Metadata::read(&file, &regions)?;
    if metadata.has_parent {
        return Err(leans("vhdx", "it holds only what differs from its parent"));
    }
    let block = u64::from(metadata.block);
    if !block.is_power_of_two() || !(MIB..=256 * MIB).contains(&block) || !matches!(metadata.sector, 512 | 4096) {
        return Err(damaged("vhdx", format!("blocks of {block} bytes and sectors of {} cannot be", metadata.sector)));
    }
    if metadata.size > LARGEST || metadata.size == 0 {
        return Err(damaged("vhdx", format!("a disk of {} bytes cannot be", metadata.size)));
    }
    let wanted = metadata.entries() * 8;
    if wanted > regions.bat.1 {
        return Err(damaged("vhdx", "its table of blocks is shorter than the disk"));
    }
    let bat = mapped::read_table(&file, "vhdx", "the table of blocks", regions.bat.0, wanted)?;
    let mut table = Vec::with_capacity(metadata.size.div_ceil(block) as usize);
    for number in 0..metadata.size.div_ceil(block) {
        let entry =
            bat[metadata.entry(number) as usize * 8..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
        table.push(match BatEntry::decode(entry) {
            Some(BatEntry::At(offset)) => Some(offset),
            Some(BatEntry::Zero) => None,
            None => return Err(damaged("vhdx", format!("block {number} is in an unknown state"))),
        });
    }
    let layout = Layout { format: "vhdx", size: metadata.size, block, table: Box::new(Flat(table)) };
    mapped::Reader::new(file, layout)
}
