//! `kiwi.result.json`: KIWI's list of what a build made.
//!
//! In: the artifacts of a manifest. Out: KIWI's keys, each with a file and what a bundle does with it; and back. Never the
//! pickle that KIWI itself reads: what describes a build must not be a program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Exit, Result};
use crate::host::file;

/// Its name.
pub const FILE: &str = "kiwi.result.json";

/// One file of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultFile {
    /// Where it is, absolute.
    pub filename: PathBuf,
    /// Whether `result bundle` takes it.
    pub use_for_bundle: bool,
    /// Whether `result bundle` packs it with xz.
    pub compress: bool,
    /// Whether `result bundle` writes its checksum.
    pub shasum: bool,
}

/// What names a bundle's files: the letters of a pattern and what they stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Naming {
    /// `bundle_format` of the description's `<type>`.
    pub pattern: Option<String>,
    /// `%N`: the image's name.
    pub name: String,
    /// `%P`: its profiles, joined by `_`.
    pub profiles: String,
    /// `%A`: its architecture.
    pub arch: String,
    /// `%T`: its type.
    pub image_type: String,
    /// `%v`: its version.
    pub version: String,
}

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KiwiResult {
    /// KIWI's keys.
    #[serde(flatten)]
    pub files: BTreeMap<String, ResultFile>,
    /// What names a bundle's files.
    pub bundle_format: Naming,
}

impl KiwiResult {
    /// The list of a release: `artifacts` are names and formats, `beside` what else lies there (`STEM.packages`).
    pub fn new(
        target: &Path,
        artifacts: impl IntoIterator<Item = (String, String)>,
        beside: impl IntoIterator<Item = String>,
        bundle_format: Naming,
    ) -> KiwiResult {
        let artifacts: Vec<(String, String)> = artifacts.into_iter().collect();
        let has_format = artifacts.iter().any(|(_, format)| is_disk_format(format));
        let mut files = BTreeMap::new();
        let mut add = |key: &str, name: &str, use_for_bundle, compress, shasum| {
            let file = ResultFile { filename: target.join(name), use_for_bundle, compress, shasum };
            // A second file of a kind keeps a key of its own.
            let mut key = key.to_string();
            while files.contains_key(&key) {
                key.push_str("_more");
            }
            files.insert(key, file);
        };
        for (name, format) in &artifacts {
            match format.as_str() {
                "raw" => add("disk_image", name, !has_format, true, true),
                "docker" | "oci" => add("container", name, true, false, true),
                "tar.xz" => add("root_archive", name, true, false, true),
                "vmdk" | "vhd" | "vhdx" | "vdi" | "vhd-fixed" => add("disk_format_image", name, true, true, true),
                format if is_disk_format(format) => add("disk_format_image", name, true, false, true),
                other => add(other, name, true, false, true),
            }
        }
        for name in beside {
            match name.rsplit_once('.').map_or("", |(_, end)| end) {
                "packages" => add("image_packages", &name, true, false, false),
                "verified" => add("image_verified", &name, true, false, false),
                "changes" => add("image_changes", &name, true, true, false),
                _ => add("image_manifest", &name, true, false, false),
            }
        }
        KiwiResult { files, bundle_format }
    }

    /// Writes it into `folder`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self);
        let text = text.map_err(|error| Error::cannot(Exit::Bug, format!("write {FILE}")).because(error))?;
        file::write(&folder.join(FILE), &[text, b"\n".to_vec()].concat())
    }

    /// Reads that of a target folder. 66 where there is none, 65 where it is not ours.
    pub fn read(target: &Path) -> Result<KiwiResult> {
        let path = target.join(FILE);
        let cannot = |exit| Error::cannot(exit, format!("use the result in {}", target.display()));
        if !file::is_file(&path) {
            let error = cannot(Exit::InputMissing).because(format!("there is no {FILE}"));
            return Err(error.hint("`kiwi system build` and `kiwi system create` write it"));
        }
        serde_json::from_slice(&file::read(&path)?)
            .map_err(|error| cannot(Exit::Description).because(format!("{}: {error}", path.display())))
    }
}

fn is_disk_format(format: &str) -> bool {
    !matches!(format, "raw" | "docker" | "oci" | "tar.xz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_disk_is_bundled_only_where_no_other_format_is() {
        let list = |artifacts: &[(&str, &str)]| {
            let artifacts = artifacts.iter().map(|(name, format)| (name.to_string(), format.to_string()));
            KiwiResult::new(Path::new("/t"), artifacts, ["x.packages".into()], Naming::default())
        };
        let both = list(&[("x.raw", "raw"), ("x.qcow2", "qcow2")]);
        assert!(!both.files["disk_image"].use_for_bundle && both.files["disk_format_image"].use_for_bundle);
        assert!(!both.files["disk_format_image"].compress);
        let alone = list(&[("x.raw", "raw")]);
        assert!(alone.files["disk_image"].use_for_bundle && alone.files["disk_image"].compress);
        assert_eq!(alone.files["image_packages"].filename, Path::new("/t/x.packages"));
        let text = serde_json::to_string(&alone).unwrap();
        assert_eq!(serde_json::from_str::<KiwiResult>(&text).unwrap(), alone);
    }
}
