//! What makes a machine this machine and no other: ids, names, network cards, host keys.

use super::{Part, Presets, Rule, Spares, first_boot};
use crate::error::Result;
use crate::host::rooted::Kind;
use crate::root::RootPath;
use crate::scrub::scrubber::Scrubber;

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "machine-id",
        why: "every copy would be the same machine",
        presets: Presets::VmAndContainer,
        parts: &[Part::Work(machine_id)],
    },
    Rule {
        name: "dbus-machine-id",
        why: "every copy would be the same machine",
        presets: Presets::VmAndContainer,
        parts: &[Part::Work(dbus_machine_id)],
    },
    Rule {
        name: "udev-net-rules",
        why: "binds the names of network cards to those of the build host",
        presets: Presets::VmAndContainer,
        parts: &[Part::Remove(&["/etc/udev/rules.d/*net*.rules"], Spares::OwnedAndDescribed)],
    },
    Rule {
        name: "nic-identity",
        why: "belongs to one network card",
        presets: Presets::VmAndContainer,
        parts: &[
            Part::Work(interface_files),
            Part::Remove(
                &[
                    "/var/lib/NetworkManager/secret_key",
                    "/var/lib/NetworkManager/seen-bssids",
                    "/var/lib/NetworkManager/timestamps",
                    "/var/lib/NetworkManager/NetworkManager.state",
                    "/var/lib/NetworkManager/*.lease",
                    "/var/lib/NetworkManager/*.conf",
                    "/var/lib/systemd/network/*",
                    "/etc/netplan/*cloud-init*.yaml",
                    "/etc/network/interfaces.d/*cloud-init*",
                    "/etc/systemd/network/*cloud-init*",
                    "/etc/systemd/network/*persistent*.link",
                    "/etc/NetworkManager/system-connections/*cloud-init*",
                ],
                Spares::OwnedAndDescribed,
            ),
        ],
    },
    Rule {
        name: "dhcp-leases",
        why: "two copies would ask for the same address",
        presets: Presets::VmAndContainer,
        parts: &[Part::Remove(
            &[
                "/var/lib/dhclient/*",
                "/var/lib/dhcp/*",
                "/var/lib/dhcpcd/*",
                "/var/lib/dhcpcd5/*",
                "/var/lib/wicked/*",
                "/run/systemd/netif",
            ],
            Spares::Owned,
        )],
    },
    Rule {
        name: "hostname",
        why: "the build host's, not the machine's",
        presets: Presets::VmAndContainer,
        parts: &[Part::Work(host_names), Part::Work(resolver)],
    },
    Rule {
        name: "ssh-host-keys",
        why: "every copy of this image would share it",
        presets: Presets::VmAndContainer,
        parts: &[
            Part::Remove(&["/etc/ssh/ssh_host_*_key", "/etc/ssh/ssh_host_*_key.pub"], Spares::Owned),
            Part::Remove(
                &["/etc/dropbear/dropbear_*_host_key", "/etc/dropbear/initramfs/dropbear_*_host_key"],
                Spares::Owned,
            ),
            Part::Work(first_boot::ssh_host_keys),
        ],
    },
    Rule {
        name: "random-seed",
        why: "randomness that every copy knows is none",
        presets: Presets::VmAndContainer,
        parts: &[
            Part::Remove(
                &[
                    "/var/lib/systemd/random-seed",
                    "/var/lib/systemd/credential.secret",
                    "/var/lib/urandom/*",
                    "/var/lib/random-seed",
                    "/boot/loader/random-seed",
                    "/boot/efi/loader/random-seed",
                    "/efi/loader/random-seed",
                ],
                Spares::Owned,
            ),
            Part::Remove(&["/etc/machine-info"], Spares::OwnedAndDescribed),
        ],
    },
    Rule {
        name: "storage-ids",
        why: "names disks of the build host",
        presets: Presets::VmAndContainer,
        parts: &[Part::Remove(
            &[
                "/etc/lvm/devices/*",
                "/etc/lvm/cache/*",
                "/etc/lvm/cache/.cache",
                "/etc/lvm/archive/*",
                "/etc/lvm/backup/*",
                "/etc/blkid.tab",
                "/etc/blkid.tab.old",
                "/etc/blkid/*",
                "/etc/multipath/wwids",
                "/etc/multipath/bindings",
                "/etc/multipath/prkeys",
            ],
            Spares::OwnedAndDescribed,
        )],
    },
];

/// machine-id(5): systemd fills an empty file at boot; without the file a read-only root has no place for it.
fn machine_id(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let path = RootPath::from("/etc/machine-id");
    if scrubber.content(&path)?.is_some_and(|content| content != b"uninitialized\n") {
        scrubber.truncate(rule, &path)?;
    }
    if scrubber.has("/usr/lib/systemd/systemd") {
        scrubber.add(rule, &path, b"", 0o444)?;
    }
    Ok(())
}

fn dbus_machine_id(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let path = RootPath::from("/var/lib/dbus/machine-id");
    let is_symlink = scrubber.listing().get(&path).is_some_and(|entry| matches!(entry.kind, Kind::Symlink(_)));
    if is_symlink && scrubber.listing().target(&path) == RootPath::from("/etc/machine-id") {
        return Ok(());
    }
    scrubber.remove(rule, &path, Spares::Nothing)
}

/// Lines of ifcfg files that hold for one card or one machine only.
fn interface_files(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    for path in scrubber.matching(&["/etc/sysconfig/network-scripts/ifcfg-*", "/etc/sysconfig/network/ifcfg-*"]) {
        if !scrubber.is_owned(&path) && !scrubber.is_described(&path) {
            scrubber.keep_lines(rule, &path, |line| {
                let name = line.trim_ascii_start().split(|byte| *byte == b'=').next().unwrap_or_default();
                !matches!(name, b"HWADDR" | b"UUID" | b"DHCP_HOSTNAME")
            })?;
        }
    }
    Ok(())
}

/// /etc/hostname and /etc/mailname where they name the build host, and its line in /etc/hosts.
fn host_names(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    for path in ["/etc/hostname", "/etc/mailname", "/etc/HOSTNAME"].map(RootPath::from) {
        let Some(content) = scrubber.content(&path)? else { continue };
        let named = scrubber.host.is_named(content.trim_ascii());
        if named && !scrubber.is_described(&path) {
            scrubber.remove(rule, &path, Spares::Nothing)?;
        }
    }
    let hosts = RootPath::from("/etc/hosts");
    if !scrubber.is_described(&hosts) {
        let host = scrubber.host;
        scrubber.keep_lines(rule, &hosts, |line| {
            let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            let own_address = words.next().is_some_and(|address| address == b"127.0.1.1");
            !own_address || !words.any(|name| host.is_named(name))
        })?;
    }
    Ok(())
}

/// A copy of the build host's resolv.conf would send every copy of the image to its name servers.
fn resolver(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let path = RootPath::from("/etc/resolv.conf");
    let copied = scrubber.content(&path)?.is_some_and(|content| scrubber.host.is_resolver(&content));
    if copied && !scrubber.is_described(&path) { scrubber.remove(rule, &path, Spares::Nothing) } else { Ok(()) }
}
