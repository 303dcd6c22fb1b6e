//! Partitions in byte ranges.
//!
//! In: which partitions a disk has and how large. Out: [`Partition`]s with numbers, offsets, identifiers.
//! Never knows how large the root's content is: the root is the last partition and fits itself to it.

use super::{Filesystem, FilesystemKind, Partition, PartitionSize, PartitionTable, Role, Seed};
use crate::bytes::Bytes;

/// Every partition begins at a multiple of this.
pub const ALIGNMENT: Bytes = Bytes::mib(1);

/// GRUB's core image needs about 100 kB; KIWI reserves two MiB, and so do we.
pub const BIOS_BOOT_SIZE: Bytes = Bytes::mib(2);

/// Room for GRUB, shim and their updates; the least that makes a valid FAT32 with small clusters is 33 MiB.
pub const ESP_SIZE: Bytes = Bytes::mib(64);

/// The least ESP that a FAT16 can be made in (4085 clusters of 512 bytes) with room for GRUB.
pub const ESP_LEAST: Bytes = Bytes::mib(8);

/// KIWI's default for `bootpartsize`.
pub const BOOT_SIZE: Bytes = Bytes::mib(300);

/// KIWI's default for `oem-swapsize`.
pub const SWAP_SIZE: Bytes = Bytes::mib(128);

/// The least that is left for the root filesystem on a disk of a fixed size.
pub const ROOT_LEAST: Bytes = Bytes::mib(32);

/// What a disk has beside its root.
pub struct Wanted {
    /// GPT or MBR.
    pub table: PartitionTable,
    /// Where the first partition begins.
    pub start: Bytes,
    /// BIOS boot partition.
    pub bios_boot: Option<Bytes>,
    /// EFI system partition and its mount options.
    pub esp: Option<(Bytes, Vec<String>)>,
    /// `/boot`.
    pub boot: Option<(Bytes, FilesystemKind)>,
    /// Swap.
    pub swap: Option<Bytes>,
    /// The root filesystem.
    pub root: Root,
}

/// The root filesystem.
pub struct Root {
    /// Its kind.
    pub kind: FilesystemKind,
    /// Its label.
    pub label: String,
    /// Its mount options.
    pub mount_options: Vec<String>,
    /// Words for its mkfs.
    pub create_options: Vec<String>,
}

/// Lays them out in KIWI's order: BIOS boot, ESP, boot, swap, root.
pub fn partitions(wanted: &Wanted, seed: &Seed) -> Vec<Partition> {
    let mut layout = Layout { next: wanted.start, seed, partitions: Vec::new() };
    if let Some(size) = wanted.bios_boot {
        layout.add("p.legacy", Role::BiosBoot, PartitionSize::Fixed(size), None);
    }
    if let Some((size, mount_options)) = &wanted.esp {
        let mut filesystem = layout.filesystem(FilesystemKind::Vfat, "EFI", "/boot/efi");
        filesystem.mount_options = mount_options.clone();
        layout.add("p.UEFI", Role::Esp, PartitionSize::Fixed(*size), Some(filesystem));
    }
    if let Some((size, kind)) = wanted.boot {
        let filesystem = layout.filesystem(kind, "BOOT", "/boot");
        layout.add("p.lxboot", Role::Boot, PartitionSize::Fixed(size), Some(filesystem));
    }
    if let Some(size) = wanted.swap {
        let filesystem = layout.filesystem(FilesystemKind::Swap, "SWAP", "none");
        layout.add("p.swap", Role::Swap, PartitionSize::Fixed(size), Some(filesystem));
    }
    let mut root = layout.filesystem(wanted.root.kind, &wanted.root.label, "/");
    root.mount_options = wanted.root.mount_options.clone();
    root.create_options = wanted.root.create_options.clone();
    layout.add("p.lxroot", Role::Root, PartitionSize::ToFit, Some(root));
    layout.partitions
}

struct Layout<'a> {
    next: Bytes,
    seed: &'a Seed,
    partitions: Vec<Partition>,
}

impl Layout<'_> {
    fn filesystem(&self, kind: FilesystemKind, label: &str, mount_point: &str) -> Filesystem {
        Filesystem {
            kind,
            label: label.to_string(),
            uuid: self.seed.uuid(&format!("filesystem {mount_point}")),
            mount_point: mount_point.to_string(),
            mount_options: vec!["defaults".to_string()],
            create_options: Vec::new(),
        }
    }

    fn add(&mut self, name: &str, role: Role, size: PartitionSize, filesystem: Option<Filesystem>) {
        self.partitions.push(Partition {
            number: self.partitions.len() as u32 + 1,
            name: name.to_string(),
            role,
            start: self.next,
            size,
            uuid: self.seed.uuid(&format!("partition {name}")),
            filesystem,
        });
        if let PartitionSize::Fixed(size) = size {
            self.next = (self.next + size).align_up(ALIGNMENT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Root {
        Root {
            kind: FilesystemKind::Ext4,
            label: "ROOT".to_string(),
            mount_options: vec!["defaults".to_string()],
            create_options: Vec::new(),
        }
    }

    #[test]
    fn partitions_lie_in_kiwis_order_at_whole_mebibytes_and_the_root_is_last() {
        let seed = Seed::new("a", "1", None);
        let wanted = Wanted {
            table: PartitionTable::Gpt,
            start: Bytes::mib(1),
            bios_boot: Some(Bytes::mib(2)),
            esp: Some((Bytes(20_000_000), vec!["umask=0077".to_string()])),
            boot: Some((Bytes::mib(300), FilesystemKind::Ext4)),
            swap: Some(Bytes::mib(128)),
            root: root(),
        };
        let found: Vec<(u32, String, Bytes)> = partitions(&wanted, &seed)
            .into_iter()
            .map(|partition| (partition.number, partition.name, partition.start))
            .collect();
        let expected = [
            (1, "p.legacy", Bytes::mib(1)),
            (2, "p.UEFI", Bytes::mib(3)),
            (3, "p.lxboot", Bytes::mib(23)),
            (4, "p.swap", Bytes::mib(323)),
            (5, "p.lxroot", Bytes::mib(451)),
        ];
        assert_eq!(found, expected.map(|(number, name, start)| (number, name.to_string(), start)));
    }

    #[test]
    fn a_bios_disk_with_an_mbr_has_the_root_alone() {
        let seed = Seed::new("a", "1", None);
        let start = Bytes::mib(1);
        let wanted = Wanted {
            table: PartitionTable::Msdos,
            start,
            bios_boot: None,
            esp: None,
            boot: None,
            swap: None,
            root: root(),
        };
        let names: Vec<String> = partitions(&wanted, &seed).into_iter().map(|partition| partition.name).collect();
        assert_eq!(names, ["p.lxroot"]);
    }
}
