//! What makes a disk start.
//!
//! In: the tree before the scrub, the plan. Out: fstab, GRUB's files, initrds and the growth of the root filesystem in the
//! tree; later, GRUB's first stages on the disk. Never touches the host's firmware or boot loader, never leaves a name of
//! the host's devices in the image.

pub mod bios;
pub mod cpio;
pub mod defaults;
pub mod device;
pub mod efi;
pub mod entries;
pub mod family;
pub mod fstab;
pub mod grow;
pub mod grub;
pub mod initrd;
pub mod kernel;

use crate::error::Result;
use crate::host::sandbox::Sandbox;
use crate::plan::{DiskPlan, Role, Support};
use crate::report::Reporter;
use crate::root::RootTree;
use family::Family;
use grub::Platform;

/// Prepares the tree, before the scrub and while the image still has its package manager. `epoch` is the image's date.
/// `keeper` may know the initrds already. 65 where the image lacks what the plan asks for, with the package to add.
pub fn prepare(
    plan: &DiskPlan,
    epoch: i64,
    tree: &RootTree,
    sandbox: &Sandbox,
    keeper: &initrd::Keeper<'_>,
    reporter: &Reporter,
) -> Result<()> {
    kernel::gather(tree)?;
    let (kernels, family) = (kernel::kernels(tree)?, Family::of(tree)?);
    grow::prepare(plan, tree, reporter)?;
    fstab::write(plan, tree, sandbox, reporter)?;
    defaults::set(plan, family, tree)?;
    initrd::make(plan.boot.initrd, &kernels, epoch, tree, sandbox, keeper, reporter)?;
    grub::configure(plan, &kernels, tree)?;
    if plan.firmware.bios != Support::No {
        let image = bios::folder(family).join("core.img");
        grub::make_image(plan, Platform::Pc, &image, tree, sandbox, reporter)?;
    }
    if plan.firmware.uefi != Support::No {
        efi::prepare(plan, tree, sandbox, reporter)?;
    }
    Ok(())
}

/// Whether the root filesystem stays read-only.
pub fn is_read_only(plan: &DiskPlan) -> bool {
    let root = device::with_role(plan, Role::Root);
    root.is_some_and(|(_, filesystem)| filesystem.mount_options.iter().any(|option| option == "ro"))
}
