//! What the image's own tools make GRUB's configuration from when a kernel is updated.
//!
//! In: the plan, the image's programs. Out: /etc/default/grub and, for SUSE's tools, /etc/sysconfig/bootloader; other
//! settings in them stay. Nothing where no program of the image reads them.

use super::family::Family;
use super::grub::{serial, style, uses_serial};
use crate::error::Result;
use crate::plan::{DiskPlan, Persistency, Support};
use crate::root::{RootPath, RootTree};

/// What reads /etc/default/grub.
const CONFIGURES: [&str; 3] = ["/usr/sbin/grub-mkconfig", "/usr/sbin/update-grub", "/usr/sbin/grub2-mkconfig"];
/// What reads /etc/sysconfig/bootloader: SUSE's kernels call it.
const BOOTLOADER_UPDATES: [&str; 2] = ["/sbin/update-bootloader", "/usr/sbin/update-bootloader"];

/// Writes both where they are read.
pub fn set(plan: &DiskPlan, family: Family, tree: &RootTree) -> Result<()> {
    let has = |paths: &[&str]| paths.iter().any(|path| tree.exists(&RootPath::new(path)));
    if has(&CONFIGURES) {
        // It goes before the settings of input and output.
        let gone: &[&str] = if plan.boot.input_terminals.is_empty() { &[] } else { &["GRUB_TERMINAL"] };
        write("/etc/default/grub", &of_grub(plan), gone, tree)?;
    }
    if family == Family::Suse && has(&BOOTLOADER_UPDATES) {
        write("/etc/sysconfig/bootloader", &of_suse(plan), &[], tree)?;
    }
    Ok(())
}

fn of_grub(plan: &DiskPlan) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("GRUB_DEFAULT", "0".to_string()),
        ("GRUB_TIMEOUT", plan.boot.timeout.to_string()),
        ("GRUB_TIMEOUT_STYLE", style(&plan.boot).into()),
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
    settings
}

/// Which of SUSE's scripts configures the boot loader, and whether it signs for Secure Boot.
fn of_suse(plan: &DiskPlan) -> Vec<(&'static str, String)> {
    let secure = if plan.firmware.secure_boot == Support::No { "no" } else { "yes" };
    let loader = if plan.firmware.uefi == Support::No { "grub2" } else { "grub2-efi" };
    vec![("LOADER_TYPE", loader.into()), ("SECURE_BOOT", secure.into())]
}

fn write(path: &str, settings: &[(&str, String)], gone: &[&str], tree: &RootTree) -> Result<()> {
    let path = RootPath::new(path);
    let old = tree.read_if_there(&path)?.unwrap_or_default();
    tree.write(&path, with_settings(&old, settings, gone), 0o644)
}

/// Replaces the lines that set one of these, adds the others, and leaves out those that set one of `gone`.
fn with_settings(old: &[u8], settings: &[(&str, String)], gone: &[&str]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut missing: Vec<&(&str, String)> = settings.iter().collect();
    let line = |(name, value): &(&str, String)| {
        let value: String =
            value.chars().flat_map(|char| "\"\\$`".contains(char).then_some('\\').into_iter().chain([char])).collect();
        format!("{name}=\"{value}\"\n")
    };
    let sets = |line: &[u8], name: &str| line.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    for old_line in old.split_inclusive(|byte| *byte == b'\n') {
        match settings.iter().find(|(name, _)| sets(old_line, name)) {
            Some(setting) if missing.iter().any(|missing| missing.0 == setting.0) => {
                missing.retain(|missing| missing.0 != setting.0);
                text.extend(line(setting).into_bytes());
            }
            Some(_) => {}
            None if gone.iter().any(|name| sets(old_line, name)) => {}
            None => text.extend(old_line),
        }
    }
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    missing.into_iter().for_each(|setting| text.extend(line(setting).into_bytes()));
    text
}
