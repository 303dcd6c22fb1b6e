//! How a partition is named where its number may change: fstab, the kernel's command line, GRUB's search.
//!
//! In: a partition of the plan. Out: `UUID=...`, `LABEL=...`, `PARTUUID=...`. Never a device name.

use crate::plan::{DiskPlan, Filesystem, FilesystemKind, Partition, PartitionTable, Persistency, Role};

/// The name that the plan's persistency asks for.
pub fn name(plan: &DiskPlan, partition: &Partition, filesystem: &Filesystem) -> String {
    match plan.persistency {
        Persistency::Uuid => format!("UUID={}", filesystem_uuid(filesystem)),
        Persistency::Label if filesystem.label.is_empty() => format!("UUID={}", filesystem_uuid(filesystem)),
        Persistency::Label => format!("LABEL={}", filesystem.label),
        Persistency::PartUuid => partition_uuid(plan, partition),
    }
}

/// `PARTUUID=`, the one name that the kernel itself understands. An MBR has a signature and numbers instead.
pub fn partition_uuid(plan: &DiskPlan, partition: &Partition) -> String {
    match plan.table {
        PartitionTable::Gpt => format!("PARTUUID={}", partition.uuid),
        PartitionTable::Msdos => format!("PARTUUID={:08x}-{:02x}", plan.disk_id.short(), partition.number),
    }
}

/// The UUID as blkid and GRUB print it; FAT has a volume id.
pub fn filesystem_uuid(filesystem: &Filesystem) -> String {
    let id = filesystem.uuid.short();
    match filesystem.kind {
        FilesystemKind::Vfat => format!("{:04X}-{:04X}", id >> 16, id & 0xffff),
        _ => filesystem.uuid.to_string(),
    }
}

/// The partition with a role and its filesystem.
pub fn with_role(plan: &DiskPlan, role: Role) -> Option<(&Partition, &Filesystem)> {
    let partition = plan.partitions.iter().find(|partition| partition.role == role)?;
    Some((partition, partition.filesystem.as_ref()?))
}
