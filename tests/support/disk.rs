//! Plans of disks, and a tree that holds everything a filesystem can hold.
//!
//! In: sizes. Out: plans made by hand, as `plan` would make them, and a folder for them.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use ingot::bytes::Bytes;
use ingot::host::rooted::{Kind, RootPath, Rooted};
use ingot::plan::*;

/// The date of every image here, seconds since 1970.
pub const EPOCH: i64 = 1_750_000_000;

/// A UUID that follows from its label.
pub fn uuid(label: &str) -> Uuid {
    Seed::new("disk", "1", None).uuid(label)
}

/// A filesystem of the plan.
pub fn filesystem(kind: FilesystemKind, mount_point: &str) -> Filesystem {
    let label = match mount_point {
        "/" => "ROOT",
        "/boot" => "BOOT",
        "/boot/efi" => "EFI",
        _ => "SWAP",
    };
    Filesystem {
        kind,
        label: label.into(),
        uuid: uuid(label),
        mount_point: mount_point.into(),
        mount_options: Vec::new(),
        create_options: Vec::new(),
    }
}

/// A partition of the plan.
pub fn partition(number: u32, role: Role, start: u64, size: PartitionSize) -> Partition {
    let (name, filesystem) = match role {
        Role::BiosBoot => ("p.legacy", None),
        Role::Esp => ("p.UEFI", Some(filesystem(FilesystemKind::Vfat, "/boot/efi"))),
        Role::Boot => ("p.lxboot", Some(filesystem(FilesystemKind::Ext4, "/boot"))),
        Role::Swap => ("p.swap", Some(filesystem(FilesystemKind::Swap, "none"))),
        Role::Root => ("p.lxroot", Some(filesystem(FilesystemKind::Ext4, "/"))),
    };
    Partition { number, name: name.into(), role, start: Bytes::mib(start), size, uuid: uuid(name), filesystem }
}

/// A disk for BIOS and UEFI with a table and these partitions; `rest` is the last one's.
pub fn plan(table: PartitionTable, partitions: Vec<Partition>) -> DiskPlan {
    DiskPlan {
        arch: "x86_64".into(),
        table,
        disk_id: uuid("disk"),
        firmware: Firmware { bios: Support::WherePossible, uefi: Support::WherePossible, secure_boot: Support::No },
        partitions,
        size: DiskSize::ToFit,
        unit: USUAL_UNIT,
        unpartitioned: Bytes::ZERO,
        boot: BootPlan {
            timeout: 1,
            timeout_style: TimeoutStyle::Menu,
            output_terminals: vec!["console".into(), "serial".into()],
            input_terminals: vec!["console".into(), "serial".into()],
            serial: Some("--speed=115200".into()),
            command_line: "console=tty0 console=ttyS0,115200".into(),
            initrd: Initrd::Automatic,
            title: "ingot test".into(),
        },
        grow_root: GrowRoot::No,
        formats: Vec::new(),
        container: None,
        persistency: Persistency::Uuid,
    }
}

/// Only a root filesystem.
pub fn only_root(kind: FilesystemKind) -> DiskPlan {
    let mut root = partition(1, Role::Root, 1, PartitionSize::ToFit);
    root.filesystem = Some(filesystem(kind, "/"));
    plan(PartitionTable::Gpt, vec![root])
}

/// BIOS boot, ESP, boot, swap, root on a GPT.
pub fn everything() -> DiskPlan {
    let fixed = |size| PartitionSize::Fixed(Bytes::mib(size));
    plan(
        PartitionTable::Gpt,
        vec![
            partition(1, Role::BiosBoot, 1, fixed(1)),
            partition(2, Role::Esp, 2, fixed(40)),
            partition(3, Role::Boot, 42, fixed(64)),
            partition(4, Role::Swap, 106, fixed(16)),
            partition(5, Role::Root, 122, PartitionSize::ToFit),
        ],
    )
}

/// Whether device nodes and trusted attributes can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// By root only.
    Root,
    /// Everything else.
    Anyone,
}

/// Fills `folder` with every kind of file. The folder's filesystem needs user attributes.
pub fn fill(folder: &Path, privilege: Privilege) {
    let tree = Rooted::open(folder).unwrap();
    let path = |name: &str| RootPath::new(name);
    tree.set_mode(&path("/"), 0o755).unwrap();
    for name in ["/etc", "/usr/bin", "/boot/efi/EFI/BOOT", "/empty", "/names", "/attributes", "/lost+found", "/proc"] {
        tree.create_folders(&path(name), 0o755).unwrap();
    }
    tree.write(&path("/lost+found/not-shipped"), "", 0o600).unwrap();
    tree.write(&path("/boot/vmlinuz-6.1"), vec![7; 300_000], 0o644).unwrap();
    tree.write(&path("/boot/efi/EFI/BOOT/BOOTX64.EFI"), vec![9; 200_000], 0o644).unwrap();
    tree.write(&path("/boot/efi/EFI/BOOT/grub.cfg"), "configfile\n", 0o600).unwrap();
    // Modes and times.
    tree.write(&path("/usr/bin/su"), "setuid", 0o4755).unwrap();
    tree.create_folders(&path("/tmp"), 0o1777).unwrap();
    for (name, time) in [("old", -86_400), ("then", 1_234_567_890), ("later", 5_000_000_000), ("zero", 0)] {
        let file = path(&format!("/etc/{name}"));
        tree.write(&file, name, 0o640).unwrap();
        tree.set_mtime(&file, time).unwrap();
    }
    // Hard links, also into another partition.
    tree.hard_link(&path("/etc/old"), &path("/usr/bin/old")).unwrap();
    tree.hard_link(&path("/etc/old"), &path("/boot/old")).unwrap();
    // Symlinks on both sides of what an inode holds.
    for length in [1, 59, 60, 61, 4000] {
        symlink("x".repeat(length), folder.join(format!("names/symlink-{length}"))).unwrap();
    }
    // Names with any bytes, the longest name, and directories of one, several and many blocks.
    for name in [&b"new\nline"[..], b"\xff\xfe", b"-rf", b"a b", "grün".as_bytes(), &[b'n'; 255]] {
        fs::write(folder.join("names").join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    for (directory, names, length) in [("few", 300, 8), ("many", 4000, 30), ("long", 3000, 250)] {
        fs::create_dir(folder.join(directory)).unwrap();
        for number in 0..names {
            File::create(folder.join(directory).join(format!("{number:0length$}"))).unwrap();
        }
    }
    // Pipes and sockets.
    tree.make_node(&path("/names/pipe"), &Kind::Fifo, 0o622).unwrap();
    tree.make_node(&path("/names/socket"), &Kind::Socket, 0o755).unwrap();
    // Sizes around blocks, holes short and long, more extents than an inode and a block hold, a swap file.
    for size in [0_usize, 1, 4095, 4096, 4097, 1 << 20] {
        fs::write(folder.join(format!("usr/size-{size}")), vec![5; size]).unwrap();
    }
    let sparse = |name: &str, length: u64, islands: &mut dyn Iterator<Item = u64>| {
        let file = File::create(folder.join(name)).unwrap();
        file.set_len(length).unwrap();
        islands.for_each(|at| file.write_all_at(&at.to_le_bytes().map(|byte| byte | 1), at).unwrap());
    };
    sparse("usr/all-hole", 10 << 20, &mut std::iter::empty());
    sparse("usr/short-holes", 1 << 20, &mut (0..16).map(|island| island << 16));
    sparse("usr/five-extents", 5 << 20, &mut (0..5).map(|island| island << 20));
    sparse("usr/five-hundred-extents", 500 << 18, &mut (0..500).map(|island| island << 18));
    sparse("usr/two-thousand-extents", 2000 << 18, &mut (0..2000).map(|island| (island << 18) + 5000));
    sparse("usr/far", 15 << 30, &mut [14 << 30].into_iter());
    let swap = File::create(folder.join("swapfile")).unwrap();
    swap.set_len(1 << 20).unwrap();
    swap.write_all_at(b"SWAPSPACE2", 4086).unwrap();
    fs::set_permissions(folder.join("swapfile"), fs::Permissions::from_mode(0o600)).unwrap();
    // Attributes in the inode, in a block of their own, in a shared block.
    for name in ["small", "large", "shared-1", "shared-2", "both", "empty"] {
        let file = path(&format!("/attributes/{name}"));
        tree.write(&file, name, 0o644).unwrap();
        match name {
            "small" => tree.set_xattr(&file, b"user.mime", b"text/plain"),
            "large" => tree.set_xattr(&file, b"user.large", &[3; 3000]),
            "empty" => tree.set_xattr(&file, b"user.empty", b""),
            "both" => {
                tree.set_xattr(&file, b"user.a", b"1").unwrap();
                tree.set_xattr(&file, b"user.longer", &[4; 200]).unwrap();
                tree.set_xattr(&file, b"user.b", b"22")
            }
            _ => tree.set_xattr(&file, b"user.shared", &[5; 500]),
        }
        .unwrap();
    }
    if privilege == Privilege::Root {
        fs::create_dir(folder.join("dev")).unwrap();
        for (name, major, minor) in [("null", 1, 3), ("sda17", 259, 1_000_017), ("zero", 1, 5)] {
            let kind = match name {
                "sda17" => Kind::BlockDevice { major, minor },
                _ => Kind::CharDevice { major, minor },
            };
            tree.make_node(&path(&format!("/dev/{name}")), &kind, 0o660).unwrap();
        }
        let owned = path("/attributes/small");
        tree.set_owner(&owned, 70_000, 100_000).unwrap();
        // CAP_NET_RAW, as setcap writes it (linux/capability.h, version 2).
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        tree.set_xattr(&owned, b"security.capability", &capability).unwrap();
        tree.set_xattr(&owned, b"trusted.secret", b"x").unwrap();
        // user::rw-, user:1:r--, group::r--, mask::r--, other::r-- (acl(5), linux/posix_acl_xattr.h).
        let rows: [(u16, u16, u32); 5] = [(1, 6, !0), (2, 4, 1), (4, 4, !0), (16, 4, !0), (32, 4, !0)];
        let mut acl = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in rows {
            acl.extend([&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat());
        }
        tree.set_xattr(&path("/attributes/both"), b"system.posix_acl_access", &acl).unwrap();
        tree.set_xattr(&path("/attributes"), b"system.posix_acl_default", &acl).unwrap();
    }
}
