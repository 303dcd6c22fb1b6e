//! Rows: `<type>` and its attributes.

use super::{Attribute, Element, Value, attribute, element};

const OEM: &[&str] = &["oem"];
const OEM_ISO: &[&str] = &["oem", "iso"];
const OEM_KIS: &[&str] = &["oem", "kis"];
const ANY_SYSTEM: &[&str] = &["oem", "iso", "pxe", "kis"];
const CONTAINER: &[&str] = &["docker", "oci"];

const BTRFS: &str = "btrfs is not written yet";
const LUKS: &str = "encrypted disks are not written yet";
const INTEGRITY: &str = "dm-verity and dm-integrity are not set up yet";
const OVERLAYROOT: &str = "a read-only root under an overlay is not made yet";
const SPARE: &str = "a spare partition is not made yet";
const INSTALL: &str = "installation media are not made yet: remove it to get the disk alone";
const NO_INSTALL_MEDIA: &str = "only an installation medium uses it, and none is made";
const NO_LIVE: &str = "only a live medium uses it";
const KIWI_INITRD: &str = "KIWI's own initrd images are not supported: use dracut or initramfs-tools";
const PARTITION_ID: &str = "partitions are numbered in the order in which they lie on the disk";
const EDIT_BOOT: &str =
    "it would write to the disk on the build host; what disk.sh puts into the tree is on the disk, too";

pub(super) const ELEMENTS: &[Element] =
    &[element("type", &["preferences"]).about("An image that can be built").often().with(&ATTRIBUTES)];

const ATTRIBUTES: [Attribute; 97] = [
    attribute("image", Value::OneOf(&IMAGES)).about("What is built").mandatory(),
    attribute("primary", Value::Boolean).about("Built where --type chooses none"),
    attribute("bundle_format", Value::Text)
        .about("Names of bundled results: %N name, %P profiles, %A architecture, %I id, %T type, %v version")
        .ignored("only `kiwi result bundle` names its files by it"),
    attribute("volid", Value::ShortName).about("Volume id of the medium").only(OEM_ISO).ignored(NO_INSTALL_MEDIA),
    attribute("application_id", Value::VolumeText)
        .about("Application id of the medium")
        .only(OEM_ISO)
        .ignored(NO_INSTALL_MEDIA),
    attribute("publisher", Value::VolumeText).about("Publisher of the medium").only(&["iso"]).ignored(NO_LIVE),
    attribute("metadata_path", Value::Text).about("Folder with AppxManifest.xml").only(&["appx"]),
    // The root filesystem.
    attribute("filesystem", Value::OneOf(&["btrfs", "ext2", "ext3", "ext4", "squashfs", "erofs", "xfs"]))
        .about("The root filesystem")
        .only(ANY_SYSTEM),
    attribute("fscreateoptions", Value::Text).about("Options of its mkfs").means(ANY_SYSTEM),
    attribute("fsmountoptions", Value::Text).about("Its mount options").means(ANY_SYSTEM),
    attribute("rootfs_label", Value::NotEmpty)
        .about("Its label; ROOT where it is missing")
        .only(&["oem", "pxe", "kis", "docker"]),
    attribute("squashfscompression", Value::OneOf(&["uncompressed", "gzip", "lzo", "lz4", "xz", "zstd"]))
        .about("How a squashfs is compressed")
        .only(&["oem", "pxe", "kis", "iso", "squashfs"])
        .ignored("no squashfs is written"),
    attribute("erofscompression", Value::Text)
        .about("How an erofs is compressed: zstd,level=12")
        .only(&["oem", "pxe", "kis", "iso", "erofs"])
        .ignored("no erofs is written"),
    attribute("ramonly", Value::Boolean)
        .about("Keeps all changes in memory")
        .only(OEM)
        .refused("a root in memory is not made yet"),
    attribute("btrfs_root_is_snapper_snapshot", Value::Boolean)
        .about("The root is the first snapshot of snapper")
        .only(OEM)
        .refused(BTRFS),
    attribute("btrfs_root_is_readonly_snapshot", Value::Boolean)
        .about("That snapshot cannot be changed")
        .only(OEM)
        .refused(BTRFS),
    attribute("btrfs_root_is_subvolume", Value::Boolean).about("The root is a subvolume").only(OEM).refused(BTRFS),
    attribute("btrfs_set_default_volume", Value::Boolean)
        .about("That subvolume is the one that is mounted by default")
        .only(OEM)
        .refused(BTRFS),
    attribute("btrfs_quota_groups", Value::Boolean)
        .about("Accounts for the space of subvolumes")
        .only(OEM)
        .refused(BTRFS),
    // The disk's table.
    attribute("firmware", Value::OneOf(&["bios", "ec2", "efi", "uefi", "ofw", "opal", "custom"]))
        .about("What starts the disk; uefi means with Secure Boot")
        .only(&["oem", "pxe", "iso"]),
    attribute("efiparttable", Value::OneOf(&["msdos", "gpt"]))
        .about("Partition table of a disk for UEFI")
        .only(OEM_ISO),
    attribute("force_mbr", Value::Boolean).about("An MBR also where a GPT is usual").only(OEM),
    attribute("gpt_hybrid_mbr", Value::Boolean)
        .about("A GPT and an MBR with the same partitions")
        .only(OEM_ISO)
        .refused("a hybrid table is not written yet"),
    attribute("dosparttable_extended_layout", Value::Boolean)
        .about("More than four partitions in an MBR")
        .only(OEM)
        .refused("extended partitions are not written yet"),
    attribute("disk_start_sector", Value::AtLeast(2048))
        .about("Where the first partition begins, in sectors of 512 bytes; 2048")
        .only(OEM),
    attribute("target_blocksize", Value::Number).about("Bytes in a sector of the target disk; 512").only(OEM_KIS),
    attribute("apply_dps_codes", Value::Boolean)
        .about("Partition types of the discoverable partitions specification")
        .only(OEM)
        .ignored("partition types already are those of the discoverable partitions specification"),
    attribute("devicepersistency", Value::OneOf(&["by-uuid", "by-label", "by-partuuid"]))
        .about("How fstab and the kernel's command line name partitions")
        .means(ANY_SYSTEM),
    attribute("target_removable", Value::Boolean).about("The disk starts without an entry in the firmware").only(OEM),
    // Partitions.
    attribute("bootpartition", Value::Boolean).about("A partition of its own for /boot").only(OEM),
    attribute("bootpartsize", Value::Number).about("Its size in MiB; 300").only(OEM),
    attribute("bootfilesystem", Value::OneOf(&["btrfs", "ext2", "ext3", "ext4", "xfs", "fat16", "fat32"]))
        .about("Its filesystem; that of the root where it is missing")
        .only(OEM),
    attribute("efipartsize", Value::Number).about("Size of the EFI partition in MiB").only(OEM),
    attribute("efimountoptions", Value::Text).about("Mount options of the EFI partition").only(OEM),
    attribute("eficsm", Value::Boolean).about("A disk for UEFI starts from a BIOS too").only(OEM_ISO),
    attribute("efifatimagesize", Value::Number)
        .about("Size of the EFI image on a medium in MiB")
        .only(OEM_ISO)
        .ignored(NO_INSTALL_MEDIA),
    attribute("bootpart_id", Value::Number).about("Number of the boot partition").only(OEM).refused(PARTITION_ID),
    attribute("efipart_id", Value::Number).about("Number of the EFI partition").only(OEM).refused(PARTITION_ID),
    attribute("eficsmpart_id", Value::Number)
        .about("Number of the BIOS boot partition")
        .only(OEM)
        .refused(PARTITION_ID),
    attribute("rootpart_id", Value::Number).about("Number of the root partition").only(OEM).refused(PARTITION_ID),
    attribute("boot_clone", Value::Number)
        .about("Copies of the boot partition")
        .only(OEM)
        .refused("cloned partitions are not written yet"),
    attribute("root_clone", Value::Number)
        .about("Copies of the root partition")
        .only(OEM)
        .refused("cloned partitions are not written yet"),
    attribute("spare_part", Value::PartitionSize).about("Size of one more partition").only(OEM).refused(SPARE),
    attribute("spare_part_fs", Value::OneOf(&["btrfs", "ext2", "ext3", "ext4", "xfs"]))
        .about("Its filesystem")
        .only(OEM)
        .refused(SPARE),
    attribute("spare_part_mountpoint", Value::Text).about("Where it is mounted").only(OEM).refused(SPARE),
    attribute("spare_part_fs_attributes", Value::ListOf(&["no-copy-on-write", "synchronous-updates"]))
        .about("Attributes of its top folder")
        .only(OEM)
        .refused(SPARE),
    attribute("spare_part_is_last", Value::Boolean)
        .about("It is the last partition, so that it can grow")
        .only(OEM)
        .refused(SPARE),
    // Encryption and integrity.
    attribute("luks", Value::Text)
        .about("Passphrase of an encrypted root, a file's address, or random")
        .only(ANY_SYSTEM)
        .refused(LUKS),
    attribute("luks_version", Value::OneOf(&["luks", "luks1", "luks2"]))
        .about("Version of the encryption's header")
        .means(ANY_SYSTEM)
        .refused(LUKS),
    attribute("luks_pbkdf", Value::OneOf(&["pbkdf2", "argon2i", "argon2id"]))
        .about("How a key is derived from the passphrase")
        .only(ANY_SYSTEM)
        .refused(LUKS),
    attribute("luks_randomize", Value::Boolean)
        .about("Fills the partition with random bytes first")
        .means(ANY_SYSTEM)
        .refused(LUKS),
    attribute("luksOS", Value::OneOf(&["sle12"])).about("Options of an older system").only(ANY_SYSTEM).refused(LUKS),
    attribute("verity_blocks", Value::Blocks)
        .about("How much of the root is verified by dm-verity")
        .only(OEM_ISO)
        .refused(INTEGRITY),
    attribute("embed_verity_metadata", Value::Boolean)
        .about("Puts verity's parameters behind the root filesystem")
        .only(OEM)
        .refused(INTEGRITY),
    attribute("standalone_integrity", Value::Boolean)
        .about("Protects the root by dm-integrity")
        .only(OEM)
        .refused(INTEGRITY),
    attribute("embed_integrity_metadata", Value::Boolean)
        .about("Puts integrity's parameters behind the root filesystem")
        .only(OEM)
        .refused(INTEGRITY),
    attribute("integrity_legacy_hmac", Value::Boolean)
        .about("Integrity's older protection of its journal")
        .only(OEM)
        .refused(INTEGRITY),
    attribute("integrity_keyfile", Value::Text).about("Key of the protection").only(OEM).refused(INTEGRITY),
    attribute("integrity_metadata_key_description", Value::Text)
        .about("Key that signs the parameters")
        .only(OEM)
        .refused(INTEGRITY),
    attribute("selinux_policy", Value::OneOf(&["targeted", "mls", "minimum"]))
        .about("Policy that files are labelled by")
        .refused("SELinux labels are not written yet"),
    // RAID and overlay.
    attribute("mdraid", Value::OneOf(&["mirroring", "striping"]))
        .about("Prepares the disk for a RAID")
        .only(OEM)
        .refused("RAID is not set up yet"),
    attribute("overlayroot", Value::Boolean)
        .about("A read-only root under a writable layer")
        .only(OEM)
        .refused(OVERLAYROOT),
    attribute("overlayroot_write_partition", Value::Boolean)
        .about("A partition for that layer")
        .only(OEM)
        .refused(OVERLAYROOT),
    attribute("overlayroot_readonly_filesystem", Value::OneOf(&["squashfs", "erofs"]))
        .about("Filesystem of the read-only root")
        .only(OEM)
        .refused(OVERLAYROOT),
    attribute("overlayroot_readonly_partsize", Value::Number)
        .about("Size of its partition in MiB")
        .only(OEM)
        .refused(OVERLAYROOT),
    attribute("overlayroot_readonly_createoptions", Value::Text)
        .about("Options of its mkfs")
        .means(OEM)
        .refused(OVERLAYROOT),
    // Boot.
    attribute("kernelcmdline", Value::Text)
        .about("The kernel's command line")
        .only(&["oem", "iso", "pxe", "kis", "enclave"]),
    attribute("initrd_system", Value::OneOf(&["kiwi", "dracut", "none"]))
        .about("What makes the initrd")
        .only(&["oem", "pxe", "kis"]),
    attribute("boot", Value::Text)
        .about("Description of an initrd of KIWI's own")
        .only(&["oem", "pxe"])
        .refused(KIWI_INITRD),
    attribute("bootprofile", Value::Text)
        .about("Its profile")
        .only(&["oem", "iso", "pxe", "cpio"])
        .refused(KIWI_INITRD),
    attribute("bootkernel", Value::Text).about("Its kernel").means(&["oem", "iso", "pxe", "cpio"]).refused(KIWI_INITRD),
    attribute("editbootconfig", Value::Text)
        .about("Script that changes the boot loader's configuration, run in the tree")
        .only(OEM_ISO),
    attribute("editbootinstall", Value::Text)
        .about("Script on the build host that runs when the boot loader is installed")
        .only(OEM)
        .refused(EDIT_BOOT),
    attribute("wwid_wait_timeout", Value::Number)
        .about("Seconds to wait for a disk's name")
        .only(OEM)
        .ignored("only KIWI's first boot reads it"),
    attribute("xen_server", Value::Boolean)
        .about("Starts Xen, and Linux as its first guest")
        .only(OEM)
        .refused("Xen's boot entry is not written yet"),
    // Installation media.
    attribute("installiso", Value::Boolean).about("An installation medium beside the disk").only(OEM).refused(INSTALL),
    attribute("installpxe", Value::Boolean).about("The same for the network").only(OEM).refused(INSTALL),
    attribute("installstick", Value::Boolean)
        .about("The same for a memory stick")
        .only(OEM)
        .ignored("it has no effect in KIWI either"),
    attribute("installboot", Value::OneOf(&["failsafe-install", "harddisk", "install"]))
        .about("What the medium's menu chooses by itself")
        .only(OEM)
        .ignored(NO_INSTALL_MEDIA),
    attribute("installprovidefailsafe", Value::Boolean)
        .about("A failsafe entry in that menu")
        .only(OEM)
        .ignored(NO_INSTALL_MEDIA),
    attribute("install_continue_on_timeout", Value::Boolean)
        .about("Whether the menu goes on by itself")
        .only(OEM)
        .ignored(NO_INSTALL_MEDIA),
    // Live media.
    attribute("flags", Value::OneOf(&["overlay", "dmsquash"]))
        .about("How a live medium makes its root writable")
        .only(&["iso"])
        .ignored(NO_LIVE),
    attribute("hybridpersistent", Value::Boolean)
        .about("A live medium keeps changes on its stick")
        .only(&["iso", "pxe"])
        .ignored(NO_LIVE),
    attribute("hybridpersistent_filesystem", Value::OneOf(&["ext4", "xfs"]))
        .about("Filesystem of those changes")
        .only(&["iso", "pxe"])
        .ignored(NO_LIVE),
    attribute("mediacheck", Value::Boolean).about("A live medium can verify itself").only(&["iso"]).ignored(NO_LIVE),
    // The disk's format.
    attribute("format", Value::Format).about("The disk's format; the raw disk is kept too").only(OEM),
    attribute("formatoptions", Value::Text).about("Options of the format: key=value,key=value").only(OEM),
    attribute("vhdfixedtag", Value::Guid).about("Identifier in a fixed VHD").only(OEM),
    attribute("gcelicense", Value::Text).about("Licence that Google's cloud asks for").only(OEM),
    // Network boot.
    attribute("archive", Value::Boolean).about("Packs the results in one archive").only(&["kis"]),
    attribute("compressed", Value::Boolean).about("Compresses that archive").only(&["pxe", "kis"]),
    // Containers.
    attribute("derived_from", Value::NotEmpty)
        .about("Containers that this one is built on")
        .only(&["docker", "oci", "oem"]),
    attribute("delta_root", Value::Boolean)
        .about("Only what differs from the container below")
        .only(CONTAINER)
        .refused("the new layer holds only what differs from the containers below in any case: remove it"),
    attribute("provide_system_files", Value::Boolean)
        .about("Writes a list of the system's files")
        .only(CONTAINER)
        .refused("the list of system files is not written yet"),
    attribute("require_system_files", Value::Boolean)
        .about("Takes away what such a list names")
        .only(CONTAINER)
        .refused("the list of system files is not read yet"),
    attribute("ensure_empty_tmpdirs", Value::Boolean).about("Empties /run and /tmp of the container").only(CONTAINER),
    attribute("enclave_format", Value::OneOf(&["aws-nitro"])).about("Format of the enclave").only(&["enclave"]),
];

/// The image types that the schema knows.
const IMAGES: [&str; 18] = {
    let mut names = [""; 18];
    let mut index = 0;
    while index < names.len() {
        names[index] = super::IMAGE_TYPES[index].0;
        index += 1;
    }
    names
};
