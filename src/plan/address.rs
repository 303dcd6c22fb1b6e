//! Where a container image is: the text of `derived_from` to an [`ImageAddress`].
//!
//! In: what the description says, and its folder. Out: a file or folder of this host, or what skopeo fetches. Never looks
//! whether it is there.

use std::path::Path;

use super::ImageAddress;
use crate::description::shown;

/// What skopeo fetches, beside registries.
const FETCHED: &[&str] = &["containers-storage:", "docker-daemon:"];

/// Reads an address; the reason where it is none. `folder` is that of the description.
pub fn read(text: &str, folder: &Path) -> Result<ImageAddress, String> {
    let local = |path: &str, name: Option<&str>| match path.is_empty() {
        true => Err("it names no file".to_string()),
        false => Ok(ImageAddress::Local { path: folder.join(path), name: name.map(str::to_string) }),
    };
    if let Some(path) = text.strip_prefix("this://") {
        let (path, name) = fragment(path);
        return local(path.trim_start_matches('/'), name);
    }
    for scheme in ["file:", "dir://"] {
        if let Some(path) = text.strip_prefix(scheme) {
            let (path, name) = fragment(path.strip_prefix("//").unwrap_or(path));
            return local(path, name);
        }
    }
    for scheme in ["oci-archive:", "docker-archive:", "oci:"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            let rest = rest.strip_prefix("//").unwrap_or(rest);
            let (path, name) = rest.split_once(':').map_or((rest, None), |(path, name)| (path, Some(name)));
            return local(path, name.filter(|name| !name.is_empty()));
        }
    }
    if FETCHED.iter().any(|scheme| text.strip_prefix(scheme).is_some_and(is_stored)) {
        return Ok(ImageAddress::Fetched(text.to_string()));
    }
    if let Some(name) = text.strip_prefix("docker://") {
        return match is_reference(name) {
            true => Ok(ImageAddress::Fetched(text.to_string())),
            false => Err(format!("`{}` is not the name of an image", shown(name))),
        };
    }
    match text.split_once("://") {
        Some(("obs", _)) => Err("only a worker of the build service has it: name an archive or a registry".to_string()),
        Some((scheme @ ("http" | "https" | "ftp"), _)) => {
            Err(format!("images are not fetched over {scheme}: name a registry, docker://host/name:tag"))
        }
        None if is_reference(text) => Ok(ImageAddress::Fetched(format!("docker://{text}"))),
        _ => Err("it is neither a file:// or this:// address nor the name of an image".to_string()),
    }
}

/// `PATH#NAME`.
fn fragment(path: &str) -> (&str, Option<&str>) {
    match path.split_once('#') {
        Some((path, name)) if !name.is_empty() => (path, Some(name)),
        Some((path, _)) => (path, None),
        None => (path, None),
    }
}

/// `[host[:port]/]name[:tag][@digest]`: nothing that a shell or skopeo would take for something else. What stands before
/// an `@` elsewhere is a user and a password, which belong into a file of credentials.
pub fn is_reference(text: &str) -> bool {
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-' | '/' | ':');
    let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
    let is_digest = |digest: &str| digest.starts_with("sha256:") && digest.chars().all(fits);
    name.chars().all(fits)
        && name.starts_with(|char: char| char.is_ascii_alphanumeric())
        && digest.is_none_or(is_digest)
}

/// The same, behind the place of a storage that is not the host's usual one: `[DRIVER@FOLDER+FOLDER]name`.
fn is_stored(text: &str) -> bool {
    let Some((place, name)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return is_reference(text);
    };
    let fits = |char: char| char.is_ascii_alphanumeric() || "._-/:@+=,".contains(char);
    place.chars().all(fits) && is_reference(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_address_is_a_file_or_something_that_skopeo_fetches() {
        let local = |path: &str, name: Option<&str>| {
            Ok(ImageAddress::Local { path: path.into(), name: name.map(str::to_string) })
        };
        let fetched = |text: &str| Ok(ImageAddress::Fetched(text.to_string()));
        for (text, wanted) in [
            ("file:///srv/base.tar.gz", local("/srv/base.tar.gz", None)),
            ("file:///srv/base.tar#base:1", local("/srv/base.tar", Some("base:1"))),
            ("this://base.oci.tar", local("/d/base.oci.tar", None)),
            ("this:///base.oci.tar", local("/d/base.oci.tar", None)),
            ("dir:///srv/layout", local("/srv/layout", None)),
            ("oci:/srv/layout:latest", local("/srv/layout", Some("latest"))),
            ("oci:///srv/layout", local("/srv/layout", None)),
            ("oci-archive:/srv/a.tar", local("/srv/a.tar", None)),
            ("docker-archive:/srv/a.tar:a:1", local("/srv/a.tar", Some("a:1"))),
            ("docker://host:5000/a/b:1", fetched("docker://host:5000/a/b:1")),
            ("debian:12", fetched("docker://debian:12")),
            ("registry.example.org/a/b", fetched("docker://registry.example.org/a/b")),
            ("containers-storage:a:1", fetched("containers-storage:a:1")),
        ] {
            assert_eq!(read(text, Path::new("/d")), wanted, "{text}");
        }
        for text in
            ["", "file://", "obs://a/b/c#1", "https://a/b.tar", "ftp://a", "sif:/a b", "--option", "docker://", "a b"]
        {
            assert!(read(text, Path::new("/d")).is_err(), "{text}");
        }
    }
}
