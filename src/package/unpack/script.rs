//! Running a package's preinst, and dpkg itself, in the sandbox.
//!
//! In: a package whose files are next. Out: whatever its script did to the tree. The script stands where dpkg puts it,
//! `tmp.ci`, and gets the arguments and the environment that dpkg gives (dpkg(1), deb-preinst(5)).

use super::control::Control;
use super::database;
use super::order::Dependencies;
use crate::error::Result;
use crate::host::rooted::{RootPath, Rooted};
use crate::host::sandbox::Sandbox;
use crate::package::Package;
use crate::package::dpkg::run_dpkg;
use crate::report::Reporter;

/// What dpkg tells scripts of its `--force` options: its defaults and those of [`run_dpkg`].
const FORCED: &str = "security-mac,downgrade,unsafe-io,confold,confdef";

/// Puts a package's control files where dpkg has them while it unpacks, and runs its preinst for a new installation.
/// `dpkg_version` is that of the dpkg in the tree.
pub fn preinst(
    tree: &Rooted,
    sandbox: &Sandbox,
    reporter: &Reporter,
    control: &Control,
    dpkg_version: &str,
) -> Result<()> {
    let folder = database::path("tmp.ci");
    tree.remove(&folder)?;
    tree.create_folders(&folder, 0o755)?;
    tree.write(&folder.join("control"), control.stanza.to_string(), 0o644)?;
    for file in &control.files {
        database::write_control_file(tree, &folder.join(&file.name), file)?;
    }
    let path = folder.join("preinst");
    if control.files.iter().any(|file| file.name == "preinst" && file.mode & 0o555 != 0o555) {
        tree.set_mode(&path, 0o755)?;
    }
    let sandbox = sandbox
        .clone()
        .env("DPKG_MAINTSCRIPT_PACKAGE", &control.name)
        .env("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1")
        .env("DPKG_MAINTSCRIPT_ARCH", &control.arch)
        .env("DPKG_MAINTSCRIPT_NAME", "preinst")
        .env("DPKG_MAINTSCRIPT_DEBUG", "0")
        .env("DPKG_RUNNING_VERSION", upstream(dpkg_version))
        .env("DPKG_FORCE", FORCED)
        .env("DPKG_ADMINDIR", database::FOLDER)
        .env("DPKG_ROOT", "");
    let script = path.to_string();
    let ran = sandbox.run(reporter, &[script.as_str(), "install"]);
    ran.map_err(|error| error.within(format!("run the preinst of {}", control.name)))?;
    tree.remove(&folder)
}

/// Whether a package has a preinst that can change something when the package is new. Half of them only call
/// dpkg-maintscript-helper, which does nothing without an older version (dpkg-maintscript-helper(1)); starting a
/// sandbox for that is what an unpacked package costs most.
pub fn has_effective_preinst(control: &Control) -> bool {
    let preinst = control.files.iter().find(|file| file.name == "preinst");
    preinst.is_some_and(|file| std::str::from_utf8(&file.content).map_or(true, |text| !only_for_upgrades(text)))
}

fn only_for_upgrades(script: &str) -> bool {
    let mut lines = script.lines();
    matches!(lines.next(), Some("#!/bin/sh" | "#! /bin/sh" | "#!/bin/sh -e" | "#!/bin/bash"))
        && lines.map(str::trim).all(|line| {
            let for_upgrades = ["rm_conffile", "mv_conffile", "symlink_to_dir", "dir_to_symlink"];
            let helper = line.strip_prefix("dpkg-maintscript-helper ").and_then(|rest| rest.strip_suffix(" -- \"$@\""));
            match helper.and_then(|call| call.split_once(' ')) {
                Some((command, rest)) => {
                    for_upgrades.contains(&command) && !rest.contains(|char| ";|&`$<>()\"'".contains(char))
                }
                None => line.is_empty() || line.starts_with('#') || matches!(line, "set -e" | "exit 0" | ":"),
            }
        })
}

/// What dpkg calls its own version: a native package's without what distributions add.
fn upstream(version: &str) -> &str {
    let end = version.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(version.len());
    &version[..end]
}

/// Lets the real dpkg unpack one package; its pre-dependencies are settled by the order.
pub fn dpkg_unpacks(
    tree: &Rooted,
    sandbox: &Sandbox,
    reporter: &Reporter,
    package: &Package,
    shown_at: &RootPath,
) -> Result<()> {
    let sandbox = sandbox.clone().bind(&package.archive, shown_at);
    let archive = shown_at.to_string();
    let options = ["--no-triggers", "--auto-deconfigure", "--force-depends"];
    run_dpkg(&sandbox, reporter, &[options.as_slice(), &["--unpack", &archive]].concat(), |_| {})?;
    tree.remove(shown_at)
}

/// Lets the real dpkg configure packages that later ones need. Triggers wait for the last run: they are for the whole.
pub fn dpkg_configures(
    sandbox: &Sandbox,
    reporter: &Reporter,
    names: &[&str],
    dependencies: Dependencies,
) -> Result<()> {
    let forced = if dependencies == Dependencies::Waived { ["--force-depends"].as_slice() } else { &[] };
    let arguments = [["--no-triggers"].as_slice(), forced, &["--configure"], names].concat();
    run_dpkg(sandbox, reporter, &arguments, |_| {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preinst_that_only_helps_upgrades_needs_no_sandbox() {
        let helper = "dpkg-maintscript-helper rm_conffile /etc/x 1.2\\~ -- \"$@\"";
        for (script, skipped) in [
            (format!("#!/bin/sh\nset -e\n# Automatically added\n{helper}\n\n{helper}\nexit 0\n"), true),
            ("#!/bin/sh\n".into(), true),
            (format!("#!/bin/sh\n{helper}\ntouch /x\n"), false),
            (format!("#!/bin/sh\nif [ \"$1\" = upgrade ]; then\n{helper}\nfi\n"), false),
            ("#!/bin/sh\ndpkg-maintscript-helper rm_conffile $(touch /x) -- \"$@\"\n".into(), false),
            ("#!/bin/sh\ndpkg-maintscript-helper supports rm_conffile\n".into(), false),
            (format!("#!/usr/bin/perl\n{helper}\n"), false),
            (String::new(), false),
        ] {
            assert_eq!(only_for_upgrades(&script), skipped, "{script}");
        }
    }

    #[test]
    fn dpkg_knows_its_version_without_what_distributions_add() {
        for (version, own) in [("1.21.22", "1.21.22"), ("1.22.6ubuntu6.1", "1.22.6"), ("1.21.1+x", "1.21.1"), ("", "")]
        {
            assert_eq!(upstream(version), own);
        }
    }
}
