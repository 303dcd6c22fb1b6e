//! Getting archives into the store.
//!
//! In: what apt chose. Out: verified files in the [`PackageStore`]. Several downloads run at once through apt's own
//! methods (its proxies, passwords and certificates); one that was cut off goes on where it stopped. Never uses an
//! archive whose SHA-256 is not the signed index's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rayon::prelude::*;

use super::apt_folder::Transport;
use super::failure;
use super::repository::Source;
use super::solution::Chosen;
use crate::bytes::Bytes;
use crate::cache::packages::Incoming;
use crate::cache::{PackageStore, Sha256};
use crate::error::{Exit, Result};
use crate::host::file;
use crate::plan::decoded;
use crate::report::Step;

/// How many downloads run at the same time.
const LANES: usize = 4;
/// One start of a download program takes at most so many archives, and fewer where a lane would have nothing to do ...
const BATCH: usize = 12;
/// ... and, more than one only up to so many bytes.
const BATCH_SIZE: Bytes = Bytes::mib(8);

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Archives that the store held already.
    pub stored: usize,
    /// Archives that were downloaded or copied.
    pub downloaded: usize,
}

/// Archives and where the store has them.
type Stored = Vec<(Sha256, PathBuf)>;

/// Makes sure that the store holds every archive; the paths come back by digest.
/// 75 for a mirror that fails, 76 for an archive that is not what was signed.
pub fn fetch(
    chosen: &[Chosen],
    sources: &[Source],
    store: &PackageStore,
    transport: &Transport,
    step: &Step,
) -> Result<(BTreeMap<Sha256, PathBuf>, Fetched)> {
    let mut wanted: Vec<&Chosen> = chosen.iter().collect();
    wanted.sort_by_key(|archive| archive.digest);
    wanted.dedup_by_key(|archive| archive.digest);
    step.total(wanted.len() as u64);
    let look = |archive: &&Chosen| -> Result<(Sha256, Option<PathBuf>)> {
        let path = store.get(archive.digest, archive.size)?;
        if path.is_some() {
            step.advance(1, archive.size.0);
        }
        Ok((archive.digest, path))
    };
    let found: Vec<(Sha256, Option<PathBuf>)> = wanted.par_iter().map(look).collect::<Result<_>>()?;
    let mut paths: BTreeMap<Sha256, PathBuf> =
        found.into_iter().filter_map(|(digest, path)| Some((digest, path?))).collect();
    let stored = paths.len();
    wanted.retain(|archive| !paths.contains_key(&archive.digest));
    let downloaded = wanted.len();
    let batches = Mutex::new(batches(&wanted).into_iter());
    let results: Mutex<Vec<Result<Stored>>> = Mutex::new(Vec::new());
    let next = || batches.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
    std::thread::scope(|scope| {
        for _ in 0..LANES.min(downloaded) {
            scope.spawn(|| {
                while let Some(batch) = next() {
                    let result = batch_into(&batch, sources, store, transport, step);
                    let failed = result.is_err();
                    results.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(result);
                    if failed {
                        while next().is_some() {}
                    }
                }
            });
        }
    });
    for result in results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        paths.extend(result?);
    }
    Ok((paths, Fetched { stored, downloaded }))
}

/// Each batch stays sorted by digest: everybody locks in the same order, so nobody waits for ever.
fn batches<'a>(wanted: &[&'a Chosen]) -> Vec<Vec<&'a Chosen>> {
    let most = wanted.len().div_ceil(LANES).min(BATCH);
    let mut batches: Vec<Vec<&Chosen>> = Vec::new();
    let mut room = Bytes::ZERO;
    for archive in wanted {
        match batches.last_mut().filter(|batch| batch.len() < most && archive.size <= room) {
            Some(batch) => {
                room = room - archive.size;
                batch.push(archive);
            }
            None => {
                room = Bytes(BATCH_SIZE.0.saturating_sub(archive.size.0));
                batches.push(vec![archive]);
            }
        }
    }
    batches
}

fn batch_into(
    batch: &[&Chosen],
    sources: &[Source],
    store: &PackageStore,
    transport: &Transport,
    step: &Step,
) -> Result<Stored> {
    let mut done = Vec::new();
    let mut waiting: Vec<(&Chosen, Incoming)> = Vec::new();
    for archive in batch {
        let incoming = store.receive(archive.digest, archive.size)?;
        // Another build may have fetched it while this one waited.
        match store.get(archive.digest, archive.size)? {
            Some(path) => done.push((archive.digest, path)),
            None => match archive.uri.strip_prefix("file:") {
                Some(path) => {
                    copy(archive, &decoded(path), &incoming, sources)?;
                    done.push((archive.digest, store.accept(incoming, &archive.name)?));
                }
                None => waiting.push((archive, incoming)),
            },
        }
    }
    if !waiting.is_empty() {
        let mut program = transport.helper().arg("download-file");
        for (archive, incoming) in &waiting {
            let digest = format!("SHA256:{}", incoming.digest());
            program = program.arg(&archive.uri).arg(incoming.path()).arg(digest);
        }
        let line = program.line();
        let ended = program.run_to_end(step.reporter(), |line| step.now(line))?;
        if !ended.status.success() {
            for (_, incoming) in &waiting {
                // What apt rejected stands beside it under another name.
                file::remove(&PathBuf::from(format!("{}.FAILED", incoming.path().display())))?;
            }
            return Err(failure::of_transfer("fetch the packages", &line, &ended, sources));
        }
    }
    for (archive, incoming) in waiting {
        done.push((archive.digest, store.accept(incoming, &archive.name)?));
    }
    for archive in batch {
        step.advance(1, archive.size.0);
    }
    Ok(done)
}

fn copy(archive: &Chosen, path: &str, incoming: &Incoming, sources: &[Source]) -> Result<()> {
    file::copy(Path::new(path), incoming.path()).map_err(|error| {
        let source = sources.iter().find(|source| archive.uri.starts_with(&source.url));
        let error = match error.exit() {
            Exit::InputMissing => error.hint("the index names an archive that the folder does not hold"),
            _ => error,
        };
        match source {
            Some(source) => error.at(source.place.clone()),
            None => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_small_and_keep_the_order() {
        let archive = |size: u64| Chosen {
            uri: String::new(),
            name: String::new(),
            version: String::new(),
            arch: String::new(),
            size: Bytes(size),
            digest: Sha256::of(size.to_string()),
        };
        let archives: Vec<Chosen> =
            [1 << 30, 5 << 20, 2 << 20, 3 << 20].into_iter().chain(1..30).map(archive).collect();
        let wanted: Vec<&Chosen> = archives.iter().collect();
        let batches = batches(&wanted);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 9, 9, 9, 3]);
        assert_eq!(batches.concat(), wanted);
        // A few archives are shared out among all lanes.
        assert_eq!(super::batches(&wanted[4..13]).iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3]);
        assert_eq!(super::batches(&wanted[4..6]).iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    }
}
