//! Whole package sets, unpacked in parallel, by the real dpkg and by mmdebstrap: the same trees and databases.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use ingot::host::sandbox::Network;
use ingot::package::{Mirrors, Unpacker};
use ingot::plan::{Plan, Recommends, RepositoryUse, UpdateStack};
use ingot::report::Reporter;

use crate::install::{Installed, install, tiny};
use crate::support::plan::{debian, plan};
use crate::support::world::World;
use crate::support::{need, scratch, scratch_root, skip, together};
use crate::unpack::{STARTED, by_nature, differences, snapshot};

/// A set: its name, Debian's release, whether recommended packages come along, what is named.
type Set = (&'static str, &'static str, Recommends, &'static [&'static str]);

/// Runs with every test.
const QUICK: [Set; 2] = [
    ("minbase", "bookworm", Recommends::No, &[]),
    ("small", "trixie", Recommends::No, &["openssh-server", "python3-minimal", "cron", "sudo"]),
];

/// `scripts/oracle` runs these.
const LONG: [Set; 11] = [
    ("minbase-13", "trixie", Recommends::No, &[]),
    (
        "standard",
        "bookworm",
        Recommends::Yes,
        &[
            "apt-listchanges",
            "bash-completion",
            "bind9-dnsutils",
            "bzip2",
            "dbus",
            "file",
            "groff-base",
            "libpam-systemd",
            "locales",
            "lsof",
            "man-db",
            "manpages",
            "media-types",
            "netcat-traditional",
            "openssh-client",
            "pciutils",
            "perl",
            "reportbug",
            "traceroute",
            "wamerican",
            "wget",
            "xz-utils",
        ],
    ),
    (
        "server",
        "trixie",
        Recommends::No,
        &["python3", "openssh-server", "sudo", "nginx", "man-db", "postfix", "cron", "rsyslog", "chrony", "nftables"],
    ),
    (
        "server-recommends",
        "bookworm",
        Recommends::Yes,
        &["openssh-server", "nginx", "cron", "rsyslog", "unattended-upgrades"],
    ),
    ("desktop", "bookworm", Recommends::Yes, &["task-xfce-desktop"]),
    (
        "python",
        "trixie",
        Recommends::No,
        &["python3-pip", "python3-venv", "python3-numpy", "python3-requests", "ipython3"],
    ),
    ("java", "bookworm", Recommends::No, &["default-jdk-headless", "maven", "tomcat10"]),
    ("databases", "bookworm", Recommends::No, &["postgresql", "mariadb-server", "redis-server", "sqlite3"]),
    (
        "kernels",
        "bookworm",
        Recommends::No,
        &[
            "linux-image-cloud-amd64",
            "linux-image-amd64",
            "initramfs-tools",
            "grub-pc-bin",
            "grub2-common",
            "systemd-sysv",
            "udev",
        ],
    ),
    ("kernels-13", "trixie", Recommends::No, &["linux-image-cloud-amd64", "dracut", "systemd-sysv", "udev"]),
    ("compilers", "trixie", Recommends::No, &["build-essential", "git", "gdb", "cmake", "clang"]),
];

/// Made by chance, or from the time, once for each tree: keys and identities, Berkeley DB's stamps, an initrd's times.
const RANDOM: [&str; 9] = [
    "/etc/aliases.db",
    "/etc/machine-id",
    "/var/lib/dbus/machine-id",
    "/etc/ssh/ssh_host_",
    "/etc/ssl/",
    "/boot/initrd",
    "/var/lib/postgresql/",
    "/var/lib/mysql/",
    "/etc/postgresql",
];

/// Where mmdebstrap differs, and dpkg of `--unpacker dpkg` does as well.
const OF_MMDEBSTRAP: [(&str, &str); 18] = [
    ("/.", "the root folder itself is made by whoever begins"),
    ("/etc/apt/", "sources: mmdebstrap writes the build's, ingot those for the image"),
    ("/etc/fstab", "mmdebstrap writes one that says that it is not configured"),
    ("/etc/hostname", "copied from the build host by mmdebstrap"),
    ("/etc/resolv.conf", "copied from the build host by mmdebstrap"),
    ("/etc/shells", "add-shell appends in the order of configuration"),
    ("/usr/sbin/policy-rc.d", "ingot's, gone with Apt::finish"),
    ("/var/lib/shells.state", "add-shell notes in the order of configuration"),
    ("/etc/shadow", "order of users, as packages are configured"),
    ("/etc/gshadow", "order of groups"),
    ("/etc/passwd", "order of users"),
    ("/etc/group", "order of groups"),
    ("/var/cache/debconf/", "order of questions"),
    ("/var/cache/apt/", "apt of mmdebstrap ran in the tree"),
    ("/var/lib/apt/", "apt of mmdebstrap ran in the tree"),
    ("/var/lib/dpkg/triggers/", "order of lines"),
    ("/var/lib/dpkg/available", "made by apt of mmdebstrap"),
    ("/var/lib/dpkg/arch", "written by mmdebstrap"),
];

/// Links as ingot makes them, before the first package.
const MERGED: &str = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr";

/// As ingot asks apt: the tree is merged from the beginning, and needs no Perl to be converted.
const NO_USRMERGE: &str = "Package: usrmerge\\nPin: release *\\nPin-Priority: -1\\n";

/// Installs both ways, from nothing to the configured tree, and returns ours and what differs.
fn both_ways(plan: &Plan, mirrors: &Mirrors, cache: &Path, random: &[&str]) -> (Installed, String) {
    std::sync::LazyLock::force(&STARTED);
    let [mine, dpkgs] = [Unpacker::Parallel, Unpacker::Dpkg]
        .map(|unpacker| install(plan, mirrors, unpacker, cache, &Reporter::silent()));
    for words in [["dpkg", "-l"], ["dpkg", "--audit"], ["dpkg", "-V"]] {
        assert_eq!(mine.says(&words), dpkgs.says(&words), "{words:?}");
    }
    let left_out = |path: &str| by_nature(path) || random.iter().any(|start| path.starts_with(start));
    let differ = differences(&snapshot(&mine.tree(), left_out), &snapshot(&dpkgs.tree(), left_out), &[]);
    (mine, differ)
}

fn of_set((_, codename, recommends, packages): &Set) -> Plan {
    let mut repositories = debian(codename);
    repositories.iter_mut().for_each(|repository| repository.used = RepositoryUse::BuildAndImage);
    let mut plan = plan(repositories, packages);
    plan.update_stack = UpdateStack::Kept;
    plan.packages.recommends = *recommends;
    plan
}

fn is_there(mirrors: &Mirrors) -> bool {
    mirrors.get("debian").is_ok() && mirrors.get("debian-security").is_ok()
}

/// What differs between the three ways.
fn complaints(set: &Set, mirrors: &Mirrors) -> (Installed, String) {
    let (mine, differ) = both_ways(&of_set(set), mirrors, &scratch_root().join("debian-cache"), &RANDOM);
    let count = mine.set.packages.len();
    eprintln!("{}: {count} packages, {} paths differ from dpkg's", set.0, differ.lines().count() / 3);
    (mine, if differ.is_empty() { differ } else { format!("{}:\n{differ}", set.0) })
}

/// What differs from the tree of mmdebstrap, beyond what is named.
fn from_mmdebstrap(set: &Set, mine: &Installed) -> String {
    let folder = scratch();
    let archives = folder.path().join("archives");
    fs::create_dir(&archives).unwrap();
    let mut names = Vec::new();
    for package in &mine.set.packages {
        let version = package.version.replace(':', "%3a");
        let name = format!("{}_{version}_{}.deb", package.name, package.arch);
        std::os::unix::fs::symlink(&package.archive, archives.join(name)).unwrap();
        names.push(format!("{}:{}={}", package.name, mine_arch(&package.arch), package.version));
    }
    let tree = folder.path().join("tree");
    let copy = format!(
        "--setup-hook=mkdir -p \"$1/var/cache/apt/archives\" && cp -L '{}'/*.deb \"$1/var/cache/apt/archives/\"",
        archives.display()
    );
    let preferences = format!("--setup-hook=printf '{NO_USRMERGE}' >\"$1/etc/apt/preferences.d/no-usrmerge\"");
    // Since Debian 13, base-files itself holds the links.
    let set_up = if set.1 == "bookworm" { vec![preferences.as_str(), MERGED] } else { Vec::new() };
    let made = Command::new("mmdebstrap")
        .args(set_up)
        .args(["--quiet", "--mode=root", "--variant=apt", "--format=directory", &copy])
        .arg(format!("--include={}", names.join(",")))
        .arg(set.1)
        .arg(&tree)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let left_out = |path: &str| {
        let named = || OF_MMDEBSTRAP.iter().any(|(start, _)| path.starts_with(start));
        by_nature(path) || RANDOM.iter().any(|start| path.starts_with(start)) || named()
    };
    // mmdebstrap extracts all essential packages over each other first: folders keep other packages' times.
    let without_times = |mut tree: BTreeMap<String, String>| {
        for text in tree.values_mut() {
            if let Some(end) = text.find(" Folder at ") {
                text.truncate(end + " Folder".len());
            }
        }
        tree
    };
    let (ours, theirs) = (snapshot(&mine.tree(), left_out), snapshot(&tree, left_out));
    differences(&without_times(ours), &without_times(theirs), &[])
}

fn mine_arch(arch: &str) -> &str {
    if arch == "all" { "amd64" } else { arch }
}

#[test]
fn the_tiny_world_is_the_same_whoever_unpacks_it() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpg", "gpgv");
    let _turn = together();
    let (world, cache) = (World::open(), scratch());
    let (_, differ) = both_ways(&tiny(&world, &["tiny-app"]), &Mirrors::default(), cache.path(), &[]);
    assert!(differ.is_empty(), "{differ}");
}

#[test]
fn two_small_debians_are_the_same_whoever_unpacks_them() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpgv");
    let _turn = together();
    let mirrors = Mirrors::load(&[], None).unwrap();
    if !is_there(&mirrors) {
        skip!("needs a Debian mirror among the host's apt sources");
    }
    for set in &QUICK {
        let (_, differ) = complaints(set, &mirrors);
        assert!(differ.is_empty(), "{differ}");
    }
}

#[test]
#[ignore = "takes long: scripts/oracle"]
fn every_set_is_the_same_whoever_unpacks_it_and_goes_on_by_itself() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpgv", "mmdebstrap");
    let _turn = together();
    let mirrors = Mirrors::load(&[], None).unwrap();
    let asked = std::env::var("INGOT_ORACLE_SETS").unwrap_or_default();
    let asked: Vec<&str> = asked.split_whitespace().collect();
    let mut all = String::new();
    for set in QUICK.iter().chain(&LONG).filter(|set| asked.is_empty() || asked.contains(&set.0)) {
        let (mine, differ) = complaints(set, &mirrors);
        all += &differ;
        let differ = from_mmdebstrap(set, &mine);
        eprintln!("{}: {} paths differ from mmdebstrap's", set.0, differ.lines().count() / 3);
        if !differ.is_empty() {
            all += &format!("{}, ours and mmdebstrap's:\n{differ}", set.0);
        }
        let online = mine.sandbox().network(Network::Host);
        for line in ["apt-get update -eany", "apt-get -y dist-upgrade", "apt-get -y install less tree", "dpkg --audit"]
        {
            let words: Vec<&str> = line.split(' ').collect();
            let ended = online.run_to_end(&Reporter::silent(), &words, |_| {}).unwrap();
            let said = String::from_utf8_lossy(&[ended.output.stdout, ended.output.stderr].concat()).into_owned();
            if !ended.status.success()
                || said.contains("Configuration file")
                || (line.ends_with("audit") && !said.is_empty())
            {
                all += &format!("{}: {line}:\n{said}", set.0);
            }
        }
    }
    assert!(all.is_empty(), "{all}");
}
