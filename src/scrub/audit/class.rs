//! What a file's path alone says about it.
//!
//! In: a path, split into its components, and the homes. Out: a class of leftovers and a reason. Never looks at the
//! tree; whether the file has content, or an owner, the judgement asks.

/// What the path of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// The rule that should have removed it.
    pub rule: &'static str,
    /// Why it must not ship, after the path.
    pub why: &'static str,
    /// When it is one.
    pub when: When,
}

/// What else must be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Nothing.
    Always,
    /// It is a regular file with content.
    Filled,
    /// It is anything but a folder.
    NotAFolder,
    /// It is not a folder, and neither a package nor the description put it there.
    Stray,
    /// It is a folder, and neither a package nor the description put it there.
    StrayFolder,
    /// It is not a folder, and the description did not put it there; without a description this is only a note.
    NotAskedFor,
}

const SHARED: &str = "every copy of this image would share it";
const TYPED: &str = "what somebody typed while the image was built";
const ACCOUNTS: &str = "opens somebody's accounts";
const CACHED: &str = "a cache of the build";
const MACHINE: &str = "state of one machine";
const TEMPORARY: &str = "left by the build";
const LOGGED: &str = "tells of the build";
const STALE: &str = "an older state";

/// The class of a path, given by its components.
pub(super) fn class(path: &[&[u8]], homes: &[Vec<&[u8]>]) -> Option<Class> {
    let found = |rule, why, when| Some(Class { rule, why, when });
    if let Some(class) = in_a_home(path, homes).or_else(|| anywhere(path)) {
        return Some(class);
    }
    use When::*;
    match path {
        [b"tmp", _, ..] | [b"var", b"tmp", _, ..] => found("temporary", TEMPORARY, Always),
        [b"run", b"lock"] => None,
        [b"run", b"systemd", b"netif", ..] => found("dhcp-leases", MACHINE, Always),
        [b"run", _, ..] => found("temporary", TEMPORARY, Always),

        [b"etc", b"udev", b"rules.d", name] if has(name, b"net") && name.ends_with(b".rules") => {
            found("udev-net-rules", "binds names of network cards to those of the build host", Stray)
        }
        [b"etc", b"systemd", b"network", name] if has(name, b"cloud-init") || has(name, b"persistent") => {
            found("nic-identity", "made for one network card", Stray)
        }
        [b"etc", b"netplan", name] | [b"etc", b"network", b"interfaces.d", name] if has(name, b"cloud-init") => {
            found("nic-identity", "made for one network card", Stray)
        }
        [b"var", b"lib", b"NetworkManager", b"secret_key" | b"seen-bssids" | b"timestamps"] => {
            found("nic-identity", MACHINE, NotAFolder)
        }
        [b"var", b"lib", b"NetworkManager", name] if name.ends_with(b".lease") => {
            found("nic-identity", "an address that the build host was given", NotAFolder)
        }
        [b"var", b"lib", b"dhclient" | b"dhcp" | b"dhcpcd" | b"dhcpcd5" | b"wicked", _, ..] => {
            found("dhcp-leases", "two copies would ask for the same address", Filled)
        }

        [b"etc", b"ssh", name] if name.starts_with(b"ssh_host_") && has(name, b"_key") => {
            found("ssh-host-keys", SHARED, NotAFolder)
        }
        [b"etc", b"dropbear", .., name] if has(name, b"host_key") => found("ssh-host-keys", SHARED, NotAFolder),

        [b"var", b"lib", b"systemd", b"random-seed" | b"credential.secret"]
        | [b"var", b"lib", b"urandom", _]
        | [b"var", b"lib", b"random-seed"]
        | [.., b"loader", b"random-seed"] => found("random-seed", "randomness that every copy knows", NotAFolder),
        [b"etc", b"machine-info"] => found("random-seed", MACHINE, NotAskedFor),

        [b"var", b"log", b"journal", _, ..] => found("logs", LOGGED, Always),
        [b"var", b"log", ..] => found("logs", LOGGED, Filled),

        [b"var", b"cache", b"apt" | b"dnf" | b"yum" | b"libdnf5" | b"zypp" | b"pacman" | b"apk", _, ..]
        | [b"var", b"lib", b"apt", b"lists", _, ..] => found("package-caches", CACHED, NotAFolder),
        [b"var", b"lib", b"pacman", b"sync", _, ..]
        | [b"var", b"lib", b"dnf", b"repos", _, ..]
        | [b"var", b"lib", b"zypp", b"LastDistributionFlavor"] => found("package-caches", CACHED, NotAFolder),
        [b"var", b"lib", b"dnf", name] if name.starts_with(b"history.") => {
            found("package-caches", "tells who installed what, and when", NotAFolder)
        }
        [b"usr", b"lib", b"sysimage", b"libdnf5", name] if name.starts_with(b"transaction_history") => {
            found("package-caches", "tells who installed what, and when", NotAFolder)
        }
        [b"var", b"lib", b"zypp", b"AnonymousUniqueId"] => found("package-caches", SHARED, NotAFolder),
        [b"var", b"lib", b"dpkg", name] if name.ends_with(b"-old") || name.starts_with(b"lock") => {
            found("package-db-residue", STALE, NotAFolder)
        }
        [b"var", b"lib", b"pacman", b"db.lck"] | [b"root", b".rpmdb", _] => {
            found("package-db-residue", STALE, NotAFolder)
        }
        [b"var", b"lib", b"dnf", name] if name.ends_with(b".pid") => found("package-db-residue", STALE, NotAFolder),
        [b"var", b"lib", b"dpkg", b"updates", _] => {
            found("package-db-residue", "dpkg was interrupted in the middle of its work", NotAFolder)
        }
        [b"var", b"lib", b"rpm", name] | [b"usr", b"lib", b"sysimage", b"rpm", name]
            if name.starts_with(b"__db.") || *name == b".rpm.lock" =>
        {
            found("package-db-residue", STALE, NotAFolder)
        }
        [b"var", b"lib", b"rpm", name] | [b"usr", b"lib", b"sysimage", b"rpm", name] if name.ends_with(b"-wal") => {
            found("package-db-residue", "the package database was never checkpointed", Filled)
        }
        [b"var", b"backups", _, ..] => found("package-db-residue", STALE, Filled),

        [b"image" | b".profile" | b".kconfig" | b".buildenv" | b".dockerenv"]
        | [b"config.bootoptions" | b"config.partids"]
        | [b"usr", b"sbin", b"policy-rc.d"] => found("builder-leftovers", "serves the build only", Stray),
        [b"usr", b"bin", name] if name.starts_with(b"qemu-") && name.ends_with(b"-static") => {
            found("builder-leftovers", "serves the build only", Stray)
        }
        [b"root", b".slotpass"] => found("builder-leftovers", "a passphrase of the build", Always),
        [b"etc", b"apt", b"auth.conf"] | [b"etc", b"apt", b"auth.conf.d", _] => {
            found("builder-leftovers", "passwords of repositories", NotAskedFor)
        }

        [b"etc", b".pwd.lock"] => found("account-backups", "a lock of the build", NotAFolder),
        [b"etc", b"passwd-" | b"shadow-" | b"group-" | b"gshadow-" | b"subuid-" | b"subgid-"] => {
            found("account-backups", STALE, NotAFolder)
        }
        [b"etc", .., name] if put_aside(name) => found("account-backups", "two versions of one configuration", Stray),

        [b"etc", b"iscsi", b"initiatorname.iscsi"] => None,
        [b"etc", b"nvme", b"hostid" | b"hostnqn"]
        | [b"etc", b"hostid" | b"krb5.keytab"]
        | [b"etc", b"ssl", b"private", b"ssl-cert-snakeoil.key"]
        | [b"etc", b"ssl", b"certs", b"ssl-cert-snakeoil.pem"] => found("host-crypto", SHARED, NotAFolder),
        [b"etc", b"pacman.d", b"gnupg", b"private-keys-v1.d" | b"openpgp-revocs.d", _]
        | [b"etc", b"pacman.d", b"gnupg", b"secring.gpg"] => found("host-crypto", SHARED, Filled),
        [b"etc", b"wireguard", _] | [b"etc", b"salt", b"pki", ..] | [b"etc", b"puppet", b"ssl", ..] => {
            found("host-crypto", SHARED, Filled)
        }
        [b"etc", b"puppetlabs", b"puppet", b"ssl", ..] | [b"var", b"lib", b"puppet", b"ssl", ..] => {
            found("host-crypto", SHARED, Filled)
        }
        [b"etc", b"chef", name] if name.ends_with(b".pem") => found("host-crypto", SHARED, NotAFolder),
        [b"var", b"lib", b"shim-signed", b"mok", _] | [b"var", b"lib", b"samba", b"private", _] => {
            found("host-crypto", SHARED, Filled)
        }
        [b"var", b"lib", b"dkms", name] if name.starts_with(b"mok.") => found("host-crypto", SHARED, NotAFolder),

        [b"var", b"lib", b"cloud" | b"waagent" | b"amazon" | b"google" | b"rhsm", _, ..]
        | [b"etc", b"pki", b"consumer" | b"entitlement", _]
        | [b"etc", b"zypp", b"credentials.d", _]
        | [b"etc", b"SUSEConnect"] => found("agent-state", "an agent takes every copy for one machine", Stray),
        [b"var", b"lib", b"ubuntu-advantage", .., name] if has(name, b"token") => {
            found("agent-state", ACCOUNTS, NotAFolder)
        }

        [b"var", b"mail", _, ..] | [b"var", b"spool", b"mail", _, ..] => {
            found("mail-cron-at", "mail of the build", Stray)
        }
        [b"var", b"spool", b"cron", b"crontabs" | b"tabs" | b"atjobs" | b"atspool", _, ..] => {
            found("mail-cron-at", "a job that the build left", Stray)
        }
        [b"var", b"spool", b"anacron" | b"cups" | b"mqueue" | b"clientmqueue", _, ..] => {
            found("mail-cron-at", "left by the build", Stray)
        }

        [b"etc", b"lvm", b"devices" | b"cache" | b"archive" | b"backup", _, ..]
        | [b"etc", b"multipath", b"wwids" | b"bindings" | b"prkeys"]
        | [b"etc", b"blkid.tab"] => found("storage-ids", "names disks of the build host", Stray),

        [.., b"__pycache__"] => found("unstable-caches", CACHED, StrayFolder),
        [b"var", b"cache", b"ldconfig" | b"man" | b"fontconfig", _, ..] | [.., b"__pycache__", _] => {
            found("unstable-caches", CACHED, Stray)
        }
        [b"var", b"cache", b"debconf", name] if name.ends_with(b"-old") => found("unstable-caches", STALE, NotAFolder),
        [b"var", b"cache", b"debconf", b"passwords.dat"] => {
            found("passwords", "passwords that debconf was told", Filled)
        }

        [b"var", b"crash", _, ..] | [b"var", b"lib", b"systemd", b"coredump" | b"timers" | b"timesync", _, ..] => {
            found("crash-and-accounting", LOGGED, Stray)
        }
        [b"core"] => found("crash-and-accounting", "the memory of a program that crashed", Filled),
        [b"var", b"account", _] | [b"var", b"lib", b"logrotate", _] => found("crash-and-accounting", LOGGED, Filled),
        _ => None,
    }
}

/// Names that mean the same wherever they are: a home may be anywhere, and a copy of one, too.
fn anywhere(path: &[&[u8]]) -> Option<Class> {
    let (rule, why, when) = match path {
        [.., b".bash_history" | b".zsh_history" | b".ash_history" | b".ksh_history" | b".sh_history"]
        | [.., b".python_history" | b".node_repl_history" | b".lesshst" | b".viminfo" | b".wget-hsts"]
        | [.., b".mysql_history" | b".mariadb_history" | b".psql_history" | b".sqlite_history"]
        | [.., b".rediscli_history" | b".irb_history" | b".php_history"]
        | [.., b"fish_history"] => ("histories", TYPED, When::NotAFolder),
        [.., b".aws", b"credentials" | b"config"]
        | [.., b".azure", _]
        | [.., b"gcloud", b"credentials.db" | b"access_tokens.db" | b"application_default_credentials.json"]
        | [.., b".kube", b"config"]
        | [.., b".docker", b"config.json"]
        | [.., b".git-credentials" | b".vault-token" | b".pypirc" | b".netrc" | b".boto" | b".s3cfg" | b".pgpass"]
        | [.., b".cargo", b"credentials" | b"credentials.toml"] => ("cloud-credentials", ACCOUNTS, When::Stray),
        [.., b".ssh", name] if name.starts_with(b"id_") => ("ssh-user-data", "somebody's key", When::Stray),
        [.., b".ssh", b"authorized_keys" | b"authorized_keys2"] => {
            ("ssh-user-data", "lets its owner in", When::NotAskedFor)
        }
        [.., b".ssh", b"known_hosts" | b"known_hosts.old"] => {
            ("ssh-user-data", "tells whom the builder talked to", When::NotAskedFor)
        }
        _ => return None,
    };
    Some(Class { rule, why, when })
}

/// Names that mean something in a home only.
fn in_a_home(path: &[&[u8]], homes: &[Vec<&[u8]>]) -> Option<Class> {
    let below = homes.iter().filter_map(|home| path.strip_prefix(home.as_slice()));
    below.into_iter().find_map(|below| {
        let (rule, why) = match below {
            [b".history"] | [b".sudo_as_admin_successful"] | [b".Xauthority"] | [b".xsession-errors"] => {
                ("histories", TYPED)
            }
            [b".cache", ..] => ("histories", CACHED),
            [b".aws" | b".azure" | b".kube" | b".oci" | b".aliyun", ..] => ("cloud-credentials", ACCOUNTS),
            [b".npmrc" | b".yarnrc" | b".oscrc" | b".my.cnf" | b".terraformrc"] => ("cloud-credentials", ACCOUNTS),
            [b".config", b"gcloud" | b"doctl" | b"hcloud", ..] => ("cloud-credentials", ACCOUNTS),
            _ => return None,
        };
        Some(Class { rule, why, when: When::Stray })
    })
}

fn put_aside(name: &[u8]) -> bool {
    let ends = ["dpkg-old", "dpkg-new", "dpkg-dist", "dpkg-bak", "ucf-old", "ucf-dist", "rpmsave", "rpmnew", "rpmorig"];
    ends.iter().any(|end| name.ends_with(end.as_bytes()))
}

fn has(name: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(name, part).is_some()
}
