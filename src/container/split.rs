//! Layers that hold what changes together, so that a registry stores and a host pulls only what changed.
//!
//! In: the pieces of a tree and its package database. Out: [`Division`]s, the lowest first: the packages that every system
//! needs, the other packages by their source, the package database, and on top what no package brought. Laid over each
//! other they give the same tree as one layer. What goes where is decided by names and rough sizes: an update of a package
//! changes its own layer and the database, and no other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::tar::Piece;
use crate::error::{Result, Warning};
use crate::host::rooted::{Entry, RootPath, Rooted};
use crate::package::deb822::Stanza;
use crate::package::dependency::{Follow, Graph};
use crate::package::installed::{self, Installed};
use crate::report::Step;
use crate::scrub::ScrubbedTree;

/// Where package managers keep what they know: it changes with every package.
const DATABASE: &[&str] = &[
    "/usr/lib/sysimage/rpm",
    "/var/cache/apt",
    "/var/cache/debconf",
    "/var/lib/apt",
    "/var/lib/dnf",
    "/var/lib/dpkg",
    "/var/lib/pacman",
    "/var/lib/rpm",
    "/var/lib/zypp",
];

/// What a system of packages that know no `Essential` does not go without. They change rarely, and together.
const BASE: &[&str] = &[
    "aaa_base",
    "basesystem",
    "bash",
    "bash-sh",
    "coreutils",
    "coreutils-single",
    "filesystem",
    "glibc",
    "glibc-common",
    "glibc-minimal-langpack",
    "gcc-libs",
    "iana-etc",
    "libgcc",
    "libgcc_s1",
    "libstdc++",
    "libstdc++6",
    "ncurses-libs",
    "ncurses",
    "readline",
    "setup",
    "system-user-root",
    "tzdata",
];

/// A new layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Division {
    /// What it holds, for people.
    pub what: String,
    /// The pieces, each parent before what is in it.
    pub pieces: Vec<Piece>,
}

/// Divides the pieces into at most `most` layers (at least three: the base, the database, the rest).
pub fn by_packages(tree: &ScrubbedTree, pieces: Vec<Piece>, most: usize, step: &Step) -> Result<Vec<Division>> {
    let owners = owners(tree.tree())?;
    if owners.sources.is_empty() || most < 3 {
        let text = match most < 3 {
            true => "no room for layers by packages: there is one new layer",
            false => "the image has no database that says which package brought what: there is one new layer",
        };
        step.reporter().warn(Warning { text: text.to_string(), place: None });
        return Ok(vec![Division { what: String::new(), pieces }]);
    }
    let groups = owners.groups(&pieces, most - 3);
    // Last of all: the package database, and what no package brought.
    let (database, rest) = (groups.len(), groups.len() + 1);
    let layer_of: BTreeMap<&str, usize> = groups
        .iter()
        .enumerate()
        .flat_map(|(layer, group)| group.sources.iter().map(move |source| (source.as_str(), layer)))
        .collect();
    let place = |path: &RootPath| -> usize {
        if DATABASE.iter().any(|folder| path.is_below(&RootPath::new(folder))) {
            return database;
        }
        owners.source(path).and_then(|source| layer_of.get(source)).copied().unwrap_or(rest)
    };
    let mut places = placed(&pieces, place, rest);
    let shared = shared(&pieces, &mut places, rest);
    let mut divisions: Vec<Division> =
        groups.into_iter().map(|group| Division { what: group.what, pieces: vec![] }).collect();
    divisions.push(Division { what: "the package database".into(), pieces: Vec::new() });
    divisions.push(Division { what: "what no package brought".into(), pieces: Vec::new() });
    fill(&mut divisions, pieces, &places, &shared, rest);
    divisions.retain(|division| !division.pieces.is_empty());
    Ok(divisions)
}

/// The layer of each piece that is no folder. All names of a file are in one layer.
fn placed(pieces: &[Piece], place: impl Fn(&RootPath) -> usize, rest: usize) -> Vec<Option<usize>> {
    let mut places: Vec<Option<usize>> = Vec::with_capacity(pieces.len());
    let mut files: HashMap<(u64, u64), usize> = HashMap::new();
    let mut apart: BTreeSet<(u64, u64)> = BTreeSet::new();
    for piece in pieces {
        let layer = match piece {
            Piece::Whiteout(_) => Some(rest),
            Piece::Whole(entry) | Piece::Shell(entry) if entry.is_folder() => None,
            Piece::Whole(entry) | Piece::Shell(entry) => {
                let layer = place(&entry.path);
                if entry.links > 1 && *files.entry(entry.inode).or_insert(layer) != layer {
                    apart.insert(entry.inode);
                }
                Some(layer)
            }
        };
        places.push(layer);
    }
    for (piece, layer) in pieces.iter().zip(&mut places) {
        if let Piece::Whole(entry) = piece
            && layer.is_some()
            && apart.contains(&entry.inode)
        {
            *layer = Some(rest);
        }
    }
    places
}

/// The layers that have something in each folder. A folder of one layer alone is whole there; an empty one, or one of
/// several layers, is described by the last.
fn shared(pieces: &[Piece], places: &mut [Option<usize>], rest: usize) -> HashMap<RootPath, BTreeSet<usize>> {
    let mut inside: HashMap<RootPath, BTreeSet<usize>> = HashMap::new();
    for (piece, layer) in pieces.iter().zip(places.iter()) {
        let Some(layer) = layer else { continue };
        let mut path = piece.path().clone();
        while path != RootPath::root() {
            path = path.parent();
            if !inside.entry(path.clone()).or_default().insert(*layer) {
                break;
            }
        }
    }
    for (piece, layer) in pieces.iter().zip(places) {
        if layer.is_none() {
            *layer = match inside.get(piece.path()) {
                Some(layers) if layers.len() == 1 => layers.first().copied(),
                _ => Some(rest),
            };
        }
    }
    // Above an empty folder of the last layer, that layer needs the folders, too.
    inside
}

fn fill(
    divisions: &mut [Division],
    pieces: Vec<Piece>,
    places: &[Option<usize>],
    inside: &HashMap<RootPath, BTreeSet<usize>>,
    rest: usize,
) {
    // Which folders the last layer needs for what is in it.
    let mut needed: BTreeSet<RootPath> = BTreeSet::new();
    for (piece, layer) in pieces.iter().zip(places) {
        if *layer == Some(rest) {
            let mut path = piece.path().clone();
            while path != RootPath::root() {
                path = path.parent();
                if !needed.insert(path.clone()) {
                    break;
                }
            }
        }
    }
    for (piece, layer) in pieces.into_iter().zip(places) {
        let layer = layer.unwrap_or(rest);
        if let Piece::Whole(entry) = &piece
            && entry.is_folder()
        {
            let others = inside.get(&entry.path).into_iter().flatten().filter(|other| **other != layer);
            for other in others {
                divisions[*other].pieces.push(Piece::Shell(entry.clone()));
            }
            if layer != rest && needed.contains(&entry.path) {
                divisions[rest].pieces.push(Piece::Whole(entry.clone()));
            }
        }
        divisions[layer].pieces.push(piece);
    }
}

/// Which source brought which path.
struct Owners {
    paths: HashMap<RootPath, String>,
    sources: BTreeSet<String>,
    /// Sources of what every system needs.
    base: BTreeSet<String>,
}

/// Packages that share a layer.
struct Group {
    what: String,
    sources: Vec<String>,
}

fn owners(tree: &Rooted) -> Result<Owners> {
    let packages = installed::read(tree)?;
    let base = base(&packages);
    let mut owners = Owners { paths: HashMap::new(), sources: BTreeSet::new(), base: BTreeSet::new() };
    let mut folders: HashMap<RootPath, RootPath> = HashMap::new();
    for (at, package) in packages.iter().enumerate() {
        let (source, _) = package.source();
        for path in package.paths(tree)? {
            let folder = path.parent();
            let real = folders.entry(folder.clone()).or_insert_with(|| real_folder(tree, &folder)).join(path.name());
            owners.paths.insert(real, source.clone());
        }
        if base.contains(&at) {
            owners.base.insert(source.clone());
        }
        owners.sources.insert(source);
    }
    Ok(owners)
}

/// Places of the packages that every system needs: dpkg's essential ones with what they need, and [`BASE`].
fn base(packages: &[Installed]) -> BTreeSet<usize> {
    let (of_dpkg, stanzas): (Vec<usize>, Vec<&Stanza>) =
        packages.iter().enumerate().filter_map(|(at, package)| package.stanza().map(|stanza| (at, stanza))).unzip();
    let essential = (0..stanzas.len()).filter(|at| stanzas[*at].says_yes("Essential"));
    let needed = Graph::new(stanzas.iter().copied()).closure(essential, Follow::Depends);
    let of_others = |at: &usize| packages[*at].stanza().is_none() && BASE.contains(&packages[*at].name.as_str());
    needed.iter().map(|at| of_dpkg[*at]).chain((0..packages.len()).filter(of_others)).collect()
}

/// A merged /usr: `/lib/x` is `/usr/lib/x`.
fn real_folder(tree: &Rooted, folder: &RootPath) -> RootPath {
    let mut real = RootPath::root();
    for name in folder.relative().split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let next = real.join(name);
        real = match tree.entry(&next).ok().flatten().map(|entry| entry.kind) {
            Some(crate::host::rooted::Kind::Symlink(target)) if target.starts_with(b"/") => RootPath::new(target),
            Some(crate::host::rooted::Kind::Symlink(target)) => real.join(target),
            _ => next,
        };
    }
    real
}

impl Owners {
    fn source(&self, path: &RootPath) -> Option<&str> {
        self.paths.get(path).map(String::as_str)
    }

    /// What every system needs, then the largest sources for themselves, then the others by their names, so that what
    /// shares a layer does not depend on what else is there. `most`: beside the first.
    fn groups(&self, pieces: &[Piece], most: usize) -> Vec<Group> {
        let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
        for piece in pieces {
            if let Piece::Whole(Entry { path, size, .. }) = piece
                && let Some(source) = self.source(path)
            {
                *sizes.entry(source).or_default() += size.0;
            }
        }
        let base: Vec<String> = self.base.iter().cloned().collect();
        let mut others: Vec<&str> = sizes.keys().copied().filter(|source| !self.base.contains(*source)).collect();
        // Rough sizes: an update hardly changes them.
        others.sort_by_key(|source| (std::cmp::Reverse(sizes[source].max(1).ilog2()), *source));
        let mut groups = vec![Group { what: "what every system needs".into(), sources: base }];
        let alone = if others.len() <= most { others.len() } else { most / 2 };
        let (alone, together) = others.split_at(alone);
        groups.extend(alone.iter().map(|source| Group { what: source.to_string(), sources: vec![source.to_string()] }));
        let buckets = most.saturating_sub(alone.len());
        let mut shared: Vec<Vec<String>> = vec![Vec::new(); buckets];
        for source in together {
            match (crc32fast::hash(source.as_bytes()) as usize).checked_rem(buckets) {
                Some(bucket) => shared[bucket].push(source.to_string()),
                None => groups[0].sources.push(source.to_string()),
            }
        }
        for mut sources in shared.into_iter().filter(|sources| !sources.is_empty()) {
            sources.sort();
            groups.push(Group { what: sources.join(", "), sources });
        }
        groups
    }
}
