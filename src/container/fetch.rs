//! Images that are not on this host's disk: registries and container storages, through skopeo.
//!
//! In: what skopeo calls them. Out: one OCI archive in the cache, named by the digest that the registry has for it, so
//! that it is fetched once. Credentials stay with skopeo (`containers-auth.json`(5)). Never fetches what is there.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Exit, Result};
use crate::host::program::{Program, failure};
use crate::host::{file, lock};
use crate::release::artifact::hex;
use crate::report::Reporter;

/// How registries are reached: files of whoever builds, which skopeo reads itself.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// Credentials (`containers-auth.json`(5)).
    pub credentials: Option<PathBuf>,
    /// Mirrors and transports (`containers-registries.conf`(5)).
    pub configuration: Option<PathBuf>,
}

/// What is fetched.
pub struct Request<'a> {
    /// In skopeo's words: `docker://registry/name:tag`.
    pub reference: &'a str,
    /// The digest that it must have.
    pub digest: Option<&'a str>,
    /// GOARCH.
    pub architecture: &'a str,
    /// Its variant.
    pub variant: Option<&'a str>,
    /// How its registry is reached.
    pub registries: &'a Registries,
}

/// What was fetched.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The archive.
    pub path: PathBuf,
    /// The digest of what the reference stands for: of its index, where it has one.
    pub digest: String,
}

/// Prefix of folders in the cache in which an archive arrives.
const PREFIX: &str = ".fetching-";

/// Fetches an image into `kept`, where it is not there already. 69 without skopeo, 66 where there is no such image, 75
/// where its place does not answer, 76 where its digest is another one.
pub fn fetch(request: &Request<'_>, scratch: &Path, kept: &Path, reporter: &Reporter) -> Result<Fetched> {
    let digest = match (request.digest, pinned(request.reference)) {
        (Some(digest), _) | (None, Some(digest)) => digest.to_string(),
        (None, None) => digest_of(request, scratch, reporter)?,
    };
    let machine = request.variant.map(|variant| format!("-{variant}")).unwrap_or_default();
    let name = format!("{}-{}{machine}.oci.tar", digest.trim_start_matches("sha256:"), request.architecture);
    let path = kept.join(name);
    if file::is_file(&path) {
        reporter.log_line(&format!("{} is there already: {digest}", request.reference));
        // What is used least goes first; where that cannot be noted, it goes earlier.
        let _ = file::touch(&path);
        return Ok(Fetched { path, digest });
    }
    file::create_folders(kept)?;
    let exact = with_digest(request.reference, &digest);
    let is_exact = pinned(&exact).is_some();
    if !is_exact && digest_of(request, scratch, reporter)? != digest {
        return Err(Error::cannot(Exit::Integrity, format!("use {}", request.reference))
            .because(format!("its digest is not the one of the description, {digest}")));
    }
    let making = scratch.join("fetched.oci.tar");
    file::remove(&making)?;
    let mut skopeo = skopeo(request.registries, scratch)
        .arg("--override-arch")
        .arg(request.architecture)
        .args(["--override-os", "linux"]);
    if let Some(variant) = request.variant {
        skopeo = skopeo.arg("--override-variant").arg(variant);
    }
    let skopeo = skopeo.args(["copy", "--quiet", "--"]).arg(&exact);
    run(skopeo.arg(format!("oci-archive:{}", making.display())), request.reference, reporter)?;
    // The cache may be on another filesystem than the scratch folder, and other builds fetch into it at the same time.
    lock::sweep(kept, PREFIX)?;
    let (folder, _lock) = lock::create_locked(kept, PREFIX)?;
    let beside = folder.join("fetched");
    file::copy(&making, &beside)?;
    file::remove(&making)?;
    file::sync_file(&beside)?;
    file::rename(&beside, &path)?;
    file::remove_tree(&folder)?;
    Ok(Fetched { path, digest })
}

/// skopeo, with whatever it needs of its own in the scratch folder. Its signature policy is the host's, where there is one.
fn skopeo(registries: &Registries, scratch: &Path) -> Program {
    let mut program = Program::new("skopeo").arg("--tmpdir").arg(scratch);
    if let Some(file) = &registries.credentials {
        program = program.env("REGISTRY_AUTH_FILE", file);
    }
    if let Some(file) = &registries.configuration {
        program = program.arg("--registries-conf").arg(file);
    }
    let policy = ["/etc/containers/policy.json", "/usr/share/containers/policy.json"];
    match policy.iter().any(|path| file::is_file(Path::new(path))) {
        true => program,
        false => program.arg("--insecure-policy"),
    }
}

/// The digest of the manifest or index that a reference stands for.
fn digest_of(request: &Request<'_>, scratch: &Path, reporter: &Reporter) -> Result<String> {
    let inspect = skopeo(request.registries, scratch).args(["inspect", "--raw", "--"]).arg(request.reference);
    let manifest = run(inspect, request.reference, reporter)?;
    Ok(format!("sha256:{}", hex(&Sha256::digest(&manifest))))
}

fn run(skopeo: Program, reference: &str, reporter: &Reporter) -> Result<Vec<u8>> {
    let line = skopeo.line();
    let ended = skopeo.run_to_end(reporter, |_| {}).map_err(|error| {
        error.within(format!("fetch {reference}")).hint("install skopeo on this host, or name a local archive")
    })?;
    if ended.status.success() {
        return Ok(ended.output.stdout);
    }
    let exit = exit_of(&String::from_utf8_lossy(&ended.output.stderr), reference);
    Err(failure(&line, &ended).within(format!("fetch {reference}")).with_exit(exit))
}

/// What skopeo's complaint means. It has but one exit code, and its words are those of containers/image and Go's net/http.
fn exit_of(said: &str, reference: &str) -> Exit {
    // The image may be called anything. It is named whole, and without its tag.
    let name = reference.split_once("//").map_or(reference, |(_, name)| name).to_lowercase();
    let name = name.split_once('@').map_or(name.as_str(), |(name, _)| name);
    let tag = name.rfind(':').filter(|colon| !name[*colon..].contains('/'));
    let mut said = said.to_lowercase();
    if name.contains('/') {
        said = said.replace(name, "").replace(&name[..tag.unwrap_or(name.len())], "");
    }
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let temporary =
        ["timeout", "connection", "dial tcp", "no such host", "toomanyrequests", "too many requests", "eof"];
    if says(&temporary) || says(&["http status: 5", "http status: 429", "from registry 5", "from registry 429"]) {
        Exit::Temporary
    } else if says(&["manifest unknown", "name unknown", "not found", "no such", "does not resolve", "not known"]) {
        Exit::InputMissing
    } else if says(&["unauthorized", "denied", "authentication required", "forbidden"]) {
        Exit::Permission
    } else if says(&["digest did not match", "does not match", "signature"]) {
        Exit::Integrity
    } else {
        Exit::Description
    }
}

/// The digest that a reference names itself.
fn pinned(reference: &str) -> Option<&str> {
    reference.rsplit_once('@').map(|(_, digest)| digest).filter(|digest| super::source::is_digest(digest))
}

/// The reference of exactly that manifest, where it is in a registry.
fn with_digest(reference: &str, digest: &str) -> String {
    let Some(name) = reference.strip_prefix("docker://") else { return reference.to_string() };
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    // A colon before a slash belongs to a registry's port.
    let tag = name.rfind(':').filter(|colon| !name[*colon..].contains('/'));
    format!("docker://{}@{digest}", &name[..tag.unwrap_or(name.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_skopeo_complains_of_has_an_exit_code_whatever_the_image_is_called() {
        let host = "docker://host:5000";
        for (reference, said, exit) in [
            (
                "a/b:1",
                "pinging container registry host:5000: invalid status code from registry 503 (Service Unavailable)",
                75,
            ),
            (
                "a/b:1",
                "reading manifest 1 in host:5000/a/b: received unexpected HTTP status: 500 Internal Server Error",
                75,
            ),
            ("a/b:1", "reading manifest 1 in host:5000/a/b: toomanyrequests: rate limit", 75),
            ("a/b:1", "pinging container registry host:5000: Get \"http://host:5000/v2/\": dial tcp: refused", 75),
            ("a/b:1", "reading manifest 1 in host:5000/a/b: manifest unknown", 66),
            ("a/b:1", "pinging container registry host:5000: invalid status code from registry 404 (Not Found)", 66),
            ("a/b:1", "reading manifest 1 in host:5000/a/b: unauthorized: authentication required", 77),
            ("a/b:1", "pinging container registry host:5000: invalid status code from registry 403 (Forbidden)", 77),
            ("a/b:1", "writing blob: Digest did not match, expected sha256:0, got sha256:1", 76),
            ("a/timeout:1", "reading manifest 1 in host:5000/a/timeout: manifest unknown", 66),
            ("connection:1", "initializing source docker://host:5000/connection:1: unauthorized: no", 77),
        ] {
            assert_eq!(exit_of(said, &format!("{host}/{reference}")).code(), exit, "{said}");
        }
    }

    #[test]
    fn a_reference_is_pinned_to_a_digest_in_place_of_its_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (reference, exact) in [
            ("docker://host:5000/a/b:1", format!("docker://host:5000/a/b@{digest}")),
            ("docker://host:5000/a/b", format!("docker://host:5000/a/b@{digest}")),
            ("docker://debian", format!("docker://debian@{digest}")),
            ("containers-storage:a:1", "containers-storage:a:1".to_string()),
        ] {
            assert_eq!(with_digest(reference, &digest), exact);
        }
        assert_eq!(pinned(&format!("docker://a@{digest}")), Some(digest.as_str()));
        assert_eq!(pinned("docker://a@b"), None);
    }
}
