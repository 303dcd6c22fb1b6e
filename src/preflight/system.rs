//! Rules about the system in the image: agents, logins, growth, swap, leftovers.
//!
//! In: the files of the image, and the audit's report. Out: what the rules make of it. Never says that a login is safe: only
//! that there is one.

use super::evidence::{Evidence, FileEvidence, no_root};
use super::files::Files;
use super::rule::Outcome;
use super::units;
use crate::disk::gpt::kind;
use crate::disk::table::PartitionType;
use crate::plan::Target;

/// The files with a root filesystem among them, or why nothing can be said.
fn root(evidence: &Evidence) -> Result<&FileEvidence, Vec<Outcome>> {
    match &evidence.files {
        Ok(files) if files.has_root => Ok(files),
        Ok(files) => Err(Outcome::unknown(no_root(&files.unread))),
        Err(why) => Err(Outcome::unknown(why)),
    }
}

/// Programs that configure an instance from what its cloud says of it.
fn provisioner(files: &Files) -> Option<&'static str> {
    if units::cloud_init(files) {
        return Some("cloud-init");
    }
    let enabled = |units: &[&str]| units::enabled(files, units).is_some();
    match () {
        () if enabled(&["waagent.service", "walinuxagent.service"]) => Some("the Azure agent"),
        () if enabled(&["google-guest-agent.service", "google-guest-agent-manager.service"]) => {
            Some("Google's guest agent")
        }
        () if enabled(&["afterburn.service", "afterburn-sshkeys@.service"]) => Some("afterburn"),
        () if files.exists("/usr/lib/dracut/modules.d/30ignition") && files.exists("/etc/ignition") => Some("ignition"),
        () if enabled(&["amazon-ssm-agent.service"]) => Some("the SSM agent"),
        () => None,
    }
}

/// The rule `agent`.
pub fn agent(evidence: &Evidence, target: Target) -> Vec<Outcome> {
    let files = match root(evidence) {
        Ok(found) => &found.files,
        Err(outcome) => return outcome,
    };
    let enabled = |units: &[&str]| units::enabled(files, units).is_some();
    let own: (&[&str], &str, &str) = match target {
        Target::Vmware => (
            &["open-vm-tools.service", "vmtoolsd.service"],
            "open-vm-tools",
            "the host can neither see its address nor shut it down",
        ),
        Target::Hyperv => (
            &["hv-kvp-daemon.service", "hypervkvpd.service", "hv_kvp_daemon.service"],
            "hyperv-daemons",
            "the host cannot see its address",
        ),
        Target::Libvirt => (
            // Started by udev where the machine has the channel; Debian's unit has no [Install] section.
            &["qemu-guest-agent.service"],
            "qemu-guest-agent",
            "the host can neither freeze its filesystems nor see its address",
        ),
        _ => (&[], "", ""),
    };
    let (names, package, without) = own;
    if !package.is_empty() {
        let is_there = enabled(names) || names.iter().any(|unit| units::text(files, unit).is_some());
        return match is_there {
            true => Outcome::good(package),
            false => Outcome::bad(format!("no {package}: {without}"), format!("add {package} to the image")),
        };
    }
    match (provisioner(files), target) {
        (Some("the SSM agent" | "Google's guest agent" | "afterburn" | "ignition"), Target::Azure)
        | (None, Target::Azure) => Outcome::bad(
            "neither cloud-init nor the Azure agent: nothing reports that the machine is ready, and creating it fails",
            "add cloud-init or waagent to the image",
        ),
        (Some(name), _) => Outcome::good(name),
        (None, _) => Outcome::bad(
            "no cloud-init or agent: keys, names and user data of an instance have no effect",
            "add cloud-init to the image",
        ),
    }
}

/// The unit that starts an SSH server.
fn ssh_server(files: &Files) -> Option<String> {
    const UNITS: &[&str] = &["ssh.service", "sshd.service", "ssh.socket", "sshd.socket", "dropbear.service"];
    units::enabled(files, UNITS).map(|path| path.to_string())
}

/// Where a key or password comes from.
fn credential(files: &Files) -> Option<String> {
    if let Some(name) = provisioner(files).filter(|name| *name != "the SSM agent") {
        return Some(format!("keys from {name}"));
    }
    let keys = files.all().find(|(path, seen)| path.as_bytes().ends_with(b"/.ssh/authorized_keys") && seen.size.0 > 0);
    keys.map(|(path, _)| format!("keys in {path}"))
}

/// An account with a password that can be typed.
fn password(files: &Files) -> Option<String> {
    let shadow = files.text("/etc/shadow");
    let mut lines = shadow.lines().filter_map(|line| line.split_once(':'));
    let usable = |rest: &str| rest.split(':').next().is_some_and(|hash| hash.starts_with('$') || hash.is_empty());
    lines.find(|(_, rest)| usable(rest)).map(|(name, _)| format!("{name} has a password"))
}

/// The rule `login`.
pub fn login(evidence: &Evidence, target: Target) -> Vec<Outcome> {
    let files = match root(evidence) {
        Ok(found) => &found.files,
        Err(outcome) => return outcome,
    };
    if units::enabled(files, &["amazon-ssm-agent.service"]).is_some() && target == Target::Aws {
        return Outcome::good("the SSM agent opens sessions");
    }
    let console = password(files).map(|what| format!("{what}, for its console"));
    let remedy = "add openssh-server and cloud-init, or leave it so where nobody shall get in";
    match (ssh_server(files), credential(files), console) {
        (Some(server), Some(keys), _) => Outcome::good(format!("{server}, {keys}")),
        (_, _, Some(console)) if !matches!(target, Target::Azure) => Outcome::good(console),
        (Some(server), None, _) => {
            let why = "no key and no password: nothing brings keys, and no authorized_keys is in the image";
            Outcome::bad(format!("{server} starts, and there is {why}"), remedy)
        }
        (None, Some(keys), _) => Outcome::bad(format!("{keys}, and no SSH server starts"), remedy),
        (None, None, _) => Outcome::bad("no SSH server starts, and no account has a key or a password", remedy),
    }
}

/// The rule `ssh-host-keys`.
pub fn host_keys(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let files = match root(evidence) {
        Ok(found) => &found.files,
        Err(outcome) => return outcome,
    };
    let Some(server) = ssh_server(files) else { return Outcome::good("no SSH server starts") };
    if units::cloud_init(files) {
        return Outcome::good("cloud-init makes them");
    }
    let words = ["ssh-keygen", "sshd-keygen", "sshd-gen-keys", "dropbearkey", "dropbear -R", "dropbear -F -R"];
    // A unit that the server's own unit wants is started with it.
    let wanted = ["ssh.service", "sshd.service", "sshd.socket", "ssh.socket"].iter().find_map(|unit| {
        let text = units::text(files, unit)?;
        let asks =
            text.contains("keygen") && (text.contains("Wants=") || text.contains("Exec") || text.contains("Requires="));
        asks.then(|| unit.to_string())
    });
    match units::that_says(files, &words).or(wanted) {
        Some(unit) => Outcome::good(format!("{unit} makes them")),
        None => Outcome::bad(
            format!("{server} starts a server without host keys, and nothing makes them"),
            "add a unit that runs `ssh-keygen -A` before the server, or cloud-init",
        ),
    }
}

/// The rule `grow`.
pub fn grow(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let found = match root(evidence) {
        Ok(found) => found,
        Err(outcome) => return outcome,
    };
    let files = &found.files;
    let has = |names: &[&str]| files.program(names).is_some();
    let fstab = files.text("/etc/fstab");
    let growfs = fstab.contains("x-systemd.growfs") || files.exists("/usr/lib/systemd/systemd-growfs");
    let repart = has(&["systemd-repart"])
        && files
            .below("/etc/repart.d")
            .chain(files.below("/usr/lib/repart.d"))
            .any(|(path, _)| path.name().ends_with(b".conf"));
    if repart && growfs {
        return Outcome::good("systemd-repart, and the filesystem with it");
    }
    if units::cloud_init(files) && has(&["growpart"]) {
        return Outcome::good("cloud-init, with growpart");
    }
    if let Some(unit) = units::that_says(files, &["growpart", "grow-root", "resize2fs", "xfs_growfs", "systemd-repart"])
    {
        return Outcome::good(unit);
    }
    let initrd = found.boot.first().map(|entry| entry.initrds.join(" ")).unwrap_or_default();
    if files.exists("/usr/lib/dracut/modules.d/50growroot") || files.exists("/usr/share/initramfs-tools/hooks/growroot")
    {
        return Outcome::good(format!("growroot, in {initrd}"));
    }
    Outcome::bad(
        "nothing makes the root filesystem as large as the disk that the target gives it",
        "<oem-resize>true</oem-resize> in the description, with systemd-repart or cloud-guest-utils",
    )
}

/// The rule `swap`.
pub fn swap(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let disk = match &evidence.disk {
        Ok(disk) => disk,
        Err(why) => return Outcome::unknown(why),
    };
    let partitions = disk.partitions.as_deref().unwrap_or_default();
    let is_swap = |kind: &PartitionType| match kind {
        PartitionType::Gpt(uuid) => *uuid == kind::SWAP,
        PartitionType::Mbr(number) => *number == crate::disk::mbr::kind::SWAP,
    };
    let remedy = "leave <oem-swap> out; the Azure agent makes swap on the machine's own disk (ResourceDisk.EnableSwap)";
    if let Some(partition) = partitions.iter().find(|partition| is_swap(&partition.kind)) {
        return Outcome::bad(format!("partition {} is for swap", partition.number), remedy);
    }
    let fstab = evidence.files.as_ref().map(|found| found.files.text("/etc/fstab")).unwrap_or_default();
    let line = fstab
        .lines()
        .find(|line| !line.trim_start().starts_with('#') && line.split_whitespace().nth(2) == Some("swap"));
    match line {
        Some(line) => Outcome::bad(format!("/etc/fstab: {}", super::form::shown(line.as_bytes())), remedy),
        None => Outcome::good("no swap on the disk"),
    }
}

/// Leftovers that are shown one by one; the rest is counted.
const SHOWN: usize = 20;

/// The rule `leftovers`.
pub fn leftovers(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let report = match &evidence.audit {
        Ok(report) => report,
        Err(why) => return Outcome::unknown(why),
    };
    let found: Vec<_> = report.leftovers().collect();
    if found.is_empty() {
        return Outcome::good(format!("the audit of {} files found nothing", report.files));
    }
    let remedy = "build it with ingot, or clean the system before its disk is taken; `ingot audit` shows all";
    let shown = found.iter().take(SHOWN);
    let mut outcomes: Vec<Outcome> = shown
        .flat_map(|finding| Outcome::bad(format!("{}: {} {}", finding.class, finding.path, finding.what), remedy))
        .collect();
    if found.len() > SHOWN {
        outcomes.extend(Outcome::bad(format!("and {} more", found.len() - SHOWN), remedy));
    }
    outcomes
}
