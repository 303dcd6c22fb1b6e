//! Trees that stay as they are, with their changes kept apart: what is seen is one filesystem like any other.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;

use ingot::host::file;
use ingot::report::Reporter;
use ingot::root::known::{Ground, Notes};
use ingot::root::tree::{Kind, RootPath, RootTree};
use ingot::root::{Workspace, WorkspaceKind};

use crate::support::image::{Bench, Description, digests};
use crate::support::leaks::Host;
use crate::support::{alone, need, scratch, together};

/// A value of `security.capability` (linux/capability.h): cap_net_raw, permitted and effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A workspace whose tree has a bit of everything.
fn workspace(parent: &Path) -> Workspace {
    let mut workspace = Workspace::create(parent, WorkspaceKind::Loop).unwrap();
    workspace.lay_out(&Reporter::silent()).unwrap();
    let tree = workspace.tree().unwrap();
    tree.set_mode(&RootPath::root(), 0o711).unwrap();
    tree.set_mtime(&RootPath::root(), 1_600_000_000).unwrap();
    for name in ["/usr/one", "/usr/lib/deep/two", "/usr/lib/three", "/etc/four"] {
        tree.write(&name.into(), format!("content of {name}"), 0o644).unwrap();
    }
    tree.hard_link(&"/usr/one".into(), &"/usr/uno".into()).unwrap();
    tree.hard_link(&"/usr/one".into(), &"/etc/ein".into()).unwrap();
    tree.set_xattr(&"/usr/lib/three".into(), b"security.capability", &CAPABILITY).unwrap();
    tree.symlink("lib/three", &"/usr/link".into()).unwrap();
    tree.make_node(&"/usr/pipe".into(), &Kind::Fifo, 0o600).unwrap();
    tree.make_node(&"/usr/null".into(), &Kind::CharDevice { major: 1, minor: 3 }, 0o666).unwrap();
    let sparse = tree.create_file(&"/usr/sparse".into(), 0o644).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(b"x", 32 << 20).unwrap();
    drop(tree);
    workspace
}

/// Everything about a tree that an image has of it.
fn seen(tree: &RootTree) -> Vec<String> {
    let entries = tree.walk(&RootPath::root()).unwrap();
    let line = |entry: &ingot::root::tree::Entry| {
        let content =
            if entry.is_file() && entry.size.0 < 1 << 20 { tree.read(&entry.path).unwrap() } else { Vec::new() };
        let links = if entry.is_folder() { 0 } else { entry.links };
        let xattrs = tree.xattrs(&entry.path).unwrap();
        let content = String::from_utf8_lossy(&content).into_owned();
        format!("{} {:?} {:o} {links} {} {xattrs:?} {content}", entry.path, entry.kind, entry.mode, entry.mtime)
    };
    entries.iter().map(line).collect()
}

#[test]
fn a_covered_tree_is_seen_as_before_and_changes_as_one_filesystem() {
    need!(root);
    need!("mke2fs");
    let _turn = alone();
    let (parent, before) = (scratch(), Host::look(&[]));
    let mut workspace = workspace(parent.path());
    let plain = seen(&workspace.tree().unwrap());
    assert!(workspace.cover(&Reporter::silent()).unwrap());
    let tree = workspace.tree().unwrap();
    assert_eq!(seen(&tree), plain);
    let inode = |path: &str| tree.entry(&path.into()).unwrap().unwrap().inode;
    assert_eq!(inode("/").0, inode("/usr/lib/deep/two").0);
    // A change of one name is seen under the others.
    tree.write(&"/usr/uno".into(), "changed", 0o644).unwrap();
    assert_eq!(tree.read(&"/etc/ein".into()).unwrap(), b"changed");
    assert_eq!((inode("/usr/one"), inode("/usr/one")), (inode("/etc/ein"), inode("/usr/uno")));
    tree.remove(&"/etc/ein".into()).unwrap();
    assert_eq!(tree.entry(&"/usr/one".into()).unwrap().unwrap().links, 2);
    // A folder of the tree below gets another name, and keeps what is in it.
    tree.rename(&"/usr/lib".into(), &"/usr/library".into()).unwrap();
    assert_eq!(tree.read(&"/usr/library/deep/two".into()).unwrap(), b"content of /usr/lib/deep/two");
    assert_eq!(tree.names(&"/usr/lib".into()).unwrap().len(), 0);
    // What changes beside the content takes the rest along.
    tree.set_mode(&"/usr/library/three".into(), 0o750).unwrap();
    let capability = (b"security.capability".to_vec(), CAPABILITY.to_vec());
    assert_eq!(tree.xattrs(&"/usr/library/three".into()).unwrap(), std::slice::from_ref(&capability));
    tree.set_xattr(&"/usr/library/deep/two".into(), b"security.capability", &CAPABILITY).unwrap();
    assert_eq!(tree.xattrs(&"/usr/library/deep/two".into()).unwrap(), [capability]);
    tree.set_mtime(&"/usr/sparse".into(), 1_500_000_000).unwrap();
    let blocks = file::metadata(&tree.host_path().join("usr/sparse")).unwrap().blocks();
    assert!(blocks * 512 < 4 << 20, "holes were filled: {blocks} blocks");
    for kind in [Kind::Fifo, Kind::Socket, Kind::CharDevice { major: 1, minor: 3 }] {
        tree.make_node(&"/etc/node".into(), &kind, 0o600).unwrap();
        assert_eq!(tree.entry(&"/etc/node".into()).unwrap().unwrap().kind, kind);
        tree.remove(&"/etc/node".into()).unwrap();
    }
    // What is gone may come back, as something else.
    tree.remove(&"/usr/link".into()).unwrap();
    tree.create_folders(&"/usr/link".into(), 0o755).unwrap();
    let after = seen(&tree);
    assert!(!after.iter().any(|line| line.contains("overlay")), "{after:#?}");
    drop(tree);
    workspace.close().unwrap();
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    before.assert_nothing_left(&[parent.path()]);
}

#[test]
fn several_views_of_a_tree_and_a_later_one_know_nothing_of_each_other() {
    need!(root);
    need!("mke2fs");
    let _turn = alone();
    let (parent, before) = (scratch(), Host::look(&[]));
    let mut workspace = workspace(parent.path());
    let plain = seen(&workspace.tree().unwrap());
    assert!(workspace.cover(&Reporter::silent()).unwrap());
    let no_copy = |_: &std::fs::File, _: &std::fs::File, _| unreachable!("nothing is copied");
    let branch = workspace.branch(&Reporter::silent(), no_copy).unwrap();
    workspace.tree().unwrap().write(&"/etc/four".into(), "here", 0o644).unwrap();
    branch.tree().unwrap().remove(&"/etc".into()).unwrap();
    assert_eq!(workspace.tree().unwrap().read(&"/etc/four".into()).unwrap(), b"here");
    // What is kept is the tree below, while it is in use.
    let kept = parent.path().join("kept");
    let (send, receive) = std::sync::mpsc::channel();
    let to = kept.clone();
    assert!(workspace.aside(move |image| {
        let (image, length) = image.expect("nobody writes to it");
        file::rename(image, &to).unwrap();
        send.send(length).unwrap();
    }));
    let length = receive.recv().unwrap();
    // With its changes, it is copied.
    let other = workspace.branch(&Reporter::silent(), no_copy).unwrap();
    assert_eq!(other.tree().unwrap().read(&"/etc/four".into()).unwrap(), b"here");
    other.close().unwrap();
    branch.close().unwrap();
    let mut later = Workspace::create(parent.path(), WorkspaceKind::Loop).unwrap();
    let image = file::open(&kept).unwrap();
    std::fs::remove_file(&kept).unwrap();
    assert!(later.show(&image, length, &Reporter::silent()).unwrap());
    assert_eq!(seen(&later.tree().unwrap()), plain);
    later.tree().unwrap().remove(&"/usr".into()).unwrap();
    assert!(!later.aside(|_| unreachable!("the image is somebody else's")));
    let mut last = Workspace::create(parent.path(), WorkspaceKind::Loop).unwrap();
    assert!(last.show(&image, length, &Reporter::silent()).unwrap());
    assert_eq!(seen(&last.tree().unwrap()), plain);
    for workspace in [workspace, later, last] {
        workspace.close().unwrap();
    }
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    before.assert_nothing_left(&[parent.path()]);
}

#[test]
fn what_is_known_of_a_file_holds_until_it_changes_under_any_name() {
    need!(root);
    need!("mke2fs");
    let _turn = alone();
    let parent = scratch();
    let mut workspace = workspace(parent.path());
    assert!(workspace.cover(&Reporter::silent()).unwrap());
    let known = |tree: &RootTree| -> Vec<String> {
        let (unchanged, entries) = (tree.unchanged().unwrap(), tree.walk(&RootPath::root()).unwrap());
        let clean = entries.iter().filter(|entry| unchanged.is_clean(entry));
        clean.map(|entry| format!("{} {}", entry.path, unchanged.digest(entry).unwrap())).collect()
    };
    let named = Ground::new(OnceLock::from("ground".to_owned()));
    let first = workspace.tree_knowing(&named, Notes::default()).unwrap();
    assert_eq!((known(&first), first.learned().unwrap()), (Vec::new(), None));
    first.write(&"/etc/new".into(), "", 0o644).unwrap();
    first.set_mode(&"/usr/sparse".into(), 0o600).unwrap();
    let unchanged = first.unchanged().unwrap();
    for entry in first.walk(&RootPath::root()).unwrap() {
        unchanged.learn_clean(&entry);
        unchanged.learn_digest(&entry, "digest");
    }
    let (ground, notes) = first.learned().unwrap().unwrap();
    assert_eq!(ground.get().unwrap(), "ground");
    let again = |notes: &Notes| workspace.tree_knowing(&named, notes.clone()).unwrap();
    // Not what has several names, what is new, what was changed in any way, what is no file.
    let all = ["/etc/four digest", "/usr/lib/deep/two digest", "/usr/lib/three digest"];
    assert_eq!(known(&again(&notes)), all);
    let tree = again(&notes);
    tree.rename(&"/usr/lib".into(), &"/usr/library".into()).unwrap();
    assert_eq!(known(&tree), ["/etc/four digest", "/usr/library/deep/two digest", "/usr/library/three digest"]);
    tree.hard_link(&"/usr/library/three".into(), &"/etc/three".into()).unwrap();
    tree.remove(&"/usr/library/three".into()).unwrap();
    assert_eq!(known(&tree), ["/etc/four digest", "/usr/library/deep/two digest"]);
    tree.write(&"/etc/four".into(), "changed", 0o644).unwrap();
    tree.rename(&"/etc/four".into(), &"/etc/vier".into()).unwrap();
    tree.rename(&"/usr/library/deep/two".into(), &"/etc/four".into()).unwrap();
    tree.write(&"/etc/four".into(), "changed", 0o644).unwrap();
    assert_eq!(known(&tree), Vec::<String>::new());
    assert_eq!(tree.learned().unwrap(), None);
    drop((first, tree));
    workspace.close().unwrap();
}

/// Does to the tree what a filesystem of layers could do otherwise than a plain one.
const SCRIPT: &str = "set -e\n\
    . /.profile\n\
    # In the order that folders have.\n\
    find /usr /etc /var -xdev >/opt/listed\n\
    mv /usr/share/doc /opt/doc\n\
    echo new >/opt/doc/new\n\
    ln /usr/bin/tiny-app /opt/linked\n\
    echo '# changed' >>/opt/linked\n\
    tail -n 1 /usr/bin/tiny-app >/opt/last\n\
    find / -xdev -type f -links +1 -printf '%p %n\\n' | sort >/opt/links\n\
    chmod 700 /usr/bin/tiny-setuid\n\
    mkfifo /opt/pipe\n\
    rm -r /usr/share/man\n\
    mkdir /usr/share/man\n\
    touch -d @1600000000 /usr/share/man\n\
    stat -c '%n %s %Y' /etc/* >/opt/times\n\
    echo \"$kiwi_type\" >/opt/type\n";

#[test]
fn an_image_is_the_same_bytes_however_its_packages_came_to_be_there() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let container = "<type image=\"docker\"><containerconfig name=\"tiny\"/></type>";
    let described = |motd: &str| {
        let disk = bench.disk().edit("</oemconfig></type>", &format!("</oemconfig></type>{container}"));
        disk.file("root/etc/motd", motd).script("config.sh", SCRIPT)
    };
    let build = |description: &Description, target: &str, types: &[&str], more: &[&str]| {
        let ingot = bench.build_into(description, target).args(["--explain-cache"]).args(more);
        let answer = types.iter().fold(ingot, |ingot, kind| ingot.args(["--type", kind])).run().expect(0);
        (answer, digests(&bench.path(target)))
    };
    build(&described("one\n"), "first", &["oem", "docker"], &[]);
    // The second of them knows more of the stage's files than the first.
    for motd in ["two\n", "three\n"] {
        let description = described(motd);
        let (answer, both) = build(&description, "both", &["oem", "docker"], &[]);
        answer.says(&["installed: reused"]);
        for (kind, end) in [("oem", ".qcow2"), ("docker", ".docker.tar")] {
            let name = format!("tiny.x86_64-1.2.3{end}");
            let (answer, reused) = build(&description, &format!("reused {kind}"), &[kind], &[]);
            answer.says(&["installed: reused"]);
            let (_, cold) = build(&description, &format!("cold {kind}"), &[kind], &["--no-stage-cache"]);
            assert_eq!((&reused[&name], &both[&name]), (&cold[&name], &cold[&name]), "{name}");
        }
    }
}

#[test]
fn what_a_script_does_to_a_file_of_a_known_stage_is_seen_by_the_audit() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let key = "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v\\n/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\\n";
    let key = format!("{key}{}\\n-----END PRIVATE KEY-----\\n", "A".repeat(64));
    let build = |script: &str| {
        let description = bench.container().script("config.sh", script);
        bench.build(&description).args(["--explain-cache", "--verbose"]).run()
    };
    build("true").expect(0);
    for script in ["true; true", "true; true; true"] {
        build(script).expect(0).says(&["installed: reused"]);
    }
    let table = [
        ("printf -- 'KEY' >>/usr/share/doc/tiny-app/copyright", "Note private-keys /usr/share/doc/tiny-app/copyright"),
        ("ln /usr/bin/tiny-app /opt/x; printf -- 'KEY' >>/opt/x; rm /opt/x", "Note private-keys /usr/bin/tiny-app"),
        ("cd /opt; mv /usr/share/doc doc; printf -- 'KEY' >doc/tiny-app/copyright", "Leftover private-keys /opt/doc"),
    ];
    for (script, said) in table {
        let answer = build(&script.replace("KEY", &key));
        answer.expect_one_of(&[0, 65]).says(&["installed: reused", said]);
    }
}

#[test]
fn a_tree_that_cannot_be_covered_is_copied() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    // The device that means "nothing" to a filesystem of layers.
    let build = |motd: &str, target: &str, more: &[&str]| {
        let description = bench.container().file("root/etc/motd", motd);
        let description = description.script("post_bootstrap.sh", "mknod /opt/none c 0 0");
        let description = description.script("config.sh", "test -c /opt/none; rm /opt/none; cat /etc/motd >/etc/seen");
        bench.build_into(&description, target).args(["--explain-cache", "--verbose"]).args(more).run().expect(0)
    };
    let said = "the tree does not lie under its changes: /opt/none would not be seen";
    build("one\n", "first", &[]).says(&[said, "installed kept"]);
    build("two\n", "second", &[]).says(&["installed: reused"]);
    build("two\n", "cold", &["--no-stage-cache"]).says(&[said]);
    assert_eq!(digests(&bench.path("second")), digests(&bench.path("cold")));
    assert_ne!(digests(&bench.path("second")), digests(&bench.path("first")));
}
