//! Reading FAT: the EFI system partition.
//!
//! In: the bytes of a filesystem. Out: every entry with its content, and what lies in clusters that nothing uses.
//! Never writes. Layout: Microsoft's FAT specification (fatgen103).

use std::io::{Read, Seek};

use super::ext::{u16_at, u32_at};
use super::window::Window;
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::rooted::Kind;
use crate::root::RootPath;
use crate::root::tree::Entry;

/// Deepest folder and most entries that are read: folders of a hostile image may lead in circles.
const DEEPEST: usize = 64;
const MOST_ENTRIES: usize = 1_000_000;

/// Whether a filesystem's first sector looks like FAT.
pub fn is_fat(start: &[u8]) -> bool {
    let jump = matches!(start.first(), Some(0xeb | 0xe9));
    let named = start.get(54..57) == Some(b"FAT") || start.get(82..85) == Some(b"FAT");
    jump && named && start.get(510..512) == Some(&[0x55, 0xaa])
}

fn damaged(why: impl std::fmt::Display) -> Error {
    Error::cannot(Exit::Description, "read the FAT filesystem").because(why)
}

/// Shows every entry below `/` to `see`, as if the filesystem were mounted at `at`.
pub fn walk<R: Read + Seek>(
    source: Window<R>,
    at: &RootPath,
    see: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let options = fatfs::FsOptions::new().update_accessed_date(false);
    let filesystem = fatfs::FileSystem::new(source, options).map_err(damaged)?;
    let mut seen = 0;
    let mut folders = vec![(at.clone(), filesystem.root_dir(), 0)];
    while let Some((path, folder, depth)) = folders.pop() {
        for item in folder.iter() {
            let item = item.map_err(damaged)?;
            let name = item.file_name();
            if name == "." || name == ".." {
                continue;
            }
            seen += 1;
            if seen > MOST_ENTRIES || depth > DEEPEST {
                return Err(damaged("its folders lead in circles"));
            }
            let entry = entry(path.join(&name), item.is_dir(), item.len());
            let below = entry.path.clone();
            if item.is_dir() {
                see(entry, &mut std::io::empty())?;
                folders.push((below, item.to_dir(), depth + 1));
            } else {
                see(entry, &mut item.to_file())?;
            }
        }
    }
    Ok(())
}

/// FAT knows no owners and no modes: what mount(8) shows by default stands for them.
fn entry(path: RootPath, is_folder: bool, size: u64) -> Entry {
    let (kind, mode) = if is_folder { (Kind::Folder, 0o755) } else { (Kind::File, 0o644) };
    Entry {
        path,
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_nanoseconds: 0,
        size: Bytes(size),
        inode: (0, 0),
        links: 1,
    }
}

/// How much lies in clusters that the table calls free.
pub fn remains<R: Read + Seek>(source: &mut Window<R>) -> Result<Bytes> {
    let mut boot = [0; 512];
    source.read_at(0, &mut boot).or_cannot(|| "read the FAT filesystem")?;
    let sector = u64::from(u16_at(&boot, 11));
    let cluster = sector * u64::from(boot[13]);
    let reserved = u64::from(u16_at(&boot, 14));
    let tables = u64::from(boot[16]);
    let root_entries = u64::from(u16_at(&boot, 17));
    let either = |short: u64, long: u32| if short == 0 { u64::from(long) } else { short };
    let sectors = either(u64::from(u16_at(&boot, 19)), u32_at(&boot, 32));
    let table = either(u64::from(u16_at(&boot, 22)), u32_at(&boot, 36));
    if !sector.is_power_of_two() || !(512..=4096).contains(&sector) || cluster == 0 || table == 0 {
        return Err(damaged("its boot sector is impossible"));
    }
    let data = reserved + tables * table + (root_entries * 32).div_ceil(sector);
    let clusters = sectors.saturating_sub(data) * sector / cluster;
    let fits = sectors * sector <= source.length().0 && table * sector <= 512 << 20;
    if !fits {
        return Err(damaged("it is longer than its partition"));
    }
    let mut entries = vec![0; (table * sector) as usize];
    source.read_at(reserved * sector, &mut entries).or_cannot(|| "read the FAT filesystem")?;
    let mut remains = Bytes::ZERO;
    for number in 2..clusters + 2 {
        if next(&entries, clusters, number) == Some(0) {
            let offset = data * sector + (number - 2) * cluster;
            if source.holds_something(offset, cluster).or_cannot(|| "read the FAT filesystem")? {
                remains += Bytes(cluster);
            }
        }
    }
    Ok(remains)
}

/// The table's entry for a cluster. How wide entries are follows from the number of clusters, and from nothing else.
fn next(entries: &[u8], clusters: u64, number: u64) -> Option<u32> {
    let number = usize::try_from(number).ok()?;
    match clusters {
        0..4085 => {
            let at = number + number / 2;
            let pair = u32::from(u16::from_le_bytes([*entries.get(at)?, *entries.get(at + 1)?]));
            Some(if number % 2 == 0 { pair & 0xfff } else { pair >> 4 })
        }
        4085..65_525 => entries.get(number * 2..number * 2 + 2).map(|entry| u32::from(u16_at(entry, 0))),
        _ => entries.get(number * 4..number * 4 + 4).map(|entry| u32_at(entry, 0) & 0x0fff_ffff),
    }
}
