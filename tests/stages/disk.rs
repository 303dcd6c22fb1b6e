//! Partition tables, filesystems and whole disks, each checked by a foreign reader.

mod boot;
mod whole;

use std::io::{Cursor, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use ingot::bytes::Bytes;
use ingot::disk::gpt::{self, Attributes, GptPartition};
use ingot::disk::mbr::{self, Active, MbrPartition};
use ingot::disk::table::{Listed, PartitionType, read_partitions};
use ingot::plan::{Seed, Uuid};
use proptest::prelude::*;

use crate::support::need;

/// What a program printed; it must end well.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}", output.status);
    text
}

fn uuid(label: &str) -> Uuid {
    Seed::new("disk", "1", None).uuid(label)
}

fn three_partitions() -> Vec<GptPartition> {
    let row = |number, kind, name: &str, start, size, attributes| GptPartition {
        number,
        kind,
        uuid: uuid(name),
        start: Bytes::mib(start),
        size: Bytes::mib(size),
        name: name.into(),
        attributes,
    };
    vec![
        row(1, gpt::kind::BIOS_BOOT, "p.legacy", 1, 1, Attributes::LEGACY_BOOT),
        row(2, gpt::kind::ESP, "p.UEFI", 2, 20, Attributes::REQUIRED),
        row(3, gpt::kind::root("x86_64"), "p.lxroot-ä", 22, 41, Attributes::default()),
    ]
}

fn gpt_disk() -> Vec<u8> {
    let size = Bytes::mib(64);
    let ends = gpt::write(size, uuid("disk"), &three_partitions(), &[0x90; 440]).unwrap();
    let mut disk = vec![0; size.0 as usize];
    disk[..ends.head.len()].copy_from_slice(&ends.head);
    let tail = disk.len() - ends.tail.len();
    disk[tail..].copy_from_slice(&ends.tail);
    disk
}

fn write_disk(path: &Path, content: &[u8]) -> String {
    std::fs::write(path, content).unwrap();
    path.to_str().unwrap().into()
}

#[test]
fn a_gpt_is_what_sfdisk_sgdisk_and_gptman_read() {
    need!("sfdisk", "sgdisk");
    let folder = tempfile::tempdir().unwrap();
    let path = write_disk(&folder.path().join("disk"), &gpt_disk());
    assert!(said("/usr/sbin/sfdisk", &["--verify", &path]).contains("No errors detected"));
    assert!(said("/usr/sbin/sgdisk", &["-v", &path]).contains("No problems found"));
    let json: serde_json::Value = serde_json::from_str(&said("/usr/sbin/sfdisk", &["-J", &path])).unwrap();
    let table = &json["partitiontable"];
    assert_eq!(table["label"], "gpt");
    assert_eq!(table["id"], uuid("disk").to_string().to_uppercase());
    let rows: Vec<String> = table["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            format!("{} {} {} {} {} {}", row["start"], row["size"], row["type"], row["uuid"], row["name"], row["attrs"])
        })
        .collect();
    let wanted: Vec<String> = three_partitions()
        .iter()
        .map(|row| {
            let attributes = match row.number {
                1 => "\"LegacyBIOSBootable\"",
                2 => "\"RequiredPartition\"",
                _ => "null",
            };
            let (kind, uuid) = (row.kind.to_string().to_uppercase(), row.uuid.to_string().to_uppercase());
            format!(
                "{} {} \"{kind}\" \"{uuid}\" \"{}\" {attributes}",
                row.start.sectors(),
                row.size.sectors(),
                row.name
            )
        })
        .collect();
    assert_eq!(rows, wanted);
    let read = gptman::GPT::find_from(&mut std::fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(read.header.disk_guid, uuid("disk").to_gpt());
    assert_eq!(read[3].partition_name.as_str(), "p.lxroot-ä");
}

#[test]
fn the_backup_gpt_saves_a_disk_whose_first_sectors_are_lost() {
    need!("sgdisk");
    let folder = tempfile::tempdir().unwrap();
    let mut disk = gpt_disk();
    disk[512..34 * 512].fill(0);
    let path = write_disk(&folder.path().join("disk"), &disk);
    let output = Command::new("/usr/sbin/sgdisk").args(["-p", &path]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("p.lxroot"), "{text}");
}

#[test]
fn a_gpt_reads_back_as_it_was_written() {
    let wanted: Vec<Listed> = three_partitions()
        .into_iter()
        .map(|row| Listed {
            number: row.number,
            kind: PartitionType::Gpt(row.kind),
            start: row.start,
            size: row.size,
            name: row.name,
        })
        .collect();
    assert_eq!(read_partitions(&mut Cursor::new(gpt_disk()), Bytes::mib(64)).unwrap(), wanted);
    // The same table on sectors of 4096 bytes, made by gptman.
    let mut disk = Cursor::new(vec![0; 16 << 20]);
    let mut table = gptman::GPT::new_from(&mut disk, 4096, [7; 16]).unwrap();
    table[2] = gptman::GPTPartitionEntry {
        partition_type_guid: gpt::kind::ESP.to_gpt(),
        unique_partition_guid: [1; 16],
        starting_lba: 100,
        ending_lba: 199,
        attribute_bits: 0,
        partition_name: "esp".into(),
    };
    gptman::GPT::write_protective_mbr_into(&mut disk, 4096).unwrap();
    table.write_into(&mut disk).unwrap();
    let esp = Listed {
        number: 2,
        kind: PartitionType::Gpt(gpt::kind::ESP),
        start: Bytes(409_600),
        size: Bytes(409_600),
        name: "esp".into(),
    };
    assert_eq!(read_partitions(&mut disk, Bytes::mib(16)).unwrap(), [esp]);
}

#[test]
fn an_mbr_is_what_sfdisk_reads() {
    need!("sfdisk");
    let folder = tempfile::tempdir().unwrap();
    let row = |number, kind, active, start, size| MbrPartition {
        number,
        kind,
        active,
        start: Bytes::mib(start),
        size: Bytes::mib(size),
    };
    let rows = [row(1, mbr::kind::SWAP, Active::No, 1, 7), row(2, mbr::kind::LINUX, Active::Yes, 8, 56)];
    let mut disk = vec![0; 64 << 20];
    disk[..512].copy_from_slice(&mbr::boot_record(&[0x90; 512], 0x1234_abcd, &rows).unwrap());
    let path = write_disk(&folder.path().join("disk"), &disk);
    assert!(said("/usr/sbin/sfdisk", &["--verify", &path]).contains("No errors detected"));
    let dump = said("/usr/sbin/sfdisk", &["-d", &path]);
    assert!(dump.contains("label: dos\nlabel-id: 0x1234abcd\n"), "{dump}");
    let lines: Vec<String> =
        dump.lines().filter_map(|line| line.split_once(" : ")).map(|(_, row)| row.replace(' ', "")).collect();
    assert_eq!(lines, ["start=2048,size=14336,type=82", "start=16384,size=114688,type=83,bootable"]);
    let read = read_partitions(&mut Cursor::new(disk), Bytes::mib(64)).unwrap();
    let numbers: Vec<_> = read.iter().map(|row| (row.number, row.kind, row.start, row.size)).collect();
    let wanted = [(1, 0x82, 1, 7), (2, 0x83, 8, 56)];
    assert_eq!(
        numbers,
        wanted.map(|(number, kind, start, size)| {
            (number, PartitionType::Mbr(kind), Bytes::mib(start), Bytes::mib(size))
        })
    );
}

#[test]
fn logical_partitions_are_listed_as_sfdisk_made_them() {
    need!("sfdisk");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let script = "label: dos\n2048,2048,83\n4096,,05\n6144,2048,83\n10240,4096,82\n";
    let mut sfdisk = Command::new("/usr/sbin/sfdisk");
    let mut child =
        sfdisk.arg(&path).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let read = read_partitions(&mut std::fs::File::open(&path).unwrap(), Bytes::mib(64)).unwrap();
    let rows: Vec<_> = read.iter().map(|row| (row.number, row.start.sectors(), row.size.sectors())).collect();
    assert_eq!(rows, [(1, 2048, 2048), (5, 6144, 2048), (6, 10240, 4096)]);
}

#[test]
fn a_loop_of_logical_partitions_is_an_error() {
    let mut disk = vec![0; 1 << 20];
    let mut record = |at: usize, kind: u8, start: u32| {
        disk[at + 446 + 4] = kind;
        disk[at + 446 + 8..][..4].copy_from_slice(&start.to_le_bytes());
        disk[at + 446 + 12..][..4].copy_from_slice(&100_u32.to_le_bytes());
        disk[at + 510..at + 512].copy_from_slice(&[0x55, 0xaa]);
    };
    record(0, 5, 8);
    record(8 * 512, 0, 0);
    // The second link points to itself.
    disk[16 * 512 + 510..][..2].copy_from_slice(&[0x55, 0xaa]);
    for link in [8, 16] {
        disk[link * 512 + 446 + 16 + 4] = 5;
        disk[link * 512 + 446 + 16 + 8] = 8;
        disk[link * 512 + 446 + 16 + 12] = 9;
    }
    let error = read_partitions(&mut Cursor::new(disk), Bytes::mib(1)).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the partition table: the chain of logical partitions has no end");
}

#[test]
fn a_partition_that_does_not_fit_its_table_is_refused() {
    let disk = Bytes::mib(64);
    let refused = |change: &dyn Fn(&mut GptPartition)| {
        let mut row = three_partitions().remove(2);
        change(&mut row);
        gpt::write(disk, uuid("disk"), &[row], &[]).unwrap_err().to_string()
    };
    let between = "cannot write partition 3 into a GPT: it does not lie between the two copies of the table";
    assert_eq!(refused(&|row| row.size = Bytes::mib(42)), between);
    assert_eq!(refused(&|row| row.start = Bytes(512)), between);
    assert_eq!(
        refused(&|row| row.name = "x".repeat(37)),
        "cannot write partition 3 into a GPT: its name is longer than 36 characters"
    );
    let far = MbrPartition { number: 1, kind: 0x83, active: Active::No, start: Bytes(1 << 42), size: Bytes::mib(1) };
    let error = mbr::boot_record(&[], 1, &[far]).unwrap_err().to_string();
    assert_eq!(error, "cannot write partition 1 into an MBR: an MBR holds four primary partitions below 2 TiB");
}

proptest! {
    #[test]
    fn a_damaged_table_is_an_error_or_a_table_and_never_a_panic(
        places in prop::collection::vec((0_usize..4096, any::<u8>()), 1..8), fix in any::<bool>(), size in 0_u64..80
    ) {
        let mut disk = gpt_disk();
        for (place, byte) in places {
            disk[place] = byte;
        }
        if fix {
            // Right checksums over wrong numbers reach the checks behind them.
            let entries = crc32fast::hash(&disk[1024..1024 + 128 * 128]);
            disk[512 + 88..512 + 92].copy_from_slice(&entries.to_le_bytes());
            disk[512 + 16..512 + 20].fill(0);
            let own = crc32fast::hash(&disk[512..512 + 92]);
            disk[512 + 16..512 + 20].copy_from_slice(&own.to_le_bytes());
        }
        disk.truncate(size as usize * 1024 * 1024);
        let length = Bytes(disk.len() as u64);
        if let Ok(found) = read_partitions(&mut Cursor::new(disk), length) {
            for partition in found {
                prop_assert!(partition.start + partition.size <= length);
            }
        }
    }
}

#[test]
fn a_disk_without_a_table_has_no_partitions() {
    let mut disk = Cursor::new(vec![0_u8; 4096]);
    assert_eq!(read_partitions(&mut disk, Bytes(4096)).unwrap(), []);
    disk.seek(SeekFrom::Start(0)).unwrap();
    assert_eq!(read_partitions(&mut disk, Bytes(100)).unwrap(), []);
}
