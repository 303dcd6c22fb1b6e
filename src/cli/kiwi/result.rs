//! `kiwi result list` and `kiwi result bundle`.
//!
//! In: a target folder with its `kiwi.result.json`. Out: its listing, or a bundle. Never a pickle.

use std::path::Path;

use serde_json::json;

use super::arguments::BundleArguments;
use super::frame::{Frame, last_line};
use crate::error::Result;
use crate::release::bundle::{self, BundleOrder, Compression};
use crate::release::bundle_rpm;
use crate::release::kiwi_result::KiwiResult;

/// Lists.
pub fn list(target: &Path, frame: &Frame<'_>) -> Result<u8> {
    let result = KiwiResult::read(target)?;
    let reporter = frame.reporter()?;
    reporter.say(&format!("Listing results below {}", target.display()));
    reporter.say("Result files:");
    for (key, file) in &result.files {
        reporter.say(&format!("--> {key}: {}", file.filename.display()));
    }
    Ok(0)
}

/// Bundles.
pub fn bundle(arguments: &BundleArguments, frame: &Frame<'_>) -> Result<u8> {
    let reporter = frame.reporter()?;
    frame.warnings.iter().for_each(|warning| reporter.warn(warning.clone()));
    let packed = frame.settings.compress_bundle && !arguments.no_compress;
    let order = BundleOrder {
        id: arguments.id.clone(),
        pattern: arguments.bundle_format.clone(),
        compression: if packed { Compression::Xz } else { Compression::Off },
        zsync_source: arguments.zsync_source.clone(),
    };
    reporter.say(&format!("Bundle build results from: {}", arguments.target_dir.display()));
    let files = bundle::write(&arguments.target_dir, &arguments.bundle_dir, &order, &reporter)?;
    let files = match arguments.package_as_rpm {
        true => vec![bundle_rpm::pack(&arguments.target_dir, &arguments.bundle_dir, &order, &files, &reporter)?],
        false => files,
    };
    last_line(&json!({"exit": 0, "bundle": files}));
    Ok(0)
}
