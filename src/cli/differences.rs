//! `ingot check --differences`: what of one description is done otherwise than KIWI does it.
//!
//! In: a loaded description. Out: sentences, those of docs/switching.md that concern it. What is refused or ignored is not
//! among them: the check itself names each of these with its place.

use crate::description::Description;

/// The differences, in the order of a build.
pub fn of(description: &Description) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut tell = |concerns: bool, what| {
        if concerns {
            found.push(what);
        }
    };
    let mut types = description.preferences.iter().flat_map(|preferences| &preferences.types);
    let is_disk = types.clone().any(|kind| *kind.image == "oem");
    let has_limit = types.clone().any(|kind| kind.oem("oem-systemsize").is_some());
    let is_container = types.any(|kind| matches!(kind.image.as_str(), "docker" | "oci"));
    let repositories = &description.repositories;
    let beside = &description.beside;
    tell(
        repositories.iter().any(|repository| repository.repository_gpgcheck != Some(false)),
        "repositories must be signed; repository_gpgcheck=\"false\" is the only way around it, and the manifest records it",
    );
    tell(
        repositories.iter().any(|repository| repository.path.starts_with("obs")),
        "obs:// means a folder on a build farm's worker; elsewhere the mirror obs (--mirror obs=URL), or obs.download_url of \
         kiwi.yml: no server is built in",
    );
    tell(
        !beside.scripts.is_empty(),
        "scripts see neither the host's devices nor its processes, and no network without --network-for-scripts; \
         called kiwi they have the host's network",
    );
    tell(
        description.users.iter().flat_map(|users| &users.users).any(|user| user.plain),
        "plain passwords are hashed with SHA-512 and a salt that is derived, not with MD5 and a constant one",
    );
    tell(
        is_disk,
        "a disk is written from its tree without being mounted; its identifiers are derived from name and version",
    );
    tell(
        has_limit,
        "on a disk without room for all of oem-systemsize the root grows to the disk's end; KIWI leaves it as it is",
    );
    tell(is_container, "a container's archive is not compressed: NAME.ARCH-VERSION.docker.tar, not .tar.xz");
    tell(
        true,
        "what a golden image must not carry (machine-id, host keys, logs, caches, histories) is scrubbed, and an audit \
         proves it",
    );
    found
}
