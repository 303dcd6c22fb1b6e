//! Each class of leftovers, planted alone in an otherwise clean tree.

use std::collections::BTreeSet;

use super::*;
use crate::scrub::{Database, DescribedPaths};

const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoGCCqGSM49\n";
const LINUX: &str =
    "root:$6$abcdefgh$UpTHeIBbAOcPkHDQB085x/tvg71FMELvpunLTiD8aVqwfNsCjrsVCWSGj/6b.GUlF7Uw3/0JA5e3hAungH7t.0:1:::\n";

/// A path, what is in it, and the class that an audit must find; nothing else may be found.
const PLANTED: &[(&str, &str, &str)] = &[
    ("/etc/machine-id", "5c0f4ab1e2d34c5f8a9b0c1d2e3f4a5b\n", "machine-id"),
    ("/var/lib/dbus/machine-id", "5c0f4ab1e2d34c5f8a9b0c1d2e3f4a5b\n", "dbus-machine-id"),
    ("/etc/udev/rules.d/70-persistent-net.rules", "x", "udev-net-rules"),
    ("/etc/udev/rules.d/10-mine.rules", "SUBSYSTEM==\"net\", ATTR{address}==\"52:54:00:aa:bb:cc\"", "udev-net-rules"),
    ("/etc/sysconfig/network/ifcfg-eth0", "HWADDR=52:54:00:aa:bb:cc\n", "nic-identity"),
    ("/var/lib/NetworkManager/secret_key", "x", "nic-identity"),
    ("/etc/netplan/50-cloud-init.yaml", "x", "nic-identity"),
    ("/var/lib/dhcp/dhclient.leases", "x", "dhcp-leases"),
    ("/var/lib/wicked/lease-eth0.xml", "x", "dhcp-leases"),
    ("/etc/hostname", "Forge7\n", "hostname"),
    ("/etc/mailname", "forge7.example.org\n", "hostname"),
    ("/etc/hosts", "127.0.1.1 x forge7\n", "hostname"),
    ("/etc/resolv.conf", "nameserver 192.0.2.53\n\n", "hostname"),
    ("/etc/ssh/ssh_host_ed25519_key", KEY, "ssh-host-keys"),
    ("/etc/dropbear/initramfs/dropbear_rsa_host_key", "x", "ssh-host-keys"),
    ("/root/.ssh/known_hosts", "x", "ssh-user-data"),
    ("/opt/svc/.ssh/id_rsa", KEY, "ssh-user-data"),
    ("/root/.ssh/authorized_keys", "x", "ssh-user-data"),
    ("/root/.bash_history", "x", "histories"),
    ("/srv/people/anna/.python_history", "x", "histories"),
    ("/srv/people/anna/.cache/x", "x", "histories"),
    ("/home/bob/.history", "x", "histories"),
    ("/var/lib/svc/.zsh_history", "x", "histories"),
    ("/root/.aws/credentials", "x", "cloud-credentials"),
    ("/opt/deploy/.kube/config", "x", "cloud-credentials"),
    ("/home/bob/.npmrc", "x", "cloud-credentials"),
    ("/home/bob/.config/gcloud/x", "x", "cloud-credentials"),
    ("/tmp/x", "x", "temporary"),
    ("/var/tmp/.x", "", "temporary"),
    ("/run/x", "", "temporary"),
    ("/var/log/dpkg.log", "x", "logs"),
    ("/var/log/journal/0123", "x", "logs"),
    ("/var/cache/apt/archives/x.deb", "x", "package-caches"),
    ("/var/lib/apt/lists/x_Release", "x", "package-caches"),
    ("/var/lib/zypp/AnonymousUniqueId", "x", "package-caches"),
    ("/var/lib/dpkg/status-old", "x", "package-db-residue"),
    ("/var/lib/dpkg/lock", "", "package-db-residue"),
    ("/usr/lib/sysimage/rpm/rpmdb.sqlite-wal", "x", "package-db-residue"),
    ("/var/lib/zypp/AutoInstalled", "# AutoInstalled generated Fri Nov 27 08:23:49 2026\n", "package-database"),
    ("/var/lib/dnf/history.sqlite", "x", "package-caches"),
    ("/var/lib/pacman/db.lck", "", "package-db-residue"),
    ("/etc/pacman.d/gnupg/private-keys-v1.d/x.key", "x", "host-crypto"),
    ("/usr/sbin/policy-rc.d", "x", "builder-leftovers"),
    ("/usr/bin/qemu-arm-static", "x", "builder-leftovers"),
    ("/.kconfig", "x", "builder-leftovers"),
    ("/etc/apt/apt.conf.d/99x", "Acquire::http { Proxy \"http://x:1\"; };", "builder-leftovers"),
    ("/etc/apt/sources.list.d/x.list", "deb https://me:secret@host.example/debian x main", "builder-leftovers"),
    ("/etc/environment", "HTTPS_PROXY=x", "builder-leftovers"),
    ("/etc/shadow-", "x", "account-backups"),
    ("/etc/x/y.dpkg-dist", "x", "account-backups"),
    ("/etc/shadow", "root::1:::\n", "passwords"),
    ("/etc/shadow", LINUX, "passwords"),
    ("/var/cache/debconf/passwords.dat", "x", "passwords"),
    ("/var/lib/systemd/random-seed", "x", "random-seed"),
    ("/boot/efi/loader/random-seed", "x", "random-seed"),
    ("/etc/machine-info", "x", "random-seed"),
    ("/etc/ssl/private/ssl-cert-snakeoil.key", KEY, "host-crypto"),
    ("/etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.org.debian:01:1\n", "host-crypto"),
    ("/etc/krb5.keytab", "x", "host-crypto"),
    ("/etc/wireguard/wg0.conf", "x", "host-crypto"),
    ("/var/lib/cloud/instance/x", "x", "agent-state"),
    ("/var/lib/waagent/x", "x", "agent-state"),
    ("/var/mail/root", "x", "mail-cron-at"),
    ("/var/spool/cron/crontabs/root", "x", "mail-cron-at"),
    ("/etc/lvm/backup/vg", "x", "storage-ids"),
    ("/etc/multipath/wwids", "x", "storage-ids"),
    ("/var/cache/ldconfig/aux-cache", "x", "unstable-caches"),
    ("/var/cache/debconf/config.dat-old", "x", "unstable-caches"),
    ("/var/crash/x", "x", "crash-and-accounting"),
    ("/var/lib/systemd/timers/stamp-x.timer", "", "crash-and-accounting"),
    ("/boot/grub/grubenv", "# GRUB Environment Block\nsaved_entry=x\n", "boot"),
    ("/boot/grub/grub.cfg", "linux /vmlinuz root=/dev/loop0p2", "boot"),
    ("/etc/fstab", "/dev/nbd0p1 / ext4 defaults 0 1\n", "boot"),
    ("/srv/tls/server.key", KEY, "private-keys"),
    ("/usr/lib/x/report", "built in /var/tmp/ingot-work-42/root", "build-host"),
];

fn host() -> BuildHost {
    BuildHost {
        names: BTreeSet::from(["forge7".to_string(), "forge7.example.org".to_string()]),
        resolver: b"nameserver 192.0.2.53\n".to_vec(),
        workspace: Some("/var/tmp/ingot-work-42".into()),
        builds_began: Vec::new(),
        epoch: None,
    }
}

fn clean_tree(folder: &std::path::Path) -> RootTree {
    let tree = RootTree::open(folder).unwrap();
    tree.write(&"/etc/passwd".into(), "root:x:0:0::/root:/bin/sh\nanna:x:1:1::/srv/people/anna:/bin/sh\n", 0o644)
        .unwrap();
    tree.write(&"/etc/machine-id".into(), "", 0o444).unwrap();
    tree.write(&"/var/log/wtmp".into(), "", 0o664).unwrap();
    tree.create_folders(&"/run/lock".into(), 0o755).unwrap();
    tree.create_folders(&"/home/bob".into(), 0o755).unwrap();
    tree
}

fn found(tree: &RootTree, described: &[&str], except: &[&str]) -> Vec<(Severity, &'static str, String)> {
    let plan = ScrubPlan { preset: ScrubPreset::Vm, except: except.iter().map(|name| name.to_string()).collect() };
    let asked = Asked {
        paths: described.iter().map(|path| RootPath::from(*path)).collect::<DescribedPaths>(),
        passwords: BTreeSet::new(),
        update_stack: UpdateStack::Kept,
        database: Database::Kept,
    };
    let report = audit(tree, Standard::Build { plan: &plan, asked: &asked, host: &host() }).unwrap();
    report
        .findings
        .into_iter()
        .filter(|finding| finding.severity != Severity::Note)
        .map(|finding| (finding.severity, finding.class, finding.path.to_string()))
        .collect()
}

#[test]
fn a_clean_tree_has_no_findings() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(found(&clean_tree(folder.path()), &[], &[]), []);
}

#[test]
fn each_class_of_leftovers_is_found_alone_and_kept_where_its_rule_is_switched_off() {
    for (path, content, class) in PLANTED {
        let folder = tempfile::tempdir().unwrap();
        let tree = clean_tree(folder.path());
        tree.write(&(*path).into(), content, 0o600).unwrap();
        let path = if *class == "passwords" && path.starts_with("/etc") { "/etc/shadow" } else { path };
        assert_eq!(found(&tree, &[], &[]), [(Severity::Leftover, *class, path.to_string())], "{path}");
        assert_eq!(found(&tree, &[], &[class]), [(Severity::Kept, *class, path.to_string())], "{path}");
    }
}

#[test]
fn every_rule_of_the_table_has_a_class_that_the_audit_finds() {
    let planted: BTreeSet<&str> = PLANTED.iter().map(|(_, _, class)| *class).collect();
    let missing: Vec<&str> = crate::scrub::rule_names().filter(|name| !planted.contains(name)).collect();
    // A container's own is below; what lies in free blocks and in dates is seen in artifacts.
    assert_eq!(missing, ["container", "free-space", "metadata"]);
}

#[test]
fn what_a_container_gets_from_its_host_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let tree = clean_tree(folder.path());
    for path in ["/dev/null", "/proc/1", "/sys/x", "/boot/vmlinuz-6.1", "/etc/mtab"] {
        tree.write(&path.into(), "x", 0o600).unwrap();
    }
    let report = audit(&tree, Standard::Artifact(ScrubPreset::Container)).unwrap();
    let found: Vec<String> = report.leftovers().map(|finding| format!("{} {}", finding.class, finding.path)).collect();
    let wanted = ["/boot/vmlinuz-6.1", "/dev/null", "/etc/mtab", "/proc/1", "/sys/x"];
    assert_eq!(found, wanted.map(|path| format!("container {path}")));
}

#[test]
fn what_the_description_asked_for_is_no_leftover() {
    for path in
        ["/root/.ssh/authorized_keys", "/etc/hostname", "/etc/netplan/50-cloud-init.yaml", "/srv/tls/server.key"]
    {
        let folder = tempfile::tempdir().unwrap();
        let tree = clean_tree(folder.path());
        let content = if path.ends_with(".key") { KEY } else { "forge7\n" };
        tree.write(&path.into(), content, 0o600).unwrap();
        assert_eq!(found(&tree, &[path], &[]), [], "{path}");
    }
}

#[test]
fn a_folder_of_leftovers_is_one_finding() {
    let folder = tempfile::tempdir().unwrap();
    let tree = clean_tree(folder.path());
    tree.write(&"/tmp/x/y/z".into(), "x", 0o600).unwrap();
    tree.write(&"/opt/app/__pycache__/a.pyc".into(), "x", 0o600).unwrap();
    tree.write(&"/opt/app/__pycache__/b.pyc".into(), "x", 0o600).unwrap();
    let wanted = [("temporary", "/tmp/x"), ("unstable-caches", "/opt/app/__pycache__")];
    assert_eq!(found(&tree, &[], &[]), wanted.map(|(class, path)| (Severity::Leftover, class, path.to_string())));
}

#[test]
fn a_machine_id_behind_a_symlink_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let tree = clean_tree(folder.path());
    tree.write(&"/usr/share/id".into(), "5c0f4ab1e2d34c5f8a9b0c1d2e3f4a5b\n", 0o644).unwrap();
    tree.symlink("../usr/share/id", &"/etc/machine-id".into()).unwrap();
    assert_eq!(found(&tree, &[], &[]), [(Severity::Leftover, "machine-id", "/etc/machine-id".to_string())]);
}

#[test]
fn notes_name_setuid_writable_and_unowned_files() {
    let folder = tempfile::tempdir().unwrap();
    let tree = clean_tree(folder.path());
    tree.write(
        &"/var/lib/dpkg/info/a.list".into(),
        "/usr/bin/su\n/etc/passwd\n/etc/machine-id\n/var/log/wtmp\n",
        0o644,
    )
    .unwrap();
    tree.write(&"/usr/bin/su".into(), "x", 0o755).unwrap();
    tree.set_mode(&"/usr/bin/su".into(), 0o4755).unwrap();
    tree.write(&"/usr/bin/mine".into(), "x", 0o755).unwrap();
    tree.set_mode(&"/usr/bin/mine".into(), 0o2755).unwrap();
    tree.create_folders(&"/srv/open".into(), 0o755).unwrap();
    tree.set_mode(&"/srv/open".into(), 0o777).unwrap();
    tree.create_folders(&"/srv/sticky".into(), 0o755).unwrap();
    tree.set_mode(&"/srv/sticky".into(), 0o1777).unwrap();
    tree.write(&"/srv/sticky/x".into(), "x", 0o755).unwrap();
    tree.set_mode(&"/srv/sticky/x".into(), 0o666).unwrap();
    tree.symlink("/home", &"/var/cache".into()).unwrap();
    let report = audit(&tree, Standard::Artifact(ScrubPreset::Vm)).unwrap();
    let notes: Vec<String> =
        report.notes().map(|note| format!("{} {}: {}", note.class, note.path, note.what)).collect();
    assert_eq!(
        notes,
        [
            "setuid /usr/bin/mine: mode 2755 of user 0; no package owns it",
            "setuid /usr/bin/su: mode 4755 of user 0; of a package or the description",
            "symlinked /var/cache: leads to /home: nothing there was scrubbed on its account",
            "unowned /usr/bin/mine: no package owns it and the description did not put it there",
            "world-writable /srv/open: anybody may replace what is in it",
            "world-writable /srv/sticky/x: anybody may write it",
        ]
    );
}
