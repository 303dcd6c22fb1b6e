//! Looking through a disk: its partitions, the filesystems in them, and the space that belongs to nobody.
//!
//! In: a disk's bytes. Out: a [`Report`] on all its filesystems together. A partition that cannot be read is named,
//! never passed over.

use std::io::Read;

use super::ext::{self, Ext};
use super::window::Window;
use super::witness::{Nobody, Witness, see};
use super::{InArtifact, fat};
use crate::bytes::Bytes;
use crate::disk::gpt;
use crate::disk::table::{Listed, PartitionType, read_partitions};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::format::DiskReader;
use crate::report::Step;
use crate::root::RootPath;
use crate::root::tree::Entry;
use crate::scrub::{Auditor, Finding, Report, Severity, Standard};

/// What a partition turns out to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Ext,
    Fat,
    Swap,
    Nothing,
    /// Known by name only.
    Other(&'static str),
    Unknown,
}

/// How much of a partition tells what it holds.
const START: usize = 68 << 10;

/// Whether a disk or a filesystem begins with these bytes.
pub fn is_disk(start: &[u8]) -> bool {
    let boot_record = start.get(510..512) == Some(&[0x55, 0xaa]);
    boot_record || !matches!(recognise(start), Content::Unknown | Content::Nothing)
}

fn recognise(start: &[u8]) -> Content {
    let magics: &[(usize, &[u8], &'static str)] = &[
        (0, b"XFSB", "xfs"),
        (0x10040, b"_BHRfS_M", "btrfs"),
        (0, b"hsqs", "squashfs"),
        (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "erofs"),
        (0, b"LUKS\xba\xbe", "an encrypted volume"),
        (536, b"LVM2 001", "LVM"),
        (0x8001, b"CD001", "an ISO 9660 filesystem"),
    ];
    let known = magics.iter().find(|(at, magic, _)| start.get(*at..at + magic.len()) == Some(*magic));
    match known {
        _ if ext::is_ext(start) => Content::Ext,
        _ if fat::is_fat(start) => Content::Fat,
        _ if start.get(4086..4096) == Some(b"SWAPSPACE2") => Content::Swap,
        Some((_, _, name)) => Content::Other(name),
        None if start.iter().all(|byte| *byte == 0) => Content::Nothing,
        None => Content::Unknown,
    }
}

/// What came of looking through a disk.
#[derive(Debug)]
pub struct Look {
    /// What the auditor thinks of what could be read.
    pub report: Report,
    /// Whether a root filesystem was read.
    pub has_root: bool,
    /// Partitions that this version does not read, and why.
    pub unread: Vec<String>,
}

/// Audits a disk of any format, or a single filesystem.
pub fn audit(disk: DiskReader, standard: Standard<'_>, step: &Step) -> Result<Report> {
    let look = look(disk, standard, &mut Nobody, step)?;
    if !look.has_root {
        let error = Error::cannot(Exit::Description, "find a root filesystem on the disk");
        return Err(look.unread.into_iter().fold(error, |error, why| error.because(why)));
    }
    Ok(look.report)
}

/// Looks through a disk of any format, or a single filesystem, together with a witness.
pub fn look(mut disk: DiskReader, standard: Standard<'_>, witness: &mut dyn Witness, step: &Step) -> Result<Look> {
    let size = disk.size().or_cannot(|| "look at the disk")?;
    let mut start = vec![0; START.min(size.0 as usize)];
    Window::new(&mut disk, Bytes::ZERO, size).read_at(0, &mut start).in_artifact()?;
    // A filesystem without a partition table has a boot sector that may look like one.
    let whole = Listed { number: 0, kind: PartitionType::Mbr(0), start: Bytes::ZERO, size, name: String::new() };
    let partitions = match recognise(&start) {
        Content::Ext | Content::Fat | Content::Swap | Content::Other(_) => vec![whole],
        _ => read_partitions(&mut disk, size).map_err(|error| error.with_exit(Exit::Description))?,
    };
    if partitions.is_empty() {
        return Err(super::unknown("there is neither a partition nor a filesystem on it"));
    }
    let auditor = Auditor::new(standard);
    let mut search = Search { disk, auditor, witness, beside: Vec::new(), has_root: false, unread: Vec::new() };
    for partition in &partitions {
        step.now(&format!("partition {}", partition.number));
        search.partition(partition)?;
    }
    search.gaps(&partitions, size)?;
    Ok(search.end())
}

struct Search<'a> {
    disk: DiskReader,
    auditor: Auditor<'a>,
    witness: &'a mut dyn Witness,
    /// What lies outside of any file.
    beside: Vec<Finding>,
    has_root: bool,
    /// Partitions that this version does not read.
    unread: Vec<String>,
}

impl Search<'_> {
    fn partition(&mut self, partition: &Listed) -> Result<()> {
        let number = partition.number;
        let mut window = Window::new(&mut self.disk, partition.start, partition.size);
        let mut start = vec![0; START.min(partition.size.0 as usize)];
        window.read_at(0, &mut start).in_artifact()?;
        let place = RootPath::root().join(format!("(partition {number})"));
        match recognise(&start) {
            Content::Ext => self.ext(partition, &place),
            Content::Fat => {
                let remains = fat::remains(&mut window)?;
                if remains > Bytes::ZERO {
                    self.beside.push(leftover(&place, format!("{remains} of free clusters hold something")));
                }
                let (auditor, witness) = (&mut self.auditor, &mut *self.witness);
                let window = Window::new(&mut self.disk, partition.start, partition.size);
                let mut look = |entry: Entry, content: &mut dyn Read| see(auditor, witness, entry, content);
                fat::walk(window, &RootPath::from("/boot/efi"), &mut look)
            }
            Content::Swap => {
                // The header fills the first page (mkswap(8)); nothing was ever swapped out.
                if window.holds_something(4096, partition.size.0).in_artifact()? {
                    self.beside.push(leftover(&place, "the swap space holds memory of a running system".into()));
                }
                Ok(())
            }
            // GRUB's core image, or nothing yet.
            _ if partition.kind == PartitionType::Gpt(gpt::kind::BIOS_BOOT) => Ok(()),
            Content::Nothing => {
                if window.holds_something(0, partition.size.0).in_artifact()? {
                    self.unread.push(format!("partition {number} holds no filesystem that is known"));
                }
                Ok(())
            }
            Content::Other(name) => {
                self.unread.push(format!("partition {number} holds {name}, which this version does not read"));
                Ok(())
            }
            Content::Unknown => {
                self.unread.push(format!("partition {number} holds no filesystem that is known"));
                Ok(())
            }
        }
    }

    fn ext(&mut self, partition: &Listed, place: &RootPath) -> Result<()> {
        let within = |error: Error| error.within(format!("read partition {}", partition.number));
        let window = Window::new(&mut self.disk, partition.start, partition.size);
        let mut filesystem = Ext::open(window).map_err(within)?;
        let top = filesystem.top().map_err(within)?;
        let has = |name: &str| top.iter().any(|top| top == name.as_bytes());
        let at = match () {
            () if has("etc") && has("usr") => {
                self.has_root = true;
                RootPath::root()
            }
            () if has("grub") || has("grub2") || top.iter().any(|name| name.starts_with(b"vmlinu")) => {
                RootPath::from("/boot")
            }
            () => place.clone(),
        };
        let auditor = &mut self.auditor;
        let witness = std::cell::RefCell::new(&mut *self.witness);
        let wanted = |entry: &Entry| {
            let entry = Entry { path: at.join(entry.path.relative()), ..entry.clone() };
            witness.borrow().wants(&entry) >= entry.size
        };
        let mut look = |mut entry: Entry, content: &mut dyn Read| {
            entry.path = at.join(entry.path.relative());
            see(auditor, &mut **witness.borrow_mut(), entry, content)
        };
        filesystem.walk_exactly(&wanted, &mut look).map_err(within)?;
        let remains = filesystem.remains().map_err(within)?;
        if let Some(first) = remains.first {
            let what = format!(
                "{} of free blocks hold something, the first at {} of the partition: deleted files ship, too",
                remains.size, first.0
            );
            self.beside.push(leftover(place, what));
        }
        Ok(())
    }

    /// What lies between partitions. Before the first one of an MBR disk is GRUB's core image; a GPT has its two tables
    /// of 34 and 33 sectors.
    fn gaps(&mut self, partitions: &[Listed], size: Bytes) -> Result<()> {
        let is_gpt = partitions.iter().any(|partition| matches!(partition.kind, PartitionType::Gpt(_)));
        let mut used: Vec<(u64, u64)> =
            partitions.iter().map(|partition| (partition.start.0, partition.start.0 + partition.size.0)).collect();
        used.sort_unstable();
        let first = used.first().map_or(size.0, |(start, _)| *start);
        used.insert(0, (0, if is_gpt { 34 * 512 } else { first }));
        used.push((if is_gpt { size.0.saturating_sub(33 * 512) } else { size.0 }, size.0));
        let mut window = Window::new(&mut self.disk, Bytes::ZERO, size);
        for pair in used.windows(2) {
            let (start, end) = (pair[0].1, pair[1].0);
            if start < end && window.holds_something(start, end - start).in_artifact()? {
                let what = format!("something lies between {start} and {end}, outside of every partition");
                self.beside.push(leftover(&RootPath::from("/(disk)"), what));
            }
        }
        Ok(())
    }

    fn end(self) -> Look {
        let mut report = self.auditor.report();
        for finding in self.beside {
            report.add(finding);
        }
        for what in self.unread.iter().cloned() {
            report.add(Finding { severity: Severity::Note, class: "unread", path: RootPath::from("/(disk)"), what });
        }
        Look { report, has_root: self.has_root, unread: self.unread }
    }
}

fn leftover(path: &RootPath, what: String) -> Finding {
    Finding { severity: Severity::Leftover, class: "free-space", path: path.clone(), what }
}
