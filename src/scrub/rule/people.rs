//! What people leave in their home folders, and their passwords.

use super::{Part, Presets, Rule, Spares};
use crate::error::{Error, Exit, Result};
use crate::root::RootPath;
use crate::scrub::Done;
use crate::scrub::password::{self, Weakness};
use crate::scrub::scrubber::Scrubber;

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "ssh-user-data",
        why: "tells whom the builder talks to, or lets somebody in",
        presets: Presets::VmAndContainer,
        parts: &[
            Part::Remove(&["~/.ssh/known_hosts", "~/.ssh/known_hosts.old"], Spares::OwnedAndDescribed),
            Part::Remove(&["~/.ssh/id_*", "~/.ssh/identity", "~/.ssh/agent"], Spares::Owned),
            Part::Remove(&["~/.ssh/authorized_keys", "~/.ssh/authorized_keys2"], Spares::OwnedAndDescribed),
        ],
    },
    Rule {
        name: "histories",
        why: "what somebody typed while the image was built",
        presets: Presets::VmAndContainer,
        parts: &[Part::Remove(
            &[
                "~/.bash_history",
                "~/.bash_sessions",
                "~/.zsh_history",
                "~/.ash_history",
                "~/.sh_history",
                "~/.ksh_history",
                "~/.history",
                "~/.local/share/fish/fish_history",
                "~/.config/fish/fish_history",
                "~/fish_history",
                "~/.python_history",
                "~/.irb_history",
                "~/.php_history",
                "~/.lesshst",
                "~/.local/state/less/history",
                "~/.viminfo",
                "~/.local/share/nvim/shada",
                "~/.local/state/nvim/shada",
                "~/.nano/search_history",
                "~/.local/share/nano/search_history",
                "~/.mysql_history",
                "~/.mariadb_history",
                "~/.psql_history",
                "~/.sqlite_history",
                "~/.rediscli_history",
                "~/.node_repl_history",
                "~/.wget-hsts",
                "~/.sudo_as_admin_successful",
                "~/.xsession-errors",
                "~/.Xauthority",
                "~/.cache",
            ],
            Spares::Owned,
        )],
    },
    Rule {
        name: "cloud-credentials",
        why: "opens somebody's accounts to everyone who has the image",
        presets: Presets::VmAndContainer,
        parts: &[Part::Work(cloud_credentials)],
    },
    Rule {
        name: "passwords",
        why: "anybody could log in",
        presets: Presets::VmAndContainer,
        parts: &[Part::Work(last_change_days), Part::Work(root_password), Part::Work(answered_passwords)],
    },
];

const CREDENTIALS: &[&str] = &[
    "~/.aws",
    "~/.azure",
    "~/.aliyun",
    "~/.oci",
    "~/.config/gcloud",
    "~/.config/doctl",
    "~/.config/hcloud",
    "~/.config/openstack",
    "~/.config/containers/auth.json",
    "~/.config/rclone/rclone.conf",
    "~/.config/gh/hosts.yml",
    "~/.kube",
    "~/.docker/config.json",
    "~/.netrc",
    "~/.npmrc",
    "~/.yarnrc",
    "~/.pypirc",
    "~/.gem/credentials",
    "~/.cargo/credentials",
    "~/.cargo/credentials.toml",
    "~/.git-credentials",
    "~/.vault-token",
    "~/.boto",
    "~/.s3cfg",
    "~/.pgpass",
    "~/.my.cnf",
    "~/.terraform.d/credentials.tfrc.json",
    "~/.terraformrc",
    "~/.oscrc",
    "~/.config/osc/oscrc",
];

/// Removes them and says so for each: whoever put them there must take them for known to others, since caches and logs
/// of the build may have seen them, too.
fn cloud_credentials(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    for path in scrubber.matching(CREDENTIALS) {
        scrubber.remove(rule, &path, Spares::Owned)?;
        if scrubber.listing().get(&path).is_none() {
            scrubber
                .warn(format!("removed credentials from the image: {path}; change them if the build was not private"));
        }
    }
    Ok(())
}

/// shadow(5): the third field is the day of the last change. 0 (must be changed at the next login) stays.
fn last_change_days(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let path = RootPath::from(password::SHADOW);
    let Some(shadow) = scrubber.content(&path)? else { return Ok(()) };
    let day = scrubber.epoch.div_euclid(86_400).max(1).to_string();
    let lines = shadow.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let dated = fields.get(2).is_some_and(|field| field.iter().all(u8::is_ascii_digit) && *field != b"0");
        if dated && !fields[2].is_empty() {
            fields[2] = day.as_bytes();
        }
        fields.join(&b':')
    });
    let shadow = lines.collect::<Vec<_>>().concat();
    scrubber.replace(rule, Done::Reset, &path, &shadow)
}

/// An account that anybody can log in to is the description's wish or an error, never a surprise.
fn root_password(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let passwd = scrubber.content(&password::PASSWD.into())?.unwrap_or_default();
    let shadow = scrubber.content(&password::SHADOW.into())?.unwrap_or_default();
    for (login, weakness) in password::weak_accounts(&passwd, &shadow) {
        if scrubber.asked.passwords.contains(&login) {
            continue;
        }
        let what = match weakness {
            Weakness::Empty => format!("the account `{login}` has no password at all"),
            Weakness::WellKnown(word) => format!("the account `{login}` has the well-known password `{word}`"),
        };
        return Err(Error::cannot(Exit::Description, "ship this image").because(what).hint(format!(
            "lock the account, set its password with <user name=\"{login}\" password=\"...\"/>, or say `--scrub-except {rule}`"
        )));
    }
    Ok(())
}

/// debconf keeps what was typed as a password (debconf-devel(7)).
fn answered_passwords(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    scrubber.truncate(rule, &"/var/cache/debconf/passwords.dat".into())
}
