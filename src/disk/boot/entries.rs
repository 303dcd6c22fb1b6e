//! Entries of the Boot Loader Specification, which Red Hat's GRUB reads instead of a configuration of its own.
//!
//! In: the kernels of an image whose own tools write such entries when a kernel is updated. Out: one for each kernel, in
//! place of those that packages wrote during the build, whose names hold a machine's id. Never touches one that the
//! description brought for something else. Reference: the UAPI group's Boot Loader Specification, type 1.

use super::family::{Family, distribution};
use super::kernel::Kernel;
use crate::error::Result;
use crate::plan::Initrd;
use crate::root::{RootPath, RootTree};

/// Where they are; below it as the filesystem of /boot sees it.
const FOLDER: &str = "/boot/loader/entries";
/// What writes them when a kernel is installed in the running system.
const WRITER: &str = "/usr/lib/kernel/install.d/20-grub.install";
/// The command of GRUB that reads them.
const READERS: [&str; 2] = ["/usr/lib/grub/i386-pc/blscfg.mod", "/usr/lib/grub/x86_64-efi/blscfg.mod"];

/// Whether the image's own tools write entries and its own GRUB reads them.
pub fn are_used(family: Family, tree: &RootTree) -> bool {
    let exists = |path: &str| tree.exists(&RootPath::new(path));
    family == Family::RedHat && exists(WRITER) && READERS.into_iter().any(exists)
}

/// What GRUB's configuration says to read them. `folder` is /boot as its filesystem calls it.
pub fn read_by_grub(folder: &str) -> String {
    format!("set boot=$root\nset blsdir={folder}/loader/entries\ninsmod blscfg\nblscfg\n")
}

/// Writes them. `name` is a path as GRUB finds it, `arguments` are the kernel's.
pub fn write(
    kernels: &[Kernel],
    initrd: Initrd,
    title: &str,
    arguments: &str,
    name: impl Fn(String) -> String,
    tree: &RootTree,
) -> Result<()> {
    let folder = RootPath::new(FOLDER);
    tree.create_folders(&folder, 0o755)?;
    for entry in tree.names(&folder)?.into_iter().filter(|entry| entry.ends_with(b".conf")) {
        let text = tree.read(&folder.join(&entry))?;
        let text = String::from_utf8_lossy(&text);
        let is_of = |kernel: &Kernel| text.lines().any(|line| starts(line, &kernel.image(), &name));
        if kernels.iter().any(is_of) {
            tree.remove(&folder.join(&entry))?;
        }
    }
    let distribution = distribution(tree)?;
    for kernel in kernels {
        let version = &kernel.version;
        let mut text = format!("title {title} ({version})\nversion {version}\nlinux {}\n", name(kernel.image()));
        if initrd != Initrd::None {
            text += &format!("initrd {}\n", name(kernel.initrd()));
        }
        text += &format!("options {arguments}\ngrub_users $grub_users\ngrub_arg --unrestricted\n");
        text += &format!("grub_class {distribution}\n");
        tree.write(&folder.join(format!("{distribution}-{version}.conf")), text, 0o644)?;
    }
    Ok(())
}

/// Whether a line of an entry names this kernel, as GRUB finds it or by its path in the image.
fn starts(line: &str, image: &str, name: impl Fn(String) -> String) -> bool {
    let named = line.strip_prefix("linux").filter(|rest| rest.starts_with([' ', '\t'])).map(str::trim);
    named.is_some_and(|path| path == image || path == name(image.to_string()))
}
