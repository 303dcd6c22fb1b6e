//! The parallel unpacker against the real dpkg: the same packages, the same tree.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ingot::cache::UnpackedStore;
use ingot::cache::unpacked::LIMIT;
use ingot::error::Error;
use ingot::host::rooted::{Kind, RootPath, Rooted};
use ingot::package::Package;
use ingot::package::unpack::unpack;
use ingot::report::{Reporter, Verbosity};

use crate::support::archives::{Compression, Deb};
use crate::support::world::sha256;
use crate::support::{need, scratch};
use crate::tree::Tree;

/// What a tree must have for scripts and dpkg to run in it: both come from the host's /usr.
pub const STATUS: &str = "Package: dpkg\nStatus: install ok installed\nMaintainer: t\nArchitecture: amd64\nVersion: 1.21.22\n\
                      Description: stands for the host's\n\n";

fn tree() -> Tree {
    std::sync::LazyLock::force(&STARTED);
    let tree = Tree::new();
    tree.write("/var/lib/dpkg/status", STATUS);
    tree.write("/var/lib/dpkg/available", "");
    tree.write("/var/lib/dpkg/info/format", "1\n");
    tree.write("/var/lib/dpkg/info/dpkg.list", "/.\n/usr\n");
    tree.write("/var/lib/dpkg/info/dpkg.md5sums", "");
    for folder in ["updates", "triggers", "alternatives", "parts"] {
        fs::create_dir(tree.path().join("var/lib/dpkg").join(folder)).unwrap();
    }
    tree.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nman:x:6:12:man:/:/bin/false\n");
    tree.write("/etc/group", "root:x:0:\nman:x:12:\nshadow:x:42:\n");
    tree
}

/// Unpacks with ours; the log comes along.
fn ours(tree: &Tree, packages: &[Package]) -> (Result<(), Error>, String) {
    ours_with(tree, packages, scratch().path())
}

/// The same with a cache that may hold unpacked packages.
fn ours_with(tree: &Tree, packages: &[Package], cache: &Path) -> (Result<(), Error>, String) {
    let folder = scratch();
    let path = folder.path().join("log");
    let reporter = Reporter::new(Verbosity::Quiet, None, || std::time::Duration::ZERO);
    reporter.log_to(fs::File::create(&path).unwrap());
    let rooted = Rooted::open(tree.path()).unwrap();
    let store = UnpackedStore::open(cache, LIMIT).unwrap();
    let result = unpack(packages, &rooted, &tree.sandbox(), &store, &reporter.step("unpack"));
    (result, fs::read_to_string(path).unwrap())
}

/// Unpacks with dpkg, one package after the other.
fn theirs(tree: &Tree, packages: &[Package]) -> Result<(), String> {
    for package in packages {
        let shown = RootPath::new("/run/package.deb");
        let sandbox = tree.sandbox().bind(&package.archive, &shown);
        let options =
            ["--force-confdef", "--force-confold", "--force-unsafe-io", "--no-triggers", "--auto-deconfigure"];
        let words = [["dpkg"].as_slice(), &options, &["--unpack", "/run/package.deb"]].concat();
        let ended = sandbox.run_to_end(&Reporter::silent(), &words, |_| {}).unwrap();
        let _ = fs::remove_file(tree.path().join("run/package.deb"));
        if !ended.status.success() {
            return Err(String::from_utf8_lossy(&ended.output.stderr).into_owned());
        }
    }
    Ok(())
}

/// What differs by nature: logs, backups of dpkg's status, and ldconfig's cache, which holds inode numbers.
pub fn by_nature(path: &str) -> bool {
    let folders = ["/dev", "/proc", "/sys", "/run", "/var/log", "/var/cache/ldconfig"];
    folders.iter().any(|folder| path.starts_with(folder)) || path == "/var/lib/dpkg/status-old"
}

/// Of trees that borrow the host's programs.
fn borrowed(path: &str) -> bool {
    let locks = ["/var/lib/dpkg/lock", "/var/lib/dpkg/triggers/Lock"];
    by_nature(path) || path.starts_with("/usr") || locks.iter().any(|lock| path.starts_with(lock))
}

/// What has a later time was made, or changed, in this run.
pub static STARTED: std::sync::LazyLock<i64> = std::sync::LazyLock::new(|| {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() as i64
});

/// Each entry's type, mode, owner, content, links and time. Times of this run's own files are not shown.
pub fn snapshot(tree: &Path, left_out: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let rooted = Rooted::open(tree).unwrap();
    let mut found = BTreeMap::new();
    let mut names: BTreeMap<(u64, u64), String> = BTreeMap::new();
    for entry in rooted.walk(&RootPath::root()).unwrap() {
        let path = entry.path.to_string();
        if left_out(&path) {
            continue;
        }
        let mut text = format!("{:o} {}:{}", entry.mode, entry.uid, entry.gid);
        match &entry.kind {
            Kind::File => {
                let first = names.entry(entry.inode).or_insert_with(|| path.clone());
                let content = rooted.read(&entry.path).unwrap();
                let attributes = rooted.xattrs(&entry.path).unwrap();
                text += &format!(" links {} first {first} {attributes:?}", entry.links);
                text += &match content.len() {
                    0..20_000 => format!(" {:?}", String::from_utf8_lossy(&content)),
                    _ => format!(" {}", sha256(&content)),
                };
            }
            kind => text += &format!(" {kind:?}"),
        }
        if entry.mtime < *STARTED {
            text += &format!(" at {}", entry.mtime);
        }
        found.insert(path, text);
    }
    found
}

pub fn differences(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>, but: &[&str]) -> String {
    let paths: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = paths.into_iter().filter(|path| one.get(*path) != other.get(*path) && !but.contains(&path.as_str()));
    let shown = |entry: Option<&String>| format!("{entry:?}").chars().take(400).collect::<String>();
    differ.map(|path| format!("{path}\n  ours {}\n  dpkg {}\n", shown(one.get(path)), shown(other.get(path)))).collect()
}

/// Asserts that both ways make the same tree, unpacked and configured; returns ours and its log.
pub fn same(prepare: impl Fn(&Tree), packages: impl Fn(&Path) -> Vec<Package>) -> (Tree, String) {
    let folder = scratch();
    let packages = packages(folder.path());
    let (mine, dpkgs) = (tree(), tree());
    prepare(&mine);
    prepare(&dpkgs);
    let cache = scratch();
    let (result, log) = ours_with(&mine, &packages, cache.path());
    result.unwrap_or_else(|error| panic!("{log}\n{}", error.text()));
    let again = tree();
    prepare(&again);
    ours_with(&again, &packages, cache.path()).0.unwrap();
    let differ = differences(&snapshot(again.path(), borrowed), &snapshot(mine.path(), borrowed), &[]);
    assert!(differ.is_empty(), "from packages that were unpacked before:\n{differ}");
    drop(again);
    theirs(&dpkgs, &packages).unwrap();
    let not_yet = ["/var/lib/dpkg/status", "/var/lib/dpkg/triggers/Unincorp"];
    let differ = differences(&snapshot(mine.path(), borrowed), &snapshot(dpkgs.path(), borrowed), &not_yet);
    assert!(differ.is_empty(), "unpacked:\n{differ}{log}");
    for tree in [&mine, &dpkgs] {
        tree.says("dpkg --force-confold --configure -a");
    }
    let differ = differences(&snapshot(mine.path(), borrowed), &snapshot(dpkgs.path(), borrowed), &[]);
    assert!(differ.is_empty(), "configured:\n{differ}{log}");
    assert_eq!(mine.says("dpkg --audit"), "");
    (mine, log)
}

#[test]
fn files_of_every_kind_are_placed_as_dpkg_places_them() {
    need!(root);
    need!("dpkg");
    let long = format!("./opt/{}/", "long-name-".repeat(12));
    let (tree, _) = same(
        |_| {},
        |folder| {
            let forms = [Compression::None, Compression::Gzip, Compression::Xz, Compression::Zstd];
            let mut packages: Vec<Package> = forms
                .into_iter()
                .map(|form| {
                    let name = format!("form-{form:?}").to_lowercase();
                    let deb = Deb::new(&name, "").compressed(form).folder("./opt/", 0o755);
                    deb.file(&format!("./opt/{name}"), &name.repeat(5000)).write(folder)
                })
                .collect();
            let kinds = Deb::new("kinds", "Multi-Arch: same\nArchitecture: amd64\nEssential: no\nX-Own: a\n b \n")
                .folder("./opt/", 0o700)
                .folder("./opt/sticky/", 0o1777)
                .entry(b'0', b"./opt/suid", "", 0o4755, "0:0:root:root", b"x")
                .entry(b'0', b"./opt/shadow", "", 0o2640, "0:7:root:shadow", b"y")
                .entry(b'0', b"./opt/unknown", "", 0o600, "77:78:nobody-knows:nobody-knows", b"z")
                .entry(b'5', b"./opt/mans/", "", 0o2755, "9:9:man:man", b"")
                .entry(b'2', b"./opt/link", "sticky/../suid", 0o777, "9:9:man:man", b"")
                .entry(b'6', b"./opt/fifo", "", 0o620, "0:12:root:man", b"")
                .entry(b'3', b"./opt/null", "1,3", 0o666, "0:0:root:root", b"")
                .entry(b'4', b"./opt/block", "7,9", 0o660, "0:6:root:disk", b"")
                .hard_link("./opt/suid-too", "./opt/suid")
                .file("./opt/a b", "")
                .entry(b'0', b"./opt/\xff", "", 0o644, "0:0::", b"not UTF-8")
                .file("./-rf", "at the top")
                .folder(&long, 0o755)
                .file(&format!("{long}file"), "long");
            packages.push(kinds.symlink(&format!("{long}link"), &long).write(folder));
            packages.push(Deb::new("empty", "").write(folder));
            packages
        },
    );
    let suid = fs::metadata(tree.path().join("opt/suid")).unwrap();
    assert_eq!((suid.mode() & 0o7777, suid.nlink()), (0o644, 2), "the hard link's header has the last word");
    assert!(tree.path().join("var/lib/dpkg/info/kinds:amd64.list").exists());
    assert_eq!(fs::metadata(tree.path().join("opt/shadow")).unwrap().gid(), 42);
    assert!(tree.path().join("opt").join(std::ffi::OsStr::from_bytes(b"\xff")).exists());
}

#[test]
fn a_preinst_sees_what_dpkg_lets_it_see() {
    need!(root);
    need!("dpkg");
    let look = "echo \"$0 $*\" > /srv/$DPKG_MAINTSCRIPT_PACKAGE\nenv | grep ^DPKG_ | grep -v DPKG_FRONTEND | sort \
                | grep -v DPKG_RUNNING >> /srv/$DPKG_MAINTSCRIPT_PACKAGE\n\
                dpkg-query -W >> /srv/$DPKG_MAINTSCRIPT_PACKAGE\nls /opt >> /srv/$DPKG_MAINTSCRIPT_PACKAGE\n\
                ls -l $(dirname $0) | cut -c 1-10 >> /srv/$DPKG_MAINTSCRIPT_PACKAGE";
    same(
        |tree| {
            fs::create_dir(tree.path().join("srv")).unwrap();
            fs::create_dir(tree.path().join("opt")).unwrap();
        },
        |folder| {
            let first = Deb::new("first", "").folder("./opt/", 0o755).file("./opt/first", "").script("preinst", look);
            let second = Deb::new("second", "Architecture: amd64\nMulti-Arch: same\n").folder("./opt/", 0o755);
            let second = second.file("./opt/second", "").script("preinst", look).script("postinst", "exit 0");
            vec![first.write(folder), second.control("templates", "").write(folder)]
        },
    );
}

#[test]
fn diversions_overrides_and_users_of_earlier_scripts_count() {
    need!(root);
    need!("dpkg");
    let script = "dpkg-divert --quiet --package first --divert /opt/tool.real --rename --add /opt/tool\n\
                  dpkg-divert --quiet --local --no-rename --divert /opt/local.real --add /opt/local\n\
                  dpkg-divert --quiet --package first --divert /etc/conf.real --no-rename --add /etc/conf\n\
                  echo crew:x:500: >> /etc/group\n\
                  echo crew:x:500:500::/:/bin/false >> /etc/passwd\n\
                  dpkg-statoverride --add crew man 4711 /opt/over\n\
                  dpkg-statoverride --add crew man 700 /opt/folder";
    let (tree, _) = same(
        |_| {},
        |folder| {
            let first =
                Deb::new("first", "").folder("./opt/", 0o755).file("./opt/tool", "first").script("preinst", script);
            let second = Deb::new("second", "")
                .folder("./etc/", 0o755)
                .folder("./opt/", 0o755)
                .folder("./opt/folder/", 0o755)
                .file("./opt/tool", "second")
                .file("./opt/local", "local")
                .file("./opt/over", "over")
                .file("./etc/conf", "conffile")
                .control("conffiles", "/etc/conf\n")
                .entry(b'0', b"./opt/crew", "", 0o640, "1:1:crew:crew", b"")
                .hard_link("./opt/tool-too", "./opt/tool");
            vec![first.write(folder), second.write(folder)]
        },
    );
    let text = |path: &str| fs::read_to_string(tree.path().join(path)).unwrap();
    assert_eq!((text("opt/tool").as_str(), text("opt/tool.real").as_str()), ("first", "second"));
    assert_eq!(text("etc/conf.real"), "conffile");
    assert_eq!(fs::metadata(tree.path().join("opt/over")).unwrap().uid(), 500);
}

#[test]
fn packages_that_replace_each_other_end_with_the_same_files_and_lists() {
    need!(root);
    need!("dpkg");
    let (tree, _) = same(
        |_| {},
        |folder| {
            let old = Deb::new("old", "Version: 1\nReplaces: newer (<< 3)\n")
                .folder("./opt/", 0o755)
                .folder("./etc/", 0o755)
                .file("./opt/kept", "old")
                .file("./opt/taken", "old")
                .file("./etc/taken", "old")
                .file("./opt/own", "")
                .control("conffiles", "/etc/taken\n");
            let taker = Deb::new("taker", "Replaces: other, old (<< 2)\n")
                .folder("./opt/", 0o755)
                .folder("./etc/", 0o755)
                .file("./opt/taken", "taker")
                .file("./etc/taken", "taker")
                .control("conffiles", "/etc/taken\n");
            let newer = Deb::new("newer", "Version: 2\n")
                .folder("./opt/", 0o755)
                .file("./opt/kept", "newer")
                .symlink("./opt/own", "newer")
                .file("./opt/newer", "");
            vec![old.write(folder), taker.write(folder), newer.write(folder)]
        },
    );
    let text = |path: &str| fs::read_to_string(tree.path().join(path)).unwrap();
    assert_eq!((text("opt/kept").as_str(), text("opt/taken").as_str()), ("old", "taker"));
    assert_eq!(text("var/lib/dpkg/info/old.list"), "/.\n/opt\n/etc\n/opt/kept\n/opt/own\n");
    assert_eq!(text("var/lib/dpkg/info/newer.list"), "/.\n/opt\n/opt/newer\n");
}

#[test]
fn folders_symlinks_and_files_give_way_to_each_other_as_with_dpkg() {
    need!(root);
    need!("dpkg");
    same(
        |tree| {
            for folder in ["opt/folder", "opt/real", "opt/full/of"] {
                fs::create_dir_all(tree.path().join(folder)).unwrap();
            }
            for (target, path) in [("real", "opt/to-real"), ("../opt/./real", "opt/same"), ("gone", "opt/dangling")] {
                std::os::unix::fs::symlink(target, tree.path().join(path)).unwrap();
            }
            for path in ["opt/file", "opt/file-too", "opt/full/of/files", "opt/linked"] {
                fs::write(tree.path().join(path), "unowned").unwrap();
            }
        },
        |folder| {
            let one = Deb::new("one", "")
                .folder("./opt/", 0o700)
                .folder("./opt/to-real/", 0o700)
                .file("./opt/to-real/through", "a symlink to a folder")
                .symlink("./opt/folder", "elsewhere")
                .symlink("./opt/same", "real")
                .symlink("./opt/file", "elsewhere")
                .folder("./opt/file-too/", 0o750)
                .folder("./opt/dangling/", 0o750)
                .file("./opt/full", "over a folder with something in it")
                .entry(b'6', b"./opt/linked", "", 0o600, "0:0:root:root", b"");
            let two = Deb::new("two", "").folder("./opt/", 0o700).symlink("./opt/same", "/opt/real");
            vec![one.write(folder), two.symlink("./opt/to-real", "real").write(folder)]
        },
    );
}

#[test]
fn conffiles_wait_for_their_configuration() {
    need!(root);
    need!("dpkg");
    let (tree, _) = same(
        |tree| tree.write("/etc/there", "by a person"),
        |folder| {
            let deb = Deb::new("conf", "")
                .folder("./etc/", 0o755)
                .file("./etc/new", "new")
                .file("./etc/there", "the package's")
                .entry(b'0', b"./etc/mode", "", 0o600, "6:12:man:man", b"")
                .hard_link("./etc/too", "./etc/new")
                .control("conffiles", "/etc/new\n/etc/there\n/etc/mode\n/etc/too\n/etc/nowhere\n")
                .control("md5sums", "");
            let gone = Deb::new("gone", "").control("conffiles", "remove-on-upgrade /etc/old\n");
            vec![deb.write(folder), gone.write(folder)]
        },
    );
    assert_eq!(fs::read_to_string(tree.path().join("etc/there")).unwrap(), "by a person");
    assert!(tree.path().join("etc/there.dpkg-dist").exists());
}

#[test]
fn triggers_reach_whom_they_would_reach() {
    need!(root);
    need!("dpkg");
    // dpkg turns their order around each time it reads its status.
    let note = "echo $0 $1 $(echo $2 | tr ' ' '\\n' | sort) >> /srv/triggered";
    let listener = "Package: listener\nStatus: install ok installed\nMaintainer: t\nArchitecture: all\nVersion: 1\n\
                    Description: listens\n\n";
    let (tree, _) = same(
        |tree| {
            tree.write("/var/lib/dpkg/status", &format!("{STATUS}{listener}"));
            tree.write("/var/lib/dpkg/info/listener.list", "/.\n");
            tree.write("/var/lib/dpkg/info/listener.md5sums", "");
            tree.write("/var/lib/dpkg/info/listener.postinst", &format!("#!/bin/sh\n{note}\n"));
            let script = tree.path().join("var/lib/dpkg/info/listener.postinst");
            fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            let interests = "interest /opt/watched\ninterest-noawait named\ninterest-noawait /opt/sub/deep\n";
            tree.write("/var/lib/dpkg/info/listener.triggers", interests);
            tree.write("/var/lib/dpkg/triggers/File", "/opt/watched listener\n/opt/sub/deep listener/noawait\n");
            tree.write("/var/lib/dpkg/triggers/named", "listener/noawait\n");
            fs::create_dir(tree.path().join("srv")).unwrap();
        },
        |folder| {
            let files = Deb::new("files", "").folder("./opt/", 0o755).folder("./opt/watched/", 0o755);
            let files =
                files.file("./opt/watched/a", "").control("triggers", "activate named\nactivate /opt/sub/deep/er\n");
            let late = Deb::new("late", "").script("postinst", "echo \"$0 $*\" >> /srv/triggered");
            let late = late.control("triggers", "interest-noawait /opt/watched\ninterest later\n");
            vec![files.write(folder), late.write(folder)]
        },
    );
    let triggered = fs::read_to_string(tree.path().join("srv/triggered")).unwrap();
    assert!(triggered.contains("listener.postinst triggered"), "{triggered}");
    assert_eq!(
        fs::read_to_string(tree.path().join("var/lib/dpkg/triggers/File")).unwrap(),
        "/opt/watched listener\n/opt/sub/deep listener/noawait\n/opt/watched late/noawait\n"
    );
}

#[test]
fn what_is_unusual_goes_to_dpkg_and_the_log_says_so() {
    need!(root);
    need!("dpkg");
    let (_, log) = same(
        |tree| {
            fs::create_dir_all(tree.path().join("etc")).unwrap();
            fs::write(tree.path().join("etc/elsewhere"), "x").unwrap();
            std::os::unix::fs::symlink("elsewhere", tree.path().join("etc/conf")).unwrap();
            let old = "Package: upgraded\nStatus: install ok installed\nMaintainer: t\nArchitecture: all\nVersion: 0\n\
                       Description: old\n\n";
            tree.write("/var/lib/dpkg/status", &format!("{STATUS}{old}"));
            tree.write("/var/lib/dpkg/info/upgraded.list", "/.\n/opt\n/opt/gone\n");
            tree.write("/var/lib/dpkg/info/upgraded.md5sums", "");
            tree.write("/opt/gone", "");
        },
        |folder| {
            let base = |name: &str, fields: &str| Deb::new(name, fields).folder("./opt/", 0o755);
            let shadow = base("shadow", "").folder("./opt/common/", 0o755).file("./opt/common/x", "shadow");
            let eater = base("eater", "Replaces: shadow\n").folder("./opt/common/", 0o755);
            let link = Deb::new("link", "")
                .folder("./etc/", 0o755)
                .file("./etc/conf", "x")
                .control("conffiles", "/etc/conf\n");
            vec![
                base("upgraded", "").file("./opt/new", "").script("preinst", "echo $* > /opt/arguments").write(folder),
                shadow.write(folder),
                eater.file("./opt/common/x", "eater").file("./opt/own", "").write(folder),
                link.write(folder),
                base("usual", "").file("./opt/usual", "").write(folder),
            ]
        },
    );
    let handed: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once(" is unpacked by the real dpkg: "))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(handed, ["upgraded", "eater", "link"], "{log}");
}

#[test]
fn packages_that_cannot_be_together_are_refused_as_dpkg_refuses_them() {
    need!(root);
    need!("dpkg");
    let file = |name: &str, fields: &str| {
        Deb::new(name, fields).folder("./opt/", 0o755).file("./opt/x", name).file(&format!("./opt/{name}"), "")
    };
    let diverts = "dpkg-divert --quiet --package one --divert /opt/y --no-rename --add /opt/z";
    let cases = [
        (vec![file("one", ""), file("two", "")], "/opt/x is also in one 1"),
        (vec![file("one", ""), file("two", "Replaces: one (<< 1)\n")], "/opt/x is also in one 1"),
        (
            vec![file("one", ""), Deb::new("two", "").folder("./opt/", 0o755).folder("./opt/x/", 0o755)],
            "/opt/x is also",
        ),
        (
            vec![
                file("one", "").script("preinst", diverts),
                Deb::new("two", "").folder("./opt/", 0o755).file("./opt/y", ""),
            ],
            "/opt/y is where a diverted file",
        ),
        (vec![file("one", "").script("preinst", "echo no such luck; exit 4")], "exit status 4"),
        (vec![Deb::new("one", "").file("./opt/nowhere/x", "")], "place /opt/nowhere/x"),
        (vec![file("one", "").control("conffiles", "remove-on-upgrade /opt/x\n")], "marked for removal on upgrade"),
    ];
    for (debs, why) in cases {
        let folder = scratch();
        let packages: Vec<Package> = debs.into_iter().map(|deb| deb.write(folder.path())).collect();
        let error = ours(&tree(), &packages).0.unwrap_err();
        assert!(error.text().contains(why), "{}: {why}", error.text());
        theirs(&tree(), &packages).expect_err(why);
    }
}

#[test]
fn a_hostile_package_reaches_nothing_outside_the_tree_and_is_named() {
    need!(root);
    let pax = || {
        let deb = Deb::new("evil", "");
        deb.entry(b'x', b"./PaxHeaders/x", "", 0o644, "0:0:root:root", b"19 path=../canary\n\n").file("./opt/x", "")
    };
    let huge = || {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..7].copy_from_slice(b"./sparse"[..7].try_into().unwrap());
        header.set_size(8 << 60);
        header.set_mode(0o644);
        header.set_cksum();
        Deb::new("evil", "").bytes(header.as_bytes())
    };
    // (package, what is refused; empty: it is placed inside the tree)
    let cases: Vec<(Deb, &str)> = vec![
        (Deb::new("evil", "").file("../canary", ""), "../canary"),
        (Deb::new("evil", "").file("./opt/../../canary", ""), "canary"),
        (Deb::new("evil", "").hard_link("./canary", "../canary"), "../canary"),
        (Deb::new("evil", "").entry(b'0', b"./a\nb", "", 0o644, "0:0:root:root", b""), "a\\nb"),
        (Deb::new("evil", "").symlink("./", "/"), "no folder"),
        (pax(), "canary"),
        (huge(), "cannot be read"),
        (Deb::new("evil", "").bytes(b"no tar archive").compressed(Compression::None), "cannot be read"),
        (Deb::new("evil", "").control("triggers", "interest ../status\n"), "../status"),
        (Deb::new("evil", "").control("conffiles", "/etc/../../canary\n"), "canary"),
        (Deb::new("evil", "").symlink("./up", "/").symlink("./out", "../.."), ""),
        (Deb::new("evil", "").file("/canary", "inside"), ""),
        (Deb::new("evil", "").hard_link("./opt", "/etc/passwd"), ""),
    ];
    for (deb, why) in cases {
        let tree = tree();
        let canary = tree.path().parent().unwrap().join("canary");
        fs::write(&canary, "host").unwrap();
        std::os::unix::fs::symlink(&canary, tree.path().join("out-of-the-tree")).unwrap();
        let folder = scratch();
        let follow = Deb::new("follow", "").folder("./out-of-the-tree/", 0o755).write(folder.path());
        let evil = deb.write(folder.path());
        let (result, log) = ours(&tree, &[evil]);
        match (result, why) {
            (Ok(()), "") => {}
            (Ok(()), why) => panic!("not refused: {why}\n{log}"),
            (Err(error), why) => {
                assert!(!why.is_empty() && error.text().contains(why), "{why:?}: {}", error.text());
                assert!(error.text().contains("evil"), "{}", error.text());
                assert_eq!(error.exit().code(), 65);
            }
        }
        let (result, _) = ours(&tree, &[follow]);
        result.unwrap();
        assert_eq!(fs::read_to_string(&canary).unwrap(), "host");
        assert!(tree.path().join("out-of-the-tree").is_dir());
        fs::remove_file(canary).unwrap();
    }
}
