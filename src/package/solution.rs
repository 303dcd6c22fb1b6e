//! What apt's solver decided.
//!
//! In: the lines of `apt-get install --print-uris` and the control fields of `apt-cache show`. Out: the archives in
//! installation order; or, for an unsatisfiable request, apt's own reason with the description's place and a name
//! that was perhaps meant. Never chooses a package itself.

use std::collections::BTreeMap;

use super::deb822::Stanza;
use crate::bytes::Bytes;
use crate::cache::Sha256;
use crate::error::{Error, Exit, Result};
use crate::plan::{Named, decoded};

/// An archive that apt would download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Where it is.
    pub uri: String,
    /// Package name.
    pub name: String,
    /// Full version.
    pub version: String,
    /// `amd64`, `all`.
    pub arch: String,
    /// Length.
    pub size: Bytes,
    /// What the signed index says.
    pub digest: Sha256,
}

impl Chosen {
    /// `name:arch=version`, as apt-cache takes it.
    pub fn exactly(&self) -> String {
        format!("{}:{}={}", self.name, self.arch, self.version)
    }
}

/// Reads lines of the form `'URI' NAME_VERSION_ARCH.deb SIZE SHA256:HEX`.
pub fn chosen(output: &str) -> Result<Vec<Chosen>> {
    output.lines().filter(|line| line.starts_with('\'')).map(chosen_line).collect()
}

fn chosen_line(line: &str) -> Result<Chosen> {
    let read = || {
        let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut words = rest.split_ascii_whitespace();
        let file = words.next()?;
        let size = Bytes(words.next()?.parse().ok()?);
        let mut parts = file.rsplit_once('.')?.0.splitn(3, '_');
        let (name, version, arch) = (parts.next()?, parts.next()?, parts.next()?);
        Some((uri, name, decoded(version), arch, size, words.next().unwrap_or_default()))
    };
    let bad =
        |exit, why: &str| Err(Error::cannot(exit, "understand what apt would install").because(why).because(line));
    let Some((uri, name, version, arch, size, hash)) = read() else {
        return bad(Exit::Bug, "it is not a line of --print-uris");
    };
    match hash.strip_prefix("SHA256:").and_then(|hash| hash.parse().ok()) {
        None => bad(Exit::Integrity, "the repository's index gives no SHA-256 for it"),
        Some(digest) => Ok(Chosen { uri: uri.into(), name: name.into(), version, arch: arch.into(), size, digest }),
    }
}

/// Gives each archive its control fields: those of the same name, version, architecture and digest.
pub fn with_control(chosen: Vec<Chosen>, stanzas: Vec<Stanza>) -> Result<Vec<(Chosen, Stanza)>> {
    let mut by_digest: BTreeMap<(String, String), Stanza> = BTreeMap::new();
    for stanza in stanzas {
        let key = (stanza.text("Package").to_string(), stanza.text("SHA256").to_ascii_lowercase());
        by_digest.entry(key).or_insert(stanza);
    }
    let find = |chosen: Chosen| match by_digest.remove(&(chosen.name.clone(), chosen.digest.to_string())) {
        Some(stanza) => Ok((chosen, stanza)),
        None => Err(Error::cannot(Exit::Integrity, format!("find {} in the indexes", chosen.exactly()))
            .because("the indexes changed while they were read")),
    };
    chosen.into_iter().map(find).collect()
}

/// The part of what a description wrote that is a package's name: `foo` of `foo:arch`, `foo=1:2`, `foo/suite`.
pub fn base_name(written: &str) -> &str {
    written.split([':', '=', '/']).next().unwrap_or_default()
}

/// Whether apt would take it for a name, not for an option, a pattern or a file. Debian Policy, 5.6.1.
pub fn is_name(written: &str) -> bool {
    let name = base_name(written);
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.');
    let plain = |char: char| char.is_ascii_graphic() && !"'\"\\*?[]()|".contains(char);
    name.len() > 1
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(good)
        && written[name.len()..].chars().all(plain)
        && !written.ends_with(['-', ':', '=', '/'])
}

/// The error for a request that apt cannot satisfy. `said` is all it printed; `names` gives the known names.
pub fn unsatisfiable(said: &str, request: &[&Named], names: impl FnOnce() -> Vec<String>) -> Error {
    let reason = reason(said);
    // `E: Unable to locate package X`, `E: Package 'X' has no ...`, `E: Version '1' for 'X' was not found`.
    let about = |line: &str| {
        let words: Vec<&str> = line.split([' ', '\'']).collect();
        request.iter().find(|named| words.contains(&base_name(&named.name)) || words.contains(&named.name.as_str()))
    };
    let first = reason.iter().filter(|line| line.starts_with("E:")).find_map(|line| about(line));
    let first = first.or_else(|| reason.iter().find_map(|line| about(line.trim_start().split(' ').next()?)));
    let what = "resolve the packages";
    let Some(named) = first else {
        return Error::cannot(Exit::Description, what).because("apt cannot satisfy it").because(reason.join("\n"));
    };
    let mut error = Error::cannot(Exit::Description, what)
        .because(format!("apt cannot satisfy `{}`\n{}", named.name, reason.join("\n")))
        .at(named.place.clone());
    if reason.iter().any(|line| line.contains("Unable to locate")) {
        let names = names();
        if let Some(similar) = super::similar(base_name(&named.name), names.iter().map(String::as_str)) {
            error = error.hint(format!("did you mean `{similar}`?"));
        }
    }
    error
}

/// The lines that say why: unmet dependencies and errors, not the chatter before.
fn reason(said: &str) -> Vec<&str> {
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    let start = lines.iter().position(|line| line.starts_with("The following packages have unmet dependencies"));
    let unmet = start.map_or(&lines[..0], |start| &lines[start..]);
    let unmet = unmet.iter().take_while(|line| !line.starts_with("E:"));
    let errors = lines.iter().filter(|line| line.starts_with("E:"));
    let virtual_package = lines.iter().skip_while(|line| !line.contains("is a virtual package")).take(4);
    let virtual_package = virtual_package.filter(|_| start.is_none()).filter(|line| !line.starts_with("E:"));
    let mut reason: Vec<&str> = unmet.chain(errors).chain(virtual_package).copied().collect();
    reason.retain(|line| !line.is_empty());
    if reason.len() > 12 {
        reason.truncate(12);
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Place;

    fn named(name: &str, line: u32) -> Named {
        Named { name: name.into(), place: Place { file: "config.xml".into(), line, column: 9 } }
    }

    #[test]
    fn lines_of_print_uris_become_archives() {
        let hash = "ba4f88f73dbc3ae9055f3c20f4523bfdbaf1ad13ff95e258924f77d20b4fbedf";
        let output =
            format!("Reading...\n'http://h/d/pool/e/x_1%3a2%2bb_all.deb' x_1%3a2+b_all.deb 12 SHA256:{hash}\n");
        let wanted = Chosen {
            uri: "http://h/d/pool/e/x_1%3a2%2bb_all.deb".into(),
            name: "x".into(),
            version: "1:2+b".into(),
            arch: "all".into(),
            size: Bytes(12),
            digest: hash.parse().unwrap(),
        };
        assert_eq!(chosen(&output).unwrap(), [wanted]);
        let weak = chosen("'file:/x_1_all.deb' x_1_all.deb 1 MD5Sum:8e7e741807b1e1939df8f58323affdcb\n");
        assert_eq!(weak.unwrap_err().exit(), Exit::Integrity);
        assert_eq!(chosen("'file:/x'\n").unwrap_err().exit(), Exit::Bug);
    }

    #[test]
    fn only_names_reach_apt() {
        for good in ["foo", "g++", "libx2.0-0", "foo:i386", "foo=1:2~a+b", "foo/stable", "0ad"] {
            assert!(is_name(good), "{good}");
        }
        for bad in
            ["", "-y", "~nfoo", "?essential", "foo-", "foo*", "./x.deb", "Foo", "a b", "foo=", "/x", "foo=1'", "f"]
        {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_typo_is_shown_with_its_place_and_the_name_that_was_meant() {
        let request = [named("bash", 3), named("openssh-sever", 4)];
        let request: Vec<&Named> = request.iter().collect();
        let said = "Reading package lists...\nE: Unable to locate package openssh-sever\n";
        let error = unsatisfiable(said, &request, || vec!["openssh-client".into(), "openssh-server".into()]);
        assert_eq!(
            error.text(),
            "error: cannot resolve the packages\
             \n  cause: apt cannot satisfy `openssh-sever`\
             \n         E: Unable to locate package openssh-sever\
             \n  where: config.xml:4:9\
             \n  hint:  did you mean `openssh-server`?"
        );
        assert_eq!(error.exit(), Exit::Description);
    }

    #[test]
    fn unmet_dependencies_are_shown_as_apt_says_them() {
        let request = [named("broken", 7)];
        let request: Vec<&Named> = request.iter().collect();
        let said = "Some packages could not be installed. This may mean...\nThe following packages have unmet dependencies:\n broken : Depends: nothing but it is not installable\nE: Unable to correct problems, you have held broken packages.\n";
        let error = unsatisfiable(said, &request, Vec::new);
        let text = error.text();
        assert!(text.contains("broken : Depends: nothing but it is not installable"), "{text}");
        assert!(text.contains("config.xml:7:9") && !text.contains("Some packages"), "{text}");
    }
}
