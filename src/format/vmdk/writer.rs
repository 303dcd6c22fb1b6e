//! Writing a VMDK.
//!
//! In: a raw disk. Out, sparse: header, descriptor, both grain directories with their tables, grains. Out, stream
//! optimized: grains that are compressed on all cores, the table of each 32 MiB behind them, the directory, the footer.

use std::ops::Range;

use super::descriptor::{Descriptor, Subformat};
use super::header::{AT_END, DESCRIPTOR, ENTRIES, Header, Marker, SECTOR, marker};
use crate::bytes::{Bytes, is_zero};
use crate::error::{Error, Exit, Result};
use crate::format::Writing;
use crate::format::stream::{Blocks, Stream};
use crate::parallel::{InOrder, Spare};
use crate::pieces::{Mark, Pieces, Search};
use crate::release::Artifact;

/// Sectors of a grain.
const GRAIN: u64 = 128;
const GRAIN_BYTES: u64 = GRAIN * SECTOR;
/// Sectors of a grain table.
const TABLE: u64 = ENTRIES * 4 / SECTOR;
/// libdeflate's level: as small as zlib's 6, in a third of its time.
const LEVEL: i32 = 4;
/// The largest disk, that of VMware's hosts.
const LARGEST: u64 = 62 << 40;
/// Entries of grain tables have 32 bits and count sectors.
const LARGEST_FILE: u64 = (1 << 32) * SECTOR;

/// What is written beside the disk's content.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The layout.
    pub subformat: Subformat,
    /// `ddb.adapterType`.
    pub adapter: &'static str,
    /// `ddb.virtualHWVersion`.
    pub hardware: u32,
    /// `ddb.toolsVersion`.
    pub tools: Option<u32>,
    /// Size of the virtual disk where it is larger than the raw one.
    pub size: Bytes,
}

/// Writes the file.
pub fn write(writing: &Writing<'_>, settings: &Settings, pieces: &mut Pieces) -> Result<Artifact> {
    let size = writing.disk.size().max(settings.size).0;
    if size > LARGEST {
        return Err(Error::cannot(Exit::Description, format!("hold a disk of {}", Bytes(size)))
            .because(format!("a vmdk holds {} at most", Bytes(LARGEST))));
    }
    // All ones would be "no parent", all ones but the last bit "unknown".
    let content_id = writing.identity.seed.uuid("vmdk").short() & 0x7fff_ffff;
    let descriptor = Descriptor {
        subformat: settings.subformat,
        adapter: settings.adapter,
        hardware: settings.hardware,
        tools: settings.tools,
        name: writing.name,
        sectors: size / SECTOR,
        content_id,
    };
    let mut text = descriptor.text().into_bytes();
    if text.len() as u64 > DESCRIPTOR * SECTOR {
        return Err(Error::cannot(Exit::Description, "write the descriptor of a vmdk").because("its name is too long"));
    }
    text.resize((DESCRIPTOR * SECTOR) as usize, 0);
    let blocks = Blocks::find(writing.disk, GRAIN_BYTES)?;
    writing.step.total(blocks.count());
    let stream = Stream::create(writing.folder, writing.name)?;
    match settings.subformat {
        Subformat::MonolithicSparse => sparse(writing, stream, text, &blocks, size),
        Subformat::StreamOptimized => optimized(writing, stream, text, &blocks, size, pieces),
    }
}

fn too_large() -> Error {
    Error::cannot(Exit::Description, "hold what is on the disk")
        .because(format!("the file of a vmdk has {} at most", Bytes(LARGEST_FILE)))
}

fn sparse(writing: &Writing<'_>, mut stream: Stream, text: Vec<u8>, blocks: &Blocks, size: u64) -> Result<Artifact> {
    let tables = size.div_ceil(GRAIN_BYTES * ENTRIES);
    let directory = (tables * 4).div_ceil(SECTOR);
    let redundant = 1 + DESCRIPTOR;
    let primary = redundant + directory + tables * TABLE;
    let overhead = (primary + directory + tables * TABLE).next_multiple_of(GRAIN);
    if overhead + blocks.count() * GRAIN > LARGEST_FILE / SECTOR {
        return Err(too_large());
    }
    let header = Header {
        compressed: false,
        zeroed: false,
        capacity: size / SECTOR,
        grain: GRAIN,
        descriptor: (1, DESCRIPTOR),
        entries: ENTRIES as u32,
        redundant,
        directory: primary,
        overhead,
    };
    stream.write(header.encode())?;
    stream.write(text)?;
    for start in [redundant, primary] {
        let entries = (0..tables).flat_map(|table| ((start + directory + table * TABLE) as u32).to_le_bytes());
        let mut entries: Vec<u8> = entries.collect();
        entries.resize((directory * SECTOR) as usize, 0);
        stream.write(entries)?;
        let first = stream.at();
        let mut next = overhead;
        let mut grains = blocks.data.iter().cloned().flatten().peekable();
        while let Some(table) = grains.peek().map(|grain| grain / ENTRIES) {
            let mut entries = vec![0; (TABLE * SECTOR) as usize];
            while let Some(grain) = grains.next_if(|grain| grain / ENTRIES == table) {
                entries[(grain % ENTRIES) as usize * 4..][..4].copy_from_slice(&(next as u32).to_le_bytes());
                next += GRAIN;
            }
            stream.pad_to(first + table * TABLE * SECTOR)?;
            stream.write(entries)?;
        }
        stream.pad_to(first + tables * TABLE * SECTOR)?;
    }
    stream.pad_to(overhead * SECTOR)?;
    for piece in blocks.pieces() {
        stream.blocks(blocks, &piece)?;
        writing.step.advance(piece.end - piece.start, (piece.end - piece.start) * GRAIN_BYTES);
    }
    stream.finish("vmdk")
}

/// Grains of one piece, each with its marker in front and filled up to a sector.
struct Packed {
    grains: Vec<(u64, u64, Option<Mark>)>,
    data: Vec<u8>,
    read: u64,
}

fn optimized(
    writing: &Writing<'_>,
    mut stream: Stream,
    text: Vec<u8>,
    blocks: &Blocks,
    size: u64,
    known: &mut Pieces,
) -> Result<Artifact> {
    let mut header = Header {
        compressed: true,
        zeroed: false,
        capacity: size / SECTOR,
        grain: GRAIN,
        descriptor: (1, DESCRIPTOR),
        entries: ENTRIES as u32,
        redundant: 0,
        directory: AT_END,
        overhead: GRAIN,
    };
    stream.write(header.encode())?;
    stream.write(text)?;
    stream.pad_to(GRAIN_BYTES)?;
    let (read, search, spare) = (blocks.reader(), known.search(), Spare::new(Tools::new));
    let mut work = InOrder::new(move |piece: Range<u64>| {
        spare.lend(|tools| {
            read(piece.clone(), &mut tools.grains)?;
            pack(piece, tools, &search)
        })
    });
    let mut tables = Tables { entries: vec![0; (ENTRIES * 4) as usize], number: 0, directory: Vec::new(), size };
    let mut put = |packed: Packed| {
        let mut data = packed.data;
        let mut left = packed.grains.as_slice();
        while let Some((number, _, _)) = left.first() {
            if number / ENTRIES != tables.number {
                tables.finish(&mut stream)?;
                tables.number = number / ENTRIES;
            }
            // All grains of the piece that are of this table go out at once.
            let here = left.iter().take_while(|(number, ..)| number / ENTRIES == tables.number).count();
            let mut at = stream.at();
            let mut length = 0;
            for (number, grain, mark) in &left[..here] {
                if at / SECTOR > u64::from(u32::MAX) {
                    return Err(too_large());
                }
                tables.entries[(number % ENTRIES) as usize * 4..][..4]
                    .copy_from_slice(&((at / SECTOR) as u32).to_le_bytes());
                known.note(*mark, at + MARK);
                at += grain;
                length += *grain as usize;
            }
            let rest = data.split_off(length);
            stream.write(std::mem::replace(&mut data, rest))?;
            left = &left[here..];
        }
        writing.step.advance(packed.read / GRAIN_BYTES, packed.read);
        Ok(())
    };
    for piece in blocks.pieces() {
        if let Some(packed) = work.push(piece)? {
            put(packed)?;
        }
    }
    while let Some(packed) = work.take()? {
        put(packed)?;
    }
    tables.finish(&mut stream)?;
    tables.directory.resize(size.div_ceil(GRAIN_BYTES * ENTRIES) as usize, 0);
    let mut directory: Vec<u8> = tables.directory.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    directory.resize(directory.len().next_multiple_of(SECTOR as usize), 0);
    stream.write(marker(Marker::Directory, directory.len() as u64 / SECTOR))?;
    header.directory = stream.at() / SECTOR;
    stream.write(directory)?;
    stream.write(marker(Marker::Footer, 1))?;
    stream.write(header.encode())?;
    stream.write(marker(Marker::End, 0))?;
    stream.finish("vmdk")
}

/// The grain table under construction, and those that are written.
struct Tables {
    entries: Vec<u8>,
    number: u64,
    directory: Vec<u32>,
    size: u64,
}

impl Tables {
    fn finish(&mut self, stream: &mut Stream) -> Result<()> {
        if is_zero(&self.entries) {
            return Ok(());
        }
        stream.write(marker(Marker::Table, TABLE))?;
        if stream.at() >= LARGEST_FILE || self.size == 0 {
            return Err(too_large());
        }
        self.directory.resize(self.number as usize, 0);
        self.directory.push((stream.at() / SECTOR) as u32);
        let entries = std::mem::replace(&mut self.entries, vec![0; (ENTRIES * 4) as usize]);
        stream.write(entries)
    }
}

/// Length of a grain's marker: its first sector on the disk, the length of its data.
const MARK: u64 = 12;

/// What a thread compresses with.
struct Tools {
    encoder: libdeflater::Compressor,
    grains: Vec<u8>,
    room: Vec<u8>,
}

fn bug() -> Error {
    Error::cannot(Exit::Bug, "compress a grain with deflate")
}

impl Tools {
    fn new() -> Result<Tools> {
        let level = libdeflater::CompressionLvl::new(LEVEL).map_err(|_| bug())?;
        let mut encoder = libdeflater::Compressor::new(level);
        let room = vec![0; encoder.zlib_compress_bound(GRAIN_BYTES as usize)];
        Ok(Tools { encoder, grains: Vec::new(), room })
    }
}

fn pack(piece: Range<u64>, tools: &mut Tools, search: &Search) -> Result<Packed> {
    let Tools { encoder, grains, room } = tools;
    let mut packed = Packed { grains: Vec::new(), data: Vec::with_capacity(grains.len()), read: grains.len() as u64 };
    for (number, grain) in piece.zip(grains.chunks_exact(GRAIN_BYTES as usize)) {
        let found = search.find(grain);
        let compressed = match found.piece() {
            Some(known) => known,
            None => {
                let length = encoder.zlib_compress(grain, room).map_err(|_| bug())?;
                &room[..length]
            }
        };
        let start = packed.data.len();
        packed.data.extend((number * GRAIN).to_le_bytes());
        packed.data.extend((compressed.len() as u32).to_le_bytes());
        packed.data.extend_from_slice(compressed);
        let end = packed.data.len().next_multiple_of(SECTOR as usize);
        packed.data.resize(end, 0);
        packed.grains.push((number, (end - start) as u64, found.mark(compressed)));
    }
    Ok(packed)
}
