//! With or without an update stack: the package manager and everything that exists only to serve it.
//!
//! In: a tree after its last script. Out: with [`UpdateStack::Kept`] the same tree without what only the build needed;
//! with [`UpdateStack::None`] a tree in which no distribution package can be installed any more.
//!
//! What goes is computed from the installed packages: those of [`STACK`], and what nothing else needs. The roots that
//! stay are the packages that the description names, what its scripts installed, and the essential packages (with
//! [`Essential::OnlyNeeded`]: base-files instead, which says what the image is). A dependency *on* the update stack is
//! ignored: it is there for maintainer scripts, and none runs any more. A package that one which stays depends on
//! stays, always.
//!
//! What stays of dpkg: `/var/lib/dpkg/status`, which describes exactly what is left, and the lists, checksums and
//! conffiles of these packages in `/var/lib/dpkg/info`, because an image that cannot be scanned cannot be trusted.
//! Alternatives stay as plain symlinks; diversions stay as they are on disk.

use std::collections::BTreeSet;

use super::apt::Apt;
use super::database::{self, INFO};
use super::deb822::Stanza;
use super::dependency::{Follow, Graph};
use super::dpkg::{POLICY, POLICY_TEXT};
use super::{PackageSet, removal};
use crate::error::Result;
use crate::host::rooted::{RootPath, Rooted};
use crate::host::sandbox::Sandbox;
use crate::plan::{Essential, Recommends, UpdateStack, Warning};
use crate::report::Reporter;

/// Packages that exist to install, update or configure packages. What only they need is found by itself.
pub const STACK: &[&str] = &[
    "apt",
    "apt-config-auto-update",
    "apt-file",
    "apt-listbugs",
    "apt-listchanges",
    "apt-transport-https",
    "apt-utils",
    "aptitude",
    "aptitude-common",
    "cdebconf",
    "command-not-found",
    "debconf",
    "debconf-i18n",
    "debconf-utils",
    "debian-archive-keyring",
    "debian-ports-archive-keyring",
    "debsecan",
    "debsums",
    "dpkg",
    "dpkg-dev",
    "dselect",
    "gpgv",
    "needrestart",
    "packagekit",
    "packagekit-tools",
    "python-apt-common",
    "python3-apt",
    "python3-commandnotfound",
    "python3-software-properties",
    "python3-update-manager",
    "software-properties-common",
    "sqv",
    "synaptic",
    "ubuntu-keyring",
    "ubuntu-pro-client",
    "ubuntu-release-upgrader-core",
    "ucf",
    "unattended-upgrades",
    "update-manager-core",
    "update-notifier-common",
    "usr-is-merged",
    "usrmerge",
];

/// What these packages make and no package owns.
const STATE: &[&str] = &[
    "/etc/apt",
    "/var/backups/apt.extended_states.0",
    "/var/backups/dpkg.status.0",
    "/var/cache/apt",
    "/var/cache/debconf",
    "/var/cache/PackageKit",
    "/var/lib/apt",
    "/var/lib/aptitude",
    "/var/lib/command-not-found",
    "/var/lib/PackageKit",
    "/var/lib/systemd/deb-systemd-helper-enabled",
    "/var/lib/systemd/deb-systemd-helper-masked",
    "/var/lib/systemd/deb-systemd-user-helper-enabled",
    "/var/lib/ucf",
    "/var/lib/update-notifier",
    "/var/log/alternatives.log",
    "/var/log/apt",
    "/var/log/aptitude",
    "/var/log/dpkg.log",
    "/var/log/unattended-upgrades",
];

/// What scripts of other packages make and no package owns: it goes with them.
const MADE: &[(&str, &[&str])] = &[
    ("debianutils", &["/etc/shells", "/var/lib/shells.state"]),
    ("libc-bin", &["/var/cache/ldconfig"]),
    ("libpam-modules", &["/etc/environment", "/etc/security/opasswd"]),
    (
        "libpam-runtime",
        &[
            "/etc/pam.d/common-account",
            "/etc/pam.d/common-auth",
            "/etc/pam.d/common-password",
            "/etc/pam.d/common-session",
            "/etc/pam.d/common-session-noninteractive",
            "/var/lib/pam",
        ],
    ),
    ("login", &["/var/log/faillog"]),
    ("passwd", &["/etc/subgid", "/etc/subuid"]),
];

/// Kinds of files in `info` that describe a package; the others serve dpkg.
const DESCRIBING: &[&str] = &["list", "md5sums", "conffiles"];

/// Programs that start services with dpkg's start-stop-daemon.
const NEED_START_STOP_DAEMON: &[&str] = &["sysvinit-core", "openrc"];

impl Apt {
    /// Ends the work on packages, after the last script. Returns the names of the packages that it removed.
    pub fn finish(
        &self,
        set: &PackageSet,
        tree: &Rooted,
        sandbox: &Sandbox,
        reporter: &Reporter,
    ) -> Result<Vec<String>> {
        if tree.read_if_there(&POLICY.into())?.as_deref() == Some(POLICY_TEXT.as_bytes()) {
            tree.remove(&POLICY.into())?;
        }
        if self.update_stack == UpdateStack::Kept {
            return Ok(Vec::new());
        }
        let step = reporter.step("update stack");
        let status = database::status(tree)?;
        let gone = self.without_stack(&status, set, reporter);
        let names: Vec<String> = gone.iter().map(|at| status[*at].text("Package").to_string()).collect();
        reporter.log_line(&format!("removing {}", names.join(" ")));
        let left = removal::remove(tree, status, &gone)?;
        let made =
            MADE.iter().filter(|(package, _)| names.iter().any(|name| name == package)).flat_map(|(_, made)| *made);
        for path in STATE.iter().chain(made).map(|path| RootPath::from(*path)) {
            tree.remove(&path)?;
            if tree.names(&path.parent())?.is_empty() && path.parent().is_below(&"/etc".into()) {
                tree.remove(&path.parent())?;
            }
        }
        forget_user(tree, "_apt")?;
        keep_what_describes(tree)?;
        refresh_library_cache(tree, sandbox, reporter)?;
        step.finish(&format!("{} packages removed, {} left", names.len(), left.len()));
        Ok(names)
    }

    /// Positions of the packages that go.
    fn without_stack(&self, status: &[Stanza], set: &PackageSet, reporter: &Reporter) -> BTreeSet<usize> {
        let graph = Graph::new(status);
        let name = |at: usize| status[at].text("Package");
        let in_stack = |at: usize| STACK.contains(&name(at));
        let known = |at: usize| set.packages.iter().find(|package| package.name == name(at));
        let mut roots = BTreeSet::new();
        let mut alone = BTreeSet::new();
        for (at, stanza) in status.iter().enumerate() {
            let asked_for = known(at).is_none_or(|package| package.requested);
            if asked_for && in_stack(at) && known(at).is_some() {
                let text = format!("`{}` is part of the update stack and is removed with it", name(at));
                let place = self.named().find(|named| named.name == name(at)).map(|named| named.place.clone());
                reporter.warn(Warning { text, place });
            }
            let essential = stanza.says_yes("Essential") && self.request.essential == Essential::Kept;
            if name(at) == "base-files" && self.request.essential == Essential::OnlyNeeded && !asked_for {
                // It needs an awk, for its maintainer scripts only.
                alone.insert(at);
            } else if asked_for || essential {
                roots.insert(at);
            }
        }
        let follow = match self.request.recommends {
            Recommends::No => Follow::Depends,
            Recommends::Yes => Follow::Recommends,
        };
        let mut kept = graph.closure_without(roots, follow, in_stack);
        kept.extend(alone);
        if let Some(at) = kept.iter().find(|at| NEED_START_STOP_DAEMON.contains(&name(**at))) {
            let text = format!("`{}` starts services with start-stop-daemon, which goes with dpkg", name(*at));
            reporter.warn(Warning { text, place: None });
        }
        (0..status.len()).filter(|at| !kept.contains(at)).collect()
    }
}

/// Of dpkg's folder only what describes the packages that are left.
fn keep_what_describes(tree: &Rooted) -> Result<()> {
    let folder = RootPath::from("/var/lib/dpkg");
    for name in tree.names(&folder)? {
        if !matches!(name.as_slice(), b"status" | b"info") {
            tree.remove(&folder.join(name))?;
        }
    }
    let info = RootPath::from(INFO);
    for name in tree.names(&info)? {
        let kind = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        if name != b"format" && !DESCRIBING.iter().any(|describing| describing.as_bytes() == kind) {
            tree.remove(&info.join(name))?;
        }
    }
    Ok(())
}

/// Takes a system user out of the account files.
fn forget_user(tree: &Rooted, user: &str) -> Result<()> {
    for path in ["/etc/passwd", "/etc/shadow", "/etc/passwd-", "/etc/shadow-"].map(RootPath::from) {
        let Some(entry) = tree.entry(&path)?.filter(|entry| entry.is_file()) else { continue };
        let before = tree.read(&path)?;
        let lines = before.split_inclusive(|byte| *byte == b'\n');
        let mine = [user.as_bytes(), b":"].concat();
        let after: Vec<u8> = lines.filter(|line| !line.starts_with(&mine)).flatten().copied().collect();
        if after != before {
            tree.write(&path, after, entry.mode)?;
        }
    }
    Ok(())
}

/// The cache of ld.so names libraries that are gone: it is made again, or goes where ldconfig went.
fn refresh_library_cache(tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<()> {
    let cache = RootPath::from("/etc/ld.so.cache");
    if !tree.exists(&cache) {
        return Ok(());
    }
    if tree.exists(&"/sbin/ldconfig".into()) {
        sandbox.run(reporter, &["/sbin/ldconfig"])?;
        return Ok(());
    }
    tree.remove(&cache)
}
