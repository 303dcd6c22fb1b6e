//! With or without an update stack: pacman and what exists only to serve it.
//!
//! In: a tree after its last script. Out: with [`UpdateStack::None`] a tree in which no distribution package can be
//! installed any more. pacman does not install what would have to go: [`STACK`] is taken for installed while it decides,
//! so that nothing brings it along. What is left here is what scripts of the description installed.
//!
//! What stays of pacman: `/var/lib/pacman/local`, which describes exactly what is installed, because an image that cannot
//! be scanned cannot be trusted; without the scripts that only pacman runs.

use super::Pacman;
use super::database::{self, LOCAL};
use crate::error::Result;
use crate::host::rooted::{RootPath, Rooted};
use crate::host::sandbox::Sandbox;
use crate::plan::UpdateStack;
use crate::report::Reporter;

/// Packages that exist to install or update packages, or to say from where and whom to trust.
pub(super) const STACK: &[&str] = &[
    "arch-install-scripts",
    "archlinux-keyring",
    "archlinuxarm-keyring",
    "artix-keyring",
    "artix-mirrorlist",
    "endeavouros-keyring",
    "endeavouros-mirrorlist",
    "manjaro-keyring",
    "pacman",
    "pacman-contrib",
    "pacman-mirrorlist",
    "pacman-mirrors",
    "pacutils",
    "pamac-cli",
    "paru",
    "pkgfile",
    "pyalpm",
    "reflector",
    "yay",
];

/// What these packages make and no package owns, and hooks, which packages of all kinds bring and pacman alone runs.
const STATE: &[&str] =
    &["/etc/pacman.conf", "/etc/pacman.d", "/usr/share/libalpm", "/var/cache/pacman", "/var/log/pacman.log"];

impl Pacman {
    /// Ends the work on packages, after the last script. Returns the names of the packages that it removed.
    pub(super) fn finish(&self, tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<Vec<String>> {
        if self.update_stack == UpdateStack::Kept {
            return Ok(Vec::new());
        }
        let step = reporter.step("update stack");
        let installed = database::installed(tree)?;
        let names = installed.iter().map(|entry| entry.text("NAME").to_string());
        let gone: Vec<String> = names.filter(|name| STACK.contains(&name.as_str())).collect();
        if !gone.is_empty() {
            let words: Vec<&str> = gone.iter().map(String::as_str).collect();
            let how = ["--remove", "--nosave", "--nodeps", "--nodeps", "--noscriptlet", "--"];
            let arguments = [&how[..], &words[..]].concat();
            self.transact("remove the update stack", &arguments, tree, sandbox, reporter)?;
        }
        for path in STATE {
            tree.remove(&RootPath::from(*path))?;
        }
        let folder = RootPath::from(LOCAL).parent();
        for name in tree.names(&folder)? {
            if name != b"local" {
                tree.remove(&folder.join(name))?;
            }
        }
        for name in tree.names(&LOCAL.into())? {
            tree.remove(&RootPath::from(LOCAL).join(name).join("install"))?;
        }
        let left = installed.len() - gone.len();
        step.finish(&format!("{} packages removed, {left} left", gone.len()));
        Ok(gone)
    }
}
