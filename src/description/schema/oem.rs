//! Rows: `<oemconfig>` and its children.

use super::{Element, Value, element};

const IN: &[&str] = &["oemconfig"];
const NO_INSTALL_MEDIA: &str = "only an installation medium reads it, and none is made";
const RECOVERY: &str = "recovery partitions are not made yet";
const ONLY_KIWI: &str = "only KIWI's first boot reads it";

pub(super) const ELEMENTS: &[Element] = &[
    element("oemconfig", &["type"]),
    element("oem-resize", IN).text(Value::Boolean),
    element("oem-swap", IN).text(Value::Boolean),
    element("oem-swapsize", IN).text(Value::Number),
    element("oem-boot-title", IN).text(Value::NotEmpty),
    element("oem-systemsize", IN).text(Value::Number).refused("a limit for the root's growth is not kept yet"),
    element("oem-swapname", IN).text(Value::NotEmpty).ignored("it names a logical volume, and none is made"),
    element("oem-resize-once", IN).text(Value::Boolean).ignored("the root grows whenever the disk has grown"),
    element("oem-bootwait", IN).text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-device-filter", IN).text(Value::NotEmpty).ignored(NO_INSTALL_MEDIA),
    element("oem-nic-filter", IN).text(Value::NotEmpty).ignored(NO_INSTALL_MEDIA),
    element("oem-multipath-scan", IN).text(Value::Boolean).ignored(ONLY_KIWI),
    element("oem-unattended", IN).text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-unattended-id", IN).text(Value::NotEmpty).ignored(NO_INSTALL_MEDIA),
    element("oem-skip-verify", IN).text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-silent-boot", IN).text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-silent-install", IN).text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-silent-verify", IN).text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-reboot", IN).text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-reboot-interactive", IN).text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-shutdown", IN).text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-shutdown-interactive", IN).text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-kiwi-initrd", IN).text(Value::Boolean).ignored(ONLY_KIWI),
    element("oem-partition-install", IN).text(Value::Boolean).ignored(NO_INSTALL_MEDIA),
    element("oem-ramdisk-size", IN).text(Value::NotEmpty).ignored(ONLY_KIWI),
    element("oem-vmcp-parmfile", IN).text(Value::NotEmpty).ignored(ONLY_KIWI),
    element("oem-recovery", IN).text(Value::Boolean).refused(RECOVERY),
    element("oem-recoveryID", IN).text(Value::Number).refused(RECOVERY),
    element("oem-recovery-part-size", IN).text(Value::Number).refused(RECOVERY),
    element("oem-inplace-recovery", IN).text(Value::Boolean).refused(RECOVERY),
];
