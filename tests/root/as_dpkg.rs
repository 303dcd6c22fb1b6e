//! Finer points of unpacking: dpkg's configuration in the tree, groups of folders, what other packages keep.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use crate::support::archives::Deb;
use crate::support::need;
use crate::unpack::{STATUS, same};

#[test]
fn what_dpkgs_configuration_leaves_out_is_left_out() {
    need!(root);
    need!("dpkg");
    let slim = "path-exclude=/opt/doc/*\npath-include=/opt/doc/*/copyright\npath-exclude /opt/[l-m]an\n";
    let (tree, log) = same(
        |tree| tree.write("/etc/dpkg/dpkg.cfg.d/slim", slim),
        |folder| {
            let deb = |name: &str| Deb::new(name, "").folder("./opt/", 0o755).folder("./opt/doc/", 0o755);
            let documented = deb("documented")
                .folder("./opt/doc/a/", 0o755)
                .folder("./opt/doc/a/deep/", 0o755)
                .file("./opt/doc/a/README", "long")
                .file("./opt/doc/a/copyright", "short")
                .symlink("./opt/doc/a/link", "README")
                .folder("./opt/man/", 0o755)
                .file("./opt/kept", "kept")
                .control("conffiles", "/opt/doc/a/README\n");
            vec![documented.write(folder), deb("other").file("./opt/doc/z", "").write(folder)]
        },
    );
    assert!(!log.contains("by the real dpkg"), "{log}");
    let names = |path: &str| {
        let entries = fs::read_dir(tree.path().join(path)).unwrap();
        let mut names: Vec<String> = entries.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(
        (names("opt"), names("opt/doc/a")),
        (vec!["doc".into(), "kept".into()], vec!["copyright".into(), "deep".into(), "link".into()])
    );
    let list = fs::read_to_string(tree.path().join("var/lib/dpkg/info/documented.list")).unwrap();
    assert!(list.contains("/opt/doc/a/README\n") && list.contains("/opt/man\n"), "{list}");
}

#[test]
fn what_only_dpkg_follows_of_its_configuration_goes_to_dpkg() {
    need!(root);
    need!("dpkg");
    let (tree, log) = same(
        |tree| tree.write("/etc/dpkg/dpkg.cfg", "no-debsig\nforce-overwrite\n"),
        |folder| {
            let deb = |name: &str| Deb::new(name, "").folder("./opt/", 0o755).file("./opt/x", name);
            vec![deb("one").file("./opt/one", "").write(folder), deb("two").write(folder)]
        },
    );
    assert!(log.contains("two is unpacked by the real dpkg: dpkg's configuration in the tree says `force-overwrite`"));
    assert_eq!(fs::read_to_string(tree.path().join("opt/x")).unwrap(), "two");
}

#[test]
fn a_folder_that_gives_its_group_away_gives_it_to_nothing_of_a_package() {
    need!(root);
    need!("dpkg");
    let (tree, _) = same(
        |tree| {
            fs::create_dir(tree.path().join("opt")).unwrap();
            chown(tree.path().join("opt"), Some(0), Some(12)).unwrap();
            fs::set_permissions(tree.path().join("opt"), PermissionsExt::from_mode(0o2775)).unwrap();
        },
        |folder| {
            let deb = Deb::new("guest", "").folder("./opt/", 0o755).folder("./opt/folder/", 0o755);
            let deb =
                deb.file("./opt/file", "").hard_link("./opt/file-too", "./opt/file").symlink("./opt/link", "file");
            vec![deb.entry(b'6', b"./opt/fifo", "", 0o620, "0:0:root:root", b"").write(folder)]
        },
    );
    for name in ["folder", "file", "link", "fifo"] {
        assert_eq!(fs::symlink_metadata(tree.path().join("opt").join(name)).unwrap().gid(), 0, "{name}");
    }
}

#[test]
fn what_another_package_keeps_is_in_no_list_of_the_package_that_brings_it_too() {
    need!(root);
    need!("dpkg");
    let (tree, log) = same(
        |_| {},
        |folder| {
            let deb = |name: &str, fields: &str| {
                let deb = Deb::new(name, fields).folder("./opt/", 0o755).folder("./etc/", 0o755);
                deb.file("./opt/kept", name).file("./etc/kept", name).file(&format!("./opt/{name}"), "")
            };
            let later = deb("later", "").hard_link("./opt/kept-too", "./opt/kept").control("conffiles", "/etc/kept\n");
            vec![deb("keeper", "Replaces: later\n").write(folder), later.write(folder)]
        },
    );
    assert!(!log.contains("by the real dpkg"), "{log}");
    let sums = fs::read_to_string(tree.path().join("var/lib/dpkg/info/later.md5sums")).unwrap();
    assert!(sums.ends_with("  opt/later\n") && sums.lines().count() == 1, "{sums}");
}

#[test]
fn what_breaks_an_older_package_of_the_tree_has_it_deconfigured_until_it_is_upgraded() {
    need!(root);
    need!("dpkg");
    let note = "#!/bin/sh\necho $DPKG_MAINTSCRIPT_PACKAGE $DPKG_MAINTSCRIPT_NAME $* >>/srv/called\n";
    let (tree, log) = same(
        |tree| {
            let mut status = STATUS.to_string();
            for name in ["breaker", "first", "second"] {
                let fields =
                    "Status: install ok installed\nMaintainer: t\nArchitecture: all\nVersion: 1\nDescription: old";
                status += &format!("Package: {name}\n{fields}\n\n");
                tree.write(&format!("/var/lib/dpkg/info/{name}.list"), &format!("/.\n/opt\n/opt/{name}\n"));
                tree.write(&format!("/var/lib/dpkg/info/{name}.md5sums"), "");
                tree.write(&format!("/opt/{name}"), "");
                let script = format!("/var/lib/dpkg/info/{name}.prerm");
                tree.write(&script, note);
                fs::set_permissions(tree.path().join(&script[1..]), PermissionsExt::from_mode(0o755)).unwrap();
            }
            tree.write("/var/lib/dpkg/status", &status);
            fs::create_dir(tree.path().join("srv")).unwrap();
        },
        |folder| {
            let deb = |name: &str, fields: &str| {
                let deb = Deb::new(name, fields).folder("./opt/", 0o755).file(&format!("./opt/{name}"), name);
                deb.script("postinst", "echo $DPKG_MAINTSCRIPT_PACKAGE configured $* >>/srv/called").write(folder)
            };
            vec![
                deb("breaker", "Version: 2\nBreaks: first (<< 2)\n"),
                deb("newcomer", "Breaks: breaker (<< 2), second (<< 2)\n"),
                deb("first", "Version: 2\n"),
                deb("second", "Version: 2\n"),
                deb("unconcerned", "Breaks: first (<< 2)\nConflicts: second (<< 2), unconcerned\n"),
            ]
        },
    );
    let called = fs::read_to_string(tree.path().join("srv/called")).unwrap();
    assert!(called.contains("first prerm deconfigure in-favour breaker 2"), "{called}");
    assert!(called.contains("second prerm deconfigure in-favour newcomer 1"), "{called}");
    assert!(log.contains("newcomer is unpacked by the real dpkg: it cannot be beside the second 1"), "{log}");
    assert!(!log.contains("unconcerned is unpacked by the real dpkg"), "{log}");
}

#[test]
fn one_package_of_two_architectures_shares_its_files() {
    need!(root);
    need!("dpkg");
    let (tree, log) = same(
        |tree| tree.write("/var/lib/dpkg/arch", "amd64\ni386\n"),
        |folder| {
            let deb = |arch: &str| {
                let fields = format!("Architecture: {arch}\nMulti-Arch: same\n");
                let deb = Deb::new("shared", &fields).folder("./opt/", 0o755).folder("./etc/", 0o755);
                let deb = deb.file("./opt/doc", "the same").file("./etc/shared", "the same");
                let deb = deb.file(&format!("./opt/{arch}"), arch).control("conffiles", "/etc/shared\n");
                deb.control("triggers", "interest-noawait /opt\n").script("postinst", "exit 0").write(folder)
            };
            let alone = Deb::new("alone", "Architecture: i386\nReplaces: shared\n").folder("./opt/", 0o755);
            let data = |arch: &str| {
                let deb =
                    Deb::new("data", &format!("Architecture: {arch}\nMulti-Arch: same\n")).folder("./opt/", 0o755);
                deb.file("./opt/data", "the same").write(folder)
            };
            let alone = alone.file("./opt/doc", "alone").write(folder);
            vec![data("amd64"), data("i386"), deb("amd64"), deb("i386"), alone]
        },
    );
    let handed: Vec<&str> = log.lines().filter(|line| line.contains("by the real dpkg")).collect();
    let why = "is unpacked by the real dpkg: it is in the tree for another architecture";
    assert_eq!(handed, [format!("data:i386 {why}"), format!("shared:i386 {why}")]);
    assert_eq!(
        tree.says("dpkg-query -W -f '${binary:Package} ' data shared"),
        "data:amd64 data:i386 shared:amd64 shared:i386"
    );
}
