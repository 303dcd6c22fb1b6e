//! `ingot cache`: looking after everything that is kept between builds.
//!
//! In: a cache folder. Out: a listing, or what was removed. Never touches what a running build is writing.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde_json::json;

use super::parse_size;
use super::say::print_line;
use crate::bytes::Bytes;
use crate::cache::files::Entry;
use crate::cache::{PackageStore, StageStore, UnpackedStore, bases, managers, results};
use crate::error::{Error, Exit, Result};
use crate::host;

/// Where packages and stages are kept between builds.
#[derive(Debug, Args)]
pub struct CacheFolder {
    /// The cache; default: /var/cache/ingot for root, else ~/.cache/ingot
    #[arg(long, value_name = "DIR", env = "INGOT_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// For ~/.config and ~/.cache.
    #[arg(long, env = "HOME", hide = true)]
    pub home: Option<PathBuf>,
    /// For the cache.
    #[arg(long, env = "XDG_CACHE_HOME", hide = true)]
    pub cache_home: Option<PathBuf>,
}

impl CacheFolder {
    /// The user's home.
    pub fn home(&self) -> PathBuf {
        self.home.clone().unwrap_or_else(|| PathBuf::from("/"))
    }

    /// The folder that was meant.
    pub fn folder(&self) -> PathBuf {
        match &self.cache_dir {
            Some(folder) => folder.clone(),
            None if host::is_root() => "/var/cache/ingot".into(),
            None => self.cache_home.clone().unwrap_or_else(|| self.home().join(".cache")).join("ingot"),
        }
    }
}

/// `ingot cache`.
#[derive(Debug, Args)]
pub struct CacheArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: CacheCommand,
}

/// What can be done with the cache.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show what is in it, the most recently used first
    List {
        /// Where it is.
        #[command(flatten)]
        cache: CacheFolder,
        /// Print everything as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove the least recently used, until no more than a limit is taken
    Gc {
        /// Where it is.
        #[command(flatten)]
        cache: CacheFolder,
        /// What each kind of what is kept may take: stages, packages, containers and so on
        #[arg(long, value_name = "SIZE", default_value = "20G", value_parser = parse_size)]
        limit: Bytes,
    },
    /// Read everything through and remove what is damaged; exit code 1 where something was
    Verify {
        /// Where it is.
        #[command(flatten)]
        cache: CacheFolder,
    },
}

/// Carries it out.
pub fn run(arguments: CacheArguments) -> Result<u8> {
    match arguments.command {
        CacheCommand::List { cache, json } => list(&cache, json),
        CacheCommand::Gc { cache, limit } => collect(&cache, limit),
        CacheCommand::Verify { cache } => verify(&cache),
    }
}

/// The two stores that have a form of their own.
fn open(cache: &CacheFolder) -> Result<(StageStore, PackageStore)> {
    let folder = cache.folder();
    // A listing of what is not there makes no folder.
    if !host::file::is_folder(&folder) {
        return Err(Error::cannot(Exit::InputMissing, format!("look at the cache in {}", folder.display()))
            .because("there is no such folder")
            .hint("`--cache-dir` names another one"));
    }
    Ok((StageStore::open(&folder, Bytes(u64::MAX))?, PackageStore::open(&folder)?))
}

/// What is kept beside stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Packages,
    Unpacked,
    Unfinished,
    Managers,
    Containers,
    Results,
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::Packages, Kind::Unpacked, Kind::Unfinished, Kind::Managers, Kind::Containers, Kind::Results];

    /// Its name in JSON.
    fn key(self) -> &'static str {
        match self {
            Kind::Packages => "packages",
            Kind::Unpacked => "unpacked",
            Kind::Unfinished => "unfinished",
            Kind::Managers => "managers",
            Kind::Containers => "containers",
            Kind::Results => "results",
        }
    }

    /// What several of them are called.
    fn name(self) -> &'static str {
        match self {
            Kind::Packages => "packages",
            Kind::Unpacked => "packages as they unpack fastest",
            Kind::Unfinished => "unfinished downloads",
            Kind::Managers => "folders of apt, zypper, dnf and pacman",
            Kind::Containers => "containers",
            Kind::Results => "notes of what was published",
        }
    }

    /// Where they are, below the cache folder.
    fn folders(self) -> &'static [&'static str] {
        match self {
            Kind::Packages => &["packages/sha256"],
            Kind::Unpacked => &["packages/unpacked"],
            Kind::Unfinished => &["packages/incoming"],
            Kind::Managers => &managers::FAMILIES,
            Kind::Containers => &["bases"],
            Kind::Results => &["results"],
        }
    }

    /// What each of them takes.
    fn sizes(self, cache: &Path, packages: &PackageStore) -> Result<Vec<Bytes>> {
        let sizes = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.size).collect();
        Ok(match self {
            Kind::Packages => packages.list()?.into_iter().map(|(_, size)| size).collect(),
            Kind::Unpacked => sizes(UnpackedStore::read_only(cache).list()?),
            Kind::Unfinished => sizes(packages.unfinished()?),
            Kind::Managers => managers::list(cache)?.into_iter().map(|folder| folder.size).collect(),
            Kind::Containers => sizes(bases::list(cache)?),
            Kind::Results => sizes(results::list(cache)?),
        })
    }

    /// Removes the least recently used until no more than `limit` is taken; what nobody finished goes in any case. Returns
    /// what each of those took that went.
    fn collect(self, cache: &Path, packages: &PackageStore, limit: Bytes) -> Result<Vec<Bytes>> {
        match self {
            Kind::Packages => packages.collect(limit),
            Kind::Unpacked => UnpackedStore::open(cache, limit)?.shrink(),
            Kind::Unfinished => packages.collect_unfinished(),
            Kind::Managers => managers::collect(cache, limit),
            Kind::Containers => bases::collect(cache, limit),
            Kind::Results => results::collect(cache, limit),
        }
    }

    /// Reads all of them through and removes those that are damaged. Returns names, and whether each was good; `None` where
    /// only the build that uses one can tell.
    fn verify(self, cache: &Path, packages: &PackageStore) -> Result<Option<Vec<(String, bool)>>> {
        Ok(match self {
            Kind::Packages => Some(packages.verify()?),
            Kind::Unpacked => Some(UnpackedStore::read_only(cache).verify()?),
            Kind::Containers => Some(bases::verify(cache)?),
            Kind::Results => Some(results::verify(cache)?),
            Kind::Unfinished | Kind::Managers => None,
        })
    }
}

fn list(cache: &CacheFolder, as_json: bool) -> Result<u8> {
    let (stages, packages) = open(cache)?;
    let listed = stages.list()?;
    let kinds = Kind::ALL.into_iter().map(|kind| Ok((kind, kind.sizes(&cache.folder(), &packages)?)));
    let kinds = kinds.collect::<Result<Vec<(Kind, Vec<Bytes>)>>>()?;
    let total = |sizes: &[Bytes]| sizes.iter().copied().sum::<Bytes>();
    if as_json {
        let mut all = serde_json::Map::from_iter([("stages".to_string(), json!(listed))]);
        for (kind, sizes) in &kinds {
            let about = json!({"count": sizes.len(), "size": total(sizes), "folders": kind.folders()});
            all.insert(kind.key().into(), about);
        }
        print_line(format_args!("{:#}", serde_json::Value::Object(all)))?;
        return Ok(0);
    }
    for stage in &listed {
        let image = if stage.image.is_empty() { "unreadable" } else { &stage.image };
        print_line(format_args!(
            "{:.12}  {:>8}  {}  {:12}  {image}",
            stage.name,
            stage.size.to_string(),
            ago(stage.used),
            stage.stage
        ))?;
    }
    let taken = listed.iter().map(|stage| stage.size).sum::<Bytes>();
    print_line(format_args!("{} stages, {taken}", listed.len()))?;
    for (kind, sizes) in kinds.iter().filter(|(_, sizes)| !sizes.is_empty()) {
        print_line(format_args!("{} {}, {}", sizes.len(), kind.name(), total(sizes)))?;
    }
    Ok(0)
}

fn collect(cache: &CacheFolder, limit: Bytes) -> Result<u8> {
    let (stages, packages) = open(cache)?;
    let gone: Vec<Bytes> = stages.collect(limit)?.into_iter().map(|stage| stage.size).collect();
    let (mut said, mut size) = (vec![format!("{} stages", gone.len())], gone.into_iter().sum::<Bytes>());
    for kind in Kind::ALL {
        let gone = kind.collect(&cache.folder(), &packages, limit)?;
        if !gone.is_empty() {
            said.push(format!("{} {}", gone.len(), kind.name()));
        }
        size += gone.into_iter().sum::<Bytes>();
    }
    print_line(format_args!("removed {}: {size}", said.join(", ")))?;
    Ok(0)
}

fn verify(cache: &CacheFolder) -> Result<u8> {
    let (stages, packages) = open(cache)?;
    let mut damaged = 0;
    let stages = stages.verify()?;
    for (stage, _) in stages.iter().filter(|(_, good)| !good) {
        damaged += 1;
        print_line(format_args!("removed a damaged stage: {} of {} ({})", stage.stage, stage.image, stage.name))?;
    }
    let mut read = vec![format!("{} stages", stages.len())];
    for kind in Kind::ALL {
        let Some(entries) = kind.verify(&cache.folder(), &packages)? else { continue };
        for (name, _) in entries.iter().filter(|(_, good)| !good) {
            damaged += 1;
            print_line(format_args!("removed what was damaged of the {}: {name}", kind.name()))?;
        }
        if !entries.is_empty() {
            read.push(format!("{} {}", entries.len(), kind.name()));
        }
    }
    print_line(format_args!("read {}: {damaged} damaged", read.join(", ")))?;
    Ok(u8::from(damaged > 0))
}

/// How long ago, five characters wide.
#[allow(clippy::disallowed_methods)] // What a person sees; no image does.
fn ago(used: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    match now.saturating_sub(used) {
        seconds @ 0..120 => format!("{seconds:>3} s"),
        seconds @ 120..7200 => format!("{:>3} m", seconds / 60),
        seconds @ 7200..172_800 => format!("{:>3} h", seconds / 3600),
        seconds => format!("{:>3} d", seconds / 86_400),
    }
}
