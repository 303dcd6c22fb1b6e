//! publish.toml: every key reaches a command, or is refused with its place.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use super::{Place, done, refused};

/// `ingot publish --dry-run`, which needs no program of a cloud.
fn dry_run(place: &Place, target: &str, text: &str) -> Command {
    place.parameters(text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ingot"));
    command.args(["publish", place.release().to_str().unwrap(), "--to", target, "--dry-run", "--quiet"]);
    command.env("XDG_STATE_HOME", place.join("state"));
    command
}

/// A release with an artifact for each cloud.
fn place() -> Place {
    let place = Place::new();
    place.raw(1 << 20, &[1]);
    let content = fs::read(place.release().join("it.raw")).unwrap();
    let mut fixed = content.clone();
    fixed.extend([0; 512]);
    fs::write(place.release().join("it.vhd"), fixed).unwrap();
    for name in ["it.tar.gz", "it.qcow2", "it.oci.tar"] {
        fs::write(place.release().join(name), &content).unwrap();
    }
    let path = place.release().join("it.qcow2");
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", path.to_str().unwrap(), "3G"]).status();
    assert!(made.unwrap().success());
    let formats = ["raw", "vhd-fixed", "gce", "qcow2", "oci"];
    let names = ["it.raw", "it.vhd", "it.tar.gz", "it.qcow2", "it.oci.tar"];
    place.list(&names.into_iter().zip(formats).collect::<Vec<_>>());
    place
}

const AWS: &str = "aws:eu-central-1/bucket";
const AZURE: &str = "azure:account/images";
const GCE: &str = "gce:project/bucket";
const OPENSTACK: &str = "openstack:lab";
const REGISTRY: &str = "registry:registry.example.org/it:1";

#[test]
fn each_key_reaches_a_command() {
    crate::support::need!("qemu-img");
    let place = place();
    let table = [
        (AWS, "aws", "name = \"{name} {version} ({arch})\"", "--name 'it 1.0.0 (x86_64)'"),
        (AWS, "aws", "description = \"it's mine\"", "--description 'it'\\''s mine'"),
        (AWS, "aws", "volume-size = 12", "--volume-size 12 "),
        (AWS, "aws", "volume-type = \"gp2\"", "\"VolumeType\":\"gp2\""),
        (AWS, "aws", "root-device = \"/dev/sda1\"", "--root-device-name /dev/sda1"),
        (AWS, "aws", "boot-mode = \"uefi\"", "--boot-mode uefi "),
        (AWS, "aws", "kms-key = \"arn:aws:kms:r:1:key/2\"", "--encrypted --kms-key-arn arn:aws:kms:r:1:key/2"),
        (AWS, "aws", "visibility = \"public\"", "{\"Add\":[{\"Group\":\"all\"}]}"),
        (AWS, "aws", "share-with = [\"123456789012\"]", "{\"Add\":[{\"UserId\":\"123456789012\"}]}"),
        (AWS, "aws", "tags = { Name = \"mine\" }", "{\"Key\":\"Name\",\"Value\":\"mine\"}"),
        (AWS, "aws", "method = \"s3\"\nprefix = \"in/\"", "s3://bucket/in/"),
        (AZURE, "azure", "resource-group = \"g\"", "az image create --resource-group g --name it-1.0.0-x86_64-"),
        (AZURE, "azure", "resource-group = \"g\"\nlocation = \"westeurope\"", "--location westeurope"),
        (AZURE, "azure", "resource-group = \"g\"\nhyper-v-generation = \"V2\"", "--hyper-v-generation V2"),
        (AZURE, "azure", "resource-group = \"g\"\ntags = { a = \"b c\" }", " 'a=b c' "),
        (AZURE, "azure", "resource-group = \"g\"\nauth-mode = \"key\"", "--auth-mode key"),
        (AZURE, "azure", "resource-group = \"g\"\nprefix = \"in/\"", "--name in/"),
        (
            AZURE,
            "azure",
            "upload-only = true\nname = \"{name}\"",
            "az storage blob url --account-name account --container-name images --name it.vhd",
        ),
        (GCE, "gce", "name = \"It.Is\"", "images create it-is "),
        (GCE, "gce", "description = \"a b\"", "--description 'a b'"),
        (GCE, "gce", "family = \"it\"", "--family it"),
        (GCE, "gce", "guest-os-features = [\"GVNIC\"]", "--guest-os-features GVNIC "),
        (GCE, "gce", "licenses = [\"l1\", \"l2\"]", "--licenses l1,l2"),
        (GCE, "gce", "labels = { a = \"b\" }", "--labels a=b,ingot-digest="),
        (GCE, "gce", "storage-location = \"eu\"", "--storage-location eu"),
        (GCE, "gce", "visibility = \"public\"", "--member=allAuthenticatedUsers"),
        (GCE, "gce", "prefix = \"in/\"", "gs://bucket/in/"),
        (GCE, "gce", "tool = \"gsutil\"", "gsutil -o GSUtil:parallel_composite_upload_threshold=0 cp "),
        (OPENSTACK, "openstack", "name = \"mine\"", "--file "),
        (OPENSTACK, "openstack", "visibility = \"community\"", "--community"),
        (OPENSTACK, "openstack", "min-disk = 5", "--min-disk 5 "),
        (OPENSTACK, "openstack", "", "--min-disk 3 "),
        (OPENSTACK, "openstack", "min-ram = 512", "--min-ram 512 "),
        (OPENSTACK, "openstack", "properties = { os_distro = \"debian\" }", "--property os_distro=debian"),
        (OPENSTACK, "openstack", "tags = [\"golden\"]", "--tag golden"),
        (OPENSTACK, "openstack", "format = \"raw\"", "--disk-format raw"),
        (REGISTRY, "registry", "tls-verify = false", "--dest-tls-verify=false"),
        (REGISTRY, "registry", "tags = [\"latest\"]", "docker://registry.example.org/it:latest"),
    ];
    for (target, name, text, wanted) in table {
        let (lines, _) = done(&mut dry_run(&place, target, &format!("[{name}]\n{text}\n")));
        assert!(lines.contains(wanted), "{text}: {wanted}\n{lines}");
    }
    // What is there without being asked for goes where a key says so.
    for (target, text, absent) in [
        (AWS, "[aws]\nimds = \"optional\"", "--imds-support"),
        (AWS, "[aws]\nena = false", "--ena-support"),
        (AWS, "[aws]\nmethod = \"s3\"\nkeep-upload = true", "aws s3 rm"),
        (AZURE, "[azure]\nresource-group = \"g\"\nkeep-upload = true", "blob delete"),
        (AZURE, "[azure]\nupload-only = true", "az image"),
        (GCE, "[gce]\nguest-os-features = []", "--guest-os-features"),
        (GCE, "[gce]\nkeep-upload = true", "storage rm"),
        (GCE, "[gce]\nupload-only = true", "compute images"),
    ] {
        let name = target.split(':').next().unwrap();
        let more = if name == "azure" { "resource-group = \"g\"" } else { "" };
        let (usual, _) = done(&mut dry_run(&place, target, &format!("[{name}]\n{more}")));
        let usual =
            if text.contains("s3") { done(&mut dry_run(&place, target, "[aws]\nmethod = \"s3\"")).0 } else { usual };
        let (lines, _) = done(&mut dry_run(&place, target, text));
        assert!(usual.contains(absent) && !lines.contains(absent), "{text}: {absent}\n{lines}");
    }
}

/// A release with one disk of 8 MiB: this table, boot code or none, written by qemu-img.
fn partitioned(table: &str, boot_code: &[u8], name: &str, format: &str, options: &[&str]) -> Place {
    let place = Place::new();
    let raw = place.join("disk.raw");
    fs::write(&raw, vec![0; 8 << 20]).unwrap();
    let mut sfdisk = Command::new("sfdisk").args(["--quiet", "--no-reread"]).arg(&raw).stdin(Stdio::piped()).spawn();
    sfdisk.as_mut().unwrap().stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
    assert!(sfdisk.unwrap().wait().unwrap().success());
    fs::File::options().write(true).open(&raw).unwrap().write_all(boot_code).unwrap();
    let image = place.release().join(name);
    let converted =
        Command::new("qemu-img").args(["convert", "-f", "raw"]).args(options).arg(&raw).arg(&image).status();
    assert!(converted.unwrap().success());
    place.list(&[(name, format)]);
    place
}

#[test]
fn an_image_of_aws_starts_as_the_partition_table_of_its_disk_says_in_whatever_format_it_is() {
    crate::support::need!("qemu-img", "sfdisk");
    const ESP: &str = "label: gpt\nsize=2MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n";
    let both = format!("{ESP}size=1MiB, type=21686148-6449-6E6F-744E-656564454649\n");
    let formats = [
        ("it.raw", "raw", &["-O", "raw"][..]),
        ("it.vhd", "vhd-fixed", &["-O", "vpc", "-o", "subformat=fixed,force_size=on"]),
        ("it.vhd", "vhd", &["-O", "vpc", "-o", "subformat=dynamic,force_size=on"]),
        ("it.vmdk", "vmdk", &["-O", "vmdk", "-o", "subformat=streamOptimized"]),
    ];
    for (table, boot_code, mode) in [
        (ESP, &[0; 4], "uefi"),
        (&both, &[0; 4], "uefi-preferred"),
        ("label: gpt\nsize=2MiB\n", &[0; 4], "legacy-bios"),
        ("label: dos\nsize=2MiB, type=83\n", b"code", "legacy-bios"),
        ("label: dos\nsize=2MiB, type=ef\n", &[0; 4], "uefi"),
        ("label: dos\nsize=2MiB, type=ef\n", b"code", "uefi-preferred"),
    ] {
        for (name, format, options) in formats {
            let place = partitioned(table, boot_code, name, format, options);
            let (lines, _) = done(&mut dry_run(&place, AWS, "[aws]\nmethod = \"s3\"\n"));
            assert!(lines.contains(&format!("--boot-mode {mode} ")), "{table} as {format}, not {mode}:\n{lines}");
        }
    }
    // What cannot be read here is not guessed.
    let place = Place::new();
    fs::write(place.release().join("it.vmdk"), "# Disk DescriptorFile\n".repeat(40)).unwrap();
    place.list(&[("it.vmdk", "vmdk")]);
    let s3 = "[aws]\nmethod = \"s3\"\n";
    refused(&mut dry_run(&place, AWS, s3), 65, "cannot use the vmdk image");
    done(&mut dry_run(&place, AWS, &format!("{s3}boot-mode = \"uefi\"\n")));
}

#[test]
fn what_a_key_cannot_mean_is_refused_with_its_place() {
    let place = Place::new();
    place.raw(2 << 30, &[1]);
    fs::write(place.release().join("it.vhd"), [0; 512]).unwrap();
    fs::write(place.release().join("it.tar.gz"), "x").unwrap();
    place.list(&[("it.raw", "raw"), ("it.vhd", "vhd-fixed"), ("it.tar.gz", "gce")]);
    let table = [
        (AWS, "[aws]\nregion = \"x\"", "unknown key `region`"),
        (AWS, "[amazon]\n", "unknown table [amazon]"),
        (AWS, "[aws]\nmethod = \"ftp\"", "one of ebs, s3"),
        (AWS, "[aws]\nprefix = \"x/\"", "`prefix` of [aws] means nothing"),
        (AWS, "[aws]\nkeep-upload = true", "`keep-upload` of [aws] means nothing"),
        (AWS, "[aws]\nvolume-size = 1", "the disk needs 2 GiB"),
        (AWS, "[aws]\nname = \"{nam}\"", "names no image"),
        (AWS, "[aws]\nname = \"a*b\"", "the cloud takes no image called `a*b`"),
        (AWS, "[aws]\nname = \"--all\"", "a text in quotes"),
        (AWS, "[aws]\nshare-with = [123456789012]", "account numbers of 12 digits in quotes"),
        (AWS, "[aws]\ntags = { ingot-digest = \"x\" }", "those are ingot's own"),
        (AWS, "[aws]\nboot-mode = [", "malformed TOML"),
        (AZURE, "[azure]\n", "`resource-group` is missing"),
        (AZURE, "[azure]\nupload-only = true\nlocation = \"x\"", "`location` of [azure] means nothing"),
        (AZURE, "[azure]\nresource-group = \"g\"\nname = \"a b\"", "the cloud takes no image called `a b`"),
        (GCE, "[gce]\nupload-only = true\nfamily = \"x\"", "`family` of [gce] means nothing"),
        (GCE, "[gce]\nlabels = { a = \"b,c\" }", "`labels` of [gce] means nothing with a comma"),
        (GCE, "[gce]\nfamily = \"It\"", "lower-case letters"),
    ];
    for (target, text, wanted) in table {
        let said = refused(&mut dry_run(&place, target, text), 78, wanted);
        let has_place =
            said.contains("publish.toml:2:") || said.contains("publish.toml:1:") || said.contains("publish.toml:3:");
        let by_content =
            wanted.contains("names no") || wanted.contains("takes no") || wanted.contains("the disk needs");
        assert!(has_place || by_content || wanted.contains("missing"), "{text}: {said}");
    }
    refused(dry_run(&place, AWS, "").args(["--parameters", "/no/such/file"]), 66, "/no/such/file");
    let latin = place.join("latin.toml");
    fs::write(&latin, b"[aws]\nname = \"f\xfcr\"\n").unwrap();
    refused(dry_run(&place, AWS, "").args(["--parameters", latin.to_str().unwrap()]), 78, "line 2 is not UTF-8");
}
