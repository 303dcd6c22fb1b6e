//! `<type image="oem">` to a [`DiskPlan`].
//!
//! In: a checked `<type>`. Out: table, partitions, boot loader, formats. Never knows what is in the image.

use super::layout::{self, Root, Wanted};
use super::{
    BootPlan, Choices, DiskPlan, DiskSize, FilesystemKind, Firmware, GrowRoot, Image, Initrd, PartitionTable,
    Persistency, Seed, Support, TimeoutStyle, USUAL_UNIT, Warning, format,
};
use crate::bytes::Bytes;
use crate::description::{Problem, Problems, Spanned, Type, shown};

/// Plans a disk. Where a problem was added, the plan is not one to build.
pub fn plan(
    kind: &Type,
    image: &Image,
    seed: &Seed,
    choices: &Choices,
    problems: &mut Problems,
    warnings: &mut Vec<Warning>,
) -> DiskPlan {
    if choices.arch != "x86_64" {
        let title = format!("a disk for {}", shown(&choices.arch));
        problems.add(Problem::refused(title).at(&kind.image.span).label("this version makes disks for x86_64"));
    }
    let mut maker = Maker { kind, problems, warnings };
    // What is missing was refused by then; the rest is looked at all the same, so that every problem shows at once.
    let firmware = maker.firmware();
    let table = maker.table(&firmware);
    let bios = firmware.bios == Support::Yes && (firmware.uefi == Support::No || maker.csm(table));
    let firmware = Firmware { bios: if bios { Support::Yes } else { Support::No }, ..firmware };
    let wanted = Wanted {
        table,
        start: Bytes(kind.number("disk_start_sector").unwrap_or(2048).saturating_mul(512)),
        bios_boot: (bios && table == PartitionTable::Gpt).then_some(layout::BIOS_BOOT_SIZE),
        esp: (firmware.uefi == Support::Yes).then(|| maker.esp()),
        boot: maker.boot_partition(),
        swap: maker.swap(),
        root: maker.root(),
    };
    let partitions = layout::partitions(&wanted, seed);
    let (size, unpartitioned) = maker.size();
    let fixed = partitions.last().map_or(Bytes::ZERO, |root| root.start) + layout::ROOT_LEAST;
    if let DiskSize::Exactly(size) = size
        && size.0 < fixed.0.saturating_add(unpartitioned.0)
    {
        let span = kind.child("size").map_or(&kind.image.span, |size| &size.text_span);
        let title = format!("a disk of {size} is too small: its partitions alone need {fixed}");
        maker.problems.add(Problem::invalid(title).at(span));
    }
    maker.blocks();
    let persistency = maker.persistency(table);
    let grow_root = maker.growth();
    DiskPlan {
        arch: image.arch.clone(),
        table,
        disk_id: seed.uuid("disk"),
        firmware,
        partitions,
        size,
        unit: USUAL_UNIT,
        unpartitioned,
        boot: maker.boot(image),
        grow_root,
        formats: format::choices(kind, firmware.bios, maker.problems, maker.warnings),
        container: None,
        persistency,
    }
}

struct Maker<'a> {
    kind: &'a Type,
    problems: &'a mut Problems,
    warnings: &'a mut Vec<Warning>,
}

impl Maker<'_> {
    fn warn(&mut self, text: String, at: &Spanned<String>) {
        self.warnings.push(Warning { text, place: Some(at.span.place()) });
    }

    fn firmware(&mut self) -> Firmware {
        let Some(firmware) = self.kind.get("firmware").cloned() else {
            return Firmware { bios: Support::Yes, uefi: Support::No, secure_boot: Support::No };
        };
        let (uefi, secure_boot) = match firmware.as_str() {
            "bios" => (Support::No, Support::No),
            "ec2" => {
                self.warn("firmware=\"ec2\" is taken as bios".to_string(), &firmware);
                (Support::No, Support::No)
            }
            "efi" => (Support::Yes, Support::No),
            "uefi" => (Support::Yes, Support::WherePossible),
            other => {
                let title = format!("firmware {other}");
                let label = "this version makes disks for bios, efi and uefi";
                self.problems.add(Problem::refused(title).at(&firmware.span).label(label));
                (Support::No, Support::No)
            }
        };
        Firmware { bios: Support::Yes, uefi, secure_boot }
    }

    fn table(&mut self, firmware: &Firmware) -> PartitionTable {
        if self.kind.boolean("force_mbr") == Some(true) {
            return PartitionTable::Msdos;
        }
        match (self.kind.get("efiparttable").map(|table| table.as_str()), firmware.uefi) {
            (Some("gpt"), _) | (None, Support::Yes) => PartitionTable::Gpt,
            _ => PartitionTable::Msdos,
        }
    }

    /// Whether a disk for UEFI starts from a BIOS too: by default on GPT, as in KIWI.
    fn csm(&self, table: PartitionTable) -> bool {
        self.kind.boolean("eficsm").unwrap_or(true) && table == PartitionTable::Gpt
    }

    fn megabytes(&mut self, text: Option<Spanned<String>>, default: Bytes) -> Bytes {
        let Some(text) = text else { return default };
        match text.parse::<u64>() {
            Ok(number) if (1..=1 << 24).contains(&number) => Bytes::mib(number),
            _ => {
                let title = format!("`{}` is not a size in MiB", shown(&text));
                self.problems.add(Problem::invalid(title).at(&text.span));
                default
            }
        }
    }

    fn options(text: Option<&Spanned<String>>) -> Vec<String> {
        let words = text.map(|text| text.as_str()).unwrap_or_default().split(',').map(str::trim);
        let words: Vec<String> = words.filter(|word| !word.is_empty()).map(str::to_string).collect();
        if words.is_empty() { vec!["defaults".to_string()] } else { words }
    }

    fn mount_options(&mut self, name: &str) -> Vec<String> {
        let text = self.kind.get(name).cloned();
        if let Some(text) = &text
            && text.contains(|char: char| char.is_whitespace() || char.is_control())
        {
            let title = format!("`{}` are not mount options", shown(text));
            self.problems
                .add(Problem::invalid(title).at(&text.span).label("they are divided by commas, without blanks"));
        }
        Self::options(text.as_ref())
    }

    fn esp(&mut self) -> (Bytes, Vec<String>) {
        let text = self.kind.get("efipartsize").cloned();
        let size = self.megabytes(text.clone(), layout::ESP_SIZE);
        if let (Some(text), true) = (text, size < layout::ESP_LEAST) {
            let title = format!("an EFI partition of {} MiB is too small", text.value);
            let label = format!("{} MiB at least", layout::ESP_LEAST.0 >> 20);
            self.problems.add(Problem::invalid(title).at(&text.span).label(label));
        }
        let options = match self.kind.get("efimountoptions") {
            Some(_) => self.mount_options("efimountoptions"),
            // Nobody but root reads what the firmware starts.
            None => vec!["umask=0077".to_string()],
        };
        (size, options)
    }

    fn boot_partition(&mut self) -> Option<(Bytes, FilesystemKind)> {
        if self.kind.boolean("bootpartition") != Some(true) {
            for name in ["bootpartsize", "bootfilesystem"] {
                if let Some(value) = self.kind.get(name).cloned() {
                    self.warn(format!("`{name}` is ignored: bootpartition=\"true\" is not set"), &value);
                }
            }
            return None;
        }
        let size = self.megabytes(self.kind.get("bootpartsize").cloned(), layout::BOOT_SIZE);
        let filesystem = self.kind.get("bootfilesystem").or(self.kind.get("filesystem")).cloned();
        Some((size, self.filesystem_kind(filesystem.as_ref())))
    }

    /// Mandatory for oem, as the description's rules checked.
    fn filesystem_kind(&mut self, name: Option<&Spanned<String>>) -> FilesystemKind {
        let Some(name) = name else { return FilesystemKind::Ext4 };
        match name.as_str() {
            "ext2" => FilesystemKind::Ext2,
            "ext3" => FilesystemKind::Ext3,
            "ext4" => FilesystemKind::Ext4,
            other => {
                let title = format!("filesystem {}", shown(other));
                let label = match other {
                    "fat16" | "fat32" => "packages cannot be installed there: it has no hard links and symlinks",
                    _ => "not written yet",
                };
                let hint = "this version writes ext4, ext3 and ext2";
                self.problems.add(Problem::refused(title).at(&name.span).label(label).hint(hint));
                FilesystemKind::Ext4
            }
        }
    }

    fn swap(&mut self) -> Option<Bytes> {
        let size = self.kind.oem("oem-swapsize");
        let wanted = self.kind.oem("oem-swap").is_some_and(|swap| crate::description::truth(&swap));
        if !wanted {
            if let Some(size) = &size {
                self.warn("<oem-swapsize> is ignored: <oem-swap>true</oem-swap> is not set".to_string(), size);
            }
            return None;
        }
        Some(self.megabytes(size, layout::SWAP_SIZE))
    }

    fn growth(&mut self) -> GrowRoot {
        let limit = self.kind.oem("oem-systemsize");
        let grows = self.kind.oem("oem-resize").is_none_or(|text| crate::description::truth(&text));
        match (grows, limit) {
            (true, None) => GrowRoot::AtFirstBoot,
            (true, limit) => GrowRoot::UpTo(self.megabytes(limit, Bytes::ZERO)),
            (false, limit) => {
                if let Some(limit) = &limit {
                    let text =
                        "<oem-systemsize> is ignored: <oem-resize>false</oem-resize> lets the root stay as it is";
                    self.warn(text.to_string(), limit);
                }
                GrowRoot::No
            }
        }
    }

    fn root(&mut self) -> Root {
        let kind = self.filesystem_kind(self.kind.get("filesystem"));
        let label = self.kind.get("rootfs_label").cloned();
        if let Some(label) = &label
            && (label.len() > 16
                || label.contains(|char: char| char.is_control() || matches!(char, '/' | '"' | '\\' | ' ')))
        {
            let title = format!("`{}` is not a filesystem label", shown(label));
            self.problems.add(
                Problem::invalid(title).at(&label.span).label("at most 16 bytes, no blanks, `/`, `\\` and quotes"),
            );
        }
        let create = self.kind.get("fscreateoptions").map(|text| text.as_str()).unwrap_or_default();
        Root {
            kind,
            label: label.map_or("ROOT".to_string(), |label| label.value),
            mount_options: self.mount_options("fsmountoptions"),
            create_options: create.split_whitespace().map(str::to_string).collect(),
        }
    }

    fn size(&mut self) -> (DiskSize, Bytes) {
        let Some(node) = self.kind.child("size") else {
            return (DiskSize::ToFit, Bytes::ZERO);
        };
        let get = |name: &str| node.attribute(name).map(|attribute| attribute.value.as_str());
        let unit = if get("unit") == Some("G") { Bytes::gib(1) } else { Bytes::mib(1) };
        let mut bytes = |text: &str, span| match text.trim().parse::<u64>() {
            Ok(number) if number.checked_mul(unit.0).is_some_and(|bytes| bytes <= 1 << 60) => unit * number,
            _ => {
                let title = format!("`{}` is too large for a disk", shown(text));
                self.problems.add(Problem::invalid(title).at(span));
                Bytes::ZERO
            }
        };
        let size = bytes(&node.text, &node.text_span);
        let unpartitioned =
            node.attribute("unpartitioned").map_or(Bytes::ZERO, |part| bytes(&part.value, &part.value.span));
        match get("additive").is_some_and(crate::description::truth) {
            true => (DiskSize::ContentPlus(size), unpartitioned),
            // KIWI takes a size of nothing as none.
            false if size == Bytes::ZERO => (DiskSize::ToFit, unpartitioned),
            false => (DiskSize::Exactly(size), unpartitioned),
        }
    }

    fn blocks(&mut self) {
        if let Some(size) = self.kind.get("target_blocksize").filter(|size| size.as_str() != "512") {
            let title = format!("target_blocksize=\"{}\"", shown(size));
            self.problems.add(Problem::refused(title).at(&size.span).label("sectors have 512 bytes"));
        }
    }

    fn persistency(&mut self, table: PartitionTable) -> Persistency {
        match self.kind.get("devicepersistency").map(|by| (by.as_str(), &by.span)) {
            Some(("by-label", _)) => Persistency::Label,
            Some(("by-partuuid", span)) => {
                if table == PartitionTable::Msdos {
                    let title = "devicepersistency=\"by-partuuid\" needs a GPT";
                    self.problems.add(Problem::invalid(title).at(span).label("this disk has an MBR"));
                }
                Persistency::PartUuid
            }
            _ => Persistency::Uuid,
        }
    }

    fn boot(&mut self, image: &Image) -> BootPlan {
        let loader = self.kind.child("bootloader");
        let get =
            |name: &str| loader.and_then(|loader| loader.attribute(name)).map(|attribute| attribute.value.clone());
        if let Some(name) = get("name").filter(|name| name.as_str() != "grub2") {
            let title = format!("boot loader {}", shown(&name));
            let label = "this version installs grub2";
            self.problems.add(Problem::refused(title).at(&name.span).label(label));
        }
        let timeout = get("timeout").map_or(10, |text| {
            text.parse().unwrap_or_else(|_| {
                let title = format!("a timeout of {} seconds is too long", shown(&text));
                self.problems.add(Problem::invalid(title).at(&text.span));
                10
            })
        });
        let output_terminals = self.terminals(get("output_console"));
        // KIWI: what is written to is read from too.
        let input_terminals = self.terminals(get("input_console").or(get("output_console")));
        let command_line = self.kind.get("kernelcmdline").cloned();
        if let Some(line) = &command_line
            && line.contains(char::is_control)
        {
            let title = "control characters in the kernel's command line";
            self.problems.add(Problem::invalid(title).at(&line.span));
        }
        let title = self.kind.oem("oem-boot-title");
        if let Some(title) = title.as_ref().filter(|title| title.contains(char::is_control)) {
            let text = format!("`{}` is not a title", shown(title));
            self.problems.add(Problem::invalid(text).at(&title.span).label("no control characters"));
        }
        BootPlan {
            timeout,
            timeout_style: match get("timeout_style").as_ref().map(|style| style.as_str()) {
                Some("countdown") => TimeoutStyle::Countdown,
                Some("hidden") => TimeoutStyle::Hidden,
                _ => TimeoutStyle::Menu,
            },
            output_terminals,
            input_terminals,
            serial: get("serial_line").map(|line| line.value),
            command_line: command_line.map(|line| line.trim().to_string()).unwrap_or_default(),
            initrd: self.initrd(),
            title: title.map_or(image.display_name.clone(), |title| title.value),
        }
    }

    fn initrd(&mut self) -> Initrd {
        match self.kind.get("initrd_system").map(|system| (system.as_str(), &system.span)) {
            Some(("dracut", _)) => Initrd::Dracut,
            Some(("none", _)) => Initrd::None,
            Some((_, span)) => {
                let label = "use dracut or initramfs-tools: the initrd comes from the package that the image has";
                self.problems.add(Problem::refused("initrd_system=\"kiwi\"").at(span).label(label));
                Initrd::Automatic
            }
            None => Initrd::Automatic,
        }
    }

    /// GRUB's words; what needs fonts and video modules becomes the firmware's console.
    fn terminals(&mut self, text: Option<Spanned<String>>) -> Vec<String> {
        let Some(text) = text else { return vec!["console".to_string()] };
        let mut words: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            let known = match word {
                "none" => continue,
                "console" | "serial" => word,
                other => {
                    self.warn(format!("GRUB's terminal {} is taken as console", shown(other)), &text);
                    "console"
                }
            };
            if !words.iter().any(|have| have == known) {
                words.push(known.to_string());
            }
        }
        words
    }
}
