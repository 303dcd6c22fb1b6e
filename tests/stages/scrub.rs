//! The scrub and its audit, on trees made here: what a build plants goes, what packages and the description own stays.

use std::collections::BTreeSet;
use std::path::Path;

use ingot::error::Exit;
use ingot::plan::{ScrubPlan, ScrubPreset, UpdateStack};
use ingot::report::Reporter;
use ingot::root::tree::Kind;
use ingot::root::{RootPath, RootTree};
use ingot::scrub::{Asked, BuildHost, Database, DescribedPaths, Done, ScrubbedTree, scrub};

const EPOCH: i64 = 1_700_000_000;

/// Whatever the build host is called, the image must not say it.
fn host() -> BuildHost {
    BuildHost {
        names: BTreeSet::from(["forge7".to_string(), "forge7.example.org".to_string()]),
        resolver: b"nameserver 192.0.2.53\n".to_vec(),
        workspace: Some("/var/tmp/ingot-work-42".into()),
        builds_began: Vec::new(),
        epoch: None,
    }
}

fn asked(paths: &[&str]) -> Asked {
    Asked {
        paths: paths.iter().map(|path| RootPath::from(*path)).collect::<DescribedPaths>(),
        passwords: BTreeSet::new(),
        update_stack: UpdateStack::Kept,
        database: Database::Kept,
    }
}

fn plan(preset: ScrubPreset, except: &[&str]) -> ScrubPlan {
    ScrubPlan { preset, except: except.iter().map(|name| name.to_string()).collect() }
}

fn open(folder: &Path) -> RootTree {
    RootTree::open(folder).unwrap()
}

/// A small Debian: accounts, a merged /usr, a package that owns a few files in awkward places.
fn debian(folder: &Path) -> RootTree {
    let tree = open(folder);
    for (path, content) in [
        ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1000::/srv/people/anna:/bin/sh\n"),
        ("/etc/shadow", "root:*:20000:0:99999:7:::\nanna:!:0:0:99999:7:::\nsync:*::0:99999:7:::\n"),
        ("/usr/lib/systemd/systemd", "elf"),
        ("/usr/sbin/sshd", "elf"),
        ("/usr/bin/ssh-keygen", "elf"),
        ("/usr/lib/udev/rules.d/80-net-setup-link.rules", "package"),
        ("/usr/lib/python3/__pycache__/owned.pyc", "package"),
        ("/var/log/owned.log", "package, and what it logged"),
        ("/etc/skel/.bashrc", "package"),
        ("/var/cache/apt/archives/partial/x", "half a package"),
        ("/etc/ssh/sshd_config", "package"),
    ] {
        tree.write(&path.into(), content, 0o644).unwrap();
    }
    for folder in ["/tmp", "/var/tmp", "/run", "/dev", "/proc", "/sys", "/home", "/boot", "/root"] {
        tree.create_folders(&folder.into(), 0o755).unwrap();
    }
    for name in ["bin", "sbin", "lib"] {
        tree.symlink(format!("usr/{name}"), &RootPath::root().join(name)).unwrap();
    }
    let list = "/.\n/lib\n/lib/systemd\n/lib/systemd/systemd\n/usr/sbin/sshd\n/usr/bin/ssh-keygen\n\
        /lib/udev/rules.d/80-net-setup-link.rules\n/usr/lib/python3/__pycache__\n\
        /usr/lib/python3/__pycache__/owned.pyc\n/var/log\n/var/log/owned.log\n/etc/skel/.bashrc\n/var/cache/apt\n\
        /var/cache/apt/archives\n/var/cache/apt/archives/partial\n/etc/ssh/sshd_config\n";
    tree.write(&"/var/lib/dpkg/info/all:amd64.list".into(), list, 0o644).unwrap();
    tree.write(&"/var/lib/dpkg/status".into(), "Package: all\n", 0o644).unwrap();
    tree
}

const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n\
    b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n-----END OPENSSH PRIVATE KEY-----\n";

/// What builds and their scripts leave behind, one of each kind; every content holds the word `planted`.
const PLANTED: &[&str] = &[
    "/etc/machine-id",
    "/var/lib/dbus/machine-id",
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/etc/udev/rules.d/75-persistent-net-generator.rules",
    "/var/lib/NetworkManager/secret_key",
    "/var/lib/NetworkManager/internal-1-eth0.lease",
    "/etc/netplan/50-cloud-init.yaml",
    "/etc/systemd/network/10-cloud-init-eth0.network",
    "/var/lib/dhcp/dhclient.eth0.leases",
    "/var/lib/dhclient/x.lease",
    "/var/lib/wicked/state-1.xml",
    "/run/systemd/netif/links/2",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_rsa_key.pub",
    "/root/.ssh/known_hosts",
    "/root/.ssh/id_ed25519",
    "/root/.ssh/authorized_keys",
    "/srv/people/anna/.ssh/id_rsa.pub",
    "/root/.bash_history",
    "/srv/people/anna/.bash_history",
    "/srv/people/anna/.local/share/fish/fish_history",
    "/home/bob/.zsh_history",
    "/home/bob/.viminfo",
    "/home/bob/.wget-hsts",
    "/etc/skel/.bash_history",
    "/root/.cache/pip/http/x",
    "/root/.aws/credentials",
    "/home/bob/.azure/accessTokens.json",
    "/home/bob/.config/gcloud/credentials.db",
    "/home/bob/.kube/config",
    "/home/bob/.docker/config.json",
    "/root/.netrc",
    "/root/.npmrc",
    "/root/.pypirc",
    "/root/.git-credentials",
    "/root/.vault-token",
    "/root/.boto",
    "/tmp/build/x y",
    "/var/tmp/.hidden",
    "/run/sshd.pid",
    "/run/lock/subsys/x",
    "/var/log/dpkg.log",
    "/var/log/apt/history.log",
    "/var/log/journal/0123456789abcdef0123456789abcdef/system.journal",
    "/var/log/wtmp",
    "/var/cache/apt/pkgcache.bin",
    "/var/lib/apt/lists/mirror_dists_stable_Release",
    "/var/lib/dnf/history.sqlite",
    "/var/lib/zypp/AnonymousUniqueId",
    "/var/lib/zypp/AutoInstalled",
    "/var/lib/rpm/__db.001",
    "/var/lib/rpm/.rpm.lock",
    "/var/lib/dpkg/status-old",
    "/var/lib/dpkg/lock-frontend",
    "/var/backups/dpkg.status.0",
    "/usr/sbin/policy-rc.d",
    "/usr/bin/qemu-aarch64-static",
    "/image/config.xml",
    "/.profile",
    "/.dockerenv",
    "/etc/apt/auth.conf.d/mirror.conf",
    "/etc/apt/apt.conf.d/01proxy",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/.pwd.lock",
    "/etc/default/grub.dpkg-old",
    "/etc/foo.rpmsave",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/boot/efi/loader/random-seed",
    "/etc/machine-info",
    "/etc/ssl/private/ssl-cert-snakeoil.key",
    "/etc/nvme/hostnqn",
    "/etc/hostid",
    "/etc/wireguard/wg0.conf",
    "/etc/salt/pki/minion/minion.pem",
    "/etc/puppetlabs/puppet/ssl/private_keys/x.pem",
    "/etc/chef/client.pem",
    "/etc/krb5.keytab",
    "/var/lib/cloud/instance/user-data.txt",
    "/var/lib/waagent/ovf-env.xml",
    "/var/lib/google/x",
    "/etc/pki/consumer/cert.pem",
    "/var/mail/root",
    "/var/spool/cron/crontabs/root",
    "/var/spool/postfix/maildrop/1",
    "/etc/lvm/archive/vg_0.vg",
    "/etc/lvm/devices/system.devices",
    "/etc/multipath/wwids",
    "/etc/blkid.tab",
    "/var/cache/ldconfig/aux-cache",
    "/var/cache/man/index.db",
    "/var/cache/fontconfig/x.cache-8",
    "/var/cache/debconf/templates.dat-old",
    "/var/cache/debconf/passwords.dat",
    "/usr/lib/python3/__pycache__/stray.pyc",
    "/opt/app/__pycache__/x.pyc",
    "/var/crash/x.crash",
    "/var/lib/systemd/coredump/core.x",
    "/var/account/pacct",
    "/var/lib/logrotate/status",
    "/var/lib/systemd/timers/stamp-apt-daily.timer",
    "/boot/vmlinuz-0-rescue-0123456789abcdef0123456789abcdef",
    "/etc/hostname",
    "/etc/resolv.conf",
];

fn plant(tree: &RootTree) {
    for path in PLANTED {
        let content = match *path {
            "/etc/hostname" => "forge7\n".to_string(),
            "/etc/resolv.conf" => "nameserver 192.0.2.53\n".to_string(),
            path if path.ends_with("_key") || path.contains("id_ed25519") => format!("planted\n{KEY}"),
            _ => format!("planted {path}\n"),
        };
        tree.write(&(*path).into(), content, 0o600).unwrap();
    }
    tree.write(
        &"/etc/hosts".into(),
        "127.0.0.1 localhost\n127.0.1.1\tforge7.example.org forge7\n::1 localhost\n",
        0o644,
    )
    .unwrap();
    tree.write(&"/etc/environment".into(), "PATH=/usr/bin\nhttp_proxy=http://planted:3128\n", 0o644).unwrap();
    let ifcfg = "DEVICE=eth0\nHWADDR=planted\nUUID=planted\nBOOTPROTO=dhcp\n";
    tree.write(&"/etc/sysconfig/network-scripts/ifcfg-eth0".into(), ifcfg, 0o644).unwrap();
    let grubenv = format!("{:#<1024}", "# GRUB Environment Block\nsaved_entry=planted\n");
    tree.write(&"/boot/grub/grubenv".into(), grubenv, 0o644).unwrap();
    tree.write(&"/usr/sbin/start-stop-daemon.REAL".into(), "elf", 0o755).unwrap();
    tree.write(&"/usr/sbin/start-stop-daemon".into(), "planted", 0o755).unwrap();
    let diversions = "/sbin/start-stop-daemon\n/sbin/start-stop-daemon.REAL\n:\n/usr/bin/which\n/usr/bin/which.d\n:\n";
    tree.write(&"/var/lib/dpkg/diversions".into(), diversions, 0o644).unwrap();
}

/// Every regular file, symlink and empty folder, with content.
fn text(tree: &RootTree) -> Vec<String> {
    let entries = tree.walk(&RootPath::root()).unwrap();
    let mut lines = Vec::new();
    for entry in entries {
        match &entry.kind {
            Kind::File => {
                let content = String::from_utf8_lossy(&tree.read(&entry.path).unwrap()).trim_end().replace('\n', "|");
                let shown: String = content.chars().take(80).collect();
                lines.push(format!("{}: {shown}", entry.path).trim_end().to_string());
            }
            Kind::Symlink(target) => lines.push(format!("{} -> {}", entry.path, String::from_utf8_lossy(target))),
            _ if tree.names(&entry.path).unwrap().is_empty() => lines.push(format!("{}/ {:o}", entry.path, entry.mode)),
            _ => {}
        }
    }
    lines
}

fn clean(tree: RootTree, plan: &ScrubPlan, asked: &Asked) -> ScrubbedTree {
    scrub(plan, tree, asked, &host(), EPOCH, &Reporter::silent()).unwrap_or_else(|error| panic!("{}", error.text()))
}

#[test]
fn everything_that_a_build_plants_goes_and_what_packages_own_stays() {
    let folder = tempfile::tempdir().unwrap();
    let tree = debian(folder.path());
    plant(&tree);
    let scrubbed = clean(tree, &plan(ScrubPreset::Vm, &[]), &asked(&[]));
    let wanted = "\
/bin -> usr/bin
/boot/efi/loader/ 755
/boot/grub/grubenv: # GRUB Environment Block|#######################################################
/dev/ 755
/etc/apt/apt.conf.d/ 755
/etc/apt/auth.conf.d/ 755
/etc/chef/ 755
/etc/default/ 755
/etc/environment: PATH=/usr/bin
/etc/hosts: 127.0.0.1 localhost|::1 localhost
/etc/lvm/archive/ 755
/etc/lvm/devices/ 755
/etc/machine-id:
/etc/multipath/ 755
/etc/netplan/ 755
/etc/nvme/ 755
/etc/passwd: root:x:0:0:root:/root:/bin/sh|anna:x:1000:1000::/srv/people/anna:/bin/sh
/etc/pki/consumer/ 755
/etc/puppetlabs/puppet/ 755
/etc/salt/ 755
/etc/shadow: root:*:19675:0:99999:7:::|anna:!:0:0:99999:7:::|sync:*::0:99999:7:::
/etc/skel/.bashrc: package
/etc/ssh/sshd_config: package
/etc/ssl/private/ 755
/etc/sysconfig/network-scripts/ifcfg-eth0: DEVICE=eth0|BOOTPROTO=dhcp
/etc/systemd/network/ 755
/etc/systemd/system/ingot-ssh-host-keys.service: [Unit]|Description=New SSH host keys for this machine|Documentation=man:ssh-keyg
/etc/systemd/system/multi-user.target.wants/ingot-ssh-host-keys.service -> /etc/systemd/system/ingot-ssh-host-keys.service
/etc/udev/rules.d/ 755
/etc/wireguard/ 755
/home/bob/.config/ 755
/home/bob/.docker/ 755
/lib -> usr/lib
/opt/app/ 755
/proc/ 755
/root/.ssh/ 755
/run/lock/ 1777
/sbin -> usr/sbin
/srv/people/anna/.local/share/fish/ 755
/srv/people/anna/.ssh/ 755
/sys/ 755
/tmp/ 1777
/usr/bin/ssh-keygen: elf
/usr/lib/python3/__pycache__/owned.pyc: package
/usr/lib/systemd/systemd: elf
/usr/lib/udev/rules.d/80-net-setup-link.rules: package
/usr/sbin/sshd: elf
/usr/sbin/start-stop-daemon: elf
/var/account/ 755
/var/backups/ 755
/var/cache/apt/archives/partial/ 755
/var/cache/debconf/passwords.dat:
/var/cache/fontconfig/ 755
/var/cache/ldconfig/ 755
/var/cache/man/ 755
/var/crash/ 755
/var/lib/NetworkManager/ 755
/var/lib/apt/lists/ 755
/var/lib/cloud/ 755
/var/lib/dbus/ 755
/var/lib/dhclient/ 755
/var/lib/dhcp/ 755
/var/lib/dnf/ 755
/var/lib/dpkg/diversions: /usr/bin/which|/usr/bin/which.d|:
/var/lib/dpkg/info/all:amd64.list: /.|/lib|/lib/systemd|/lib/systemd/systemd|/usr/sbin/sshd|/usr/bin/ssh-keygen|/li
/var/lib/dpkg/status: Package: all
/var/lib/google/ 755
/var/lib/logrotate/ 755
/var/lib/rpm/ 755
/var/lib/systemd/coredump/ 755
/var/lib/systemd/timers/ 755
/var/lib/waagent/ 755
/var/lib/wicked/ 755
/var/lib/zypp/ 755
/var/log/apt/ 755
/var/log/journal/ 755
/var/log/owned.log:
/var/log/wtmp:
/var/mail/ 755
/var/spool/cron/crontabs/ 755
/var/spool/postfix/maildrop/ 755
/var/tmp/ 1777";
    let left = text(scrubbed.tree()).join("\n");
    snapbox::assert_data_eq!(left.as_str(), snapbox::data::Data::from(wanted).raw());
    assert!(!left.contains("planted"));
    let done = |rule: &str| scrubbed.actions().iter().filter(|action| action.rule == rule).count();
    for rule in ingot::scrub::chosen(&plan(ScrubPreset::Vm, &[])).unwrap() {
        let quiet = ["build-host", "private-keys", "free-space", "metadata"].contains(&rule.name);
        assert_eq!(done(rule.name) == 0, quiet, "{}", rule.name);
    }
}

#[test]
fn what_the_description_puts_there_on_purpose_stays() {
    let folder = tempfile::tempdir().unwrap();
    let tree = debian(folder.path());
    let meant = [
        ("/etc/udev/rules.d/90-my-net.rules", "tuning"),
        ("/etc/hostname", "forge7\n"),
        ("/etc/resolv.conf", "nameserver 192.0.2.53\n"),
        ("/root/.ssh/authorized_keys", "ssh-ed25519 AAAA"),
        ("/var/lib/cloud/seed/nocloud/user-data", "#cloud-config"),
        ("/lib/python3/__pycache__/mine.pyc", "bytes"),
        ("/etc/machine-info", "PRETTY_HOSTNAME=x"),
        ("/var/spool/cron/crontabs/root", "0 0 * * * true"),
        ("/etc/ssl/private/server.key", KEY),
    ];
    for (path, content) in meant {
        tree.write(&path.into(), content, 0o600).unwrap();
    }
    let asked = asked(&meant.map(|(path, _)| path));
    let scrubbed = clean(tree, &plan(ScrubPreset::Vm, &[]), &asked);
    for (path, content) in meant {
        assert_eq!(scrubbed.tree().read(&path.into()).unwrap(), content.as_bytes(), "{path}");
    }
}

#[test]
fn a_host_key_of_the_description_goes_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let tree = debian(folder.path());
    let key = "/etc/ssh/ssh_host_ed25519_key";
    tree.write(&key.into(), KEY, 0o600).unwrap();
    let reporter = Reporter::silent();
    let scrubbed = scrub(&plan(ScrubPreset::Vm, &[]), tree, &asked(&[key]), &host(), EPOCH, &reporter).unwrap();
    assert!(!scrubbed.tree().exists(&key.into()));
    let warnings: Vec<String> = reporter.warnings().into_iter().map(|warning| warning.text).collect();
    assert_eq!(
        warnings,
        ["the scrub removed /etc/ssh/ssh_host_ed25519_key, which the description put there: \
          `--scrub-except ssh-host-keys` would keep it"]
    );
}

#[test]
fn new_host_keys_are_made_at_first_boot_where_nothing_else_makes_them() {
    let waits_for_first_boot = "[Unit]\nConditionFirstBoot=yes\nConditionPathIsReadWrite=/etc/ssh\n";
    let fedora = "[Unit]\nConditionFileNotEmpty=|!/etc/ssh/ssh_host_%i_key\n";
    for (path, content, added) in [
        ("/usr/share/x", "", true),
        ("/usr/lib/systemd/system/sshd-keygen.service", waits_for_first_boot, true),
        ("/usr/lib/systemd/system/sshd-keygen@.service", fedora, false),
        ("/usr/sbin/sshd-gen-keys-start", "#!/bin/sh\n", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let tree = debian(folder.path());
        tree.write(&path.into(), content, 0o755).unwrap();
        let scrubbed = clean(tree, &plan(ScrubPreset::Vm, &[]), &asked(&[]));
        let unit = "/etc/systemd/system/ingot-ssh-host-keys.service";
        assert_eq!(scrubbed.tree().exists(&unit.into()), added, "{path}");
    }
}

#[test]
fn a_rule_that_is_switched_off_keeps_its_files_and_the_audit_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let tree = debian(folder.path());
    tree.write(&"/root/.bash_history".into(), "ls\n", 0o600).unwrap();
    let scrubbed = clean(tree, &plan(ScrubPreset::Vm, &["histories"]), &asked(&[]));
    assert!(scrubbed.tree().exists(&"/root/.bash_history".into()));
    let kept: Vec<String> =
        scrubbed.report().kept().map(|finding| format!("{} {}", finding.class, finding.path)).collect();
    assert_eq!(kept, ["histories /root/.bash_history"]);
}

#[test]
fn with_the_preset_none_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let tree = debian(folder.path());
    plant(&tree);
    let before = text(&tree);
    let scrubbed = clean(tree, &plan(ScrubPreset::None, &[]), &asked(&[]));
    assert_eq!(text(scrubbed.tree()), before);
    assert_eq!(scrubbed.actions(), []);
    assert!(scrubbed.report().kept().count() > 80);
}

#[test]
fn a_container_ships_no_devices_no_kernel_and_no_mount_table() {
    let folder = tempfile::tempdir().unwrap();
    let tree = debian(folder.path());
    for path in ["/dev/null", "/proc/x", "/sys/y", "/boot/vmlinuz-6.1", "/boot/initrd.img-6.1", "/etc/mtab"] {
        tree.write(&path.into(), "x", 0o644).unwrap();
    }
    tree.symlink("boot/vmlinuz-6.1", &"/vmlinuz".into()).unwrap();
    let list = "/boot\n/boot/vmlinuz-6.1\n";
    tree.write(&"/var/lib/dpkg/info/linux.list".into(), list, 0o644).unwrap();
    let scrubbed = clean(tree, &plan(ScrubPreset::Container, &[]), &asked(&[]));
    let gone: Vec<String> = scrubbed
        .actions()
        .iter()
        .filter(|action| action.rule == "container" && action.done == Done::Removed)
        .map(|action| action.path.to_string())
        .collect();
    let wanted =
        ["/boot/initrd.img-6.1", "/boot/vmlinuz-6.1", "/dev/null", "/etc/mtab", "/proc/x", "/sys/y", "/vmlinuz"];
    assert_eq!(gone, wanted);
}

/// The host's files lie beside the tree; symlinks in the tree point at them in every way there is.
#[test]
fn symlinks_lead_the_scrub_neither_to_the_host_nor_into_other_folders() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let canary = folder.path().join("canary");
    std::fs::write(&canary, "host").unwrap();
    std::fs::create_dir(folder.path().join("cache")).unwrap();
    std::fs::write(folder.path().join("cache/x"), "host").unwrap();
    let tree = open(&root);
    tree.write(&"/etc/passwd".into(), "root:x:0:0::/root:/bin/sh\nhostile:x:1:1::/../..:/bin/sh\n", 0o644).unwrap();
    tree.write(&"/etc/precious".into(), "image", 0o644).unwrap();
    for (target, path) in [
        ("/etc", "/var/log"),
        ("/", "/tmp"),
        ("/", "/run"),
        ("../../../cache", "/var/cache"),
        ("../../canary", "/root/.bash_history"),
        ("../canary", "/etc/machine-id"),
        (canary.to_str().unwrap(), "/etc/ssh/ssh_host_rsa_key"),
        ("../../../../../etc/precious", "/etc/udev/rules.d/70-persistent-net.rules"),
        ("/etc/precious", "/etc/shadow"),
        ("../..", "/root/.cache"),
        ("/etc", "/root/.ssh"),
    ] {
        tree.symlink(target, &path.into()).unwrap();
    }
    let scrubbed = clean(tree, &plan(ScrubPreset::Vm, &[]), &asked(&[]));
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "host");
    assert_eq!(std::fs::read_to_string(folder.path().join("cache/x")).unwrap(), "host");
    let left = text(scrubbed.tree()).join("\n");
    let wanted = "\
/etc/machine-id -> ../canary
/etc/passwd: root:x:0:0::/root:/bin/sh|hostile:x:1:1::/../..:/bin/sh
/etc/precious: image
/etc/shadow -> /etc/precious
/etc/ssh/ 755
/etc/udev/rules.d/ 755
/root/.ssh -> /etc
/run -> /
/tmp -> /
/var/cache -> ../../../cache
/var/log -> /etc";
    snapbox::assert_data_eq!(left.as_str(), snapbox::data::Data::from(wanted).raw());
}

#[test]
fn a_second_name_of_a_truncated_file_keeps_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let tree = debian(folder.path());
    tree.write(&"/etc/precious".into(), "image", 0o640).unwrap();
    tree.hard_link(&"/etc/precious".into(), &"/var/log/wtmp".into()).unwrap();
    let scrubbed = clean(tree, &plan(ScrubPreset::Vm, &[]), &asked(&[]));
    assert_eq!(scrubbed.tree().read(&"/etc/precious".into()).unwrap(), b"image");
    let wtmp = scrubbed.tree().entry(&"/var/log/wtmp".into()).unwrap().unwrap();
    assert_eq!((wtmp.size.0, wtmp.mode), (0, 0o640));
}

#[test]
fn names_of_any_bytes_are_removed_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let tree = debian(folder.path());
    let path = RootPath::new(b"/tmp/-rf \xff\nx*");
    tree.write(&path, "x", 0o644).unwrap();
    let scrubbed = clean(tree, &plan(ScrubPreset::Vm, &[]), &asked(&[]));
    assert!(!scrubbed.tree().exists(&path));
    assert!(scrubbed.actions().iter().any(|action| action.path.to_string() == "/tmp/-rf \\xff\\nx*"));
}

#[test]
fn what_the_build_wrote_is_dated_like_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let tree = debian(folder.path());
    tree.write(&"/tmp/x".into(), "x", 0o644).unwrap();
    tree.set_mtime(&"/usr/sbin/sshd".into(), 1_000_000_000).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let host = BuildHost { builds_began: vec![now - 60], ..host() };
    let reporter = Reporter::silent();
    // The image is dated after the build: a host whose clock is behind, or a date that somebody chose.
    let epoch = now + 1_000_000;
    let scrubbed = scrub(&plan(ScrubPreset::Vm, &[]), tree, &asked(&[]), &host, epoch, &reporter).unwrap();
    let times: BTreeSet<i64> =
        scrubbed.tree().walk(&RootPath::root()).unwrap().into_iter().map(|entry| entry.mtime).collect();
    assert_eq!(times, BTreeSet::from([1_000_000_000, epoch]));
}

#[test]
fn an_image_that_anybody_can_log_in_to_is_refused_unless_the_description_says_so() {
    let linux = "$6$abcdefgh$UpTHeIBbAOcPkHDQB085x/tvg71FMELvpunLTiD8aVqwfNsCjrsVCWSGj/6b.GUlF7Uw3/0JA5e3hAungH7t.0";
    for (shadow, cause) in [
        ("root::1::::::\n".to_string(), "the account `root` has no password at all"),
        (format!("root:{linux}:1::::::\n"), "the account `root` has the well-known password `linux`"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let tree = debian(folder.path());
        tree.write(&"/etc/shadow".into(), &shadow, 0o640).unwrap();
        let vm = plan(ScrubPreset::Vm, &[]);
        let error = scrub(&vm, tree, &asked(&[]), &host(), EPOCH, &Reporter::silent()).unwrap_err();
        assert_eq!((error.exit(), error.causes()), (Exit::Description, [cause.to_string()].as_slice()));
        let meant = Asked { passwords: BTreeSet::from(["root".to_string()]), ..asked(&[]) };
        clean(open(folder.path()), &vm, &meant);
        clean(open(folder.path()), &plan(ScrubPreset::Vm, &["passwords"]), &asked(&[]));
    }
}

#[test]
fn a_loop_device_in_fstab_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tree = debian(folder.path());
    tree.write(&"/etc/fstab".into(), "/dev/loop3p1 / ext4 defaults 0 1\n", 0o644).unwrap();
    let error = scrub(&plan(ScrubPreset::Vm, &[]), tree, &asked(&[]), &host(), EPOCH, &Reporter::silent()).unwrap_err();
    assert_eq!(error.causes(), ["/etc/fstab names a device of the build host: /dev/loop3p1 / ext4 defaults 0 1"]);
}

#[test]
fn a_leftover_that_no_rule_removes_keeps_the_tree_from_being_packed() {
    let folder = tempfile::tempdir().unwrap();
    let tree = debian(folder.path());
    tree.write(&"/opt/app/deploy.pem".into(), KEY, 0o600).unwrap();
    tree.write(&"/opt/app/build.log".into(), "cd /var/tmp/ingot-work-42/root\n", 0o600).unwrap();
    let error = scrub(&plan(ScrubPreset::Vm, &[]), tree, &asked(&[]), &host(), EPOCH, &Reporter::silent()).unwrap_err();
    assert_eq!(
        error.text(),
        "error: cannot ship this image: the audit found leftovers\n  \
         cause: build-host: /opt/app/build.log names the folder that the build ran in\n         \
         private-keys: /opt/app/deploy.pem holds a OPENSSH PRIVATE KEY: every copy would share it\n  \
         hint:  remove it in config.sh; if it is meant to ship, `--scrub-except build-host` keeps it"
    );
    assert_eq!(error.exit(), Exit::Description);
}

#[test]
fn without_an_update_stack_a_package_manager_keeps_the_tree_from_being_packed() {
    for path in ["/usr/bin/apt-get", "/usr/bin/dpkg", "/usr/local/sbin/rpm", "/etc/apt/sources.list", "/usr/bin/zypper"]
    {
        let folder = tempfile::tempdir().unwrap();
        let tree = debian(folder.path());
        tree.write(&path.into(), "x", 0o755).unwrap();
        let none = Asked { update_stack: UpdateStack::None, ..asked(&[]) };
        let vm = plan(ScrubPreset::Vm, &[]);
        let error = scrub(&vm, tree, &none, &host(), EPOCH, &Reporter::silent()).unwrap_err();
        assert!(error.causes()[0].starts_with(&format!("update-stack: {path} ")), "{error}");
        clean(open(folder.path()), &vm, &asked(&[]));
    }
}

#[test]
fn tests_of_later_stages_may_skip_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    let tree = ScrubbedTree::unaudited(open(folder.path()), EPOCH);
    assert_eq!((tree.epoch(), tree.actions()), (EPOCH, &[][..]));
}
