//! Disk formats against QEMU's own programs, and against ourselves.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ingot::disk::RawDisk;
use ingot::error::Exit;
use ingot::format::{self, Identity};
use ingot::pieces::Pieces;
use ingot::plan::{FormatChoice, Seed};
use ingot::release::Artifact;
use ingot::report::Reporter;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::support::need;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;

/// What lies in a range of a disk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// Compresses well.
    Text,
    /// Does not compress.
    Noise,
    /// Written zeros: data for the filesystem, nothing for the format.
    Zeros,
}

fn bytes(content: Content, length: usize, seed: u64) -> Vec<u8> {
    match content {
        Content::Zeros => vec![0; length],
        Content::Text => {
            let line = format!("{seed}: the quick brown fox jumps over the lazy dog\n");
            line.bytes().cycle().take(length).collect()
        }
        Content::Noise => {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 24) as u8
            };
            (0..length).map(|_| next()).collect()
        }
    }
}

pub(super) fn disk(path: &Path, size: u64, ranges: &[(u64, u64, Content)]) -> RawDisk {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (offset, length, content) in ranges {
        file.write_all_at(&bytes(*content, *length as usize, offset + length), *offset).unwrap();
    }
    RawDisk::open(path).unwrap()
}

pub(super) fn choice(name: &str, options: &str) -> FormatChoice {
    let pairs = options.split_whitespace().filter_map(|pair| pair.split_once('='));
    let options: BTreeMap<_, _> = pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect();
    FormatChoice { name: name.into(), options }
}

pub(super) fn identity() -> Identity {
    let seed = Seed::new("disk", "1.0", Some(1_700_000_000));
    Identity { seed, epoch: 1_700_000_000, name: "A disk".into(), stem: "disk".into(), folder: "/nonexistent".into() }
}

pub(super) fn write(disk: &RawDisk, folder: &Path, name: &str, options: &str) -> Artifact {
    try_write(disk, folder, name, options).unwrap()
}

pub(super) fn try_write(disk: &RawDisk, folder: &Path, name: &str, options: &str) -> ingot::error::Result<Artifact> {
    let step = Reporter::silent().step("format");
    format::write(&choice(name, options), disk, &identity(), folder, "disk", &mut Pieces::ignored(), &step)
}

pub(super) fn sha256(path: &Path) -> String {
    Sha256::digest(std::fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

/// What it is, its size, and where (offset, length) something lies.
pub(super) type Shape = (&'static str, u64, Vec<(u64, u64, Content)>);

/// Disks of every awkward shape that is still quick to write.
pub(super) fn shapes() -> Vec<Shape> {
    use Content::*;
    let scattered = (0..300).map(|n| (n * 3 * 65536 + 512, 700, if n % 7 == 0 { Noise } else { Text })).collect();
    let packed = (0..64).map(|n| (n * 65536, 65536, [Text, Noise, Zeros, Text, Text][n as usize % 5])).collect();
    vec![
        ("one sector", 512, vec![(0, 512, Text)]),
        ("empty", MIB, vec![]),
        ("all zeros, written", MIB, vec![(0, MIB, Zeros)]),
        ("full of noise", 3 * MIB, vec![(0, 3 * MIB, Noise)]),
        ("full of text, an odd length", 5 * MIB + 512, vec![(0, 5 * MIB + 512, Text)]),
        ("scattered", 60 * MIB, scattered),
        ("mixed", 4 * MIB, packed),
        (
            "several L2 tables",
            7 * GIB + 1024,
            vec![(0, MIB, Text), (3 * GIB - 4096, 8192, Noise), (7 * GIB, 1024, Text)],
        ),
    ]
}

#[test]
fn qemu_reads_what_was_written_and_finds_nothing_to_complain_about() {
    need!("qemu-img");
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("source");
    let image = folder.path().join("disk.qcow2");
    let (raw_name, image_name) = (raw.to_str().unwrap(), image.to_str().unwrap());
    for (shape, size, ranges) in shapes() {
        let disk = disk(&raw, size, &ranges);
        for options in
            ["", "compression_type=zstd", "compressed=off", "cluster_size=512", "cluster_size=2M compression_type=zstd"]
        {
            if size > GIB && options.contains("512") {
                continue;
            }
            let artifact = write(&disk, folder.path(), "qcow2", options);
            assert_eq!(
                (artifact.sha256, artifact.size.0),
                (sha256(&image), image.metadata().unwrap().len()),
                "{shape}"
            );
            let check = run("qemu-img", &["check", "-f", "qcow2", image_name]);
            assert!(check.starts_with("No errors were found on the image."), "{shape} {options}: {check}");
            run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", raw_name, image_name]);
        }
    }
}

#[test]
fn a_header_is_what_qemu_expects() {
    need!("qemu-img");
    let folder = tempfile::tempdir().unwrap();
    let disk = disk(&folder.path().join("source"), 10 * MIB, &[(0, MIB, Content::Text)]);
    for (options, compression, cluster) in
        [("", "zlib", 65536), ("compression_type=zstd cluster_size=128k", "zstd", 131_072)]
    {
        let artifact = write(&disk, folder.path(), "qcow2", options);
        let path = folder.path().join(artifact.name);
        let info = run("qemu-img", &["info", "--output=json", path.to_str().unwrap()]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        let data = &info["format-specific"]["data"];
        assert_eq!(
            (info["virtual-size"].as_u64(), info["cluster-size"].as_u64(), data["compression-type"].as_str()),
            (Some(10 * MIB), Some(cluster), Some(compression))
        );
        assert_eq!((data["compat"].as_str(), data["corrupt"].as_bool()), (Some("1.1"), Some(false)));
    }
}

#[test]
fn the_same_disk_gives_the_same_bytes_whatever_the_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    for (shape, size, ranges) in shapes() {
        let disk = disk(&folder.path().join("source"), size, &ranges);
        for options in ["", "compression_type=zstd"] {
            let digests: Vec<_> = [1, 2, 5]
                .into_iter()
                .map(|threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    pool.install(|| write(&disk, folder.path(), "qcow2", options).sha256)
                })
                .collect();
            assert!(digests.iter().all(|digest| *digest == digests[0]), "{shape}: {digests:?}");
        }
    }
}

#[test]
fn a_raw_disk_keeps_bytes_and_holes_linked_or_copied() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::Builder::new().tempdir_in("/dev/shm").ok();
    let source = folder.path().join("source");
    let disk = disk(&source, 300 * MIB, &[(MIB, MIB, Content::Noise), (299 * MIB, 512, Content::Text)]);
    for target in [Some(folder.path()), other.as_ref().map(|folder| folder.path())].into_iter().flatten() {
        let artifact = write(&disk, target, "raw", "");
        let path = target.join("disk.raw");
        assert_eq!((artifact.name.as_str(), artifact.size.0), ("disk.raw", 300 * MIB));
        assert_eq!(artifact.sha256, sha256(&source));
        assert_eq!(artifact.sha256, sha256(&path));
        use std::os::unix::fs::MetadataExt;
        assert!(path.metadata().unwrap().blocks() * 512 < 3 * MIB);
    }
}

#[test]
fn unknown_formats_and_options_are_refused_with_the_known_ones() {
    for (name, options, known) in
        [("vmdx", "", "raw, qcow2"), ("qcow2", "lazy=on", "compression_type"), ("raw", "a=b", "no options")]
    {
        let error = format::check(&choice(name, options), Path::new(".")).unwrap_err();
        assert_eq!(error.exit(), Exit::Description);
        assert!(error.text().contains(known), "{}", error.text());
    }
}

pub(super) fn whole(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut reader = format::open(path).map_err(std::io::Error::other)?;
    let mut content = Vec::new();
    reader.read_to_end(&mut content)?;
    Ok(content)
}

#[test]
fn images_of_qemu_read_the_same_as_the_raw_disk() {
    need!("qemu-img");
    let folder = tempfile::tempdir().unwrap();
    let (raw, image) = (folder.path().join("source"), folder.path().join("image"));
    let (raw_name, image_name) = (raw.to_str().unwrap(), image.to_str().unwrap());
    let (_, size, ranges) = shapes().swap_remove(6);
    disk(&raw, size, &ranges);
    let expected = std::fs::read(&raw).unwrap();
    for arguments in [
        vec![],
        vec!["-c"],
        vec!["-c", "-o", "compression_type=zstd"],
        vec!["-c", "-o", "compat=0.10"],
        vec!["-o", "cluster_size=512"],
        vec!["-c", "-o", "cluster_size=2M,compression_type=zstd"],
        vec!["-S", "0", "-o", "preallocation=metadata"],
        vec!["-o", "refcount_bits=1"],
        vec!["-o", "lazy_refcounts=on"],
    ] {
        run("qemu-img", &[&["convert", "-f", "raw", "-O", "qcow2"], &arguments[..], &[raw_name, image_name]].concat());
        assert_eq!(whole(&image).unwrap(), expected, "{arguments:?}");
        let mut reader = format::open(&image).unwrap();
        for offset in [size - 700, 65530, 3 * 65536 + 1, 0] {
            let mut piece = [0; 600];
            reader.seek(SeekFrom::Start(offset)).unwrap();
            reader.read_exact(&mut piece).unwrap();
            assert_eq!(piece, expected[offset as usize..offset as usize + 600], "{arguments:?} at {offset}");
        }
    }
}

#[test]
fn an_expanded_image_is_the_raw_disk_with_its_holes() {
    let folder = tempfile::tempdir().unwrap();
    let (source, expanded) = (folder.path().join("source"), folder.path().join("expanded"));
    for (shape, size, ranges) in shapes().into_iter().filter(|shape| shape.1 < GIB) {
        let disk = disk(&source, size, &ranges);
        for (format, options) in [("raw", ""), ("qcow2", ""), ("qcow2", "cluster_size=512")] {
            let artifact = write(&disk, folder.path(), format, options);
            let path = folder.path().join(artifact.name);
            format::open(&path).unwrap().expand(&File::create(&expanded).unwrap()).unwrap();
            let blocks = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap());
            assert_eq!(expanded.metadata().unwrap().len(), size, "{shape}");
            assert!(blocks(&expanded) <= blocks(&source) + 1024, "{shape}");
            run("cmp", &[source.to_str().unwrap(), expanded.to_str().unwrap()]);
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn images_that_lean_on_other_files_are_refused_by_name() {
    need!("qemu-img");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let image = path("image");
    disk(&folder.path().join("base"), MIB, &[]);
    for (arguments, reason) in [
        (vec!["-b", &path("base"), "-F", "raw"], "backing file"),
        (vec!["-o", &format!("data_file={}", path("data"))], "external data file"),
        (vec!["-o", "extended_l2=on"], "extended L2"),
    ] {
        let _ = std::fs::remove_file(&image);
        run("qemu-img", &[&["create", "-q", "-f", "qcow2"], &arguments[..], &[&image, "1M"]].concat());
        let error = format::open(Path::new(&image)).err().unwrap();
        assert_eq!(error.exit(), Exit::Description);
        assert!(error.text().contains(reason), "{}", error.text());
    }
    // qemu-img measures this machine's speed before it encrypts, which fails on a busy one: say so in the header ourselves.
    std::fs::remove_file(&image).unwrap();
    run("qemu-img", &["create", "-q", "-f", "qcow2", &image, "1M"]);
    let luks = 2_u32.to_be_bytes();
    std::fs::OpenOptions::new().write(true).open(&image).unwrap().write_all_at(&luks, 32).unwrap();
    let error = format::open(Path::new(&image)).err().unwrap();
    assert_eq!((error.exit(), error.text().contains("encrypted")), (Exit::Description, true), "{}", error.text());
}

/// Each byte of the metadata of a small image, turned over: an error or other bytes, never a panic or a giant.
#[test]
fn damaged_images_are_errors_and_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let disk = disk(
        &folder.path().join("source"),
        256 * KIB,
        &[(0, 40 * KIB, Content::Text), (64 * KIB, 4096, Content::Noise)],
    );
    for options in ["cluster_size=4k", "cluster_size=4k compression_type=zstd"] {
        let artifact = write(&disk, folder.path(), "qcow2", options);
        let good = std::fs::read(folder.path().join(artifact.name)).unwrap();
        let damaged = folder.path().join("damaged");
        for at in (0..120).chain((4096..good.len()).step_by(37)) {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                std::fs::write(&damaged, &bytes).unwrap();
                let Ok(reader) = format::open(&damaged) else { continue };
                // A size of exabytes is no damage that can be seen; reading a part must end.
                let mut content = Vec::new();
                let _ = reader.take(MIB).read_to_end(&mut content);
            }
        }
        for length in (0..good.len()).step_by(997) {
            std::fs::write(&damaged, &good[..length]).unwrap();
            if length >= 4 {
                assert!(whole(&damaged).is_err(), "cut at {length}");
            }
        }
    }
}

pub(super) fn content() -> impl Strategy<Value = Content> {
    prop_oneof![Just(Content::Text), Just(Content::Noise), Just(Content::Zeros)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_disk_comes_back_as_it_was(
        sectors in 1_u64..4000,
        ranges in prop::collection::vec((0_u64..4000, 1_u64..200_000, content()), 0..12),
        bits in 9_u32..18,
        packing in prop::sample::select(vec!["compressed=off", "compression_type=zlib", "compression_type=zstd"]),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let source: PathBuf = folder.path().join("source");
        let size = sectors * 512;
        let ranges: Vec<_> = ranges
            .into_iter()
            .map(|(sector, length, content)| {
                let offset = sector % sectors * 512;
                (offset, length.min(size - offset), content)
            })
            .collect();
        let disk = disk(&source, size, &ranges);
        let artifact = write(&disk, folder.path(), "qcow2", &format!("cluster_size={} {packing}", 1 << bits));
        prop_assert!(whole(&folder.path().join(artifact.name)).unwrap() == std::fs::read(&source).unwrap());
    }
}

#[test]
fn a_disk_is_converted_back_and_forth_and_nothing_is_replaced() {
    need!("qemu-img");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    disk(&folder.path().join("source.raw"), 60 * MIB, &[(MIB, MIB, Content::Text), (50 * MIB, 70_000, Content::Noise)]);
    let convert = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ingot")).arg("convert").args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (raw, zlib, zstd, back) = (path("source.raw"), path("a.qcow2"), path("b.qcow2"), path("back.raw"));
    assert_eq!(convert(&[&raw, &zlib]).0, 0);
    assert_eq!(convert(&[&zlib, &zstd, "--option", "compression_type=zstd"]).0, 0);
    assert_eq!(convert(&[&zstd, &back]).0, 0);
    assert_eq!(sha256(Path::new(&raw)), sha256(Path::new(&back)));
    for image in [&zlib, &zstd] {
        run("qemu-img", &["check", "-f", "qcow2", image]);
        run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &raw, image]);
    }
    let packed = ["packed.tar", "packed.gz"].map(path);
    run("tar", &["-C", folder.path().to_str().unwrap(), "-cf", &packed[0], "back.raw"]);
    std::fs::write(&packed[1], [&[0x1f, 0x8b, 8, 0][..], &[0; 4092]].concat()).unwrap();
    for (arguments, code, why) in [
        (vec![packed[0].as_str(), &path("x.raw")], 65, "it is a tar archive"),
        (vec![&packed[1], &path("x.raw")], 65, "it is compressed"),
        (vec![raw.as_str(), &zlib], 73, "exists"),
        (vec![&raw, &path("x.qed")], 65, "this version writes raw, qcow2"),
        (vec![&raw, &path("x")], 64, "--format"),
        (vec![&path("none"), &path("x.raw")], 66, "none"),
        (vec![&raw, &path("nowhere/x.raw")], 73, "nowhere"),
        (vec![&raw, &path("x.qcow2"), "--option", "lazy=on"], 65, "lazy"),
    ] {
        let (found, said) = convert(&arguments);
        assert_eq!(found, code, "{arguments:?}: {said}");
        assert!(said.contains(why), "{said}");
    }
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["a.qcow2", "b.qcow2", "back.raw", "packed.gz", "packed.tar", "source.raw"]);
}
