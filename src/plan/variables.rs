//! The variables of `/.profile`, which scripts read and have in their environment.
//!
//! In: what was decided. Out: KIWI's names and values, sorted. Never holds a secret.

use std::collections::BTreeMap;

use super::make::is_disk;
use super::selection::Selection;
use super::{Image, PackageRequest, RootPlan};
use crate::description::Type;

/// Attributes of `<type>` and the variables that hold them.
const OF_TYPE: &[(&str, &str)] = &[
    ("wwid_wait_timeout", "kiwi_wwid_wait_timeout"),
    ("hybridpersistent", "kiwi_hybridpersistent"),
    ("hybridpersistent_filesystem", "kiwi_hybridpersistent_filesystem"),
    ("ramonly", "kiwi_ramonly"),
    ("target_blocksize", "kiwi_target_blocksize"),
    ("target_removable", "kiwi_target_removable"),
    ("kernelcmdline", "kiwi_cmdline"),
    ("firmware", "kiwi_firmware"),
    ("btrfs_root_is_snapper_snapshot", "kiwi_btrfs_root_is_snapper_snapshot"),
    ("gpt_hybrid_mbr", "kiwi_gpt_hybrid_mbr"),
    ("devicepersistency", "kiwi_devicepersistency"),
    ("installboot", "kiwi_installboot"),
    ("bootkernel", "kiwi_bootkernel"),
    ("bootprofile", "kiwi_bootprofile"),
    ("fsmountoptions", "kiwi_fsmountoptions"),
    ("compressed", "kiwi_compressed"),
];

/// Children of `<oemconfig>` and the variables that hold them.
const OF_OEM: &[(&str, &str)] = &[
    ("oem-vmcp-parmfile", "kiwi_oemvmcp_parmfile"),
    ("oem-multipath-scan", "kiwi_oemmultipath_scan"),
    ("oem-swapsize", "kiwi_oemswapMB"),
    ("oem-systemsize", "kiwi_oemrootMB"),
    ("oem-resize-once", "kiwi_oemresizeonce"),
    ("oem-partition-install", "kiwi_oempartition_install"),
    ("oem-ramdisk-size", "kiwi_oemramdisksize"),
    ("oem-device-filter", "kiwi_oemdevicefilter"),
    ("oem-nic-filter", "kiwi_oemnicfilter"),
    ("oem-boot-title", "kiwi_oemtitle"),
    ("oem-kiwi-initrd", "kiwi_oemkboot"),
    ("oem-reboot", "kiwi_oemreboot"),
    ("oem-reboot-interactive", "kiwi_oemrebootinteractive"),
    ("oem-shutdown", "kiwi_oemshutdown"),
    ("oem-shutdown-interactive", "kiwi_oemshutdowninteractive"),
    ("oem-silent-boot", "kiwi_oemsilentboot"),
    ("oem-silent-install", "kiwi_oemsilentinstall"),
    ("oem-silent-verify", "kiwi_oemsilentverify"),
    ("oem-skip-verify", "kiwi_oemskipverify"),
    ("oem-bootwait", "kiwi_oembootwait"),
    ("oem-unattended", "kiwi_oemunattended"),
    ("oem-unattended-id", "kiwi_oemunattended_id"),
    ("oem-recovery", "kiwi_oemrecovery"),
    ("oem-recoveryID", "kiwi_oemrecoveryID"),
    ("oem-recovery-part-size", "kiwi_oemrecoveryPartSize"),
    ("oem-inplace-recovery", "kiwi_oemrecoveryInPlace"),
];

/// KIWI's variables that have a value here.
pub fn variables(
    image: &Image,
    selection: &Selection<'_>,
    kind: &Type,
    packages: &PackageRequest,
    root: &RootPlan,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut set = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            variables.insert(name.to_string(), value.to_string());
        }
    };
    set("kiwi_align", Some("1048576"));
    set("kiwi_sectorsize", Some("512"));
    set("kiwi_startsector", Some(kind.get("disk_start_sector").map_or("2048", |sector| sector.as_str())));
    set("kiwi_revision", Some(concat!("ingot-", env!("CARGO_PKG_VERSION"))));
    set("kiwi_iname", Some(&image.name));
    set("kiwi_displayname", Some(&image.display_name));
    set("kiwi_iversion", Some(&image.version));
    set("kiwi_type", Some(&kind.image));
    set("kiwi_profiles", Some(&selection.profiles.join(",")));
    let delete: Vec<&str> = packages.delete.iter().map(|package| package.name.as_str()).collect();
    set("kiwi_delete", (!delete.is_empty()).then(|| delete.join(" ")).as_deref());
    set("kiwi_language", root.locale.as_deref());
    set("kiwi_keytable", root.keytable.as_deref());
    set("kiwi_timezone", root.timezone.as_deref());
    let preferences = || selection.preferences.iter().rev();
    set("kiwi_splash_theme", preferences().find_map(|part| part.splash_theme.as_deref()));
    set("kiwi_loader_theme", preferences().find_map(|part| part.loader_theme.as_deref()));
    for (attribute, variable) in OF_TYPE {
        set(variable, kind.get(attribute).map(|value| value.as_str()));
    }
    let initrd = if is_disk(kind) { "dracut" } else { "none" };
    set("kiwi_initrd_system", Some(kind.get("initrd_system").map_or(initrd, |system| system.as_str())));
    for (element, variable) in OF_OEM {
        set(variable, kind.oem(element).map(|text| text.value).as_deref());
    }
    if is_disk(kind) {
        let loader = kind.child("bootloader");
        let get = |name: &str| loader?.attribute(name).map(|attribute| attribute.value.as_str());
        set("kiwi_bootloader", Some(get("name").unwrap_or("grub2")));
        set("kiwi_boot_timeout", get("timeout"));
        let consoles = (get("output_console"), get("input_console"));
        if let (Some(output), Some(input)) = consoles {
            set("kiwi_bootloader_console", Some(&format!("{output}:{input}")));
        }
    }
    variables
}
