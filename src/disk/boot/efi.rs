//! What UEFI loads from the EFI system partition: the removable-media path, so that any machine starts it.
//!
//! In: GRUB of the image, or the distribution's signed shim and GRUB. Out: files below /boot/efi. Never writes a boot entry
//! into any firmware.

use super::family::{Family, distribution};
use super::grub::{Platform, early_configuration, make_image};
use crate::error::{Error, Exit, Result};
use crate::host::sandbox::Sandbox;
use crate::plan::{DiskPlan, Support};
use crate::report::Reporter;
use crate::root::{RootPath, RootTree};

/// Where the firmware mounts nothing and looks for everything.
const PARTITION: &str = "/boot/efi/EFI";
/// The removable-media folder (UEFI 2.10, 3.5.1.1).
const REMOVABLE: &str = "BOOT";

/// A signed file: its name in the removable-media folder, and where packages put it, newest first.
type Signed = (&'static str, &'static [&'static str]);

/// Shim, the GRUB that it loads, and the keys' manager, which may be missing.
const DEBIAN: [Signed; 3] = [
    ("BOOTX64.EFI", &["/usr/lib/shim/shimx64.efi.signed"]),
    ("grubx64.efi", &["/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"]),
    ("mmx64.efi", &["/usr/lib/shim/mmx64.efi.signed"]),
];
const SUSE: [Signed; 3] = [
    ("BOOTX64.EFI", &["/usr/share/efi/x86_64/shim.efi", "/usr/lib64/efi/shim.efi"]),
    (
        "grub.efi",
        &["/usr/share/efi/x86_64/grub.efi", "/usr/share/grub2/x86_64-efi/grub.efi", "/usr/lib64/efi/grub.efi"],
    ),
    ("MokManager.efi", &["/usr/share/efi/x86_64/MokManager.efi", "/usr/lib64/efi/MokManager.efi"]),
];

/// Signed files, found.
struct Found {
    /// What is copied into the removable-media folder, by its name there.
    copies: Vec<(&'static str, RootPath)>,
    /// The folder in which the signed GRUB looks for its configuration.
    configuration: RootPath,
}

/// Fills /boot/efi.
pub fn prepare(plan: &DiskPlan, tree: &RootTree, sandbox: &Sandbox, reporter: &Reporter) -> Result<()> {
    let (partition, family) = (RootPath::new(PARTITION), Family::of(tree)?);
    let folder = partition.join(REMOVABLE);
    let signed = match plan.firmware.secure_boot {
        Support::No => None,
        _ => find(family, tree)?,
    };
    let Some(signed) = signed else {
        if plan.firmware.secure_boot == Support::Yes {
            return Err(Error::cannot(Exit::Description, "make the disk start with Secure Boot")
                .because("the image lacks the signed shim or the signed GRUB")
                .hint(format!("add {} to the image's packages", family.signed_packages())));
        }
        return make_image(plan, Platform::Efi, &folder.join("BOOTX64.EFI"), tree, sandbox, reporter);
    };
    for (name, source) in signed.copies {
        tree.write(&folder.join(name), tree.read(&source)?, 0o644)?;
    }
    let text = early_configuration(plan, tree)? + "configfile $prefix/grub.cfg\n";
    tree.write(&signed.configuration.join("grub.cfg"), text, 0o644)
}

/// The signed shim and GRUB of the image, if it has both.
fn find(family: Family, tree: &RootTree) -> Result<Option<Found>> {
    let partition = RootPath::new(PARTITION);
    let (files, configuration) = match family {
        // Its GRUB looks in a folder named after the distribution.
        Family::Debian => (DEBIAN, partition.join(distribution(tree)?)),
        // Its GRUB looks where it came from itself.
        Family::Suse => (SUSE, partition.join(REMOVABLE)),
        Family::RedHat => return in_place(tree),
    };
    let there = |paths: &[&str]| paths.iter().map(RootPath::new).find(|path| tree.exists(path));
    let copies: Vec<_> = files.iter().filter_map(|(name, paths)| Some((*name, there(paths)?))).collect();
    let is_whole = files[..2].iter().all(|(name, _)| copies.iter().any(|(copied, _)| copied == name));
    Ok(is_whole.then_some(Found { copies, configuration }))
}

/// Red Hat's packages have their files on the partition itself: shim in the removable-media folder, and GRUB, which looks
/// for its configuration beside itself, in the vendor's. Shim finds a GRUB beside itself only.
fn in_place(tree: &RootTree) -> Result<Option<Found>> {
    let partition = RootPath::new(PARTITION);
    if !tree.exists(&partition.join(REMOVABLE).join("BOOTX64.EFI")) {
        return Ok(None);
    }
    let mut vendors = tree.names(&partition)?;
    vendors.sort();
    let vendors = vendors.into_iter().filter(|name| name != REMOVABLE.as_bytes()).map(|name| partition.join(name));
    let has_both =
        |folder: &RootPath| ["shimx64.efi", "grubx64.efi"].iter().all(|name| tree.exists(&folder.join(name)));
    Ok(vendors.into_iter().find(has_both).map(|vendor| {
        let copied = |name: &'static str| Some((name, vendor.join(name))).filter(|(_, path)| tree.exists(path));
        let copies = ["grubx64.efi", "mmx64.efi"].into_iter().filter_map(copied).collect();
        Found { copies, configuration: vendor }
    }))
}
