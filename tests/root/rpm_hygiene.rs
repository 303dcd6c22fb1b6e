//! What rpm, zypper and pacman leave in an image, made by the real programs: it goes, and what stays is the same each
//! time and still read by them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use ingot::plan::{ScrubPlan, ScrubPreset, UpdateStack};
use ingot::report::Reporter;
use ingot::root::{RootPath, RootTree};
use ingot::scrub::{Asked, BuildHost, Database, DescribedPaths, ScrubbedTree, Standard, audit, scrub};

use crate::support::rpm::{RpmWorld, need_rpm_world};
use crate::support::{need, scratch, together};

const EPOCH: i64 = 1_700_000_000;
const DATABASE: &str = "/usr/lib/sysimage/rpm";

fn rpm(root: &Path, words: &[&str]) -> (bool, String) {
    let mut command = Command::new("rpm");
    command.arg("--root").arg(root).args(["--dbpath", DATABASE]).args(words).env("LC_ALL", "C");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// Each list is a transaction of its own.
fn install(world: &RpmWorld, root: &Path, transactions: &[&[&str]]) {
    std::fs::create_dir_all(root).unwrap();
    for names in transactions {
        let files: Vec<String> =
            names.iter().map(|name| world.repository().join(world.package(name)).display().to_string()).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let (good, said) = rpm(root, &[&["--nosignature", "-i"], &files[..]].concat());
        assert!(good, "{said}");
    }
}

/// A build that began at the dawn of time and is still going on: everything that has today's date is its own.
fn host() -> BuildHost {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    BuildHost {
        names: BTreeSet::new(),
        resolver: Vec::new(),
        workspace: None,
        builds_began: vec![now - 3600],
        epoch: None,
    }
}

fn asked() -> Asked {
    Asked {
        paths: DescribedPaths::default(),
        passwords: BTreeSet::new(),
        update_stack: UpdateStack::Kept,
        database: Database::Kept,
    }
}

fn cleaned(root: &Path) -> ScrubbedTree {
    let plan = ScrubPlan { preset: ScrubPreset::Container, except: Vec::new() };
    scrub(&plan, RootTree::open(root).unwrap(), &asked(), &host(), EPOCH, &Reporter::silent()).unwrap()
}

#[test]
fn two_installations_of_the_same_packages_end_as_the_same_rpm_database() {
    need!(root);
    need_rpm_world!();
    let _turn = together();
    let world = RpmWorld::open();
    let scratch = scratch();
    let base: &[&str] = &["filesystem", "busybox", "tiny-accounts"];
    let app: &[&str] = &["tiny-provider", "libtiny1", "tiny-app"];
    let (one, other) = (scratch.path().join("one"), scratch.path().join("other"));
    install(&world, &one, &[base, app, &["tiny-lua"]]);
    install(&world, &other, &[base, &["tiny-lua", "tiny-ping"], app]);
    assert!(rpm(&other, &["-e", "tiny-ping"]).0);
    let verify = |root: &Path| rpm(root, &["-Va"]).1;
    let before = verify(&one);
    let file = |root: &Path| std::fs::read(root.join("usr/lib/sysimage/rpm/rpmdb.sqlite")).unwrap();
    assert_ne!(file(&one), file(&other));
    let report = audit(
        &RootTree::open(&one).unwrap(),
        Standard::Build {
            plan: &ScrubPlan { preset: ScrubPreset::Container, except: Vec::new() },
            asked: &asked(),
            host: &host(),
        },
    );
    let found: Vec<&str> = report.as_ref().unwrap().leftovers().map(|finding| finding.class).collect();
    assert!(found.contains(&"package-database"), "the audit sees the times of installation: {found:?}");
    let scrubbed = [cleaned(&one), cleaned(&other)];
    assert!(file(&one) == file(&other));
    let left: Vec<_> = std::fs::read_dir(one.join("usr/lib/sysimage/rpm")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "neither log nor lock: {left:?}");
    for tree in &scrubbed {
        let root = tree.tree().host_path();
        let (good, said) = rpm(root, &["-qa", "--qf", "%{NAME} %{INSTALLTIME} %{INSTALLTID}\n"]);
        let lines: BTreeSet<&str> = said.lines().collect();
        assert!(good && lines.len() == 7, "{said}");
        assert!(lines.iter().all(|line| line.ends_with(" 1700000000 1700000000")), "{said}");
        let mut database = Command::new("rpmdb");
        let output = database.arg("--root").arg(root).args(["--dbpath", DATABASE, "--verifydb"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let (good, said) = rpm(root, &["-qf", "/usr/bin/tiny-app", "/etc/tiny/tiny.conf"]);
        assert!(good && said == "tiny-app-2.0-3.x86_64\ntiny-app-2.0-3.x86_64\n", "{said}");
        for (question, subject) in [("--whatprovides", "tiny-virtual"), ("--whatrequires", "libtiny1")] {
            assert!(rpm(root, &["-q", question, subject]).0, "{question}");
        }
    }
    // The scrub changes /etc/shadow, which is configuration, and nothing else that rpm looks at.
    let after = verify(&one);
    let new: Vec<&str> = after.lines().filter(|line| !before.contains(*line)).collect();
    assert!(new.iter().all(|line| line.contains(" c /etc/")), "{new:?}");
    // A database that lists what is not there misleads whoever scans it.
    let listed = |report: &ingot::scrub::Report| -> Vec<String> {
        let notes = report.notes().filter(|note| note.class == "package-database");
        notes.map(|note| note.what.clone()).collect()
    };
    assert_eq!(listed(scrubbed[0].report()), [""; 0]);
    for path in rpm(&other, &["-ql", "tiny-app"]).1.lines() {
        let _ = std::fs::remove_file(other.join(path.trim_start_matches('/')));
    }
    let plan = ScrubPlan { preset: ScrubPreset::Container, except: Vec::new() };
    let (asked, host) = (asked(), host());
    let standard = Standard::Build { plan: &plan, asked: &asked, host: &host };
    let report = audit(&RootTree::open(&other).unwrap(), standard).unwrap();
    assert_eq!(listed(&report), ["lists tiny-app, of which no file is there"]);
    // rpm goes on from there.
    install(&world, &one, &[&["tiny-ping"]]);
    let (good, said) = rpm(&one, &["-q", "tiny-ping"]);
    assert!(good, "{said}");
}

#[test]
fn what_rpm_brought_is_spared_and_what_it_only_answers_for_is_not() {
    need!(root);
    need_rpm_world!();
    let _turn = together();
    let world = RpmWorld::open();
    let scratch = scratch();
    let root = scratch.path().join("root");
    install(&world, &root, &[&["filesystem", "busybox", "rpm", "libsolv-tools", "libzypp", "zypper"]]);
    let tree = RootTree::open(&root).unwrap();
    for path in ["/var/log/zypper.log", "/var/log/zypp/history", "/var/lib/zypp/AnonymousUniqueId"] {
        tree.write(&path.into(), "of the build\n", 0o644).unwrap();
    }
    for path in ["/var/cache/zypp/solv/@System/cookie", "/var/lib/dnf/history.sqlite", "/var/lib/dnf/rpmdb_lock.pid"] {
        tree.write(&path.into(), "of the build\n", 0o644).unwrap();
    }
    let automatic = RootPath::from("/var/lib/zypp/AutoInstalled");
    tree.write(&automatic, "# AutoInstalled generated Fri Nov 27 08:23:49 2026\n#\nlibsolv-tools\n", 0o644).unwrap();
    let plan = ScrubPlan { preset: ScrubPreset::Container, except: Vec::new() };
    let scrubbed = scrub(&plan, tree, &asked(), &host(), EPOCH, &Reporter::silent()).unwrap();
    let tree = scrubbed.tree();
    assert_eq!(tree.read(&automatic).unwrap(), b"#\nlibsolv-tools\n");
    for gone in ["/var/log/zypper.log", "/var/log/zypp/history", "/var/lib/zypp/AnonymousUniqueId"] {
        assert!(!tree.exists(&gone.into()), "{gone}");
    }
    for gone in ["/var/cache/zypp/solv", "/var/lib/dnf/history.sqlite", "/var/lib/dnf/rpmdb_lock.pid"] {
        assert!(!tree.exists(&gone.into()), "{gone}");
    }
    for stays in ["/etc/zypp/zypp.conf", "/var/log/zypp", "/var/cache/zypp", "/etc/logrotate.d/zypp-history.lr"] {
        assert!(tree.exists(&stays.into()), "{stays}");
    }
    let unowned: Vec<String> =
        scrubbed.report().notes().filter(|note| note.class == "unowned").map(|note| note.path.to_string()).collect();
    assert_eq!(unowned, ["/var/lib/tiny/scripts"; 0], "{unowned:?}");
    // Without an update stack each of its programs and folders is a finding.
    let without = Asked { update_stack: UpdateStack::None, ..asked() };
    let standard = Standard::Build { plan: &plan, asked: &without, host: &host() };
    let report = audit(tree, standard).unwrap();
    let found: BTreeSet<String> = report
        .leftovers()
        .filter(|finding| finding.class == "update-stack")
        .map(|finding| finding.path.to_string())
        .collect();
    for path in ["/usr/bin/rpm", "/usr/bin/rpmkeys", "/usr/bin/zypper", "/etc/zypp/zypp.conf"] {
        assert!(found.contains(path), "{path} in {found:?}");
    }
}
