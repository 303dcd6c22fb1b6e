//! Where packages come from, with every name resolved to a URL and every trust decision made.
//!
//! In: the plan's repositories and the [`Mirrors`]. Out: [`Source`]s, and what apt reads of them. Never a password in
//! what is printed, logged or written into an image.

use std::path::{Path, PathBuf};

use super::deb822::Stanza;
use super::mirror::{self, Mirrors};
use crate::error::{Error, Exit, Place, Result};
use crate::host::file;
use crate::host::program::Program;
use crate::plan::{Repository, RepositoryUse, Signed, decoded};
use crate::report::Reporter;

/// A repository as apt is told about it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name for people.
    pub alias: String,
    /// `http:`, `https:` or `file:`; percent-encoded, no credentials, no slash at the end.
    pub url: String,
    /// A suite, or `./` of a flat repository.
    pub suite: String,
    /// Components; none in a flat repository.
    pub components: Vec<String>,
    /// Debian architectures; none: all that apt knows of.
    pub architectures: Vec<String>,
    /// Whether a signature is demanded.
    pub signed: Signed,
    /// `<signing key>`: files or URLs; empty: the host's own trust.
    pub keys: Vec<String>,
    /// What the host's own source of the same mirror is signed by, verbatim.
    pub host_signed_by: Option<String>,
    /// User and password.
    pub credentials: Option<(String, String)>,
    /// Pin priority.
    pub priority: Option<u32>,
    /// Where it is used.
    pub used: RepositoryUse,
    /// What the image's own sources say.
    pub image_url: ImageUrl,
    /// A script of the description that may edit the image's sources file.
    pub customize: Option<PathBuf>,
    /// Where it stands in the description.
    pub place: Place,
}

/// The URL in an image's own sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageUrl {
    /// This one.
    Url(String),
    /// The build's own, for want of a better one: it may mean nothing elsewhere.
    Private(String),
}

impl Source {
    /// Resolves a repository of the description. 65 for a source that apt cannot use, 78 for an unknown mirror.
    pub fn resolve(repository: &Repository, mirrors: &Mirrors) -> Result<Source> {
        let wrong = |why: String| {
            Error::cannot(Exit::Description, format!("use the repository `{}`", repository.alias))
                .because(why)
                .at(repository.place.clone())
        };
        let (written, image_url, host_signed_by) = match repository.source.strip_prefix("mirror://") {
            None => (repository.source.clone(), None, None),
            Some(path) => {
                let (name, rest) = path.split_once('/').unwrap_or((path, ""));
                let mirror = mirrors.get(name).map_err(|error| error.at(repository.place.clone()))?;
                let image = mirrors.for_image(name).map(|url| below(url, rest));
                (below(&mirror.url, rest), Some(image), mirror.signed_by.clone())
            }
        };
        mirror::check_url(&written).map_err(wrong)?;
        let (url, in_url) = without_credentials(&written);
        let credentials = repository.credentials.clone().or(in_url);
        let odd = |text: &str| text.contains(char::is_control);
        // It would be another line of the file for passwords.
        if credentials.as_ref().is_some_and(|(user, password)| odd(user) || odd(password)) {
            return Err(wrong("its user name or password has a control character".into()));
        }
        // RFC 7617, 2: what follows the first colon is the password.
        if credentials.as_ref().is_some_and(|(user, _)| user.contains(':')) {
            return Err(wrong("its user name has a colon, which no server takes for a part of it".into()));
        }
        let url = normalized(&url);
        let image_url = match image_url {
            Some(Some(image)) => ImageUrl::Url(normalized(&image)),
            None if !mirror::is_private(&url) => ImageUrl::Url(url.clone()),
            None | Some(None) => ImageUrl::Private(url.clone()),
        };
        let flat = repository.distribution.is_empty() || repository.distribution.ends_with('/');
        let words = [&repository.components, &repository.architectures];
        if let Some(word) = words.into_iter().flatten().chain([&repository.distribution]).find(|word| !is_word(word)) {
            return Err(wrong(format!("`{word}` is not a name that apt knows")));
        }
        Ok(Source {
            alias: repository.alias.clone(),
            url,
            suite: if repository.distribution.is_empty() { "./".into() } else { repository.distribution.clone() },
            components: if flat { Vec::new() } else { repository.components.clone() },
            architectures: repository.architectures.clone(),
            signed: repository.signed,
            keys: repository.keys.clone(),
            host_signed_by,
            credentials,
            priority: repository.priority,
            used: repository.used,
            image_url,
            customize: repository.customize.clone(),
            place: repository.place.clone(),
        })
    }

    /// 65 where the file in which `manager` looks for logins cannot hold this one: `unfit` says why not.
    pub fn check_login(&self, manager: &str, unfit: impl Fn(&str) -> Option<&'static str>) -> Result<()> {
        let login = self.credentials.iter().filter(|_| self.used != RepositoryUse::ImageOnly);
        for (what, text) in login.flat_map(|(user, password)| [("user name", user), ("password", password)]) {
            if let Some(why) = unfit(text) {
                return Err(Error::cannot(Exit::Description, format!("use the repository `{}`", self.alias))
                    .because(format!("its {what} {why}, and {manager} has no way to read such a one"))
                    .at(self.place.clone())
                    .hint(format!("another {what} is needed, or a mirror that asks for none")));
            }
        }
        Ok(())
    }

    /// Lets the script of the description, on the build host, edit the repository's file. 65 where it fails or removes it.
    pub fn customize(&self, path: &Path, reporter: &Reporter) -> Result<()> {
        let Some(script) = &self.customize else { return Ok(()) };
        let ran = Program::new("bash").arg("--norc").arg(script).arg(path).run(reporter).map(drop);
        let there = ran.and_then(|()| match file::is_file(path) {
            true => Ok(()),
            false => Err(Error::cannot(Exit::Description, "read what it wrote")
                .because(format!("{} removed the file that it was to edit", script.display()))),
        });
        there.map_err(|error| {
            let what = format!("customize the repository `{}`", self.alias);
            error.with_exit(Exit::Description).within(what).at(self.place.clone())
        })
    }

    /// The paragraph of a `.sources` file (sources.list(5)); `signed_by` is that field's value.
    pub fn stanza(&self, url: &str, signed_by: Option<&str>) -> Stanza {
        let mut stanza = Stanza::default();
        stanza.set("Types", "deb");
        stanza.set("URIs", url);
        stanza.set("Suites", &self.suite);
        for (name, words) in [("Components", &self.components), ("Architectures", &self.architectures)] {
            if !words.is_empty() {
                stanza.set(name, words.join(" "));
            }
        }
        match (self.signed, signed_by) {
            (Signed::Required, Some(keys)) => stanza.set("Signed-By", keys),
            (Signed::Required, None) => {}
            (Signed::NotChecked, _) => {
                stanza.set("Trusted", "yes");
                stanza.set("Check-Valid-Until", "no");
            }
        }
        stanza
    }

    /// The URL in the image's own sources.
    pub fn permanent_url(&self) -> &str {
        match &self.image_url {
            ImageUrl::Url(url) | ImageUrl::Private(url) => url,
        }
    }

    /// The line of apt_auth.conf(5) with the repository's credentials.
    pub fn authentication(&self) -> Option<String> {
        let (user, password) = self.credentials.as_ref()?;
        Some(format!("machine {}/ login {user} password {password}\n", self.url))
    }

    /// The host that it is on; empty for a local folder. What `Pin: origin` matches (apt_preferences(5)).
    pub fn host(&self) -> &str {
        let authority = self.url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
        authority.split(':').next().unwrap_or_default()
    }
}

fn is_word(text: &str) -> bool {
    !text.starts_with('-') && text.chars().all(|char| char.is_ascii_graphic() && !"[]#\"';".contains(char))
}

fn below(url: &str, path: &str) -> String {
    let path = path.trim_matches('/');
    if path.is_empty() { url.to_string() } else { format!("{}/{path}", url.trim_end_matches('/')) }
}

fn without_credentials(url: &str) -> (String, Option<(String, String)>) {
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| scheme.starts_with("http")) else {
        return (url.to_string(), None);
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        None => (url.to_string(), None),
        Some((login, host)) => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            (format!("{scheme}://{host}{path}"), Some((decoded(user), decoded(password))))
        }
    }
}

/// `dir:` is KIWI's word for `file:`; blanks and control characters are percent-encoded, doubled slashes dropped.
fn normalized(url: &str) -> String {
    let (scheme, rest) = url.split_once(':').unwrap_or(("file", url));
    let (head, path) = match scheme {
        "file" | "dir" => ("file:".to_string(), rest),
        _ => {
            let rest = rest.trim_start_matches('/');
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (format!("{scheme}://{authority}"), path)
        }
    };
    let mut text = head;
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        text.push('/');
        for char in part.chars() {
            match char {
                ' ' | '"' | '\'' | '<' | '>' | '[' | ']' | '|' | '\\' | '^' | '`' | '{' | '}' => {
                    text.push_str(&format!("%{:02x}", u32::from(char)));
                }
                char => text.push(char),
            }
        }
    }
    if text == "file:" { "file:/".into() } else { text }
}

/// `file:/x` as `file:///x`: what zypper, dnf and pacman take.
pub fn with_authority(url: &str) -> String {
    match url.strip_prefix("file:/") {
        Some(path) if !path.starts_with('/') => format!("file:///{path}"),
        _ => url.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A repository of a description.
    pub fn at(source: &str) -> Repository {
        repository(source, "")
    }

    fn repository(source: &str, distribution: &str) -> Repository {
        Repository {
            alias: "x".into(),
            source: source.into(),
            distribution: distribution.into(),
            components: vec!["main".into()],
            architectures: Vec::new(),
            priority: None,
            signed: Signed::Required,
            signed_packages: Signed::NotChecked,
            address: Default::default(),
            keys: Vec::new(),
            used: RepositoryUse::Build,
            credentials: None,
            customize: None,
            place: Place { file: "config.xml".into(), line: 3, column: 5 },
        }
    }

    #[test]
    fn sources_become_what_apt_reads() {
        let mirrors = Mirrors::load(&["debian=http://127.0.0.1:80/d/".into()], None).unwrap();
        for (source, url) in [
            ("mirror://debian", "http://127.0.0.1:80/d"),
            ("mirror://debian/sub/", "http://127.0.0.1:80/d/sub"),
            ("dir:///srv/my repo/", "file:/srv/my%20repo"),
            ("dir:/srv/r", "file:/srv/r"),
            ("file:///srv//./r", "file:/srv/r"),
            ("https://me:secret@h.example:8443/x/", "https://h.example:8443/x"),
            ("http://h.example", "http://h.example"),
        ] {
            assert_eq!(Source::resolve(&repository(source, "bookworm"), &mirrors).unwrap().url, url, "{source}");
        }
        for source in ["obs://a/b", "/plain/path", "http://", "file:relative", "dir://./x", "ftp://a/b"] {
            let error = Source::resolve(&repository(source, ""), &mirrors).unwrap_err();
            assert_eq!(error.exit(), Exit::Description, "{source}");
            assert!(error.text().contains("config.xml:3:5"));
        }
        assert_eq!(decoded("a%2bb%3a%zz%"), "a+b:%zz%");
    }

    #[test]
    fn a_password_reaches_only_the_file_for_passwords() {
        let source = Source::resolve(&repository("http://me:secret@h.example/x", ""), &Mirrors::default()).unwrap();
        assert_eq!(
            source.stanza(&source.url, Some("/k.gpg")).to_string(),
            "Types: deb\nURIs: http://h.example/x\nSuites: ./\nSigned-By: /k.gpg\n"
        );
        assert_eq!(source.authentication().unwrap(), "machine http://h.example/x/ login me password secret\n");
        assert_eq!(source.image_url, ImageUrl::Url("http://h.example/x".into()));
        // RFC 3986, 3.2.1: what would end the user name or the password is percent-encoded.
        let encoded = repository("http://m%40e:s%3ae%25c%2fret@h.example/x", "");
        let source = Source::resolve(&encoded, &Mirrors::default()).unwrap();
        assert_eq!(source.credentials, Some(("m@e".into(), "s:e%c/ret".into())));
        assert_eq!(source.url, "http://h.example/x");
        let two_lines = repository("http://me:se%0amachine@h.example/x", "");
        let error = Source::resolve(&two_lines, &Mirrors::default()).unwrap_err();
        assert!(error.text().contains("control character") && !error.text().contains("machine"), "{}", error.text());
        let colon = repository("http://m%3ae:secret@h.example/x", "");
        let error = Source::resolve(&colon, &Mirrors::default()).unwrap_err();
        assert!(error.text().contains("colon") && !error.text().contains("secret"), "{}", error.text());
    }

    #[test]
    fn only_an_explicit_no_makes_a_source_trusted_without_a_signature() {
        let mut unsigned = repository("file:///r", "suite");
        let required = Source::resolve(&unsigned, &Mirrors::default()).unwrap();
        assert!(!required.stanza(&required.url, None).to_string().contains("Trusted"));
        unsigned.signed = Signed::NotChecked;
        let source = Source::resolve(&unsigned, &Mirrors::default()).unwrap();
        assert_eq!(
            source.stanza(&source.url, Some("ignored")).to_string(),
            "Types: deb\nURIs: file:/r\nSuites: suite\nComponents: main\nTrusted: yes\nCheck-Valid-Until: no\n"
        );
        assert_eq!(source.image_url, ImageUrl::Private("file:/r".into()));
    }
}
