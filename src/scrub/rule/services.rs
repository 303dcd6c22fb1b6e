//! What services keep about this machine: keys, agents' state, spools.

use super::{Part, Presets, Rule, Spares, first_boot};
use crate::error::Result;
use crate::host::rooted::Kind;
use crate::root::RootPath;
use crate::scrub::Done;
use crate::scrub::scrubber::Scrubber;

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "host-crypto",
        why: "every copy of this image would share it",
        presets: Presets::VmAndContainer,
        parts: &[
            Part::Work(snakeoil_symlinks),
            Part::Remove(
                &[
                    "/etc/ssl/certs/ssl-cert-snakeoil.pem",
                    "/etc/ssl/private/ssl-cert-snakeoil.key",
                    "/etc/pki/tls/private/localhost.key",
                    "/etc/pki/tls/certs/localhost.crt",
                    "/etc/nvme/hostid",
                    "/etc/nvme/hostnqn",
                    "/etc/hostid",
                    "/etc/wireguard/*",
                    "/etc/salt/pki/**",
                    "/etc/salt/minion_id",
                    "/etc/puppet/ssl",
                    "/etc/puppetlabs/puppet/ssl",
                    "/var/lib/puppet/ssl",
                    "/etc/chef/*.pem",
                    "/etc/krb5.keytab",
                    "/etc/pacman.d/gnupg/private-keys-v1.d",
                    "/etc/pacman.d/gnupg/openpgp-revocs.d",
                    "/etc/pacman.d/gnupg/secring.gpg",
                    "/etc/pacman.d/gnupg/random_seed",
                    "/etc/pacman.d/gnupg/S.*",
                    "/var/lib/sss/db/*",
                    "/var/lib/sss/keytabs/*",
                    "/var/lib/sss/secrets/*",
                    "/var/lib/samba/private/*",
                    "/var/lib/shim-signed/mok/*",
                    "/var/lib/dkms/mok.*",
                    "/var/lib/tor/keys",
                ],
                Spares::Owned,
            ),
            Part::Work(iscsi_name),
            Part::Work(first_boot::snakeoil_certificate),
        ],
    },
    Rule {
        name: "agent-state",
        why: "an agent would take every copy for a machine that it knows",
        presets: Presets::VmAndContainer,
        parts: &[Part::Remove(
            &[
                "/var/lib/cloud/*",
                "/var/lib/waagent/*",
                "/var/lib/amazon/*",
                "/var/lib/google/*",
                "/etc/pki/consumer/*",
                "/etc/pki/entitlement/*",
                "/var/lib/rhsm/*",
                "/etc/zypp/credentials.d/*",
                "/etc/SUSEConnect",
                "/var/lib/ubuntu-advantage/**/*token*",
                "/var/lib/ubuntu-advantage/private",
                "/etc/landscape/client.conf",
            ],
            Spares::OwnedAndDescribed,
        )],
    },
    Rule {
        name: "mail-cron-at",
        why: "mail and jobs of the build",
        presets: Presets::VmAndContainer,
        parts: &[Part::Remove(
            &[
                "/var/mail/*",
                "/var/spool/mail/*",
                "/var/spool/cron/crontabs/*",
                "/var/spool/cron/tabs/*",
                "/var/spool/cron/atjobs/*",
                "/var/spool/cron/atspool/*",
                "/var/spool/cron/lastrun/*",
                "/var/spool/atjobs/*",
                "/var/spool/atspool/*",
                "/var/spool/at/*",
                "/var/spool/anacron/*",
                "/var/spool/cups/*",
                "/var/spool/rsyslog/*",
                "/var/spool/postfix/incoming/*",
                "/var/spool/postfix/active/*",
                "/var/spool/postfix/deferred/*",
                "/var/spool/postfix/defer/*",
                "/var/spool/postfix/bounce/*",
                "/var/spool/postfix/corrupt/*",
                "/var/spool/postfix/hold/*",
                "/var/spool/postfix/maildrop/*",
                "/var/spool/exim4/input/*",
                "/var/spool/exim4/msglog/*",
                "/var/spool/exim4/db/*",
                "/var/spool/mqueue/*",
                "/var/spool/clientmqueue/*",
            ],
            Spares::OwnedAndDescribed,
        )],
    },
];

const SNAKEOIL: &str = "/etc/ssl/certs/ssl-cert-snakeoil.pem";

/// OpenSSL finds the certificate by a symlink that is named after its hash.
fn snakeoil_symlinks(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let named: Vec<RootPath> = scrubber
        .matching(&["/etc/ssl/certs/*.*"])
        .into_iter()
        .filter(|path| match scrubber.listing().get(path).map(|entry| &entry.kind) {
            Some(Kind::Symlink(target)) => path.parent().join(target) == RootPath::from(SNAKEOIL),
            _ => false,
        })
        .collect();
    named.iter().try_for_each(|path| scrubber.remove(rule, path, Spares::Owned))
}

/// Debian's start script refuses to run without the file and makes a name where the file says so.
fn iscsi_name(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let path = RootPath::from("/etc/iscsi/initiatorname.iscsi");
    if scrubber.has("/usr/lib/open-iscsi/startup-checks.sh") {
        scrubber.replace(rule, Done::Reset, &path, b"GenerateName=yes\n")
    } else {
        scrubber.remove(rule, &path, Spares::Owned)
    }
}
