//! Writing a qcow2 image.
//!
//! In: a raw disk. Out: header, then clusters in the order of the disk with the L2 table of each range after them, then
//! L1, reference count blocks and their table; and the SHA-256 of all that.
//!
//! The digest cannot run along: it begins with the header, the header points to L1, and where L1 comes to lie is known
//! when the last cluster is compressed. So the file is hashed when it is complete, from the page cache, half a second
//! per GB of image with SHA instructions, while the kernel writes the rest of it to its disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::deflate::Deflate;
use super::table::{self, COPIED, CompressionType, Header};
use super::{Options, Packing};
use crate::bytes::is_zero;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::format::Writing;
use crate::format::writeback::WriteBack;
use crate::host;
use crate::parallel::{InOrder, Spare};
use crate::pieces::{Mark, Pieces, Search};
use crate::release::{Artifact, hash};
use crate::report::Step;

/// About so many bytes of the disk are one piece of work.
const PIECE: u64 = 1 << 20;
/// Clusters of 16 KiB.
const SMALLEST_KNOWN: u32 = 14;
/// So many clusters of the file may wait for another compressed one that fits.
const GAPS: usize = 8;
/// Zstandard's level, the one that QEMU takes.
const ZSTD_LEVEL: i32 = 3;

/// Writes the file.
pub fn write(writing: &Writing<'_>, options: Options, known: &mut Pieces) -> Result<Artifact> {
    let Writing { disk, folder, name, step, .. } = *writing;
    let source = Arc::new(host::file::open(disk.path())?);
    let size = disk.size().0;
    let ranges = host::file::data_ranges(&source)?;
    let pieces = pieces(&ranges, size, options.cluster_bits);
    let target = host::file::create(&folder.join(name))?;
    let mut image = Image::new(target, size, options)?;
    // Entries of an index for smaller clusters would be larger than the clusters.
    let worth = options.packing != Packing::Plain && options.cluster_bits >= SMALLEST_KNOWN;
    let search = if worth { known.search() } else { Pieces::ignored().search() };
    let spare = Spare::new(move || Tools::new(options));
    let mut work = InOrder::new(move |piece| spare.lend(|tools| pack(&source, piece, size, options, tools, &search)));
    step.total(pieces.iter().map(|piece| piece.end - piece.start).sum());
    for piece in pieces {
        if let Some(packed) = work.push(piece)? {
            image.add(&packed, known, step)?;
        }
    }
    while let Some(packed) = work.take()? {
        image.add(&packed, known, step)?;
    }
    let (file, _write_back) = image.finish()?;
    let (sha256, size) = hash::file(&file, None, step)?;
    Ok(Artifact { name: name.into(), format: "qcow2".into(), sha256, size, options: BTreeMap::new() })
}

/// The clusters that hold data, in ranges of about [`PIECE`] bytes.
fn pieces(data: &[Range<u64>], size: u64, cluster_bits: u32) -> Vec<Range<u64>> {
    let most = (PIECE >> cluster_bits).max(1);
    let mut pieces: Vec<Range<u64>> = Vec::new();
    let mut next = 0;
    for range in data {
        let mut start = next.max(range.start >> cluster_bits);
        let end = range.end.min(size).div_ceil(1 << cluster_bits);
        while start < end {
            let stop = end.min(start + most);
            pieces.push(start..stop);
            start = stop;
        }
        next = next.max(end);
    }
    pieces
}

/// Clusters of one piece, packed; those that are all zeros are missing.
struct Packed {
    clusters: Vec<Cluster>,
    data: Vec<u8>,
    seen: u64,
}

/// One cluster and how many bytes of [`Packed::data`] it has.
struct Cluster {
    number: u64,
    length: usize,
    packing: Packing,
    mark: Option<Mark>,
}

enum Packer {
    Plain,
    Deflate(Box<Deflate>),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Packer {
    fn new(packing: Packing) -> Result<Packer> {
        Ok(match packing {
            Packing::Plain => Packer::Plain,
            Packing::Deflate => Packer::Deflate(Box::new(Deflate::new()?)),
            Packing::Zstd => {
                Packer::Zstd(zstd::bulk::Compressor::new(ZSTD_LEVEL).or_cannot(|| "start the zstd encoder")?)
            }
        })
    }

    /// Compresses into `room`, which is shorter than `cluster`; `None` where it does not fit.
    fn pack(&mut self, cluster: &[u8], room: &mut [u8]) -> Option<usize> {
        match self {
            Packer::Plain => None,
            Packer::Deflate(deflate) => deflate.pack(cluster, room),
            Packer::Zstd(encoder) => encoder.compress_to_buffer(cluster, room).ok(),
        }
    }
}

/// What a thread compresses with.
struct Tools {
    packer: Packer,
    input: Vec<u8>,
    room: Vec<u8>,
}

impl Tools {
    fn new(options: Options) -> Result<Tools> {
        let room = vec![0; (1 << options.cluster_bits) - 1];
        Ok(Tools { packer: Packer::new(options.packing)?, input: Vec::new(), room })
    }
}

fn pack(
    source: &File,
    piece: Range<u64>,
    size: u64,
    options: Options,
    tools: &mut Tools,
    search: &Search,
) -> Result<Packed> {
    let Tools { packer, input, room } = tools;
    let cluster_size = 1_usize << options.cluster_bits;
    let start = piece.start << options.cluster_bits;
    input.resize(((piece.end - piece.start) as usize) << options.cluster_bits, 0);
    // Behind the disk's end the last cluster is filled with zeros.
    let length = (size - start).min(input.len() as u64) as usize;
    source.read_exact_at(&mut input[..length], start).or_cannot(|| "read the disk")?;
    input[length..].fill(0);
    let mut packed =
        Packed { clusters: Vec::new(), data: Vec::with_capacity(input.len()), seen: piece.end - piece.start };
    for (number, cluster) in piece.zip(input.chunks_exact(cluster_size)) {
        if is_zero(cluster) {
            continue;
        }
        let found = search.find(cluster);
        let compressed = match found.piece() {
            Some(known) => known,
            None => packer.pack(cluster, room).map_or(&[][..], |length| &room[..length]),
        };
        let mark = found.mark(compressed);
        let (bytes, packing) =
            if compressed.is_empty() { (cluster, Packing::Plain) } else { (compressed, options.packing) };
        packed.data.extend_from_slice(bytes);
        packed.clusters.push(Cluster { number, length: bytes.len(), packing, mark });
    }
    Ok(packed)
}

/// The end of a cluster of the file behind compressed ones.
struct Gap {
    offset: u64,
    room: u64,
}

/// An image that is being written.
struct Image {
    file: File,
    options: Options,
    size: u64,
    /// Bytes of the file that are given away, whole clusters.
    end: u64,
    gaps: Vec<Gap>,
    /// One count per cluster of the file.
    refcounts: Vec<u16>,
    l1: Vec<u64>,
    /// The L2 table under construction and its number.
    l2: Vec<u64>,
    l2_number: usize,
    write_back: WriteBack,
}

impl Image {
    fn new(file: File, size: u64, options: Options) -> Result<Image> {
        let cluster = 1_u64 << options.cluster_bits;
        let l1_entries = Header::l1_entries(size, options.cluster_bits);
        if l1_entries * 8 > 32 << 20 {
            return Err(Error::cannot(Exit::Description, format!("describe {size} bytes with clusters of {cluster}"))
                .because("the L1 table would have more than 32 MiB, which QEMU refuses")
                .hint("choose a larger cluster_size"));
        }
        let mut image = Image {
            file,
            options,
            size,
            end: 0,
            gaps: Vec::new(),
            refcounts: Vec::new(),
            l1: vec![0; l1_entries as usize],
            l2: vec![0; (cluster / 8) as usize],
            l2_number: 0,
            write_back: WriteBack::default(),
        };
        // The header's cluster, written last.
        image.allocate(1);
        Ok(image)
    }

    fn cluster(&self) -> u64 {
        1 << self.options.cluster_bits
    }

    /// New clusters at the end of the file.
    fn allocate(&mut self, clusters: u64) -> u64 {
        let offset = self.end;
        self.refcounts.resize(self.refcounts.len() + clusters as usize, 1);
        self.end += clusters * self.cluster();
        offset
    }

    /// Room for a compressed cluster: in the first gap that it fits into, or that can grow because nothing follows.
    fn place(&mut self, length: u64) -> u64 {
        let (cluster, end) = (self.cluster(), self.end);
        let fits = |gap: &Gap| gap.room >= length || gap.offset + gap.room == end;
        let shared = |gap: &Gap| (gap.offset / cluster) as usize;
        let found = self.gaps.iter().position(|gap| fits(gap) && self.refcounts[shared(gap)] < u16::MAX);
        let Gap { offset, mut room } = match found {
            Some(at) => {
                let gap = self.gaps.remove(at);
                self.refcounts[shared(&gap)] += 1;
                gap
            }
            None => Gap { offset: self.allocate(1), room: cluster },
        };
        if room < length {
            self.allocate(1);
            room += cluster;
        }
        if room > length {
            self.gaps.push(Gap { offset: offset + length, room: room - length });
        }
        if self.gaps.len() > GAPS {
            let least = (0..self.gaps.len()).min_by_key(|at| self.gaps[*at].room);
            least.map(|at| self.gaps.remove(at));
        }
        offset
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).or_cannot(|| "write the image")
    }

    fn add(&mut self, packed: &Packed, known: &mut Pieces, step: &Step) -> Result<()> {
        // Clusters that follow each other in the file are written at once: where they are in `packed.data`, and where
        // they go to.
        let (mut run, mut run_offset) = (0..0, 0);
        for cluster in &packed.clusters {
            let l2_number = (cluster.number / self.l2.len() as u64) as usize;
            if l2_number != self.l2_number {
                self.finish_l2()?;
                self.l2_number = l2_number;
            }
            let (offset, entry) = if cluster.packing == Packing::Plain {
                let offset = self.allocate(1);
                (offset, offset | COPIED)
            } else {
                let length = cluster.length as u64;
                let offset = self.place(length);
                (offset, table::compressed_entry(self.options.cluster_bits, offset, length))
            };
            known.note(cluster.mark, offset);
            if offset != run_offset + run.len() as u64 {
                self.write_at(&packed.data[run.clone()], run_offset)?;
                (run, run_offset) = (run.end..run.end, offset);
            }
            run.end += cluster.length;
            let slot = (cluster.number % self.l2.len() as u64) as usize;
            self.l2[slot] = entry;
        }
        self.write_at(&packed.data[run], run_offset)?;
        self.write_back.reached(&self.file, self.end);
        step.advance(packed.seen, packed.seen << self.options.cluster_bits);
        Ok(())
    }

    fn finish_l2(&mut self) -> Result<()> {
        if self.l2.iter().all(|entry| *entry == 0) {
            return Ok(());
        }
        let offset = self.allocate(1);
        self.write_at(&table::big_endian(&self.l2), offset)?;
        self.l1[self.l2_number] = offset | COPIED;
        self.l2.fill(0);
        Ok(())
    }

    /// The file; the kernel writes it back until the other is dropped.
    fn finish(mut self) -> Result<(File, WriteBack)> {
        self.finish_l2()?;
        let (bits, cluster) = (self.options.cluster_bits, self.cluster());
        let l1_offset = self.allocate((self.l1.len() as u64 * 8).div_ceil(cluster));
        self.write_at(&table::big_endian(&self.l1), l1_offset)?;
        let (blocks, tables) = table::refcount_clusters(self.end / cluster, bits);
        let blocks_offset = self.allocate(blocks);
        let refcount_offset = self.allocate(tables);
        let counts: Vec<u8> = self.refcounts.iter().flat_map(|count| count.to_be_bytes()).collect();
        self.write_at(&counts, blocks_offset)?;
        let entries: Vec<u64> = (0..blocks).map(|block| blocks_offset + block * cluster).collect();
        self.write_at(&table::big_endian(&entries), refcount_offset)?;
        let header = Header {
            cluster_bits: bits,
            size: self.size,
            l1_entries: self.l1.len() as u32,
            l1_offset,
            refcount_offset,
            refcount_clusters: tables as u32,
            compression: match self.options.packing {
                Packing::Zstd => CompressionType::Zstd,
                Packing::Plain | Packing::Deflate => CompressionType::Zlib,
            },
            version: 3,
        };
        self.write_at(&header.encode(), 0)?;
        self.file.set_len(self.end).or_cannot(|| "write the image")?;
        self.write_back.last(&self.file, self.end);
        Ok((self.file, self.write_back))
    }
}
