//! What is written into a tree so that its disk starts.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ingot::bytes::Bytes;
use ingot::disk::boot::family::Family;
use ingot::disk::boot::initrd::{Initrds, Origin};
use ingot::disk::boot::{bios, cpio, defaults, efi, fstab, grow, grub, initrd, kernel};
use ingot::error::Exit;
use ingot::host::sandbox::Sandbox;
use ingot::plan::*;
use ingot::report::Reporter;
use ingot::root::{RootPath, RootTree};

use crate::support::disk::{EPOCH, everything, only_root, partition};
use crate::support::scratch;

struct Tree {
    _folder: tempfile::TempDir,
    tree: RootTree,
    sandbox: Sandbox,
}

/// A tree with these files, which hold their own names.
fn tree(files: &[&str]) -> Tree {
    let folder = scratch();
    let tree = RootTree::open(folder.path()).unwrap();
    for file in files {
        tree.write(&RootPath::new(file), file, 0o755).unwrap();
    }
    Tree { sandbox: Sandbox::new(folder.path()), _folder: folder, tree }
}

impl Tree {
    fn text(&self, path: &str) -> String {
        String::from_utf8(self.tree.read(&RootPath::new(path)).unwrap()).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        self.tree.write(&RootPath::new(path), text, 0o644).unwrap();
    }

    fn exists(&self, path: &str) -> bool {
        self.tree.exists(&RootPath::new(path))
    }
}

#[test]
fn fstab_names_filesystems_as_the_plan_asks_and_keeps_lines_of_overlays() {
    let mut plan = everything();
    let id = |number: usize| plan.partitions[number - 1].filesystem.as_ref().unwrap().uuid;
    let volume = format!("{:08X}", id(2).short());
    let volume = format!("{}-{}", &volume[..4], &volume[4..]);
    let rows = [
        (
            Persistency::Uuid,
            [format!("UUID={}", id(5)), format!("UUID={}", id(4)), format!("UUID={}", id(3)), format!("UUID={volume}")],
        ),
        (Persistency::Label, ["LABEL=ROOT", "LABEL=SWAP", "LABEL=BOOT", "LABEL=EFI"].map(String::from)),
        (
            Persistency::PartUuid,
            [5, 4, 3, 2].map(|number: usize| format!("PARTUUID={}", plan.partitions[number - 1].uuid)),
        ),
    ];
    plan.partitions[1].filesystem.as_mut().unwrap().mount_options = vec!["umask=0077".into()];
    plan.grow_root = GrowRoot::AtFirstBoot;
    for (persistency, [root, swap, boot, esp]) in rows {
        plan.persistency = persistency;
        let tree = tree(&[]);
        let old =
            "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n/dev/loop0 / ext4 defaults 0 1\n\ntmpfs /tmp tmpfs size=1G 0 0\n";
        tree.write("/etc/fstab", old);
        tree.write("/etc/fstab.append", "nfs:/home /home nfs defaults 0 0");
        fstab::write(&plan, &tree.tree, &tree.sandbox, &Reporter::silent()).unwrap();
        assert_eq!(
            tree.text("/etc/fstab"),
            format!(
                "\
# device mount-point type options dump check
{root} / ext4 defaults,x-systemd.growfs 0 1
{swap} none swap defaults 0 0
{boot} /boot ext4 defaults 0 2
{esp} /boot/efi vfat umask=0077 0 0
tmpfs /tmp tmpfs size=1G 0 0
nfs:/home /home nfs defaults 0 0
"
            )
        );
        assert!(!tree.exists("/etc/fstab.append"));
        assert!(tree.exists("/boot/efi"));
    }
}

#[test]
fn an_mbr_partition_is_named_by_signature_and_number() {
    let mut plan = only_root(FilesystemKind::Ext4);
    plan.table = PartitionTable::Msdos;
    plan.persistency = Persistency::PartUuid;
    let tree = tree(&[]);
    fstab::write(&plan, &tree.tree, &tree.sandbox, &Reporter::silent()).unwrap();
    assert!(tree.text("/etc/fstab").contains(&format!("\nPARTUUID={:08x}-01 / ext4", plan.disk_id.short())));
}

#[test]
fn grub_starts_the_newest_kernel_and_offers_the_others() {
    let tree = tree(&["/boot/vmlinuz-6.1.0-9-amd64", "/boot/vmlinuz-6.1.0-10-amd64", "/boot/config-7"]);
    let mut plan = everything();
    plan.boot.title = "Bob's \"image\"".into();
    plan.boot.command_line = "quiet panic=5 init=\"/bin/a b\" x=$y;z".into();
    let kernels = kernel::kernels(&tree.tree).unwrap();
    grub::configure(&plan, &kernels, &tree.tree).unwrap();
    let (root, boot) =
        (plan.partitions[4].filesystem.as_ref().unwrap().uuid, plan.partitions[2].filesystem.as_ref().unwrap().uuid);
    let arguments = format!(r#"root=UUID={root} ro quiet panic=5 init="/bin/a b" x=\$y\;z"#);
    assert_eq!(
        tree.text("/boot/grub/grub.cfg"),
        format!(
            r#"# The first configuration of this image; update-grub writes another one from /etc/default/grub.
set default=0
set timeout_style=menu
set timeout=1
serial --speed=115200
terminal_input console serial
terminal_output console serial
insmod all_video
search --no-floppy --fs-uuid --set=root --hint="$root" {boot}
menuentry 'Bob'\''s "image"' {{
  linux /vmlinuz-6.1.0-10-amd64 {arguments}
  initrd /initrd.img-6.1.0-10-amd64
}}
submenu 'Bob'\''s "image", other kernels' {{
  menuentry 'Bob'\''s "image", Linux 6.1.0-9-amd64' {{
    linux /vmlinuz-6.1.0-9-amd64 {arguments}
    initrd /initrd.img-6.1.0-9-amd64
  }}
}}
"#
        )
    );
    // Without an initrd the kernel finds its root by itself, and knows partitions only.
    let mut plan = only_root(FilesystemKind::Ext4);
    plan.boot.initrd = Initrd::None;
    plan.boot.command_line = "rw".into();
    grub::configure(&plan, &kernels[..1], &tree.tree).unwrap();
    let text = tree.text("/boot/grub/grub.cfg");
    let wanted = format!("  linux /boot/vmlinuz-6.1.0-10-amd64 root=PARTUUID={} rw\n}}\n", plan.partitions[0].uuid);
    assert!(text.ends_with(&wanted), "{text}");
}

#[test]
fn settings_of_update_grub_are_set_and_others_stay() {
    let own = tree(&["/usr/sbin/update-grub"]);
    own.write(
        "/etc/default/grub",
        "GRUB_TIMEOUT=5\n# a comment\nGRUB_TERMINAL=gfxterm\nGRUB_BACKGROUND=/x.png\nGRUB_TIMEOUT=6\nGRUB_TIMEOUTX=7",
    );
    let mut plan = everything();
    plan.boot.command_line = "a=\"b c\" $HOME".into();
    defaults::set(&plan, Family::Debian, &own.tree).unwrap();
    assert_eq!(
        own.text("/etc/default/grub"),
        r#"GRUB_TIMEOUT="1"
# a comment
GRUB_BACKGROUND=/x.png
GRUB_TIMEOUTX=7
GRUB_DEFAULT="0"
GRUB_TIMEOUT_STYLE="menu"
GRUB_DISTRIBUTOR="ingot test"
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="a=\"b c\" \$HOME"
GRUB_DISABLE_OS_PROBER="true"
GRUB_TERMINAL_INPUT="console serial"
GRUB_TERMINAL_OUTPUT="console serial"
GRUB_SERIAL_COMMAND="serial --speed=115200"
"#
    );
    // Nothing in the image reads it.
    let none = tree(&[]);
    defaults::set(&plan, Family::Debian, &none.tree).unwrap();
    assert!(!none.exists("/etc/default/grub"));
}

#[test]
fn what_is_missing_for_a_boot_is_named_with_the_package_to_add() {
    let said = |error: ingot::error::Error| {
        assert_eq!(error.exit(), Exit::Description);
        format!("{error}; {}", error.hint_text().unwrap())
    };
    let none = tree(&["/boot/initrd.img-1"]);
    assert_eq!(
        said(kernel::kernels(&none.tree).unwrap_err()),
        "cannot make the disk start: there is no kernel in the image \
        (/boot/vmlinuz-*); add a kernel to the image's packages, for instance linux-image-amd64 or linux-image-cloud-amd64"
    );
    let keeper: &initrd::Keeper<'_> = &|_, make| Ok(Initrds { packed: make()?, origin: Origin::Made });
    let make =
        |tree: &Tree, choice| initrd::make(choice, &[], EPOCH, &tree.tree, &tree.sandbox, keeper, &Reporter::silent());
    assert_eq!(
        said(make(&none, Initrd::Automatic).unwrap_err()),
        "cannot make an initrd: the image has neither \
        initramfs-tools nor dracut; add initramfs-tools or dracut to the image's packages, or say initrd_system=\"none\""
    );
    let other = tree(&["/usr/sbin/mkinitramfs"]);
    assert_eq!(
        said(make(&other, Initrd::Dracut).unwrap_err()),
        "cannot make an initrd: initrd_system=\"dracut\" is \
        asked for, and the image has no dracut; add dracut to the image's packages"
    );
    other.write("/etc/initramfs-tools/initramfs.conf", "# MODULES=most\nMODULES=dep\n");
    assert_eq!(
        said(make(&other, Initrd::Automatic).unwrap_err()),
        "cannot make an initrd: \
        /etc/initramfs-tools/initramfs.conf says MODULES=dep: it would start on the build host only; say MODULES=most"
    );
    let mut plan = everything();
    plan.firmware.secure_boot = Support::Yes;
    assert_eq!(
        said(efi::prepare(&plan, &none.tree, &none.sandbox, &Reporter::silent()).unwrap_err()),
        "cannot make the \
        disk start with Secure Boot: the image lacks the signed shim or the signed GRUB; add shim-signed and \
        grub-efi-amd64-signed to the image's packages"
    );
    plan.grow_root = GrowRoot::AtFirstBoot;
    assert_eq!(
        said(grow::prepare(&plan, &none.tree, &Reporter::silent()).unwrap_err()),
        "cannot let the root filesystem \
        grow at first boot (oem-resize): the image has neither systemd-repart with a GPT, nor growpart or sfdisk with \
        resize2fs and systemd; add systemd-repart, or cloud-guest-utils and e2fsprogs to the image's packages, or say \
        <oem-resize>false</oem-resize>"
    );
}

#[test]
fn the_root_grows_by_what_the_image_has() {
    let mut plan = everything();
    plan.grow_root = GrowRoot::AtFirstBoot;
    let systemd =
        ["/usr/bin/systemd-repart", "/lib/systemd/systemd-growfs", "/lib/systemd/systemd", "/usr/bin/findmnt"];
    let others = ["/sbin/resize2fs", "/usr/sbin/sfdisk", "/usr/bin/partx"];
    let full = tree(&systemd);
    grow::prepare(&plan, &full.tree, &Reporter::silent()).unwrap();
    assert_eq!(full.text("/etc/repart.d/50-root.conf"), "[Partition]\nType=root\n");
    assert!(!full.exists("/etc/systemd/system/grow-root.service"));
    // systemd-repart cannot grow a partition of an MBR.
    plan.table = PartitionTable::Msdos;
    let own = tree(&[&systemd[..], &others[..]].concat());
    grow::prepare(&plan, &own.tree, &Reporter::silent()).unwrap();
    assert!(!own.exists("/etc/repart.d"));
    assert!(
        own.text("/etc/systemd/system/local-fs.target.wants/grow-root.service")
            .contains("/usr/lib/grow-root/grow-root")
    );
    // What stays read-only cannot grow, and says so.
    plan.partitions[4].filesystem.as_mut().unwrap().mount_options = vec!["ro".into()];
    let (fixed, reporter) = (tree(&[]), Reporter::silent());
    grow::prepare(&plan, &fixed.tree, &reporter).unwrap();
    assert_eq!(reporter.warnings()[0].text, "the root filesystem does not grow at first boot: it is mounted read-only");
}

/// A disk of `size` MiB with a root of 64 MiB at 1 MiB, its last partition.
fn with_a_root_of_64(folder: &Path, label: &str, size: u64) -> PathBuf {
    let disk = folder.join("vda");
    std::fs::File::create(&disk).unwrap().set_len(80 << 20).unwrap();
    let kind = if label == "gpt" { "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709" } else { "83" };
    let mut sfdisk = Command::new("sfdisk").arg("--quiet").arg(&disk).stdin(Stdio::piped()).spawn().unwrap();
    let table = format!("label: {label}\nstart=1MiB, size=64MiB, type={kind}\n");
    sfdisk.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
    assert!(sfdisk.wait().unwrap().success());
    std::fs::File::options().write(true).open(&disk).unwrap().set_len(size << 20).unwrap();
    disk
}

/// MiB of the root, the rest rounded down.
fn root_of(disk: &Path) -> u64 {
    crate::support::image::partitions(disk).pop().unwrap().2 >> 20
}

#[test]
fn a_root_grows_up_to_its_limit_and_never_shrinks_with_systemd_repart() {
    crate::support::need!("systemd-repart", "sfdisk");
    let mut plan = everything();
    let able = ["/usr/bin/systemd-repart", "/lib/systemd/systemd-growfs"];
    for (limit, size, grown) in [(Some(256), 600, 256), (Some(32), 600, 64), (Some(4096), 600, 598), (None, 600, 598)] {
        plan.grow_root = limit.map_or(GrowRoot::AtFirstBoot, |limit| GrowRoot::UpTo(Bytes::mib(limit)));
        let (tree, folder) = (tree(&able), tempfile::tempdir().unwrap());
        grow::prepare(&plan, &tree.tree, &Reporter::silent()).unwrap();
        std::fs::write(folder.path().join("50-root.conf"), tree.text("/etc/repart.d/50-root.conf")).unwrap();
        let disk = with_a_root_of_64(folder.path(), "gpt", size);
        let mut repart = Command::new("systemd-repart");
        repart.arg("--dry-run=no").arg(format!("--definitions={}", folder.path().display())).arg(&disk);
        let output = repart.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(root_of(&disk), grown, "{limit:?}");
    }
    // What the image brings itself stays, and the limit is not forgotten in silence.
    plan.grow_root = GrowRoot::UpTo(Bytes::mib(256));
    let (own, reporter) = (tree(&able), Reporter::silent());
    own.write("/etc/repart.d/50-root.conf", "[Partition]\nType=root\nWeight=1\n");
    grow::prepare(&plan, &own.tree, &reporter).unwrap();
    assert!(own.text("/etc/repart.d/50-root.conf").contains("Weight=1"));
    assert!(reporter.warnings()[0].text.contains("oem-systemsize"), "{:?}", reporter.warnings());
}

#[test]
fn a_root_grows_up_to_its_limit_and_never_shrinks_with_the_script() {
    crate::support::need!("sfdisk", "sh");
    let mut plan = everything();
    plan.table = PartitionTable::Msdos;
    let able = ["/lib/systemd/systemd", "/usr/bin/findmnt", "/sbin/resize2fs", "/usr/sbin/sfdisk", "/usr/bin/partx"];
    for label in ["dos", "gpt"] {
        // A GPT's second copy is at the disk's end.
        let end = if label == "dos" { 599 } else { 598 };
        for (limit, grown) in [(Some(256), 256), (Some(32), 64), (Some(64), 64), (Some(4096), end), (None, end)] {
            plan.grow_root = limit.map_or(GrowRoot::AtFirstBoot, |limit| GrowRoot::UpTo(Bytes::mib(limit)));
            let (tree, folder) = (tree(&able), tempfile::tempdir().unwrap());
            grow::prepare(&plan, &tree.tree, &Reporter::silent()).unwrap();
            let disk = with_a_root_of_64(folder.path(), label, 600);
            // The kernel's view of it, as files.
            let sys = folder.path().join("sys");
            std::fs::create_dir_all(sys.join("vda/vda1")).unwrap();
            std::os::unix::fs::symlink("vda/vda1", sys.join("vda1")).unwrap();
            for (name, value) in
                [("vda/size", 600 << 11), ("vda1/start", 2048), ("vda1/size", 64 << 11), ("vda1/partition", 1)]
            {
                std::fs::write(sys.join(name), format!("{value}\n")).unwrap();
            }
            for name in ["findmnt", "partx", "resize2fs"] {
                let path = folder.path().join(name);
                std::fs::write(&path, "#!/bin/sh\necho /dev/vda1\n").unwrap();
                std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
            }
            let script = tree.text("/usr/lib/grow-root/grow-root");
            let script = script.replace("/sys/class/block", sys.to_str().unwrap());
            let script = script.replace("disk=/dev/", &format!("disk={}/", folder.path().display()));
            let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.path().display());
            // Without growpart, whatever this host has.
            let script = script.replace("command -v growpart", "false");
            let output = Command::new("sh").args(["-c", &script]).env("PATH", path).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(root_of(&disk), grown, "{label} {limit:?}");
        }
    }
    // growpart knows no limit.
    let only = tree(&["/lib/systemd/systemd", "/usr/bin/findmnt", "/sbin/resize2fs", "/usr/bin/growpart"]);
    let error = grow::prepare(&plan, &only.tree, &Reporter::silent());
    assert!(error.is_ok(), "without a limit it is enough");
    plan.grow_root = GrowRoot::UpTo(Bytes::mib(256));
    let error = grow::prepare(&plan, &only.tree, &Reporter::silent()).unwrap_err();
    assert!(error.exit().code() == 65 && error.text().contains("oem-systemsize"), "{}", error.text());
}

#[test]
fn the_signed_loaders_are_found_by_the_firmware_and_find_their_configuration() {
    let shim = "/usr/lib/shim/shimx64.efi.signed";
    let signed = "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed";
    let tree = tree(&[shim, signed]);
    tree.write("/etc/os-release", "NAME=x\nID=ubuntu\n");
    let mut plan = everything();
    plan.firmware.secure_boot = Support::WherePossible;
    efi::prepare(&plan, &tree.tree, &tree.sandbox, &Reporter::silent()).unwrap();
    assert_eq!(tree.text("/boot/efi/EFI/BOOT/BOOTX64.EFI"), shim);
    assert_eq!(tree.text("/boot/efi/EFI/BOOT/grubx64.efi"), signed);
    let boot = plan.partitions[2].filesystem.as_ref().unwrap().uuid;
    let stub = format!("search.fs_uuid {boot} root\nset prefix=($root)'/grub'\nconfigfile $prefix/grub.cfg\n");
    assert_eq!(tree.text("/boot/efi/EFI/ubuntu/grub.cfg"), stub);
}

/// What os-release of these says, and their names: the kernel's folder, its initrd, GRUB's folder and modules.
#[test]
fn suse_and_fedora_find_what_they_look_for_under_their_own_names() {
    let rows = [
        ("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", "initrd-6.4.0-150-default", "grub2-i386-pc"),
        ("ID=fedora\n", "initramfs-6.4.0-150-default.img", "grub2-pc-modules and grub2-tools"),
    ];
    for (text, name, packages) in rows {
        let kernel = "/usr/lib/modules/6.4.0-150-default/vmlinuz";
        let tree = tree(&[kernel, "/boot/vmlinuz-0-rescue-0123456789abcdef", "/usr/sbin/grub2-mkconfig"]);
        tree.write("/usr/lib/os-release", text);
        tree.write("/usr/lib/modules/6.4.0-150-default/config", "CONFIG_RD_ZSTD=y\n");
        tree.write("/usr/lib/modules/6.3-no-kernel/config", "");
        // What SUSE's package makes; on a filesystem of its own nothing could follow it.
        let boot = RootPath::new("/boot/vmlinuz-6.4.0-150-default");
        tree.tree.symlink("../usr/lib/modules/6.4.0-150-default/vmlinuz", &boot).unwrap();
        kernel::gather(&tree.tree).unwrap();
        let entry = tree.tree.entry(&boot).unwrap().unwrap();
        assert!(entry.is_file() && entry.links == 2, "{text}");
        let kernels = kernel::kernels(&tree.tree).unwrap();
        let initrds: Vec<String> = kernels.iter().map(kernel::Kernel::initrd).collect();
        assert_eq!(initrds, [format!("/boot/{name}")]);
        assert_eq!(kernels[0].configuration(&tree.tree).unwrap(), b"CONFIG_RD_ZSTD=y\n");
        let plan = everything();
        grub::configure(&plan, &kernels, &tree.tree).unwrap();
        let configuration = tree.text("/boot/grub2/grub.cfg");
        assert!(configuration.contains("; grub2-mkconfig writes another one from /etc/default/grub.\n"));
        assert!(configuration.contains("  linux /vmlinuz-6.4.0-150-default root="), "{configuration}");
        assert!(configuration.contains(&format!("  initrd /{name}\n")), "{configuration}");
        let family = Family::of(&tree.tree).unwrap();
        defaults::set(&plan, family, &tree.tree).unwrap();
        assert!(tree.text("/etc/default/grub").contains("GRUB_TIMEOUT=\"1\"\n"));
        assert_eq!(bios::folder(family).to_string(), "/boot/grub2/i386-pc");
        assert!(!tree.exists("/boot/grub") && !tree.exists("/etc/sysconfig/bootloader"));
        // No program of the image is called, because it has no GRUB; this host's is, or the package is named.
        let image = RootPath::new("/boot/grub2/i386-pc/core.img");
        let reporter = Reporter::silent();
        let made = grub::make_image(&plan, grub::Platform::Pc, &image, &tree.tree, &tree.sandbox, &reporter);
        let said = match made {
            Ok(()) => reporter.warnings()[0].text.clone(),
            Err(error) => error.hint_text().unwrap().to_string(),
        };
        assert!(said.contains(packages), "{said}");
    }
}

#[test]
fn red_hats_grub_reads_entries_that_the_next_kernel_adds_to() {
    let kernel = "/boot/vmlinuz-6.5.6-300.fc39.x86_64";
    let writer = "/usr/lib/kernel/install.d/20-grub.install";
    let tree = tree(&[kernel, writer, "/usr/lib/grub/i386-pc/blscfg.mod"]);
    tree.write("/etc/os-release", "ID=fedora\n");
    // What kernel-install wrote during the build, and what an overlay brought.
    let entries = "/boot/loader/entries";
    let named = format!("{entries}/0123456789abcdef0123456789abcdef-6.5.6-300.fc39.x86_64.conf");
    tree.write(&named, "title x\nlinux /vmlinuz-6.5.6-300.fc39.x86_64\n");
    tree.write(&format!("{entries}/memtest.conf"), "title memtest\nlinux /memtest\n");
    let mut plan = everything();
    plan.boot.command_line = "quiet x=$y;z".into();
    grub::configure(&plan, &kernel::kernels(&tree.tree).unwrap(), &tree.tree).unwrap();
    let root = plan.partitions[4].filesystem.as_ref().unwrap().uuid;
    assert_eq!(
        tree.text(&format!("{entries}/fedora-6.5.6-300.fc39.x86_64.conf")),
        format!(
            "\
title ingot test (6.5.6-300.fc39.x86_64)
version 6.5.6-300.fc39.x86_64
linux /vmlinuz-6.5.6-300.fc39.x86_64
initrd /initramfs-6.5.6-300.fc39.x86_64.img
options root=UUID={root} ro quiet x=$y;z
grub_users $grub_users
grub_arg --unrestricted
grub_class fedora
"
        )
    );
    assert!(!tree.exists(&named) && tree.exists(&format!("{entries}/memtest.conf")));
    let configuration = tree.text("/boot/grub2/grub.cfg");
    let (before, after) = configuration.split_once("\nblscfg\n").unwrap();
    assert!(before.ends_with("\nset boot=$root\nset blsdir=/loader/entries\ninsmod blscfg"), "{before}");
    assert!(after.starts_with("menuentry 'ingot test' {\n  linux /vmlinuz-6.5.6-300.fc39.x86_64 root="), "{after}");
}

#[test]
fn suses_tools_know_which_boot_loader_there_is() {
    let tree = tree(&["/sbin/update-bootloader"]);
    tree.write("/etc/sysconfig/bootloader", "## Path: System/Bootloader\nLOADER_TYPE=\"none\"\nTRUSTED_BOOT=\"no\"\n");
    let mut plan = everything();
    plan.firmware.secure_boot = Support::WherePossible;
    defaults::set(&plan, Family::Suse, &tree.tree).unwrap();
    let wanted = "## Path: System/Bootloader\nLOADER_TYPE=\"grub2-efi\"\nTRUSTED_BOOT=\"no\"\nSECURE_BOOT=\"yes\"\n";
    assert_eq!(tree.text("/etc/sysconfig/bootloader"), wanted);
    plan.firmware = Firmware { bios: Support::Yes, uefi: Support::No, secure_boot: Support::No };
    defaults::set(&plan, Family::Suse, &tree.tree).unwrap();
    assert!(tree.text("/etc/sysconfig/bootloader").contains("LOADER_TYPE=\"grub2\"\n"));
}

#[test]
fn the_signed_loaders_of_suse_and_fedora_are_theirs() {
    let mut plan = everything();
    plan.firmware.secure_boot = Support::Yes;
    let boot = plan.partitions[2].filesystem.as_ref().unwrap().uuid;
    let stub = format!("search.fs_uuid {boot} root\nset prefix=($root)'/grub2'\nconfigfile $prefix/grub.cfg\n");
    let (shim, grub) = ("/usr/share/efi/x86_64/shim.efi", "/usr/share/efi/x86_64/grub.efi");
    let suse = tree(&[shim, grub, "/usr/share/efi/x86_64/MokManager.efi"]);
    suse.write("/etc/os-release", "ID=sles\n");
    efi::prepare(&plan, &suse.tree, &suse.sandbox, &Reporter::silent()).unwrap();
    assert_eq!(suse.text("/boot/efi/EFI/BOOT/BOOTX64.EFI"), shim);
    assert_eq!(suse.text("/boot/efi/EFI/BOOT/grub.efi"), grub);
    assert!(suse.exists("/boot/efi/EFI/BOOT/MokManager.efi"));
    assert_eq!(suse.text("/boot/efi/EFI/BOOT/grub.cfg"), stub);
    // Packages put them onto the partition.
    let grub = "/boot/efi/EFI/centos/grubx64.efi";
    let red_hat = tree(&["/boot/efi/EFI/BOOT/BOOTX64.EFI", "/boot/efi/EFI/centos/shimx64.efi", grub]);
    red_hat.write("/etc/os-release", "ID=\"centos\"\n");
    efi::prepare(&plan, &red_hat.tree, &red_hat.sandbox, &Reporter::silent()).unwrap();
    assert_eq!(red_hat.text("/boot/efi/EFI/BOOT/BOOTX64.EFI"), "/boot/efi/EFI/BOOT/BOOTX64.EFI");
    assert_eq!(red_hat.text("/boot/efi/EFI/BOOT/grubx64.efi"), grub);
    assert_eq!(red_hat.text("/boot/efi/EFI/centos/grub.cfg"), stub);
    // One of the two is not enough.
    let half = tree(&[shim]);
    half.write("/etc/os-release", "ID=sles\n");
    let error = efi::prepare(&plan, &half.tree, &half.sandbox, &Reporter::silent()).unwrap_err();
    assert_eq!(error.hint_text().unwrap(), "add shim and grub2-x86_64-efi to the image's packages");
}

#[test]
fn grubs_first_stages_hold_the_sectors_of_the_next() {
    let tree = tree(&[]);
    let (boot, core) = (vec![1; 512], vec![2; 5 * 512 + 100]);
    for (name, content) in [("boot.img", &boot), ("core.img", &core)] {
        tree.tree.write(&bios::folder(Family::Debian).join(name), content, 0o644).unwrap();
    }
    let path = tree.tree.host_path().join("disk");
    for (table, first) in [(PartitionTable::Gpt, 2048_u64), (PartitionTable::Msdos, 1)] {
        let mut plan = everything();
        plan.table = table;
        plan.firmware.bios = Support::Yes;
        let disk = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let code = bios::install(&tree.tree, &plan, &disk).unwrap();
        assert_eq!(code[0x5c..0x64], first.to_le_bytes());
        assert_eq!(code[0x66..0x68], [0x90, 0x90]);
        let mut written = vec![0; 6 * 512];
        disk.read_exact_at(&mut written, first * 512).unwrap();
        let list = [&(first + 1).to_le_bytes()[..], &5_u16.to_le_bytes(), &0x820_u16.to_le_bytes()].concat();
        assert_eq!(written[500..512], list);
        assert_eq!(written[512..core.len()], core[512..]);
    }
    let mut plan = everything();
    plan.firmware.bios = Support::Yes;
    plan.table = PartitionTable::Msdos;
    plan.partitions = vec![partition(1, Role::Root, 1, PartitionSize::ToFit)];
    plan.partitions[0].start = Bytes(5 * 512);
    let disk = File::create(&path).unwrap();
    let error = bios::install(&tree.tree, &plan, &disk).unwrap_err().to_string();
    assert_eq!(error, "cannot install GRUB for BIOS: core.img has 2660 bytes and there is room for 2048");
}

/// A cpio entry as `cpio -H newc` writes it.
fn entry(name: &str, inode: u32, links: u32, time: u32, device: u32, content: &str) -> Vec<u8> {
    let fields = [inode, 0o100644, 0, 0, links, time, content.len() as u32, 8, device, 0, 0, name.len() as u32 + 1, 0];
    let mut bytes = b"070701".to_vec();
    fields.iter().for_each(|field| bytes.extend(format!("{field:08X}").bytes()));
    bytes.extend(name.bytes().chain([0]));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(content.bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn an_initrd_forgets_when_and_where_it_was_packed() {
    let archive = |inode: u32, time: u32, device: u32| {
        let rows = [("a", inode, 2, "x"), ("b", inode, 2, ""), ("c", inode + 5, 1, "yy"), ("TRAILER!!!", 0, 1, "")];
        let mut bytes =
            rows.map(|(name, inode, links, content)| entry(name, inode, links, time, device, content)).concat();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    };
    let (mut first, mut second) = (archive(100, 1_700_000_000, 3), archive(7, 1_800_000_000, 9));
    for archive in [&mut first, &mut second] {
        cpio::normalise(archive, EPOCH).unwrap();
    }
    assert_eq!(first, second);
    let wanted = [("a", 1, 2, "x"), ("b", 1, 2, ""), ("c", 2, 1, "yy"), ("TRAILER!!!", 3, 1, "")];
    let mut wanted =
        wanted.map(|(name, inode, links, content)| entry(name, inode, links, EPOCH as u32, 0, content)).concat();
    wanted.resize(wanted.len().next_multiple_of(512), 0);
    wanted.chunks(110).zip(first.chunks(110)).for_each(|(wanted, found)| assert_eq!(wanted.len(), found.len()));
    // The device fields of the packer are gone too.
    let text = String::from_utf8_lossy(&first).replace("00000008", "00000000");
    assert_eq!(text, String::from_utf8_lossy(&wanted).replace("00000008", "00000000"));
    // Microcode stays in front, uncompressed.
    let early =
        [entry("kernel/x86/microcode/GenuineIntel.bin", 1, 1, 0, 0, "m"), entry("TRAILER!!!", 0, 1, 0, 0, "")].concat();
    let whole = [early.clone(), vec![0; 8], b"\x28\xb5\x2f\xfd".to_vec()].concat();
    assert_eq!(cpio::first_archive(&whole), Ok((early.len() + 8, cpio::Early::Yes)));
    for broken in [&b"070701"[..], b"nothing", &whole[..50]] {
        assert_eq!(cpio::first_archive(broken), Err(cpio::NotCpio));
    }
}
