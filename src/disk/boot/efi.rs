//! What UEFI loads from the EFI system partition: the removable-media path, so that any machine starts it.
//!
//! In: GRUB of the image, or the distribution's signed shim and GRUB. Out: files below /boot/efi. Never writes a boot entry
//! into any firmware.

use super::grub::{Platform, early_configuration, make_image};
use crate::error::Result;
use crate::host::sandbox::Sandbox;
use crate::plan::{DiskPlan, Support};
use crate::report::Reporter;
use crate::root::{RootPath, RootTree};

/// The removable-media folder (UEFI 2.10, 3.5.1.1).
const FOLDER: &str = "/boot/efi/EFI/BOOT";
/// What the firmware loads, the signed files it comes from, and where Debian's packages put them.
const SIGNED: [(&str, &str); 3] = [
    ("BOOTX64.EFI", "/usr/lib/shim/shimx64.efi.signed"),
    ("grubx64.efi", "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"),
    ("mmx64.efi", "/usr/lib/shim/mmx64.efi.signed"),
];

/// Fills /boot/efi.
pub fn prepare(plan: &DiskPlan, tree: &RootTree, sandbox: &Sandbox, reporter: &Reporter) -> Result<()> {
    let folder = RootPath::new(FOLDER);
    let is_there = |(_, source): &(&str, &str)| tree.exists(&RootPath::new(source));
    let signed = plan.firmware.secure_boot != Support::No && SIGNED[..2].iter().all(is_there);
    if plan.firmware.secure_boot == Support::Yes && !signed {
        use crate::error::{Error, Exit};
        return Err(Error::cannot(Exit::Description, "make the disk start with Secure Boot")
            .because("the image lacks the signed shim or the signed GRUB")
            .hint("add shim-signed and grub-efi-amd64-signed to the image's packages"));
    }
    if !signed {
        return make_image(plan, Platform::Efi, &folder.join("BOOTX64.EFI"), tree, sandbox, reporter);
    }
    for (name, source) in SIGNED.iter().filter(|row| is_there(row)) {
        tree.write(&folder.join(name), tree.read(&RootPath::new(source))?, 0o644)?;
    }
    // The signed GRUB looks for its configuration in a folder named after its distribution.
    let stub = RootPath::new("/boot/efi/EFI").join(distribution(tree)?).join("grub.cfg");
    let text = early_configuration(plan)? + "configfile $prefix/grub.cfg\n";
    tree.write(&stub, text, 0o644)
}

/// `ID` of /etc/os-release.
fn distribution(tree: &RootTree) -> Result<String> {
    let text = tree.read_if_there(&RootPath::new("/etc/os-release"))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let id = text.lines().find_map(|line| line.strip_prefix("ID=")).unwrap_or("debian").trim_matches(['"', '\'']);
    Ok(id.chars().filter(|char| char.is_ascii_alphanumeric() || "._-".contains(*char)).collect())
}
