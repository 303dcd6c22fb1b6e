//! What lets an image with an update stack go on by itself: repositories and the keys they are signed by.
//!
//! In: the repositories that the description includes in the image. Out: `/etc/zypp/repos.d/ID.repo` or
//! `/etc/yum.repos.d/ID.repo`, keys in `/etc/pki/rpm-gpg` and in rpm's database. Never a password, and never silently a
//! mirror that means nothing outside this host.

use super::install::{Database, RpmProgram, forget_traces, judge};
use super::{Repository, Rpm, folder};
use crate::error::Result;
use crate::host::file;
use crate::host::rooted::{RootPath, Rooted};
use crate::host::sandbox::Sandbox;
use crate::package::Beneath;
use crate::package::repository::{ImageUrl, with_authority};
use crate::plan::{Address, Manager, RepositoryUse, Signed, Warning};
use crate::report::Reporter;

const KEYS: &str = "/etc/pki/rpm-gpg";

/// Writes the image's permanent repositories.
pub(super) fn write(rpm: &Rpm, tree: &Rooted, sandbox: &Sandbox, reporter: &Reporter) -> Result<()> {
    let permanent = rpm.repositories.iter().filter(|repository| repository.source.used != RepositoryUse::Build);
    let repositories = match rpm.manager {
        Manager::Zypper => "/etc/zypp/repos.d",
        _ => "/etc/yum.repos.d",
    };
    let scratch = rpm.scratch.join("rpm/image");
    file::create_folders(&scratch)?;
    let mut keys = Vec::new();
    let mut written = 0;
    for repository in permanent {
        warn(repository, reporter);
        let id = repository.id();
        let mut urls = Vec::new();
        let checked =
            (repository.source.signed, repository.signed_packages) != (Signed::NotChecked, Signed::NotChecked);
        if checked {
            let keyring = folder::keys(rpm, repository, &scratch, reporter)?;
            for (number, key) in keyring.apart().iter().enumerate() {
                let end = if number == 0 { String::new() } else { format!("-{number}") };
                let name = format!("RPM-GPG-KEY-{id}{end}");
                tree.write(&RootPath::from(KEYS).join(&name), key.armored(), 0o644)?;
                file::write(&scratch.join(&name), key.armored().as_bytes())?;
                keys.push(scratch.join(&name).display().to_string());
                urls.push(format!("file://{KEYS}/{name}"));
            }
        }
        let path = scratch.join(format!("{id}.repo"));
        file::write(&path, repository_file(rpm, repository, &urls).as_bytes())?;
        repository.source.customize(&path, reporter)?;
        tree.write(&RootPath::from(repositories).join(format!("{id}.repo")), file::read(&path)?, 0o644)?;
        written += 1;
    }
    // A base has its own.
    if written == 0 && rpm.beneath == Beneath::Nothing {
        let text = "the image has an update stack and no source of updates: no repository has imageinclude=\"true\"";
        reporter.warn(Warning { text: text.into(), place: None });
    }
    if !keys.is_empty() {
        keys.sort();
        keys.dedup();
        let database = Database::of(tree)?;
        let program = RpmProgram { rpm, tree, sandbox, database: &database, see: &|_| {} };
        let words: Vec<&str> = ["--import"].into_iter().chain(keys.iter().map(String::as_str)).collect();
        judge(&program.run("rpmkeys", &words, reporter)?)?;
        forget_traces(tree)?;
    }
    Ok(())
}

fn warn(repository: &Repository, reporter: &Reporter) {
    let source = &repository.source;
    let warn = |text: String| reporter.warn(Warning { text, place: Some(source.place.clone()) });
    if let ImageUrl::Private(url) = &source.image_url {
        warn(format!("the image's source `{}` is {url}, which may mean nothing on another machine", source.alias));
    }
    if source.credentials.is_some() {
        warn(format!("the image's source `{}` needs a password, which is not put into the image", source.alias));
    }
}

fn repository_file(rpm: &Rpm, repository: &Repository, keys: &[String]) -> String {
    let source = &repository.source;
    let url = match &source.image_url {
        ImageUrl::Url(url) | ImageUrl::Private(url) => with_authority(url),
    };
    let address = match repository.address {
        Address::Repository => "baseurl",
        Address::Metalink => "metalink",
        Address::MirrorList => "mirrorlist",
    };
    let yes = |signed: Signed| u8::from(signed == Signed::Required);
    let (metadata, packages) = (yes(source.signed), yes(repository.signed_packages));
    let alias = &source.alias;
    let mut text = format!("[{}]\nname={alias}\nenabled=1\n{address}={url}\n", repository.id());
    match rpm.manager {
        Manager::Zypper => text.push_str(&format!(
            "autorefresh=1\ntype=rpm-md\ngpgcheck={}\nrepo_gpgcheck={metadata}\npkg_gpgcheck={packages}\n",
            metadata | packages
        )),
        _ => text.push_str(&format!("gpgcheck={packages}\nrepo_gpgcheck={metadata}\n")),
    }
    if !keys.is_empty() {
        text.push_str(&format!("gpgkey={}\n", keys.join("\n       ")));
    }
    if let Some(priority) = source.priority {
        text.push_str(&format!("priority={priority}\n"));
    }
    text
}
