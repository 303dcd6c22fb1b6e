//! The variables of `/.profile`, which scripts read and have in their environment.
//!
//! In: the parts of a description that count. Out: KIWI's names and values, sorted; what has no value is empty, as in
//! KIWI. Never holds a secret.

use std::collections::BTreeMap;

use super::request;
use super::selection::Selection;
use crate::description::schema::{self, Content, Value};
use crate::description::xml::Node;
use crate::description::{Description, Type, truth};

/// Attributes of `<type>` and the variables that hold them.
const OF_TYPE: &[(&str, &str)] = &[
    ("wwid_wait_timeout", "kiwi_wwid_wait_timeout"),
    ("hybridpersistent", "kiwi_hybridpersistent"),
    ("hybridpersistent_filesystem", "kiwi_hybridpersistent_filesystem"),
    ("ramonly", "kiwi_ramonly"),
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
    ("btrfs_root_is_snapper_snapshot", "kiwi_btrfs_root_is_snapshot"),
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

/// Sections whose `<file>`s are one variable: element, `type`, variable, what stands between two names.
const LISTS: &[(&str, Option<&str>, &str, &str)] = &[
    ("drivers", None, "kiwi_drivers", ","),
    ("strip", Some("delete"), "kiwi_strip_delete", " "),
    ("strip", Some("tools"), "kiwi_strip_tools", " "),
    ("strip", Some("libs"), "kiwi_strip_libs", " "),
];

/// KIWI's variables for what is selected.
pub fn variables(description: &Description, selection: &Selection<'_>, kind: &Type) -> BTreeMap<String, String> {
    let mut found = Variables(BTreeMap::new());
    found.set("kiwi_align", "1048576");
    found.set("kiwi_sectorsize", "512");
    found.set("kiwi_revision", concat!("ingot-", env!("CARGO_PKG_VERSION")));
    found.set("kiwi_shasum_suffix", ".sha256");
    found.set("kiwi_rootpartuuid", "");
    found.set("kiwi_iname", &description.name);
    found.set("kiwi_displayname", description.display_name.as_ref().unwrap_or(&description.name));
    found.set("kiwi_profiles", &selection.profiles.join(","));
    let delete = request::names(selection, |section| section == "delete", |section| &section.packages);
    let delete: Vec<&str> = delete.iter().map(|package| package.name.as_str()).collect();
    found.set("kiwi_delete", &delete.join(" "));
    found.of_preferences(selection);
    found.of_type(kind);
    found.of_loader(kind);
    for (element, of, variable, between) in LISTS {
        let sections = selection.others.iter().map(|other| &other.node).filter(|node| *node.name == *element);
        let wanted = |node: &&Node| of.is_none_or(|of| node.attribute("type").is_some_and(|kind| *kind.value == of));
        let files = sections.filter(wanted).flat_map(|node| node.children("file"));
        let names: Vec<&str> =
            files.filter_map(|file| file.attribute("name")).map(|name| name.value.as_str()).collect();
        found.set(variable, &names.join(between));
    }
    if let Some(config) = kind.child("oemconfig") {
        for (element, variable) in OF_OEM {
            found.set(variable, &config.children(element).next().map(written).unwrap_or_default());
        }
    }
    if let Some(disk) = kind.child("systemdisk") {
        found.of_volumes(selection, kind, disk);
    }
    found.0
}

/// An element's text; booleans in words.
fn written(node: &Node) -> String {
    let boolean = schema::find(&node.name).is_some_and(|row| matches!(row.content, Content::Text(Value::Boolean)));
    let text = node.text.trim();
    if boolean { truth(text).to_string() } else { text.to_string() }
}

struct Variables(BTreeMap<String, String>);

impl Variables {
    fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_string(), value.to_string());
    }

    /// The last section that says something counts.
    fn of_preferences(&mut self, selection: &Selection<'_>) {
        let last = |of: &dyn Fn(&crate::description::Preferences) -> Option<String>| {
            selection.preferences.iter().rev().find_map(|preferences| of(preferences))
        };
        let text = |value: &Option<crate::description::Spanned<String>>| value.as_ref().map(|text| text.value.clone());
        let values = [
            ("kiwi_iversion", last(&|part| text(&part.version))),
            ("kiwi_keytable", last(&|part| text(&part.keytable))),
            ("kiwi_timezone", last(&|part| text(&part.timezone))),
            ("kiwi_language", last(&|part| text(&part.locale))),
            ("kiwi_splash_theme", last(&|part| part.splash_theme.clone())),
            ("kiwi_loader_theme", last(&|part| part.loader_theme.clone())),
        ];
        for (variable, value) in values {
            if let Some(value) = value {
                self.set(variable, &value);
            }
        }
        // KIWI: of the last section, also where it has none.
        let license = selection.preferences.last().and_then(|part| part.show_license.clone());
        self.set("kiwi_showlicense", &license.unwrap_or_default());
    }

    fn of_type(&mut self, kind: &Type) {
        self.set("kiwi_type", &kind.image);
        for (attribute, variable) in OF_TYPE {
            self.set(variable, &kind.value(attribute).unwrap_or_default());
        }
        let or = |name: &str, default: &str| kind.value(name).unwrap_or_else(|| default.to_string());
        self.set("kiwi_target_blocksize", &or("target_blocksize", "512"));
        self.set("kiwi_startsector", &or("disk_start_sector", "2048"));
        let initrd = match kind.image.as_str() {
            "iso" => "dracut".to_string(),
            "oem" | "kis" => or("initrd_system", "dracut"),
            "pxe" => or("initrd_system", "kiwi"),
            _ => or("initrd_system", "none"),
        };
        self.set("kiwi_initrd_system", &initrd);
        let empty = kind.get("luks").is_some_and(|passphrase| passphrase.is_empty());
        self.set("kiwi_luks_empty_passphrase", if empty { "true" } else { "false" });
        if kind.boolean("xen_server") == Some(true) {
            self.set("kiwi_xendomain", "dom0");
        }
        match kind.image.as_str() {
            "oem" => self.set("kiwi_install_volid", &or("volid", "INSTALL")),
            "iso" => self.set("kiwi_live_volid", &or("volid", "CDROM")),
            "cpio" => {
                let name = self.0.get("kiwi_iname").cloned().unwrap_or_default();
                self.set("kiwi_cpio_name", &name);
            }
            _ => {}
        }
    }

    fn of_loader(&mut self, kind: &Type) {
        let loader = kind.child("bootloader");
        let get = |name: &str| loader?.attribute(name).map(|attribute| attribute.value.to_string());
        self.set("kiwi_bootloader", &get("name").unwrap_or_else(|| "grub2".to_string()));
        self.set("kiwi_boot_timeout", &get("timeout").unwrap_or_default());
        self.set("kiwi_vga", &get("video_mode").unwrap_or_else(|| "auto".to_string()));
        let output = get("output_console");
        let input = get("input_console").or(output.clone());
        let [output, input] = [output, input]
            .map(|console| console.filter(|console| console != "none").unwrap_or_else(|| "default".to_string()));
        self.set("kiwi_bootloader_console", &format!("{output}:{input}"));
    }

    /// Logical volumes or subvolumes, in KIWI's words: `name|size|mount point`.
    fn of_volumes(&mut self, selection: &Selection<'_>, kind: &Type, disk: &Node) {
        let filesystem = kind.value("filesystem").unwrap_or_default();
        let prefers = disk.attribute("preferlvm").is_some_and(|lvm| truth(&lvm.value));
        let lvm = prefers || filesystem != "btrfs";
        if lvm {
            self.set("kiwi_lvm", "true");
            let group = disk.attribute("name").map(|name| name.value.as_str()).filter(|name| !name.is_empty());
            self.set("kiwi_lvmgroup", group.unwrap_or("systemVG"));
        }
        let least = match filesystem.as_str() {
            "btrfs" => "freespace:120",
            "xfs" => "freespace:300",
            _ => "freespace:30",
        };
        let (mut count, mut has_root, mut has_all) = (0, false, false);
        for volume in disk.children("volume") {
            let get = |name: &str| volume.attribute(name).map(|attribute| attribute.value.as_str());
            if !selection.on_arch(&get("arch").map_or(Vec::new(), |arch| arch.split(',').map(str::to_string).collect()))
            {
                continue;
            }
            let name = get("name").unwrap_or_default();
            let size = match (get("size"), get("freespace")) {
                (Some("all"), _) | (None, Some("all")) => "size:all".to_string(),
                (Some(size), _) => format!("size:{}", megabytes(size)),
                (None, Some(free)) => format!("freespace:{}", megabytes(free)),
                (None, None) => least.to_string(),
            };
            has_all |= size == "size:all";
            if name.contains("@root") {
                has_root = true;
                let name = name.strip_prefix("@root=").filter(|name| !name.is_empty()).unwrap_or("LVRoot");
                self.set("kiwi_Volume_Root", &format!("{name}|{size}|"));
                continue;
            }
            count += 1;
            let (name, mount) = match get("mountpoint").filter(|mount| !mount.is_empty()) {
                Some(mount) => (name.to_string(), mount),
                None => (name.trim().trim_start_matches('/').replace('/', "_"), name),
            };
            self.set(&format!("kiwi_Volume_{count}"), &format!("{name}|{size}|{mount}"));
        }
        if !has_root {
            let name = if lvm { "LVRoot" } else { "" };
            let size = if has_all { least } else { "size:all" };
            self.set("kiwi_Volume_Root", &format!("{name}|{size}|"));
        }
        if lvm && kind.oem("oem-swap").is_some_and(|swap| truth(&swap)) {
            let text = |name: &str, default: &str| kind.oem(name).map_or(default.to_string(), |text| text.value);
            let (name, size) = (text("oem-swapname", "LVSwap"), text("oem-swapsize", "128"));
            self.set(&format!("kiwi_Volume_{}", count + 1), &format!("{name}|size:{size}|"));
        }
    }
}

/// `2G`, `500M` or `500` in megabytes.
fn megabytes(size: &str) -> u64 {
    let number = |text: &str| text.parse::<u64>().unwrap_or(0);
    match size.strip_suffix('G') {
        Some(gigabytes) => number(gigabytes).saturating_mul(1024),
        None => number(size.strip_suffix('M').unwrap_or(size)),
    }
}
