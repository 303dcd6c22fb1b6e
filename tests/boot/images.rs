//! A disk of each format in QEMU: its firmware reads the first sector, and that reads one near the end.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::support::image::Ingot;
use crate::support::{alone, need, scratch};

/// Loads the sector that its packet names and writes it to the serial port, up to a zero.
const LOADER: &[u8] = &[
    0xfa, // cli
    0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, // ax, ds, ss = 0
    0xbc, 0x00, 0x7c, // sp = 0x7c00
    0xfb, 0xfc, // sti, cld
    0xbe, 0x40, 0x7c, 0xb4, 0x42, 0xcd, 0x13, // read what the packet at 0x7c40 says
    0x72, 0x0e, // on failure: halt
    0xbe, 0x00, 0x80, // si = 0x8000
    0xac, 0x84, 0xc0, 0x74, 0x06, // next byte; zero: halt
    0xba, 0xf8, 0x03, 0xee, // to the port
    0xeb, 0xf5, // again
    0xf4, 0xeb, 0xfd, // halt
];
/// Where the text is.
const SECTOR: u64 = 600_000;

#[test]
fn a_disk_of_each_format_boots() {
    need!("qemu-system-x86_64");
    let _turn = alone();
    let scratch = scratch();
    let raw = scratch.path().join("disk.raw");
    let file = fs::File::create(&raw).unwrap();
    file.set_len(300 << 20).unwrap();
    file.write_all_at(LOADER, 0).unwrap();
    // The packet: its length, one sector, to 0:0x8000.
    let packet = [&[16, 0, 1, 0, 0x00, 0x80, 0, 0], SECTOR.to_le_bytes().as_slice()].concat();
    file.write_all_at(&packet, 0x40).unwrap();
    file.write_all_at(&[0x55, 0xaa], 510).unwrap();
    file.write_all_at(b"the sector near the end is here\r\n", SECTOR * 512).unwrap();
    for (name, options) in [
        ("disk.vhd", "force_size=on"),
        ("disk.vhdfixed", "force_size=on"),
        ("disk.vhdx", "subformat=dynamic"),
        ("disk.vmdk", "subformat=monolithicSparse"),
        ("stream.vmdk", "subformat=streamOptimized"),
        ("disk.vdi", ""),
    ] {
        let image = scratch.path().join(name);
        let mut convert = Ingot::new(["convert"]).arg(&raw).arg(&image);
        if !options.is_empty() {
            convert = convert.arg("-O").arg(options);
        }
        convert.run().expect(0);
        let boot = Ingot::new(["boot"]).arg(&image).arg("--firmware").arg("bios");
        boot.arg("--expect").arg("near the end is here").arg("--timeout").arg("120").run().expect(0);
    }
}
