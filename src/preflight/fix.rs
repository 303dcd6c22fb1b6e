//! `--fix`: what can be repaired without looking into a filesystem.
//!
//! In: an artifact and its targets. Out: the same disk in the same format, padded to a size that the targets take, with both
//! copies of its GPT where they belong; the digests beside it say so. The new file is complete before it takes the old one's
//! place. Never writes into the artifact, never moves or resizes a partition.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Report;
use super::envelope::exactly;
use super::evidence::expand;
use super::form::{self, Format, VmdkKind};
use crate::bytes::Bytes;
use crate::disk::{RawDisk, copies};
use crate::error::{Error, Exit, OrCannot, Result};
use crate::format::{self, Identity};
use crate::host::{file, lock};
use crate::pieces::Pieces;
use crate::plan::{FormatChoice, Seed, Target};
use crate::report::Step;

/// Prefix of the folder that is worked in, beside the artifact.
const PREFIX: &str = ".ingot-preflight-";
/// A partition table and what stands before it lie in so many bytes.
const TABLE: u64 = 64 << 10;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// What was repaired, a sentence each; empty: there was nothing to repair.
    pub done: Vec<String>,
    /// Files beside the artifact that are true again.
    pub updated: Vec<PathBuf>,
    /// Files beside the artifact that are true no more.
    pub stale: Vec<PathBuf>,
}

/// Repairs the artifact at `path` for all of the targets. 65 where that cannot be done, or where the format is not written
/// by this version; then nothing was changed.
pub fn fix(path: &Path, targets: &[Target], work_dir: &Path, step: &Step) -> Result<Fixed> {
    let what = || format!("repair {}", path.display());
    let path = &file::absolute(path)?;
    let form = form::recognise(path).map_err(|error| error.within(what()))?;
    let choice = choice(form.format).ok_or_else(|| {
        Error::cannot(Exit::Description, what())
            .because(format!("it is {}", form.format.name()))
            .hint("disks are repaired: write one of them with `ingot convert` first")
    })?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    format::check(&choice, parent)
        .map_err(|error| error.within(what()).hint("write it as raw with `ingot convert` first"))?;
    lock::sweep(parent, PREFIX).map_err(|error| error.with_exit(Exit::CannotCreate))?;
    let (folder, _lock) = lock::create_locked(parent, PREFIX)?;
    let repaired = repair(path, &form, &choice, targets, work_dir, &folder, step).map_err(|error| error.within(what()));
    let removed = file::remove_tree(&folder);
    let (done, sha256) = repaired?;
    removed?;
    let Some(sha256) = sha256 else { return Ok(Fixed::default()) };
    let (updated, stale) = beside(path, &sha256)?;
    Ok(Fixed { done, updated, stale })
}

/// How a format is written again; `None` where it is no disk, or somebody else's to write.
fn choice(format: Format) -> Option<FormatChoice> {
    let (name, options): (&str, &[(&str, &str)]) = match format {
        Format::Raw => ("raw", &[]),
        Format::Qcow2 => ("qcow2", &[]),
        // Exactly as long as the disk, not rounded to cylinders.
        Format::VhdFixed => ("vhd-fixed", &[("force_size", "on")]),
        Format::Vhd => ("vhd", &[]),
        Format::Vhdx => ("vhdx", &[]),
        Format::Vdi => ("vdi", &[]),
        Format::Gce => ("gce", &[]),
        Format::Vmdk(VmdkKind::MonolithicSparse) => ("vmdk", &[("subformat", "monolithicSparse")]),
        Format::Vmdk(VmdkKind::StreamOptimized) => ("vmdk", &[("subformat", "streamOptimized")]),
        _ => return None,
    };
    let options: BTreeMap<String, String> =
        options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Some(FormatChoice { name: name.into(), options })
}

/// Makes the new file and puts it in the old one's place. Gives what was done and the new digest; none where nothing had to
/// be done.
fn repair(
    path: &Path,
    form: &form::Form,
    choice: &FormatChoice,
    targets: &[Target],
    work_dir: &Path,
    folder: &Path,
    step: &Step,
) -> Result<(Vec<String>, Option<String>)> {
    step.now("copying the disk");
    let raw = folder.join("raw");
    let disk = file::create(&raw)?;
    expand(path, form, work_dir, &disk, step)?;
    let size = Bytes(disk.metadata().or_cannot(|| "look at the copy")?.len());
    let unit = targets.iter().map(|target| target.size_unit()).max().unwrap_or(Bytes::SECTOR);
    let fitting = size.align_up(unit);
    let mut done = Vec::new();
    let mut reader = &disk;
    // First at its own size: a backup that the primary copy is made from stands at its own end.
    if let Some(gpt) = copies::examine(&mut reader, size)? {
        let problems: Vec<String> = gpt.problems_of_primary().into_iter().chain(gpt.problems_of_backup()).collect();
        if !problems.is_empty() {
            copies::repair(&disk)?;
            done.push(format!("both copies of the GPT are right: {}", problems.join("; ")));
        }
    }
    if fitting != size {
        disk.set_len(fitting.0).or_cannot(|| "make the disk larger")?;
        done.push(format!("the disk has {} now, {} more", exactly(fitting), exactly(fitting - size)));
        if copies::examine(&mut reader, fitting)?.is_some() {
            copies::repair(&disk)?;
            done.push("the backup GPT is at the new end".to_string());
        }
    }
    if done.is_empty() {
        return Ok((done, None));
    }
    step.now("writing it again");
    drop(disk);
    let mut start = Vec::new();
    let read = file::open(&raw)?.take(TABLE).read_to_end(&mut start);
    read.or_cannot(|| "read the copy")?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // Ids of the format are derived from the disk, as `ingot convert` does it.
    let stem = name.clone();
    let identity = Identity { seed: Seed::of_disk(&start), epoch: 0, name, stem, folder: folder.to_path_buf() };
    let artifact =
        format::write(choice, &RawDisk::open(&raw)?, &identity, folder, "new", &mut Pieces::ignored(), step)?;
    let new = folder.join(&artifact.name);
    file::copy_permissions(path, &new)?;
    file::sync_file(&new)?;
    file::rename(&new, path)?;
    file::sync_folder(path.parent().unwrap_or(Path::new("/")))?;
    Ok((done, Some(artifact.sha256)))
}

/// Brings `FILE.sha256` and manifest.json up to date, each at once; finds what nobody but its author can.
fn beside(path: &Path, sha256: &str) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (mut updated, mut stale) = (Vec::new(), Vec::new());
    let named = |end: &str| path.with_file_name(format!("{name}{end}"));
    let digest = named(".sha256");
    if file::is_plain_file(&digest) {
        file::write_atomically(&digest, format!("{sha256}  {name}\n").as_bytes())?;
        updated.push(digest);
    }
    let manifest = path.with_file_name("manifest.json");
    if let Some(mut value) = read_manifest(&manifest)? {
        let size = Bytes(file::open(path)?.metadata().or_cannot(|| "look at the new file")?.len());
        if let Some(artifact) = artifact(&mut value, &name) {
            artifact.insert("sha256".into(), sha256.into());
            artifact.insert("size".into(), size.0.into());
            write_manifest(&manifest, &value)?;
            updated.push(manifest);
        }
    }
    let others = [".asc", ".sig", ".sha256.asc", ".sha512", ".md5"].map(named);
    stale.extend(
        others.into_iter().chain([path.with_file_name("SHA256SUMS")]).filter(|other| file::is_plain_file(other)),
    );
    Ok((updated, stale))
}

fn read_manifest(path: &Path) -> Result<Option<Value>> {
    if !file::is_plain_file(path) {
        return Ok(None);
    }
    let bad = |error| Error::cannot(Exit::Description, format!("read {}", path.display())).because(error);
    serde_json::from_slice(&file::read(path)?).map(Some).map_err(bad)
}

fn write_manifest(path: &Path, value: &Value) -> Result<()> {
    let json = serde_json::to_vec_pretty(value);
    let json = json.map_err(|error| Error::cannot(Exit::Bug, "write manifest.json").because(error))?;
    file::write_atomically(path, &[json, b"\n".to_vec()].concat())
}

/// The record of an artifact in a manifest.
fn artifact<'a>(manifest: &'a mut Value, name: &str) -> Option<&'a mut serde_json::Map<String, Value>> {
    let artifacts = manifest.get_mut("artifacts")?.as_array_mut()?;
    artifacts
        .iter_mut()
        .filter_map(Value::as_object_mut)
        .find(|artifact| artifact.get("name").and_then(Value::as_str) == Some(name))
}

/// The targets whose reports on an artifact stand in the manifest beside it.
pub fn recorded(path: &Path) -> Result<Vec<Target>> {
    let Some(manifest) = read_manifest(&path.with_file_name("manifest.json"))? else { return Ok(Vec::new()) };
    let records = manifest.get("preflight").and_then(Value::as_array).cloned().unwrap_or_default();
    let own = records.iter().filter(|record| is_about(record, path));
    Ok(own.filter_map(|record| Target::named(record.get("report")?.get("target")?.as_str()?)).collect())
}

fn is_about(record: &Value, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    record.get("artifact").and_then(Value::as_str) == Some(&*name)
}

/// Puts reports in the place of those that the manifest has on this artifact.
pub fn record(path: &Path, reports: &[Report]) -> Result<()> {
    let manifest = path.with_file_name("manifest.json");
    let Some(mut value) = read_manifest(&manifest)? else { return Ok(()) };
    let Some(records) = value.get_mut("preflight").and_then(Value::as_array_mut) else { return Ok(()) };
    for record in records.iter_mut().filter(|record| is_about(record, path)) {
        let target = record.get("report").and_then(|report| report.get("target")).and_then(Value::as_str);
        let report = reports.iter().find(|report| Some(report.target.name()) == target);
        if let Some(report) = report {
            let json = serde_json::to_value(report);
            record["report"] = json.map_err(|error| Error::cannot(Exit::Bug, "write manifest.json").because(error))?;
        }
    }
    write_manifest(&manifest, &value)
}
