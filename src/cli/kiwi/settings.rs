//! `kiwi.yml`: settings of the machine, of the user, and of `--config`, the later ones winning.
//!
//! In: YAML. Out: [`Settings`], and a warning for each setting that is not honoured. Never a setting that changes what is
//! in an image.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Exit, Result, Warning};
use crate::host::file;

/// What is honoured of a `kiwi.yml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `obs.download_url`: what `obs://` means outside of a build farm.
    pub download_url: Option<String>,
    /// `bundle.compress`: whether a bundle's raw disks are packed with xz.
    pub compress_bundle: bool,
    /// `bundle.has_package_changes`: whether `.changes` is written.
    pub changes: bool,
    /// The others, by name.
    pub warnings: Vec<Warning>,
}

impl Settings {
    /// Reads the settings that there are; those of a farm's worker write no `.changes` by default. 78 for a file that
    /// cannot be understood, 66 where `--config` names none.
    pub fn load(config: Option<&Path>, home: Option<&Path>, in_farm: bool) -> Result<Settings> {
        let mut settings =
            Settings { download_url: None, compress_bundle: true, changes: !in_farm, warnings: Vec::new() };
        let user = home.map(|home| home.join(".config/kiwi/config.yml"));
        let places = [Some(PathBuf::from("/usr/share/kiwi/kiwi.yml")), Some("/etc/kiwi.yml".into()), user];
        for path in places.into_iter().flatten().filter(|path| file::is_file(path)) {
            settings.read(&path)?;
        }
        if let Some(path) = config {
            settings.read(path)?;
        }
        Ok(settings)
    }

    fn read(&mut self, path: &Path) -> Result<()> {
        self.take(path, &file::read_text(path)?)
    }

    fn take(&mut self, path: &Path, text: &str) -> Result<()> {
        let wrong = |why: String| {
            Error::cannot(Exit::Configuration, format!("use the settings in {}", path.display())).because(why)
        };
        if text.lines().all(|line| matches!(line.trim_start().chars().next(), None | Some('#'))) {
            return Ok(());
        }
        let whole: Value = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let Value::Object(sections) = whole else { return Err(wrong("it holds no sections".into())) };
        for (section, content) in sections {
            for (name, value) in flat(content).ok_or_else(|| wrong(format!("`{section}` holds no settings")))? {
                let truth =
                    || value.as_bool().ok_or_else(|| wrong(format!("`{section}.{name}` is neither true nor false")));
                match (section.as_str(), name.as_str()) {
                    ("obs", "download_url") => self.download_url = value.as_str().map(str::to_string),
                    ("bundle", "compress") => self.compress_bundle = truth()?,
                    ("bundle", "has_package_changes") => self.changes = truth()?,
                    _ => self.warnings.push(Warning {
                        text: format!("the setting {section}.{name} of {} is ignored", path.display()),
                        place: None,
                    }),
                }
            }
        }
        Ok(())
    }
}

/// A section is a list of settings, or a table of them.
fn flat(content: Value) -> Option<Map<String, Value>> {
    match content {
        Value::Object(table) => Some(table),
        Value::Null => Some(Map::new()),
        Value::Array(list) => {
            let mut all = Map::new();
            for one in list {
                all.extend(flat(one)?);
            }
            Some(all)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(texts: &[&str]) -> Result<Settings> {
        let mut settings = Settings { download_url: None, compress_bundle: true, changes: true, warnings: Vec::new() };
        texts.iter().try_for_each(|text| settings.take(Path::new("k.yml"), text)).map(|()| settings)
    }

    #[test]
    fn lists_and_tables_are_both_read_and_the_later_file_wins() {
        let found = settings(&[
            "obs:\n  - download_url: https://a.example\n  - public: true\nbundle:\n  - compress: false\n",
            "obs: { download_url: https://b.example }\nbundle:\n  has_package_changes: false\nxz:\n  - options: -9\n",
        ]);
        let found = found.unwrap();
        assert_eq!(found.download_url.as_deref(), Some("https://b.example"));
        assert_eq!((found.compress_bundle, found.changes), (false, false));
        let warnings: Vec<&str> = found.warnings.iter().map(|warning| warning.text.as_str()).collect();
        assert_eq!(
            warnings,
            ["the setting obs.public of k.yml is ignored", "the setting xz.options of k.yml is ignored"]
        );
    }

    #[test]
    fn settings_that_cannot_be_understood_are_78() {
        for text in ["just words", "- a\n- b\n", "bundle: 3\n", "bundle: [compress: maybe]\n", "a: [b: {"] {
            assert_eq!(settings(&[text]).unwrap_err().exit(), Exit::Configuration, "{text}");
        }
        assert!(settings(&["", "# nothing\n"]).is_ok());
    }
}
