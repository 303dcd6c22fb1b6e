//! `kiwi.result.json`: KIWI's list of what a build made.
//!
//! In: the artifacts of a manifest. Out: KIWI's keys, each with a file and what a bundle does with it; and back. Never the
//! pickle that KIWI itself reads: what describes a build must not be a program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::ser::{PrettyFormatter, Serializer};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KiwiResult {
    /// KIWI's keys.
    pub files: BTreeMap<String, ResultFile>,
    /// What names a bundle's files.
    pub bundle_format: Naming,
}

/// Where the letters are, when the description has no pattern: whoever reads the list expects a file behind each key but
/// [`PATTERN`], and KIWI writes that one with a pattern only.
const LETTERS: &str = "image_packages";
const PATTERN: &str = "bundle_format";

/// A pattern's letters.
#[derive(Serialize, Deserialize)]
#[allow(non_snake_case)]
struct Letters {
    A: String,
    I: String,
    M: String,
    N: String,
    P: String,
    T: String,
    m: String,
    p: String,
    v: String,
}

/// What stands behind a key.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    File {
        #[serde(flatten)]
        file: ResultFile,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tags: Option<Letters>,
    },
    Pattern {
        pattern: String,
        tags: Letters,
    },
}

impl From<&Naming> for Letters {
    fn from(naming: &Naming) -> Letters {
        let mut numbers = naming.version.splitn(3, '.').map(str::to_string);
        let mut number = || numbers.next().unwrap_or_default();
        Letters {
            M: number(),
            m: number(),
            p: number(),
            A: naming.arch.clone(),
            // Of a bundle, and there is none yet.
            I: String::new(),
            N: naming.name.clone(),
            P: naming.profiles.clone(),
            T: naming.image_type.clone(),
            v: naming.version.clone(),
        }
    }
}

impl Letters {
    fn naming(self, pattern: Option<String>) -> Naming {
        Naming { pattern, name: self.N, profiles: self.P, arch: self.A, image_type: self.T, version: self.v }
    }
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
        let cannot = |error| Error::cannot(Exit::Bug, format!("write {FILE}")).because(error);
        let mut text = Vec::new();
        let form = PrettyFormatter::with_indent(b"    ");
        self.entries().serialize(&mut Serializer::with_formatter(&mut text, form)).map_err(cannot)?;
        text.push(b'\n');
        file::write(&folder.join(FILE), &text)
    }

    /// Reads that of a target folder. 66 where there is none, 65 where it is not ours.
    pub fn read(target: &Path) -> Result<KiwiResult> {
        let path = target.join(FILE);
        let cannot = |exit| Error::cannot(exit, format!("use the result in {}", target.display()));
        if !file::is_file(&path) {
            let error = cannot(Exit::InputMissing).because(format!("there is no {FILE}"));
            return Err(error.hint("`kiwi system build` and `kiwi system create` write it"));
        }
        let wrong = |why: String| cannot(Exit::Description).because(format!("{}: {why}", path.display()));
        let entries = serde_json::from_slice(&file::read(&path)?).map_err(|error| wrong(error.to_string()))?;
        KiwiResult::of(entries).ok_or_else(|| wrong("it does not say how a bundle is named".into()))
    }

    fn entries(&self) -> BTreeMap<&str, Entry> {
        let naming = &self.bundle_format;
        let files = self.files.iter().map(|(key, file)| {
            let tags = (key == LETTERS && naming.pattern.is_none()).then(|| Letters::from(naming));
            (key.as_str(), Entry::File { file: file.clone(), tags })
        });
        let pattern = naming.pattern.clone().map(|pattern| Entry::Pattern { pattern, tags: naming.into() });
        files.chain(pattern.map(|entry| (PATTERN, entry))).collect()
    }

    fn of(entries: BTreeMap<String, Entry>) -> Option<KiwiResult> {
        let (mut files, mut naming) = (BTreeMap::new(), None);
        for (key, entry) in entries {
            match entry {
                Entry::Pattern { pattern, tags } => naming = Some(tags.naming(Some(pattern))),
                Entry::File { file, tags } => {
                    naming = tags.map(|tags| tags.naming(None)).or(naming);
                    files.insert(key, file);
                }
            }
        }
        Some(KiwiResult { files, bundle_format: naming? })
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
    }

    #[test]
    fn behind_each_key_but_a_pattern_is_a_file_and_the_list_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let version = "1.2.3-4".to_string();
        let naming = Naming { name: "x".into(), arch: "x86_64".into(), version, ..Naming::default() };
        for pattern in [None, Some("%N-%v".to_string())] {
            let naming = Naming { pattern: pattern.clone(), ..naming.clone() };
            let artifacts = [("x.tar.xz".to_string(), "tar.xz".to_string())];
            let list = KiwiResult::new(folder.path(), artifacts, ["x.packages".into()], naming);
            list.write(folder.path()).unwrap();
            assert_eq!(KiwiResult::read(folder.path()).unwrap(), list);
            let text = file::read_text(&folder.path().join(FILE)).unwrap();
            let written: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
            for (key, entry) in &written {
                assert_eq!(entry["filename"].is_string(), key != "bundle_format", "{text}");
            }
            let tags = &written[if pattern.is_some() { "bundle_format" } else { "image_packages" }]["tags"];
            assert_eq!((&tags["M"], &tags["m"], &tags["p"]), (&"1".into(), &"2".into(), &"3-4".into()));
        }
    }
}
