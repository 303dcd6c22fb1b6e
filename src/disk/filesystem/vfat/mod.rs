//! FAT16 and FAT32, for the EFI system partition.
//!
//! In: a part of the tree. Out: a filesystem in a byte range of the disk, files without gaps in the order of names, with
//! a fixed volume id and times from the tree. FAT stores names and content only: owners and modes are those of the mount.
//! Refuses what is neither file nor folder. Reference: Microsoft's FAT specification of 2000.

mod name;

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::content::{Content, Node};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::plan::Filesystem;
use crate::report::civil_date;
use crate::root::RootTree;
use crate::root::tree::Kind;
use name::{ENTRY, Stored, store};

const SECTOR: u64 = 512;
/// From this size on there are enough clusters of 512 bytes for FAT32, which the UEFI specification asks for.
const FAT32: Bytes = Bytes::mib(36);
/// Below, there are not enough clusters for FAT16.
const FAT16: Bytes = Bytes::mib(3);
/// Entries of the root folder of FAT16.
const ROOT_ENTRIES: u64 = 512;
const DIRECTORY: u8 = 0x10;
const ARCHIVE: u8 = 0x20;
const VOLUME: u8 = 0x08;

/// Where things are, in sectors from the start of the partition.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    is_fat32: bool,
    total: u64,
    /// Sectors in a cluster.
    cluster: u64,
    reserved: u64,
    /// Sectors in each of the two tables.
    table: u64,
    root: u64,
    clusters: u64,
}

impl Geometry {
    fn new(size: Bytes) -> Geometry {
        let (is_fat32, total) = (size >= FAT32, size.0 / SECTOR);
        let (bits, reserved, root) = if is_fat32 { (32, 32, 0) } else { (16, 4, ROOT_ENTRIES * ENTRY as u64 / SECTOR) };
        let most = if is_fat32 { 1 << 22 } else { 65_524 };
        let mut cluster = 1;
        while (total - reserved - root) / cluster > most {
            cluster *= 2;
        }
        let upper = (total - reserved - root) / cluster;
        let table = ((upper + 2) * bits).div_ceil(8 * SECTOR);
        let clusters = (total - reserved - root - 2 * table) / cluster;
        Geometry { is_fat32, total, cluster, reserved, table, root, clusters }
    }

    fn cluster_bytes(&self) -> u64 {
        self.cluster * SECTOR
    }

    /// Offset of a cluster in the partition.
    fn place(&self, cluster: u64) -> u64 {
        (self.reserved + 2 * self.table + self.root + (cluster - 2) * self.cluster) * SECTOR
    }
}

/// A file or folder with its clusters.
struct Placed<'a> {
    node: &'a Node,
    parent: usize,
    stored: Stored,
    first: u64,
    /// Bytes of it, as far as they are on the disk.
    length: u64,
}

/// Formats `size` bytes of `disk` from `offset` on, which are zero, and fills them. 65 where the content does not fit or
/// cannot be stored, naming what.
pub fn write(
    content: &Content,
    filesystem: &Filesystem,
    tree: &RootTree,
    epoch: i64,
    disk: &File,
    (offset, size): (Bytes, Bytes),
) -> Result<()> {
    let refuse = |why: String| {
        let error = Error::cannot(Exit::Description, format!("make the filesystem for {}", filesystem.mount_point));
        Err(error.because(why))
    };
    if size < FAT16 {
        return refuse(format!("its partition has {size}, and FAT16 needs {FAT16}"));
    }
    let geometry = Geometry::new(size);
    let placed = place(content, &geometry)?;
    let used: u64 = placed.iter().map(|file| file.length.div_ceil(geometry.cluster_bytes())).sum();
    let needed = Bytes(used * geometry.cluster_bytes());
    if used > geometry.clusters {
        return refuse(format!(
            "its partition has room for {} and the files take {needed}",
            Bytes(geometry.clusters * geometry.cluster_bytes())
        ))
        .map_err(|error| error.hint("make the partition larger (efipartsize)"));
    }
    if !geometry.is_fat32 && placed[0].length > 0 {
        return refuse(format!("there are more than {ROOT_ENTRIES} entries in its first folder"));
    }
    let put = |at: u64, bytes: &[u8]| disk.write_all_at(bytes, offset.0 + at).or_cannot(|| "write the disk");
    let boot = boot_sector(&geometry, filesystem, offset)?;
    put(0, &boot)?;
    if geometry.is_fat32 {
        let information = information_sector(geometry.clusters - used, 2 + used);
        for (at, sector) in [(1, &information), (6, &boot), (7, &information)] {
            put(at * SECTOR, sector)?;
        }
    }
    let table = table(&geometry, &placed);
    for copy in [0, 1] {
        put((geometry.reserved + copy * geometry.table) * SECTOR, &table)?;
    }
    for (index, file) in placed.iter().enumerate() {
        match file.node.entry.kind {
            Kind::Folder => {
                let entries = folder(index, &placed, filesystem, epoch)?;
                let is_fixed_root = index == 0 && !geometry.is_fat32;
                let at = (geometry.reserved + 2 * geometry.table) * SECTOR;
                put(if is_fixed_root { at } else { geometry.place(file.first) }, &entries)?;
            }
            _ => {
                let mut bytes = tree.read(&file.node.entry.path)?;
                bytes.truncate(file.length as usize);
                if file.length > 0 {
                    put(geometry.place(file.first), &bytes)?;
                }
            }
        }
    }
    Ok(())
}

/// Gives every file its name and its clusters, folders before what is in them.
fn place<'a>(content: &'a Content, geometry: &Geometry) -> Result<Vec<Placed<'a>>> {
    let mut placed: Vec<Placed> = Vec::new();
    let mut next = 2;
    let top = Stored { short: [b' '; 11], long: Vec::new() };
    let mut open = vec![(0, 0, top)];
    while let Some((index, parent, stored)) = open.pop() {
        let node = &content.nodes[index];
        let refuse = |path: &crate::root::RootPath, why: &str| {
            Error::cannot(Exit::Description, format!("store {path} in its partition")).because(why)
        };
        let own = placed.len();
        let (mut entries, mut taken, mut folded) = (if own == 0 { 1 } else { 2 }, HashSet::new(), HashSet::new());
        let mut below = Vec::new();
        for (name, child) in &node.children {
            let path = node.entry.path.join(name);
            let stored = store(name, &mut taken).ok_or_else(|| refuse(&path, "FAT has no place for its name"))?;
            if !folded.insert(String::from_utf8_lossy(name).to_uppercase()) {
                return Err(refuse(&path, "FAT cannot tell it from another name that differs in case only"));
            }
            entries += 1 + stored.long.len() as u64;
            below.push((*child, own, stored));
        }
        let length = match node.entry.kind {
            Kind::File if node.entry.size < Bytes::gib(4) => node.entry.size.0,
            Kind::Folder if own == 0 && !geometry.is_fat32 && entries <= ROOT_ENTRIES => 0,
            Kind::Folder => entries * ENTRY as u64,
            Kind::File => return Err(refuse(&node.entry.path, "FAT holds files of less than 4 GiB")),
            _ => return Err(refuse(&node.entry.path, "FAT holds files and folders only")),
        };
        let clusters = length.div_ceil(geometry.cluster_bytes());
        placed.push(Placed { node, parent, stored, first: if clusters == 0 { 0 } else { next }, length });
        next += clusters;
        open.extend(below.into_iter().rev());
    }
    Ok(placed)
}

/// The entries of a folder.
fn folder(index: usize, placed: &[Placed], filesystem: &Filesystem, epoch: i64) -> Result<Vec<u8>> {
    let mut entries = Vec::new();
    let own = &placed[index];
    let time = |file: &Placed| stamp(file.node.entry.mtime.min(epoch));
    if index == 0 {
        entries.extend(entry(&label(filesystem)?, VOLUME, 0, 0, time(own)));
    } else {
        let parent = &placed[own.parent];
        // The root folder is cluster 0 here, wherever it is.
        let above = if own.parent == 0 { 0 } else { parent.first };
        entries.extend(entry(b".          ", DIRECTORY, own.first, 0, time(own)));
        entries.extend(entry(b"..         ", DIRECTORY, above, 0, time(parent)));
    }
    for file in placed.iter().skip(1).filter(|file| file.parent == index) {
        entries.extend(file.stored.long.as_flattened());
        let (kind, size) = if file.node.entry.is_folder() { (DIRECTORY, 0) } else { (ARCHIVE, file.length as u32) };
        entries.extend(entry(&file.stored.short, kind, file.first, size, time(file)));
    }
    Ok(entries)
}

fn entry(name: &[u8; 11], kind: u8, cluster: u64, size: u32, (date, time): (u16, u16)) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..11].copy_from_slice(name);
    entry[11] = kind;
    for (at, value) in [(14, time), (16, date), (18, date), (22, time), (24, date)] {
        entry[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    entry[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    entry[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    entry[28..32].copy_from_slice(&size.to_le_bytes());
    entry
}

/// Date and time of FAT, which counts from 1980 to 2107 in steps of two seconds.
fn stamp(seconds: i64) -> (u16, u16) {
    let seconds = seconds.clamp(315_532_800, 4_354_819_198);
    let (year, month, day) = civil_date(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    let date = (year - 1980) << 9 | i64::from(month) << 5 | i64::from(day);
    let time = ((rest / 3600) << 11) | ((rest / 60 % 60) << 5) | (rest % 60 / 2);
    (date as u16, time as u16)
}

/// The file allocation table.
fn table(geometry: &Geometry, placed: &[Placed]) -> Vec<u8> {
    let end: u32 = if geometry.is_fat32 { 0x0fff_ffff } else { 0xffff };
    // The first two entries hold the medium's type and the flags of a clean shutdown.
    let mut entries = vec![end & !0xff | 0xf8, end];
    for file in placed {
        let clusters = file.length.div_ceil(geometry.cluster_bytes());
        for cluster in file.first..file.first + clusters {
            let is_last = cluster + 1 == file.first + clusters;
            entries.push(if is_last { end } else { cluster as u32 + 1 });
        }
    }
    let width = if geometry.is_fat32 { 4 } else { 2 };
    entries.iter().flat_map(|entry| entry.to_le_bytes().into_iter().take(width)).collect()
}

fn label(filesystem: &Filesystem) -> Result<[u8; 11]> {
    let mut label = [b' '; 11];
    let text = filesystem.label.to_ascii_uppercase();
    let is_valid = |byte: u8| byte == b' ' || (byte.is_ascii_graphic() && !b"\"*+,./:;<=>?[\\]|".contains(&byte));
    if text.len() > 11 || !text.bytes().all(is_valid) {
        return Err(Error::cannot(Exit::Description, format!("label the partition for {}", filesystem.mount_point))
            .because(format!("`{}` is not a FAT label", filesystem.label))
            .hint("a FAT label has at most 11 characters: letters, digits, blanks, - and _"));
    }
    label[..text.len()].copy_from_slice(text.as_bytes());
    if text.is_empty() {
        label.copy_from_slice(b"NO NAME    ");
    }
    Ok(label)
}

fn boot_sector(geometry: &Geometry, filesystem: &Filesystem, offset: Bytes) -> Result<[u8; 512]> {
    let mut sector = [0; 512];
    let mut set = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    let half = |value: u64| (value as u16).to_le_bytes();
    let word = |value: u64| (value as u32).to_le_bytes();
    set(0, if geometry.is_fat32 { &[0xeb, 0x58, 0x90] } else { &[0xeb, 0x3c, 0x90] });
    set(3, b"MSWIN4.1");
    set(11, &half(SECTOR));
    set(13, &[geometry.cluster as u8]);
    set(14, &half(geometry.reserved));
    set(16, &[2]);
    set(17, &half(if geometry.is_fat32 { 0 } else { ROOT_ENTRIES }));
    let is_short = !geometry.is_fat32 && geometry.total < 1 << 16;
    set(19, &half(if is_short { geometry.total } else { 0 }));
    set(21, &[0xf8]);
    set(22, &half(if geometry.is_fat32 { 0 } else { geometry.table }));
    set(24, &half(63));
    set(26, &half(255));
    set(28, &word(offset.sectors()));
    set(32, &word(if is_short { 0 } else { geometry.total }));
    let identity = if geometry.is_fat32 {
        set(36, &word(geometry.table));
        set(44, &word(2));
        set(48, &half(1));
        set(50, &half(6));
        64
    } else {
        36
    };
    set(identity, &[0x80, 0, 0x29]);
    set(identity + 3, &filesystem.uuid.short().to_le_bytes());
    set(identity + 7, &label(filesystem)?);
    set(identity + 18, if geometry.is_fat32 { b"FAT32   " } else { b"FAT16   " });
    // A machine that starts from here by mistake goes on to its next disk (INT 18h).
    set(identity + 26, &[0xcd, 0x18, 0xeb, 0xfe]);
    set(510, &[0x55, 0xaa]);
    Ok(sector)
}

/// The FSInfo sector of FAT32.
fn information_sector(free: u64, next: u64) -> [u8; 512] {
    let mut sector = [0; 512];
    let rows = [(0, 0x4161_5252), (484, 0x6141_7272), (488, free as u32), (492, next as u32), (508, 0xaa55_0000_u32)];
    for (at, value) in rows {
        sector[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    sector
}
