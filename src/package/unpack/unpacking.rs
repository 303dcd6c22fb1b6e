//! The sequential half: one package after the other, as dpkg does it.
//!
//! In: staged packages, in the order of [`super::order`]. Out: the tree and its database, each package `unpacked`.
//! Follows dpkg's own sequence: activations, conffiles, preinst, files, lists, interests, control files, status. What
//! dpkg would do differently from the usual goes to the real dpkg, and the log says so.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use super::archive::Readable;
use super::configuration::Configuration;
use super::conflict::{Verdict, verdict};
use super::control::{ConffileFlag, Control};
use super::database::{self, Conffile, Database, State};
use super::names::split;
use super::order::{Dependencies, Tree};
use super::overrides::{Overrides, Permissions};
use super::owners::Number;
use super::placing::{Placed, Placing};
use super::script;
use super::staging::{Entry, Item, Owner, Staged};
use super::sums::Sums;
use super::triggers::Triggers;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::folder::{Folder, There};
use crate::host::rooted::{RootPath, Rooted};
use crate::host::sandbox::Sandbox;
use crate::package::Package;
use crate::package::deb822::Stanza;
use crate::report::Reporter;

/// Why a package goes to the real dpkg.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unusual {
    /// Another version, or what was left of one, is in the tree.
    Upgrade(State),
    /// The same package of another architecture is there.
    OtherInstance,
    /// Another package of the tree must be deconfigured first.
    Displaces(String),
    /// Its data archive is in a form that only dpkg reads.
    Compression,
    /// dpkg's configuration in the tree has this line.
    Configured(String),
    /// A conffile that an upgrade is to remove is in the package, which dpkg refuses.
    RemovedConffile(Box<[u8]>),
    /// dpkg would have to look whether this package is replaced completely.
    MayVanish(String),
    /// A path occurs as two different things.
    Twice(Box<[u8]>),
    /// The conffile's path is a symlink in the tree.
    ConffileSymlink(Box<[u8]>),
    /// Diversions or stat overrides came after its files were placed.
    Overridden(Box<[u8]>),
}

impl fmt::Display for Unusual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusual::Upgrade(state) => write!(f, "it is in the tree already ({state:?})"),
            Unusual::OtherInstance => f.write_str("it is in the tree for another architecture"),
            Unusual::Displaces(other) => write!(f, "it cannot be beside the {other} that is in the tree"),
            Unusual::Compression => f.write_str("its compression is not one of gzip, xz, zstd"),
            Unusual::Configured(line) => write!(f, "dpkg's configuration in the tree says `{line}`"),
            Unusual::RemovedConffile(path) => write!(f, "{} is in it and to be removed", path.escape_ascii()),
            Unusual::MayVanish(other) => write!(f, "it may replace {other} completely"),
            Unusual::Twice(path) => write!(f, "{} is in it as two things", path.escape_ascii()),
            Unusual::ConffileSymlink(path) => {
                write!(f, "its conffile {} is a symlink in the tree", path.escape_ascii())
            }
            Unusual::Overridden(path) => write!(f, "{} was diverted or overridden meanwhile", path.escape_ascii()),
        }
    }
}

/// A package that is being unpacked: everything about it in one place.
pub struct Subject<'a> {
    /// As the solver has it.
    pub package: &'a Package,
    /// Its control archive.
    pub control: &'a Control,
    /// Whether we can read its data archive.
    pub readable: Readable,
}

/// What is known when a package's files are in place.
#[derive(Debug, Default)]
struct Outcome {
    /// The package's paths in the archive's order, and whether it brought what is there.
    list: Vec<(Box<[u8]>, Placed)>,
    /// Packages that had a path when it was placed, and the path.
    losers: BTreeSet<(Number, Box<[u8]>)>,
    /// Conffiles whose place another package keeps.
    kept_conffiles: BTreeSet<Box<[u8]>>,
    /// `md5sums` for a package that brings none.
    md5sums: Vec<u8>,
    /// Why the real dpkg is to do it again.
    unusual: Option<Unusual>,
}

/// How files are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// As dpkg unpacks.
    Unpack,
    /// As a plain extraction, too, which comes before dpkg in an empty tree: conffiles are there under their own name
    /// (scripts of essential packages may need them before they are configured; dpkg sees that both are the same),
    /// and a symlink that is there already gets the package's time.
    LayOut,
}

/// The tree and everything that dpkg knows about it.
pub struct Unpacking<'a> {
    tree: &'a Rooted,
    sandbox: &'a Sandbox,
    reporter: &'a Reporter,
    database: Database,
    overrides: Overrides,
    configuration: Configuration,
    triggers: Triggers,
    placing: Placing<'a>,
    /// File triggers that a configured package hears.
    heard: HashSet<Vec<u8>>,
    /// Packages whose files are placed and that dpkg's database does not have yet.
    placed: BTreeMap<Number, Outcome>,
    /// The folder where a package's archive is shown to the real dpkg.
    shown_in: RootPath,
    dpkg_version: String,
}

impl<'a> Unpacking<'a> {
    /// Reads the tree's state. `shown_in` is a folder of the tree in which no packages' names are used.
    pub fn begin(
        tree: &'a Rooted,
        sandbox: &'a Sandbox,
        reporter: &'a Reporter,
        shown_in: RootPath,
    ) -> Result<Unpacking<'a>> {
        database::prepare(tree)?;
        let mut unpacking = Unpacking {
            tree,
            sandbox,
            reporter,
            database: Database::read(tree)?,
            overrides: Overrides::read(tree)?,
            configuration: Configuration::read(tree)?,
            triggers: Triggers::read(tree)?,
            placing: Placing::new(tree),
            heard: HashSet::new(),
            placed: BTreeMap::new(),
            shown_in,
            dpkg_version: String::new(),
        };
        unpacking.listen();
        Ok(unpacking)
    }

    /// Whether the tree can run dpkg.
    pub fn state_of_tree(&self) -> Tree {
        if self.database.is_configured("dpkg") { Tree::Bootstrapped } else { Tree::Empty }
    }

    /// The fields of the packages that the tree has configured.
    pub fn configured(&self) -> Vec<Stanza> {
        self.database.configured()
    }

    /// The version that maintainer scripts are told, where the tree has no dpkg yet.
    pub fn dpkg_is(&mut self, version: &str) {
        self.dpkg_version = version.to_string();
    }

    /// Places a package's files without running anything.
    pub fn place(&mut self, subject: &Subject, staged: Staged, folder: &Folder) -> Result<()> {
        let number = self.database.number(subject.control);
        let unusual = self.unusual(subject, number, Some(&staged));
        let mut outcome = self.files(subject, number, staged, folder, Manner::LayOut)?;
        outcome.unusual = unusual;
        self.placed.insert(number, outcome);
        Ok(())
    }

    /// Unpacks a package; `staged` gives its content, where it is not placed.
    pub fn unpack(&mut self, subject: &Subject, staged: impl FnOnce() -> Result<(Staged, Folder)>) -> Result<()> {
        let control = subject.control;
        self.reporter.log_line(&format!("unpacking {} ({})", control.qualified_name(), control.version));
        let number = self.database.number(control);
        let placed = self.placed.remove(&number);
        let staged = match (&placed, self.unusual(subject, number, None)) {
            (Some(outcome), _) => {
                if let Some(unusual) = outcome.unusual.clone().or_else(|| self.overridden(control, outcome)) {
                    return self.hand_over(subject, number, &unusual);
                }
                None
            }
            (None, Some(unusual)) => return self.hand_over(subject, number, &unusual),
            (None, None) => {
                let staged = staged()?;
                if let Some(unusual) = self.unusual(subject, number, Some(&staged.0)) {
                    return self.hand_over(subject, number, &unusual);
                }
                Some(staged)
            }
        };
        let database = &self.database;
        self.triggers.directives(&control.qualified_name(), &control.triggers, |package| database.listens(package));
        let conffiles = self.conffiles(control);
        if script::has_effective_preinst(control) {
            self.database.half_installed(number, control);
            self.write()?;
            script::preinst(self.tree, self.sandbox, self.reporter, control, &self.dpkg_version)?;
            self.look_again()?;
        }
        let outcome = match (placed, staged) {
            (Some(outcome), _) => match self.overridden(control, &outcome) {
                Some(unusual) => return self.hand_over(subject, number, &unusual),
                None => outcome,
            },
            (None, Some((staged, folder))) => self.files(subject, number, staged, &folder, Manner::Unpack)?,
            (None, None) => return Err(Error::cannot(Exit::Bug, format!("find the content of {}", control.name))),
        };
        self.register(control, number, outcome, conffiles)
    }

    /// Lets the real dpkg configure packages that are unpacked.
    pub fn configure(&mut self, names: &[&str], dependencies: Dependencies) -> Result<()> {
        self.write()?;
        script::dpkg_configures(self.sandbox, self.reporter, names, dependencies)?;
        self.database.read_status(self.tree)?;
        // dpkg reads it when it begins, and the plain way begins it anew for what follows.
        self.configuration = Configuration::read(self.tree)?;
        self.look_again()
    }

    /// Writes the database for whoever looks at it next.
    pub fn write(&mut self) -> Result<()> {
        self.triggers.write(self.tree)?;
        self.database.write(self.tree)
    }

    /// A script or dpkg ran.
    fn look_again(&mut self) -> Result<()> {
        self.placing.forget();
        self.overrides = Overrides::read(self.tree)?;
        self.listen();
        Ok(())
    }

    fn listen(&mut self) {
        let database = &self.database;
        self.heard = self.triggers.heard(|package| database.listens(package));
        if let Some(dpkg) = self.database.instances("dpkg").next() {
            self.dpkg_version = self.database.package(dpkg).version.clone();
        }
    }

    fn unusual(&mut self, subject: &Subject, number: Number, staged: Option<&Staged>) -> Option<Unusual> {
        let known = self.database.package(number);
        if known.state != State::NotInstalled {
            return Some(Unusual::Upgrade(known.state));
        }
        let others = self.database.instances(&subject.control.name).filter(|other| *other != number);
        if others.into_iter().any(|other| self.database.package(other).state > State::ConfigFiles) {
            return Some(Unusual::OtherInstance);
        }
        if let Some(other) = self.database.displaced_by(subject.control) {
            return Some(Unusual::Displaces(format!("{} {}", other.name, other.version)));
        }
        if subject.readable == Readable::ByDpkgOnly {
            return Some(Unusual::Compression);
        }
        if let Some(line) = self.configuration.foreign() {
            return Some(Unusual::Configured(line.to_string()));
        }
        let staged = staged?;
        let paths = || staged.entries.iter().map(|entry| &*entry.path);
        if let Some(other) = self.database.owners.would_vanish(paths(), number) {
            return Some(Unusual::MayVanish(self.database.package(other).name.clone()));
        }
        let mut kinds: BTreeMap<&[u8], std::mem::Discriminant<Item>> = BTreeMap::new();
        let twice = staged.entries.iter().find(|entry| {
            let kind = std::mem::discriminant(&entry.item);
            kinds.insert(&entry.path, kind).is_some_and(|old| old != kind)
        });
        if let Some(entry) = twice {
            return Some(Unusual::Twice(entry.path.clone()));
        }
        let name = &subject.control.name;
        for line in &subject.control.conffiles {
            let path = line.path.as_slice();
            if line.flag == ConffileFlag::RemoveOnUpgrade && kinds.contains_key(path) {
                return Some(Unusual::RemovedConffile(path.into()));
            }
            let place = self.overrides.place_of(path, name);
            if matches!(self.placing.there(place), Ok(There::Symlink)) {
                return Some(Unusual::ConffileSymlink(path.into()));
            }
        }
        None
    }

    /// Whether diversions or stat overrides appeared that concern files that were placed before.
    fn overridden(&self, control: &Control, outcome: &Outcome) -> Option<Unusual> {
        let mut touched = outcome.list.iter().filter(|(path, _)| self.overrides.touches(path, &control.name));
        touched.next().map(|(path, _)| Unusual::Overridden(path.clone()))
    }

    fn hand_over(&mut self, subject: &Subject, number: Number, unusual: &Unusual) -> Result<()> {
        let name = subject.control.qualified_name();
        self.reporter.log_line(&format!("{name} is unpacked by the real dpkg: {unusual}"));
        if !matches!(unusual, Unusual::Upgrade(_)) {
            self.database.not_installed(number);
        }
        self.write()?;
        let shown_at = self.shown_in.join(&subject.package.name);
        script::dpkg_unpacks(self.tree, self.sandbox, self.reporter, subject.package, &shown_at)?;
        let mut database = Database::read(self.tree)?;
        for (number, mut outcome) in std::mem::take(&mut self.placed) {
            let number = database.carry(self.database.package(number).clone());
            outcome.list.iter().for_each(|(path, _)| database.owners.add(path, number));
            let losers = std::mem::take(&mut outcome.losers).into_iter();
            outcome.losers =
                losers.map(|(loser, path)| (database.carry(self.database.package(loser).clone()), path)).collect();
            self.placed.insert(number, outcome);
        }
        self.database = database;
        self.triggers = Triggers::read(self.tree)?;
        self.look_again()
    }

    /// The package's conffiles as dpkg records them before any is placed: a hash known from another package that has
    /// the file goes along.
    fn conffiles(&self, control: &Control) -> Vec<Conffile> {
        let known = |path: &[u8]| {
            let owners = self.database.owners.of(path).iter();
            let mut conffiles = owners.flat_map(|owner| &self.database.package(*owner).conffiles);
            conffiles.find(|conffile| conffile.path == path).map(|conffile| conffile.hash.clone())
        };
        let lines = control.conffiles.iter().map(|line| Conffile {
            hash: known(&line.path).unwrap_or_else(|| "newconffile".into()),
            path: line.path.clone(),
            obsolete: false,
            flag: line.flag,
        });
        lines.collect()
    }

    /// Places everything that the package gets.
    fn files(
        &mut self,
        subject: &Subject,
        number: Number,
        staged: Staged,
        folder: &Folder,
        manner: Manner,
    ) -> Result<Outcome> {
        let control = subject.control;
        let lines = control.conffiles.iter().filter(|line| line.flag == ConffileFlag::Shipped);
        let shipped: HashSet<&[u8]> = lines.map(|line| line.path.as_slice()).collect();
        let putting = Putting { shipped: &shipped, owners: &staged.owners, folder, manner };
        let (mut outcome, mut sums) = (Outcome::default(), Sums::default());
        let quiet = if manner == Manner::LayOut { quiet_folders(&staged.entries) } else { HashSet::new() };
        let mut times = Vec::new();
        for entry in staged.entries {
            if self.overrides.is_taken(&entry.path) {
                let why = format!("{} is where a diverted file of another package goes", entry.path.escape_ascii());
                return Err(Error::cannot(Exit::Description, format!("unpack {}", control.name)).because(why));
            }
            let place = self.overrides.place_of(&entry.path, &control.name).to_vec();
            if self.heard.contains(&place) {
                self.triggers.file(&place, &control.qualified_name());
            }
            let what = || format!("unpack {}: place {} in the image", control.name, entry.path.escape_ascii());
            let is_conffile = shipped.contains(&*entry.path);
            if self.stays_with_others(control, number, &entry, &place, is_conffile)? {
                if is_conffile {
                    outcome.kept_conffiles.insert(entry.path);
                }
                continue;
            }
            let placed = match self.configuration.leaves_out(&entry) {
                true => Placed::LeftOut,
                false => self.put(control, &entry, &place, &putting).or_cannot(what)?,
            };
            if placed == Placed::New && quiet.contains(&entry.path) {
                times.push((place, entry.mtime));
            }
            if placed == Placed::New {
                outcome.losers.extend(self.losers(control, number, &entry.path));
                sums.add(&entry);
            }
            self.database.owners.add(&entry.path, number);
            outcome.list.push((entry.path, placed));
        }
        for (place, mtime) in times {
            let set = self.placing.at(&place).and_then(|(folder, name)| folder.set_mtime(name, mtime));
            set.or_cannot(|| format!("set the time of {}", place.escape_ascii()))?;
        }
        outcome.md5sums = sums.text();
        Ok(outcome)
    }

    /// Whether another package has the path and keeps it. A path that two packages claim is 65.
    fn stays_with_others(
        &mut self,
        control: &Control,
        number: Number,
        entry: &Entry,
        place: &[u8],
        is_conffile: bool,
    ) -> Result<bool> {
        let others: Vec<Number> =
            self.database.owners.of(&entry.path).iter().copied().filter(|other| *other != number).collect();
        if others.is_empty() {
            return Ok(false);
        }
        let what = || format!("unpack {}: look at {}", control.name, entry.path.escape_ascii());
        let shared = match &entry.item {
            // A folder that is missing counts as shared, too.
            Item::Folder => {
                self.placing.is_folder(place) || self.placing.there(place).or_cannot(what)? == There::Nothing
            }
            Item::Symlink(target) => self.placing.symlink_stays(place, target).or_cannot(what)?,
            _ => false,
        };
        if shared {
            return Ok(false);
        }
        let mut keep = false;
        for other in others {
            let old = self.database.package(other);
            let diverted = self.overrides.diverted(&entry.path);
            match verdict(control, old, &entry.path, diverted, is_conffile) {
                Verdict::Place | Verdict::Replace => {}
                Verdict::Keep => keep = true,
                Verdict::Conflict => {
                    let what = format!("unpack {} {}", control.name, control.version);
                    let why = format!("{} is also in {} {}", entry.path.escape_ascii(), old.name, old.version);
                    return Err(Error::cannot(Exit::Description, what)
                        .because(why)
                        .hint("leave one of the two packages out"));
                }
            }
        }
        Ok(keep)
    }

    /// Places one entry.
    fn put(
        &mut self,
        control: &Control,
        entry: &Entry,
        place: &[u8],
        putting: &Putting,
    ) -> crate::host::folder::Result<Placed> {
        let owner = &putting.owners[entry.owner];
        let (uid, gid) = self.overrides.owner(owner);
        let usual = Permissions { uid, gid, mode: entry.mode };
        let wanted = self.overrides.permissions(&entry.path).unwrap_or(usual);
        let is_conffile = putting.shipped.contains(&*entry.path);
        let new = if is_conffile { [place, NEW].concat() } else { place.to_vec() };
        let placed = match &entry.item {
            Item::Folder => self.placing.folder(place, wanted.mode)?,
            Item::File { number, .. } => {
                self.placing.file(putting.folder, number.to_string().as_bytes(), &new)?;
                let staged = Permissions { uid: owner.uid, gid: owner.gid, mode: entry.mode };
                if wanted != staged {
                    let (folder, name) = self.placing.at(&new)?;
                    folder.set_owner(name, wanted.uid, wanted.gid)?;
                    folder.set_mode(name, wanted.mode)?;
                }
                if is_conffile && putting.manner == Manner::LayOut {
                    self.placing.second_name(&new, place)?;
                }
                return Ok(Placed::New);
            }
            Item::Symlink(target) => self.placing.symlink(&new, target)?,
            Item::HardLink(target) => {
                let mut source = self.overrides.place_of(target, &control.name).to_vec();
                if putting.shipped.contains(&**target) {
                    source.extend_from_slice(NEW);
                }
                let (source, old) = self.placing.at(&source)?;
                self.placing.other(&new, |folder, name| source.link_to(old, folder, name))?;
                Placed::New
            }
            Item::Node(kind) => {
                self.placing.other(&new, |folder, name| folder.make_node(name, kind, wanted.mode))?;
                Placed::New
            }
        };
        if placed == Placed::New {
            let (folder, name) = self.placing.at(&new)?;
            // In a setgid folder it has that folder's group until now.
            folder.set_owner(name, wanted.uid, wanted.gid)?;
            if !matches!(entry.item, Item::Symlink(_)) {
                folder.set_mode(name, wanted.mode)?;
            }
            folder.set_mtime(name, entry.mtime)?;
        } else if putting.manner == Manner::LayOut
            && matches!(entry.item, Item::Symlink(_))
            && self.placing.there(&new)? == There::Symlink
        {
            let (folder, name) = self.placing.at(&new)?;
            folder.set_mtime(name, entry.mtime)?;
        }
        Ok(placed)
    }

    /// Everything that follows when the files are in place: lists, interests, control files, status.
    fn register(
        &mut self,
        control: &Control,
        number: Number,
        outcome: Outcome,
        mut conffiles: Vec<Conffile>,
    ) -> Result<()> {
        let name = control.qualified_name();
        database::write_list(self.tree, &name, outcome.list.iter().map(|(path, _)| &**path))?;
        self.triggers.interests(&name, &control.triggers);
        for file in control.files.iter().filter(|file| !file.name.contains('.') && file.name != "list") {
            let path = database::info_path(&name, &file.name);
            database::write_control_file(self.tree, &path, file)?;
            if file.name == "preinst" && file.mode & 0o555 != 0o555 {
                // It was run.
                self.tree.set_mode(&path, 0o755)?;
            }
        }
        if !control.has("md5sums") {
            self.tree.write(&database::info_path(&name, "md5sums"), &outcome.md5sums, 0o644)?;
        }
        for conffile in &mut conffiles {
            conffile.obsolete |= outcome.kept_conffiles.contains(conffile.path.as_slice());
        }
        self.database.unpacked(number, control, conffiles);
        self.take_over(control, &outcome)
    }

    /// The packages that lose a path which this one placed.
    fn losers(&self, control: &Control, number: Number, path: &[u8]) -> Vec<(Number, Box<[u8]>)> {
        let owners = self.database.owners.of(path);
        if owners.iter().all(|owner| *owner == number) {
            return Vec::new();
        }
        let diverted_by = self.overrides.diverted(path).flatten();
        if diverted_by == Some(control.name.as_str()) {
            return Vec::new();
        }
        let loses =
            |other: &Number| *other != number && diverted_by != Some(self.database.package(*other).name.as_str());
        owners.iter().copied().filter(loses).map(|other| (other, path.into())).collect()
    }

    /// Takes what the package placed out of other packages' lists.
    fn take_over(&mut self, control: &Control, outcome: &Outcome) -> Result<()> {
        if outcome.losers.is_empty() {
            return Ok(());
        }
        let placed = outcome.list.iter().filter(|(_, placed)| *placed == Placed::New).map(|(path, _)| &**path);
        let gone: HashSet<&[u8]> = placed.collect();
        for (other, path) in &outcome.losers {
            if control.conffiles.iter().any(|line| line.path == **path) {
                self.database.package_mut(*other).mark_obsolete(path);
            }
        }
        for other in outcome.losers.iter().map(|(other, _)| *other).collect::<BTreeSet<_>>() {
            let name = self.database.package(other).qualified_name();
            database::shorten_list(self.tree, &name, |path| gone.contains(path))?;
            gone.iter().for_each(|path| self.database.owners.remove(path, other));
        }
        Ok(())
    }
}

/// What placing the entries of one package needs.
struct Putting<'p> {
    shipped: &'p HashSet<&'p [u8]>,
    owners: &'p [Owner],
    folder: &'p Folder,
    manner: Manner,
}

/// What conffiles are called until they are configured.
const NEW: &[u8] = b".dpkg-new";

/// Folders that a package brings with nothing but folders in them. An extraction leaves the package's time on them; on
/// others dpkg, which unpacks over it, leaves the time at which it renamed a file in them.
fn quiet_folders(entries: &[Entry]) -> HashSet<Box<[u8]>> {
    let others = entries.iter().filter(|entry| entry.item != Item::Folder);
    let busy: HashSet<&[u8]> = others.filter_map(|entry| split(&entry.path)).map(|(above, _)| above).collect();
    let folders = entries.iter().filter(|entry| entry.item == Item::Folder && !busy.contains(&*entry.path));
    folders.map(|entry| entry.path.clone()).collect()
}
