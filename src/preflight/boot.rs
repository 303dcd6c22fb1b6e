//! Rules about starting: partition table, boot loader, kernel, command line.
//!
//! In: sectors and files of a disk. Out: what the rules make of it. Never assumes that somebody tells the firmware what to
//! start: a new instance's firmware knows nothing.

use super::boot_code::BootCode;
use super::command_line::{BootEntry, resolve};
use super::drivers::initrd_problem;
use super::evidence::{DiskEvidence, Evidence, no_root};
use super::files::{Files, Seen};
use super::pe;
use super::rule::Outcome;
use crate::disk::gpt::kind;
use crate::disk::mbr;
use crate::disk::table::PartitionType;
use crate::plan::Target;
use crate::root::RootPath;

/// The rule `partition-table`.
pub fn table(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let disk = match &evidence.disk {
        Ok(disk) => disk,
        Err(why) => return Outcome::unknown(why),
    };
    let repair = "--fix writes it again from its backup, where that is sound";
    if let Some(gpt) = &disk.gpt
        && let Some(problem) = gpt.problems_of_primary().into_iter().next()
    {
        return Outcome::bad(problem, repair);
    }
    match &disk.partitions {
        Err(why) => Outcome::bad(why, "write the table again with sgdisk or sfdisk"),
        Ok(partitions) if partitions.is_empty() => {
            Outcome::bad("there is no partition table", "build the image with a partition table")
        }
        Ok(partitions) => {
            let name = if disk.gpt.is_some() { "GPT" } else { "MBR" };
            Outcome::good(format!("{name}, {} partitions", partitions.len()))
        }
    }
}

/// The rule `backup-gpt`.
pub fn backup(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let gpt = match &evidence.disk {
        Ok(DiskEvidence { gpt: Some(gpt), .. }) => gpt,
        Ok(_) => return Outcome::good("no GPT, and so no backup"),
        Err(why) => return Outcome::unknown(why),
    };
    let problems = gpt.problems_of_backup();
    if problems.is_empty() {
        return Outcome::good("the backup is at the end and the same");
    }
    problems.into_iter().flat_map(|problem| Outcome::bad(problem, "--fix writes it where it belongs")).collect()
}

/// What a BIOS starts, or why nothing.
fn bios(disk: &DiskEvidence) -> Result<String, String> {
    match &disk.boot_code {
        BootCode::Nothing => Err("no boot code in the MBR".into()),
        BootCode::Grub(place) => Ok(format!("GRUB, {place}")),
        BootCode::Broken(why) => Err(why.clone()),
        BootCode::Other => Ok("boot code that is not GRUB's, which is not followed".into()),
    }
}

/// What UEFI starts on a disk that it knows nothing of (UEFI 2.10, 3.5.1.1): the removable-media path.
fn uefi(evidence: &Evidence, disk: &DiskEvidence) -> Result<String, String> {
    let is_esp = |kind: &PartitionType| match kind {
        PartitionType::Gpt(uuid) => *uuid == kind::ESP,
        PartitionType::Mbr(number) => *number == mbr::kind::ESP,
    };
    let partitions = disk.partitions.as_deref().unwrap_or_default();
    if !partitions.iter().any(|partition| is_esp(&partition.kind)) {
        return Err("no EFI system partition".into());
    }
    let files = &evidence.files.as_ref().map_err(|why| format!("its files are not read: {why}"))?.files;
    match removable(files) {
        Some((path, seen)) if pe::is_program(&seen.content) => Ok(path.to_string()),
        Some((path, _)) => Err(format!("{path} is no EFI program")),
        None => Err("no EFI/BOOT/BOOTX64.EFI on the EFI system partition".into()),
    }
}

/// The program that UEFI starts from a disk without being told.
fn removable(files: &Files) -> Option<(&RootPath, &Seen)> {
    const NAMES: [&str; 4] = ["bootx64.efi", "bootaa64.efi", "bootriscv64.efi", "bootia32.efi"];
    let wanted = |path: &RootPath| {
        let path = path.to_string().to_ascii_lowercase();
        NAMES.iter().position(|name| path == format!("/boot/efi/efi/boot/{name}"))
    };
    let found = files.below("/boot/efi").filter_map(|(path, seen)| Some((wanted(path)?, path, seen)));
    found.min_by_key(|(rank, _, _)| *rank).map(|(_, path, seen)| (path, seen))
}

/// The rule `boot-loader`.
pub fn loader(evidence: &Evidence, target: Target) -> Vec<Outcome> {
    let disk = match &evidence.disk {
        Ok(disk) => disk,
        Err(why) => return Outcome::unknown(why),
    };
    match (bios(disk), uefi(evidence, disk)) {
        (Ok(bios), Ok(uefi)) => Outcome::good(format!("BIOS: {bios}; UEFI: {uefi}")),
        (Ok(bios), Err(_)) => Outcome::good(format!("BIOS: {bios}")),
        (Err(_), Ok(uefi)) => Outcome::good(format!("UEFI: {uefi}")),
        (Err(bios), Err(uefi)) => Outcome::bad(
            format!("neither firmware of {} starts it. BIOS: {bios}; UEFI: {uefi}", target.name()),
            "firmware=\"efi\" in the description makes a disk for both",
        ),
    }
}

/// The rule `boot-mode`.
pub fn mode(evidence: &Evidence, target: Target) -> Vec<Outcome> {
    let disk = match &evidence.disk {
        Ok(disk) => disk,
        Err(why) => return Outcome::unknown(why),
    };
    match (bios(disk), uefi(evidence, disk)) {
        (Ok(_), Ok(_)) => Outcome::good("BIOS and UEFI"),
        (Ok(_), Err(why)) => Outcome::note(format!("BIOS only: {why}"), registration(target, false)),
        (Err(why), Ok(_)) => Outcome::note(format!("UEFI only: {why}"), registration(target, true)),
        (Err(_), Err(_)) => Outcome::unknown("nothing starts it: see boot-loader"),
    }
}

/// What has to be said when an image that starts one way only is registered.
fn registration(target: Target, uefi: bool) -> &'static str {
    match (target, uefi) {
        (Target::Aws, true) => "register it with --boot-mode uefi: instance types of Xen cannot start it",
        (Target::Aws, false) => "register it with --boot-mode legacy-bios: no NitroTPM, no secure boot",
        (Target::Azure | Target::Hyperv, true) => "a machine of generation 2 only",
        (Target::Azure | Target::Hyperv, false) => "a machine of generation 1 only: no trusted launch",
        (Target::Gce, true) => "create the image with --guest-os-features UEFI_COMPATIBLE",
        (Target::Gce, false) => "create the image without UEFI_COMPATIBLE: no shielded instances",
        (Target::Openstack, true) => "set the property hw_firmware_type=uefi",
        (Target::Openstack, false) => "leave the property hw_firmware_type at bios",
        (Target::Vmware, true) => "set firmware = \"efi\" in the machine's settings",
        (Target::Libvirt, true) => "define the machine with <os firmware=\"efi\">",
        (Target::Vmware | Target::Libvirt, false) => "define the machine with a BIOS",
        (Target::Registry, _) => "",
    }
}

/// The rule `secure-boot`.
pub fn signed(evidence: &Evidence, target: Target) -> Vec<Outcome> {
    let files = match &evidence.files {
        Ok(files) => &files.files,
        Err(why) => return Outcome::unknown(why),
    };
    let remedy = match target {
        Target::Gce => "firmware=\"uefi\" with shim-signed; else create instances without --shielded-secure-boot",
        Target::Azure => "firmware=\"uefi\" with shim-signed; else create machines without secure boot",
        _ => "firmware=\"uefi\" with shim-signed; else Set-VMFirmware -EnableSecureBoot Off",
    };
    match removable(files) {
        None => Outcome::good("no UEFI, and so no secure boot"),
        Some((path, seen)) => match pe::is_signed(&seen.content) {
            Some(true) => Outcome::good(format!("{path} carries a signature")),
            Some(false) => Outcome::bad(format!("{path} carries no signature: secure boot refuses it"), remedy),
            None => Outcome::unknown(format!("{path} is no EFI program")),
        },
    }
}

/// The rule `kernel`.
pub fn kernel(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let found = match &evidence.files {
        Ok(files) => files,
        Err(why) => return Outcome::unknown(why),
    };
    let Some(entry) = found.boot.first() else {
        if !found.has_root {
            return Outcome::unknown(no_root(&found.unread));
        }
        return Outcome::bad(
            "neither grub.cfg nor loader/entries nor EFI/Linux in /boot names a kernel",
            "install a kernel and run grub-mkconfig",
        );
    };
    if entry.kernel.contains('$') {
        return Outcome::unknown(format!("{} names the kernel by a variable: {}", entry.from, entry.kernel));
    }
    let is_missing = |name: &&String| !name.is_empty() && resolve(&found.files, name).is_none();
    if let Some(missing) = std::iter::once(&entry.kernel).chain(&entry.initrds).find(is_missing) {
        if !found.has_root {
            return Outcome::unknown(format!("{missing} is not found, and {}", no_root(&found.unread)));
        }
        return Outcome::bad(format!("{} names {missing}, which is not there", entry.from), "run grub-mkconfig again");
    }
    match initrd_problem(entry, &found.files) {
        // A compression that is not read here is no fault of the image.
        Some(problem) if problem.contains("this version does not read") => Outcome::unknown(problem),
        Some(problem) => Outcome::bad(problem, "make the initrd again: update-initramfs -u, or dracut -f"),
        None if entry.kernel.is_empty() => Outcome::good(format!("the unified kernel image {}", entry.from)),
        None => Outcome::good(format!("{} and {}", entry.kernel, listed(entry))),
    }
}

fn listed(entry: &BootEntry) -> String {
    if entry.initrds.is_empty() { "no initrd".into() } else { entry.initrds.join(", ") }
}

/// The rule `console`.
pub fn console(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let found = match &evidence.files {
        Ok(files) => files,
        Err(why) => return Outcome::unknown(why),
    };
    let Some(entry) = found.boot.first() else {
        return Outcome::unknown("no boot loader's configuration names a kernel");
    };
    // ttyAMA0 is the serial console of 64-bit ARM.
    let serial = |console: &&str| console.starts_with("ttyS0") || console.starts_with("ttyAMA0");
    match entry.values("console").find(serial) {
        Some(console) => Outcome::good(format!("console={console} in {}", entry.from)),
        None => Outcome::bad(
            format!("{} has no console=ttyS0: the target's console log stays empty", entry.from),
            "kernelcmdline=\"console=tty0 console=ttyS0,115200\" in the description",
        ),
    }
}

/// The rule `device-names`.
pub fn device_names(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let found = match &evidence.files {
        Ok(files) => files,
        Err(why) => return Outcome::unknown(why),
    };
    let mut bad = Vec::new();
    for entry in &found.boot {
        for name in ["root", "resume", "rd.luks.name"] {
            let values = entry.values(name).filter(|value| is_kernel_name(value));
            bad.extend(values.map(|value| format!("{} says {name}={value}", entry.from)));
        }
    }
    for line in found.files.text("/etc/fstab").lines() {
        let mut fields = line.split_whitespace();
        if let (Some(device), Some(place)) = (fields.next(), fields.next())
            && is_kernel_name(device)
        {
            bad.push(format!("/etc/fstab mounts {device} at {place}"));
        }
    }
    bad.dedup();
    if bad.is_empty() {
        if !found.has_root && found.boot.is_empty() {
            return Outcome::unknown(no_root(&found.unread));
        }
        return Outcome::good("fstab and the kernel's command line name no kernel device");
    }
    let remedy = "name it by UUID= or LABEL= (blkid shows them)";
    bad.into_iter().flat_map(|what| Outcome::bad(what, remedy)).collect()
}

/// `/dev/sda1`, `/dev/vda`, `/dev/nvme0n1p2` and the like; not /dev/disk/by-..., not /dev/mapper.
fn is_kernel_name(device: &str) -> bool {
    let Some(name) = device.strip_prefix("/dev/") else { return false };
    let disk = ["sd", "hd", "vd", "xvd"].iter().any(|start| {
        name.strip_prefix(start).is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_lowercase()))
    });
    disk && !name.contains('/') || name.starts_with("nvme") || name.starts_with("loop") || name.starts_with("nbd")
}
