//! dpkg's database inside a tree (dpkg(1), /var/lib/dpkg).
//!
//! In: a tree. Out: the stanzas of what is installed, the files of each package. Never changes anything but through the
//! functions that say so, and never starts dpkg.

use super::deb822::{self, Stanza};
use crate::error::{Error, Exit, Result};
use crate::host::rooted::{RootPath, Rooted};

/// `/var/lib/dpkg/status`
pub const STATUS: &str = "/var/lib/dpkg/status";
/// `/var/lib/dpkg/info`
pub const INFO: &str = "/var/lib/dpkg/info";

/// Every stanza of the status file, whatever its state; none where there is no such file.
pub fn status(tree: &Rooted) -> Result<Vec<Stanza>> {
    let Some(bytes) = tree.read_if_there(&STATUS.into())? else { return Ok(Vec::new()) };
    deb822::parse(&String::from_utf8_lossy(&bytes))
        .map_err(|malformed| Error::cannot(Exit::Description, format!("read {STATUS} in the image")).because(malformed))
}

/// Writes the status file, in dpkg's form and the order given.
pub fn write_status(tree: &Rooted, stanzas: &[Stanza]) -> Result<()> {
    let text: String = stanzas.iter().map(|stanza| format!("{stanza}\n")).collect();
    tree.write(&STATUS.into(), text, 0o644)
}

/// Whether a stanza of the status file describes a package that is installed and configured.
pub fn is_installed(stanza: &Stanza) -> bool {
    stanza.words("Status").last() == Some(&"installed")
}

/// The name under which a package's files in `info` begin: `name:arch` for `Multi-Arch: same`, else the name.
pub fn info_name(stanza: &Stanza) -> String {
    let name = stanza.text("Package");
    match stanza.text("Multi-Arch") {
        "same" => format!("{name}:{}", stanza.text("Architecture")),
        _ => name.to_string(),
    }
}

/// A package's file in `info`: `list`, `md5sums`, `postinst` ...
pub fn info_path(stanza: &Stanza, kind: &str) -> RootPath {
    RootPath::from(INFO).join(format!("{}.{kind}", info_name(stanza)))
}

/// The paths that a package's list names, as they are written there.
pub fn files(tree: &Rooted, stanza: &Stanza) -> Result<Vec<RootPath>> {
    let Some(bytes) = tree.read_if_there(&info_path(stanza, "list"))? else { return Ok(Vec::new()) };
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && *line != b"/.");
    Ok(lines.map(RootPath::new).collect())
}
