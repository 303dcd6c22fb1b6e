//! VDI, VirtualBox's format (version 1.1; `VDICore.h` of VirtualBox names the fields).
//!
//! In: a raw disk. Out: a header, a map of blocks of 1 MiB, and the blocks that hold something; and back. Never writes or
//! follows an image that differs from a parent.

use std::collections::BTreeMap;
use std::fs::File;

use super::mapped::{self, Flat, Layout, damaged, leans};
use super::stream::{Blocks, Stream};
use super::{DiskFormat, Writing, unknown_option};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, Result};
use crate::pieces::Pieces;
use crate::release::Artifact;

/// What stands at offset 64.
pub const SIGNATURE: u32 = 0xbeda_107f;
/// Where it stands.
pub const SIGNATURE_AT: usize = 64;

const TEXT: &[u8] = b"<<< ingot VM Virtual Disk Image >>>\n";
const VERSION: u32 = 0x0001_0001;
/// What follows the signature and the version.
const HEADER: u32 = 400;
const BLOCK: u64 = 1 << 20;
/// Where the map lies.
const MAP: u64 = 512;
/// An entry of a block that was never written.
const FREE: u32 = 0xffff_ffff;
/// An entry of a block of zeros.
const ZERO: u32 = 0xffff_fffe;
/// The largest disk that this version reads back: its map has 64 MiB. A limit of ours: QEMU goes on up to 1 PiB.
const LARGEST: u64 = (64 << 20) / 4 * BLOCK;

/// `format="vdi"`.
pub struct Vdi;

impl DiskFormat for Vdi {
    fn name(&self) -> &'static str {
        "vdi"
    }

    fn extension(&self) -> &'static str {
        "vdi"
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        match options.keys().next() {
            Some(key) => Err(unknown_option("vdi", key, &[])),
            None => Ok(()),
        }
    }

    fn write(&self, writing: &Writing<'_>, _pieces: &mut Pieces) -> Result<Artifact> {
        let Writing { disk, folder, name, step, .. } = *writing;
        let size = disk.size().0;
        if size > LARGEST {
            return Err(Error::cannot(Exit::Description, format!("hold a disk of {}", Bytes(size)))
                .because(format!("this version writes a vdi of {} at most", Bytes(LARGEST))));
        }
        let blocks = Blocks::find(disk, BLOCK)?;
        let total = blocks.total();
        let data = (MAP + total * 4).next_multiple_of(BLOCK);
        let mut stream = Stream::create(folder, name)?;
        step.total(blocks.count());
        stream.write(header(writing, total as u32, blocks.count() as u32, data as u32))?;
        stream.pad_to(MAP)?;
        let mut entries = vec![0xff; total as usize * 4];
        for (place, block) in blocks.data.iter().cloned().flatten().enumerate() {
            entries[block as usize * 4..][..4].copy_from_slice(&(place as u32).to_le_bytes());
        }
        stream.write(entries)?;
        stream.pad_to(data)?;
        for piece in blocks.pieces() {
            stream.blocks(&blocks, &piece)?;
            step.advance(piece.end - piece.start, BLOCK);
        }
        stream.finish(self.name())
    }
}

fn header(writing: &Writing<'_>, total: u32, allocated: u32, data: u32) -> Vec<u8> {
    let size = writing.disk.size().0;
    let mut bytes = TEXT.to_vec();
    bytes.resize(SIGNATURE_AT, 0);
    // 1: blocks are allocated as they are written.
    for number in [SIGNATURE, VERSION, HEADER, 1, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.resize(340, 0);
    // The older geometry says the length of a sector; the one of the BIOS follows further down.
    for number in [MAP as u32, data, 0, 0, 0, 512, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(size.to_le_bytes());
    for number in [BLOCK as u32, 0, total, allocated] {
        bytes.extend(number.to_le_bytes());
    }
    for label in ["vdi", "vdi snapshot"] {
        bytes.extend(writing.identity.seed.uuid(label).to_gpt());
    }
    bytes.resize(MAP as usize, 0);
    bytes
}

/// Opens a VDI that grows or one of fixed size; both have a map.
pub fn open(file: File) -> Result<mapped::Reader> {
    let header = mapped::read_table(&file, "vdi", "the header", 0, 472)?;
    let number = |at: usize| header[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four));
    if number(SIGNATURE_AT) != SIGNATURE || number(68) >> 16 != 1 {
        return Err(damaged("vdi", "its version is not 1.1"));
    }
    match number(76) {
        1 | 2 => {}
        4 => return Err(leans("vdi", "it holds only what differs from its parent")),
        other => return Err(damaged("vdi", format!("its type {other} is unknown"))),
    }
    // The ids of the parent and of the parent's last change.
    if header[424..456].iter().any(|byte| *byte != 0) {
        return Err(leans("vdi", "it has a parent"));
    }
    let (map, data, block, extra) = (number(340), u64::from(number(344)), u64::from(number(376)), number(380));
    let size = header[368..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
    let total = u64::from(number(384));
    if !block.is_power_of_two() || !(512..=1 << 30).contains(&block) || extra != 0 {
        return Err(damaged("vdi", format!("blocks of {block} bytes and {extra} more cannot be")));
    }
    if total < size.div_ceil(block) {
        return Err(damaged("vdi", "its map is shorter than the disk"));
    }
    let table = mapped::read_table(&file, "vdi", "the map of blocks", map.into(), total * 4)?;
    let offset = |entry: &[u8; 4]| match u32::from_le_bytes(*entry) {
        FREE | ZERO => None,
        place => Some(data + u64::from(place) * block),
    };
    let table = table.as_chunks::<4>().0.iter().map(offset).collect();
    mapped::Reader::new(file, Layout { format: "vdi", size, block, table: Box::new(Flat(table)) })
}
