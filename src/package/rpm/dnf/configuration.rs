//! What dnf is told: a configuration, repositories and a plugin of the build's own, in its scratch folder.
//!
//! In: the repositories with their keys. Out: files that nobody else can read, because they hold the passwords; options
//! for every command. Never anything of the host's own configuration: each folder that dnf would look into is named.

use super::{Dnf, Generation};
use crate::cache::Sha256;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::package::rpm::Repository;
use crate::package::rpm::decision::Metadata;
use crate::plan::{Address, Signed};

const PLUGIN: &str = include_str!("report.py");

/// The environment variable that names a file with digests of the repositories' metadata; where they are still the same,
/// dnf4 ends before it decides anything.
pub(super) const KNOWN: &str = "INGOT_DNF_KNOWN";

/// Variables that dnf knows without being told (dnf.conf(5)).
const VARIABLES: [&str; 5] = ["arch", "basearch", "releasever", "releasever_major", "releasever_minor"];

/// Writes everything that dnf reads.
pub(super) fn write(dnf: &Dnf<'_>) -> Result<()> {
    let scratch = &dnf.folder.scratch;
    for name in ["plugins", "vars", "repos.d"] {
        file::create_folders(&scratch.join(name))?;
    }
    file::write(&scratch.join("plugins/ingot_report.py"), PLUGIN.as_bytes())?;
    file::write(&scratch.join("dnf.conf"), main(dnf).as_bytes())?;
    for repository in dnf.used {
        let path = scratch.join(format!("repos.d/{}.repo", repository.id()));
        file::write_private(&path, section(dnf, repository)?.as_bytes())?;
        repository.source.customize(&path, dnf.reporter)?;
    }
    Ok(())
}

/// The digest of our plugin.
pub(super) fn report() -> String {
    Sha256::of(PLUGIN).to_string()
}

/// Tells the plugin what the metadata was.
pub(super) fn write_known(dnf: &Dnf<'_>, known: &Metadata) -> Result<()> {
    let json = serde_json::to_vec(known).map_err(|error| Error::cannot(Exit::Bug, "ask dnf").because(error))?;
    file::write(&dnf.known(), &json)
}

/// Whether the plugin found it to be the same; it asks no more once it has compared.
pub(super) fn is_unchanged(dnf: &Dnf<'_>) -> Result<bool> {
    let asked = file::is_file(&dnf.known());
    file::remove(&dnf.known())?;
    Ok(asked && file::is_file(&dnf.report()) && file::read(&dnf.report())? == b"unchanged")
}

/// The environment variable that tells the plugin where dnf's cache is.
pub(super) const CACHE: &str = "INGOT_DNF_CACHE";

/// What every command begins with.
pub(super) fn options(dnf: &Dnf<'_>) -> Vec<String> {
    let scratch = dnf.inside(&dnf.folder.scratch);
    let cache = dnf.inside(&dnf.folder.cache);
    let mut words = vec![
        format!("--config={scratch}/dnf.conf"),
        format!("--installroot={}", dnf.inside(&dnf.folder.root)),
        // Folders that are named in the configuration are looked for in the install root first.
        format!("--setopt=cachedir={cache}"),
        format!("--setopt=reposdir={scratch}/repos.d"),
        format!("--setopt=varsdir={scratch}/vars"),
        format!("--setopt=logdir={scratch}/log"),
        "--assumeyes".into(),
    ];
    match dnf.generation {
        Generation::Four => {
            words.push(format!("--setopt=persistdir={scratch}/state"));
            words.push(format!("--setopt=arch={}", dnf.rpm.arch));
            words.push("--setopt=ignorearch=1".into());
        }
        Generation::Five => {
            words.push(format!("--setopt=system_cachedir={cache}"));
            words.push(format!("--forcearch={}", dnf.rpm.arch));
        }
    }
    if let Some(version) = &dnf.rpm.request.rpm.release_version {
        words.push(format!("--releasever={version}"));
    }
    words
}

/// The section of dnf itself.
fn main(dnf: &Dnf<'_>) -> String {
    let scratch = dnf.inside(&dnf.folder.scratch);
    let yes = |is: bool| if is { "1" } else { "0" };
    let groups = if dnf.recommends() { "default,mandatory,conditional" } else { "mandatory" };
    let mut lines = vec![
        ("plugins", yes(dnf.generation == Generation::Four).to_string()),
        ("pluginpath", format!("{scratch}/plugins")),
        ("pluginconfpath", format!("{scratch}/plugins")),
        ("install_weak_deps", yes(dnf.recommends()).to_string()),
        ("group_package_types", groups.to_string()),
        ("excludepkgs", excluded(dnf)),
    ];
    let fixed = [
        ("keepcache", "1"),
        // Asks each time: a repository may have changed since the last build.
        ("metadata_expire", "0"),
        ("skip_if_unavailable", "0"),
        // KIWI's choice: the newest version that can be installed. What was passed over becomes a warning.
        ("best", "0"),
        ("strict", "1"),
        ("obsoletes", "1"),
        ("installonly_limit", "0"),
        ("localpkg_gpgcheck", "1"),
        ("max_parallel_downloads", "8"),
        ("retries", "3"),
        ("color", "never"),
    ];
    lines.extend(fixed.map(|(name, value)| (name, value.to_string())));
    if dnf.generation == Generation::Four {
        lines.push(("deltarpm", "0".into()));
    }
    lines.extend(dnf.folder.certificates.bundle().map(|bundle| ("sslcacert", dnf.inside(&bundle))));
    let lines = lines.into_iter().filter(|(_, value)| !value.is_empty());
    lines.fold("[main]\n".to_string(), |text, (name, value)| format!("{text}{name}={value}\n"))
}

/// `<ignore>`: dnf never sees these.
fn excluded(dnf: &Dnf<'_>) -> String {
    let names: Vec<&str> = dnf.rpm.request.ignore.iter().map(|named| named.name.as_str()).collect();
    names.join(",")
}

fn section(dnf: &Dnf<'_>, repository: &Repository) -> Result<String> {
    let source = &repository.source;
    let url = repository.url();
    if url.contains("$releasever") && dnf.rpm.request.rpm.release_version.is_none() {
        return Err(Error::cannot(Exit::Description, format!("use the repository `{}`", source.alias))
            .because("its address has $releasever, and the description does not say which release that is")
            .at(source.place.clone())
            .hint("add <release-version> to <preferences>"));
    }
    let address = match repository.address {
        Address::Repository => "baseurl",
        Address::Metalink => "metalink",
        Address::MirrorList => "mirrorlist",
    };
    let checked = |signed: Signed| if signed == Signed::Required { 1 } else { 0 };
    let mut text = format!(
        "[{}]\nname={}\n{address}={url}\nenabled=1\nrepo_gpgcheck={}\ngpgcheck={}\n",
        repository.id(),
        source.alias,
        checked(source.signed),
        checked(repository.signed_packages),
    );
    let keys = dnf.folder.key_files(&source.alias, dnf.used);
    let keys: Vec<String> = keys.iter().map(|key| format!("file://{}", dnf.inside(key))).collect();
    if !keys.is_empty() {
        text.push_str(&format!("gpgkey={}\n", keys.join(" ")));
    }
    if let Some(priority) = source.priority {
        text.push_str(&format!("priority={priority}\n"));
    }
    if let Some((user, password)) = &source.credentials {
        source.check_login("dnf4", |text| unfit_for_a_login(dnf.generation, text))?;
        let [user, password] = [user, password].map(|text| escaped(dnf.generation, text));
        text.push_str(&format!("username={user}\npassword={password}\n"));
    }
    Ok(text)
}

/// A user name or password as dnf reads it: it strips blanks, and then a pair of quotes; dnf5 takes a backslash for the
/// sign behind it.
fn escaped(generation: Generation, text: &str) -> String {
    let text = match generation {
        Generation::Four => text.to_string(),
        Generation::Five => text.replace('\\', r"\\").replace('$', r"\$"),
    };
    let is_within = |quote: char| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    if text.trim_matches(' ') != text || is_within('"') || is_within('\'') { format!("\"{text}\"") } else { text }
}

/// Why dnf would not read it as it is: dnf4 puts the values of variables everywhere.
fn unfit_for_a_login(generation: Generation, text: &str) -> Option<&'static str> {
    let is_variable = |rest: &str| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len());
        VARIABLES.contains(&&rest[..end])
    };
    let found = generation == Generation::Four && text.split('$').skip(1).any(is_variable);
    found.then_some("has the name of a variable behind a `$`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_written_so_that_dnf_reads_what_it_is() {
        for (text, four, five) in [
            ("plain words", "plain words", "plain words"),
            (" a ", "\" a \"", "\" a \""),
            ("\"a\"", "\"\"a\"\"", "\"\"a\"\""),
            ("'", "'", "'"),
            (r"a\b$1", r"a\b$1", r"a\\b\$1"),
        ] {
            assert_eq!(escaped(Generation::Four, text), four);
            assert_eq!(escaped(Generation::Five, text), five);
        }
        for (text, unfit) in [("a$arch", true), ("${releasever}x", true), ("$archive $1 arch$", false), ("", false)] {
            assert_eq!(unfit_for_a_login(Generation::Four, text).is_some(), unfit, "{text}");
            assert!(unfit_for_a_login(Generation::Five, text).is_none());
        }
    }
}
