//! Which URL stands behind `mirror://NAME`.
//!
//! In: `--mirror NAME=URL`, the user's and the machine's `mirrors.toml`, the host's own apt sources; the first of
//! them that knows a name wins. Out: a [`Mirror`]. No host's name is built in: where none of these knows a mirror,
//! that is an error.
//!
//! ```toml
//! [mirrors]
//! debian = "http://mirror.example/debian"
//! [mirrors.debian-security]
//! url = "http://10.0.0.5:3142/debian-security"      # what the build uses
//! image = "https://mirror.example/debian-security"  # what the image's own sources say
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::host_sources::{self, HostSource};
use crate::error::{Error, Exit, Place, Result};
use crate::host::file;
use crate::plan::Repository;

/// The machine's table.
const MACHINE: &str = "/etc/ingot/mirrors.toml";

/// Who named a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--mirror`.
    CommandLine,
    /// A `mirrors.toml`.
    Configuration(PathBuf),
    /// The host's own apt sources.
    HostSources(PathBuf),
}

/// A mirror of a distribution's archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Without a slash at its end.
    pub url: String,
    /// Who named it.
    pub origin: Origin,
    /// What an image's own sources say instead of `url`.
    pub image: Option<String>,
    /// The keyring or fingerprint that the host's own source is signed by, verbatim.
    pub signed_by: Option<String>,
}

/// All mirrors that are known, by name.
#[derive(Clone, Debug, Default)]
pub struct Mirrors {
    tables: Vec<BTreeMap<String, Mirror>>,
}

impl Mirrors {
    /// `command_line` holds the values of `--mirror` (`NAME=URL`; 64 where one is not), `user` is the path of the
    /// user's own `mirrors.toml`, if there can be one. 78 for a table that cannot be read.
    pub fn load(command_line: &[String], user: Option<&Path>) -> Result<Mirrors> {
        let mut tables = vec![from_command_line(command_line)?];
        for path in user.into_iter().chain([Path::new(MACHINE)]).filter(|path| file::is_file(path)) {
            tables
                .push(from_toml(path, &file::read_text(path).map_err(|error| error.with_exit(Exit::Configuration))?)?);
        }
        tables.push(from_host(&host_sources::load(Path::new("/etc/apt"))?));
        Ok(Mirrors { tables })
    }

    /// The mirror called `name`; 78 where nobody knows one.
    pub fn get(&self, name: &str) -> Result<&Mirror> {
        self.tables.iter().find_map(|table| table.get(name)).ok_or_else(|| {
            let names: Vec<&str> = self.tables.iter().flat_map(|table| table.keys().map(String::as_str)).collect();
            let error = Error::cannot(Exit::Configuration, format!("resolve mirror://{name}")).because(format!(
                "neither --mirror, {MACHINE}, ~/.config/ingot/mirrors.toml nor this host's apt sources know `{name}`"
            ));
            match super::similar(name, names.iter().copied()) {
                // `obs://PROJECT/REPOSITORY` of a description is planned as a path of this mirror.
                _ if name == "obs" => error.hint(
                    "add --mirror obs=URL, the build service's server of repositories; called kiwi, \
                     obs.download_url in kiwi.yml",
                ),
                Some(similar) => error.hint(format!("did you mean `mirror://{similar}`?")),
                None => error.hint(format!("add --mirror {name}=URL")),
            }
        })
    }

    /// Names of the command line that none of these repositories asks for.
    pub fn unused<'a>(&'a self, repositories: impl Iterator<Item = &'a Repository>) -> Vec<&'a str> {
        let asked = |source: &'a str| source.strip_prefix("mirror://")?.split('/').next();
        let asked: BTreeSet<&str> = repositories.filter_map(|repository| asked(&repository.source)).collect();
        let given = self.tables.iter().flatten().filter(|(_, mirror)| mirror.origin == Origin::CommandLine);
        given.map(|(name, _)| name.as_str()).filter(|name| !asked.contains(name)).collect()
    }

    /// What the sources of an image say for `name`: what its entry names for images; else its URL where that makes
    /// sense on another machine; else the same of whoever else knows the name. `None` where all that is known is
    /// private to this host.
    pub fn for_image(&self, name: &str) -> Option<&str> {
        self.tables.iter().filter_map(|table| table.get(name)).find_map(|mirror| {
            let public = mirror.origin != Origin::CommandLine && !is_private(&mirror.url);
            mirror.image.as_deref().or(public.then_some(mirror.url.as_str()))
        })
    }
}

/// Whether a URL means nothing on another machine: a local folder, loopback, or one with a password in it.
pub fn is_private(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return true };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() };
    !matches!(scheme, "http" | "https")
        || authority.contains('@')
        || host == "localhost"
        || host.starts_with("127.")
        || host.starts_with("[::1]")
}

fn from_command_line(values: &[String]) -> Result<BTreeMap<String, Mirror>> {
    let mut table = BTreeMap::new();
    for value in values {
        let wrong = |why: &str| {
            Error::new(Exit::Usage, format!("--mirror {value} is not NAME=URL"))
                .because(why)
                .hint("for example --mirror debian=http://mirror.example/debian")
        };
        let (name, url) = value.split_once('=').ok_or_else(|| wrong("there is no ="))?;
        check_name(name).and(check_url(url)).map_err(|why| wrong(&why))?;
        table.insert(name.to_string(), mirror(url, Origin::CommandLine));
    }
    Ok(table)
}

fn mirror(url: &str, origin: Origin) -> Mirror {
    Mirror { url: url.trim_end_matches('/').to_string(), origin, image: None, signed_by: None }
}

fn check_name(name: &str) -> Result<(), String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+');
    if !name.is_empty() && name.bytes().all(good) {
        return Ok(());
    }
    Err(format!("`{name}` is not a mirror's name: letters, digits and -_.+"))
}

/// What may stand behind a mirror's name, and in a repository's source.
pub fn check_url(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once(':').ok_or_else(|| format!("`{url}` is not a URL"))?;
    if url.chars().any(|char| char.is_control()) {
        return Err("the URL has a control character in it".into());
    }
    match scheme {
        "http" | "https" if rest.starts_with("//") && rest.len() > 2 => Ok(()),
        "http" | "https" => Err(format!("`{url}` names no host")),
        "file" | "dir" if rest.trim_start_matches("//").starts_with('/') => Ok(()),
        "file" | "dir" => Err(format!("`{url}` is not an absolute path")),
        _ => Err(format!("`{scheme}:` is not one of http, https, file, dir")),
    }
}

fn from_toml(path: &Path, text: &str) -> Result<BTreeMap<String, Mirror>> {
    let place = |offset: usize| {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() as u32 + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
        Place { file: path.to_path_buf(), line, column }
    };
    let wrong = |span: Option<std::ops::Range<usize>>, why: String| {
        let error = Error::cannot(Exit::Configuration, "read the table of mirrors").because(why);
        error.at(place(span.map_or(0, |span| span.start)))
    };
    let file: File = toml::from_str(text).map_err(|error| wrong(error.span(), error.message().to_string()))?;
    let mut table = BTreeMap::new();
    for (name, value) in file.mirrors {
        let span = Some(value.span());
        check_name(&name).map_err(|why| wrong(span.clone(), why))?;
        let (url, image) = match value.into_inner() {
            Value::Url(url) => (url, None),
            Value::Table { url, image } => (url, image),
        };
        for url in image.iter().chain([&url]) {
            check_url(url).map_err(|why| wrong(span.clone(), why))?;
        }
        let mut mirror = mirror(&url, Origin::Configuration(path.to_path_buf()));
        mirror.image = image.map(|url| url.trim_end_matches('/').to_string());
        table.insert(name, mirror);
    }
    Ok(table)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mirrors: BTreeMap<String, toml::Spanned<Value>>,
}

#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "a URL, or a table of `url` and `image`")]
enum Value {
    Url(String),
    #[serde(rename_all = "kebab-case")]
    Table {
        url: String,
        #[serde(default)]
        image: Option<String>,
    },
}

/// An archive's name is the last part of its path (`debian`, `debian-security`, `ubuntu`), except that security
/// suites mean `NAME-security`, wherever they are kept.
fn from_host(sources: &[HostSource]) -> BTreeMap<String, Mirror> {
    let mut table = BTreeMap::new();
    for source in sources {
        let path =
            source.uri.split_once("://").map_or("", |(_, rest)| rest.split_once('/').map_or("", |parts| parts.1));
        let path = path.trim_matches('/');
        let last = path.rsplit('/').next().unwrap_or_default();
        let archive = path.split('/').find(|part| matches!(*part, "debian" | "ubuntu" | "debian-security"));
        let security = source.suites.iter().any(|suite| suite.ends_with("-security") || suite.ends_with("/updates"));
        let name = match (archive, security) {
            (Some("debian-security"), _) | (Some("debian"), true) => "debian-security",
            (Some("ubuntu"), true) => "ubuntu-security",
            (Some(archive), false) => archive,
            _ => last,
        };
        if check_name(name).is_ok() && check_url(&source.uri).is_ok() {
            let mut mirror = mirror(&source.uri, Origin::HostSources(source.file.clone()));
            mirror.signed_by = source.signed_by.clone();
            table.entry(name.to_string()).or_insert(mirror);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(uri: &str, suites: &[&str]) -> HostSource {
        let suites = suites.iter().map(|suite| suite.to_string()).collect();
        HostSource { uri: uri.into(), suites, signed_by: None, file: "/etc/apt/sources.list".into() }
    }

    fn mirrors(command_line: &[&str], toml: &str, sources: &[HostSource]) -> Mirrors {
        let command_line: Vec<String> = command_line.iter().map(|value| value.to_string()).collect();
        let toml = from_toml(Path::new("mirrors.toml"), toml).unwrap();
        Mirrors { tables: vec![from_command_line(&command_line).unwrap(), toml, from_host(sources)] }
    }

    #[test]
    fn a_mirror_that_no_repository_asks_for_is_named() {
        let all = mirrors(
            &["debian=http://h/d", "debain=http://h/d", "tiny=http://h/t"],
            "[mirrors]\nx = 'http://h/x'\n",
            &[],
        );
        let sources = ["mirror://debian/sub", "mirror://tiny", "https://debain/x"];
        let repositories = sources.map(crate::package::repository::tests::at);
        assert_eq!(all.unused(repositories.iter()), ["debain"]);
    }

    #[test]
    fn the_command_line_wins_over_the_tables_and_they_over_the_hosts_sources() {
        let sources =
            [host("http://host.example/debian/", &["bookworm"]), host("http://host.example/ubuntu", &["noble"])];
        let toml = "[mirrors]\ndebian = 'http://toml.example/debian/'\nother = { url = 'file:///srv/other' }\n";
        let all = mirrors(&["debian=http://cli.example/d/"], toml, &sources);
        assert_eq!(all.get("debian").unwrap().url, "http://cli.example/d");
        assert_eq!(all.get("other").unwrap().url, "file:///srv/other");
        assert_eq!(all.get("ubuntu").unwrap().url, "http://host.example/ubuntu");
        assert_eq!(mirrors(&[], toml, &sources).get("debian").unwrap().url, "http://toml.example/debian");
        let error = all.get("debain").unwrap_err();
        assert_eq!((error.exit(), error.hint_text()), (Exit::Configuration, Some("did you mean `mirror://debian`?")));
    }

    #[test]
    fn the_hosts_sources_name_archives_by_path_and_suite() {
        let table = from_host(&[
            host("http://a.example/debian", &["bookworm", "bookworm-updates"]),
            host("http://a.example/debian-security", &["bookworm-security"]),
            host("http://b.example/archive/debian/20250101T000000Z", &["trixie"]),
            host("http://c.example/ubuntu", &["noble-security"]),
            host("http://d.example/extra/tools", &["stable"]),
            host("cdrom:[Debian]/", &["bookworm"]),
        ]);
        let names: Vec<_> = table.iter().map(|(name, mirror)| (name.as_str(), mirror.url.as_str())).collect();
        let wanted = [
            ("debian", "http://a.example/debian"),
            ("debian-security", "http://a.example/debian-security"),
            ("tools", "http://d.example/extra/tools"),
            ("ubuntu-security", "http://c.example/ubuntu"),
        ];
        assert_eq!(names, wanted);
    }

    #[test]
    fn an_image_never_carries_a_mirror_that_is_private_to_the_build_host() {
        let sources = [host("http://host.example/debian", &["bookworm"])];
        assert_eq!(
            mirrors(&["debian=http://10.0.0.1/d"], "", &sources).for_image("debian"),
            Some("http://host.example/debian")
        );
        assert_eq!(mirrors(&["debian=http://10.0.0.1/d"], "", &[]).for_image("debian"), None);
        let toml = "mirrors.debian = { url = 'http://cache:3142/debian', image = 'https://public.example/debian' }";
        assert_eq!(mirrors(&[], toml, &sources).for_image("debian"), Some("https://public.example/debian"));
        let private =
            ["http://127.0.0.1:8000/d", "http://localhost/d", "https://[::1]/d", "file:///d", "http://me:secret@h/d"];
        for url in private {
            assert!(is_private(url), "{url}");
        }
        assert!(!is_private("https://mirror.example:8443/debian"));
    }

    #[test]
    fn a_bad_table_is_78_with_its_place() {
        for (text, line, column) in [
            ("[mirrors]\ndebian = 3\n", 2, 10),
            ("[mirrors]\n debian = 'x'\n", 2, 11),
            ("[mirors]\n", 1, 2),
            ("[mirrors]\ndebian = 'http://a/b\n", 2, 21),
            ("mirrors.d = { url = 'ftp://a/b' }", 1, 13),
        ] {
            let error = from_toml(Path::new("m.toml"), text).unwrap_err();
            assert_eq!(error.exit(), Exit::Configuration);
            assert!(error.text().contains(&format!("m.toml:{line}:{column}")), "{text}: {}", error.text());
        }
        for value in ["debian", "=http://a/b", "debian=", "debian=ftp://x/y", "debian=http://", "a b=http://c/d"] {
            assert_eq!(from_command_line(&[value.into()]).unwrap_err().exit(), Exit::Usage, "{value}");
        }
    }
}
