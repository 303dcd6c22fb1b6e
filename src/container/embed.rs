//! Images of containers that a system holds.
//!
//! In: [`EmbeddedPlan`]s. Out: each image as an archive in the tree, which is the same whatever the tree is, and a unit
//! that loads it when the system starts for the first time. Its layers, configuration and manifest stay byte for byte.
//! Never writes a backend's own storage: what that looks like depends on the backend's version, and its names are random.

use std::collections::{BTreeSet, HashSet};
use std::io::Read;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::archive::Archive;
use super::base::BaseRecord;
use super::find::{Finder, Sought};
use super::source::{REFERENCE, Store, StoredImage, WHOLE_NAME, Wanted, is_called, malformed};
use super::{config, index, oci};
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::untar::Members;
use crate::plan::{Backend, EmbeddedPlan, ImageAddress, Load};
use crate::report::Reporter;
use crate::root::{RootPath, RootTree};

/// Where the archives are: a place that nothing clears up.
const FOLDER: &str = "/var/lib/ingot/containers";
/// Where KIWI has them. systemd removes what lies there for a month, and so it is a symlink that each start makes anew.
const KIWI_FOLDER: &str = "/var/tmp/kiwi_containers";
/// One inode in so many bytes, as our filesystems have them.
const INODE_RATIO: u64 = 16384;
/// KIWI's unit: units of a description may name it.
const UNIT: &str = "kiwi_containers.service";

/// An image that was found.
#[derive(Clone, Debug)]
pub struct Embedded {
    plan: EmbeddedPlan,
    image: StoredImage,
}

/// What the manifest says of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddedRecord {
    /// Where it came from, and its digests.
    pub image: BaseRecord,
    /// The name that the backend has it under.
    pub name: String,
    /// Where it is in the image.
    pub path: String,
}

/// Finds all images; the exit codes are those of [`Finder::find`].
pub fn open(plans: &[EmbeddedPlan], finder: Finder<'_>) -> Result<Vec<Embedded>> {
    if plans.is_empty() {
        return Ok(Vec::new());
    }
    let step = finder.reporter.step("containers");
    let found = plans.iter().map(|plan| {
        step.now(&plan.written);
        let sought = Sought { source: &plan.source, digest: plan.digest.as_deref(), called: Some(&plan.name) };
        let image = finder.find(sought);
        let image = image.map_err(|error| error.within(format!("embed {}", plan.written)).at(plan.place.clone()))?;
        Ok(Embedded { plan: plan.clone(), image })
    });
    let found = found.collect::<Result<Vec<Embedded>>>()?;
    step.finish(&format!("{} to embed", found.len()));
    Ok(found)
}

impl Embedded {
    /// What is pinned of it.
    pub fn record(&self) -> EmbeddedRecord {
        let layers = self.image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        EmbeddedRecord {
            image: BaseRecord { source: self.plan.written.clone(), digest: self.image.digest.clone(), layers },
            name: self.name(),
            path: self.path().to_string(),
        }
    }

    fn path(&self) -> RootPath {
        archive_of(&self.plan)
    }

    /// The name that the backend has it under: its registry's, that of the archive where it goes on in front of the
    /// description's, else one of this host.
    fn name(&self) -> String {
        if let ImageAddress::Fetched(_) = self.plan.source {
            return self.plan.written.clone();
        }
        let wanted = &self.plan.name;
        let longer = |name: &&String| name.contains('/') && is_called(name, wanted);
        match (self.image.names.iter().find(longer), self.plan.backend) {
            (Some(name), _) => name.clone(),
            (None, Backend::Docker) => wanted.clone(),
            (None, Backend::Podman | Backend::ContainerSnap) => format!("localhost/{wanted}"),
        }
    }

    /// Writes the archive. Its members have the date of the image itself.
    fn write(&self, tree: &RootTree) -> Result<()> {
        let path = self.path();
        tree.create_folders(&path.parent(), 0o755)?;
        tree.remove(&path)?;
        let name = self.name();
        let file = tree.create_file(&path, 0o644)?;
        let mut archive = Archive::over(file, &path.to_string(), index::created(&self.image).unwrap_or(0));
        archive.folder("blobs/")?;
        archive.folder(oci::BLOBS)?;
        let put = index::put(&mut archive, &self.image, &mut HashSet::new())?;
        let layers = put.layers.iter().map(String::as_str);
        let docker = oci::for_docker(std::slice::from_ref(&name), &put.configuration, layers);
        let mut entry = put.manifest;
        entry["annotations"] = json!({WHOLE_NAME: name, REFERENCE: name});
        archive.file(oci::DOCKER, &config::json(&json!([docker]))?)?;
        oci::finish_index(&mut archive, vec![entry])?;
        archive.close()
    }
}

fn archive_of(plan: &EmbeddedPlan) -> RootPath {
    RootPath::from(FOLDER).join(plan.file())
}

/// Puts all images into the tree, and the unit that loads them; returns what was put there. 76 where a layer is not what
/// its digest says.
pub fn put(all: &[Embedded], tree: &RootTree, reporter: &Reporter) -> Result<BTreeSet<RootPath>> {
    let mut made = BTreeSet::new();
    if all.is_empty() {
        return Ok(made);
    }
    let step = reporter.step("containers");
    for embedded in all {
        step.now(&embedded.plan.written);
        embedded.write(tree).map_err(|error| {
            error.within(format!("embed {}", embedded.plan.written)).at(embedded.plan.place.clone())
        })?;
        made.insert(embedded.path());
    }
    let loaded: Vec<&Embedded> = all.iter().filter(|embedded| embedded.plan.load == Load::AtFirstBoot).collect();
    if !loaded.is_empty() {
        let unit = RootPath::from("/etc/systemd/system").join(UNIT);
        let wanted = RootPath::from("/etc/systemd/system/multi-user.target.wants").join(UNIT);
        tree.remove(&unit)?;
        tree.write(&unit, unit_text(&loaded), 0o644)?;
        tree.create_folders(&wanted.parent(), 0o755)?;
        tree.remove(&wanted)?;
        tree.symlink(unit.as_bytes(), &wanted)?;
        made.extend([unit, wanted]);
    }
    if loaded.len() < all.len() {
        let lines = RootPath::from("/usr/lib/tmpfiles.d/kiwi_containers.conf");
        tree.write(&lines, format!("L {KIWI_FOLDER} - - - - {FOLDER}\n"), 0o644)?;
        made.insert(lines);
    }
    // Scripts find the archives where KIWI has them; the scrub takes the symlink away.
    let link = RootPath::from(KIWI_FOLDER);
    if !tree.exists(&link) {
        tree.create_folders(&link.parent(), 0o1777)?;
        tree.symlink(FOLDER, &link)?;
    }
    step.finish(&format!("{}, {} of them loaded at the first start", all.len(), loaded.len()));
    Ok(made)
}

/// What the first start needs to load what is in the tree: room for everything unpacked, and for the copies of an archive
/// that a backend makes meanwhile.
pub fn room_to_load(plans: &[EmbeddedPlan], tree: &RootTree) -> Result<Bytes> {
    let (mut unpacked, mut copies) = (0, 0);
    for plan in plans.iter().filter(|plan| plan.load == Load::AtFirstBoot) {
        let path = archive_of(plan);
        // A script of the description may have taken it away.
        if !tree.exists(&path) {
            continue;
        }
        let what = || format!("see what {} takes when it is loaded", plan.written);
        let file = tree.open_file(&path)?;
        let length = file.metadata().or_cannot(what)?.len();
        let image = Store::of_archive(file)?.image(&Wanted::default()).map_err(|error| error.within(what()))?;
        for layer in &image.layers {
            unpacked += layer.read(unpacked_size).map_err(|error| error.within(what()))?;
        }
        copies = length.max(copies);
    }
    Ok(Bytes(unpacked + 2 * copies))
}

/// What a filesystem takes for a layer: blocks of its files, and an inode for each, of which there is one in so many bytes.
fn unpacked_size(layer: &mut (dyn Read + Send)) -> Result<u64> {
    let (mut blocks, mut files) = (0, 0);
    let mut members = Members::new(layer);
    while let Some(member) = members.next_member().map_err(malformed)? {
        let stored = member.segments.as_ref().map_or(member.size, |all| all.iter().map(|(_, length)| length).sum());
        blocks += Bytes(stored).align_up(Bytes::kib(4)).0;
        files += 1;
    }
    Ok((blocks + files * 256).max(files * INODE_RATIO))
}

/// An archive goes when what it holds is safe in the backend's storage. One that cannot be loaded (`-`, systemd.service(5))
/// keeps no other one from it; the unit has failed then, and every start tries again.
fn unit_text(loaded: &[&Embedded]) -> String {
    let paths: Vec<String> = loaded.iter().map(|embedded| embedded.path().to_string()).collect();
    let backends: BTreeSet<Backend> = loaded.iter().map(|embedded| embedded.plan.backend).collect();
    let services: Vec<&str> = backends.iter().filter_map(|backend| service(*backend)).collect();
    let mut text = String::from("[Unit]\nDescription=Load the containers that came with the image\n");
    paths.iter().for_each(|path| text.push_str(&format!("ConditionPathExists=|{path}\n")));
    if !services.is_empty() {
        let services = services.join(" ");
        text.push_str(&format!("Wants={services}\nAfter={services}\n"));
    }
    let storage = backends.iter().map(|backend| match backend {
        Backend::Docker => "/var/lib/docker",
        Backend::Podman | Backend::ContainerSnap => "/var/lib/containers",
    });
    let mounts: Vec<&str> = [FOLDER, "/var/tmp"].into_iter().chain(storage).collect();
    text.push_str(&format!("RequiresMountsFor={}\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n", mounts.join(" ")));
    for (embedded, path) in loaded.iter().zip(&paths) {
        let backend = embedded.plan.backend.name();
        let load = format!("/usr/bin/{backend} load -i {path} && sync && rm {path}");
        text.push_str(&format!("ExecStart=-/bin/sh -c 'test ! -e {path} || {{ {load}; }}'\n"));
    }
    let gone: Vec<String> = paths.iter().map(|path| format!("test ! -e {path}")).collect();
    text.push_str(&format!("ExecStart=/bin/sh -c '{}'\n", gone.join(" && ")));
    text + "\n[Install]\nWantedBy=multi-user.target\n"
}

fn service(backend: Backend) -> Option<&'static str> {
    match backend {
        Backend::Podman => None,
        Backend::Docker => Some("docker.service"),
        Backend::ContainerSnap => Some("container-snap.service"),
    }
}

/// Refuses (65) a tree that could not load its images: after the last script that may put something there.
pub fn check(plans: &[EmbeddedPlan], tree: &RootTree) -> Result<()> {
    for plan in plans.iter().filter(|plan| plan.load == Load::AtFirstBoot) {
        let backend = plan.backend.name();
        let program = format!("/usr/bin/{backend}");
        let systemd = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
        let there = |path: &str| tree.exists(&RootPath::from(path));
        let missing = if !there(&program) {
            &program
        } else if !systemd.into_iter().any(there) {
            "systemd"
        } else if let Some(path) = ["/bin/sh", "/bin/rm", "/bin/sync"].into_iter().find(|path| !there(path)) {
            path
        } else {
            continue;
        };
        return Err(Error::cannot(Exit::Description, format!("load {} when the system starts", plan.written))
            .because(format!("there is no {missing} in the image"))
            .at(plan.place.clone())
            .hint(format!("add the packages of {backend} and systemd, or say fetch_only=\"true\"")));
    }
    Ok(())
}
