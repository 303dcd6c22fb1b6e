//! Programs that packages start again and again while they are configured, and that run once afterwards instead.
//!
//! In: a tree whose disk gets its initrds at the end (`disk::boot::initrd`). Out: a sandbox in which the programs that
//! make initrds do nothing. A file is shown in their place, in the mount namespace of the sandbox only: the tree keeps
//! the programs themselves, and nothing has to be put back, however the build ends. Never defers for an image whose
//! initrds nobody else makes, never while packages are unpacked, when dpkg replaces or diverts these files.

use crate::error::Result;
use crate::host::rooted::{RootPath, Rooted};
use crate::host::sandbox::Sandbox;
use crate::plan::{Output, Plan};

/// initramfs-tools' and dracut's: what kernels, and packages with something to add to an initrd, call.
const MAKERS: [&str; 4] =
    ["/usr/sbin/update-initramfs", "/usr/bin/update-initramfs", "/usr/bin/dracut", "/usr/sbin/dracut"];

/// What is shown in their place. It lives in the tree, whose filesystem surely lets programs run.
const STAND_IN: &str = "/var/lib/dpkg/ingot.deferred";
const STAND_IN_TEXT: &str = "#!/bin/sh\necho \"$0: left to what is done when all packages are configured\"\n";

/// Who makes the initrds of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initrds {
    /// `disk::boot`, once, for every kernel; in a container, which starts no kernel, nobody.
    AtTheEnd,
    /// Nobody but the packages' own scripts.
    ByPackages,
}

impl Initrds {
    /// By what is made of the tree.
    pub fn of(plan: &Plan) -> Initrds {
        match plan.output {
            Output::Disk(_) | Output::Container(_) => Initrds::AtTheEnd,
            Output::RootTarball => Initrds::ByPackages,
        }
    }

    /// As a word.
    pub fn word(self) -> &'static str {
        match self {
            Initrds::AtTheEnd => "at the end",
            Initrds::ByPackages => "by packages",
        }
    }

    /// Runs `work` with a sandbox in which nothing makes an initrd, if they are made at the end.
    pub fn deferred(self, tree: &Rooted, sandbox: &Sandbox, work: impl FnOnce(&Sandbox) -> Result<()>) -> Result<()> {
        let mut makers = Vec::new();
        for path in MAKERS.map(RootPath::from) {
            // What is a symlink leads to another one of them.
            if tree.entry(&path)?.is_some_and(|entry| entry.is_file()) {
                makers.push(path);
            }
        }
        if self == Initrds::ByPackages || makers.is_empty() {
            return work(sandbox);
        }
        let stand_in = RootPath::from(STAND_IN);
        tree.write(&stand_in, STAND_IN_TEXT, 0o755)?;
        let shown = tree.host_path().join(STAND_IN.trim_start_matches('/'));
        let done = work(&makers.iter().fold(sandbox.clone(), |sandbox, path| sandbox.bind(&shown, path)));
        let removed = tree.remove(&stand_in);
        done.and(removed)
    }
}
