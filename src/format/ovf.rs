//! The descriptor of an OVA (DMTF DSP0243, OVF 1.1): one machine with one disk and one network card.
//!
//! In: what the machine has. Out: XML. Never a name that is not escaped.

use std::collections::BTreeMap;

use super::{unknown_option, unknown_value};
use crate::error::Result;

const KNOWN: &[&str] = &[
    "memory=MIB",
    "ncpus=NUMBER",
    "hwversion=NUMBER",
    "guest_os=VMWARE-NAME",
    "controller=lsilogic|lsisas1068|buslogic|pvscsi",
];
/// `controller`, as the descriptor calls it.
const CONTROLLERS: &[(&str, &str)] =
    &[("lsilogic", "lsilogic"), ("lsisas1068", "lsilogicsas"), ("buslogic", "buslogic"), ("pvscsi", "VirtualSCSI")];

/// What the machine has.
#[derive(Clone, Debug)]
pub struct Machine {
    memory: u64,
    cpus: u64,
    hardware: u64,
    guest: String,
    controller: &'static str,
}

impl Machine {
    /// Reads the options; 65 for those that are not known.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Machine> {
        let mut machine =
            Machine { memory: 1024, cpus: 1, hardware: 10, guest: "otherLinux64Guest".into(), controller: "lsilogic" };
        for (key, value) in options {
            let bad = || unknown_value("ova", key, value, KNOWN);
            let number = || value.parse::<u64>().ok().filter(|number| (1..1 << 32).contains(number)).ok_or_else(bad);
            match key.as_str() {
                "memory" => machine.memory = number()?,
                "ncpus" => machine.cpus = number()?,
                "hwversion" => machine.hardware = number()?,
                "guest_os" if value.chars().all(|char| char.is_ascii_alphanumeric() || char == '_') => {
                    machine.guest = value.clone();
                }
                "controller" => {
                    let found = CONTROLLERS.iter().find(|(name, _)| *name == value.as_str());
                    machine.controller = found.map(|(_, word)| *word).ok_or_else(bad)?;
                }
                "guest_os" => return Err(bad()),
                _ => return Err(unknown_option("ova", key, KNOWN)),
            }
        }
        Ok(machine)
    }

    /// The descriptor: the disk `file` has `length` bytes and holds `capacity` bytes.
    pub fn descriptor(&self, name: &str, file: &str, length: u64, capacity: u64) -> String {
        let Machine { memory, cpus, hardware, guest, controller } = self;
        let (name, file) = (escaped(name), escaped(file));
        // Elements of an item stand in the order of their names, as the schema demands.
        let item = |parts: &[(&str, &str)]| {
            let lines = parts.iter().map(|(name, value)| format!("        <rasd:{name}>{value}</rasd:{name}>\n"));
            format!("      <Item>\n{}      </Item>\n", lines.collect::<String>())
        };
        let items = [
            item(&[
                ("AllocationUnits", "hertz * 10^6"),
                ("ElementName", &format!("{cpus} virtual CPU(s)")),
                ("InstanceID", "1"),
                ("ResourceType", "3"),
                ("VirtualQuantity", &cpus.to_string()),
            ]),
            item(&[
                ("AllocationUnits", "byte * 2^20"),
                ("ElementName", &format!("{memory} MiB of memory")),
                ("InstanceID", "2"),
                ("ResourceType", "4"),
                ("VirtualQuantity", &memory.to_string()),
            ]),
            item(&[
                ("Address", "0"),
                ("ElementName", "SCSI controller 0"),
                ("InstanceID", "3"),
                ("ResourceSubType", controller),
                ("ResourceType", "6"),
            ]),
            item(&[
                ("AddressOnParent", "0"),
                ("ElementName", "disk1"),
                ("HostResource", "ovf:/disk/vmdisk1"),
                ("InstanceID", "4"),
                ("Parent", "3"),
                ("ResourceType", "17"),
            ]),
            item(&[
                ("AddressOnParent", "7"),
                ("AutomaticAllocation", "true"),
                ("Connection", "nat"),
                ("ElementName", "ethernet0"),
                ("InstanceID", "5"),
                ("ResourceSubType", "E1000"),
                ("ResourceType", "10"),
            ]),
        ]
        .concat();
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:href="{file}" ovf:id="file1" ovf:size="{length}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="nat">
      <Description>The network of the machine</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="vm">
    <Info>A virtual machine</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="101" vmw:osType="{guest}">
      <Info>The system that runs in it</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-{hardware:02}</vssd:VirtualSystemType>
      </System>
{items}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#
        )
    }
}

fn escaped(text: &str) -> String {
    let text: String = text.chars().filter(|char| !char.is_control()).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
