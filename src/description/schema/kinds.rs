//! Rows: what stands inside `<type>`: boot loader, size, volumes, partitions, machines, containers.

use super::{Element, Value, attribute, element};

const VIRTUAL_MACHINE: &str = "only formats that describe a virtual machine use it";
const GRUB_OPTIONS: &str = "GRUB is installed by ingot itself, and takes no such options yet";
const S390: &str = "boot loaders of s390 are not installed yet";
const INITRD: &str = "dracut modules are not chosen yet: put a file into root/etc/dracut.conf.d";
const INPUTS: &[&str] = &["none", "console", "serial", "at_keyboard", "usb_keyboard"];
const OUTPUTS: &[&str] = &["none", "console", "gfxterm", "serial", "vga_text", "mda_text", "morse", "spkmodem"];

pub(super) const ELEMENTS: &[Element] = &[
    element("bootloader", &["type"]).with(&[
        attribute("name", Value::OneOf(&["grub2", "grub2_s390x_emu", "systemd_boot", "custom", "zipl"])).mandatory(),
        attribute("timeout", Value::Number),
        attribute("timeout_style", Value::OneOf(&["countdown", "hidden", "menu"])),
        attribute("output_console", Value::WordsOf(OUTPUTS)),
        attribute("input_console", Value::WordsOf(INPUTS)),
        attribute("serial_line", Value::Text),
        attribute("video_mode", Value::Text).ignored("GRUB's menu is plain text"),
        attribute("targettype", Value::OneOf(&["FBA", "SCSI", "CDL", "GPT"])).refused(S390),
        attribute("grub_template", Value::Text).refused("GRUB's configuration is written by ingot itself"),
        attribute("use_disk_password", Value::Boolean).refused("encrypted disks are not written yet"),
        attribute("bls", Value::Boolean).ignored("Debian's GRUB reads no boot loader specification entries"),
    ]),
    element("bootloadersettings", &["bootloader"]).refused(GRUB_OPTIONS),
    element("shimoption", &["bootloadersettings"])
        .often()
        .with(&[attribute("name", Value::NotEmpty).mandatory(), attribute("value", Value::Text)]),
    element("installoption", &["bootloadersettings"])
        .often()
        .with(&[attribute("name", Value::NotEmpty).mandatory(), attribute("value", Value::Text)]),
    element("configoption", &["bootloadersettings"])
        .often()
        .with(&[attribute("name", Value::NotEmpty).mandatory(), attribute("value", Value::Text)]),
    element("environment", &["bootloadersettings", "containerconfig"]).needs(&["env"]),
    element("env", &["environment"])
        .often()
        .with(&[attribute("name", Value::NotEmpty).mandatory(), attribute("value", Value::Text).mandatory()]),
    element("securelinux", &["bootloader"])
        .often()
        .needs(&["hkd_cert"])
        .with(&[
            attribute("hkd_sign_cert", Value::NotEmpty).mandatory(),
            attribute("hkd_ca_cert", Value::NotEmpty).mandatory(),
        ])
        .refused(S390),
    element("hkd_cert", &["securelinux"]).often().with(&[attribute("name", Value::NotEmpty).mandatory()]),
    element("hkd_revocation_list", &["securelinux"]).often().with(&[attribute("name", Value::NotEmpty).mandatory()]),
    element("size", &["type"]).text(Value::Number).with(&[
        attribute("unit", Value::OneOf(&["M", "G"])),
        attribute("additive", Value::Boolean),
        attribute("unpartitioned", Value::Number),
    ]),
    element("systemdisk", &["type"])
        .with(&[attribute("name", Value::Text), attribute("preferlvm", Value::Boolean)])
        .refused("volumes are not made yet: use one root filesystem"),
    element("volume", &["systemdisk", "volumes"]).often().with(&[
        attribute("name", Value::NotEmpty).mandatory(),
        attribute("mountpoint", Value::Text),
        attribute("size", Value::VolumeSize),
        attribute("freespace", Value::VolumeSize),
        attribute("copy_on_write", Value::Boolean),
        attribute("filesystem_check", Value::Boolean),
        attribute("label", Value::Text),
        attribute("parent", Value::Text),
        attribute("quota", Value::PartitionSize),
        attribute("arch", Value::Architectures),
    ]),
    element("partitions", &["type"]).needs(&["partition"]).refused("partitions of one's own are not made yet"),
    element("partition", &["partitions"]).often().with(&[
        attribute("name", Value::NotEmpty).mandatory(),
        attribute("size", Value::PartitionSize).mandatory(),
        attribute("mountpoint", Value::Text),
        attribute("filesystem", Value::OneOf(&["btrfs", "ext2", "ext3", "ext4", "squashfs", "xfs", "fat16", "fat32"])),
        attribute("partition_name", Value::ShortName),
        attribute("partition_type", Value::OneOf(&["t.linux", "t.raid"])),
        attribute("part_id", Value::Number),
        attribute("label", Value::Text),
        attribute("clone", Value::Number),
    ]),
    element("machine", &["type"])
        .with(&[
            attribute("memory", Value::Number),
            attribute("guestOS", Value::Text),
            attribute("HWversion", Value::Integer),
            attribute("ovftype", Value::OneOf(&["vmware"])),
            attribute("arch", Value::OneOf(&["ix86", "x86_64"])),
            attribute("xen_loader", Value::OneOf(&["hvmloader", "pygrub", "pvgrub"])),
            attribute("ncpus", Value::Number),
            attribute("min_cpu", Value::Number),
            attribute("max_cpu", Value::Number),
            attribute("min_memory", Value::Number),
            attribute("max_memory", Value::Number),
        ])
        .ignored(VIRTUAL_MACHINE),
    element("vmconfig-entry", &["machine"]).text(Value::Text).often(),
    element("vmdisk", &["machine"]).with(&[
        attribute("controller", Value::OneOf(&["ide", "buslogic", "lsilogic", "lsisas1068", "legacyESX", "pvscsi"])),
        attribute("id", Value::Number),
        attribute("device", Value::Text),
        attribute("disktype", Value::Text),
        attribute(
            "diskmode",
            Value::OneOf(&[
                "monolithicSparse",
                "monolithicFlat",
                "twoGbMaxExtentSparse",
                "twoGbMaxExtentFlat",
                "streamOptimized",
            ]),
        ),
    ]),
    element("vmdvd", &["machine"]).with(&[
        attribute("controller", Value::OneOf(&["ide", "scsi"])).mandatory(),
        attribute("id", Value::Number).mandatory(),
    ]),
    element("vmnic", &["machine"]).often().with(&[
        attribute("driver", Value::Text),
        attribute("interface", Value::Text).mandatory(),
        attribute("mac", Value::MacAddress),
        attribute("mode", Value::Text),
    ]),
    element("vagrantconfig", &["type"])
        .often()
        .with(&[
            attribute("provider", Value::OneOf(&["libvirt", "virtualbox"])).mandatory(),
            attribute("virtualsize", Value::Number).mandatory(),
            attribute("boxname", Value::Text),
            attribute("virtualbox_guest_additions_present", Value::Boolean),
            attribute("embedded_vagrantfile", Value::Text),
        ])
        .ignored(VIRTUAL_MACHINE),
    element("containerconfig", &["type"]).with(&[
        attribute("name", Value::NotEmpty).mandatory(),
        attribute("tag", Value::NotEmpty),
        attribute("additionalnames", Value::NotEmpty),
        attribute("maintainer", Value::Text),
        attribute("user", Value::NotEmpty),
        attribute("workingdir", Value::NotEmpty),
    ]),
    element("entrypoint", &["containerconfig"])
        .with(&[attribute("execute", Value::NotEmpty), attribute("clear", Value::Boolean)]),
    element("subcommand", &["containerconfig"])
        .with(&[attribute("execute", Value::NotEmpty), attribute("clear", Value::Boolean)]),
    element("argument", &["entrypoint", "subcommand"]).often().with(&[attribute("name", Value::Text).mandatory()]),
    element("expose", &["containerconfig"]).needs(&["port"]),
    element("port", &["expose"]).often().with(&[attribute("number", Value::Port).mandatory()]),
    element("volumes", &["containerconfig"]).needs(&["volume"]),
    element("labels", &["containerconfig"]).needs(&["label"]),
    element("label", &["labels"])
        .often()
        .with(&[attribute("name", Value::NotEmpty).mandatory(), attribute("value", Value::Text).mandatory()]),
    element("history", &["containerconfig"]).text(Value::Text).with(&[
        attribute("author", Value::Text),
        attribute("created_by", Value::Text),
        attribute("launcher", Value::Text).only(&["appx"]).ignored("only a container for Windows uses it"),
        attribute("application_id", Value::Text).only(&["appx"]).ignored("only a container for Windows uses it"),
        attribute("package_version", Value::PackageVersion)
            .only(&["appx"])
            .ignored("only a container for Windows uses it"),
    ]),
    element("stopsignal", &["containerconfig"]).text(Value::NotEmpty),
    element("luksformat", &["type"]).needs(&["option"]).refused("encrypted disks are not written yet"),
    element("option", &["luksformat"])
        .often()
        .with(&[attribute("name", Value::NotEmpty).mandatory(), attribute("value", Value::Text)]),
    element("installmedia", &["type"]).ignored("installation media are not made yet"),
    element("initrd", &["type", "installmedia"])
        .often()
        .with(&[attribute("action", Value::OneOf(&["omit", "add", "set", "setup"])).mandatory()])
        .refused(INITRD),
    element("dracut", &["initrd"]).often().with(&[
        attribute("module", Value::Text),
        attribute("driver", Value::Text),
        attribute("uefi", Value::Boolean),
    ]),
];
