//! What a build leaves lying about: temporary files, logs, caches, backups, its own helpers.

use super::{Part, Presets, Rule, Spares};
use crate::error::Result;
use crate::package::rpmdb;
use crate::plan::UpdateStack;
use crate::root::RootPath;
use crate::scrub::Done;
use crate::scrub::owned::DIVERSIONS;
use crate::scrub::scrubber::Scrubber;

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "temporary",
        why: "left by the build, and kept for ever in an image",
        presets: Presets::VmAndContainer,
        parts: &[
            Part::Remove(&["/tmp/*", "/var/tmp/*"], Spares::Nothing),
            Part::Work(runtime_files),
            Part::Work(sticky_folders),
        ],
    },
    Rule {
        name: "logs",
        why: "tells of the build, not of the machine",
        presets: Presets::VmAndContainer,
        parts: &[Part::Remove(&["/var/log/journal/*"], Spares::Nothing), Part::Work(logs)],
    },
    Rule {
        name: "package-caches",
        why: "old by the time anybody uses it",
        presets: Presets::VmAndContainer,
        parts: &[Part::Remove(
            &[
                "/var/cache/apt/*",
                "/var/cache/dnf/*",
                "/var/cache/yum/*",
                "/var/cache/libdnf5/*",
                "/var/cache/zypp/*",
                "/var/cache/pacman/*",
                "/var/cache/apk/*",
                "/var/cache/PackageKit/*",
                "/var/lib/apt/lists/*",
                "/var/lib/apt/periodic/*",
                "/var/lib/apt/daily_lock",
                "/var/lib/dnf/history*",
                "/var/lib/dnf/repos/*",
                "/var/lib/dnf/system-upgrade",
                "/var/lib/dnf/tempfiles.json",
                "/usr/lib/sysimage/libdnf5/transaction_history*",
                "/var/lib/pacman/sync/*",
                "/var/lib/zypp/AnonymousUniqueId",
                "/var/lib/zypp/LastDistributionFlavor",
            ],
            Spares::Owned,
        )],
    },
    Rule {
        name: "package-database",
        why: "tells when the packages were installed, and in which order",
        presets: Presets::VmAndContainer,
        parts: &[Part::Work(rpm_database), Part::Work(pacman_dates), Part::Work(installed_for_others)],
    },
    Rule {
        name: "package-db-residue",
        why: "locks and backups of the package database",
        presets: Presets::VmAndContainer,
        parts: &[
            Part::Remove(
                &[
                    "/var/lib/rpm/__db.*",
                    "/var/lib/rpm/.rpm.lock",
                    "/usr/lib/sysimage/rpm/__db.*",
                    "/usr/lib/sysimage/rpm/.rpm.lock",
                    "/usr/lib/sysimage/rpm/.rpmdbdirsymlink-created",
                    "/var/lib/rpm/.migratedb",
                    "/var/lib/dnf/*.pid",
                    "/var/lib/pacman/db.lck",
                    "/root/.rpmdb",
                    "/var/lib/dpkg/*-old",
                    "/var/lib/dpkg/lock",
                    "/var/lib/dpkg/lock-frontend",
                    "/var/lib/dpkg/triggers/Lock",
                    "/var/lib/ucf/hashfile.*",
                    "/var/lib/ucf/registry.*",
                    "/var/backups/*",
                ],
                Spares::Owned,
            ),
            Part::Work(checkpointed_databases),
        ],
    },
    Rule {
        name: "builder-leftovers",
        why: "serves the build and nobody else",
        presets: Presets::VmAndContainer,
        parts: &[
            Part::Remove(
                &[
                    "/usr/sbin/policy-rc.d",
                    "/usr/bin/qemu-*-static",
                    "/image",
                    "/.profile",
                    "/.kconfig",
                    "/.buildenv",
                    "/.dockerenv",
                    "/config.bootoptions",
                    "/config.partids",
                    "/root/.slotpass",
                    "/usr/lib/rpm/macros.d/macros.kiwi-*",
                    "/etc/apt/apt.conf.d/*proxy*",
                    "/etc/apt/auth.conf",
                    "/etc/apt/auth.conf.d/*",
                ],
                Spares::OwnedAndDescribed,
            ),
            Part::Work(proxies),
            Part::Work(diversions),
        ],
    },
    Rule {
        name: "account-backups",
        why: "an older state, with older passwords",
        presets: Presets::VmAndContainer,
        parts: &[
            Part::Remove(
                &[
                    "/etc/passwd-",
                    "/etc/shadow-",
                    "/etc/group-",
                    "/etc/gshadow-",
                    "/etc/subuid-",
                    "/etc/subgid-",
                    "/etc/.pwd.lock",
                    "/etc/passwd.lock",
                    "/etc/shadow.lock",
                    "/etc/group.lock",
                    "/etc/gshadow.lock",
                    "/etc/subuid.lock",
                    "/etc/subgid.lock",
                    "/etc/security/opasswd.old",
                ],
                Spares::Owned,
            ),
            Part::Work(configuration_backups),
        ],
    },
    Rule {
        name: "unstable-caches",
        why: "differs between two builds of the same packages",
        presets: Presets::VmAndContainer,
        parts: &[Part::Remove(
            &[
                "/var/cache/ldconfig/*",
                "/var/cache/man/*",
                "/var/cache/fontconfig/*",
                "/usr/lib/fontconfig/cache/*",
                "/usr/share/fonts/**/.uuid",
                "/var/cache/debconf/*-old",
                "/**/__pycache__",
            ],
            Spares::OwnedAndDescribed,
        )],
    },
    Rule {
        name: "crash-and-accounting",
        why: "about the build host's processes and hours",
        presets: Presets::VmAndContainer,
        parts: &[Part::Remove(
            &[
                "/var/crash/*",
                "/var/lib/systemd/coredump/*",
                "/var/lib/systemd/pstore/*",
                "/core",
                "/core.*",
                "/var/account/pacct*",
                "/var/lib/logrotate/status*",
                "/var/lib/logrotate.status",
                "/var/lib/systemd/timers/*",
                "/var/lib/systemd/timesync/*",
                "/var/lib/systemd/rfkill/*",
                "/var/lib/systemd/backlight/*",
            ],
            Spares::OwnedAndDescribed,
        )],
    },
];

/// /run is empty at every boot. /run/lock stays as an empty folder: /var/lock leads there, and programs in a container
/// cannot make it through that symlink.
fn runtime_files(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    scrubber.remove_all(rule, &["/run/lock/*"], Spares::Nothing)?;
    for path in scrubber.matching(&["/run/*"]) {
        let lock_folder = path == RootPath::from("/run/lock") && is_folder(scrubber, &path);
        if !lock_folder {
            scrubber.remove(rule, &path, Spares::Nothing)?;
        }
    }
    Ok(())
}

fn sticky_folders(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    for path in ["/tmp", "/var/tmp", "/run/lock"].map(RootPath::from) {
        if is_folder(scrubber, &path) {
            scrubber.set_mode(rule, &path, 0o1777)?;
        }
    }
    Ok(())
}

fn is_folder(scrubber: &Scrubber, path: &RootPath) -> bool {
    scrubber.listing().get(path).is_some_and(|entry| entry.is_folder())
}

/// Login records (utmp(5)) are emptied, not removed: packages make them while they install and then count on them.
const LOGIN_RECORDS: &[&str] = &["wtmp", "btmp", "lastlog", "faillog", "tallylog"];

fn logs(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let folder = RootPath::from("/var/log");
    for path in scrubber.matching(&["/var/log/**"]) {
        if !scrubber.listing().get(&path).is_some_and(|entry| entry.is_file()) {
            continue;
        }
        let record = LOGIN_RECORDS.iter().any(|name| folder.join(name) == path);
        if record || scrubber.is_owned(&path) {
            scrubber.truncate(rule, &path)?;
        } else {
            scrubber.remove(rule, &path, Spares::Nothing)?;
        }
    }
    Ok(())
}

/// rpm's database without times, order and free pages; its log is in it, and `Index.db` is made again from `Packages.db`.
fn rpm_database(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let files = ["/var/lib/rpm/*", "/usr/lib/sysimage/rpm/*"];
    for path in scrubber.matching(&files) {
        let Some(format) = rpmdb::Format::of(&path) else { continue };
        let Some(old) = scrubber.content(&path)? else { continue };
        let log = scrubber.content(&rpmdb::log_of(&path))?.unwrap_or_default();
        let new = rpmdb::normalised(format, &old, &log, scrubber.epoch);
        let new = new.map_err(|error| error.within(format!("date the package database {path}")))?;
        scrubber.replace(rule, Done::Reset, &path, &new)?;
        let beside = match format {
            rpmdb::Format::Sqlite => rpmdb::log_of(&path),
            rpmdb::Format::Ndb => path.parent().join("Index.db"),
        };
        scrubber.remove(rule, &beside, Spares::Nothing)?;
    }
    Ok(())
}

/// pacman writes the moment of the installation below `%INSTALLDATE%`. A package of a base keeps the date that it has
/// there, so that nothing of it has to be in the layer on top.
fn pacman_dates(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    for path in scrubber.matching(&["/var/lib/pacman/local/*/desc"]) {
        let Some(old) = scrubber.content(&path)? else { continue };
        let date = format!("{}\n", scrubber.epoch).into_bytes();
        let host = scrubber.host;
        let is_older = |line: &[u8]| {
            let date = std::str::from_utf8(line.trim_ascii()).ok().and_then(|text| text.parse().ok());
            !host.builds_began.is_empty() && date.is_some_and(|date| !host.wrote_at(date))
        };
        let mut is_date = false;
        let mut new = Vec::new();
        for line in old.split_inclusive(|byte| *byte == b'\n') {
            new.extend_from_slice(if is_date && !is_older(line) { &date } else { line });
            is_date = line == b"%INSTALLDATE%\n";
        }
        scrubber.replace(rule, Done::Reset, &path, &new)?;
    }
    Ok(())
}

/// zypper's list of what was installed for others only: with a zypper it is of use, without the day on which it was
/// written; without one it is of none.
fn installed_for_others(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let path = RootPath::from("/var/lib/zypp/AutoInstalled");
    if scrubber.asked.update_stack == UpdateStack::None || !scrubber.has("/usr/bin/zypper") {
        return scrubber.remove(rule, &path, Spares::Owned);
    }
    scrubber.keep_lines(rule, &path, |line| !line.starts_with(b"# AutoInstalled generated"))
}

/// SQLite's write-ahead log is part of the database until it is checkpointed (sqlite.org/wal.html): only an empty one,
/// and the index that SQLite makes again, may go.
fn checkpointed_databases(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    for path in scrubber.matching(&["/var/lib/rpm/*-wal", "/usr/lib/sysimage/rpm/*-wal", "/var/lib/dnf/*-wal"]) {
        if scrubber.content(&path)?.is_some_and(|content| content.is_empty()) {
            scrubber.remove(rule, &path, Spares::Owned)?;
        }
    }
    scrubber.remove_all(
        rule,
        &["/var/lib/rpm/*-shm", "/usr/lib/sysimage/rpm/*-shm", "/var/lib/dnf/*-shm"],
        Spares::Owned,
    )
}

/// Settings that lead through the build host's proxy.
fn proxies(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    for path in scrubber.matching(&["/etc/apt/apt.conf", "/etc/apt/apt.conf.d/*", "/etc/environment"]) {
        if !scrubber.is_described(&path) && !scrubber.is_owned(&path) {
            scrubber.keep_lines(rule, &path, |line| !is_proxy(line))?;
        }
    }
    Ok(())
}

/// `Acquire::http::Proxy "..."` (apt.conf(5)) and `http_proxy=...` (environment(7)).
fn is_proxy(line: &[u8]) -> bool {
    let line = line.trim_ascii_start().to_ascii_lowercase();
    let line = line.strip_prefix(b"export ".as_slice()).unwrap_or(&line);
    let variable = line.split(|byte| *byte == b'=').next().unwrap_or_default();
    let apt = line.starts_with(b"acquire::") && line.windows(7).any(|part| part == b"::proxy");
    apt || (variable.len() < line.len() && variable.ends_with(b"_proxy"))
}

/// Programs that image builders divert, so that nothing starts and no initrd is made while packages install.
const DIVERTED_FOR_BUILDS: &[&str] = &[
    "/sbin/start-stop-daemon",
    "/usr/sbin/start-stop-daemon",
    "/sbin/initctl",
    "/usr/sbin/invoke-rc.d",
    "/usr/sbin/update-initramfs",
    "/usr/sbin/update-grub",
    "/usr/bin/dracut",
    "/usr/sbin/dracut",
];

/// Local diversions (dpkg-divert(1)) of those programs are undone: each has three lines, from, to and `:`.
fn diversions(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let database = RootPath::from(DIVERSIONS);
    let Some(content) = scrubber.content(&database)? else { return Ok(()) };
    let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    let mut kept = Vec::new();
    for diversion in lines.chunks(3) {
        let words: Vec<&[u8]> = diversion.iter().map(|line| line.trim_ascii_end()).collect();
        match words.as_slice() {
            [from, to, b":"] if DIVERTED_FOR_BUILDS.iter().any(|path| path.as_bytes() == *from) => {
                let [from, to] = [from, to].map(|path| scrubber.listing().real(&RootPath::new(path)));
                if scrubber.listing().get(&to).is_some() {
                    scrubber.rename(rule, &to, &from)?;
                }
            }
            _ => kept.extend(diversion.iter().copied().flatten()),
        }
    }
    scrubber.replace(rule, Done::Edited, &database, &kept)
}

/// Ends of names that dpkg, ucf and rpm give to what they put aside.
const PUT_ASIDE: &[&str] = &[
    "/etc/**/*.dpkg-old",
    "/etc/**/*.dpkg-new",
    "/etc/**/*.dpkg-dist",
    "/etc/**/*.dpkg-bak",
    "/etc/**/*.dpkg-backup",
    "/etc/**/*.dpkg-remove",
    "/etc/**/*.ucf-old",
    "/etc/**/*.ucf-new",
    "/etc/**/*.ucf-dist",
    "/etc/**/*.rpmsave",
    "/etc/**/*.rpmnew",
    "/etc/**/*.rpmorig",
    "/usr/**/*.dpkg-new",
    "/usr/**/*.dpkg-tmp",
    "/boot/*.dpkg-bak",
    "/boot/*.dpkg-new",
    "/boot/*.bak",
    "/boot/*.old-dkms",
];

/// Removes them; configuration among them means that somebody's version lost, which a person should know.
fn configuration_backups(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let etc = RootPath::from("/etc");
    for path in scrubber.matching(PUT_ASIDE) {
        scrubber.remove(rule, &path, Spares::Owned)?;
        if path.is_below(&etc) && scrubber.listing().get(&path).is_none() {
            scrubber.warn(format!("removed {path}: a package and the description disagree about this configuration"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_told_from_other_settings() {
        for (line, wanted) in [
            ("Acquire::http::Proxy \"http://user:secret@build:3142\";", true),
            ("acquire::HTTP::proxy::deb.example.org \"DIRECT\";", true),
            ("http_proxy=http://build:3128", true),
            ("  export HTTPS_PROXY=x", true),
            ("Acquire::Languages \"none\";", false),
            ("PATH=/usr/bin", false),
            ("# http_proxy is not set here", false),
        ] {
            assert_eq!(is_proxy(line.as_bytes()), wanted, "{line}");
        }
    }
}
