//! The rule about addresses: whatever the interface is called, somebody asks for one.
//!
//! In: configuration of cloud-init, NetworkManager, systemd-networkd, netplan, ifupdown, wicked, dhcpcd. Out: who does it, or
//! why nobody. A fixed interface name counts only where the kernel is told to use such names (net.ifnames=0).

use super::evidence::{Evidence, FileEvidence, no_root};
use super::files::Files;
use super::rule::Outcome;
use super::units;
use crate::plan::Target;

/// What interfaces are called in the targets: by slot, by path, by index.
const NAMES: [&str; 4] = ["ens5", "enp0s3", "eth0", "eno1"];

/// What one of the programs makes of the network.
type Answer = Result<String, String>;

/// The rule `network`.
pub fn network(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let found = match &evidence.files {
        Ok(files) if files.has_root => files,
        Ok(files) => return Outcome::unknown(no_root(&files.unread)),
        Err(why) => return Outcome::unknown(why),
    };
    let askers: [fn(&FileEvidence) -> Option<Answer>; 6] =
        [cloud_init, network_manager, networkd, ifupdown, wicked, dhcpcd];
    let mut reasons = Vec::new();
    for ask in askers {
        match ask(found) {
            Some(Ok(who)) => return Outcome::good(who),
            Some(Err(why)) => reasons.push(why),
            None => {}
        }
    }
    if reasons.is_empty() {
        reasons
            .push("neither cloud-init nor NetworkManager nor systemd-networkd nor ifupdown nor wicked starts".into());
    }
    Outcome::bad(
        format!("nothing asks for an address: {}", reasons.join("; ")),
        "enable systemd-networkd with a .network file that matches Type=ether and says DHCP=yes, or add cloud-init",
    )
}

/// Whether interfaces keep the kernel's names (eth0).
fn keeps_kernel_names(found: &FileEvidence) -> bool {
    found.boot.first().is_some_and(|entry| entry.values("net.ifnames").last() == Some("0"))
}

/// cloud-init writes configuration for one of these.
fn cloud_init(found: &FileEvidence) -> Option<Answer> {
    let files = &found.files;
    if !units::cloud_init(files) {
        return None;
    }
    let configured = files.below("/etc/cloud").filter(|(path, _)| path.name().ends_with(b".cfg"));
    let mut silenced = configured.filter(|(_, seen)| disables_network(&seen.text()));
    if let Some((path, _)) = silenced.next() {
        return Some(Err(format!("{path} keeps cloud-init from configuring the network")));
    }
    let renderers: [(&str, bool); 5] = [
        ("netplan", files.program(&["netplan"]).is_some()),
        ("systemd-networkd", units::enabled(files, &["systemd-networkd.service"]).is_some()),
        ("NetworkManager", units::enabled(files, &["NetworkManager.service"]).is_some()),
        ("ifupdown", files.program(&["ifup"]).is_some()),
        ("wicked", units::enabled(files, &["wicked.service", "wickedd.service"]).is_some()),
    ];
    Some(match renderers.iter().find(|(_, is_there)| *is_there) {
        Some((name, _)) => Ok(format!("cloud-init, with {name}")),
        None => Err("cloud-init has nothing to configure the network with".into()),
    })
}

/// `network: {config: disabled}` in either way of writing it.
fn disables_network(text: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim_end()).collect();
    let inline = |line: &&str| line.starts_with("network:") && line.contains("disabled");
    let block = |pair: &[&str]| pair[0] == "network:" && pair[1].trim() == "config: disabled";
    lines.iter().any(inline) || lines.windows(2).any(block)
}

/// NetworkManager makes a connection for every wired interface, unless told otherwise.
fn network_manager(found: &FileEvidence) -> Option<Answer> {
    let files = &found.files;
    let unit = units::enabled(files, &["NetworkManager.service"])?;
    let configuration = files.below("/etc/NetworkManager").chain(files.below("/usr/lib/NetworkManager"));
    let mut configuration = configuration.filter(|(path, _)| path.name().ends_with(b".conf"));
    let says_no = |text: &str| {
        let lines = text.lines().map(str::trim);
        lines.filter_map(|line| line.strip_prefix("no-auto-default")).any(|value| value.contains('*'))
    };
    if let Some((path, _)) = configuration.find(|(_, seen)| says_no(&seen.text())) {
        let own = files.below("/etc/NetworkManager/system-connections").any(|(_, seen)| {
            let text = seen.text();
            text.contains("method=auto") && !text.contains("interface-name=")
        });
        if !own {
            return Some(Err(format!("{path} says no-auto-default=*, and no connection fits every interface")));
        }
    }
    Some(Ok(format!("NetworkManager ({unit})")))
}

/// systemd-networkd: the first file that matches decides (systemd.network(5)). Netplan writes such files at start.
fn networkd(found: &FileEvidence) -> Option<Answer> {
    let files = &found.files;
    units::enabled(files, &["systemd-networkd.service"])?;
    let folders = ["/etc/systemd/network", "/usr/lib/systemd/network", "/lib/systemd/network"];
    let all = folders.iter().flat_map(|folder| files.below(folder));
    let mut networks: Vec<_> = all.filter(|(path, _)| path.name().ends_with(b".network")).collect();
    networks.sort_by(|(a, _), (b, _)| a.name().cmp(b.name()));
    // A file in /etc hides one of the same name elsewhere; the sort keeps the order of folders.
    networks.dedup_by(|(later, _), (earlier, _)| later.name() == earlier.name());
    let names: &[&str] = if keeps_kernel_names(found) { &["eth0"] } else { &NAMES };
    let deciding: Vec<_> =
        names.iter().map(|name| networks.iter().find(|(_, seen)| matches(&seen.text(), name))).collect();
    let asks = |text: &str| {
        let values = values(text, "Network", "DHCP");
        values
            .iter()
            .any(|value| matches!(value.as_str(), "yes" | "true" | "1" | "on" | "ipv4" | "ipv6" | "both" | "v4" | "v6"))
    };
    if let Some((path, _)) = deciding.iter().flatten().find(|(_, seen)| asks(&seen.text())) {
        return match deciding.iter().all(|found| found.is_some_and(|(_, seen)| asks(&seen.text()))) {
            true => Some(Ok(format!("systemd-networkd, {path}"))),
            false => Some(Err(format!("{path} does not match interfaces of every name ({})", names.join(", ")))),
        };
    }
    if netplan(files) {
        return Some(Ok("netplan, for systemd-networkd".into()));
    }
    Some(Err("systemd-networkd starts, and no .network file matches a wired interface and says DHCP=yes".into()))
}

/// Values of a key in all sections of this name.
fn values(text: &str, section: &str, key: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        } else if inside
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            found.push(value.trim().to_ascii_lowercase());
        }
    }
    found
}

/// Whether a .network file matches a wired interface of this name on a virtual machine.
fn matches(text: &str, interface: &str) -> bool {
    const KNOWN: [&str; 3] = ["Name", "Type", "Virtualization"];
    let all = |key: &str| values(text, "Match", key).join(" ");
    let (name, kind, virtualization) = (all("Name"), all("Type"), all("Virtualization"));
    // Anything else in [Match] (a driver, a MAC address) is taken as not matching: nobody knows the machine.
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[Match]";
        } else if inside
            && let Some((key, _)) = line.split_once('=')
            && !KNOWN.contains(&key.trim())
            && !line.starts_with(['#', ';'])
        {
            return false;
        }
    }
    if name.is_empty() && kind.is_empty() {
        return false;
    }
    let name_fits = match name.strip_prefix('!') {
        Some(others) => !others.split_whitespace().any(|pattern| glob(pattern, interface)),
        None => name.is_empty() || name.split_whitespace().any(|pattern| glob(pattern, interface)),
    };
    let kind_fits = kind.is_empty() || kind.split_whitespace().any(|pattern| glob(pattern, "ether"));
    let here = virtualization.is_empty() || matches!(virtualization.as_str(), "yes" | "true" | "vm" | "!container");
    name_fits && kind_fits && here
}

/// A shell's `*`, `?` and `[a-z]`, as fnmatch(3).
fn glob(pattern: &str, text: &str) -> bool {
    fn fits(pattern: &[u8], text: &[u8]) -> bool {
        let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
        match first {
            b'*' => (0..=text.len()).any(|skip| fits(rest, &text[skip..])),
            b'[' => {
                let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
                let Some((byte, tail)) = text.split_first() else { return false };
                let set = &rest[..end];
                let ranged = set.windows(3).any(|range| range[1] == b'-' && (range[0]..=range[2]).contains(byte));
                (ranged || set.contains(byte)) && fits(&rest[end + 1..], tail)
            }
            byte => text.split_first().is_some_and(|(head, tail)| (*byte == b'?' || byte == head) && fits(rest, tail)),
        }
    }
    // Stars in a row are one, and more than a few make the search long.
    let mut short: Vec<u8> = pattern.bytes().take(64).collect();
    short.dedup_by(|a, b| *a == b'*' && *b == b'*');
    short.iter().filter(|byte| **byte == b'*').count() <= 6 && fits(&short, text.as_bytes())
}

/// A netplan file that asks for addresses on interfaces that it finds by a pattern.
fn netplan(files: &Files) -> bool {
    let netplan = files.below("/etc/netplan").chain(files.below("/usr/lib/netplan"));
    let asks = |text: &str| {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
        let dhcp =
            lines.iter().any(|line| matches!(*line, "dhcp4: true" | "dhcp4: yes" | "dhcp6: true" | "dhcp6: yes"));
        dhcp && lines.iter().any(|line| line.starts_with("match:"))
    };
    files.program(&["netplan"]).is_some()
        && netplan.filter(|(path, _)| path.name().ends_with(b".yaml")).any(|(_, seen)| asks(&seen.text()))
}

/// ifupdown (interfaces(5)): fixed names, or patterns behind a slash.
fn ifupdown(found: &FileEvidence) -> Option<Answer> {
    let files = &found.files;
    files.program(&["ifup"])?;
    units::enabled(files, &["networking.service", "ifupdown2.service"])?;
    let mut asked = Vec::new();
    for (path, seen) in files.below("/etc/network") {
        for line in seen.text().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["iface", name, "inet" | "inet6", "dhcp" | "auto", ..] = words[..]
                && name != "lo"
            {
                asked.push((name.to_string(), path.to_string()));
            }
        }
    }
    let names: &[&str] = if keeps_kernel_names(found) { &["eth0"] } else { &NAMES };
    let fits = |wanted: &&&str| {
        asked.iter().any(|(name, _)| {
            name.strip_prefix('/').is_some_and(|rest| glob(rest.trim_end_matches('/'), wanted)) || name == **wanted
        })
    };
    Some(match asked.first() {
        None => Err("ifupdown starts, and /etc/network/interfaces asks for no address".into()),
        Some((_, path)) if names.iter().filter(fits).count() == names.len() => Ok(format!("ifupdown, {path}")),
        Some((name, path)) => Err(format!(
            "{path} configures {name}, and interfaces are called ens5, eth0 or otherwise (net.ifnames=0 makes it eth0)"
        )),
    })
}

/// wicked, and the scripts of Red Hat: a file per interface, for eth0 mostly.
fn wicked(found: &FileEvidence) -> Option<Answer> {
    let files = &found.files;
    let unit = units::enabled(files, &["wicked.service", "wickedd.service", "network.service"])?;
    let interfaces = files.below("/etc/sysconfig/network").chain(files.below("/etc/sysconfig/network-scripts"));
    let mut asked = interfaces.filter(|(path, seen)| {
        let text = seen.text().to_ascii_lowercase().replace(['"', '\''], "");
        path.name().starts_with(b"ifcfg-") && text.lines().any(|line| line.trim().starts_with("bootproto=dhcp"))
    });
    Some(match asked.next() {
        Some((path, _)) if path.name() == b"ifcfg-eth0" && keeps_kernel_names(found) => Ok(format!("{unit}, {path}")),
        Some((path, _)) => Err(format!("{path} names one interface, and net.ifnames=0 does not make it so")),
        None => Err(format!("{unit} starts, and no ifcfg file says BOOTPROTO=dhcp")),
    })
}

/// dhcpcd without an argument serves every interface.
fn dhcpcd(found: &FileEvidence) -> Option<Answer> {
    units::enabled(&found.files, &["dhcpcd.service"]).map(|unit| Ok(format!("dhcpcd ({unit})")))
}

#[cfg(test)]
mod tests {
    use super::super::command_line;
    use super::super::files::tests::files;
    use super::super::rule::Outcome;
    use super::*;

    fn verdict(list: &[(&str, &str)]) -> Result<String, String> {
        let files = files(list);
        let boot = command_line::entries(&files);
        let found = FileEvidence { files, boot, has_root: true, unread: Vec::new() };
        let askers: [fn(&FileEvidence) -> Option<Answer>; 6] =
            [cloud_init, network_manager, networkd, ifupdown, wicked, dhcpcd];
        let answers: Vec<Answer> = askers.iter().filter_map(|ask| ask(&found)).collect();
        answers.iter().find(|answer| answer.is_ok()).or(answers.first()).cloned().unwrap_or(Err("nobody".into()))
    }

    const NETWORKD: (&str, &str) = ("/etc/systemd/system/multi-user.target.wants/systemd-networkd.service", "-> /x");
    const IFUP: (&str, &str) = ("/usr/sbin/ifup", "elf");
    const NETWORKING: (&str, &str) = ("/etc/systemd/system/multi-user.target.wants/networking.service", "-> /x");
    const OLD_NAMES: (&str, &str) = ("/boot/grub/grub.cfg", "linux /vmlinuz-1 net.ifnames=0\n");

    #[test]
    fn each_way_of_asking_for_an_address_is_seen() {
        let good: &[(&[(&str, &str)], &str)] = &[
            (
                &[NETWORKD, ("/etc/systemd/network/80-dhcp.network", "[Match]\nType=ether\n[Network]\nDHCP=yes\n")],
                "systemd-networkd, /etc",
            ),
            (
                &[NETWORKD, ("/etc/systemd/network/a.network", "[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4\n")],
                "systemd-networkd",
            ),
            (
                &[
                    NETWORKD,
                    (
                        "/usr/lib/systemd/network/80-container.network",
                        "[Match]\nName=host0\nVirtualization=container\n[Network]\nDHCP=yes\n",
                    ),
                    ("/etc/systemd/network/99-all.network", "[Match]\nName=!lo\n[Network]\nDHCP=yes\n"),
                ],
                "systemd-networkd, /etc/systemd/network/99",
            ),
            (&[("/etc/systemd/system/multi-user.target.wants/NetworkManager.service", "-> /x")], "NetworkManager"),
            (&[NETWORKD, ("/usr/bin/cloud-init", "py")], "cloud-init, with systemd-networkd"),
            (
                &[IFUP, NETWORKING, OLD_NAMES, ("/etc/network/interfaces", "auto eth0\niface eth0 inet dhcp\n")],
                "ifupdown",
            ),
            (&[IFUP, NETWORKING, ("/etc/network/interfaces", "auto /e*\niface /e*/ inet dhcp\n")], "ifupdown"),
            (
                &[
                    OLD_NAMES,
                    ("/etc/systemd/system/multi-user.target.wants/wicked.service", "-> /x"),
                    ("/etc/sysconfig/network/ifcfg-eth0", "BOOTPROTO='dhcp'\nSTARTMODE='auto'\n"),
                ],
                "/etc/systemd/system/multi-user.target.wants/wicked.service",
            ),
            (&[("/etc/systemd/system/multi-user.target.wants/dhcpcd.service", "-> /x")], "dhcpcd"),
            (
                &[
                    NETWORKD,
                    ("/usr/sbin/netplan", "py"),
                    (
                        "/etc/netplan/all.yaml",
                        "network:\n ethernets:\n  all:\n   match: {name: \"e*\"}\n   dhcp4: true\n",
                    ),
                ],
                "netplan",
            ),
        ];
        for (list, who) in good {
            let found = verdict(list);
            assert!(found.as_ref().is_ok_and(|found| found.starts_with(who)), "{who}: {found:?}");
        }
        let bad: &[(&[(&str, &str)], &str)] = &[
            (&[], "nobody"),
            (&[NETWORKD], "no .network file"),
            (
                &[NETWORKD, ("/etc/systemd/network/a.network", "[Match]\nName=ens3\n[Network]\nDHCP=yes\n")],
                "no .network file",
            ),
            (
                &[NETWORKD, ("/etc/systemd/network/a.network", "[Match]\nName=ens5\n[Network]\nDHCP=yes\n")],
                "every name",
            ),
            (
                &[
                    NETWORKD,
                    ("/etc/systemd/network/a.network", "[Match]\nType=ether\nMACAddress=1\n[Network]\nDHCP=yes\n"),
                ],
                "no .network file",
            ),
            (
                &[
                    NETWORKD,
                    ("/etc/systemd/network/a.network", "[Match]\nType=ether\n[Network]\nAddress=10.0.0.2/24\n"),
                    ("/etc/systemd/network/b.network", "[Match]\nType=ether\n[Network]\nDHCP=yes\n"),
                ],
                "no .network file",
            ),
            (&[NETWORKD, ("/etc/systemd/system/systemd-networkd.service", "-> /dev/null")], "nobody"),
            (&[("/usr/bin/cloud-init", "py")], "nothing to configure"),
            (
                &[
                    IFUP,
                    ("/usr/bin/cloud-init", "py"),
                    ("/etc/cloud/cloud.cfg.d/99.cfg", "network:\n  config: disabled\n"),
                ],
                "keeps cloud-init",
            ),
            (&[("/usr/bin/cloud-init", "py"), ("/etc/cloud/cloud-init.disabled", "")], "nobody"),
            (&[IFUP, NETWORKING, ("/etc/network/interfaces", "auto eth0\niface eth0 inet dhcp\n")], "net.ifnames=0"),
        ];
        for (list, why) in bad {
            let found = verdict(list);
            assert!(found.as_ref().is_err_and(|found| found.contains(why)), "{why}: {found:?}");
        }
        assert!(matches!(Outcome::good("x")[0], Outcome::Good(_)));
    }

    #[test]
    fn patterns_are_those_of_the_shell() {
        let table = [
            ("en*", "ens5", true),
            ("e[nt]*", "eth0", true),
            ("eth?", "eth0", true),
            ("eth[1-9]", "eth0", false),
            ("*", "x", true),
        ];
        for (pattern, name, fits) in table {
            assert_eq!(glob(pattern, name), fits, "{pattern} {name}");
        }
        assert!(!glob(&"*a".repeat(40), &"a".repeat(200)));
    }
}
