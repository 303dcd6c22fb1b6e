//! Units that make, at the first boot, what the scrub took away and the distribution makes only while it installs.
//!
//! In: a scrub after the removal. Out: units in /etc/systemd/system, switched on by a symlink. Never one where the
//! distribution has its own way.

use crate::error::Result;
use crate::root::RootPath;
use crate::scrub::scrubber::Scrubber;

/// Units by which a distribution makes missing SSH host keys by itself.
const OWN_SSH_KEY_UNITS: &[&str] = &[
    "/usr/lib/systemd/system/sshd-keygen.service",
    "/usr/lib/systemd/system/sshd-keygen@.service",
    "/usr/lib/systemd/system/ssh-keygen.service",
];

/// SUSE's sshd.service runs this program first.
const OWN_SSH_KEY_PROGRAM: &str = "/usr/sbin/sshd-gen-keys-start";

/// After cloud-init, which removes host keys and makes its own where it finds a data source; where it does not, sshd
/// still gets its keys from here.
const SSH_UNIT: &str = "[Unit]
Description=New SSH host keys for this machine
Documentation=man:ssh-keygen(1)
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key
ConditionPathIsReadWrite=/etc/ssh
After=cloud-init.service cloud-init-network.service sshd-keygen.service
Before=ssh.service sshd.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
";

const DROPBEAR_UNIT: &str = "[Unit]
Description=New SSH host keys of dropbear for this machine
Documentation=man:dropbearkey(1)
ConditionPathExistsGlob=!/etc/dropbear/dropbear_*_host_key
ConditionPathIsReadWrite=/etc/dropbear
Before=dropbear.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/dropbearkey -t ed25519 -f /etc/dropbear/dropbear_ed25519_host_key
ExecStart=/usr/bin/dropbearkey -t ecdsa -f /etc/dropbear/dropbear_ecdsa_host_key
ExecStart=/usr/bin/dropbearkey -t rsa -f /etc/dropbear/dropbear_rsa_host_key

[Install]
WantedBy=multi-user.target
";

/// Before every ordinary service, because any of them may be configured with it.
const SNAKEOIL_UNIT: &str = "[Unit]
Description=New self-signed certificate for this machine
Documentation=man:make-ssl-cert(8)
DefaultDependencies=no
ConditionPathExists=!/etc/ssl/private/ssl-cert-snakeoil.key
ConditionPathIsReadWrite=/etc/ssl
After=local-fs.target systemd-remount-fs.service systemd-tmpfiles-setup.service
Before=sysinit.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/make-ssl-cert generate-default-snakeoil

[Install]
WantedBy=sysinit.target
";

/// Debian makes host keys when openssh-server or dropbear is configured, and never again: without keys neither starts.
pub(super) fn ssh_host_keys(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    if scrubber.has("/usr/sbin/sshd") && !makes_its_own_ssh_keys(scrubber)? {
        let maker = "/usr/bin/ssh-keygen";
        make(rule, scrubber, maker, "ingot-ssh-host-keys.service", SSH_UNIT, "`ssh-keygen -A` before sshd starts")?;
    }
    if scrubber.has("/etc/dropbear") && scrubber.has("/usr/sbin/dropbear") {
        let maker = "/usr/bin/dropbearkey";
        let by_hand = "`dropbearkey` before dropbear starts";
        make(rule, scrubber, maker, "ingot-dropbear-host-keys.service", DROPBEAR_UNIT, by_hand)?;
    }
    Ok(())
}

/// A unit that waits for systemd's first boot (Debian 13) waits for ever: a machine id that is empty means a machine
/// that is new, but not its first boot (machine-id(5)), since that would undo what the description switched off.
fn makes_its_own_ssh_keys(scrubber: &Scrubber) -> Result<bool> {
    for unit in OWN_SSH_KEY_UNITS {
        let unit = scrubber.content(&RootPath::from(*unit))?;
        if unit.is_some_and(|unit| memchr::memmem::find(&unit, b"ConditionFirstBoot=yes").is_none()) {
            return Ok(true);
        }
    }
    Ok(scrubber.has(OWN_SSH_KEY_PROGRAM))
}

/// Debian's ssl-cert has a unit of its own in newer releases only.
pub(super) fn snakeoil_certificate(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let maker = "/usr/sbin/make-ssl-cert";
    if !scrubber.has(maker) || scrubber.has("/usr/lib/systemd/system/ssl-cert.service") {
        return Ok(());
    }
    let by_hand = "`make-ssl-cert generate-default-snakeoil` before a service needs its certificate";
    make(rule, scrubber, maker, "ingot-snakeoil-certificate.service", SNAKEOIL_UNIT, by_hand)
}

fn make(rule: &'static str, scrubber: &mut Scrubber, maker: &str, name: &str, unit: &str, by_hand: &str) -> Result<()> {
    if !scrubber.has(maker) || !scrubber.has("/usr/lib/systemd/systemd") {
        scrubber.warn(format!("nothing in the image makes new keys at its first start: run {by_hand}"));
        return Ok(());
    }
    let units = RootPath::from("/etc/systemd/system");
    let path = units.join(name);
    scrubber.add(rule, &path, unit.as_bytes(), 0o644)?;
    let wanted_by = unit.lines().find_map(|line| line.strip_prefix("WantedBy=")).unwrap_or("multi-user.target");
    scrubber.add_symlink(rule, &path.to_string(), &units.join(format!("{wanted_by}.wants/{name}")))
}
