//! With or without an update stack: what is not installed in an image that can install nothing.
//!
//! In: the packages that the manager chose. Out: those of them that stay out: the stack, and what only it needs. They are
//! never in the image, so that nothing of them has to be removed. A package that is wanted and requires a program of the
//! stack is refused by name; one that requires what only configures the stack (a distribution's list of repositories) is
//! installed without it, and said so. Never decides about versions, as [`Graph`] does not.

use std::collections::BTreeSet;

use super::Rpm;
use super::graph::Graph;
use crate::error::{Error, Exit, Result};
use crate::host::rooted::{RootPath, Rooted};
use crate::package::rpmdb::{self, Header};
use crate::plan::{Recommends, Warning};
use crate::report::Reporter;

/// Packages that exist to install or update packages.
const PROGRAMS: &[&str] = &[
    "PackageKit",
    "dnf",
    "dnf-automatic",
    "dnf-plugins-core",
    "dnf-yum",
    "dnf4",
    "dnf5",
    "dnf5-plugins",
    "libzypp",
    "microdnf",
    "python3-dnf",
    "python3-dnf-plugins-core",
    "rpm",
    "rpm-ndb",
    "rpm-ostree",
    "tdnf",
    "transactional-update",
    "yum",
    "yum-utils",
    "zypper",
    "zypper-lifecycle-plugin",
    "zypper-needs-restarting",
];

/// Packages that say from where packages come and whom to trust.
const SERVING: &[&str] = &[
    "almalinux-repos",
    "centos-gpg-keys",
    "centos-repos",
    "centos-stream-repos",
    "distribution-gpg-keys",
    "dnf-data",
    "epel-release",
    "fedora-gpg-keys",
    "fedora-repos",
    "fedora-repos-modular",
    "libdnf5-plugin-actions",
    "openSUSE-build-key",
    "openSUSE-repos-Leap",
    "openSUSE-repos-MicroOS",
    "openSUSE-repos-Tumbleweed",
    "rocky-gpg-keys",
    "rocky-repos",
    "suse-build-key",
    "zypper-aptitude",
    "zypper-log",
];

/// What these packages and the managers make and no package owns.
const STATE: &[&str] = &[
    "/etc/dnf",
    "/etc/yum",
    "/etc/yum.conf",
    "/etc/yum.repos.d",
    "/etc/zypp",
    "/var/cache/dnf",
    "/var/cache/libdnf5",
    "/var/cache/zypp",
    "/var/lib/dnf",
    "/var/lib/zypp",
    "/var/log/zypp",
];

/// Which of the chosen packages stay out of the image.
pub(super) struct LeftOut {
    /// Their places among the headers.
    pub places: BTreeSet<usize>,
    /// Whether something that is installed requires one of them.
    pub required: bool,
}

/// Decides what stays out; `wanted` are the places of what the description names. 65 where that needs the stack.
pub(super) fn left_out(
    rpm: &Rpm,
    headers: &[Header],
    wanted: &BTreeSet<usize>,
    reporter: &Reporter,
) -> Result<LeftOut> {
    let names: Vec<String> = headers.iter().map(Header::name).collect();
    let of = |list: &[&str]| -> BTreeSet<usize> {
        (0..names.len()).filter(|at| list.contains(&names[*at].as_str())).collect()
    };
    let (programs, serving) = (of(PROGRAMS), of(SERVING));
    let stack: BTreeSet<usize> = programs.union(&serving).copied().collect();
    for at in wanted.intersection(&stack) {
        let named = rpm.named().find(|named| super::query::base_name(&named.name) == names[*at]);
        if let Some(named) = named {
            let text = format!("`{}` is part of the update stack and is left out with it", names[*at]);
            reporter.warn(Warning { text, place: Some(named.place.clone()) });
        }
    }
    let (all, hard) = (Graph::new(headers, rpm.request.recommends), Graph::new(headers, Recommends::No));
    let roots: BTreeSet<usize> = wanted.difference(&stack).copied().collect();
    let core = hard.closure_without(roots.iter().copied(), &stack);
    let blocked = |stack: &BTreeSet<usize>| -> Vec<(usize, usize)> {
        let in_need = hard.dependents(stack.clone());
        let pairs = core.iter().filter(|at| in_need.contains(at) && !stack.contains(at));
        pairs.filter_map(|at| Some((*at, hard.needed_by(*at).into_iter().find(|need| stack.contains(need))?))).collect()
    };
    if let Some((at, need)) = blocked(&programs).first() {
        return Err(needs_the_stack(rpm, &names, &hard, *at, *need));
    }
    let required = blocked(&serving);
    for (at, need) in &required {
        let text =
            format!("`{}` requires `{}`, which serves an update stack and is left out", names[*at], names[*need]);
        reporter.warn(Warning { text, place: None });
    }
    // What the manager chose for other reasons (a supplement) stays, unless it belongs to the stack, too.
    let (of_stack, in_need) = (all.closure(stack.iter().copied()), hard.dependents(stack.clone()));
    let others = (0..names.len()).filter(|at| !of_stack.contains(at) && !in_need.contains(at));
    let kept = all.closure_without(roots.iter().copied().chain(others), &stack);
    let kept: BTreeSet<usize> = kept.into_iter().filter(|at| core.contains(at) || !in_need.contains(at)).collect();
    Ok(LeftOut { places: (0..names.len()).filter(|at| !kept.contains(at)).collect(), required: !required.is_empty() })
}

fn needs_the_stack(rpm: &Rpm, names: &[String], graph: &Graph, at: usize, need: usize) -> Error {
    let (package, stack) = (&names[at], &names[need]);
    let error = Error::cannot(Exit::Description, "leave out the update stack")
        .because(format!("`{package}` requires `{stack}`, which is part of it"))
        .hint("leave the package out, or keep the update stack: --update-stack kept");
    let asks = |name: &str| graph.closure(graph.named(name)).contains(&at);
    match rpm.named().find(|named| asks(&named.name)) {
        Some(named) => error.at(named.place.clone()),
        None => error,
    }
}

/// Removes what no package owns and only an update stack would read.
pub(super) fn forget_state(tree: &Rooted) -> Result<()> {
    let owned: BTreeSet<RootPath> =
        rpmdb::installed(tree)?.iter().flat_map(Header::files).map(|file| file.path).collect();
    for path in STATE.iter().map(|path| RootPath::from(*path)) {
        if tree.entry(&path)?.is_some() && !owned.iter().any(|owned| owned.is_below(&path)) {
            tree.remove(&path)?;
        }
    }
    Ok(())
}
