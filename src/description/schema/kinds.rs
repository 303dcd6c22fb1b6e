//! Rows: what stands inside `<type>`: boot loader, size, volumes, partitions, machines, containers.

use super::{Element, Value, attribute, element};

const ONE_NUMBER: &str = "the files of a machine hold one number, that of `memory` and of `ncpus`";
const PLACE_OF_DISK: &str = "the controller and its number say where the disk is";
const GRUB_OPTIONS: &str = "GRUB is installed by ingot itself, and takes no such options yet";
const VOLUMES: &str = "volumes are not made yet: use one root filesystem";
const S390: &str = "boot loaders of s390 are not installed yet";
const INITRD: &str = "dracut modules are not chosen yet: put a file into root/etc/dracut.conf.d";
const INPUTS: &[&str] = &["none", "console", "serial", "at_keyboard", "usb_keyboard"];
const OUTPUTS: &[&str] = &["none", "console", "gfxterm", "serial", "vga_text", "mda_text", "morse", "spkmodem"];

pub(super) const ELEMENTS: &[Element] = &[
    element("bootloader", &["type"]).about("The boot loader").with(&[
        attribute("name", Value::OneOf(&["grub2", "grub2_s390x_emu", "systemd_boot", "custom", "zipl"]))
            .about("Which one")
            .mandatory(),
        attribute("timeout", Value::Number).about("Seconds until the menu goes on; 10"),
        attribute("timeout_style", Value::OneOf(&["countdown", "hidden", "menu"])).about("What is seen until then"),
        attribute("output_console", Value::WordsOf(OUTPUTS)).about("Where the menu is written to"),
        attribute("input_console", Value::WordsOf(INPUTS))
            .about("Where keys are read from; as output_console where it is missing"),
        attribute("serial_line", Value::Text).about("Arguments of GRUB's serial command"),
        attribute("video_mode", Value::Text).about("Resolution of the menu").ignored("GRUB's menu is plain text"),
        attribute("targettype", Value::OneOf(&["FBA", "SCSI", "CDL", "GPT"]))
            .about("Kind of disk on s390")
            .refused(S390),
        attribute("grub_template", Value::Text)
            .about("GRUB's configuration before it is filled in")
            .refused("GRUB's configuration is written by ingot itself"),
        attribute("use_disk_password", Value::Boolean)
            .about("GRUB opens the encrypted disk")
            .refused("encrypted disks are not written yet"),
        attribute("bls", Value::Boolean)
            .about("Entries by the boot loader specification")
            .ignored("entries of the Boot Loader Specification are written where the image's own tools write them"),
    ]),
    element("bootloadersettings", &["bootloader"])
        .about("Options of programs that install the boot loader")
        .refused(GRUB_OPTIONS),
    element("shimoption", &["bootloadersettings"]).about("Option of shim-install").often().with(&[
        attribute("name", Value::NotEmpty).about("The option").mandatory(),
        attribute("value", Value::Text).about("Its value"),
    ]),
    element("installoption", &["bootloadersettings"]).about("Option of the installer").often().with(&[
        attribute("name", Value::NotEmpty).about("The option").mandatory(),
        attribute("value", Value::Text).about("Its value"),
    ]),
    element("configoption", &["bootloadersettings"]).about("Option of the configuration's writer").often().with(&[
        attribute("name", Value::NotEmpty).about("The option").mandatory(),
        attribute("value", Value::Text).about("Its value"),
    ]),
    element("environment", &["bootloadersettings", "containerconfig"])
        .about("Variables: of the container, or of the boot loader")
        .needs(&["env"]),
    element("env", &["environment"]).about("One variable").often().with(&[
        attribute("name", Value::NotEmpty).about("Its name").mandatory(),
        attribute("value", Value::Text).about("Its value").mandatory(),
    ]),
    element("securelinux", &["bootloader"])
        .about("Encrypts what starts, on s390")
        .often()
        .needs(&["hkd_cert"])
        .with(&[
            attribute("hkd_sign_cert", Value::NotEmpty).about("Certificate that signed the host's key").mandatory(),
            attribute("hkd_ca_cert", Value::NotEmpty).about("Certificate that signed that one").mandatory(),
        ])
        .refused(S390),
    element("hkd_cert", &["securelinux"])
        .about("The host's key")
        .often()
        .with(&[attribute("name", Value::NotEmpty).about("Its file").mandatory()]),
    element("hkd_revocation_list", &["securelinux"])
        .about("Certificates that are no longer good")
        .often()
        .with(&[attribute("name", Value::NotEmpty).about("Its file").mandatory()]),
    element("size", &["type"])
        .about("Size of the disk; as large as its content where it is missing")
        .text(Value::Number)
        .with(&[
            attribute("unit", Value::OneOf(&["M", "G"])).about("M for MiB, G for GiB; M"),
            attribute("additive", Value::Boolean).about("The size is added to that of the content"),
            attribute("unpartitioned", Value::Number).about("So much at the end is in no partition"),
        ]),
    element("systemdisk", &["type"])
        .about("Volumes: LVM's, or subvolumes of btrfs")
        .with(&[
            attribute("name", Value::Text).about("Name of the volume group"),
            attribute("preferlvm", Value::Boolean).about("LVM also on btrfs"),
        ])
        .refused(VOLUMES),
    element("volume", &["systemdisk", "volumes"])
        .about("A volume: of a disk, or a folder of a container that is kept outside")
        .often()
        .with(&[
            attribute("name", Value::NotEmpty).about("Its path; @root for the root").mandatory(),
            attribute("mountpoint", Value::Text)
                .about("Where it is mounted, where that is not its name")
                .refused(VOLUMES),
            attribute("size", Value::VolumeSize).about("Its size").refused(VOLUMES),
            attribute("freespace", Value::VolumeSize).about("Free space beside its content").refused(VOLUMES),
            attribute("copy_on_write", Value::Boolean).about("Whether btrfs copies what is changed").refused(VOLUMES),
            attribute("filesystem_check", Value::Boolean)
                .about("Whether it is checked when the system starts")
                .refused(VOLUMES),
            attribute("label", Value::Text).about("Its label").refused(VOLUMES),
            attribute("parent", Value::Text).about("The subvolume that it lies in").refused(VOLUMES),
            attribute("quota", Value::PartitionSize).about("So much may be in it").refused(VOLUMES),
            attribute("arch", Value::Architectures).about("On these architectures only").refused(VOLUMES),
        ]),
    element("partitions", &["type"])
        .about("Partitions of one's own")
        .needs(&["partition"])
        .refused("partitions of one's own are not made yet"),
    element("partition", &["partitions"]).about("A partition").often().with(&[
        attribute("name", Value::NotEmpty).about("Its name").mandatory(),
        attribute("size", Value::PartitionSize).about("Its size").mandatory(),
        attribute("mountpoint", Value::Text).about("Where it is mounted"),
        attribute("filesystem", Value::OneOf(&["btrfs", "ext2", "ext3", "ext4", "squashfs", "xfs", "fat16", "fat32"]))
            .about("Its filesystem"),
        attribute("partition_name", Value::ShortName).about("Its name in the table"),
        attribute("partition_type", Value::OneOf(&["t.linux", "t.raid"])).about("Its type in the table"),
        attribute("part_id", Value::Number).about("Its number"),
        attribute("label", Value::Text).about("Its filesystem's label"),
        attribute("clone", Value::Number).about("Copies of it"),
    ]),
    element("machine", &["type"]).about("The virtual machine that the disk is for").with(&[
        attribute("memory", Value::Number).about("Memory in MiB"),
        attribute("guestOS", Value::Text).about("The system that runs in it, in VMware's words"),
        attribute("HWversion", Value::Integer).about("Version of the virtual hardware"),
        attribute("ovftype", Value::OneOf(&["vmware"])).about("Kind of OVF file"),
        attribute("arch", Value::OneOf(&["ix86", "x86_64"]))
            .about("Architecture of the machine")
            .ignored("the architecture of the image counts"),
        attribute("xen_loader", Value::OneOf(&["hvmloader", "pygrub", "pvgrub"]))
            .about("How Xen starts it")
            .ignored("no settings for Xen are written"),
        attribute("ncpus", Value::Number).about("Number of processors"),
        attribute("min_cpu", Value::Number).about("Least number of processors").ignored(ONE_NUMBER),
        attribute("max_cpu", Value::Number).about("Largest number of processors").ignored(ONE_NUMBER),
        attribute("min_memory", Value::Number).about("Least memory in MiB").ignored(ONE_NUMBER),
        attribute("max_memory", Value::Number).about("Largest memory in MiB").ignored(ONE_NUMBER),
    ]),
    element("vmconfig-entry", &["machine"]).about("A line of the machine's file, as it is").text(Value::Text).often(),
    element("vmdisk", &["machine"]).about("The machine's disk").with(&[
        attribute("controller", Value::OneOf(&["ide", "buslogic", "lsilogic", "lsisas1068", "legacyESX", "pvscsi"]))
            .about("What the disk is attached to"),
        attribute("id", Value::Number).about("Its number"),
        attribute("device", Value::Text).about("Its name").ignored(PLACE_OF_DISK),
        attribute("disktype", Value::Text).about("Its type").ignored(PLACE_OF_DISK),
        attribute(
            "diskmode",
            Value::OneOf(&[
                "monolithicSparse",
                "monolithicFlat",
                "twoGbMaxExtentSparse",
                "twoGbMaxExtentFlat",
                "streamOptimized",
            ]),
        )
        .about("How VMware lays it out"),
    ]),
    element("vmdvd", &["machine"]).about("The machine's DVD drive").with(&[
        attribute("controller", Value::OneOf(&["ide", "scsi"])).about("What the drive is attached to").mandatory(),
        attribute("id", Value::Number).about("Its number").mandatory(),
    ]),
    element("vmnic", &["machine"]).about("A network card of the machine").often().with(&[
        attribute("driver", Value::Text).about("Its driver"),
        attribute("interface", Value::Text).about("Its number").mandatory(),
        attribute("mac", Value::MacAddress).about("Its address"),
        attribute("mode", Value::Text).about("How it reaches the network"),
    ]),
    element("vagrantconfig", &["type"]).about("A box for Vagrant").often().with(&[
        attribute("provider", Value::OneOf(&["libvirt", "virtualbox"])).about("What runs the box").mandatory(),
        attribute("virtualsize", Value::Number).about("Size of its disk in GB").mandatory(),
        attribute("boxname", Value::Text).about("Name of the box"),
        attribute("virtualbox_guest_additions_present", Value::Boolean)
            .about("VirtualBox's additions are in the image"),
        attribute("embedded_vagrantfile", Value::Text).about("A Vagrantfile to put into the box"),
    ]),
    element("containerconfig", &["type"]).about("Name and settings of a container").with(&[
        attribute("name", Value::NotEmpty).about("Name, with or without a registry").mandatory(),
        attribute("tag", Value::NotEmpty).about("Tag; latest"),
        attribute("additionalnames", Value::NotEmpty).about("More names: name:tag, :tag, name, divided by commas"),
        attribute("maintainer", Value::Text).about("Author; the description's where it is missing"),
        attribute("user", Value::NotEmpty).about("Who runs the command"),
        attribute("workingdir", Value::NotEmpty).about("Where it runs"),
    ]),
    element("entrypoint", &["containerconfig"]).about("What is started in front of the command").with(&[
        attribute("execute", Value::NotEmpty).about("The program"),
        attribute("clear", Value::Boolean).about("Takes an entry point of the container below away"),
    ]),
    element("subcommand", &["containerconfig"]).about("The command; /bin/bash where there is neither").with(&[
        attribute("execute", Value::NotEmpty).about("The program"),
        attribute("clear", Value::Boolean).about("Takes a command of the container below away"),
    ]),
    element("argument", &["entrypoint", "subcommand"]).about("An argument of the program").often().with(&[attribute(
        "name",
        Value::Text,
    )
    .about("The argument")
    .mandatory()]),
    element("expose", &["containerconfig"]).about("Ports that are served").needs(&["port"]),
    element("port", &["expose"]).about("A port").often().with(&[attribute("number", Value::Port)
        .about("Its number, and the protocol where it is not tcp")
        .mandatory()]),
    element("volumes", &["containerconfig"]).about("Folders that are kept outside of the container").needs(&["volume"]),
    element("labels", &["containerconfig"]).about("Labels").needs(&["label"]),
    element("label", &["labels"]).about("A label").often().with(&[
        attribute("name", Value::NotEmpty).about("Its name").mandatory(),
        attribute("value", Value::Text).about("Its value").mandatory(),
    ]),
    element("history", &["containerconfig"])
        .about("The layer's entry in the history; the text is its comment")
        .text(Value::Text)
        .with(&[
            attribute("author", Value::Text).about("Who made the layer"),
            attribute("created_by", Value::Text).about("What made it"),
            attribute("launcher", Value::Text)
                .about("Program that Windows starts")
                .only(&["appx"])
                .ignored("only a container for Windows uses it"),
            attribute("application_id", Value::Text)
                .about("Name of that program")
                .only(&["appx"])
                .ignored("only a container for Windows uses it"),
            attribute("package_version", Value::PackageVersion)
                .about("Version of the package for Windows")
                .only(&["appx"])
                .ignored("only a container for Windows uses it"),
        ]),
    element("stopsignal", &["containerconfig"]).about("Signal that stops the container").text(Value::NotEmpty),
    element("luksformat", &["type"])
        .about("Options of the encryption")
        .needs(&["option"])
        .refused("encrypted disks are not written yet"),
    element("option", &["luksformat"]).about("An option of cryptsetup").often().with(&[
        attribute("name", Value::NotEmpty).about("The option").mandatory(),
        attribute("value", Value::Text).about("Its value"),
    ]),
    element("installmedia", &["type"])
        .about("What the initrd of the installation medium has")
        .ignored("installation media are not made yet"),
    element("initrd", &["type", "installmedia"])
        .about("What dracut puts into the initrd")
        .often()
        .with(&[attribute("action", Value::OneOf(&["omit", "add", "set", "setup"]))
            .about("What happens to the modules")
            .mandatory()])
        .refused(INITRD),
    element("dracut", &["initrd"]).about("A module or driver").often().with(&[
        attribute("module", Value::Text).about("Name of the module"),
        attribute("driver", Value::Text).about("Name of the driver"),
        attribute("uefi", Value::Boolean).about("Kernel and initrd in one file for UEFI"),
    ]),
];
