//! What extraction promises, against archives of GNU tar and hand-made hostile ones.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::*;

/// An archive made by hand: (name, type, link name, content, PAX records).
/// Name, type, link target, content, PAX records.
type Written<'a> = (&'a [u8], u8, &'a str, &'a [u8], &'a [(&'a str, &'a [u8])]);

fn archive(members: &[Written]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, kind, link, content, records) in members {
        if !records.is_empty() {
            let mut data = Vec::new();
            for (key, value) in *records {
                let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
                let mut length = body.len() + 1;
                while length != body.len() + length.to_string().len() {
                    length += 1;
                }
                data.extend_from_slice(length.to_string().as_bytes());
                data.extend_from_slice(&body);
            }
            push(&mut all, b"pax", b'x', "", &data);
        }
        push(&mut all, name, *kind, link, content);
    }
    all.resize(all.len() + 1024, 0);
    all
}

fn push(all: &mut Vec<u8>, name: &[u8], kind: u8, link: &str, content: &[u8]) {
    let mut header = [0_u8; 512];
    header[..name.len()].copy_from_slice(name);
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[136..147].copy_from_slice(b"00000001750");
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    all.extend_from_slice(&header);
    all.extend_from_slice(content);
    all.resize(all.len().next_multiple_of(512), 0);
}

struct Place {
    folder: tempfile::TempDir,
    root: Rooted,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tree")).unwrap();
        std::fs::write(folder.path().join("canary"), "host").unwrap();
        let root = Rooted::open(&folder.path().join("tree")).unwrap();
        Place { folder, root }
    }

    fn tree(&self) -> std::path::PathBuf {
        self.folder.path().join("tree")
    }

    fn extract(&self, archive: &[u8]) -> Result<Summary> {
        extract(archive, &self.root, &RootPath::root(), Policy::new(Owners::Caller))
    }

    fn canary_is_untouched(&self) {
        assert_eq!(std::fs::read(self.folder.path().join("canary")).unwrap(), b"host");
        let mut names: Vec<_> =
            std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["canary", "tree"]);
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn nothing_is_written_outside_the_tree() {
    let place = Place::new();
    let outside = place.folder.path().to_str().unwrap().to_string();
    let hostile: &[Written] = &[
        (b"../canary", b'0', "", b"x", &[]),
        (b"/../../canary", b'0', "", b"x", &[]),
        (b"up", b'2', "..", b"", &[]),
        (b"up/canary", b'0', "", b"x", &[]),
        (b"absolute", b'2', &outside, b"", &[]),
        (b"absolute/canary", b'0', "", b"x", &[]),
        (b"link", b'2', "../canary", b"", &[]),
        (b"link", b'0', "", b"x", &[]),
        (b"hard", b'1', "up/canary", b"", &[]),
        (b"folder", b'5', "", b"", &[]),
        (b"folder", b'2', "/..", b"", &[]),
        (b"folder/canary", b'0', "", b"x", &[]),
        (b"pax", b'0', "", b"x", &[("path", b"a/../../../canary")]),
    ];
    for upto in 1..=hostile.len() {
        // Some of these are errors (the absolute folder does not exist inside); none may leave the tree.
        let _ = place.extract(&archive(&hostile[..upto]));
        let _ = place.extract(&archive(&hostile[upto - 1..upto]));
        place.canary_is_untouched();
    }
    assert!(place.tree().join("canary").is_file());
}

#[test]
fn a_hard_link_to_a_file_outside_is_an_error() {
    let place = Place::new();
    let outside = place.folder.path().join("canary");
    let result = place.extract(&archive(&[(b"hard", b'1', outside.to_str().unwrap(), b"", &[])]));
    assert_eq!(result.unwrap_err().exit(), Exit::InputMissing);
    place.canary_is_untouched();
}

#[test]
fn names_and_attributes_may_hold_newlines_and_any_bytes() {
    let place = Place::new();
    let name = b"new\nline \xff";
    let value = b"a\nb\0c=\n";
    place.extract(&archive(&[(b"x", b'0', "", b"1", &[("path", name), ("SCHILY.xattr.user.t", value)])])).unwrap();
    let path = RootPath::new(name);
    assert_eq!(place.root.read(&path).unwrap(), b"1");
    let found = place.root.xattrs(&path).unwrap();
    if !found.is_empty() {
        assert_eq!(found, vec![(b"user.t".to_vec(), value.to_vec())]);
    }
}

#[test]
fn a_folder_merges_into_a_symlinked_one_and_keeps_its_metadata() {
    let place = Place::new();
    std::fs::create_dir_all(place.tree().join("usr/lib")).unwrap();
    std::fs::set_permissions(place.tree().join("usr/lib"), std::fs::Permissions::from_mode(0o711)).unwrap();
    symlink("usr/lib", place.tree().join("lib")).unwrap();
    place.extract(&archive(&[(b"./lib/", b'5', "", b"", &[]), (b"./lib/a", b'0', "", b"1", &[])])).unwrap();
    assert!(place.tree().join("lib").is_symlink());
    assert_eq!(text(&place.tree().join("usr/lib/a")), "1");
    assert_eq!(place.tree().join("usr/lib").metadata().unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn a_folder_with_content_gives_way_only_where_everything_may() {
    let place = Place::new();
    let bytes = archive(&[(b"a/b", b'0', "", b"1", &[]), (b"a", b'2', "elsewhere", b"", &[])]);
    assert_eq!(place.extract(&bytes).unwrap_err().exit(), Exit::Description);
    let policy = Policy { replace: Replace::Everything, ..Policy::new(Owners::Caller) };
    extract(&bytes[..], &place.root, &RootPath::root(), policy).unwrap();
    assert!(place.tree().join("a").is_symlink());
}

#[test]
fn kept_folders_stay_as_they_are_and_new_ones_get_their_mode() {
    let place = Place::new();
    std::fs::create_dir(place.tree().join("old")).unwrap();
    std::fs::set_permissions(place.tree().join("old"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let bytes = archive(&[(b"old/", b'5', "", b"", &[]), (b"new/", b'5', "", b"", &[])]);
    let policy = Policy { folders: Folders::Kept, ..Policy::new(Owners::Caller) };
    extract(&bytes[..], &place.root, &RootPath::root(), policy).unwrap();
    let mode = |name: &str| place.tree().join(name).metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode("old"), mode("new")), (0o700, 0o644));
}

#[test]
fn damaged_archives_are_errors_and_never_fill_the_memory() {
    let good = archive(&[(b"a", b'0', "", &[7; 2000], &[])]);
    let mut bomb = Vec::new();
    push(&mut bomb, b"x", b'L', "", b"");
    bomb[124..135].copy_from_slice(b"77777777777");
    let mut wrong_sum = good.clone();
    wrong_sum[0] ^= 1;
    let huge_hole: &[(&str, &[u8])] =
        &[("GNU.sparse.realsize", b"9223372036854775807"), ("GNU.sparse.map", b""), ("GNU.sparse.major", b"0")];
    let lying_map: &[(&str, &[u8])] = &[("GNU.sparse.realsize", b"10"), ("GNU.sparse.map", b"5,20")];
    for bytes in [
        good[..700].to_vec(),
        good[..300].to_vec(),
        bomb,
        wrong_sum,
        b"no tar at all".repeat(100),
        archive(&[(b"a", b'0', "", b"", huge_hole)]),
        archive(&[(b"a", b'0', "", b"", lying_map)]),
        archive(&[(b"a", b'Q', "", b"", &[])]),
        archive(&[(b"a", b'0', "", b"", &[("size", b"99999999999999999999")])]),
        archive(&[(b"a", b'0', "", b"", &[("path", b"a\0b")])]),
    ] {
        let place = Place::new();
        assert_eq!(place.extract(&bytes).unwrap_err().exit(), Exit::Description);
    }
}

/// What GNU tar packs in each of its formats comes back the same.
#[test]
fn archives_of_gnu_tar_come_back_whole() {
    let source = tempfile::tempdir().unwrap();
    let from = source.path().join("from");
    let deep = from.join("d".repeat(120)).join("e".repeat(120));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("f"), vec![1; 70_000]).unwrap();
    std::fs::hard_link(deep.join("f"), from.join("hard")).unwrap();
    symlink("x".repeat(200), from.join("soft")).unwrap();
    let mut sparse = std::fs::File::create(from.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    for block in 0..40 {
        sparse.write_all_at(&[9; 4096], (block * 3 + 1) * 65536).unwrap();
    }
    sparse.flush().unwrap();
    std::fs::set_permissions(&deep, std::fs::Permissions::from_mode(0o2750)).unwrap();
    let run = |format: &str| {
        let mut tar = Command::new("tar");
        tar.args(format.split(' ')).arg("-C").arg(&from).args(["-cf", "-", "."]);
        let output = tar.output().unwrap();
        assert!(output.status.success());
        output.stdout
    };
    for format in [
        "--format=gnu",
        "--format=gnu --sparse",
        "--format=posix",
        "--format=posix --sparse --sparse-version=0.0",
        "--format=posix --sparse --sparse-version=0.1",
        "--format=posix --sparse --sparse-version=1.0",
    ] {
        let place = Place::new();
        place.extract(&run(format)).unwrap();
        let diff =
            Command::new("diff").arg("-r").arg("--no-dereference").arg(&from).arg(place.tree()).output().unwrap();
        assert!(diff.status.success(), "{format}: {}", String::from_utf8_lossy(&diff.stdout));
        let new = place.tree();
        let hard = new.join("hard").metadata().unwrap();
        assert_eq!(hard.nlink(), 2, "{format}");
        let folder = deep.strip_prefix(&from).unwrap();
        let (old, new) = (deep.metadata().unwrap(), new.join(folder).metadata().unwrap());
        assert_eq!((old.mode(), old.mtime()), (new.mode(), new.mtime()), "{format}");
        let sparse = place.tree().join("sparse").metadata().unwrap();
        assert_eq!(sparse.blocks() < 1000, format.contains("--sparse"), "{format}");
    }
}

#[test]
fn compression_is_recognised_by_content() {
    let plain = archive(&[(b"a", b'0', "", b"1", &[])]);
    for (program, expected) in [
        ("cat", Compression::None),
        ("gzip", Compression::Gzip),
        ("xz", Compression::Xz),
        ("zstd", Compression::Zstd),
        ("bzip2", Compression::Bzip2),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        std::fs::write(&path, &plain).unwrap();
        let Ok(output) = Command::new(program).arg("-c").arg(&path).output().or_else(|error| match program {
            "cat" => Command::new("cat").arg(&path).output(),
            _ => Err(error),
        }) else {
            println!("skipped: this host has no {program}");
            continue;
        };
        let packed = if program == "cat" { plain.clone() } else { output.stdout };
        assert_eq!(Compression::of(&packed), expected);
        match decompressed(&packed[..]) {
            Ok(mut reader) => {
                let mut unpacked = Vec::new();
                reader.read_to_end(&mut unpacked).unwrap();
                assert_eq!(unpacked, plain, "{program}");
            }
            Err(error) => assert_eq!((error.exit(), program), (Exit::Description, "bzip2")),
        }
    }
}

/// Bytes of good archives turned over at random: an error or an extraction, never a panic, never a way out.
#[test]
fn spoilt_archives_never_panic_and_never_leave_the_tree() {
    let sparse: &[(&str, &[u8])] =
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")];
    let mut map = b"1\n3\n6\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"sparse");
    let good = archive(&[
        (b"a/", b'5', "", b"", &[]),
        (b"a/b", b'0', "", b"content", &[("mtime", b"1.5"), ("SCHILY.xattr.user.x", b"y")]),
        (b"a/link", b'2', "../..", b"", &[]),
        (b"a/link/canary", b'0', "", b"x", &[]),
        (b"hard", b'1', "a/b", b"", &[]),
        (b"s", b'0', "", &map, sparse),
    ]);
    let place = Place::new();
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..3000 {
        let mut bytes = good.clone();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            bytes[at] = next(256) as u8;
        }
        // Without this, nearly every change would end at the checksum.
        for at in (0..bytes.len()).step_by(512).filter(|at| bytes[at + 257..].starts_with(b"ustar")).collect::<Vec<_>>()
        {
            bytes[at + 148..at + 156].fill(b' ');
            let sum: u32 = bytes[at..at + 512].iter().map(|byte| u32::from(*byte)).sum();
            bytes[at + 148..at + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        let _ = place.extract(&bytes);
    }
    place.canary_is_untouched();
}
