//! Which services start with the system.
//!
//! In: an image's files. Out: whether a unit is enabled, and by which file. Reads symlinks as systemd does (systemd.unit(5)),
//! and start links of System V. Never asks whether a unit would succeed.

use super::files::Files;
use crate::root::RootPath;
use crate::root::tree::Kind;

const FOLDERS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// The symlink that starts the first of these units (`NAME.service`) that starts at all.
pub fn enabled(files: &Files, units: &[&str]) -> Option<RootPath> {
    units.iter().find_map(|unit| {
        if is_masked(files, unit) {
            return None;
        }
        let wanted = FOLDERS.iter().flat_map(|folder| files.below(folder)).find(|(path, _)| {
            let within = path.parent();
            let within = within.name();
            path.name() == unit.as_bytes() && (within.ends_with(b".wants") || within.ends_with(b".requires"))
        });
        wanted.map(|(path, _)| path.clone()).or_else(|| started_by_system_v(files, unit))
    })
}

/// A unit that is a symlink to /dev/null, or empty, never starts.
fn is_masked(files: &Files, unit: &str) -> bool {
    let entry = files.entry(format!("/etc/systemd/system/{unit}"));
    entry.is_some_and(|seen| match &seen.kind {
        Kind::Symlink(target) => target == b"/dev/null",
        Kind::File => seen.size.0 == 0,
        _ => false,
    })
}

/// `S20ssh` in a runlevel's folder.
fn started_by_system_v(files: &Files, unit: &str) -> Option<RootPath> {
    let name = unit.strip_suffix(".service")?.as_bytes();
    let starts = |path: &RootPath| {
        let link = path.name();
        link.len() > 3 && link[0] == b'S' && link[1..3].iter().all(u8::is_ascii_digit) && &link[3..] == name
    };
    let runlevels = ["/etc/rc2.d", "/etc/rc3.d", "/etc/rc5.d", "/etc/rcS.d"];
    runlevels.iter().flat_map(|folder| files.below(folder)).find(|(path, _)| starts(path)).map(|(path, _)| path.clone())
}

/// A unit's file, wherever it is; what it holds is read with drop-ins left out.
pub fn text(files: &Files, unit: &str) -> Option<String> {
    FOLDERS.iter().find_map(|folder| files.file(format!("{folder}/{unit}"))).map(super::files::Seen::text)
}

/// The first enabled unit whose file holds one of these words.
pub fn that_says(files: &Files, words: &[&str]) -> Option<String> {
    let mut units = FOLDERS.iter().flat_map(|folder| files.below(folder)).filter(|(path, seen)| {
        path.name().ends_with(b".service") && seen.kind == Kind::File && {
            let text = seen.text();
            words.iter().any(|word| text.contains(word))
        }
    });
    let is_enabled = |name: &str| {
        // An instance of a template is enabled under a name of its own.
        let template = name.split_once('@').map(|(start, _)| format!("{start}@"));
        match template {
            Some(start) => FOLDERS.iter().flat_map(|folder| files.below(folder)).any(|(path, _)| {
                path.name().starts_with(start.as_bytes()) && path.parent().name().ends_with(b".wants")
            }),
            None => enabled(files, &[name]).is_some(),
        }
    };
    units.find_map(|(path, _)| {
        let name = String::from_utf8_lossy(path.name()).into_owned();
        is_enabled(&name).then_some(name)
    })
}

/// Whether cloud-init starts: its generator, or its units, and nothing that says no.
pub fn cloud_init(files: &Files) -> bool {
    let is_there = files.program(&["cloud-init"]).is_some();
    let masked = ["cloud-init.service", "cloud-init-local.service"].iter().all(|unit| is_masked(files, unit));
    is_there && !masked && !files.exists("/etc/cloud/cloud-init.disabled")
}
