//! `ingot cache`: looking after packages and stages that are kept between builds.
//!
//! In: a cache folder. Out: a listing, or what was removed. Never touches what a running build is writing.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde_json::json;

use super::parse_size;
use super::say::print_line;
use crate::bytes::Bytes;
use crate::cache::{PackageStore, StageStore, managers};
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
        /// What stages may take, what packages may take, and what zypper, dnf and pacman may keep: each of them
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

fn list(cache: &CacheFolder, as_json: bool) -> Result<u8> {
    let (stages, packages) = open(cache)?;
    let (listed, packages) = (stages.list()?, packages.list()?);
    let kept = managers::list(&cache.folder())?;
    let of_managers = kept.iter().map(|folder| folder.size).sum::<Bytes>();
    let size = packages.iter().map(|(_, size)| *size).sum::<Bytes>();
    if as_json {
        let packages = json!({"count": packages.len(), "size": size});
        let all = json!({
            "stages": listed,
            "packages": packages,
            "managers": {"count": kept.len(), "size": of_managers},
        });
        print_line(format_args!("{all:#}"))?;
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
    let (stages, archives) = (listed.len(), packages.len());
    let other = match kept.len() {
        0 => String::new(),
        count => format!("; {count} folders of zypper, dnf and pacman, {of_managers}"),
    };
    print_line(format_args!("{stages} stages, {taken}; {archives} packages, {size}{other}"))?;
    Ok(0)
}

fn collect(cache: &CacheFolder, limit: Bytes) -> Result<u8> {
    let (stages, packages) = open(cache)?;
    let stages: Vec<Bytes> = stages.collect(limit)?.into_iter().map(|stage| stage.size).collect();
    let packages = packages.collect(limit)?;
    let kept = managers::collect(&cache.folder(), limit)?;
    let size = stages.iter().chain(&packages).chain(&kept).copied().sum::<Bytes>();
    let (stages, packages) = (stages.len(), packages.len());
    let other = match kept.len() {
        0 => String::new(),
        count => format!(", {count} folders of zypper, dnf and pacman"),
    };
    print_line(format_args!("removed {stages} stages and {packages} packages{other}, {size}"))?;
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
    let packages = packages.verify()?;
    for (name, _) in packages.iter().filter(|(_, good)| !good) {
        damaged += 1;
        print_line(format_args!("removed a damaged package: {name}"))?;
    }
    print_line(format_args!(
        "{} stages and {} packages were read, {damaged} were damaged",
        stages.len(),
        packages.len()
    ))?;
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
