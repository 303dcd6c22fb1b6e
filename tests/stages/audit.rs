//! Artifacts made by foreign programs, read back without a kernel.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use ingot::audit::{audit_artifact, ext::Ext, window::Window};
use ingot::bytes::Bytes;
use ingot::error::{Exit, Result};
use ingot::report::Reporter;
use ingot::root::tree::Kind;
use ingot::scrub::Report;

use super::support::need;

fn audit(path: &Path) -> Result<Report> {
    let work = tempfile::tempdir().unwrap();
    audit_artifact(path, work.path(), &Reporter::silent().step("audit"))
}

fn leftovers(path: &Path) -> Vec<String> {
    let report = audit(path).unwrap_or_else(|error| panic!("{}", error.text()));
    report.leftovers().map(|finding| format!("{} {}", finding.class, finding.path)).collect()
}

fn run(program: &str, arguments: &[&str]) {
    let ended = Command::new(program).args(arguments).output().unwrap();
    assert!(ended.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A root filesystem without leftovers.
fn clean_root(root: &Path) {
    write(root, "etc/passwd", "root:x:0:0::/root:/bin/sh\n");
    write(root, "etc/machine-id", "");
    write(root, "usr/bin/true", "elf");
    fs::create_dir_all(root.join("tmp")).unwrap();
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
}

fn make_ext(kind: &str, options: &[&str], root: &Path, image: &Path, size: &str) {
    let (root, image) = (root.to_str().unwrap(), image.to_str().unwrap());
    let fixed = ["-q", "-F", "-t", kind, "-d", root];
    run("mke2fs", &[&fixed[..], options, &[image, size]].concat());
}

/// Path, kind, mode, and content or target.
fn seen(image: &Path) -> BTreeMap<String, (String, u32, Vec<u8>)> {
    let file = fs::File::open(image).unwrap();
    let size = Bytes(file.metadata().unwrap().len());
    let mut found = BTreeMap::new();
    let mut see = |entry: ingot::root::tree::Entry, content: &mut dyn Read| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).unwrap();
        let kind = match &entry.kind {
            Kind::Symlink(target) => {
                bytes = target.clone();
                "symlink"
            }
            Kind::Folder => "folder",
            Kind::File => "file",
            _ => "other",
        };
        if !entry.path.to_string().starts_with("/lost+found") {
            found.insert(entry.path.to_string(), (kind.to_string(), entry.mode, bytes));
        }
        Ok(())
    };
    Ext::open(Window::new(file, Bytes::ZERO, size)).unwrap().walk(&mut see).unwrap();
    found
}

#[test]
fn every_kind_of_ext_reads_back_as_it_was_filled() {
    need!("mke2fs");
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    clean_root(&root);
    // Long enough for double indirect blocks of 1 KiB, and for several extents.
    let long: Vec<u8> = (0..3_000_000_u32).map(|index| (index / 7) as u8).collect();
    write(&root, "usr/lib/long", &long);
    let mut sparse = fs::File::create(root.join("usr/lib/sparse")).unwrap();
    sparse.set_len(50_000_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 49_000_000).unwrap();
    sparse.flush().unwrap();
    symlink("short", root.join("usr/short")).unwrap();
    let target = "far/".repeat(50);
    symlink(&target, root.join("usr/long-symlink")).unwrap();
    fs::hard_link(root.join("usr/bin/true"), root.join("usr/bin/false")).unwrap();
    fs::set_permissions(root.join("usr/bin/true"), fs::Permissions::from_mode(0o4755)).unwrap();
    for number in 0..3000 {
        write(&root, &format!("usr/share/many/file-with-a-rather-long-name-{number}"), number.to_string());
    }
    write(&root, "etc/new\nline and space", "x");
    for (kind, options) in [
        ("ext2", vec!["-b", "1024"]),
        ("ext2", vec!["-b", "4096", "-O", "^sparse_super,^resize_inode,^filetype"]),
        ("ext3", vec!["-b", "2048", "-I", "128"]),
        ("ext4", vec!["-b", "4096"]),
        ("ext4", vec!["-b", "1024", "-O", "^64bit,^metadata_csum,^flex_bg"]),
        ("ext4", vec!["-b", "1024", "-g", "1024", "-O", "sparse_super2,metadata_csum_seed"]),
    ] {
        let image = folder.path().join("image");
        let _ = fs::remove_file(&image);
        make_ext(kind, &options, &root, &image, "64M");
        let seen = seen(&image);
        let context = format!("{kind} {options:?}");
        assert_eq!(seen["/usr/lib/long"].2, long, "{context}");
        // Holes are shown as a block of zeros.
        let sparse: Vec<u8> = seen["/usr/lib/sparse"].2.iter().copied().filter(|byte| *byte != 0).collect();
        assert_eq!(sparse, b"end", "{context}");
        assert_eq!(seen["/usr/short"].2, b"short");
        assert_eq!(seen["/usr/long-symlink"].2, target.as_bytes(), "{context}");
        assert_eq!(seen["/usr/bin/false"], ("file".into(), 0o4755, b"elf".to_vec()), "{context}");
        assert_eq!(seen["/usr/share/many/file-with-a-rather-long-name-2999"].2, b"2999", "{context}");
        assert_eq!(seen["/etc/new\\nline and space"].2, b"x", "{context}");
        assert_eq!(seen["/tmp"].1, 0o1777, "{context}");
        assert_eq!(seen.len(), walk(&root), "{context}");
        let remains = remains(&image);
        assert_eq!(remains.size, Bytes::ZERO, "{context}: {remains:?}");
        assert_eq!(leftovers(&image), [] as [String; 0], "{context}");
    }
}

fn walk(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    1 + entries.map(|path| if path.is_dir() && !path.is_symlink() { walk(&path) } else { 1 }).sum::<usize>()
}

fn remains(image: &Path) -> ingot::audit::ext::Remains {
    let file = fs::File::open(image).unwrap();
    let size = Bytes(file.metadata().unwrap().len());
    Ext::open(Window::new(file, Bytes::ZERO, size)).unwrap().remains().unwrap()
}

#[test]
fn what_was_deleted_is_found_in_the_free_blocks() {
    need!("mke2fs", "debugfs");
    for (kind, options) in [("ext2", ["-b", "1024"]), ("ext4", ["-b", "4096"])] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        clean_root(&root);
        write(&root, "etc/secret", "hunter2");
        let image = folder.path().join("image");
        make_ext(kind, &options, &root, &image, "32M");
        assert_eq!(leftovers(&image), [] as [String; 0]);
        run("debugfs", &["-w", "-R", "rm /etc/secret", image.to_str().unwrap()]);
        assert_eq!(leftovers(&image), ["free-space /(partition 0)"], "{kind}");
    }
}

/// A disk as an installer makes it: BIOS boot partition, ESP, /boot, root, swap.
fn disk(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    clean_root(&root);
    write(&root, "root/.bash_history", "ls\n");
    let boot = folder.join("boot");
    write(&boot, "grub/grub.cfg", "linux /vmlinuz root=/dev/loop0p4\n");
    write(&boot, "vmlinuz-6.1", "kernel");
    let disk = folder.join("disk.raw");
    fs::File::create(&disk).unwrap().set_len(200 << 20).unwrap();
    let path = disk.to_str().unwrap();
    let parts =
        ["-n1:2048:+1M", "-t1:EF02", "-n2:4096:+40M", "-t2:EF00", "-n3:0:+20M", "-n4:0:+60M", "-n5:0:+20M", "-t5:8200"];
    run("sgdisk", &[&parts[..], &[path]].concat());
    for (start, image) in [(4096, "esp"), (86_016, "boot.ext"), (126_976, "root.ext"), (249_856, "swap")] {
        let image_path = folder.join(image);
        let name = image_path.to_str().unwrap();
        match image {
            "esp" => {
                run("mkfs.vfat", &["-C", name, "40960"]);
                fs::write(folder.join("seed"), "random").unwrap();
                run("mmd", &["-i", name, "::loader", "::EFI", "::EFI/BOOT"]);
                run("mcopy", &["-i", name, folder.join("seed").to_str().unwrap(), "::loader/random-seed"]);
            }
            "swap" => {
                fs::File::create(&image_path).unwrap().set_len(20 << 20).unwrap();
                run("mkswap", &[name]);
            }
            "boot.ext" => make_ext("ext2", &[], &boot, &image_path, "20M"),
            _ => make_ext("ext4", &[], &root, &image_path, "60M"),
        }
        run(
            "dd",
            &[&format!("if={name}"), &format!("of={path}"), "bs=512", &format!("seek={start}"), "conv=notrunc,sparse"],
        );
    }
    disk
}

const ON_DISK: [&str; 3] =
    ["boot /boot/grub/grub.cfg", "histories /root/.bash_history", "random-seed /boot/efi/loader/random-seed"];

#[test]
fn a_disk_is_read_partition_by_partition_in_every_format() {
    need!("mke2fs", "sgdisk", "mkfs.vfat", "mmd", "mcopy", "mkswap", "dd", "qemu-img", "xz");
    let folder = tempfile::tempdir().unwrap();
    let disk = disk(folder.path());
    assert_eq!(leftovers(&disk), ON_DISK);
    let name = disk.to_str().unwrap();
    let qcow2 = folder.path().join("disk.img");
    run("qemu-img", &["convert", "-c", "-f", "raw", "-O", "qcow2", name, qcow2.to_str().unwrap()]);
    assert_eq!(leftovers(&qcow2), ON_DISK);
    run("xz", &["-0", "-k", name]);
    assert_eq!(leftovers(&folder.path().join("disk.raw.xz")), ON_DISK);
    for format in ["vmdk", "vdi", "vhdx"] {
        let image = folder.path().join("image").with_extension(format);
        run("qemu-img", &["convert", "-f", "raw", "-O", format, name, image.to_str().unwrap()]);
        assert_eq!(leftovers(&image), ON_DISK, "{format}");
    }
}

#[test]
fn what_lies_outside_of_every_file_is_found() {
    need!("mke2fs", "sgdisk", "mkfs.vfat", "mmd", "mcopy", "mdel", "mkswap", "dd");
    let folder = tempfile::tempdir().unwrap();
    let disk = disk(folder.path());
    let esp = format!("{}@@2097152", disk.display());
    run("mdel", &["-i", &esp, "::loader/random-seed"]);
    let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
    let poke = |offset: u64| std::os::unix::fs::FileExt::write_all_at(&file, b"secret", offset).unwrap();
    // Between the table and the first partition, in the swap space, and behind the last partition.
    poke(512 * 100);
    poke(512 * 249_856 + 100_000);
    poke(199 << 20);
    let found = leftovers(&disk);
    let wanted = [
        "boot /boot/grub/grub.cfg",
        "free-space /(disk)",
        "free-space /(disk)",
        "free-space /(partition 2)",
        "free-space /(partition 5)",
        "histories /root/.bash_history",
    ];
    assert_eq!(found, wanted);
}

fn layer(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    for (path, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let mut named = header.clone();
        layer.append_data(&mut named, path, *content).unwrap();
    }
    layer.into_inner().unwrap()
}

#[test]
fn what_a_later_layer_hides_is_found_in_the_earlier_one() {
    let below = layer(&[("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"), ("root/.aws/credentials", b"secret")]);
    let above = layer(&[("root/.aws/.wh.credentials", b""), ("dev/null", b"")]);
    let above_gz = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&above).unwrap();
        encoder.finish().unwrap()
    };
    let digest = "a".repeat(64);
    let blob = format!("blobs/sha256/{digest}");
    let key = b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\n";
    let folder = tempfile::tempdir().unwrap();
    for (name, members) in [
        (
            "oci",
            vec![
                ("oci-layout", b"{}".as_slice()),
                ("index.json", b"{}"),
                (&blob, &below),
                ("blobs/sha256/b", &above_gz),
            ],
        ),
        ("docker", vec![("x/layer.tar", &below), ("y/layer.tar", &above_gz), ("manifest.json", b"[]")]),
        ("config", vec![("manifest.json", b"[]"), ("config.json", key), ("a.tar", &below), ("b.tar", &above)]),
    ] {
        let archive = folder.path().join(name);
        fs::write(&archive, layer(&members)).unwrap();
        let mut wanted = vec!["cloud-credentials /root/.aws/credentials", "container /dev/null"];
        if name == "config" {
            wanted.push("private-keys /(archive)/config.json");
        }
        assert_eq!(leftovers(&archive), wanted, "{name}");
    }
}

#[test]
fn a_root_tarball_is_read_in_every_compression_and_hard_links_keep_their_content() {
    need!("tar", "xz", "zstd", "gzip");
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    clean_root(&root);
    write(&root, "etc/aaa", "5c0f4ab1e2d34c5f8a9b0c1d2e3f4a5b\n");
    fs::remove_file(root.join("etc/machine-id")).unwrap();
    fs::hard_link(root.join("etc/aaa"), root.join("etc/machine-id")).unwrap();
    for option in ["--xz", "--zstd", "--gzip", "--format=posix", "--format=gnu", "--format=ustar"] {
        let archive = folder.path().join("archive");
        let (root, path) = (root.to_str().unwrap(), archive.to_str().unwrap());
        run("tar", &["-C", root, "--sort=name", option, "-cf", path, "."]);
        assert_eq!(leftovers(&archive), ["machine-id /etc/machine-id"], "{option}");
    }
}

#[test]
fn what_is_no_image_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let tarball = layer(&[("README", b"x")]);
    for (content, exit, cause) in [
        (b"".to_vec(), Exit::Description, "no image begins like this"),
        (b"hello\n".to_vec(), Exit::Description, "no image begins like this"),
        (vec![0; 1 << 20], Exit::Description, "no image begins like this"),
        (tarball, Exit::Description, "it is a tar archive, and neither a container nor a root filesystem is in it"),
        (b"\x1f\x8b\x08broken".to_vec(), Exit::Description, ""),
    ] {
        fs::write(&file, content).unwrap();
        let error = audit(&file).unwrap_err();
        assert!(error.causes().iter().any(|text| text.contains(cause)), "{}", error.text());
        assert_eq!(error.exit(), exit, "{}", error.text());
    }
    assert_eq!(audit(&folder.path().join("missing")).unwrap_err().exit(), Exit::InputMissing);
    assert_eq!(audit(folder.path()).unwrap_err().exit(), Exit::Description);
}

#[test]
fn a_damaged_filesystem_is_an_error_and_never_a_panic_or_an_endless_loop() {
    need!("mke2fs");
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    clean_root(&root);
    for number in 0..40 {
        write(&root, &format!("usr/{number}/x"), vec![7; 20_000]);
    }
    let image = folder.path().join("image");
    make_ext("ext4", &["-b", "1024", "-N", "256"], &root, &image, "4M");
    let sound = fs::read(&image).unwrap();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for _ in 0..300 {
        let mut damaged = sound.clone();
        for _ in 0..1 + next(8) {
            // The superblock, the groups, inodes and folders all lie in the first quarter.
            let at = 1024 + next(sound.len() / 4);
            damaged[at] = [0, 0xff, 0x80, 1][next(4)] ^ (damaged[at] & next(2) as u8);
        }
        fs::write(&image, &damaged).unwrap();
        let _ = audit(&image);
    }
}
