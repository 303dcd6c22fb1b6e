//! GRUB 2: its configuration, its modules and images in the tree.
//!
//! In: the plan, the kernels. Out: /boot/grub/grub.cfg, /etc/default/grub, /boot/grub/PLATFORM with what the firmware
//! loads. Written as grub-install and grub-mkconfig would, but from the plan alone: nothing of the build host is looked at.

use super::device;
use super::kernel::Kernel;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::host::program::Program;
use crate::host::sandbox::Sandbox;
use crate::plan::{BootPlan, DiskPlan, Initrd, PartitionTable, Persistency, Role, TimeoutStyle, Warning};
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

    fn package(self) -> &'static str {
        match self {
            Platform::Pc => "grub-pc-bin",
            Platform::Efi => "grub-efi-amd64-bin",
        }
    }

    fn firmware(self) -> &'static str {
        match self {
            Platform::Pc => "BIOS",
            Platform::Efi => "UEFI",
        }
    }
}

/// Where Debian's packages put GRUB's platforms.
const FOLDER: &str = "/usr/lib/grub";

/// Where GRUB's modules come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The image's own package.
    Image,
    /// The build host's, because the image has none.
    Host,
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

/// Writes /boot/grub/grub.cfg.
pub fn configure(plan: &DiskPlan, kernels: &[Kernel], tree: &RootTree) -> Result<()> {
    let path = RootPath::new("/boot/grub/grub.cfg");
    tree.write(&path, configuration(plan, kernels)?, 0o600)
}

fn configuration(plan: &DiskPlan, kernels: &[Kernel]) -> Result<String> {
    let boot = boot_filesystem(plan)?;
    let style = style(&plan.boot);
    let mut text = format!(
        "# The first configuration of this image; update-grub writes another one from /etc/default/grub.\n\
         set default=0\nset timeout_style={style}\nset timeout={}\n",
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
    let arguments = kernel_arguments(plan);
    let entry = |title: &str, kernel: &Kernel, indent: &str| {
        let strip =
            |path: String| path.strip_prefix("/boot").map(|name| format!("{}{name}", boot.folder)).unwrap_or(path);
        let mut text = format!("{indent}menuentry {} {{\n", quoted(title));
        text += &format!("{indent}  linux {} {arguments}\n", strip(kernel.image()));
        if plan.boot.initrd != Initrd::None {
            text += &format!("{indent}  initrd {}\n", strip(kernel.initrd()));
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
    Ok(text)
}

fn style(boot: &BootPlan) -> &'static str {
    match boot.timeout_style {
        TimeoutStyle::Menu => "menu",
        TimeoutStyle::Countdown => "countdown",
        TimeoutStyle::Hidden => "hidden",
    }
}

fn uses_serial(plan: &DiskPlan) -> bool {
    plan.boot.input_terminals.iter().chain(&plan.boot.output_terminals).any(|terminal| terminal == "serial")
}

fn serial(plan: &DiskPlan) -> &str {
    plan.boot.serial.as_deref().unwrap_or("--unit=0 --speed=115200")
}

/// `root=...`, `ro`, and what the description says; the description wins.
fn kernel_arguments(plan: &DiskPlan) -> String {
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
        words.push(escaped(line));
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

/// Writes /etc/default/grub where the image can make its own configuration later; other settings in it stay.
pub fn set_defaults(plan: &DiskPlan, tree: &RootTree) -> Result<()> {
    if !["/usr/sbin/grub-mkconfig", "/usr/sbin/update-grub"].iter().any(|path| tree.exists(&RootPath::new(path))) {
        return Ok(());
    }
    let path = RootPath::new("/etc/default/grub");
    let old = tree.read_if_there(&path)?.unwrap_or_default();
    let style = style(&plan.boot);
    let mut settings = vec![
        ("GRUB_DEFAULT", "0".to_string()),
        ("GRUB_TIMEOUT", plan.boot.timeout.to_string()),
        ("GRUB_TIMEOUT_STYLE", style.into()),
        ("GRUB_DISTRIBUTOR", plan.boot.title.clone()),
        ("GRUB_CMDLINE_LINUX_DEFAULT", String::new()),
        ("GRUB_CMDLINE_LINUX", plan.boot.command_line.clone()),
        ("GRUB_DISABLE_OS_PROBER", "true".into()),
    ];
    if !plan.boot.input_terminals.is_empty() {
        settings.push(("GRUB_TERMINAL_INPUT", plan.boot.input_terminals.join(" ")));
    }
    if !plan.boot.output_terminals.is_empty() {
        settings.push(("GRUB_TERMINAL_OUTPUT", plan.boot.output_terminals.join(" ")));
    }
    if uses_serial(plan) {
        settings.push(("GRUB_SERIAL_COMMAND", format!("serial {}", serial(plan))));
    }
    if plan.persistency == Persistency::PartUuid {
        settings.push(("GRUB_DISABLE_LINUX_PARTUUID", "false".into()));
    }
    tree.write(&path, with_settings(&old, &settings), 0o644)
}

/// Replaces the lines that set one of these, and adds the others.
fn with_settings(old: &[u8], settings: &[(&str, String)]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut missing: Vec<&(&str, String)> = settings.iter().collect();
    let line = |(name, value): &(&str, String)| {
        let value: String =
            value.chars().flat_map(|char| "\"\\$`".contains(char).then_some('\\').into_iter().chain([char])).collect();
        format!("{name}=\"{value}\"\n")
    };
    for old_line in old.split_inclusive(|byte| *byte == b'\n') {
        let set = settings
            .iter()
            .find(|(name, _)| old_line.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"=")));
        match set {
            Some(setting) if missing.iter().any(|missing| missing.0 == setting.0) => {
                missing.retain(|missing| missing.0 != setting.0);
                text.extend(line(setting).into_bytes());
            }
            Some(_) => {}
            None => text.extend(old_line),
        }
    }
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    missing.into_iter().for_each(|setting| text.extend(line(setting).into_bytes()));
    text
}

/// Copies GRUB's modules to /boot/grub/PLATFORM, where it looks for them, and makes `image` with them. 65 where neither
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
    let own = RootPath::new("/boot/grub").join(platform.name());
    let source = copy_modules(platform, &own, tree, reporter)?;
    let early = own.join("load.cfg");
    let mut modules = vec!["part_gpt", "part_msdos", "ext2", "search_fs_uuid"];
    let prefix = match platform {
        Platform::Pc => {
            modules.push("biosdisk");
            let table = if plan.table == PartitionTable::Gpt { "gpt" } else { "msdos" };
            // The partition of /boot on the disk that the BIOS started from.
            format!("(,{table}{}){}/grub", boot.number, boot.folder)
        }
        Platform::Efi => {
            modules.extend(["fat", "normal", "configfile", "linux", "all_video", "serial"]);
            tree.write(&early, early_configuration(plan)?, 0o644)?;
            format!("{}/grub", boot.folder)
        }
    };
    let folder = format!("{FOLDER}/{}", platform.name());
    let arguments = |early: &str, output: &str| {
        let mut words = vec!["-O", platform.name(), "-d", &folder, "-p", &prefix, "-o", output];
        if platform == Platform::Efi {
            words.extend(["-c", early]);
        }
        words.extend(&modules);
        words.into_iter().map(str::to_string).collect::<Vec<String>>()
    };
    tree.create_folders(&image.parent(), 0o755)?;
    match source {
        Source::Image => {
            let words = arguments(&early.to_string(), &image.to_string());
            sandbox.run(reporter, &[vec!["grub-mkimage".to_string()], words].concat())?;
            tree.set_mode(image, 0o644)
        }
        Source::Host => {
            let scratch = tempfile::tempdir().or_cannot(|| "make a folder for GRUB's image")?;
            let (output, early) = (scratch.path().join("image"), scratch.path().join("load.cfg"));
            file::write(&early, early_configuration(plan)?.as_bytes())?;
            let words = arguments(&early.display().to_string(), &output.display().to_string());
            Program::new("grub-mkimage").args(words).run(reporter)?;
            tree.write(image, file::read(&output)?, 0o644)
        }
    }
}

/// What GRUB does before it can read its configuration: find the filesystem of /boot.
pub fn early_configuration(plan: &DiskPlan) -> Result<String> {
    let boot = boot_filesystem(plan)?;
    Ok(format!("search.fs_uuid {} root\nset prefix=($root)'{}/grub'\n", boot.uuid, boot.folder))
}

fn copy_modules(platform: Platform, own: &RootPath, tree: &RootTree, reporter: &Reporter) -> Result<Source> {
    let folder = format!("{FOLDER}/{}", platform.name());
    let is_wanted = |name: &[u8]| [&b".mod"[..], b".lst"].iter().any(|end| name.ends_with(end)) || name == b"boot.img";
    let inside = RootPath::new(&folder);
    tree.create_folders(own, 0o755)?;
    if tree.exists(&inside.join("kernel.img")) && tree.exists(&RootPath::new("/usr/bin/grub-mkimage")) {
        for name in tree.names(&inside)?.into_iter().filter(|name| is_wanted(name)) {
            // The package's own file under a second name: no room is taken twice.
            tree.remove(&own.join(&name))?;
            tree.hard_link(&inside.join(&name), &own.join(&name))?;
        }
        return Ok(Source::Image);
    }
    let host = std::path::Path::new(&folder);
    if !file::is_file(&host.join("kernel.img")) {
        return Err(Error::cannot(Exit::Description, format!("make the disk start from {}", platform.firmware()))
            .because(format!("the image has no GRUB for it ({folder}), and neither has this host"))
            .hint(format!("add {} to the image's packages", platform.package())));
    }
    reporter.warn(Warning {
        text: format!(
            "GRUB for {} comes from this host, because the image lacks {}",
            platform.firmware(),
            platform.package()
        ),
        place: None,
    });
    for name in file::names(host)? {
        if is_wanted(name.as_encoded_bytes()) {
            tree.write(&own.join(name.as_encoded_bytes()), file::read(&host.join(&name))?, 0o644)?;
        }
    }
    Ok(Source::Host)
}
