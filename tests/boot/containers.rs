//! Debian with podman and a container in it, cast once: a cloud's format of it starts without a network, and runs what it
//! holds.

use std::fs;
use std::path::Path;

use super::machine::{Machine, live_once};
use crate::support::image::{Bench, Description, Ingot, result, unpack};
use crate::support::program::{run, text};
use crate::support::{alone, need, scratch_root};

/// What the guest says, in one write: the kernel and systemd talk on the same line. Two runs differ in what is left to load.
const REPORT: &str = r#"#!/bin/sh
folder=/var/lib/ingot/containers
{
    echo
    echo "names: $(podman images --noheading --format '{{.Repository}}:{{.Tag}}')"
    echo "digest: $(podman image inspect --format '{{.Digest}}' localhost/tiny:1)"
    echo "driver: $(podman info --format '{{.Store.GraphDriverName}}')"
    echo "runs: $(podman run --rm --network=none localhost/tiny:1 from its container 2>&1)"
    echo "kept: $(ls $folder)"
    of() { systemctl show --property "$1" --value kiwi_containers.service; }
    echo "unit: $(of Result), $(of ActiveState), $(of ConditionResult)"
    echo "failed: $(systemctl list-units --failed --plain --no-legend)"
    journalctl --unit kiwi_containers.service --output cat --no-pager
    echo "networks: $(ls /sys/class/net | xargs)"
    echo "the report ends"
} >/run/report 2>&1
cat /run/report >/dev/ttyS0
"#;

const UNIT: &str = "\
[Unit]
Description=Say what containers there are
After=kiwi_containers.service

[Service]
Type=oneshot
ExecStart=/bin/sh /usr/local/lib/report

[Install]
WantedBy=multi-user.target
";

/// `debian-minimal` with podman, which holds `tiny.oci.tar`, pinned, and says so on its console.
fn holder(folder: &Path, tiny: &Path, digest: &str) -> Description {
    let minimal = Path::new(env!("CARGO_MANIFEST_DIR")).join("descriptions/debian-minimal");
    let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("rootfs-overlays");
    fs::create_dir_all(folder).unwrap();
    run("cp", &["-a", text(&overlays), text(&folder.join("rootfs-overlays"))]);
    let script = fs::read_to_string(minimal.join("config.sh")).unwrap();
    let containers = format!(
        "<containers source=\"this://tiny.oci.tar\" backend=\"podman\"><container name=\"tiny\" tag=\"1\"/></containers>\n\
         <extension><i:container xmlns:i=\"urn:ingot:1\" name=\"tiny\" digest=\"{digest}\"/></extension>\n"
    );
    let first = "<repository type=\"apt-deb\" alias=\"debian\" ";
    let udev = "<package name=\"udev\"/>";
    let xml = fs::read_to_string(minimal.join("config.xml")).unwrap();
    Description::of(&folder.join("descriptions/holder"), &xml)
        .edit(first, &format!("{containers}{first}"))
        .edit(udev, &format!("{udev}<package name=\"podman\"/><package name=\"crun\"/>"))
        .file("tiny.oci.tar", fs::read(tiny).unwrap())
        .file("root/usr/local/lib/report", REPORT)
        .file("root/etc/systemd/system/report.service", UNIT)
        .script("config.sh", &format!("{script}\nbaseInsertService report"))
}

/// A format, written by ingot, has what the raw disk has, as qemu-img reads it.
#[track_caller]
fn same_disk(raw: &Path, driver: &str, image: &Path) {
    if matches!(driver, "vhdx" | "vdi" | "qcow2") {
        run("qemu-img", &["check", "-f", driver, text(image)]);
    }
    let said = run("qemu-img", &["compare", "-f", "raw", "-F", driver, text(raw), text(image)]);
    assert!(said.contains("Images are identical"), "{driver}: {said}");
}

#[test]
fn a_debian_in_a_clouds_format_starts_and_runs_the_containers_that_it_holds() {
    need!(root);
    need!("qemu-system-x86_64", "qemu-img", "skopeo", "tar");
    let _turn = alone();
    let bench = Bench::new();
    let tiny = bench.container().edit("image=\"docker\"", "image=\"oci\"");
    bench.build_into(&tiny, "tiny").run().expect(0);
    let tiny = result(&bench.path("tiny"), ".oci.tar");
    let digest = run("skopeo", &["inspect", "--format", "{{.Digest}}", &format!("oci-archive:{}", text(&tiny))]);
    let digest = digest.trim();

    // Cast once, as a qcow2 and as what that was made of.
    let holder = holder(&bench.path("holder"), &tiny, digest);
    let out = bench.path("out");
    let build = Ingot::new(["build", "--profile", "Disk", "--target-dir"]).arg(&out).arg(holder.folder());
    let cache = scratch_root().join("debian-cache");
    build.env("INGOT_CACHE_DIR", text(&cache)).env("INGOT_WORK_DIR", text(&bench.path("work"))).run().expect(0);
    let raw = result(&out, ".raw");
    same_disk(&raw, "qcow2", &result(&out, ".qcow2"));

    // One of each family: what one of them starts from, the others hold, too.
    for (name, driver, option) in [
        ("disk.vhdx", "vhdx", ""),
        ("disk.vdi", "vdi", ""),
        ("disk.vhd", "vpc", "force_size=on"),
        ("disk.vmdk", "vmdk", ""),
        ("stream.vmdk", "vmdk", "subformat=streamOptimized"),
        ("disk.tar.gz", "raw", ""),
    ] {
        let image = bench.path(name);
        let convert = Ingot::new(["convert"]).arg(&raw).arg(&image);
        let convert = if option.is_empty() { convert } else { convert.arg("-O").arg(option) };
        convert.run().expect(0);
        if name.ends_with(".tar.gz") {
            unpack(&image, &bench.path("gce"));
            same_disk(&raw, driver, &bench.path("gce/disk.raw"));
            fs::remove_dir_all(bench.path("gce")).unwrap();
        } else {
            same_disk(&raw, driver, &image);
        }
        if name != "disk.vhdx" {
            fs::remove_file(image).unwrap();
        }
    }

    // The first start loads the container. There is no network, and QEMU writes what stays into the vhdx.
    let vhdx = bench.path("disk.vhdx");
    let (digest, end) = (format!("\ndigest: {digest}\n"), "\nthe report ends\n");
    let everywhere = [
        "\nnames: localhost/tiny:1\n",
        &digest,
        "\ndriver: overlay\n",
        "\nruns: tiny-app from its container\n",
        "\nkept: \n",
        "\nfailed: \n",
        "\nnetworks: lo\n",
    ];
    let machine = Machine { disk: &vhdx, driver: "vhdx", option: "", network: "none" };
    let said = live_once(&machine, &[end], bench.path("").as_path());
    for line in everywhere.iter().chain(&["\nunit: success, active, yes\n"]) {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    run("qemu-img", &["check", "-f", "vhdx", text(&vhdx)]);

    // The second one, from another family's format of that disk, has it and loads nothing.
    let stream = bench.path("second.vmdk");
    Ingot::new(["convert"]).arg(&vhdx).arg(&stream).args(["-O", "subformat=streamOptimized"]).run().expect(0);
    let machine = Machine { disk: &stream, driver: "vmdk", option: "snapshot=on", network: "none" };
    let said = live_once(&machine, &[end], bench.path("").as_path());
    for line in everywhere.iter().chain(&["\nunit: success, inactive, no\n"]) {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
}
