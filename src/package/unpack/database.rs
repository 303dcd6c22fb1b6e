//! dpkg's database in the tree: `status`, `info/` and the folders around them.
//!
//! In: what is there, and packages as they are unpacked. Out: the files as dpkg's own writer leaves them. Everything is
//! kept in memory and written when somebody else is going to look: dpkg, a maintainer script, the caller.

use std::collections::BTreeMap;

use super::control::{ConffileFlag, Control, ControlFile, Instances};
use super::owners::{Number, Owners};
use crate::error::{Error, Exit, Result};
use crate::host::rooted::{RootPath, Rooted};
use crate::package::deb822::{self, Stanza};
use crate::package::dependency::relations;

/// The folder of the database.
pub const FOLDER: &str = "/var/lib/dpkg";

/// How far a package has come (dpkg(1), "Package states"), in dpkg's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not there.
    NotInstalled,
    /// Removed, its conffiles kept.
    ConfigFiles,
    /// In the middle of being unpacked.
    HalfInstalled,
    /// Unpacked.
    Unpacked,
    /// In the middle of being configured.
    HalfConfigured,
    /// Configured, waiting for another package's trigger.
    TriggersAwaited,
    /// Configured, triggers of its own to process.
    TriggersPending,
    /// Configured.
    Installed,
}

impl State {
    fn of(word: &str) -> Option<State> {
        Some(match word {
            "not-installed" => State::NotInstalled,
            "config-files" => State::ConfigFiles,
            "half-installed" => State::HalfInstalled,
            "unpacked" => State::Unpacked,
            "half-configured" => State::HalfConfigured,
            "triggers-awaited" => State::TriggersAwaited,
            "triggers-pending" => State::TriggersPending,
            "installed" => State::Installed,
            _ => return None,
        })
    }

    /// Whether dpkg lets it hear of triggers.
    pub fn listens(self) -> bool {
        self >= State::TriggersAwaited
    }
}

/// A conffile in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conffile {
    /// Absolute path.
    pub path: Vec<u8>,
    /// MD5 of what was configured last, or `newconffile`.
    pub hash: String,
    /// Whether no version of the package has it any more, or another package took it over.
    pub obsolete: bool,
    /// Whether it is to be removed on upgrade.
    pub flag: ConffileFlag,
}

/// A package in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Package name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// See [`Instances`].
    pub instances: Instances,
    /// Its version; empty where the database has none.
    pub version: String,
    /// How far it has come.
    pub state: State,
    /// `Replaces`.
    pub replaces: String,
    /// Its conffiles.
    pub conffiles: Vec<Conffile>,
    /// Its paragraph in `status`, final newline included.
    text: Vec<u8>,
}

impl Known {
    /// The name under which dpkg keeps its files: `bash`, `libc6:amd64`.
    pub fn qualified_name(&self) -> String {
        match self.instances {
            Instances::One => self.name.clone(),
            Instances::EachArchitecture => format!("{}:{}", self.name, self.arch),
        }
    }

    fn parse(text: &[u8]) -> Result<Known> {
        let broken = |why: String| Error::cannot(Exit::Description, "read dpkg's status").because(why);
        let shown = String::from_utf8_lossy(text);
        let stanza = deb822::parse(&shown).map_err(|malformed| broken(malformed.to_string()))?.pop();
        let stanza = stanza.ok_or_else(|| broken("an empty paragraph".into()))?;
        let name = stanza.text("Package").to_string();
        let state = stanza.words("Status").last().and_then(|word| State::of(word));
        Ok(Known {
            state: state.ok_or_else(|| broken(format!("`{name}` has no known state")))?,
            arch: stanza.text("Architecture").to_string(),
            instances: Instances::of(&stanza),
            version: stanza.text("Version").to_string(),
            replaces: stanza.text("Replaces").to_string(),
            conffiles: stanza.text("Conffiles").lines().filter_map(conffile).collect(),
            name,
            text: text.to_vec(),
        })
    }

    /// Marks a conffile that another package took over.
    pub fn mark_obsolete(&mut self, path: &[u8]) {
        let Some(conffile) = self.conffiles.iter_mut().find(|conffile| conffile.path == path) else { return };
        if std::mem::replace(&mut conffile.obsolete, true) {
            return;
        }
        let old = [b" ", path, b" ", conffile.hash.as_bytes()].concat();
        let lines = self.text.split_inclusive(|byte| *byte == b'\n');
        let marked = lines.map(|line| match line.strip_prefix(old.as_slice()) {
            Some(rest) => [&old, b" obsolete".as_slice(), rest].concat(),
            None => line.to_vec(),
        });
        self.text = marked.collect::<Vec<_>>().concat();
    }
}

/// ` PATH HASH [obsolete] [remove-on-upgrade]`
fn conffile(line: &str) -> Option<Conffile> {
    let (mut rest, mut obsolete, mut flag) = (line.trim(), false, ConffileFlag::Shipped);
    if let Some(shorter) = rest.strip_suffix(" remove-on-upgrade") {
        (rest, flag) = (shorter, ConffileFlag::RemoveOnUpgrade);
    }
    if let Some(shorter) = rest.strip_suffix(" obsolete") {
        (rest, obsolete) = (shorter, true);
    }
    let (path, hash) = rest.rsplit_once(' ')?;
    Some(Conffile { path: path.as_bytes().to_vec(), hash: hash.to_string(), obsolete, flag })
}

/// The whole database.
#[derive(Debug, Default)]
pub struct Database {
    packages: Vec<Known>,
    /// Numbers by name.
    by_name: BTreeMap<String, Vec<Number>>,
    /// Who owns which path.
    pub owners: Owners,
}

impl Database {
    /// Reads the tree's database; an empty one where there is none.
    pub fn read(tree: &Rooted) -> Result<Database> {
        let mut database = Database::default();
        database.read_status(tree)?;
        for number in 0..database.packages.len() as Number {
            let known = &database.packages[number as usize];
            if known.state == State::NotInstalled {
                continue;
            }
            let list = list_path(&known.qualified_name());
            for path in tree.read_if_there(&list)?.unwrap_or_default().split(|byte| *byte == b'\n') {
                let path = path.strip_suffix(b"/").unwrap_or(path);
                if !path.is_empty() {
                    database.owners.add(path, number);
                }
            }
        }
        Ok(database)
    }

    /// Reads `status` again, after dpkg has changed the packages' states (and nothing else).
    pub fn read_status(&mut self, tree: &Rooted) -> Result<()> {
        let updates = tree.names(&path("updates"))?;
        if !updates.is_empty() {
            return Err(Error::cannot(Exit::Description, "read dpkg's status")
                .because("dpkg was interrupted in this tree: its folder `updates` is not empty"));
        }
        for text in paragraphs(&tree.read_if_there(&path("status"))?.unwrap_or_default()) {
            let known = Known::parse(text)?;
            match self.find(&known.name, &known.arch) {
                Some(number) => self.packages[number as usize] = known,
                None => {
                    self.add(known);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, known: Known) -> Number {
        let number = self.packages.len() as Number;
        let of_each = |number: &Number| self.package(*number).instances == Instances::EachArchitecture;
        let first = self.instances(&known.name).find(of_each);
        if let (Some(first), Instances::EachArchitecture) = (first, known.instances) {
            self.owners.same_package(first, number);
        }
        self.by_name.entry(known.name.clone()).or_default().push(number);
        self.packages.push(known);
        number
    }

    /// The package of this name and architecture.
    pub fn find(&self, name: &str, arch: &str) -> Option<Number> {
        self.instances(name).find(|number| self.package(*number).arch == arch)
    }

    /// All packages of this name.
    pub fn instances(&self, name: &str) -> impl Iterator<Item = Number> + '_ {
        self.by_name.get(name).into_iter().flatten().copied()
    }

    /// A package by its number.
    pub fn package(&self, number: Number) -> &Known {
        &self.packages[number as usize]
    }

    /// A package by its number, to be changed.
    pub fn package_mut(&mut self, number: Number) -> &mut Known {
        &mut self.packages[number as usize]
    }

    /// Whether a package, named as in dpkg's trigger files, hears of triggers.
    pub fn listens(&self, qualified: &str) -> bool {
        let (name, arch) = qualified.split_once(':').map_or((qualified, None), |(name, arch)| (name, Some(arch)));
        let mut instances = self.instances(name).map(|number| self.package(number));
        instances.any(|known| known.state.listens() && arch.is_none_or(|arch| arch == known.arch))
    }

    /// The fields of all packages that are configured.
    pub fn configured(&self) -> Vec<Stanza> {
        let known = self.packages.iter().filter(|known| known.state.listens());
        known.filter_map(|known| deb822::parse(&String::from_utf8_lossy(&known.text)).ok()?.pop()).collect()
    }

    /// A package of the tree beside which this one cannot be, and which dpkg deconfigures or refuses: it will be
    /// upgraded later.
    pub fn displaced_by(&self, control: &Control) -> Option<&Known> {
        let against = ["Breaks", "Conflicts"].into_iter().flat_map(|field| relations(control.stanza.text(field)));
        let others = against.flatten().filter(|relation| relation.name != control.name);
        others.into_iter().find_map(|relation| {
            let mut known = self.instances(&relation.name).map(|number| self.package(number));
            known.find(|known| known.state > State::ConfigFiles && relation.covers(&known.name, &known.version))
        })
    }

    /// Whether a package of this name is configured.
    pub fn is_configured(&self, name: &str) -> bool {
        self.instances(name).any(|number| self.package(number).state.listens())
    }

    /// A number for a package whose files are being placed; its paragraph follows with [`Database::half_installed`]
    /// or [`Database::unpacked`].
    pub fn number(&mut self, control: &Control) -> Number {
        self.find(&control.name, &control.arch).unwrap_or_else(|| {
            self.add(Known {
                name: control.name.clone(),
                arch: control.arch.clone(),
                instances: control.instances,
                version: control.version.clone(),
                state: State::NotInstalled,
                replaces: control.stanza.text("Replaces").to_string(),
                conffiles: Vec::new(),
                text: Vec::new(),
            })
        })
    }

    /// Takes over a package whose files are placed from the database as it was before.
    pub fn carry(&mut self, known: Known) -> Number {
        self.find(&known.name, &known.arch).unwrap_or_else(|| self.add(known))
    }

    /// The package is not there after all: dpkg will begin with it.
    pub fn not_installed(&mut self, number: Number) {
        let known = self.package_mut(number);
        known.state = State::NotInstalled;
        known.text.clear();
    }

    /// The package is about to be unpacked: what its preinst sees.
    pub fn half_installed(&mut self, number: Number, control: &Control) {
        let known = self.package_mut(number);
        known.state = State::HalfInstalled;
        let mut text = format!("Package: {}\nStatus: install reinstreq half-installed\n", control.name);
        for field in ["Priority", "Section"] {
            if let Some(value) = control.stanza.get(field) {
                text += &format!("{field}: {value}\n");
            }
        }
        text += &format!("Architecture: {}\n", control.arch);
        if control.instances == Instances::EachArchitecture {
            text += "Multi-Arch: same\n";
        }
        known.text = format!("{text}Version: {}\n", control.version).into_bytes();
    }

    /// The package is unpacked, with these conffiles.
    pub fn unpacked(&mut self, number: Number, control: &Control, conffiles: Vec<Conffile>) {
        let known = self.package_mut(number);
        known.state = State::Unpacked;
        known.text = paragraph(control, &conffiles);
        known.conffiles = conffiles;
    }

    /// Writes `status`, and what dpkg expects around it.
    pub fn write(&self, tree: &Rooted) -> Result<()> {
        prepare(tree)?;
        let mut order: Vec<&Known> = self.packages.iter().filter(|known| !known.text.is_empty()).collect();
        order.sort_by(|one, other| (&one.name, &one.arch).cmp(&(&other.name, &other.arch)));
        let mut text = Vec::new();
        for known in order {
            text.extend_from_slice(&known.text);
            text.push(b'\n');
        }
        tree.write(&path("status"), text, 0o644)
    }
}

/// Makes the folders and files that dpkg expects; what is there stays.
pub fn prepare(tree: &Rooted) -> Result<()> {
    for folder in ["info", "updates", "triggers", "alternatives", "parts"] {
        tree.create_folders(&path(folder), 0o755)?;
    }
    for (name, content) in [("info/format", "1\n"), ("status", ""), ("available", "")] {
        if !tree.exists(&path(name)) {
            tree.write(&path(name), content, 0o644)?;
        }
    }
    Ok(())
}

/// A path in the database.
pub fn path(name: &str) -> RootPath {
    RootPath::new(FOLDER).join(name)
}

/// The list of a package's files.
fn list_path(qualified_name: &str) -> RootPath {
    path("info").join(format!("{qualified_name}.list"))
}

/// Writes the list of a package's files, in the archive's order.
pub fn write_list<'a>(tree: &Rooted, qualified_name: &str, paths: impl Iterator<Item = &'a [u8]>) -> Result<()> {
    let mut text = Vec::new();
    for path in paths {
        text.extend_from_slice(path);
        text.push(b'\n');
    }
    tree.write(&list_path(qualified_name), text, 0o644)
}

/// Takes paths out of a package's list.
pub fn shorten_list(tree: &Rooted, qualified_name: &str, gone: impl Fn(&[u8]) -> bool) -> Result<()> {
    let old = tree.read_if_there(&list_path(qualified_name))?.unwrap_or_default();
    let paths = old.split(|byte| *byte == b'\n').filter(|path| !path.is_empty() && !gone(path));
    write_list(tree, qualified_name, paths)
}

/// Writes a control file to `info/`; `folder` is somewhere else for a package whose preinst runs first.
pub fn write_control_file(tree: &Rooted, path: &RootPath, file: &ControlFile) -> Result<()> {
    tree.write(path, &file.content, 0o600)?;
    if (file.uid, file.gid) != (0, 0) {
        tree.set_owner(path, file.uid, file.gid)?;
    }
    tree.set_mode(path, file.mode)?;
    tree.set_mtime(path, file.mtime)
}

/// Where a control file of a package belongs.
pub fn info_path(qualified_name: &str, file: &str) -> RootPath {
    path("info").join(format!("{qualified_name}.{file}"))
}

fn paragraphs(status: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    for line in status.split_inclusive(|byte| *byte == b'\n') {
        if line.trim_ascii().is_empty() {
            if at > start {
                found.push(&status[start..at]);
            }
            start = at + line.len();
        }
        at += line.len();
    }
    if at > start {
        found.push(&status[start..at]);
    }
    found
}

/// Fields that dpkg knows, in the order in which it writes them; `Status` and `Conffiles` come from elsewhere.
const ORDER: [&str; 24] = [
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
];

/// Fields of an archive's control file that never reach `status`.
const NEVER: [&str; 8] = [
    "Config-Version",
    "Filename",
    "Size",
    "MD5sum",
    "MSDOS-Filename",
    "Triggers-Pending",
    "Triggers-Awaited",
    "Description",
];

fn paragraph(control: &Control, conffiles: &[Conffile]) -> Vec<u8> {
    let stanza = &control.stanza;
    let mut text = Vec::new();
    for field in ORDER {
        match field {
            "Status" => text.extend_from_slice(b"Status: install ok unpacked\n"),
            "Conffiles" if conffiles.is_empty() => {}
            "Conffiles" => {
                text.extend_from_slice(b"Conffiles:\n");
                for conffile in conffiles {
                    text.extend_from_slice(&[b" ", conffile.path.as_slice(), b" ", conffile.hash.as_bytes()].concat());
                    text.extend_from_slice(if conffile.obsolete { b" obsolete" } else { b"" });
                    let remove = conffile.flag == ConffileFlag::RemoveOnUpgrade;
                    text.extend_from_slice(if remove { b" remove-on-upgrade\n" } else { b"\n" });
                }
            }
            _ => add(&mut text, field, value(stanza, field)),
        }
    }
    add(&mut text, "Description", stanza.get("Description").map(str::to_string));
    let known = |name: &str| ORDER.iter().chain(&NEVER).any(|field| field.eq_ignore_ascii_case(name));
    for (name, value) in stanza.fields().filter(|(name, _)| !known(name)) {
        add(&mut text, name, Some(value.to_string()));
    }
    text
}

/// A field as dpkg writes it; `None` where it writes none.
fn value(stanza: &Stanza, field: &str) -> Option<String> {
    let value = stanza.get(field)?;
    match field {
        "Essential" | "Protected" => value.trim().eq_ignore_ascii_case("yes").then(|| "yes".to_string()),
        "Multi-Arch" => {
            let value = value.trim().to_ascii_lowercase();
            (value != "no").then_some(value)
        }
        "Priority" => Some(value.trim().to_ascii_lowercase()),
        _ => (!value.is_empty()).then(|| value.to_string()),
    }
}

fn add(text: &mut Vec<u8>, field: &str, value: Option<String>) {
    if let Some(value) = value {
        text.extend_from_slice(format!("{field}: {}\n", value.trim_end().replace('\n', "\n ")).as_bytes());
    }
}
