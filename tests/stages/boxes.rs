//! A disk with what says what to run it in: Vagrant's boxes, OVF archives, VMware's settings.

use std::fs;
use std::path::{Path, PathBuf};

use ingot::disk::RawDisk;
use ingot::error::Exit;
use ingot::format;
use ingot::pieces::Pieces;
use ingot::plan::FormatChoice;
use ingot::report::Reporter;

use super::format::{Content, MIB, choice, disk, identity, run, sha256, try_write, write};
use crate::support::need;
use crate::support::program::text;

/// Another parser of descriptors, and the rules between elements: every reference leads somewhere, items stand in order.
const DESCRIPTOR: &str = r#"
import sys, os, xml.etree.ElementTree as E
O = "{http://schemas.dmtf.org/ovf/envelope/1}"
R = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
root = E.parse(sys.argv[1]).getroot()
assert [child.tag for child in root] == [O + n for n in ("References", "DiskSection", "NetworkSection", "VirtualSystem")]
file, disk = root.find(f".//{O}File"), root.find(f".//{O}Disk")
assert disk.get(O + "fileRef") == file.get(O + "id")
assert os.path.getsize(os.path.join(os.path.dirname(sys.argv[1]), file.get(O + "href"))) == int(file.get(O + "size"))
items = list(root.iter(O + "Item"))
ids = [i.find(R + "InstanceID").text for i in items]
assert len(set(ids)) == len(ids), ids
networks = [n.get(O + "name") for n in root.iter(O + "Network")]
print("name", root.find(f".//{O}Name").text, "capacity", disk.get(O + "capacity"), "networks", *networks)
for i in items:
    assert [e.tag for e in i] == sorted(e.tag for e in i)
    part = lambda name: i.findtext(R + name, "-")
    assert part("Parent") in ids + ["-"] and part("Connection") in networks + ["-"]
    if part("ResourceType") == "17":
        assert part("HostResource") == "ovf:/disk/" + disk.get(O + "diskId")
    print(*(part(n) for n in ("ResourceType", "ResourceSubType", "VirtualQuantity", "Address", "Parent", "Connection")))
for e in root.iter():
    if e.tag.startswith("{http://www.vmware.com/schema/ovf}"):
        print(e.tag.split("}")[1], *(v for k, v in sorted(e.attrib.items()) if "vmware" in k))
"#;

fn source(folder: &Path) -> (PathBuf, RawDisk) {
    let source = folder.join("source");
    let disk = disk(&source, 30 * MIB, &[(0, MIB, Content::Text), (29 * MIB, MIB, Content::Noise)]);
    (source, disk)
}

/// The members of an archive, extracted into `out`.
fn extract(archive: &Path, out: &Path) -> Vec<String> {
    fs::create_dir(out).unwrap();
    run("tar", &["-x", "-f", text(archive), "-C", text(out)]);
    run("tar", &["-t", "-f", text(archive)]).lines().map(str::to_string).collect()
}

fn with(name: &str, options: &[(&str, &str)]) -> FormatChoice {
    let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    FormatChoice { options, ..choice(name, "") }
}

#[test]
fn a_box_for_libvirt_holds_metadata_a_vagrantfile_and_a_qcow2() {
    need!("tar", "qemu-img", "gzip");
    let folder = tempfile::tempdir().unwrap();
    let (source, raw) = source(folder.path());
    let options = "virtual_size=42 box_name=golden compression_type=zstd";
    let artifact = write(&raw, folder.path(), "vagrant-libvirt", options);
    assert_eq!(artifact.name, "disk.vagrant.libvirt.box");
    let archive = folder.path().join(&artifact.name);
    assert_eq!(artifact.sha256, sha256(&archive));
    assert_eq!(write(&raw, folder.path(), "vagrant-libvirt", options), artifact);
    run("gzip", &["-t", "-S", ".box", text(&archive)]);
    let out = folder.path().join("out");
    assert_eq!(extract(&archive, &out), ["metadata.json", "Vagrantfile", "box.img"]);
    let metadata: serde_json::Value = serde_json::from_slice(&fs::read(out.join("metadata.json")).unwrap()).unwrap();
    let expected = serde_json::json!({"name": "golden", "format": "qcow2", "provider": "libvirt", "virtual_size": 42});
    assert_eq!(metadata, expected);
    let vagrantfile = fs::read_to_string(out.join("Vagrantfile")).unwrap();
    let expected = "Vagrant.configure(\"2\") do |config|
  config.vm.synced_folder \".\", \"/vagrant\", type: \"rsync\"
  config.vm.provider :libvirt do |libvirt|
    libvirt.driver = \"kvm\"
  end
end
";
    assert_eq!(vagrantfile, expected);
    let image = out.join("box.img");
    assert!(run("qemu-img", &["check", "-f", "qcow2", text(&image)]).contains("No errors were found"));
    run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", text(&source), text(&image)]);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "no scratch is left: {left:?}");
}

#[test]
fn a_box_for_virtualbox_holds_a_descriptor_and_a_disk_of_the_size_that_was_asked_for() {
    need!("tar", "qemu-img", "python3");
    let folder = tempfile::tempdir().unwrap();
    let (source, raw) = source(folder.path());
    let artifact = write(&raw, folder.path(), "vagrant-virtualbox", "virtual_size=3 firmware=efi");
    assert_eq!(artifact.name, "disk.vagrant.virtualbox.box");
    let out = folder.path().join("out");
    let members = extract(&folder.path().join(&artifact.name), &out);
    assert_eq!(members, ["metadata.json", "Vagrantfile", "box.ovf", "box.vmdk"]);
    assert_eq!(fs::read_to_string(out.join("metadata.json")).unwrap(), "{\n  \"provider\": \"virtualbox\"\n}");
    let vagrantfile = fs::read_to_string(out.join("Vagrantfile")).unwrap();
    let lines: Vec<&str> = vagrantfile.lines().map(str::trim).collect();
    let address = lines[1].strip_prefix("config.vm.base_mac = \"080027").unwrap().strip_suffix('"').unwrap();
    assert!(address.len() == 6 && address.bytes().all(|byte| byte.is_ascii_hexdigit()), "{vagrantfile}");
    assert!(lines[2].contains("type: \"rsync\"") && lines[4].contains("\"--firmware\", \"efi\""), "{vagrantfile}");
    let said = run("python3", &["-c", DESCRIPTOR, text(&out.join("box.ovf"))]);
    let expected = format!(
        "name A disk capacity {} networks nat\n3 - 1 - - -\n4 - 1024 - - -\n20 AHCI - 0 - -\n17 - - - 3 -\n\
         10 E1000 - - - nat\n",
        3_u64 << 30
    );
    assert_eq!(said, expected);
    let vmdk = out.join("box.vmdk");
    assert!(run("qemu-img", &["check", "-f", "vmdk", text(&vmdk)]).contains("No errors were found"));
    // What is behind the shorter one is zeros.
    run("qemu-img", &["compare", "-f", "raw", "-F", "vmdk", text(&source), text(&vmdk)]);
    let info = run("qemu-img", &["info", "--output=json", "-f", "vmdk", text(&vmdk)]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["virtual-size"], 3_u64 << 30);
    assert_eq!(info["format-specific"]["data"]["create-type"], "streamOptimized");
    // Guest additions share the folder themselves.
    let out = folder.path().join("additions");
    write(&raw, folder.path(), "vagrant-virtualbox", "guest_additions=on");
    extract(&folder.path().join("disk.vagrant.virtualbox.box"), &out);
    assert!(!fs::read_to_string(out.join("Vagrantfile")).unwrap().contains("rsync"));
}

#[test]
fn a_vagrantfile_of_ones_own_goes_into_the_box_and_what_no_box_can_be_is_refused() {
    need!("tar");
    let folder = tempfile::tempdir().unwrap();
    let raw = disk(&folder.path().join("source"), 1500 * MIB, &[(0, MIB, Content::Text)]);
    fs::write(folder.path().join("mine"), "# mine\n").unwrap();
    let own = with("vagrant-libvirt", &[("vagrantfile", "mine")]);
    format::check(&own, folder.path()).unwrap();
    let identity = format::Identity { folder: folder.path().into(), ..identity() };
    let step = Reporter::silent().step("format");
    let artifact = format::write(&own, &raw, &identity, folder.path(), "disk", &mut Pieces::ignored(), &step).unwrap();
    let out = folder.path().join("out");
    extract(&folder.path().join(artifact.name), &out);
    assert_eq!(fs::read_to_string(out.join("Vagrantfile")).unwrap(), "# mine\n");
    assert!(fs::read_to_string(out.join("metadata.json")).unwrap().contains("\"virtual_size\": 2"));
    let missing = format::check(&with("vagrant-libvirt", &[("vagrantfile", "other")]), folder.path()).unwrap_err();
    assert_eq!(missing.exit(), Exit::InputMissing);
    let small = try_write(&raw, folder.path(), "vagrant-libvirt", "virtual_size=1").unwrap_err();
    assert_eq!(small.exit(), Exit::Description);
    assert!(small.to_string().contains("its end would be cut off"), "{small}");
    for (name, options) in [
        ("vagrant-libvirt", "guest_additions=on"),
        ("vagrant-libvirt", "firmware=efi"),
        ("vagrant-libvirt", "virtual_size=0"),
        ("vagrant-libvirt", "adapter_type=ide"),
        ("vagrant-virtualbox", "subformat=monolithicSparse"),
        ("vagrant-virtualbox", "compression_type=zstd"),
        ("vagrant-virtualbox", "guest_additions=perhaps"),
        ("ova", "subformat=monolithicSparse"),
        ("ova", "controller=legacyESX"),
        ("ova", "memory=0"),
        ("vmx", "subformat=streamOptimized"),
    ] {
        let error = format::check(&choice(name, options), folder.path()).expect_err(options);
        assert_eq!(error.exit(), Exit::Description, "{name} {options}");
    }
}

const MACHINE: &[(&str, &str)] = &[
    ("memory", "2048"),
    ("ncpus", "3"),
    ("hwversion", "13"),
    ("guest_os", "debian11_64Guest"),
    ("controller", "pvscsi"),
    ("disk_id", "1"),
    ("dvd", "ide:0"),
    ("nic.0", "driver=vmxnet3 mode=bridged mac=00:0c:29:aa:bb:cc"),
    ("nic.1", "driver=e1000"),
    ("firmware", "efi"),
    ("entry.0", "a.b = \"c & d\""),
];

#[test]
fn an_ova_says_all_that_the_machine_has() {
    need!("tar", "python3");
    let folder = tempfile::tempdir().unwrap();
    let (_, raw) = source(folder.path());
    let step = Reporter::silent().step("format");
    let ova = with("ova", MACHINE);
    format::write(&ova, &raw, &identity(), folder.path(), "disk", &mut Pieces::ignored(), &step).unwrap();
    let out = folder.path().join("out");
    assert_eq!(extract(&folder.path().join("disk.ova"), &out), ["disk.ovf", "disk.mf", "disk-disk1.vmdk"]);
    let said = run("python3", &["-c", DESCRIPTOR, text(&out.join("disk.ovf"))]);
    let expected = "name A disk capacity 31457280 networks bridged nat
3 - 3 - - -
4 - 2048 - - -
6 VirtualSCSI - 1 - -
17 - - - 3 -
5 PIIX4 - 0 - -
15 - - - 5 -
10 VmxNet3 - 00:0c:29:aa:bb:cc - bridged
10 E1000 - - - nat
Config firmware efi
ExtraConfig a.b c & d
";
    assert_eq!(said, expected);
    let descriptor = fs::read_to_string(out.join("disk.ovf")).unwrap();
    assert!(descriptor.contains("vmw:osType=\"debian11_64Guest\"") && descriptor.contains(">vmx-13<"), "{descriptor}");
}

#[test]
fn settings_of_vmware_name_the_disk_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let (_, raw) = source(folder.path());
    let step = Reporter::silent().step("format");
    let vmx = with("vmx", MACHINE);
    let artifact =
        format::write(&vmx, &raw, &identity(), folder.path(), "disk", &mut Pieces::ignored(), &step).unwrap();
    assert_eq!(artifact.name, "disk.vmx");
    let text = fs::read_to_string(folder.path().join("disk.vmx")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for line in [
        "displayName = \"A disk\"",
        "virtualHW.version = \"13\"",
        "scsi1.virtualDev = \"pvscsi\"",
        "scsi1:0.fileName = \"disk.vmdk\"",
        "ide0:0.deviceType = \"cdrom-raw\"",
        "ethernet0.address = \"00:0c:29:aa:bb:cc\"",
        "ethernet1.addressType = \"generated\"",
        "a.b = \"c & d\"",
    ] {
        assert!(lines.contains(&line), "{line}: {text}");
    }
    let keys: Vec<&str> = lines.iter().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key).collect();
    let unique: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(unique.len(), keys.len(), "no key stands twice: {text}");
}
