//! The descriptor of a machine with one disk (DMTF DSP0243, OVF 1.1), for VMware and for VirtualBox.
//!
//! In: what the machine has, the disk's file. Out: XML. Never a name that is not escaped.

use super::machine::{Bus, Card, Firmware, Machine};

/// Who reads the descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// VMware's products, and all that read their files.
    Vmware,
    /// VirtualBox, as Vagrant starts it.
    VirtualBox,
}

/// A machine and its disk.
#[derive(Clone, Copy, Debug)]
pub struct System<'a> {
    /// Who reads it.
    pub family: Family,
    /// What people call the machine.
    pub name: &'a str,
    /// What it has.
    pub machine: &'a Machine,
    /// Name of the disk's file, a vmdk.
    pub file: &'a str,
    /// Length of that file in bytes.
    pub length: u64,
    /// Size of the disk in bytes.
    pub capacity: u64,
}

/// `controller`, its resource type and subtype. What is missing here no OVF names.
const CONTROLLERS: &[(&str, &str, &str)] = &[
    ("ide", "5", "PIIX4"),
    ("lsilogic", "6", "lsilogic"),
    ("lsisas1068", "6", "lsilogicsas"),
    ("buslogic", "6", "buslogic"),
    ("pvscsi", "6", "VirtualSCSI"),
];
/// Drivers of network cards, as descriptors write them.
const CARDS: &[(&str, &str)] = &[
    ("e1000", "E1000"),
    ("e1000e", "E1000e"),
    ("vmxnet2", "VmxNet2"),
    ("vmxnet3", "VmxNet3"),
    ("vlance", "PCNet32"),
    ("pcnet32", "PCNet32"),
];
/// The network where a card does not say one.
const NETWORK: &str = "nat";

/// Whether a descriptor has a word for this controller.
pub fn knows_controller(name: &str) -> bool {
    CONTROLLERS.iter().any(|(known, ..)| *known == name)
}

/// A line of VMware's settings as key and value.
pub fn setting(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
    let key = key.trim();
    Some((key, value)).filter(|_| !key.is_empty() && !key.contains(char::is_whitespace) && !value.contains('"'))
}

struct Items {
    text: String,
    count: u64,
}

impl Items {
    /// Adds an item, gives its id. Its elements stand in the order of their names, as the schema demands.
    fn add(&mut self, parts: &[(&str, &str)]) -> String {
        self.count += 1;
        let id = self.count.to_string();
        let mut parts: Vec<(&str, &str)> = parts.to_vec();
        parts.push(("InstanceID", &id));
        parts.sort_unstable();
        self.text.push_str("      <Item>\n");
        for (name, value) in parts {
            self.text.push_str(&format!("        <rasd:{name}>{}</rasd:{name}>\n", escaped(value)));
        }
        self.text.push_str("      </Item>\n");
        id
    }
}

impl System<'_> {
    /// The descriptor.
    pub fn descriptor(&self) -> String {
        let System { family, machine, length, capacity, .. } = *self;
        let (name, file) = (escaped(self.name), escaped(self.file));
        let networks: String = self.networks().iter().map(|name| network(name)).collect();
        let (namespace, kind, system) = match family {
            Family::Vmware => {
                let guest = machine.guest.as_deref().unwrap_or("otherLinux64Guest");
                (
                    "xmlns:vmw=\"http://www.vmware.com/schema/ovf\"",
                    format!("vmx-{:02}", machine.hardware.unwrap_or(10)),
                    format!(
                        "<OperatingSystemSection ovf:id=\"101\" vmw:osType=\"{}\">\n      \
                         <Info>The system that runs in it</Info>\n",
                        escaped(guest)
                    ),
                )
            }
            Family::VirtualBox => (
                "xmlns:vbox=\"http://www.virtualbox.org/ovf/machine\"",
                "virtualbox-2.2".to_string(),
                "<OperatingSystemSection ovf:id=\"101\">\n      <Info>The system that runs in it</Info>\n      \
                 <vbox:OSType ovf:required=\"false\">Linux_64</vbox:OSType>\n"
                    .to_string(),
            ),
        };
        let items = self.items();
        let settings = match family {
            Family::Vmware => self.settings(),
            Family::VirtualBox => String::new(),
        };
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" {namespace}>
  <References>
    <File ovf:href="{file}" ovf:id="file1" ovf:size="{length}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
{networks}  </NetworkSection>
  <VirtualSystem ovf:id="vm">
    <Info>A virtual machine</Info>
    <Name>{name}</Name>
    {system}    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>{kind}</vssd:VirtualSystemType>
      </System>
{items}{settings}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#
        )
    }

    /// Each network once, in the order of the cards.
    fn networks(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for card in self.machine.cards.values() {
            let name = card.mode.as_deref().unwrap_or(NETWORK);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() { vec![NETWORK] } else { names }
    }

    fn items(&self) -> String {
        let System { family, machine, .. } = *self;
        let mut items = Items { text: String::new(), count: 0 };
        let cpus = machine.cpus.unwrap_or(1).to_string();
        items.add(&[
            ("AllocationUnits", "hertz * 10^6"),
            ("ElementName", &format!("{cpus} virtual CPU(s)")),
            ("ResourceType", "3"),
            ("VirtualQuantity", &cpus),
        ]);
        let memory = machine.memory.unwrap_or(1024).to_string();
        items.add(&[
            ("AllocationUnits", "byte * 2^20"),
            ("ElementName", &format!("{memory} MiB of memory")),
            ("ResourceType", "4"),
            ("VirtualQuantity", &memory),
        ]);
        let controller = machine.controller.unwrap_or("lsilogic");
        let (kind, subtype) = match family {
            Family::VirtualBox => ("20", "AHCI"),
            Family::Vmware => {
                let found = CONTROLLERS.iter().find(|(name, ..)| *name == controller);
                found.map_or(("6", "lsilogic"), |(_, kind, subtype)| (*kind, *subtype))
            }
        };
        let address = machine.disk_id.to_string();
        let parent = items.add(&[
            ("Address", &address),
            ("ElementName", &format!("disk controller {address}")),
            ("ResourceSubType", subtype),
            ("ResourceType", kind),
        ]);
        items.add(&[
            ("AddressOnParent", "0"),
            ("ElementName", "disk1"),
            ("HostResource", "ovf:/disk/vmdisk1"),
            ("Parent", &parent),
            ("ResourceType", "17"),
        ]);
        if let Some((bus, id)) = machine.dvd {
            let (of_bus, subtype) = if bus == Bus::Ide { ("5", "PIIX4") } else { ("6", "lsilogic") };
            let id = id.to_string();
            // One controller serves both where it is the same.
            let (parent, place) = match of_bus == kind && id == address {
                true => (parent, "1"),
                false => {
                    let parts = [
                        ("Address", id.as_str()),
                        ("ElementName", &format!("DVD controller {id}")),
                        ("ResourceSubType", subtype),
                        ("ResourceType", of_bus),
                    ];
                    (items.add(&parts), "0")
                }
            };
            items.add(&[
                ("AddressOnParent", place),
                ("AutomaticAllocation", "true"),
                ("ElementName", "DVD drive"),
                ("Parent", &parent),
                ("ResourceType", "15"),
            ]);
        }
        let usual = [(0, Card::default())].into();
        let cards = if machine.cards.is_empty() { &usual } else { &machine.cards };
        for (id, card) in cards {
            let driver = card.driver.as_deref().unwrap_or("e1000");
            let driver = CARDS.iter().find(|(name, _)| driver.eq_ignore_ascii_case(name)).map_or(driver, |card| card.1);
            let (name, place) = (format!("ethernet{id}"), (id + 7).to_string());
            let mut parts = vec![
                ("AddressOnParent", place.as_str()),
                ("AutomaticAllocation", "true"),
                ("Connection", card.mode.as_deref().unwrap_or(NETWORK)),
                ("ElementName", &name),
                ("ResourceSubType", driver),
                ("ResourceType", "10"),
            ];
            parts.extend(card.mac.as_deref().map(|mac| ("Address", mac)));
            items.add(&parts);
        }
        items.text
    }

    /// What OVF itself has no word for.
    fn settings(&self) -> String {
        let line = |element: &str, key: &str, value: &str| {
            let (key, value) = (escaped(key), escaped(value));
            format!("      <vmw:{element} ovf:required=\"false\" vmw:key=\"{key}\" vmw:value=\"{value}\"/>\n")
        };
        let firmware = match self.machine.firmware {
            Firmware::Bios => String::new(),
            Firmware::Efi => line("Config", "firmware", "efi"),
        };
        let entries = self.machine.entries.values().filter_map(|entry| setting(entry));
        firmware + &entries.map(|(key, value)| line("ExtraConfig", key, value)).collect::<String>()
    }
}

fn network(name: &str) -> String {
    let name = escaped(name);
    format!("    <Network ovf:name=\"{name}\">\n      <Description>The network {name}</Description>\n    </Network>\n")
}

fn escaped(text: &str) -> String {
    let text: String = text.chars().filter(|char| !char.is_control()).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
