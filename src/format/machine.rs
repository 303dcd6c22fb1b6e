//! What a virtual machine has, as files beside a disk describe it (`.vmx`, OVF).
//!
//! In: options, from `<machine>` of a description or from `ingot convert -O`. Out: [`Machine`]. Never a default: each file
//! has its own.

use std::collections::BTreeMap;

/// The options of a machine, for messages.
pub const KNOWN: &[&str] = &[
    "memory=MIB",
    "ncpus=NUMBER",
    "hwversion=NUMBER",
    "guest_os=VMWARE-NAME",
    "controller=ide|buslogic|lsilogic|lsisas1068|legacyESX|pvscsi",
    "disk_id=NUMBER",
    "dvd=ide:NUMBER|scsi:NUMBER",
    "nic.NUMBER=\"driver=NAME mode=NAME mac=ADDRESS\"",
    "firmware=bios|efi",
    "entry.NUMBER=LINE",
];
const CONTROLLERS: &[&str] = &["ide", "buslogic", "lsilogic", "lsisas1068", "legacyESX", "pvscsi"];

/// What a drive is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// IDE.
    Ide,
    /// SCSI.
    Scsi,
}

/// What starts the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Firmware {
    /// A BIOS.
    #[default]
    Bios,
    /// UEFI.
    Efi,
}

/// A network card. What is missing is for the machine's host to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// `e1000`, `vmxnet3`.
    pub driver: Option<String>,
    /// `bridged`, `nat`, `hostonly`.
    pub mode: Option<String>,
    /// Six bytes in hexadecimal, with colons.
    pub mac: Option<String>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// MiB of memory.
    pub memory: Option<u64>,
    /// Number of processors.
    pub cpus: Option<u64>,
    /// Version of the virtual hardware.
    pub hardware: Option<u64>,
    /// The system that runs in it, in VMware's words.
    pub guest: Option<String>,
    /// What the disk is attached to, as `<vmdisk>` calls it.
    pub controller: Option<&'static str>,
    /// Number of the disk's controller.
    pub disk_id: u64,
    /// The DVD drive's bus and its number.
    pub dvd: Option<(Bus, u64)>,
    /// Network cards by their number.
    pub cards: BTreeMap<u64, Card>,
    /// What starts it.
    pub firmware: Firmware,
    /// Lines for VMware's settings, as they are, by their number.
    pub entries: BTreeMap<u64, String>,
}

/// What became of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// It counts.
    Done,
    /// It has no such value.
    BadValue,
    /// No machine has it.
    Unknown,
}

fn number(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?.filter(|number| *number < 1 << 32)
}

fn plain(value: &str) -> bool {
    !value.is_empty() && value.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.'))
}

impl Machine {
    /// Takes an option.
    pub fn set(&mut self, key: &str, value: &str) -> Set {
        let at_least_one = || number(value).filter(|number| *number > 0);
        let done = match key {
            "memory" => at_least_one().map(|memory| self.memory = Some(memory)),
            "ncpus" => at_least_one().map(|cpus| self.cpus = Some(cpus)),
            "hwversion" => at_least_one().map(|hardware| self.hardware = Some(hardware)),
            "guest_os" => plain(value).then(|| self.guest = Some(value.to_string())),
            "controller" => {
                let found = CONTROLLERS.iter().find(|name| **name == value);
                found.map(|name| self.controller = Some(name))
            }
            "disk_id" => number(value).map(|id| self.disk_id = id),
            "dvd" => dvd(value).map(|dvd| self.dvd = Some(dvd)),
            "firmware" => firmware(value).map(|firmware| self.firmware = firmware),
            _ => match key.split_once('.') {
                Some(("nic", id)) => number(id).zip(card(value)).map(|(id, card)| drop(self.cards.insert(id, card))),
                Some(("entry", id)) => {
                    let line = Some(value).filter(|line| !line.contains(char::is_control));
                    number(id).zip(line).map(|(id, line)| drop(self.entries.insert(id, line.to_string())))
                }
                _ => return Set::Unknown,
            },
        };
        done.map_or(Set::BadValue, |()| Set::Done)
    }
}

fn dvd(value: &str) -> Option<(Bus, u64)> {
    let (bus, id) = value.split_once(':')?;
    let bus = match bus {
        "ide" => Bus::Ide,
        "scsi" => Bus::Scsi,
        _ => return None,
    };
    Some((bus, number(id)?))
}

fn firmware(value: &str) -> Option<Firmware> {
    match value {
        "bios" => Some(Firmware::Bios),
        "efi" => Some(Firmware::Efi),
        _ => None,
    }
}

fn card(value: &str) -> Option<Card> {
    let mut card = Card::default();
    for word in value.split_whitespace() {
        let (key, value) = word.split_once('=')?;
        let is_mac = value.split(':').count() == 6
            && value.split(':').all(|byte| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match key {
            "driver" if plain(value) => card.driver = Some(value.to_string()),
            "mode" if plain(value) => card.mode = Some(value.to_string()),
            "mac" if is_mac => card.mac = Some(value.to_string()),
            _ => return None,
        }
    }
    Some(card)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_or_told_apart_from_those_that_nobody_has() {
        let mut machine = Machine::default();
        for (key, value, expected) in [
            ("memory", "2048", Set::Done),
            ("memory", "0", Set::BadValue),
            ("memory", "+5", Set::BadValue),
            ("ncpus", "4", Set::Done),
            ("controller", "lsisas1068", Set::Done),
            ("controller", "nvme", Set::BadValue),
            ("dvd", "scsi:1", Set::Done),
            ("dvd", "usb:1", Set::BadValue),
            ("nic.1", "driver=e1000 mac=00:0c:29:aa:bb:cc", Set::Done),
            ("nic.1x", "driver=e1000", Set::BadValue),
            ("nic.2", "driver=a\"b", Set::BadValue),
            ("entry.0", "a = \"b\"", Set::Done),
            ("entry.1", "a\nb", Set::BadValue),
            ("guest_os", "suse-64", Set::Done),
            ("color", "red", Set::Unknown),
        ] {
            assert_eq!(machine.set(key, value), expected, "{key}={value}");
        }
        let card = Card { driver: Some("e1000".into()), mode: None, mac: Some("00:0c:29:aa:bb:cc".into()) };
        let expected = Machine {
            memory: Some(2048),
            cpus: Some(4),
            guest: Some("suse-64".into()),
            controller: Some("lsisas1068"),
            dvd: Some((Bus::Scsi, 1)),
            cards: [(1, card)].into(),
            entries: [(0, "a = \"b\"".to_string())].into(),
            ..Machine::default()
        };
        assert_eq!(machine, expected);
    }
}
