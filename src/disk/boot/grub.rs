//! GRUB 2: its configuration, its modules and images in the tree.
//!
//! In: the plan, the kernels. Out: grub.cfg and, in PLATFORM beside it, what the firmware loads: below /boot/grub, or
//! /boot/grub2 as SUSE and Fedora call it. Written as grub-install and grub-mkconfig would, but from the plan alone: nothing of the build host is looked at.

use super::device;
use super::entries;
use super::family::Family;
use super::kernel::Kernel;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::host::program::Program;
use crate::host::sandbox::Sandbox;
use crate::plan::{BootPlan, DiskPlan, Initrd, PartitionTable, Role, TimeoutStyle, Warning};
use crate::report::Reporter;
use crate::root::{RootPath, RootTree};

/// A firmware that GRUB is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// BIOS.
    Pc,
    /// UEFI.
    Efi,
}

impl Platform {
    /// GRUB's name of it, which is also that of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Platform::Pc => "i386-pc",
            Platform::Efi => "x86_64-efi",
        }
    }

    fn firmware(self) -> &'static str {
        match self {
            Platform::Pc => "BIOS",
            Platform::Efi => "UEFI",
        }
    }
}

/// Where packages put GRUB's platforms: those of Debian and Fedora, of SUSE, and of SUSE before 15.
const FOLDERS: [&str; 3] = ["/usr/lib/grub", "/usr/share/grub2", "/usr/lib/grub2"];
/// Debian's name of the program that makes GRUB's images, and everybody else's.
const MAKERS: [&str; 2] = ["grub-mkimage", "grub2-mkimage"];

/// Where GRUB's modules come from, and the program that makes an image of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// The image's own package.
    Image(Supply),
    /// The build host's, because the image has none.
    Host(Supply),
}

/// GRUB of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Supply {
    /// Of one platform.
    modules: String,
    /// The program.
    maker: &'static str,
}

impl Supply {
    /// The first that is there.
    fn find(platform: Platform, is_there: impl Fn(&str) -> bool) -> Option<Supply> {
        let folders = FOLDERS.iter().map(|folder| format!("{folder}/{}", platform.name()));
        let modules = folders.into_iter().find(|folder| is_there(&format!("{folder}/kernel.img")))?;
        let maker = MAKERS.into_iter().find(|name| is_there(&format!("/usr/bin/{name}")))?;
        Some(Supply { modules, maker })
    }
}

/// Where /boot is: its partition's number, its filesystem's UUID, and /boot as that filesystem calls it.
struct BootFilesystem {
    number: u32,
    uuid: String,
    folder: &'static str,
}

fn boot_filesystem(plan: &DiskPlan) -> Result<BootFilesystem> {
    let boot = device::with_role(plan, Role::Boot).map(|found| (found, ""));
    let ((partition, filesystem), folder) = boot
        .or(device::with_role(plan, Role::Root).map(|found| (found, "/boot")))
        .ok_or_else(|| Error::cannot(Exit::Bug, "configure GRUB").because("the plan has no root filesystem"))?;
    Ok(BootFilesystem { number: partition.number, uuid: device::filesystem_uuid(filesystem), folder })
}

impl BootFilesystem {
    /// A file in /boot, as this filesystem calls it.
    fn name(&self, path: String) -> String {
        path.strip_prefix("/boot").map(|name| format!("{}{name}", self.folder)).unwrap_or(path)
    }
}

/// Writes grub.cfg, and the entries that it reads where the image's own tools write such.
pub fn configure(plan: &DiskPlan, kernels: &[Kernel], tree: &RootTree) -> Result<()> {
    let (family, boot) = (Family::of(tree)?, boot_filesystem(plan)?);
    let mut reading = String::new();
    if entries::are_used(family, tree) {
        reading = entries::read_by_grub(boot.folder);
        let arguments = unescaped_arguments(plan);
        let initrd = plan.boot.initrd;
        entries::write(kernels, initrd, &plan.boot.title, &arguments, |path| boot.name(path), tree)?;
    }
    let path = family.grub_folder().join("grub.cfg");
    tree.write(&path, configuration(plan, family, &boot, &reading, kernels), 0o600)
}

fn configuration(plan: &DiskPlan, family: Family, boot: &BootFilesystem, reading: &str, kernels: &[Kernel]) -> String {
    let style = style(&plan.boot);
    let mut text = format!(
        "# The first configuration of this image; {} writes another one from /etc/default/grub.\n\
         set default=0\nset timeout_style={style}\nset timeout={}\n",
        family.configures_grub(),
        plan.boot.timeout
    );
    if uses_serial(plan) {
        text += &format!("serial {}\n", serial(plan));
    }
    for (command, terminals) in
        [("terminal_input", &plan.boot.input_terminals), ("terminal_output", &plan.boot.output_terminals)]
    {
        if !terminals.is_empty() {
            text += &format!("{command} {}\n", terminals.join(" "));
        }
    }
    text += "insmod all_video\n";
    // On a copy of the disk beside the disk, the one that GRUB itself came from is tried first.
    text += &format!("search --no-floppy --fs-uuid --set=root --hint=\"$root\" {}\n", boot.uuid);
    // What it finds comes first; the others are for a GRUB that finds nothing.
    text += reading;
    let arguments = kernel_arguments(plan);
    let entry = |title: &str, kernel: &Kernel, indent: &str| {
        let mut text = format!("{indent}menuentry {} {{\n", quoted(title));
        text += &format!("{indent}  linux {} {arguments}\n", boot.name(kernel.image()));
        if plan.boot.initrd != Initrd::None {
            text += &format!("{indent}  initrd {}\n", boot.name(kernel.initrd()));
        }
        text + indent + "}\n"
    };
    if let Some((newest, others)) = kernels.split_first() {
        text += &entry(&plan.boot.title, newest, "");
        if !others.is_empty() {
            text += &format!("submenu {} {{\n", quoted(&format!("{}, other kernels", plan.boot.title)));
            for kernel in others {
                text += &entry(&format!("{}, Linux {}", plan.boot.title, kernel.version), kernel, "  ");
            }
            text += "}\n";
        }
    }
    text
}

pub(super) fn style(boot: &BootPlan) -> &'static str {
    match boot.timeout_style {
        TimeoutStyle::Menu => "menu",
        TimeoutStyle::Countdown => "countdown",
        TimeoutStyle::Hidden => "hidden",
    }
}

pub(super) fn uses_serial(plan: &DiskPlan) -> bool {
    plan.boot.input_terminals.iter().chain(&plan.boot.output_terminals).any(|terminal| terminal == "serial")
}

pub(super) fn serial(plan: &DiskPlan) -> &str {
    plan.boot.serial.as_deref().unwrap_or("--unit=0 --speed=115200")
}

/// `root=...`, `ro`, and what the description says; the description wins. As GRUB's script language spells it.
fn kernel_arguments(plan: &DiskPlan) -> String {
    arguments(plan, escaped)
}

/// The same, as an entry of the Boot Loader Specification has it.
fn unescaped_arguments(plan: &DiskPlan) -> String {
    arguments(plan, str::to_string)
}

fn arguments(plan: &DiskPlan, spelled: impl Fn(&str) -> String) -> String {
    let given: Vec<&str> = plan.boot.command_line.split_whitespace().collect();
    let mut words = Vec::new();
    if !given.iter().any(|word| word.starts_with("root="))
        && let Some((partition, filesystem)) = device::with_role(plan, Role::Root)
    {
        // Without an initrd nobody but the kernel looks for it.
        let root = match plan.boot.initrd {
            Initrd::None => device::partition_uuid(plan, partition),
            _ => device::name(plan, partition, filesystem),
        };
        words.push(format!("root={root}"));
    }
    // Read-only up to the check of the filesystem; then fstab decides.
    if !given.iter().any(|word| matches!(*word, "ro" | "rw")) {
        words.push("ro".into());
    }
    let line = plan.boot.command_line.trim();
    if !line.is_empty() {
        words.push(spelled(line));
    }
    words.join(" ")
}

/// What GRUB's script language would take for its own. Double quotes mean the same to GRUB and the kernel, and stay.
fn escaped(line: &str) -> String {
    let mut text = String::new();
    let mut quoted = false;
    for char in line.chars() {
        quoted ^= char == '"';
        let special = if quoted { "\\$" } else { "\\$;&|<>{}#'" };
        if special.contains(char) {
            text.push('\\');
        }
        text.push(char);
    }
    text
}

fn quoted(text: &str) -> String {
    let text: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Copies GRUB's modules to where it looks for them, and makes `image` with them. 65 where neither
/// the image nor this host has GRUB for the platform.
pub fn make_image(
    plan: &DiskPlan,
    platform: Platform,
    image: &RootPath,
    tree: &RootTree,
    sandbox: &Sandbox,
    reporter: &Reporter,
) -> Result<()> {
    let boot = boot_filesystem(plan)?;
    let grub = Family::of(tree)?.grub_folder();
    let own = grub.join(platform.name());
    let source = copy_modules(platform, &own, tree, reporter)?;
    // The folder's name, as the filesystem of /boot sees it.
    let grub = format!("{}/{}", boot.folder, String::from_utf8_lossy(grub.name()));
    let early = own.join("load.cfg");
    let mut modules = vec!["part_gpt", "part_msdos", "ext2", "search_fs_uuid"];
    let prefix = match platform {
        Platform::Pc => {
            modules.push("biosdisk");
            let table = if plan.table == PartitionTable::Gpt { "gpt" } else { "msdos" };
            // The partition of /boot on the disk that the BIOS started from.
            format!("(,{table}{}){grub}", boot.number)
        }
        Platform::Efi => {
            modules.extend(["fat", "normal", "configfile", "linux", "all_video", "serial"]);
            tree.write(&early, early_configuration(plan, tree)?, 0o644)?;
            grub
        }
    };
    let arguments = |supply: &Supply, early: &str, output: &str| {
        let mut words = vec!["-O", platform.name(), "-d", &supply.modules, "-p", &prefix, "-o", output];
        if platform == Platform::Efi {
            words.extend(["-c", early]);
        }
        words.extend(&modules);
        words.into_iter().map(str::to_string).collect::<Vec<String>>()
    };
    tree.create_folders(&image.parent(), 0o755)?;
    match source {
        Source::Image(supply) => {
            let words = arguments(&supply, &early.to_string(), &image.to_string());
            sandbox.run(reporter, &[vec![supply.maker.to_string()], words].concat())?;
            tree.set_mode(image, 0o644)
        }
        Source::Host(supply) => {
            let scratch = tempfile::tempdir().or_cannot(|| "make a folder for GRUB's image")?;
            let (output, early) = (scratch.path().join("image"), scratch.path().join("load.cfg"));
            file::write(&early, early_configuration(plan, tree)?.as_bytes())?;
            let words = arguments(&supply, &early.display().to_string(), &output.display().to_string());
            Program::new(supply.maker).args(words).run(reporter)?;
            tree.write(image, file::read(&output)?, 0o644)
        }
    }
}

/// What GRUB does before it can read its configuration: find the filesystem of /boot.
pub fn early_configuration(plan: &DiskPlan, tree: &RootTree) -> Result<String> {
    let (boot, grub) = (boot_filesystem(plan)?, Family::of(tree)?.grub_folder());
    let name = String::from_utf8_lossy(grub.name()).into_owned();
    Ok(format!("search.fs_uuid {} root\nset prefix=($root)'{}/{name}'\n", boot.uuid, boot.folder))
}

fn copy_modules(platform: Platform, own: &RootPath, tree: &RootTree, reporter: &Reporter) -> Result<Source> {
    let is_wanted = |name: &[u8]| [&b".mod"[..], b".lst"].iter().any(|end| name.ends_with(end)) || name == b"boot.img";
    tree.create_folders(own, 0o755)?;
    if let Some(supply) = Supply::find(platform, |path| tree.exists(&RootPath::new(path))) {
        let inside = RootPath::new(&supply.modules);
        for name in tree.names(&inside)?.into_iter().filter(|name| is_wanted(name)) {
            // The package's own file under a second name: no room is taken twice.
            tree.remove(&own.join(&name))?;
            tree.hard_link(&inside.join(&name), &own.join(&name))?;
        }
        return Ok(Source::Image(supply));
    }
    let packages = Family::of(tree)?.grub_packages(platform);
    let Some(supply) = Supply::find(platform, |path| file::is_file(std::path::Path::new(path))) else {
        let folders = FOLDERS.map(|folder| format!("{folder}/{}", platform.name())).join(", ");
        return Err(Error::cannot(Exit::Description, format!("make the disk start from {}", platform.firmware()))
            .because(format!("the image has no GRUB for it ({folders}), and neither has this host"))
            .hint(format!("add {packages} to the image's packages")));
    };
    let host = std::path::Path::new(&supply.modules);
    reporter.warn(Warning {
        text: format!("GRUB for {} comes from this host, because the image lacks {packages}", platform.firmware(),),
        place: None,
    });
    for name in file::names(host)? {
        if is_wanted(name.as_encoded_bytes()) {
            tree.write(&own.join(name.as_encoded_bytes()), file::read(&host.join(&name))?, 0o644)?;
        }
    }
    Ok(Source::Host(supply))
}
