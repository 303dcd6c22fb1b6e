//! The apt sources of the host itself (sources.list(5)), from which mirrors and trust are learned.
//!
//! In: /etc/apt. Out: [`HostSource`]s. Never used as repositories of an image as they are.

use std::path::{Path, PathBuf};

use super::deb822;
use crate::error::Result;
use crate::host::file;

/// A binary source of the host: one URI and its suites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSource {
    /// The archive's URI, verbatim.
    pub uri: String,
    /// Suites there.
    pub suites: Vec<String>,
    /// `Signed-By`, verbatim.
    pub signed_by: Option<String>,
    /// The file that names it.
    pub file: PathBuf,
}

/// The sources below `folder` (`/etc/apt`), in apt's order; a file that apt would not read is passed over.
pub fn load(folder: &Path) -> Result<Vec<HostSource>> {
    let mut files = vec![folder.join("sources.list")];
    let parts = folder.join("sources.list.d");
    if file::is_folder(&parts) {
        files.extend(file::names(&parts)?.into_iter().map(|name| parts.join(name)));
    }
    let mut sources = Vec::new();
    for path in files.into_iter().filter(|path| file::is_file(path)) {
        let Ok(text) = String::from_utf8(file::read(&path)?) else { continue };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(|line| one_line(line, &path))),
            Some("sources") => sources.extend(stanzas(&text, &path)),
            _ => {}
        }
    }
    Ok(sources)
}

/// `deb [option=value ...] uri suite [component ...]`
fn one_line(line: &str, file: &Path) -> Option<HostSource> {
    let line = line.split('#').next().unwrap_or_default();
    let mut rest = line.trim().strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let mut signed_by = None;
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']')?;
        signed_by = options.split_ascii_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        rest = after;
    }
    let mut words = rest.split_ascii_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    Some(HostSource {
        uri: uri.to_string(),
        suites: vec![suite.to_string()],
        signed_by: signed_by.map(str::to_string),
        file: file.to_path_buf(),
    })
}

fn stanzas(text: &str, file: &Path) -> Vec<HostSource> {
    let stanzas = deb822::parse(text).unwrap_or_default();
    let enabled = stanzas.iter().filter(|stanza| {
        let off = ["no", "false", "0", "off", "without", "disable"].contains(&stanza.text("Enabled"));
        stanza.words("Types").contains(&"deb") && !off
    });
    let each = enabled.flat_map(|stanza| {
        stanza.words("URIs").into_iter().map(|uri| HostSource {
            uri: uri.to_string(),
            suites: stanza.words("Suites").into_iter().map(str::to_string).collect(),
            signed_by: stanza.get("Signed-By").map(str::to_string),
            file: file.to_path_buf(),
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_sources_are_read_and_disabled_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("sources.list.d");
        file::create_folders(&parts).unwrap();
        let list = "# deb http://commented/debian x main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://a/debian bookworm main # why\n\
                    deb-src http://a/debian bookworm main\n\
                    deb\thttp://b/debian ./\n";
        file::write_atomically(&folder.path().join("sources.list"), list.as_bytes()).unwrap();
        let sources = "Types: deb deb-src\nURIs: http://c/debian http://d/debian\nSuites: trixie trixie-updates\n\
                       Components: main\nSigned-By: /d.gpg\n\nTypes: deb\nURIs: http://off/\nSuites: x\nEnabled: no\n";
        file::write_atomically(&parts.join("x.sources"), sources.as_bytes()).unwrap();
        file::write_atomically(&parts.join("y.list.disabled"), b"deb http://no/ no no\n").unwrap();
        let found: Vec<String> = load(folder.path())
            .unwrap()
            .into_iter()
            .map(|source| {
                format!("{} {} {}", source.uri, source.suites.join("+"), source.signed_by.unwrap_or_default())
            })
            .collect();
        let wanted = [
            "http://a/debian bookworm /k.gpg",
            "http://b/debian ./ ",
            "http://c/debian trixie+trixie-updates /d.gpg",
            "http://d/debian trixie+trixie-updates /d.gpg",
        ];
        assert_eq!(found, wanted);
        assert_eq!(load(Path::new("/nonexistent")).unwrap(), Vec::new());
    }
}
