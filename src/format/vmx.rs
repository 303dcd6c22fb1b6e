//! VMware's settings file of a machine: what starts a vmdk that lies beside it.
//!
//! In: what the machine has. Out: text, with the name of the disk's file. Never a word of the disk's content.

use std::collections::BTreeMap;

use super::machine::{self, Bus, Firmware, Machine, Set};
use super::stream::Stream;
use super::{DiskFormat, Writing, unknown_option, unknown_value};
use crate::error::Result;
use crate::pieces::Pieces;
use crate::release::Artifact;

/// What stands in every file.
const ALWAYS: &str = "tools.syncTime = \"true\"
uuid.action = \"create\"
priority.grabbed = \"normal\"
priority.ungrabbed = \"normal\"
powerType.powerOff = \"soft\"
powerType.powerOn = \"soft\"
powerType.suspend = \"soft\"
powerType.reset = \"soft\"
usb.present = \"true\"
";

/// `.vmx`.
pub struct Vmx;

fn parse(options: &BTreeMap<String, String>) -> Result<Machine> {
    let mut machine = Machine::default();
    for (key, value) in options {
        match machine.set(key, value) {
            Set::Done => {}
            Set::BadValue => return Err(unknown_value("vmx", key, value, machine::KNOWN)),
            Set::Unknown => return Err(unknown_option("vmx", key, machine::KNOWN)),
        }
    }
    Ok(machine)
}

impl DiskFormat for Vmx {
    fn name(&self) -> &'static str {
        "vmx"
    }

    fn extension(&self) -> &'static str {
        "vmx"
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        parse(options).map(drop)
    }

    fn write(&self, writing: &Writing<'_>, _pieces: &mut Pieces) -> Result<Artifact> {
        let machine = parse(writing.options)?;
        let disk = format!("{}.vmdk", writing.identity.stem);
        let mut stream = Stream::create(writing.folder, writing.name)?;
        stream.write(text(&machine, &writing.identity.name, &disk).into_bytes())?;
        stream.finish(self.name())
    }
}

/// VMware writes a bar and two digits for what would end a value.
fn escaped(value: &str) -> String {
    let value: String = value.chars().filter(|char| !char.is_control()).collect();
    value.replace('|', "|7C").replace('"', "|22")
}

fn text(machine: &Machine, name: &str, disk: &str) -> String {
    let mut text = String::from("#!/usr/bin/env vmware\n");
    let mut set = |key: String, value: &str| text.push_str(&format!("{key} = \"{}\"\n", escaped(value)));
    set(".encoding".into(), "UTF-8");
    set("config.version".into(), "8");
    set("virtualHW.version".into(), &machine.hardware.unwrap_or(9).to_string());
    set("displayName".into(), name);
    set("guestOS".into(), machine.guest.as_deref().unwrap_or("otherlinux-64"));
    if machine.firmware == Firmware::Efi {
        set("firmware".into(), "efi");
    }
    for (key, number) in [("memsize", machine.memory), ("numvcpus", machine.cpus)] {
        if let Some(number) = number {
            set(key.into(), &number.to_string());
        }
    }
    let id = machine.disk_id;
    match machine.controller.unwrap_or("ide") {
        "ide" => {
            set(format!("ide{id}:0.present"), "true");
            set(format!("ide{id}:0.fileName"), disk);
        }
        controller => {
            set(format!("scsi{id}.present"), "true");
            set(format!("scsi{id}.sharedBus"), "none");
            set(format!("scsi{id}.virtualDev"), controller);
            set(format!("scsi{id}:0.present"), "true");
            set(format!("scsi{id}:0.fileName"), disk);
            set(format!("scsi{id}:0.deviceType"), "scsi-hardDisk");
        }
    }
    for (id, card) in &machine.cards {
        set(format!("ethernet{id}.present"), "true");
        set(format!("ethernet{id}.allow64bitVmxnet"), "true");
        set(format!("ethernet{id}.addressType"), if card.mac.is_some() { "static" } else { "generated" });
        for (key, value) in [("address", &card.mac), ("virtualDev", &card.driver), ("connectionType", &card.mode)] {
            if let Some(value) = value {
                set(format!("ethernet{id}.{key}"), value);
            }
        }
    }
    if let Some((bus, dvd)) = machine.dvd {
        let bus_name = if bus == Bus::Ide { "ide" } else { "scsi" };
        let is_ide = machine.controller.unwrap_or("ide") == "ide";
        // The disk has the first place of its controller.
        let taken = dvd == id && is_ide == (bus == Bus::Ide);
        let place = format!("{bus_name}{dvd}:{}", u8::from(taken));
        if bus == Bus::Scsi && (is_ide || dvd != id) {
            set(format!("scsi{dvd}.present"), "true");
        }
        set(format!("{place}.present"), "true");
        set(format!("{place}.deviceType"), "cdrom-raw");
        set(format!("{place}.autodetect"), "true");
        set(format!("{place}.startConnected"), "true");
    }
    text.push_str(ALWAYS);
    machine.entries.values().for_each(|line| text.push_str(&format!("{line}\n")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_its_line_and_what_would_end_a_value_is_escaped() {
        let options = [
            ("memory", "2048"),
            ("ncpus", "2"),
            ("controller", "lsilogic"),
            ("dvd", "ide:1"),
            ("nic.0", "driver=e1000 mode=bridged"),
            ("nic.1", "mac=00:0c:29:aa:bb:cc"),
            ("firmware", "efi"),
            ("entry.0", "sound.present = \"false\""),
        ];
        let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let text = text(&parse(&options).unwrap(), "A \"b\"", "x.vmdk");
        let expected = "#!/usr/bin/env vmware
.encoding = \"UTF-8\"
config.version = \"8\"
virtualHW.version = \"9\"
displayName = \"A |22b|22\"
guestOS = \"otherlinux-64\"
firmware = \"efi\"
memsize = \"2048\"
numvcpus = \"2\"
scsi0.present = \"true\"
scsi0.sharedBus = \"none\"
scsi0.virtualDev = \"lsilogic\"
scsi0:0.present = \"true\"
scsi0:0.fileName = \"x.vmdk\"
scsi0:0.deviceType = \"scsi-hardDisk\"
ethernet0.present = \"true\"
ethernet0.allow64bitVmxnet = \"true\"
ethernet0.addressType = \"generated\"
ethernet0.virtualDev = \"e1000\"
ethernet0.connectionType = \"bridged\"
ethernet1.present = \"true\"
ethernet1.allow64bitVmxnet = \"true\"
ethernet1.addressType = \"static\"
ethernet1.address = \"00:0c:29:aa:bb:cc\"
ide1:0.present = \"true\"
ide1:0.deviceType = \"cdrom-raw\"
ide1:0.autodetect = \"true\"
ide1:0.startConnected = \"true\"
";
        assert_eq!(text, format!("{expected}{ALWAYS}sound.present = \"false\"\n"));
    }

    #[test]
    fn disk_and_drive_never_share_a_place() {
        let lines = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            let text = text(&parse(&options).unwrap(), "a", "x.vmdk");
            text.lines()
                .filter(|line| line.contains(".present") && !line.starts_with("usb"))
                .map(str::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(&[("dvd", "ide:0")]), ["ide0:0.present = \"true\"", "ide0:1.present = \"true\""]);
        assert_eq!(
            lines(&[("dvd", "scsi:0")]),
            ["ide0:0.present = \"true\"", "scsi0.present = \"true\"", "scsi0:0.present = \"true\""]
        );
    }
}
