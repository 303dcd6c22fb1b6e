//! The judgement on everything that was seen.
//!
//! In: sightings of one image, in any order. Out: a [`Report`]. Pure: the same sightings give the same report.

use std::collections::{BTreeMap, BTreeSet};

use super::class::{self, When};
use super::{Finding, Mark, Report, Severity, Sighting, Standard};
use crate::host::rooted::Kind;
use crate::package::rpmdb::{self, Format};
use crate::plan::{ScrubPreset, UpdateStack};
use crate::root::RootPath;
use crate::scrub::Database;
use crate::scrub::database;
use crate::scrub::listing::Listing;
use crate::scrub::owned::{self, Owned};
use crate::scrub::password::{self, Weakness};

pub(super) fn judge(standard: &Standard, seen: &[Sighting]) -> Report {
    let mut judge = Judge::new(standard, seen);
    for sighting in seen {
        judge.path(sighting);
        judge.permissions(sighting);
        judge.marks(sighting);
    }
    judge.identity();
    judge.network();
    judge.accounts();
    judge.build_settings();
    judge.package_databases();
    judge.replaced_database();
    judge.packages_without_files();
    judge.boot();
    if standard.update_stack() == UpdateStack::None {
        judge.update_stack(seen);
    }
    let findings = judge.outermost().into_iter().collect();
    Report { findings, files: seen.len() as u64 }
}

struct Judge<'a> {
    standard: &'a Standard<'a>,
    by_path: BTreeMap<&'a RootPath, &'a Sighting>,
    homes: Vec<Vec<&'a [u8]>>,
    listing: Listing,
    owned: Owned,
    described: BTreeSet<RootPath>,
    /// One finding per path and class; the first one stays.
    findings: BTreeMap<(RootPath, &'static str), Finding>,
}

impl<'a> Judge<'a> {
    fn new(standard: &'a Standard<'a>, seen: &'a [Sighting]) -> Judge<'a> {
        let by_path: BTreeMap<&RootPath, &Sighting> = seen.iter().map(|seen| (&seen.entry.path, seen)).collect();
        let listing: Listing = seen.iter().map(|seen| seen.entry.clone()).collect();
        let mut owned = Owned::default();
        for sighting in seen.iter().filter(|seen| owned::is_file_list(&seen.entry.path)) {
            owned.add_list(&sighting.entry.path, sighting.content.as_deref().unwrap_or_default(), &listing);
        }
        let content = |path: &str| -> &'a [u8] {
            by_path.get(&RootPath::from(path)).and_then(|seen| seen.content.as_deref()).unwrap_or_default()
        };
        owned.add_diversions(content(owned::DIVERSIONS), &listing);
        if let Standard::Build { asked, .. } = standard
            && let Database::Replaced { owned: paths, .. } = &asked.database
        {
            owned.add(paths, &listing);
        }
        let described = match standard {
            Standard::Build { asked, .. } => asked.paths.iter().map(|path| listing.real(path)).collect(),
            Standard::Artifact(_) => BTreeSet::new(),
        };
        let mut homes = vec![vec![b"root".as_slice()], vec![b"etc", b"skel"]];
        for path in by_path.keys() {
            if let [b"home", name] = components(path).as_slice() {
                homes.push(vec![b"home", name]);
            }
        }
        for line in content(password::PASSWD).split(|byte| *byte == b'\n') {
            let home = line.split(|byte| *byte == b':').nth(5).unwrap_or_default();
            homes.push(home.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect());
        }
        // A home of `/` holds everything; what is in it counts where its name says the same anywhere.
        homes.retain(|home: &Vec<&[u8]>| !home.is_empty());
        Judge { standard, by_path, homes, listing, owned, described, findings: BTreeMap::new() }
    }

    fn content(&self, path: &str) -> Option<&'a [u8]> {
        self.by_path.get(&RootPath::from(path)).and_then(|seen| seen.content.as_deref())
    }

    /// Regular files below a folder, with their content.
    fn contents_below(&self, folder: &str) -> Vec<(&'a RootPath, &'a [u8])> {
        let folder = RootPath::from(folder);
        let below = self.by_path.iter().filter(|(path, _)| path.is_below(&folder));
        below.filter_map(|(path, seen)| Some((*path, seen.content.as_deref()?))).collect()
    }

    fn is_stray(&self, path: &RootPath) -> bool {
        !self.owned.contains(path) && !self.described.contains(path)
    }

    /// What a rule would remove that is switched off is kept on request.
    fn leftover(&mut self, rule: &'static str, path: &RootPath, what: impl Into<String>) {
        let mut severity = Severity::Leftover;
        if let Standard::Build { plan, .. } = self.standard
            && (plan.preset == ScrubPreset::None || plan.except.iter().any(|name| name == rule))
        {
            severity = Severity::Kept;
        }
        self.found(Finding { severity, class: rule, path: path.clone(), what: what.into() });
    }

    fn note(&mut self, class: &'static str, path: &RootPath, what: impl Into<String>) {
        self.found(Finding { severity: Severity::Note, class, path: path.clone(), what: what.into() });
    }

    fn found(&mut self, finding: Finding) {
        self.findings.entry((finding.path.clone(), finding.class)).or_insert(finding);
    }

    /// The findings in their order; what lies in a folder that is itself a finding of the class goes without saying.
    fn outermost(self) -> BTreeSet<Finding> {
        let above = |finding: &Finding| {
            let mut folder = finding.path.clone();
            std::iter::from_fn(move || {
                let next = folder.parent();
                (next != folder).then(|| folder = next)?;
                Some(folder.clone())
            })
            .any(|folder| self.findings.contains_key(&(folder, finding.class)))
        };
        self.findings.values().filter(|finding| !above(finding)).cloned().collect()
    }

    fn path(&mut self, sighting: &Sighting) {
        let entry = &sighting.entry;
        let Some(class) = class::class(&components(&entry.path), &self.homes) else { return };
        let filled = entry.is_file() && entry.size.0 > 0;
        let described = self.described.contains(&entry.path);
        let guilty = match class.when {
            When::Always => true,
            When::Filled => filled,
            When::NotAFolder => !entry.is_folder(),
            When::Stray => !entry.is_folder() && self.is_stray(&entry.path),
            When::StrayFolder => entry.is_folder() && self.is_stray(&entry.path),
            When::NotAskedFor => !entry.is_folder() && !described,
        };
        if !guilty {
            return;
        }
        let what = match filled {
            true => format!("({}) {}", entry.size, class.why),
            false => class.why.to_string(),
        };
        match (class.when, self.standard) {
            (When::NotAskedFor, Standard::Artifact(_)) => self.note(class.rule, &entry.path, what),
            _ => self.leftover(class.rule, &entry.path, what),
        }
    }

    fn permissions(&mut self, sighting: &Sighting) {
        let entry = &sighting.entry;
        let stray = self.is_stray(&entry.path);
        let below = |folder: &str| entry.path.is_below(&folder.into());
        if entry.is_file() && entry.mode & 0o6000 != 0 {
            let whose = match stray {
                true => "no package owns it",
                false => "of a package or the description",
            };
            self.note("setuid", &entry.path, format!("mode {:04o} of user {}; {whose}", entry.mode, entry.uid));
        }
        let writable = entry.mode & 0o002 != 0;
        match &entry.kind {
            Kind::Folder if writable && entry.mode & 0o1000 == 0 => {
                self.note("world-writable", &entry.path, "anybody may replace what is in it");
            }
            Kind::File if writable => self.note("world-writable", &entry.path, "anybody may write it"),
            Kind::File if stray && !self.owned.is_empty() && !DATABASES.iter().any(|at| below(at)) => {
                self.note("unowned", &entry.path, "no package owns it and the description did not put it there");
            }
            _ => {}
        }
    }

    fn marks(&mut self, sighting: &Sighting) {
        let path = &sighting.entry.path;
        for mark in &sighting.marks {
            match mark {
                Mark::PrivateKey(words) if self.is_stray(path) => {
                    // A host key is a private key, too; one finding is enough.
                    let known = self.findings.keys().any(|(known, class)| known == path && *class != "unowned");
                    if !known {
                        self.leftover("private-keys", path, format!("holds a {words}: every copy would share it"));
                    }
                }
                Mark::PrivateKey(words) => {
                    self.note("private-keys", path, format!("holds a {words}, of a package or the description"));
                }
                Mark::BuildFolder => self.leftover("build-host", path, "names the folder that the build ran in"),
                Mark::HostName(name) if self.is_stray(path) => {
                    self.note("build-host", path, format!("holds the build host's name, `{name}`"));
                }
                Mark::HostName(_) => {}
            }
        }
    }

    fn identity(&mut self) {
        for (rule, path) in [("machine-id", "/etc/machine-id"), ("dbus-machine-id", "/var/lib/dbus/machine-id")] {
            let id = String::from_utf8_lossy(self.content(path).unwrap_or_default()).trim().to_string();
            if !id.is_empty() && id != "uninitialized" {
                let short: String = id.chars().filter(|char| !char.is_control()).take(4).collect();
                let what = format!("holds {short}...: every copy would be the same machine");
                self.leftover(rule, &path.into(), what);
            }
            let target = self.listing.target(&path.into());
            let filled = self.listing.get(&target).is_some_and(|entry| entry.is_file() && entry.size.0 > 0);
            if target != RootPath::from(path) && target != RootPath::from("/etc/machine-id") && filled {
                self.leftover(rule, &path.into(), format!("leads to {target}, which is not empty"));
            }
        }
        for path in USUALLY_FOLDERS.map(RootPath::from) {
            let is_symlink = self.listing.get(&path).is_some_and(|entry| matches!(entry.kind, Kind::Symlink(_)));
            let target = self.listing.target(&path);
            if is_symlink && !USUALLY_FOLDERS.map(RootPath::from).contains(&target) {
                self.note("symlinked", &path, format!("leads to {target}: nothing there was scrubbed on its account"));
            }
        }
        let iscsi = "/etc/iscsi/initiatorname.iscsi";
        if lines(self.content(iscsi)).any(|line| line.starts_with(b"InitiatorName=")) {
            self.leftover("host-crypto", &iscsi.into(), "every copy would be the same iSCSI initiator");
        }
    }

    fn network(&mut self) {
        if let Standard::Build { host, .. } = self.standard {
            for path in ["/etc/hostname", "/etc/mailname", "/etc/HOSTNAME"] {
                let named = self.content(path).is_some_and(|content| host.is_named(content.trim_ascii()));
                if named && !self.described.contains(&path.into()) {
                    self.leftover("hostname", &path.into(), "holds the build host's name");
                }
            }
            let resolver = "/etc/resolv.conf";
            let copied = self.content(resolver).is_some_and(|content| host.is_resolver(content));
            if copied && !self.described.contains(&resolver.into()) {
                self.leftover("hostname", &resolver.into(), "is the build host's");
            }
            let own_name = |line: &[u8]| {
                let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                words.next() == Some(b"127.0.1.1") && words.any(|name| host.is_named(name))
            };
            if lines(self.content("/etc/hosts")).any(own_name) && !self.described.contains(&"/etc/hosts".into()) {
                self.leftover("hostname", &"/etc/hosts".into(), "holds the build host's name");
            }
        }
        for (path, content) in self.contents_below("/etc/udev/rules.d") {
            let by_address = lines(Some(content))
                .any(|line| !line.starts_with(b"#") && memchr::memmem::find(line, b"ATTR{address}==").is_some());
            if by_address && self.is_stray(path) {
                self.leftover("udev-net-rules", path, "binds a name to one network card's address");
            }
        }
        for (path, content) in self.contents_below("/etc/sysconfig") {
            let bound = |line: &[u8]| {
                [b"HWADDR=".as_slice(), b"UUID=", b"DHCP_HOSTNAME="].iter().any(|name| line.starts_with(name))
            };
            if path.name().starts_with(b"ifcfg-") && lines(Some(content)).any(bound) && self.is_stray(path) {
                self.leftover("nic-identity", path, "is bound to one network card");
            }
        }
    }

    fn accounts(&mut self) {
        let passwd = self.content(password::PASSWD).unwrap_or_default();
        let shadow = self.content(password::SHADOW).unwrap_or_default();
        for (login, weakness) in password::weak_accounts(passwd, shadow) {
            if let Standard::Build { asked, .. } = self.standard
                && asked.passwords.contains(&login)
            {
                continue;
            }
            let what = match weakness {
                Weakness::Empty => format!("`{login}` has no password at all"),
                Weakness::WellKnown(word) => format!("`{login}` has the well-known password `{word}`"),
            };
            self.leftover("passwords", &password::SHADOW.into(), what);
        }
    }

    /// Proxies and passwords of repositories.
    fn build_settings(&mut self) {
        for folder in ["/etc/zypp", "/etc/yum.repos.d", "/etc/dnf", "/etc/yum", "/etc/pacman.d"] {
            for (path, content) in self.contents_below(folder) {
                let secret = |line: &[u8]| line.starts_with(b"password") || line.starts_with(b"proxy_password");
                if lines(Some(content)).any(|line| has_password(line) || secret(line)) {
                    self.leftover("builder-leftovers", path, "holds a password of a repository");
                }
                if self.is_stray(path) && lines(Some(content)).any(|line| line.starts_with(b"proxy")) {
                    self.leftover("builder-leftovers", path, "leads through the build's proxy");
                }
            }
        }
        for (path, content) in self.contents_below("/etc/apt") {
            let is_proxy = |line: &[u8]| {
                let line = line.trim_ascii_start().to_ascii_lowercase();
                line.starts_with(b"acquire") && memchr::memmem::find(&line, b"proxy").is_some()
            };
            if self.is_stray(path) && lines(Some(content)).any(is_proxy) {
                self.leftover("builder-leftovers", path, "leads through the build's proxy");
            }
            if lines(Some(content)).any(has_password) {
                self.leftover("builder-leftovers", path, "holds a password of a repository");
            }
        }
        let environment = "/etc/environment";
        let is_proxy = |line: &[u8]| {
            let line = line.to_ascii_lowercase();
            !line.starts_with(b"#") && memchr::memmem::find(&line, b"_proxy=").is_some()
        };
        if lines(self.content(environment)).any(is_proxy) && self.is_stray(&environment.into()) {
            self.leftover("builder-leftovers", &environment.into(), "leads through the build's proxy");
        }
    }

    /// When packages were installed, where a database tells it.
    fn package_databases(&mut self) {
        let standard = self.standard;
        let wrote = |time: i64| matches!(standard, Standard::Build { host, .. } if host.wrote_at(time));
        for (path, seen) in self.by_path.clone() {
            let content = seen.content.as_deref().unwrap_or_default();
            let telling = match Format::of(path) {
                Some(format) => match rpmdb::read(format, content, &[]) {
                    Ok(headers) => headers.iter().any(|header| wrote(header.installed().into())),
                    Err(error) => {
                        self.leftover("package-database", path, format!("cannot be read: {}", error.text()));
                        false
                    }
                },
                None if path.name() == b"desc" && path.is_below(&"/var/lib/pacman/local".into()) => {
                    let mut lines = lines(Some(content)).skip_while(|line| *line != b"%INSTALLDATE%").skip(1);
                    let date = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok());
                    date.is_some_and(wrote)
                }
                None => memchr::memmem::find(content, b"# AutoInstalled generated").is_some(),
            };
            if telling {
                self.leftover("package-database", path, "tells when its packages were installed");
            }
        }
    }

    fn boot(&mut self) {
        for (path, seen) in self.by_path.clone() {
            let text = path.to_string();
            let configures = text == "/etc/fstab"
                || text == "/etc/crypttab"
                || text.starts_with("/etc/default/grub")
                || (text.starts_with("/boot/")
                    && (text.ends_with(".cfg") || text.ends_with(".conf") || text.ends_with(".map")));
            if configures && lines(seen.content.as_deref()).any(names_a_build_device) {
                self.leftover("boot", path, "names a loop or network block device of the build host");
            }
            if path.name() == b"grubenv" && lines(seen.content.as_deref()).any(|line| line.starts_with(b"saved_entry="))
            {
                self.leftover("boot", path, "boots what the build host chose last");
            }
        }
        if self.is_container() {
            for path in self.by_path.keys().copied().cloned().collect::<Vec<_>>() {
                let what = match components(&path).as_slice() {
                    [b"dev" | b"proc" | b"sys", _, ..] => "a container gets this from its host",
                    [b"boot", name] if is_kernel(name) => "a container boots no kernel of its own",
                    [b"etc", b"mtab"] if self.by_path[&path].entry.is_file() => "mounts of the build host",
                    _ => continue,
                };
                self.leftover("container", &path, what);
            }
        }
    }

    fn is_container(&self) -> bool {
        match self.standard {
            Standard::Build { plan, .. } => plan.preset == ScrubPreset::Container,
            Standard::Artifact(preset) => *preset == ScrubPreset::Container,
        }
    }

    /// Packages that the database lists, and nothing of them is there: what a scanner says of them is wrong. Documentation
    /// and translations do not count, which a description may leave out.
    fn packages_without_files(&mut self) {
        const OPTIONAL: [&str; 5] =
            ["/usr/share/doc", "/usr/share/info", "/usr/share/licenses", "/usr/share/locale", "/usr/share/man"];
        let mut gone = Vec::new();
        for (path, seen) in self.by_path.iter().filter(|(path, _)| owned::is_file_list(path)) {
            for (name, mut files) in owned::brought(path, seen.content.as_deref().unwrap_or_default()) {
                files.retain(|file| !OPTIONAL.iter().any(|folder| file.is_below(&(*folder).into())));
                let there = |file: &RootPath| self.by_path.contains_key(&self.listing.real(file));
                if !files.is_empty() && !files.iter().any(there) {
                    gone.push(((*path).clone(), name));
                }
            }
        }
        for (path, name) in gone {
            self.note("package-database", &path, format!("lists {name}, of which no file is there"));
        }
    }

    /// A package database that was to go, and what takes its place.
    fn replaced_database(&mut self) {
        let Standard::Build { asked, .. } = self.standard else { return };
        let Database::Replaced { by, .. } = &asked.database else { return };
        let class = database::CLASS;
        let mut left = Vec::new();
        for (path, seen) in &self.by_path {
            if !seen.entry.is_folder() && database::FOLDERS.iter().any(|folder| path.is_below(&(*folder).into())) {
                left.push((*path).clone());
            }
        }
        for path in left {
            let what = "is part of a package database, in an image that is to have none".to_string();
            self.found(Finding { severity: Severity::Leftover, class, path, what });
        }
        if let Some((path, content)) = by {
            let there = self.by_path.get(&self.listing.real(path));
            let whole = there.is_some_and(|seen| seen.entry.is_file() && seen.entry.size.0 == content.len() as u64);
            if !whole {
                let what =
                    "is the bill of materials in the place of the package database, and is not there".to_string();
                self.found(Finding { severity: Severity::Leftover, class, path: path.clone(), what });
            }
        }
    }

    /// Programs that install packages, and what only serves them. What is asked for cannot be excepted by name.
    fn update_stack(&mut self, seen: &[Sighting]) {
        for sighting in seen.iter().filter(|seen| !seen.entry.is_folder()) {
            let path = &sighting.entry.path;
            let parts = components(path);
            let (severity, what) = match parts.as_slice() {
                [.., b"bin" | b"sbin", name] if INSTALLERS.iter().any(|program| program.as_bytes() == *name) => {
                    (Severity::Leftover, "can install packages, in an image without an update stack")
                }
                [.., b"bin" | b"sbin", name]
                    if LANGUAGE_INSTALLERS.iter().any(|program| program.as_bytes() == *name) =>
                {
                    (Severity::Note, "can install packages of a programming language")
                }
                [b"etc", b"apt" | b"dnf" | b"zypp" | b"yum.repos.d" | b"pacman.d", ..]
                | [b"etc", b"pacman.conf" | b"yum.conf"]
                | [b"etc", b"logrotate.d", b"zypp-history.lr" | b"zypp-refresh.lr" | b"zypper.lr" | b"dnf"]
                | [b"usr", b"share", b"libalpm" | b"dnf" | b"zypp" | b"zypper", ..]
                | [b"var", b"lib", b"zypp" | b"dnf", _, ..]
                | [b"etc", b"cron.daily", b"apt-compat" | b"apt" | b"dpkg"]
                | [
                    ..,
                    b"systemd",
                    b"system",
                    b"apt-daily.timer"
                    | b"apt-daily-upgrade.timer"
                    | b"dnf-makecache.timer"
                    | b"dnf-makecache.service"
                    | b"dnf-automatic.timer"
                    | b"transactional-update.timer"
                    | b"packagekit.service",
                ] => (Severity::Leftover, "serves an update stack that is not there"),
                _ => continue,
            };
            self.found(Finding { severity, class: "update-stack", path: path.clone(), what: what.into() });
        }
    }
}

/// The scrub follows no symlink: where one of these is a symlink, a person should look at what is behind it.
const USUALLY_FOLDERS: [&str; 8] =
    ["/run", "/tmp", "/root", "/var/cache", "/var/lib", "/var/log", "/var/spool", "/var/tmp"];

/// Where package managers keep what they know: no package owns it.
const DATABASES: &[&str] = &[
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/usr/lib/sysimage/rpm",
    "/usr/lib/sysimage/libdnf5",
    "/var/lib/dnf",
    "/var/lib/zypp",
    "/var/lib/pacman",
];

/// Package managers of distributions and their front ends.
const INSTALLERS: &[&str] = &[
    "apt",
    "apt-get",
    "apt-cache",
    "apt-config",
    "apt-key",
    "apt-mark",
    "apt-cdrom",
    "aptitude",
    "dpkg",
    "dpkg-deb",
    "dselect",
    "unattended-upgrade",
    "rpm",
    "rpmdb",
    "rpmkeys",
    "rpm-ostree",
    "dnf",
    "dnf-3",
    "dnf4",
    "dnf-automatic",
    "dnf5",
    "microdnf",
    "yum",
    "tdnf",
    "yumdownloader",
    "zypper",
    "transactional-update",
    "urpmi",
    "pacman",
    "pacman-key",
    "apk",
    "snap",
    "synaptic",
    "pkcon",
    "opkg",
    "xbps-install",
    "emerge",
];

/// Package managers of programming languages: reported, removed only if the description says so.
const LANGUAGE_INSTALLERS: &[&str] = &["pip", "pip3", "pipx", "gem", "cpan", "npm", "yarn", "cargo", "go", "luarocks"];

fn components(path: &RootPath) -> Vec<&[u8]> {
    path.relative().split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect()
}

fn lines(content: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
    content.unwrap_or_default().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)
}

fn is_kernel(name: &[u8]) -> bool {
    ["vmlinu", "initrd", "initramfs", "System.map", "config-"].iter().any(|start| name.starts_with(start.as_bytes()))
}

/// `https://user:password@host` (RFC 3986, 3.2.1), in a line that is no comment.
fn has_password(line: &[u8]) -> bool {
    let Some(at) = memchr::memmem::find(line, b"://") else { return false };
    let authority = line[at + 3..].split(|byte| *byte == b'/' || byte.is_ascii_whitespace()).next().unwrap_or_default();
    let user = memchr::memrchr(b'@', authority).map(|end| &authority[..end]).unwrap_or_default();
    !line.starts_with(b"#") && user.contains(&b':')
}

/// `/dev/loop1` and `/dev/nbd0p1` exist while an image is built, and nowhere else.
fn names_a_build_device(line: &[u8]) -> bool {
    let device = |name: &str| {
        memchr::memmem::find_iter(line, name.as_bytes())
            .any(|at| line.get(at + name.len()).is_some_and(u8::is_ascii_digit))
    };
    !line.starts_with(b"#") && (device("/dev/loop") || device("/dev/nbd") || device("/dev/mapper/loop"))
}
