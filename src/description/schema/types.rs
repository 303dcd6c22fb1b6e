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
const EDIT_BOOT: &str = "scripts on the build host that edit the boot loader are not run";

pub(super) const ELEMENTS: &[Element] = &[element("type", &["preferences"]).often().with(&ATTRIBUTES)];

const ATTRIBUTES: [Attribute; 97] = [
    attribute("image", Value::OneOf(&IMAGES)).mandatory(),
    attribute("primary", Value::Boolean),
    attribute("bundle_format", Value::Text).ignored("only `kiwi result bundle` names its files by it"),
    attribute("volid", Value::ShortName).only(OEM_ISO).ignored(NO_INSTALL_MEDIA),
    attribute("application_id", Value::VolumeText).only(OEM_ISO).ignored(NO_INSTALL_MEDIA),
    attribute("publisher", Value::VolumeText).only(&["iso"]).ignored(NO_LIVE),
    attribute("metadata_path", Value::Text).only(&["appx"]),
    // The root filesystem.
    attribute("filesystem", Value::OneOf(&["btrfs", "ext2", "ext3", "ext4", "squashfs", "erofs", "xfs"]))
        .only(ANY_SYSTEM),
    attribute("fscreateoptions", Value::Text).means(ANY_SYSTEM),
    attribute("fsmountoptions", Value::Text).means(ANY_SYSTEM),
    attribute("rootfs_label", Value::NotEmpty).only(&["oem", "pxe", "kis", "docker"]),
    attribute("squashfscompression", Value::OneOf(&["uncompressed", "gzip", "lzo", "lz4", "xz", "zstd"]))
        .only(&["oem", "pxe", "kis", "iso", "squashfs"])
        .ignored("no squashfs is written"),
    attribute("erofscompression", Value::Text)
        .only(&["oem", "pxe", "kis", "iso", "erofs"])
        .ignored("no erofs is written"),
    attribute("ramonly", Value::Boolean).only(OEM).refused("a root in memory is not made yet"),
    attribute("btrfs_root_is_snapper_snapshot", Value::Boolean).only(OEM).refused(BTRFS),
    attribute("btrfs_root_is_readonly_snapshot", Value::Boolean).only(OEM).refused(BTRFS),
    attribute("btrfs_root_is_subvolume", Value::Boolean).only(OEM).refused(BTRFS),
    attribute("btrfs_set_default_volume", Value::Boolean).only(OEM).refused(BTRFS),
    attribute("btrfs_quota_groups", Value::Boolean).only(OEM).refused(BTRFS),
    // The disk's table.
    attribute("firmware", Value::OneOf(&["bios", "ec2", "efi", "uefi", "ofw", "opal", "custom"]))
        .only(&["oem", "pxe", "iso"]),
    attribute("efiparttable", Value::OneOf(&["msdos", "gpt"])).only(OEM_ISO),
    attribute("force_mbr", Value::Boolean).only(OEM),
    attribute("gpt_hybrid_mbr", Value::Boolean).only(OEM_ISO).refused("a hybrid table is not written yet"),
    attribute("dosparttable_extended_layout", Value::Boolean)
        .only(OEM)
        .refused("extended partitions are not written yet"),
    attribute("disk_start_sector", Value::AtLeast(2048)).only(OEM),
    attribute("target_blocksize", Value::Number).only(OEM_KIS),
    attribute("apply_dps_codes", Value::Boolean)
        .only(OEM)
        .ignored("partition types already are those of the discoverable partitions specification"),
    attribute("devicepersistency", Value::OneOf(&["by-uuid", "by-label", "by-partuuid"])).means(ANY_SYSTEM),
    attribute("target_removable", Value::Boolean).only(OEM),
    // Partitions.
    attribute("bootpartition", Value::Boolean).only(OEM),
    attribute("bootpartsize", Value::Number).only(OEM),
    attribute("bootfilesystem", Value::OneOf(&["btrfs", "ext2", "ext3", "ext4", "xfs", "fat16", "fat32"])).only(OEM),
    attribute("efipartsize", Value::Number).only(OEM),
    attribute("efimountoptions", Value::Text).only(OEM),
    attribute("eficsm", Value::Boolean).only(OEM_ISO),
    attribute("efifatimagesize", Value::Number).only(OEM_ISO).ignored(NO_INSTALL_MEDIA),
    attribute("bootpart_id", Value::Number).only(OEM).refused(PARTITION_ID),
    attribute("efipart_id", Value::Number).only(OEM).refused(PARTITION_ID),
    attribute("eficsmpart_id", Value::Number).only(OEM).refused(PARTITION_ID),
    attribute("rootpart_id", Value::Number).only(OEM).refused(PARTITION_ID),
    attribute("boot_clone", Value::Number).only(OEM).refused("cloned partitions are not written yet"),
    attribute("root_clone", Value::Number).only(OEM).refused("cloned partitions are not written yet"),
    attribute("spare_part", Value::PartitionSize).only(OEM).refused(SPARE),
    attribute("spare_part_fs", Value::OneOf(&["btrfs", "ext2", "ext3", "ext4", "xfs"])).only(OEM).refused(SPARE),
    attribute("spare_part_mountpoint", Value::Text).only(OEM).refused(SPARE),
    attribute("spare_part_fs_attributes", Value::ListOf(&["no-copy-on-write", "synchronous-updates"]))
        .only(OEM)
        .refused(SPARE),
    attribute("spare_part_is_last", Value::Boolean).only(OEM).refused(SPARE),
    // Encryption and integrity.
    attribute("luks", Value::Text).only(ANY_SYSTEM).refused(LUKS),
    attribute("luks_version", Value::OneOf(&["luks", "luks1", "luks2"])).means(ANY_SYSTEM).refused(LUKS),
    attribute("luks_pbkdf", Value::OneOf(&["pbkdf2", "argon2i", "argon2id"])).only(ANY_SYSTEM).refused(LUKS),
    attribute("luks_randomize", Value::Boolean).means(ANY_SYSTEM).refused(LUKS),
    attribute("luksOS", Value::OneOf(&["sle12"])).only(ANY_SYSTEM).refused(LUKS),
    attribute("verity_blocks", Value::Blocks).only(OEM_ISO).refused(INTEGRITY),
    attribute("embed_verity_metadata", Value::Boolean).only(OEM).refused(INTEGRITY),
    attribute("standalone_integrity", Value::Boolean).only(OEM).refused(INTEGRITY),
    attribute("embed_integrity_metadata", Value::Boolean).only(OEM).refused(INTEGRITY),
    attribute("integrity_legacy_hmac", Value::Boolean).only(OEM).refused(INTEGRITY),
    attribute("integrity_keyfile", Value::Text).only(OEM).refused(INTEGRITY),
    attribute("integrity_metadata_key_description", Value::Text).only(OEM).refused(INTEGRITY),
    attribute("selinux_policy", Value::OneOf(&["targeted", "mls", "minimum"]))
        .refused("SELinux labels are not written yet"),
    // RAID and overlay.
    attribute("mdraid", Value::OneOf(&["mirroring", "striping"])).only(OEM).refused("RAID is not set up yet"),
    attribute("overlayroot", Value::Boolean).only(OEM).refused(OVERLAYROOT),
    attribute("overlayroot_write_partition", Value::Boolean).only(OEM).refused(OVERLAYROOT),
    attribute("overlayroot_readonly_filesystem", Value::OneOf(&["squashfs", "erofs"])).only(OEM).refused(OVERLAYROOT),
    attribute("overlayroot_readonly_partsize", Value::Number).only(OEM).refused(OVERLAYROOT),
    attribute("overlayroot_readonly_createoptions", Value::Text).means(OEM).refused(OVERLAYROOT),
    // Boot.
    attribute("kernelcmdline", Value::Text).only(&["oem", "iso", "pxe", "kis", "enclave"]),
    attribute("initrd_system", Value::OneOf(&["kiwi", "dracut", "none"])).only(&["oem", "pxe", "kis"]),
    attribute("boot", Value::Text).only(&["oem", "pxe"]).refused(KIWI_INITRD),
    attribute("bootprofile", Value::Text).only(&["oem", "iso", "pxe", "cpio"]).refused(KIWI_INITRD),
    attribute("bootkernel", Value::Text).means(&["oem", "iso", "pxe", "cpio"]).refused(KIWI_INITRD),
    attribute("editbootconfig", Value::Text).only(OEM_ISO).refused(EDIT_BOOT),
    attribute("editbootinstall", Value::Text).only(OEM).refused(EDIT_BOOT),
    attribute("wwid_wait_timeout", Value::Number).only(OEM).ignored("only KIWI's first boot reads it"),
    attribute("xen_server", Value::Boolean).only(OEM).refused("Xen's boot entry is not written yet"),
    // Installation media.
    attribute("installiso", Value::Boolean).only(OEM).refused(INSTALL),
    attribute("installpxe", Value::Boolean).only(OEM).refused(INSTALL),
    attribute("installstick", Value::Boolean).only(OEM).ignored("it has no effect in KIWI either"),
    attribute("installboot", Value::OneOf(&["failsafe-install", "harddisk", "install"]))
        .only(OEM)
        .ignored(NO_INSTALL_MEDIA),
    attribute("installprovidefailsafe", Value::Boolean).only(OEM).ignored(NO_INSTALL_MEDIA),
    attribute("install_continue_on_timeout", Value::Boolean).only(OEM).ignored(NO_INSTALL_MEDIA),
    // Live media.
    attribute("flags", Value::OneOf(&["overlay", "dmsquash"])).only(&["iso"]).ignored(NO_LIVE),
    attribute("hybridpersistent", Value::Boolean).only(&["iso", "pxe"]).ignored(NO_LIVE),
    attribute("hybridpersistent_filesystem", Value::OneOf(&["ext4", "xfs"])).only(&["iso", "pxe"]).ignored(NO_LIVE),
    attribute("mediacheck", Value::Boolean).only(&["iso"]).ignored(NO_LIVE),
    // The disk's format.
    attribute("format", Value::Format).only(OEM),
    attribute("formatoptions", Value::Text).only(OEM),
    attribute("vhdfixedtag", Value::Guid).only(OEM).refused("vhd-fixed is not written yet"),
    attribute("gcelicense", Value::Text).only(OEM).refused("gce is not written yet"),
    // Network boot.
    attribute("archive", Value::Boolean).only(&["kis"]),
    attribute("compressed", Value::Boolean).only(&["pxe", "kis"]),
    // Containers.
    attribute("derived_from", Value::NotEmpty)
        .only(&["docker", "oci", "oem"])
        .refused("containers are not built on others yet"),
    attribute("delta_root", Value::Boolean).only(CONTAINER).refused("containers are not built on others yet"),
    attribute("provide_system_files", Value::Boolean)
        .only(CONTAINER)
        .refused("the list of system files is not written yet"),
    attribute("require_system_files", Value::Boolean)
        .only(CONTAINER)
        .refused("the list of system files is not read yet"),
    attribute("ensure_empty_tmpdirs", Value::Boolean).only(CONTAINER),
    attribute("enclave_format", Value::OneOf(&["aws-nitro"])).only(&["enclave"]),
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
