//! What a description makes of a tree: overlays, archives, files, users, regional settings.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use ingot::error::{Exit, Result};
use ingot::plan::{Overlay, Plan};
use ingot::report::Reporter;
use ingot::root::{self, RootPath};

use crate::support::{need, scratch};
use crate::tree::{Tree, plan};

const EPOCH: i64 = 1_700_000_000;

fn configure(plan: &Plan, tree: &Tree) -> Result<BTreeSet<RootPath>> {
    root::configure(plan, &tree.tree(), &tree.sandbox(), EPOCH, &Reporter::silent())
}

fn overlay(folder: &Path) -> std::path::PathBuf {
    let root = folder.join("root");
    std::fs::create_dir_all(&root).unwrap();
    root
}

#[test]
fn an_overlay_keeps_names_modes_times_links_and_attributes_and_belongs_to_root() {
    need!(root);
    need!("setfattr", "setfacl");
    let (folder, tree) = (scratch(), Tree::new());
    let source = overlay(folder.path());
    let odd = source.join(OsStr::from_bytes(b"etc/odd \n\xff name"));
    std::fs::create_dir_all(source.join("etc/new")).unwrap();
    std::fs::write(&odd, "odd").unwrap();
    std::fs::write(source.join("etc/new/script"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(source.join("etc/new/script"), PermissionsExt::from_mode(0o4751)).unwrap();
    std::fs::hard_link(source.join("etc/new/script"), source.join("etc/new/linked")).unwrap();
    symlink("/no/where", source.join("etc/dangling")).unwrap();
    std::os::unix::fs::chown(&odd, Some(1234), Some(1234)).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        assert!(Command::new(program).args(arguments).arg(&odd).status().unwrap().success());
    };
    run("setfattr", &["-n", "user.note", "-v", "kept"]);
    run("setfattr", &["-n", "trusted.note", "-v", "dropped"]);
    run("setfacl", &["-m", "u:7:rw"]);
    run("touch", &["-d", "@1600000000"]);
    let holes = std::fs::File::create(source.join("etc/holes")).unwrap();
    holes.set_len(64 << 20).unwrap();

    let described = configure(&plan(folder.path(), ""), &tree).unwrap();
    let tree = tree.tree();
    let entry = |path: &[u8]| tree.entry(&RootPath::new(path)).unwrap().unwrap();
    let odd = entry(b"/etc/odd \n\xff name");
    assert_eq!((odd.uid, odd.gid, odd.mtime), (0, 0, 1_600_000_000));
    let attributes: Vec<_> = tree.xattrs(&odd.path).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(attributes, [b"system.posix_acl_access".to_vec(), b"user.note".to_vec()]);
    let (script, linked) = (entry(b"/etc/new/script"), entry(b"/etc/new/linked"));
    assert_eq!((script.mode, script.inode, script.links), (0o4751, linked.inode, 2));
    assert_eq!(entry(b"/etc/dangling").kind, ingot::root::tree::Kind::Symlink(b"/no/where".to_vec()));
    assert_eq!(entry(b"/etc/holes").size.0, 64 << 20);
    assert!(std::fs::metadata(tree.host_path().join("etc/holes")).unwrap().blocks() < 16);
    assert!(described.contains(&RootPath::new(b"/etc/odd \n\xff name")));
}

#[test]
fn an_overlay_merges_into_symlinked_folders_and_never_leaves_the_tree() {
    need!(root);
    let (folder, tree) = (scratch(), Tree::new());
    let source = overlay(folder.path());
    for path in ["lib/systemd/unit", "libx32/new", "out/canary", "tmp/file", "root/.profile", "etc/replaced"] {
        std::fs::create_dir_all(source.join(path).parent().unwrap()).unwrap();
        std::fs::write(source.join(path), "overlay").unwrap();
    }
    std::fs::set_permissions(source.join("root"), PermissionsExt::from_mode(0o777)).unwrap();
    let canary = scratch();
    std::fs::write(canary.path().join("canary"), "host").unwrap();
    // In the tree: a merged /usr, a symlink out, a file that leads out, modes that matter.
    std::fs::remove_file(tree.path().join("lib")).unwrap();
    std::fs::create_dir_all(tree.path().join("usr/lib")).unwrap();
    symlink("usr/lib", tree.path().join("lib")).unwrap();
    symlink("usr/libx32", tree.path().join("libx32")).unwrap();
    symlink(canary.path(), tree.path().join("out")).unwrap();
    symlink(canary.path().join("canary"), tree.path().join("etc/replaced")).unwrap();
    std::fs::set_permissions(tree.path().join("root"), PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::set_permissions(tree.path().join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();

    configure(&plan(folder.path(), ""), &tree).unwrap();
    assert_eq!(std::fs::read(canary.path().join("canary")).unwrap(), b"host");
    assert_eq!(std::fs::read_link(tree.path().join("lib")).unwrap(), Path::new("usr/lib"));
    for path in ["usr/lib/systemd/unit", "usr/libx32/new", "etc/replaced"] {
        assert_eq!(std::fs::read(tree.path().join(path)).unwrap(), b"overlay", "{path}");
    }
    assert!(std::fs::symlink_metadata(tree.path().join("etc/replaced")).unwrap().is_file());
    let mode = |path: &str| std::fs::metadata(tree.path().join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("root"), mode("tmp")), (0o700, 0o1777));
}

#[test]
fn a_file_over_a_folder_with_something_in_it_is_refused() {
    need!(root);
    let (folder, tree) = (scratch(), Tree::new());
    tree.write("/etc/app/file", "x");
    std::fs::create_dir_all(overlay(folder.path()).join("etc")).unwrap();
    std::fs::write(folder.path().join("root/etc/app"), "file").unwrap();
    let error = configure(&plan(folder.path(), ""), &tree).unwrap_err();
    assert_eq!(error.exit(), Exit::Description);
    assert!(error.text().contains("a folder with something in it stands there"), "{}", error.text());
}

#[test]
fn tarballs_of_every_compression_are_overlays_and_archives() {
    need!(root);
    need!("tar", "xz", "zstd", "gzip");
    for (compress, name) in
        [("--no-auto-compress", "root.tar"), ("-z", "root.tar.gz"), ("-J", "root.tar.xz"), ("--zstd", "root.tar.zst")]
    {
        let (folder, tree) = (scratch(), Tree::new());
        let content = folder.path().join("content");
        std::fs::set_permissions(tree.path(), PermissionsExt::from_mode(0o711)).unwrap();
        std::fs::create_dir_all(content.join("etc/app")).unwrap();
        std::fs::write(content.join("etc/app/setting"), name).unwrap();
        std::fs::set_permissions(&content, PermissionsExt::from_mode(0o700)).unwrap();
        let pack = |path: &Path, owner: &str| {
            let mut tar = Command::new("tar");
            tar.arg("-c").arg(compress).arg("-f").arg(path).arg(format!("--owner={owner}")).arg("--group=1234");
            assert!(tar.arg("-C").arg(&content).arg(".").status().unwrap().success());
        };
        pack(&folder.path().join(name), "1234");
        pack(&folder.path().join("archive"), "5678");
        let mut plan = plan(folder.path(), "");
        plan.root.archives = vec![ingot::plan::Archive {
            path: folder.path().join("archive"),
            target: "/opt/new".into(),
            place: ingot::error::Place { file: "config.xml".into(), line: 1, column: 1 },
        }];
        assert!(matches!(plan.root.overlays.as_slice(), [Overlay::Tarball(_)]), "{name}");
        configure(&plan, &tree).unwrap();
        assert_eq!(tree.listing("/etc/app"), format!("755 0:0 /etc/app\n644 0:0 /etc/app/setting {name:?}\n"));
        let owner = tree.tree().entry(&"/opt/new/etc/app/setting".into()).unwrap().unwrap();
        assert_eq!((owner.uid, owner.gid), (5678, 1234));
        assert_eq!(std::fs::metadata(tree.path()).unwrap().mode() & 0o7777, 0o711, "`/` keeps its mode");
    }
}

const USERS: &str = r#"<users>
    <user name="root" groups="root" password="$6$salt$hash" home="/root"/>
    <user name="alice" groups="wheel,docker:999" password="secret" pwdformat="plain" shell="/bin/sh" realname="Alice A"/>
    <user name="app" password="*" id="500" home="/srv/app"/>
  </users>"#;

fn tree_with_accounts() -> Tree {
    let tree = Tree::new();
    tree.write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n");
    tree.write("/etc/group", "root:x:0:\nshadow:x:42:\nwheel:x:10:\n");
    tree.write("/etc/shadow", "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n");
    tree.write("/etc/gshadow", "root:*::\nshadow:*::\nwheel:*::\n");
    tree.write("/etc/skel/.bashrc", "skeleton\n");
    tree.write("/srv/app/data", "from an overlay\n");
    tree
}

#[test]
fn users_get_fixed_ids_dates_and_salts_and_their_homes() {
    need!(root);
    let (folder, tree) = (scratch(), tree_with_accounts());
    let plan = plan(folder.path(), USERS);
    configure(&plan, &tree).unwrap();
    let read = |path: &str| String::from_utf8(tree.tree().read(&path.into()).unwrap()).unwrap();
    assert_eq!(
        read("/etc/passwd"),
        "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
         alice:x:1000:10:Alice A:/home/alice:/bin/sh\napp:x:500:500::/srv/app:/bin/sh\n"
    );
    assert_eq!(read("/etc/group"), "root:x:0:\nshadow:x:42:\nwheel:x:10:\ndocker:x:999:alice\napp:x:500:\n");
    let shadow = read("/etc/shadow");
    let lines: Vec<&str> = shadow.lines().collect();
    assert_eq!((lines[0], lines[1]), ("root:$6$salt$hash:19675:0:99999:7:::", "daemon:*:19000:0:99999:7:::"));
    let hash = lines[2].split(':').nth(1).unwrap();
    assert!(hash.starts_with("$6$"), "{hash}");
    // A foreign reader: perl's crypt(3).
    if let Some(perl) = crate::support::program("perl") {
        let output =
            Command::new(perl).args(["-e", "print crypt($ARGV[0], $ARGV[1])", "secret", hash]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), hash);
    }
    assert_eq!(
        tree.listing("/home/alice"),
        "755 1000:10 /home/alice\n644 1000:10 /home/alice/.bashrc \"skeleton\\n\"\n"
    );
    assert_eq!(tree.listing("/srv/app"), "755 500:500 /srv/app\n644 500:500 /srv/app/data \"from an overlay\\n\"\n");

    // Once more, from the same: the same bytes. And over the result: nothing changes.
    let again = tree_with_accounts();
    configure(&plan, &again).unwrap();
    assert_eq!(again.listing("/etc"), tree.listing("/etc"));
    let before = tree.listing("/etc");
    configure(&plan, &tree).unwrap();
    assert_eq!(tree.listing("/etc"), before);
}

#[test]
fn an_image_without_accounts_gets_them() {
    need!(root);
    let (folder, tree) = (scratch(), Tree::new());
    configure(&plan(folder.path(), r#"<users><user name="app" password="*" id="500"/></users>"#), &tree).unwrap();
    let read = |path: &str| String::from_utf8(tree.tree().read(&path.into()).unwrap()).unwrap();
    assert_eq!(read("/etc/passwd"), "app:x:500:500::/home/app:/bin/sh\n");
    assert_eq!(read("/etc/shadow"), "app:*:19675:0:99999:7:::\n");
    assert!(tree.listing("/etc/shadow").starts_with("640 0:0"));
}

#[test]
fn a_home_in_the_system_keeps_its_owner() {
    need!(root);
    let (folder, tree) = (scratch(), Tree::new());
    configure(&plan(folder.path(), r#"<users><user name="app" password="*" home="/"/></users>"#), &tree).unwrap();
    assert_eq!(std::fs::metadata(tree.path().join("etc")).unwrap().uid(), 0);
}

#[test]
fn locale_keytable_and_timezone_reach_the_files_that_systems_read() {
    need!(root);
    let (folder, tree) = (scratch(), Tree::new());
    tree.write("/etc/debian_version", "12\n");
    tree.write("/etc/default/keyboard", "XKBLAYOUT=\"us\"\n");
    let mut plan = plan(folder.path(), "");
    (plan.root.locale, plan.root.keytable) = (Some("C".into()), Some("de-latin1-nodeadkeys".into()));
    plan.root.timezone = Some("Europe/Berlin".into());
    configure(&plan, &tree).unwrap();
    assert_eq!(tree.listing("/etc/locale.conf"), "644 0:0 /etc/locale.conf \"LANG=C\\n\"\n");
    assert_eq!(tree.listing("/etc/localtime"), "777 0:0 /etc/localtime -> /usr/share/zoneinfo/Europe/Berlin\n");
    assert_eq!(tree.listing("/etc/timezone"), "644 0:0 /etc/timezone \"Europe/Berlin\\n\"\n");
    let keyboard = String::from_utf8(tree.tree().read(&"/etc/default/keyboard".into()).unwrap()).unwrap();
    assert_eq!(keyboard, "XKBLAYOUT=\"de\"\nXKBVARIANT=\"nodeadkeys\"\n");
}

#[test]
fn a_file_lands_with_owner_and_mode_at_its_target() {
    need!(root);
    let (folder, tree) = (scratch(), tree_with_accounts());
    std::fs::write(folder.path().join("setting"), "text\n").unwrap();
    let mut plan = plan(folder.path(), USERS);
    let place = ingot::error::Place { file: "config.xml".into(), line: 7, column: 3 };
    let file = |target: &str, owner: Option<&str>, mode: Option<u32>| ingot::plan::File {
        path: folder.path().join("setting"),
        target: target.into(),
        owner: owner.map(str::to_string),
        mode,
        place: place.clone(),
    };
    plan.root.files = vec![file("/etc/app/", Some("alice:docker"), Some(0o640)), file("/etc/name", None, None)];
    configure(&plan, &tree).unwrap();
    assert_eq!(tree.listing("/etc/app"), "755 0:0 /etc/app\n640 1000:999 /etc/app/setting \"text\\n\"\n");
    assert_eq!(tree.listing("/etc/name"), "644 0:0 /etc/name \"text\\n\"\n");
    plan.root.files = vec![file("/etc/x", Some("nobody-at-all"), None)];
    let error = configure(&plan, &tree).unwrap_err();
    assert_eq!(error.exit(), Exit::Description);
    assert!(error.text().contains("where: config.xml:7:3"), "{}", error.text());
}
