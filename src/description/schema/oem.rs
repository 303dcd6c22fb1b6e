//! Rows: `<oemconfig>` and its children.

use super::{Element, Value, element};

const IN: &[&str] = &["oemconfig"];
const NO_INSTALL_MEDIA: &str = "only an installation medium reads it, and none is made";
const RECOVERY: &str = "recovery partitions are not made yet";
const ONLY_KIWI: &str = "only KIWI's first boot reads it";

pub(super) const ELEMENTS: &[Element] = &[
    element("oemconfig", &["type"]).about("What the disk does when it starts for the first time"),
    element("oem-resize", IN).about("The root grows to the size of the disk; true").text(Value::Boolean),
    element("oem-swap", IN).about("A partition for swap").text(Value::Boolean),
    element("oem-swapsize", IN).about("Its size in MiB; 128").text(Value::Number),
    element("oem-boot-title", IN).about("Title in the boot menu").text(Value::NotEmpty),
    element("oem-systemsize", IN).about("The root grows to so many MiB at most").text(Value::Number),
    element("oem-swapname", IN)
        .about("Name of the logical volume for swap")
        .text(Value::NotEmpty)
        .ignored("it names a logical volume, and none is made"),
    element("oem-resize-once", IN)
        .about("The root grows at the first start only")
        .text(Value::Boolean)
        .ignored("the root grows whenever the disk has grown"),
    element("oem-bootwait", IN)
        .about("Waits for a key before the system starts")
        .text(Value::Boolean)
        .ignored(NO_INSTALL_MEDIA),
    element("oem-device-filter", IN)
        .about("Disks that are no target of the installation")
        .text(Value::NotEmpty)
        .ignored(NO_INSTALL_MEDIA),
    element("oem-nic-filter", IN)
        .about("Network cards that are not used")
        .text(Value::NotEmpty)
        .ignored(NO_INSTALL_MEDIA),
    element("oem-multipath-scan", IN).about("Looks for multipath devices").text(Value::Boolean).ignored(ONLY_KIWI),
    element("oem-unattended", IN).about("Installs without a question").text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-unattended-id", IN).about("Installs on this disk").text(Value::NotEmpty).ignored(NO_INSTALL_MEDIA),
    element("oem-skip-verify", IN)
        .about("Does not verify what was written")
        .text(Value::Boolean)
        .ignored(NO_INSTALL_MEDIA),
    element("oem-silent-boot", IN).about("Starts quietly").text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-silent-install", IN).about("Installs quietly").text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-silent-verify", IN).about("Verifies quietly").text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-reboot", IN)
        .about("Starts again after the installation")
        .text(Value::Boolean)
        .ignored(NO_INSTALL_MEDIA),
    element("oem-reboot-interactive", IN)
        .about("The same after a question")
        .text(Value::Boolean)
        .ignored(NO_INSTALL_MEDIA),
    element("oem-shutdown", IN)
        .about("Shuts down after the installation")
        .text(Value::Boolean)
        .ignored(NO_INSTALL_MEDIA),
    element("oem-shutdown-interactive", IN)
        .about("The same after a question")
        .text(Value::Boolean)
        .ignored(NO_INSTALL_MEDIA),
    element("oem-kiwi-initrd", IN).about("Keeps KIWI's own initrd").text(Value::Boolean).ignored(ONLY_KIWI),
    element("oem-partition-install", IN)
        .about("Installs into a partition")
        .text(Value::Boolean)
        .ignored(NO_INSTALL_MEDIA),
    element("oem-ramdisk-size", IN).about("Size of a disk in memory").text(Value::NotEmpty).ignored(ONLY_KIWI),
    element("oem-vmcp-parmfile", IN).about("File of parameters on z/VM").text(Value::NotEmpty).ignored(ONLY_KIWI),
    element("oem-recovery", IN).about("A partition to recover the system from").text(Value::Boolean).refused(RECOVERY),
    element("oem-recoveryID", IN).about("Type of that partition").text(Value::Number).refused(RECOVERY),
    element("oem-recovery-part-size", IN).about("Its size in MiB").text(Value::Number).refused(RECOVERY),
    element("oem-inplace-recovery", IN)
        .about("The system is packed where it is recovered")
        .text(Value::Boolean)
        .refused(RECOVERY),
];
