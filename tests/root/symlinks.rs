//! A symlink in an overlay or in the tree that points outside stays inside: nothing of the host is read or written.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::image::{Bench, Description, result, unpack_docker};
use crate::support::{need, together};

/// Everything below a folder with its content and its times of change.
fn state(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64, u32)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            let meta = entry.metadata().unwrap();
            let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            found.insert(path.clone(), (content, meta.ctime(), meta.ctime_nsec(), meta.mode()));
            if meta.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// A folder of the host that no build may touch.
fn canaries(bench: &Bench) -> PathBuf {
    let folder = bench.path("host");
    for name in ["file", "log", "machine-id", "folder/inner", "passwd"] {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        fs::write(folder.join(name), "secret-of-the-host-41c7\n").unwrap();
    }
    folder
}

#[track_caller]
fn assert_untouched(bench: &Bench, description: &Description, codes: &[i32]) {
    let host = bench.path("host");
    let before = state(&host);
    let answer = bench.build(description).run().expect_one_of(codes);
    assert_eq!(state(&host), before, "the host was touched");
    if answer.code == Some(0) {
        let tree = bench.path("tree");
        unpack_docker(&result(&bench.path("out"), ".docker.tar"), &tree);
        let leaked: Vec<_> =
            state(&tree).into_iter().filter(|(_, (content, ..))| content.starts_with(b"secret-of")).collect();
        assert!(leaked.is_empty(), "{leaked:?}");
        fs::remove_dir_all(tree).unwrap();
        fs::remove_dir_all(bench.path("out")).unwrap();
    }
}

#[test]
fn a_tree_full_of_symlinks_to_the_host_touches_nothing_of_it() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let host = canaries(&bench);
    let host = host.display();
    // Everything that the scrub empties, resets or removes, and what later steps write.
    let files = [
        "/etc/machine-id",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/etc/passwd-",
        "/etc/mailname",
        "/root/.bash_history",
        "/etc/udev/rules.d/70-persistent-net.rules",
        "/var/log/evil.log",
        "/var/log/wtmp",
        "/etc/ImageID",
        "/etc/apt/sources.list",
        "/etc/apt/sources.list.d/tiny.sources",
        "/etc/ssh/ssh_host_rsa_key",
        "/var/lib/dbus/machine-id",
        "/var/lib/systemd/random-seed",
        "/etc/fstab",
        "/root/.ssh/authorized_keys",
        "/var/lib/dpkg/status-old",
        "/etc/locale.conf",
        "/etc/timezone",
        "/etc/localtime",
    ];
    let folders = [
        "/var/tmp/evil",
        "/root/.aws",
        "/root/.cache",
        "/var/lib/cloud",
        "/var/crash",
        "/var/cache/apt",
        "/var/lib/dhcp",
        "/var/log/journal",
    ];
    let mut script = String::new();
    for path in files {
        script.push_str(&format!("mkdir -p \"$(dirname {path})\"; ln -sfT {host}/file {path}\n"));
    }
    for path in folders {
        script.push_str(&format!("mkdir -p \"$(dirname {path})\"; rm -rf {path}; ln -sfT {host}/folder {path}\n"));
    }
    let description = bench.container().script("config.sh", &script);
    assert_untouched(&bench, &description, &[0, 65]);
    // Folders that everything goes through.
    for folder in ["/var/log", "/tmp", "/var/tmp", "/root", "/home", "/etc/apt", "/var/cache", "/etc/ssh", "/run"] {
        let line = format!("rm -rf {folder}; ln -sT {host}/folder {folder}");
        let description = bench.container().script("config.sh", &line);
        assert_untouched(&bench, &description, &[0, 65]);
    }
}

#[test]
fn an_overlay_may_not_write_outside_the_tree() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let host = canaries(&bench);
    let description = bench.container();
    let overlay = description.folder().join("root");
    fs::create_dir_all(overlay.join("srv")).unwrap();
    // The first overlay brings the links, a file and an archive of the description go through them.
    symlink(&host, overlay.join("srv/absolute")).unwrap();
    symlink("../../../../../../../../../../../../..", overlay.join("srv/upwards")).unwrap();
    symlink(host.join("file"), overlay.join("srv/file")).unwrap();
    symlink(".", overlay.join("srv/dot")).unwrap();
    let below = host.strip_prefix("/").unwrap().display().to_string();
    let tar = description.folder().join("evil.tar");
    let mut builder = tar::Builder::new(fs::File::create(&tar).unwrap());
    let content = b"written from outside\n";
    for name in ["srv/absolute/folder/inner".to_string(), format!("srv/upwards/{below}/file"), "srv/file".into()] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        builder.append_data(&mut header, name, &content[..]).unwrap();
    }
    builder.into_inner().unwrap();
    let description = description.file("evil.txt", content).edit(
        "<package name=\"tiny-app\"/>",
        "<package name=\"tiny-app\"/><archive name=\"evil.tar\"/><file name=\"evil.txt\" target=\"/srv/absolute/passwd\"/>",
    );
    assert_untouched(&bench, &description, &[0, 65]);
}

#[test]
fn an_archive_with_names_that_climb_out_is_refused() {
    need!(root);
    let _turn = together();
    let bench = Bench::new();
    let host = canaries(&bench);
    for name in [format!("../../../../../../../../..{}/file", host.display()), format!("{}/file", host.display())] {
        let description = bench.container();
        let mut bytes = Vec::new();
        let mut header = tar::Header::new_ustar();
        // The crate refuses such names, so the field is written by hand; a long one is cut and climbs nowhere.
        let field = &mut header.as_old_mut().name;
        let length = name.len().min(field.len());
        field[..length].copy_from_slice(&name.as_bytes()[..length]);
        header.set_size(4);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(b"evil");
        bytes.resize(512 * 4, 0);
        let archive = "<package name=\"tiny-app\"/><archive name=\"climbing.tar\"/>";
        let description = description.file("climbing.tar", bytes).edit("<package name=\"tiny-app\"/>", archive);
        assert_untouched(&bench, &description, &[0, 65]);
    }
}
