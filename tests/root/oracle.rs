//! Whole package sets, unpacked in parallel, by the real dpkg and by mmdebstrap: the same trees and databases.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use ingot::host::rooted::Kind;
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
const LONG: [Set; 12] = [
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
    (
        "foreign",
        "trixie",
        Recommends::No,
        &["libstdc++6:i386", "libcurl4t64:i386", "libgtk2.0-0t64:i386", "file", "git"],
    ),
];

/// What is in these files is made by chance, or from the time, once for each tree. Everything else about them is not.
const RANDOM: [(&str, &str); 16] = [
    ("/etc/aliases.db", "Berkeley DB puts a stamp into each file"),
    ("/etc/machine-id", "an identity"),
    ("/var/lib/dbus/machine-id", "an identity"),
    ("/etc/ssh/ssh_host_", "keys"),
    ("/etc/ssl/certs/java/cacerts", "a Java key store notes when each certificate was added"),
    ("/etc/ssl/certs/ssl-cert-snakeoil.pem", "a certificate of ssl-cert, signed by its own key"),
    ("/etc/ssl/private/ssl-cert-snakeoil.key", "its key"),
    ("/var/cache/fontconfig/", "each holds the time of its folder of fonts, to the nanosecond; scrubbed from images"),
    ("/boot/initrd", "holds the times of its making"),
    ("/var/lib/postgresql/15/main/global/pg_control", "the cluster's identity"),
    ("/var/lib/postgresql/15/main/pg_stat/", "times"),
    ("/var/lib/postgresql/15/main/pg_wal/", "the cluster's identity, times"),
    ("/var/lib/mysql/aria_log", "an identity"),
    ("/var/lib/mysql/ib", "positions in the log, which holds times"),
    ("/var/lib/mysql/mysql/", "each table's identity, made from the time"),
    ("/var/lib/mysql/sys/", "each table's identity, each view's time"),
];

/// Where mmdebstrap differs, and dpkg of `--unpacker dpkg` does as well.
const OF_MMDEBSTRAP: [(&str, &str); 22] = [
    ("/.", "the root folder itself is made by whoever begins"),
    ("/etc/apt/", "sources: mmdebstrap writes the build's, ingot those for the image"),
    (
        "/etc/systemd/system/timers.target.wants/apt-daily",
        "mmdebstrap configures apt before systemd is unpacked: deb-systemd-helper asks systemctl, which links to \
         /usr/lib, where there is one, and else links to /lib itself",
    ),
    ("/etc/fstab", "mmdebstrap writes one that says that it is not configured"),
    ("/etc/hostname", "copied from the build host by mmdebstrap"),
    ("/etc/machine-id", "emptied by mmdebstrap, with a mode of its own"),
    ("/etc/resolv.conf", "copied from the build host by mmdebstrap"),
    ("/tmp/hsperfdata_root", "left by Java; mmdebstrap empties /tmp"),
    ("/etc/postfix/main.cf", "names the host and its domain, the build host's with mmdebstrap"),
    ("/var/lib/dbus/machine-id", "removed by mmdebstrap; an identity"),
    ("/usr/sbin/policy-rc.d", "ingot's, gone with Apt::finish"),
    ("/etc/shadow-", "as before the last user, who is another one"),
    ("/etc/gshadow-", "as before the last group, which is another one"),
    ("/etc/passwd-", "as before the last user, who is another one"),
    ("/etc/group-", "as before the last group, which is another one"),
    ("/var/cache/debconf/config.dat-old", "as before the last question, which is another one"),
    ("/var/cache/debconf/templates.dat-old", "as before the last question, which is another one"),
    ("/var/cache/debconf/tmp.ci", "where apt of mmdebstrap put questions that are asked before configuration"),
    ("/var/cache/apt/", "apt of mmdebstrap ran in the tree"),
    ("/var/lib/apt/", "apt of mmdebstrap ran in the tree"),
    ("/var/lib/dpkg/available", "made by apt of mmdebstrap"),
    ("/var/lib/dpkg/arch", "written by mmdebstrap"),
];

/// What postfix asks debconf about the host's name and domain, which are the build host's with mmdebstrap.
const POSTFIX: [&str; 3] = [
    "/var/cache/debconf/config.dat: Value: $myhostname, ",
    "/var/cache/debconf/config.dat: Value: localdomain",
    "/var/cache/debconf/config.dat: Value: localhost",
];

/// Files whose lines stand in the order in which packages were configured, which apt of mmdebstrap chooses otherwise.
const IN_ANY_ORDER: [&str; 9] = [
    "/etc/group",
    "/etc/gshadow",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/shells",
    "/var/cache/debconf/config.dat",
    "/var/cache/debconf/templates.dat",
    "/var/lib/dpkg/triggers/",
    "/var/lib/shells.state",
];

/// Links as ingot makes them, before the first package.
const MERGED: &str = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr";

/// As ingot asks apt: the tree is merged from the beginning, and needs no Perl to be converted.
const NO_USRMERGE: &str = "Package: usrmerge\\nPin: release *\\nPin-Priority: -1\\n";

/// Installs both ways, from nothing to the configured tree, and returns ours and what differs.
fn both_ways(plan: &Plan, mirrors: &Mirrors, cache: &Path, random: &[(&str, &str)]) -> (Installed, String) {
    std::sync::LazyLock::force(&STARTED);
    let by = |unpacker| install(plan, mirrors, unpacker, cache, &Reporter::silent());
    let (mine, dpkgs) = std::thread::scope(|scope| {
        let dpkgs = scope.spawn(|| by(Unpacker::Dpkg));
        (by(Unpacker::Parallel), dpkgs.join().unwrap())
    });
    for words in [["dpkg", "-l"], ["dpkg", "--audit"], ["dpkg", "-V"]] {
        assert_eq!(mine.says(&words), dpkgs.says(&words), "{words:?}");
    }
    let [ours, theirs] =
        [&mine, &dpkgs].map(|installed| without_content(snapshot(&installed.tree(), by_nature), random));
    (mine, differences(&ours, &theirs, &[]))
}

/// Files that `random` names keep mode, owner and number of links alone.
fn without_content(mut found: BTreeMap<String, String>, random: &[(&str, &str)]) -> BTreeMap<String, String> {
    for (_, text) in found.iter_mut().filter(|(path, _)| random.iter().any(|(start, _)| path.starts_with(start))) {
        if let Some(end) = text.find(" first ") {
            text.truncate(end);
        }
    }
    found
}

fn of_set((_, codename, recommends, packages): &Set) -> Plan {
    let mut repositories = debian(codename);
    if !architectures(packages).is_empty() {
        // Mirrors that keep only what somebody asked for have other days' updates of other architectures.
        repositories.retain(|repository| repository.distribution == *codename);
    }
    for repository in &mut repositories {
        repository.used = RepositoryUse::BuildAndImage;
        repository.architectures = architectures(packages).iter().map(|arch| arch.to_string()).collect();
    }
    let mut plan = plan(repositories, packages);
    plan.update_stack = UpdateStack::Kept;
    plan.packages.recommends = *recommends;
    plan
}

/// The architectures of a set that names packages of another one; empty where all are of the image's.
fn architectures(packages: &[&str]) -> &'static [&'static str] {
    if packages.iter().any(|name| name.ends_with(":i386")) { &["amd64", "i386"] } else { &[] }
}

/// Whether this host knows a Debian mirror.
pub fn is_there(mirrors: &Mirrors) -> bool {
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
    let mut mmdebstrap = Command::new("mmdebstrap");
    // It hands the caller's environment to maintainer scripts, and with PYTHONDONTWRITEBYTECODE other byte code is made:
    // what is imported before its package is configured is compiled in another way (constants are shared otherwise).
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PYTHON")) {
        mmdebstrap.env_remove(name);
    }
    let made = mmdebstrap
        .args(set_up)
        .args((!architectures(set.3).is_empty()).then(|| format!("--architectures={}", architectures(set.3).join(","))))
        .args(["--quiet", "--mode=root", "--variant=apt", "--format=directory", &copy])
        .arg(format!("--include={}", names.join(",")))
        .arg(set.1)
        .arg(&tree)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let left_out = |path: &str| {
        let named = || OF_MMDEBSTRAP.iter().any(|(start, _)| path.starts_with(start));
        by_nature(path) || named()
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
    let [ours, theirs] = [&mine.tree(), &tree].map(|tree| {
        let accounts = Accounts::read(tree);
        let mut found = snapshot(tree, left_out);
        found.values_mut().for_each(|text| *text = accounts.owner(text));
        // Its name is the hash of the host's, which is the build host's with mmdebstrap.
        let certificate = format!("{:?}", Kind::Symlink(b"ssl-cert-snakeoil.pem".to_vec()));
        found.retain(|path, text| !(path.starts_with("/etc/ssl/certs/") && text.contains(&certificate)));
        let mut found = in_any_order(tree, &accounts, found);
        found.retain(|path, _| !POSTFIX.iter().any(|answer| path.starts_with(answer)));
        without_content(found, &RANDOM)
    });
    differences(&without_times(ours), &without_times(theirs), &[])
}

/// Users and groups that got the next free number (100 to 999) when their package was configured, and whose numbers
/// therefore depend on the order of that: they are compared by name.
struct Accounts {
    users: BTreeMap<String, String>,
    groups: BTreeMap<String, String>,
}

impl Accounts {
    fn read(tree: &Path) -> Accounts {
        let of = |file: &str| {
            let text = fs::read_to_string(tree.join(file)).unwrap();
            let fields = text.lines().map(|line| line.split(':').collect::<Vec<&str>>());
            let given =
                fields.filter(|fields| fields[2].parse().is_ok_and(|number: u32| (100..1000).contains(&number)));
            given.map(|fields| (fields[2].to_string(), fields[0].to_string())).collect()
        };
        Accounts { users: of("etc/passwd"), groups: of("etc/group") }
    }

    fn user<'a>(&'a self, number: &'a str) -> &'a str {
        self.users.get(number).map_or(number, String::as_str)
    }

    fn group<'a>(&'a self, number: &'a str) -> &'a str {
        self.groups.get(number).map_or(number, String::as_str)
    }

    /// What a [`snapshot`] says of an entry: `MODE USER:GROUP ...`.
    fn owner(&self, text: &str) -> String {
        let (mode, rest) = text.split_once(' ').unwrap();
        let (owner, rest) = rest.split_once(' ').unwrap();
        let (user, group) = owner.split_once(':').unwrap();
        format!("{mode} {}:{} {rest}", self.user(user), self.group(group))
    }

    /// A line of a file.
    fn line(&self, path: &str, line: &str) -> String {
        let mut fields: Vec<&str> = line.split(':').collect();
        match path {
            "/etc/passwd" => (fields[2], fields[3]) = (self.user(fields[2]), self.group(fields[3])),
            "/etc/group" => fields[2] = self.group(fields[2]),
            _ => {}
        }
        fields.join(":")
    }
}

/// Each line of a file of [`IN_ANY_ORDER`] becomes an entry of its own, which says how often it is there.
fn in_any_order(tree: &Path, accounts: &Accounts, mut found: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let any_order = |path: &&String| IN_ANY_ORDER.iter().any(|start| path.starts_with(start));
    let files: Vec<String> = found.keys().filter(any_order).cloned().collect();
    for path in files {
        let Ok(text) = fs::read_to_string(tree.join(&path[1..])) else { continue };
        let owned = found[&path].split(' ').take(4).collect::<Vec<_>>().join(" ");
        let mut lines: BTreeMap<String, u32> = BTreeMap::new();
        text.lines().for_each(|line| *lines.entry(accounts.line(&path, line)).or_default() += 1);
        found.extend(lines.into_iter().map(|(line, times)| (format!("{path}: {line}"), times.to_string())));
        found.insert(path, owned);
    }
    found
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
fn a_set_is_the_same_whoever_unpacks_it_and_goes_on_by_itself() {
    need!(root);
    need!("apt-get", "dpkg-deb", "gpgv", "mmdebstrap");
    let _turn = together();
    let mirrors = Mirrors::load(&[], None).unwrap();
    if !is_there(&mirrors) {
        skip!("needs a Debian mirror among the host's apt sources");
    }
    // scripts/oracle asks for all, which takes hours.
    let asked = std::env::var("INGOT_ORACLE_SETS").unwrap_or_else(|_| "minbase-13".to_string());
    let asked: Vec<&str> = asked.split_whitespace().collect();
    let mut all = String::new();
    for set in QUICK.iter().chain(&LONG).filter(|set| asked.is_empty() || asked.contains(&set.0)) {
        let (mine, differ) = complaints(set, &mirrors);
        all += &differ;
        if std::env::var_os("INGOT_ORACLE_DPKG_ONLY").is_none() {
            let differ = from_mmdebstrap(set, &mine);
            eprintln!("{}: {} paths differ from mmdebstrap's", set.0, differ.lines().count() / 3);
            if !differ.is_empty() {
                all += &format!("{}, ours and mmdebstrap's:\n{differ}", set.0);
            }
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
