//! What is read of package databases without their programs is what the programs say of the same trees.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use ingot::package::installed::{self, Family};
use ingot::release::{changes, verified};
use ingot::root::RootTree;

use crate::support::pacman::{PacmanWorld, need_pacman_world};
use crate::support::rpm::{RpmWorld, need_rpm_world};
use crate::support::{need, scratch, together};

fn said(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C").env("TZ", "UTC").output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_string).collect()
}

/// The lines of the packages file.
fn packages(tree: &RootTree) -> BTreeSet<String> {
    installed::read(tree).unwrap().iter().map(|package| package.line().trim_end().to_string()).collect()
}

/// Paths that `rpm -Va`, or we, call changed or missing.
fn differing(text: &str) -> BTreeSet<String> {
    let differs = |line: &&str| line.starts_with("missing") || line.as_bytes().get(2) == Some(&b'5');
    let path = |line: &str| line.rsplit(' ').next().unwrap().to_string();
    text.lines().filter(differs).map(path).collect()
}

#[test]
fn an_rpm_tree_is_described_as_rpm_describes_it() {
    need!(root);
    need_rpm_world!();
    let _turn = together();
    let world = RpmWorld::open();
    let scratch = scratch();
    let root = scratch.path().join("root");
    std::fs::create_dir_all(&root).unwrap();
    let rpm = |words: &[&str]| {
        let mut command = Command::new("rpm");
        said(command.arg("--root").arg(&root).args(["--dbpath", "/usr/lib/sysimage/rpm"]).args(words))
    };
    let names = ["filesystem", "busybox", "tiny-accounts", "tiny-provider", "libtiny1", "tiny-app", "tiny-ping"];
    let files = names.map(|name| world.repository().join(world.package(name)).display().to_string());
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    rpm(&[&["--nosignature", "-i"], &files[..]].concat());
    // A key is listed by rpm and is no package.
    rpm(&["--import", world.key().to_str().unwrap()]);
    let form = "%{NAME}|%{EPOCH}|%{VERSION}|%{RELEASE}|%{ARCH}|%{DISTURL}|%{LICENSE}\n";
    let mut asked = lines(&rpm(&["-qa", "--qf", form]));
    asked.retain(|line| !line.starts_with("gpg-pubkey"));
    let tree = RootTree::open(&root).unwrap();
    assert_eq!(packages(&tree), asked);
    assert!(asked.len() >= names.len(), "{asked:?}");
    std::fs::write(root.join("etc/tiny/tiny.conf"), "changed\n").unwrap();
    std::fs::write(root.join("usr/bin/tiny-app"), "changed\n").unwrap();
    let verified_by_rpm = rpm(&["-Va"]);
    let asked = differing(&verified_by_rpm);
    assert!(asked.contains("/etc/tiny/tiny.conf") && asked.contains("/usr/bin/tiny-app"), "{asked:?}");
    let text = verified::text(&tree).unwrap();
    assert_eq!(differing(&text), asked, "{text}");
    let ours = text.lines().find(|line| line.ends_with("/etc/tiny/tiny.conf")).unwrap();
    let rpms = verified_by_rpm.lines().find(|line| line.ends_with("/etc/tiny/tiny.conf")).unwrap();
    assert_eq!((&ours[..9], &ours[9..]), ("??5??????", &rpms[9..]), "{rpms}");
    let changelogs = String::from_utf8(changes::text(&tree).unwrap()).unwrap();
    assert!(changelogs.lines().any(|line| line == "tiny-app|"), "{changelogs}");
    for package in installed::read(&tree).unwrap() {
        assert_eq!(package.family(), Family::Rpm);
        let asked = rpm(&["-q", "--qf", "%{SOURCERPM} %{SUMMARY} %{URL} %{VENDOR}", &package.name]);
        let (name, version) = package.source();
        let or_none = |text: String| if text.is_empty() { "(none)".to_string() } else { text };
        let (summary, page) = (or_none(package.summary()), or_none(package.home_page()));
        let own = format!("{name}-{version}.src.rpm {summary} {page} {}", or_none(package.supplier()));
        assert_eq!(own, asked);
        let mut owned: BTreeSet<String> = package.paths(&tree).unwrap().iter().map(|path| path.to_string()).collect();
        let mut asked = lines(&rpm(&["-ql", &package.name]));
        for paths in [&mut owned, &mut asked] {
            paths.remove("(contains no files)");
        }
        assert_eq!(owned, asked, "{}", package.name);
    }
}

fn pacman(root: &Path, words: &[&str]) -> String {
    let mut command = Command::new("pacman");
    command.arg("--dbpath").arg(root.join("var/lib/pacman")).arg("--root").arg(root).args(words);
    said(&mut command)
}

#[test]
fn a_pacman_tree_is_described_as_pacman_describes_it() {
    need!(root);
    need_pacman_world!();
    let _turn = together();
    let world = PacmanWorld::open();
    let scratch = scratch();
    let root = scratch.path().join("root");
    std::fs::create_dir_all(root.join("var/lib/pacman")).unwrap();
    let named = ["busybox", "tiny-app"];
    let configuration = scratch.path().join("pacman.conf");
    let text = "[options]\nArchitecture = x86_64\nSigLevel = Never\nLocalFileSigLevel = Never\n";
    std::fs::write(&configuration, text).unwrap();
    let archives: Vec<String> = std::fs::read_dir(world.repository())
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .filter(|path| path.ends_with(".pkg.tar.zst"))
        .filter(|path| named.iter().any(|name| path.contains(&format!("/{name}-"))))
        .collect();
    let archives: Vec<&str> = archives.iter().map(String::as_str).collect();
    let cache = scratch.path().join("cache").display().to_string();
    let how = ["--config", configuration.to_str().unwrap(), "--cachedir", &cache, "--noconfirm", "-Udd"];
    let log = scratch.path().join("log").display().to_string();
    let installing = pacman(&root, &[&how[..], &["--logfile", &log], &archives[..]].concat());
    let asked: BTreeSet<String> = pacman(&root, &["-Q"])
        .lines()
        .map(|line| {
            let (name, version) = line.split_once(' ').unwrap();
            let (version, release) = version.split_once('-').unwrap();
            format!("{name}|None|{version}|{release}|None|None|None")
        })
        .collect();
    let tree = RootTree::open(&root).unwrap();
    assert_eq!(packages(&tree), asked, "{installing}");
    assert!(asked.len() >= named.len(), "{asked:?} {installing}");
    assert_eq!(verified::text(&tree).unwrap(), "");
    for package in installed::read(&tree).unwrap() {
        let asked = pacman(&root, &["-Qlq", &package.name]);
        let asked: BTreeSet<String> =
            asked.lines().map(|path| path.strip_prefix(root.to_str().unwrap()).unwrap().to_string()).collect();
        let asked: BTreeSet<String> = asked.iter().map(|path| path.trim_end_matches('/').to_string()).collect();
        let owned: BTreeSet<String> = package.paths(&tree).unwrap().iter().map(|path| path.to_string()).collect();
        assert_eq!(owned, asked, "{}", package.name);
        assert_eq!(package.family(), Family::Pacman);
        let files = package.files(&tree).unwrap();
        assert_eq!(files.is_empty(), package.name == "base", "{} {files:?}", package.name);
        for line in ["Licenses", "Description"] {
            let information = pacman(&root, &["-Qi", &package.name]);
            let told = information.lines().find(|found| found.starts_with(line)).unwrap();
            let (_, told) = told.split_once(": ").unwrap();
            let own = if line == "Licenses" { package.licence().unwrap() } else { package.summary() };
            assert_eq!(own.replace(" AND ", "  "), told);
        }
    }
    let changed = root.join("usr/bin/tiny-app");
    std::fs::write(changed, "changed\n").unwrap();
    assert_eq!(verified::text(&tree).unwrap(), "??5??????   /usr/bin/tiny-app\n");
}
