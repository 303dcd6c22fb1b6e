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
    run_dpkg(&sandbox, reporter, &["--no-triggers", "--force-depends", "--unpack", &archive], |_| {})?;
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
    fn dpkg_knows_its_version_without_what_distributions_add() {
        for (version, own) in [("1.21.22", "1.21.22"), ("1.22.6ubuntu6.1", "1.22.6"), ("1.21.1+x", "1.21.1"), ("", "")]
        {
            assert_eq!(upstream(version), own);
        }
    }
}
