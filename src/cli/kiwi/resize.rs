//! `kiwi image resize`: a larger disk of a finished one, in every format that the build made.
//!
//! In: a target folder and a size. Out: its disks anew, with their checksums in the manifest. What is there stays until
//! all of them are complete. Partitions keep their sizes: a root that grows at first boot takes the rest.

use std::path::Path;

use serde_json::{Value, json};

use super::arguments::ResizeArguments;
use super::frame::{Frame, last_line};
use crate::bytes::Bytes;
use crate::disk::{RawDisk, resize};
use crate::error::{Error, Exit, Result};
use crate::format::Identity;
use crate::host::file;
use crate::pieces::Pieces;
use crate::plan::{FormatChoice, Seed};
use crate::release::kiwi_result::KiwiResult;
use crate::release::{Artifact, hash};
use crate::report::Reporter;

/// Resizes.
pub fn run(arguments: &ResizeArguments, frame: &mut Frame<'_>) -> Result<u8> {
    if arguments.root.is_some() {
        frame.warn("--root is ignored: a disk is resized without its tree".into());
    }
    let size = size(&arguments.size)?;
    let target = &arguments.target_dir;
    let naming = KiwiResult::read(target)?.bundle_format;
    let stem = format!("{}.{}-{}", naming.name, naming.arch, naming.version);
    let reporter = frame.reporter()?;
    frame.warnings.iter().for_each(|warning| reporter.warn(warning.clone()));
    let scratch = target.join(".ingot-resize");
    file::remove_tree(&scratch)?;
    file::create_folder(&scratch)?;
    let made = enlarge(target, &scratch, &stem, size, &reporter);
    let published = made.and_then(|made| publish(target, &scratch, made));
    let removed = file::remove_tree(&scratch);
    let artifacts = published?;
    removed?;
    reporter.event(json!({"step": "release", "event": "finished", "pct": 100, "artifacts": artifacts}));
    last_line(&json!({"exit": 0, "artifacts": artifacts}));
    Ok(0)
}

/// Writes the grown disk into `scratch`, in each format of the manifest.
fn enlarge(target: &Path, scratch: &Path, stem: &str, size: Bytes, reporter: &Reporter) -> Result<Vec<Artifact>> {
    let raw = target.join(format!("{stem}.raw"));
    if !file::is_file(&raw) {
        let error = Error::cannot(Exit::InputMissing, format!("resize the disk in {}", target.display()));
        return Err(error.because(format!("there is no {}", raw.display())));
    }
    let copy = scratch.join(".disk.raw");
    let step = reporter.step("resize");
    hash::file(&file::open(&raw)?, Some(&file::create(&copy)?), &step)?;
    resize::grow(&copy, size)?;
    step.finish(&size.to_string());
    let disk = RawDisk::open(&copy)?;
    let (_, manifest) = manifest(target)?;
    let identity = Identity {
        seed: manifest["seed"].as_str().and_then(Seed::from_hex).unwrap_or(Seed::of_disk(stem.as_bytes())),
        epoch: manifest["epoch"].as_i64().unwrap_or(0),
        name: manifest["name"].as_str().unwrap_or(stem).to_string(),
        stem: stem.to_string(),
        folder: file::absolute(target)?,
    };
    let formats = manifest["artifacts"].as_array().into_iter().flatten();
    let formats: Vec<FormatChoice> = formats.filter_map(choice).collect();
    let write = |choice: FormatChoice| {
        let step = reporter.step("format");
        let artifact = crate::format::write(&choice, &disk, &identity, scratch, stem, &mut Pieces::ignored(), &step)?;
        step.finish(&format!("{}, {}", artifact.format, artifact.size));
        Ok(artifact)
    };
    formats.into_iter().map(write).collect()
}

/// The format and the options of an artifact in a manifest.
fn choice(artifact: &Value) -> Option<FormatChoice> {
    let options = artifact["options"].as_object().into_iter().flatten();
    let options = options.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_string())));
    Some(FormatChoice { name: artifact["format"].as_str()?.to_string(), options: options.collect() })
}

/// Puts the new files in place of the old ones, the manifest last.
fn publish(target: &Path, scratch: &Path, made: Vec<Artifact>) -> Result<Value> {
    let (path, mut manifest) = manifest(target)?;
    made.iter().try_for_each(|artifact| file::sync_file(&scratch.join(&artifact.name)))?;
    for artifact in &made {
        file::rename(&scratch.join(&artifact.name), &target.join(&artifact.name))?;
        let line = format!("{}  {}\n", artifact.sha256, artifact.name);
        file::write_atomically(&target.join(format!("{}.sha256", artifact.name)), line.as_bytes())?;
    }
    let bug = |error: serde_json::Error| Error::cannot(Exit::Bug, "write manifest.json").because(error);
    manifest["artifacts"] = serde_json::to_value(&made).map_err(bug)?;
    let text = serde_json::to_vec_pretty(&manifest).map_err(bug)?;
    file::write_atomically(&path, &[text, b"\n".to_vec()].concat())?;
    Ok(manifest["artifacts"].take())
}

fn manifest(target: &Path) -> Result<(std::path::PathBuf, Value)> {
    let path = target.join("manifest.json");
    let bad =
        |error: serde_json::Error| Error::cannot(Exit::Description, format!("read {}", path.display())).because(error);
    let manifest = serde_json::from_slice(&file::read(&path)?).map_err(bad)?;
    Ok((path, manifest))
}

/// Bytes; `m` and `g` count in powers of 1024. Whole sectors.
fn size(text: &str) -> Result<Bytes> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|bytes| *bytes > 0);
    match bytes.and_then(|bytes| bytes.checked_next_multiple_of(512)) {
        Some(bytes) => Ok(Bytes(bytes)),
        None => {
            Err(Error::new(Exit::Usage, format!("--size {text} is no size")).hint("for example 20g, 800m, 1073741824"))
        }
    }
}
