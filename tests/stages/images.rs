//! The clouds' and hypervisors' formats: foreign readers, and ours.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use ingot::disk::RawDisk;
use ingot::error::Exit;
use ingot::format;
use proptest::prelude::*;

use super::format::{Content, GIB, KIB, MIB, content, disk, run, sha256, shapes, whole, write};
use crate::support::need;
use crate::support::program::text;

/// Format, options, QEMU's name of it, and whether the size of the disk stays exactly.
const IMAGES: &[(&str, &str, &str, bool)] = &[
    ("vhd", "", "vpc", false),
    ("vhd", "force_size=on", "vpc", true),
    ("vhd-fixed", "", "vpc", false),
    ("vhd-fixed", "force_size=on", "vpc", true),
    ("vhdx", "", "vhdx", true),
    ("vhdx", "block_size=32M", "vhdx", true),
    ("vmdk", "", "vmdk", true),
    ("vmdk", "subformat=streamOptimized adapter_type=lsilogic", "vmdk", true),
    ("vdi", "", "vdi", true),
];

#[test]
fn qemu_reads_every_format_as_the_raw_disk() {
    need!("qemu-img");
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("source");
    for (shape, size, ranges) in shapes() {
        let disk = disk(&raw, size, &ranges);
        for (name, options, qemu, exact) in IMAGES {
            if size > GIB && name.contains("fixed") {
                continue;
            }
            let artifact = write(&disk, folder.path(), name, options);
            let image = folder.path().join(&artifact.name);
            let what = format!("{shape}: {name} {options}");
            assert_eq!((artifact.sha256, artifact.size.0), (sha256(&image), image.metadata().unwrap().len()), "{what}");
            run("qemu-img", &["compare", "-f", "raw", "-F", qemu, text(&raw), text(&image)]);
            let info: serde_json::Value =
                serde_json::from_str(&run("qemu-img", &["info", "-f", qemu, "--output=json", text(&image)])).unwrap();
            let found = info["virtual-size"].as_u64().unwrap();
            assert!(found == size || !exact && found > size, "{what}: {found}");
            if matches!(*qemu, "vhdx" | "vmdk" | "vdi") {
                let check = run("qemu-img", &["check", "-f", qemu, text(&image)]);
                assert!(check.contains("No errors were found"), "{what}: {check}");
            }
            fs::remove_file(&image).unwrap();
        }
    }
}

#[test]
fn what_was_written_reads_back_as_it_was_with_its_holes() {
    let folder = tempfile::tempdir().unwrap();
    let (source, expanded) = (folder.path().join("source"), folder.path().join("expanded"));
    for (shape, size, ranges) in shapes().into_iter().filter(|shape| shape.1 < GIB) {
        let disk = disk(&source, size, &ranges);
        for (name, options, _, exact) in IMAGES {
            let artifact = write(&disk, folder.path(), name, options);
            let image = folder.path().join(&artifact.name);
            let mut reader = format::open(&image).unwrap();
            assert_eq!(reader.format(), *name, "{shape}");
            reader.expand(&File::create(&expanded).unwrap()).unwrap();
            let length = expanded.metadata().unwrap().len();
            assert!(length == size || !exact && length > size, "{shape}: {name}: {length}");
            run("cmp", &["-n", &size.to_string(), text(&source), text(&expanded)]);
            // What is kept of the holes: those of whole blocks of 64 KiB at least.
            let used = |path: &Path| path.metadata().unwrap().blocks() * 512;
            assert!(used(&expanded) <= used(&source) + 64 * KIB, "{shape}: {name}");
            assert!(used(&image) < used(&source) * 33 / 32 + 300 * 64 * KIB, "{shape}: {name}: {}", used(&image));
            fs::remove_file(&image).unwrap();
        }
    }
}

#[test]
fn the_same_disk_gives_the_same_bytes_whatever_the_number_of_threads_and_the_holes() {
    let folder = tempfile::tempdir().unwrap();
    let (_, size, ranges) = shapes().swap_remove(5);
    let sparse = disk(&folder.path().join("sparse"), size, &ranges);
    let full = folder.path().join("full");
    fs::write(&full, fs::read(sparse.path()).unwrap()).unwrap();
    let full = RawDisk::open(&full).unwrap();
    for (name, options, ..) in IMAGES {
        let mut digests = Vec::new();
        for (threads, disk) in [(1, &sparse), (3, &full)] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            digests.push(pool.install(|| write(disk, folder.path(), name, options).sha256));
        }
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{name} {options}: {digests:?}");
    }
}

#[test]
fn images_of_qemu_read_the_same_as_the_raw_disk() {
    need!("qemu-img");
    let folder = tempfile::tempdir().unwrap();
    let (raw, image) = (folder.path().join("source"), folder.path().join("image"));
    let (_, size, ranges) = shapes().swap_remove(6);
    disk(&raw, size, &ranges);
    let expected = fs::read(&raw).unwrap();
    for (format, options) in [
        ("vpc", "subformat=dynamic,force_size=on"),
        ("vpc", "subformat=fixed,force_size=on"),
        ("vpc", "subformat=dynamic"),
        ("vhdx", "subformat=dynamic"),
        ("vhdx", "subformat=fixed"),
        ("vhdx", "block_size=2M"),
        ("vmdk", "subformat=monolithicSparse"),
        ("vmdk", "subformat=streamOptimized"),
        ("vmdk", "subformat=monolithicSparse,zeroed_grain=on"),
        ("vdi", "static=off"),
        ("vdi", "static=on"),
    ] {
        run("qemu-img", &["convert", "-f", "raw", "-O", format, "-o", options, text(&raw), text(&image)]);
        let found = whole(&image).unwrap();
        assert!(found.len() >= expected.len(), "{format} {options}: {} bytes", found.len());
        assert!(
            found[..expected.len()] == expected && found[expected.len()..].iter().all(|byte| *byte == 0),
            "{format}"
        );
        let mut reader = format::open(&image).unwrap();
        for offset in [size - 700, 65530, 3 * 65536 + 1, 0] {
            let mut piece = [0; 600];
            reader.seek(SeekFrom::Start(offset)).unwrap();
            reader.read_exact(&mut piece).unwrap();
            assert_eq!(piece, expected[offset as usize..offset as usize + 600], "{format} {options} at {offset}");
        }
    }
}

#[test]
fn images_that_lean_on_other_files_are_refused_by_name() {
    need!("qemu-img");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    disk(&folder.path().join("raw"), MIB, &[(0, MIB, Content::Text)]);
    run("qemu-img", &["convert", "-f", "raw", "-O", "vmdk", &path("raw"), &path("base.vmdk")]);
    for (name, arguments) in [
        ("flat.vmdk", vec!["-f", "vmdk", "-o", "subformat=monolithicFlat", &path("flat.vmdk"), "1M"]),
        ("split.vmdk", vec!["-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", &path("split.vmdk"), "1M"]),
        ("split-s001.vmdk", vec![]),
        ("child.vmdk", vec!["-f", "vmdk", "-F", "vmdk", "-b", &path("base.vmdk"), &path("child.vmdk")]),
    ] {
        if !arguments.is_empty() {
            run("qemu-img", &[&["create", "-q"], &arguments[..]].concat());
        }
        let error = format::open(Path::new(&path(name))).err().unwrap();
        assert_eq!(error.exit(), Exit::Description, "{name}");
        assert!(error.text().contains("needs another file"), "{name}: {}", error.text());
    }
    // What qemu-img does not write: a byte says that there is a parent.
    let source = disk(&folder.path().join("source"), 4 * MIB, &[(0, MIB, Content::Text)]);
    for (name, at, byte) in [("vdi", 76, 4), ("vdi", 430, 1)] {
        let image = folder.path().join(write(&source, folder.path(), name, "").name);
        fs::OpenOptions::new().write(true).open(&image).unwrap().write_all_at(&[byte], at).unwrap();
        let error = format::open(&image).err().unwrap();
        assert!(error.text().contains("needs another file"), "{name}: {}", error.text());
    }
}

/// The checksum of Microsoft's specification, by other code than ours.
fn is_footer(bytes: &[u8]) -> bool {
    let (sum, rest) = (&bytes[64..68], [&bytes[..64], &bytes[68..512]].concat());
    let total: u32 = rest.iter().map(|byte| u32::from(*byte)).sum();
    bytes.starts_with(b"conectix") && (!total).to_be_bytes() == sum
}

#[test]
fn a_fixed_vhd_is_what_azure_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let tag = "22222222-3333-4444-5555-666666666666";
    for ranges in
        [vec![(0, 512, Content::Text), (5 * MIB, MIB, Content::Noise)], vec![], vec![(32 * KIB, KIB, Content::Text)]]
    {
        let source = disk(&folder.path().join("source"), 30 * MIB, &ranges);
        let artifact = write(&source, folder.path(), "vhd-fixed", &format!("force_size=on tag={tag}"));
        assert_eq!(artifact.name, "disk.vhdfixed");
        let bytes = fs::read(folder.path().join(artifact.name)).unwrap();
        let (content, footer) = bytes.split_at((30 * MIB) as usize);
        assert_eq!(footer.len(), 512);
        assert!(is_footer(footer));
        assert_eq!(footer[16..24], [0xff; 8], "no header");
        assert_eq!(footer[48..56], (30 * MIB).to_be_bytes(), "the size");
        assert_eq!(footer[60..64], 2_u32.to_be_bytes(), "fixed");
        assert_eq!(footer[24..28], (1_700_000_000_u32 - 946_684_800).to_be_bytes(), "seconds since 2000");
        let place = &content[64 << 10..(64 << 10) + 512];
        assert_eq!(
            place[..16],
            [0x22, 0x22, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66]
        );
        assert!(place[16..].iter().all(|byte| *byte == 0));
        let mut expected = fs::read(source.path()).unwrap();
        expected[64 << 10..(64 << 10) + 16].copy_from_slice(&place[..16]);
        assert!(content == expected);
    }
    let source = disk(&folder.path().join("source"), 30 * MIB, &[(64 * KIB, 512, Content::Text)]);
    let error = super::format::try_write(&source, folder.path(), "vhd-fixed", &format!("tag={tag}")).unwrap_err();
    assert!(error.text().contains("something lies at 64 KiB already"), "{}", error.text());
}

#[test]
fn both_footers_of_a_growing_vhd_are_sound_and_the_second_replaces_a_lost_first() {
    let folder = tempfile::tempdir().unwrap();
    let source = disk(&folder.path().join("source"), 30 * MIB, &[(5 * MIB, MIB, Content::Noise)]);
    let image = folder.path().join(write(&source, folder.path(), "vhd", "force_size=on").name);
    let bytes = fs::read(&image).unwrap();
    assert!(is_footer(&bytes[..512]) && bytes[..512] == bytes[bytes.len() - 512..]);
    fs::write(&image, &bytes[..bytes.len() - 512]).unwrap();
    assert!(whole(&image).unwrap() == fs::read(source.path()).unwrap());
}

#[test]
fn sizes_that_a_format_cannot_hold_are_refused_and_the_rest_is_written_sparsely() {
    need!("qemu-img");
    let folder = tempfile::tempdir().unwrap();
    const TIB: u64 = 1 << 40;
    for (name, size, refused) in [
        ("vhd", 2040 * GIB, ""),
        ("vhd", 2040 * GIB + 512, "2190"),
        ("vhd-fixed", 8 * TIB, "vhdx holds 64 TiB"),
        ("vhdx", 8 * TIB, ""),
        ("vhdx", 65 * TIB, "a vhdx holds"),
        ("vmdk", 8 * TIB, ""),
        ("vmdk", 63 * TIB, "a vmdk holds"),
        ("vdi", 8 * TIB, ""),
        ("vdi", 17 * TIB, "a vdi holds"),
    ] {
        let Ok(()) = File::create(folder.path().join("source")).unwrap().set_len(size) else {
            // ext4 ends at 16 TiB.
            assert!(size > 16 * TIB);
            continue;
        };
        let source =
            disk(&folder.path().join("source"), size, &[(0, MIB, Content::Text), (size - MIB, MIB, Content::Noise)]);
        let options = if name.starts_with("vhd") && name != "vhdx" { "force_size=on" } else { "" };
        match super::format::try_write(&source, folder.path(), name, options) {
            Ok(artifact) => {
                assert_eq!(refused, "", "{name} {size}");
                let image = folder.path().join(artifact.name);
                assert!(image.metadata().unwrap().blocks() * 512 < 400 * MIB, "{name}");
                let mut reader = format::open(&image).unwrap();
                assert_eq!(reader.size().unwrap().0, size);
                let mut end = vec![0; MIB as usize];
                reader.seek(SeekFrom::Start(size - MIB)).unwrap();
                reader.read_exact(&mut end).unwrap();
                let mut expected = vec![0; MIB as usize];
                File::open(source.path()).unwrap().read_exact_at(&mut expected, size - MIB).unwrap();
                assert!(end == expected, "{name}");
                let qemu = if name == "vhd" { "vpc" } else { name };
                let info = run("qemu-img", &["info", "-f", qemu, "--output=json", text(&image)]);
                assert!(info.contains(&format!("\"virtual-size\": {size}")), "{name}: {info}");
                fs::remove_file(image).unwrap();
            }
            Err(error) => {
                assert_eq!(error.exit(), Exit::Description);
                assert!(!refused.is_empty() && error.text().contains(refused), "{name} {size}: {}", error.text());
            }
        }
    }
}

/// Bytes of the metadata turned over, and files cut off: an error or other bytes, never a panic or a giant.
#[test]
fn damaged_images_are_errors_and_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let source =
        disk(&folder.path().join("source"), MIB, &[(0, 40 * KIB, Content::Text), (640 * KIB, 4096, Content::Noise)]);
    type Places = Vec<(usize, usize)>;
    let images: [(&str, &str, Places); 6] = [
        ("vhd", "force_size=on", vec![(0, 2100), (2_099_000, 2_099_700)]),
        ("vhd-fixed", "force_size=on", vec![(1_048_576, 1_049_088)]),
        ("vmdk", "", vec![(0, 600), (10_700, 11_300), (13_300, 15_400)]),
        ("vmdk", "subformat=streamOptimized", vec![(0, 600), (65_536, 66_100)]),
        ("vdi", "", vec![(60, 560)]),
        (
            "vhdx",
            "",
            vec![
                (65_536, 65_640),
                (131_072, 131_170),
                (196_608, 196_700),
                (2_097_152, 2_097_400),
                (2_162_688, 2_162_740),
                (3_145_728, 3_145_750),
            ],
        ),
    ];
    for (name, options, interesting) in images {
        let image = folder.path().join(write(&source, folder.path(), name, options).name);
        let good = fs::read(&image).unwrap();
        let damaged = folder.path().join("damaged");
        fs::write(&damaged, &good).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&damaged).unwrap();
        let end = (good.len().saturating_sub(1600), good.len());
        for at in interesting
            .into_iter()
            .chain([end])
            .flat_map(|(start, end)| start..end)
            .step_by(7)
            .filter(|at| *at < good.len())
        {
            for flip in [0x01, 0x80, 0xff] {
                file.write_all_at(&[good[at] ^ flip], at as u64).unwrap();
                if let Ok(reader) = format::open(&damaged) {
                    let mut content = Vec::new();
                    let _ = reader.take(2 * MIB).read_to_end(&mut content);
                }
            }
            file.write_all_at(&good[at..at + 1], at as u64).unwrap();
        }
        for length in [0, 1, 63, 68, 511, 512, 513, 1023, 1535, 1600, 65_535, 65_600, good.len() / 2, good.len() - 1] {
            if length >= good.len() {
                continue;
            }
            fs::write(&damaged, &good[..length]).unwrap();
            // What is left may be taken for a raw disk, where it begins as one.
            if let Ok(mut reader) = format::open(&damaged)
                && reader.format() != "raw"
            {
                let mut content = Vec::new();
                let read = reader.read_to_end(&mut content);
                assert!(
                    read.is_err() || name == "vhd" && content == fs::read(source.path()).unwrap(),
                    "{name} cut at {length}"
                );
            }
        }
    }
}

#[test]
fn gnu_tar_and_others_extract_the_disk_that_google_imports() {
    need!("tar", "bsdtar", "python3");
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    for (shape, size, ranges) in shapes() {
        let disk = disk(&source, size, &ranges);
        let artifact = write(&disk, folder.path(), "gce", "license=https://example.org/licenses/one");
        assert_eq!(artifact.name, "disk.tar.gz");
        let archive = folder.path().join(&artifact.name);
        assert_eq!(artifact.sha256, sha256(&archive), "{shape}");
        for program in ["tar", "bsdtar"] {
            let out = folder.path().join(program);
            fs::create_dir_all(&out).unwrap();
            run(program, &["-x", "-z", "-f", text(&archive), "-C", text(&out)]);
            run("cmp", &[text(&source), text(&out.join("disk.raw"))]);
            let manifest = fs::read_to_string(out.join("manifest.json")).unwrap();
            assert_eq!(manifest, r#"{"licenses":["https://example.org/licenses/one"]}"#);
            let used = |path: &Path| path.metadata().unwrap().blocks() * 512;
            assert!(used(&out.join("disk.raw")) <= used(&source) + 300 * 64 * KIB, "{shape}: {program}");
        }
        let listed = run("tar", &["-t", "-v", "-z", "--full-time", "-f", text(&archive)]);
        let lines: Vec<&str> = listed.lines().collect();
        assert!(
            lines[0].ends_with("2023-11-14 22:13:20 manifest.json") || lines[0].contains("manifest.json"),
            "{listed}"
        );
        assert!(lines.len() == 2 && lines[1].contains("disk.raw") && lines[1].contains(&size.to_string()), "{listed}");
        let python = "import sys,tarfile;print([(m.name,m.size,m.type) for m in tarfile.open(sys.argv[1])])";
        let said = run("python3", &["-c", python, text(&archive)]);
        assert!(said.contains(&format!("('disk.raw', {size}, b'S')")), "{said}");
    }
}

#[test]
fn an_ova_holds_its_descriptor_its_digests_and_its_disk_in_this_order() {
    need!("tar", "qemu-img", "python3", "sha256sum");
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let raw = disk(&source, 30 * MIB, &[(0, MIB, Content::Text), (29 * MIB, MIB, Content::Noise)]);
    let artifact = write(&raw, folder.path(), "ova", "memory=2048 ncpus=3 controller=pvscsi hwversion=13");
    let archive = folder.path().join(&artifact.name);
    assert_eq!(artifact.sha256, sha256(&archive));
    assert_eq!(write(&raw, folder.path(), "ova", "memory=2048 ncpus=3 controller=pvscsi hwversion=13"), artifact);
    let names = run("tar", &["-t", "-f", text(&archive)]);
    assert_eq!(names.lines().collect::<Vec<_>>(), ["disk.ovf", "disk.mf", "disk-disk1.vmdk"]);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    run("tar", &["-x", "-f", text(&archive), "-C", text(&out)]);
    for line in fs::read_to_string(out.join("disk.mf")).unwrap().lines() {
        let (name, sum) = line.strip_prefix("SHA256(").unwrap().split_once(")= ").unwrap();
        assert_eq!(sha256(&out.join(name)), sum, "{name}");
    }
    let vmdk = out.join("disk-disk1.vmdk");
    run("qemu-img", &["compare", "-f", "raw", "-F", "vmdk", text(&source), text(&vmdk)]);
    // Another parser, and the rules between elements: every reference leads somewhere.
    let python = r#"
import sys, os, xml.etree.ElementTree as E
O = "{http://schemas.dmtf.org/ovf/envelope/1}"
R = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
root = E.parse(sys.argv[1]).getroot()
assert [child.tag for child in root] == [O + n for n in ("References", "DiskSection", "NetworkSection", "VirtualSystem")]
file, disk = root.find(f".//{O}File"), root.find(f".//{O}Disk")
assert disk.get(O + "fileRef") == file.get(O + "id") and disk.get(O + "capacity") == str(30 << 20)
assert os.path.getsize(os.path.join(os.path.dirname(sys.argv[1]), file.get(O + "href"))) == int(file.get(O + "size"))
items = {i.find(R + "ResourceType").text: i for i in root.iter(O + "Item")}
assert items["3"].find(R + "VirtualQuantity").text == "3" and items["4"].find(R + "VirtualQuantity").text == "2048"
assert items["6"].find(R + "ResourceSubType").text == "VirtualSCSI"
assert items["17"].find(R + "HostResource").text == "ovf:/disk/" + disk.get(O + "diskId")
assert items["17"].find(R + "Parent").text == items["6"].find(R + "InstanceID").text
assert items["10"].find(R + "Connection").text == root.find(f".//{O}Network").get(O + "name")
for i in root.iter(O + "Item"):
    assert [e.tag for e in i] == sorted(e.tag for e in i)
print(root.find(f".//{O}Name").text)
"#;
    assert_eq!(run("python3", &["-c", python, text(&out.join("disk.ovf"))]), "A disk\n");
}

#[test]
fn compressed_disks_decompress_to_the_raw_one() {
    need!("gzip", "xz", "zstd");
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    for (shape, size, ranges) in shapes().into_iter().filter(|shape| shape.1 < GIB) {
        let disk = disk(&source, size, &ranges);
        for (name, program) in [("raw.gz", "gzip"), ("raw.xz", "xz"), ("raw.zst", "zstd")] {
            let mut digests = Vec::new();
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                digests.push(pool.install(|| write(&disk, folder.path(), name, "").sha256));
            }
            let image = folder.path().join(format!("disk.{name}"));
            assert_eq!(digests, [sha256(&image), sha256(&image)], "{shape}: {name}");
            let back = std::process::Command::new(program).args(["-d", "-c"]).arg(&image).output().unwrap();
            assert!(back.status.success() && back.stdout == fs::read(&source).unwrap(), "{shape}: {name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_disk_comes_back_as_it_was(
        sectors in 1_u64..9000,
        ranges in prop::collection::vec((0_u64..9000, 1_u64..300_000, content()), 0..12),
        image in prop::sample::select(IMAGES.to_vec()),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let size = sectors * 512;
        let ranges: Vec<_> = ranges
            .into_iter()
            .map(|(sector, length, content)| {
                let offset = sector % sectors * 512;
                (offset, length.min(size - offset), content)
            })
            .collect();
        let source = disk(&folder.path().join("source"), size, &ranges);
        let artifact = write(&source, folder.path(), image.0, image.1);
        let mut found = whole(&folder.path().join(artifact.name)).unwrap();
        prop_assert!(found.len() as u64 == size || !image.3);
        found.truncate(size as usize);
        prop_assert!(found == fs::read(source.path()).unwrap());
    }
}
