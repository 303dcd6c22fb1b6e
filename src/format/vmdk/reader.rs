//! Reading a VMDK that is one file: sparse, or stream optimized.
//!
//! In: a file that may be damaged or hostile. Out: where its grains are. Refuses what is spread over several files.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::descriptor;
use super::header::{AT_END, ENTRIES, Header, SECTOR};
use crate::error::{OrCannot, Result};
use crate::format::mapped::{self, Layout, Place, Table, damaged, leans};

/// Grain tables that are kept.
const KEPT: usize = 64;
/// A descriptor is no longer.
const LONGEST_DESCRIPTOR: u64 = 1 << 20;

/// Opens a VMDK.
pub fn open(file: File) -> Result<mapped::Reader> {
    let mut header = Header::decode(&mapped::read_table(&file, "vmdk", "the header", 0, SECTOR)?)?;
    let (start, length) = header.descriptor;
    if start == 0 || length == 0 {
        return Err(leans("vmdk", "its descriptor lies elsewhere"));
    }
    if length > LONGEST_DESCRIPTOR / SECTOR || start > u64::from(u32::MAX) {
        return Err(damaged("vmdk", "its descriptor is too long"));
    }
    let text = mapped::read_table(&file, "vmdk", "the descriptor", start * SECTOR, length * SECTOR)?;
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    descriptor::check(&String::from_utf8_lossy(text))?;
    if header.directory == AT_END {
        // Footer and end marker are the last two sectors.
        let length = file.metadata().or_cannot(|| "look at the image")?.len();
        let at = length.checked_sub(2 * SECTOR).ok_or_else(|| damaged("vmdk", "its footer is missing"))?;
        header = Header::decode(&mapped::read_table(&file, "vmdk", "the footer", at, SECTOR)?)?;
    }
    let block = header.grain * SECTOR;
    let size = header.capacity.checked_mul(SECTOR).filter(|size| *size <= 1 << 60);
    let size = size.ok_or_else(|| damaged("vmdk", "a disk of that size cannot be"))?;
    let tables = size.div_ceil(block * ENTRIES);
    let place = header.directory.checked_mul(SECTOR).ok_or_else(|| damaged("vmdk", "its grain directory is lost"))?;
    let directory = mapped::read_table(&file, "vmdk", "the grain directory", place, tables * 4)?;
    let directory = directory.as_chunks::<4>().0.iter().map(|entry| u32::from_le_bytes(*entry)).collect();
    let table = Grains { directory, tables: VecDeque::new(), compressed: header.compressed, zeroed: header.zeroed };
    mapped::Reader::new(file, Layout { format: "vmdk", size, block, table: Box::new(table) })
}

struct Grains {
    directory: Vec<u32>,
    /// (number, entries), the last used one first.
    tables: VecDeque<(u64, Vec<u32>)>,
    compressed: bool,
    zeroed: bool,
}

impl Grains {
    fn entry(&mut self, file: &File, grain: u64) -> io::Result<u32> {
        let number = grain / ENTRIES;
        let sector = self.directory.get(number as usize).copied().unwrap_or(0);
        if sector == 0 {
            return Ok(0);
        }
        if let Some(at) = self.tables.iter().position(|(kept, _)| *kept == number) {
            self.tables.swap(0, at);
        } else {
            let mut bytes = vec![0; (ENTRIES * 4) as usize];
            file.read_exact_at(&mut bytes, u64::from(sector) * SECTOR).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => io::Error::new(
                    ErrorKind::InvalidData,
                    "the vmdk image is damaged: a grain table lies behind its end",
                ),
                _ => error,
            })?;
            let entries = bytes.as_chunks::<4>().0.iter().map(|entry| u32::from_le_bytes(*entry)).collect();
            self.tables.truncate(KEPT - 1);
            self.tables.push_front((number, entries));
        }
        Ok(self.tables[0].1[(grain % ENTRIES) as usize])
    }

    fn is_hole(&self, entry: u32) -> bool {
        entry == 0 || entry == 1 && self.zeroed
    }
}

impl Table for Grains {
    fn place(&mut self, file: &File, grain: u64) -> io::Result<Place> {
        let entry = self.entry(file, grain)?;
        let offset = u64::from(entry) * SECTOR;
        if self.is_hole(entry) {
            return Ok(Place::Hole);
        }
        if !self.compressed {
            return Ok(Place::At(offset));
        }
        let mut marker = [0; 12];
        file.read_exact_at(&mut marker, offset)?;
        let length = u32::from_le_bytes([marker[8], marker[9], marker[10], marker[11]]);
        Ok(Place::Packed(offset + marker.len() as u64, length.into()))
    }

    fn next_data(&mut self, file: &File, block: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        let mut grain = block;
        while grain < end {
            if self.directory.get((grain / ENTRIES) as usize).is_none_or(|sector| *sector == 0) {
                grain = (grain / ENTRIES + 1) * ENTRIES;
                continue;
            }
            let entry = self.entry(file, grain)?;
            if !self.is_hole(entry) {
                return Ok(Some(grain..grain + 1));
            }
            grain += 1;
        }
        Ok(None)
    }
}
