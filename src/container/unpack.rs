//! Opening a container archive or root tarball again, for the audit.
//!
//! In: a Docker archive, an OCI layout in a tar, or a tarball, compressed or not, from anywhere. Out: the files that a
//! container started from it would see, in a folder. Every digest that the archive states is checked. Never leaves the
//! folder (see [`untar`]), never needs more memory than the names of a layer.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host;
use crate::host::rooted::{RootPath, Rooted};
use crate::host::untar::{
    self, Compression, Folders, Member, Members, Owners, Policy, Replace, Summary, Verdict, What,
};
use crate::release::artifact::hex;

/// Longest JSON file that is read into memory, in bytes.
const LONGEST_JSON: u64 = 16 << 20;
/// Most members of the outer archive that are remembered; an image has a few per layer.
const MOST_MEMBERS: usize = 100_000;
/// How deep an index may point to an index.
const DEEPEST: u32 = 4;

/// What an archive turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Docker archive.
    Docker,
    /// An OCI image layout.
    Oci,
    /// Just files.
    Tarball,
}

/// An archive that was laid into a folder.
#[derive(Debug)]
pub struct Unpacked {
    /// What it was.
    pub form: Form,
    /// The image's configuration; `Null` for a tarball.
    pub configuration: Value,
    /// How many layers there were.
    pub layers: usize,
    /// What was extracted, all layers together.
    pub summary: Summary,
}

/// Lays the content of the archive at `path` into `into`, an empty folder.
///
/// 65 where the archive is malformed, 76 where a digest does not match, 74 where the folder is full.
pub fn unpack(path: &Path, into: &Rooted, owners: Owners) -> Result<Unpacked> {
    let outer = Outer::open(path, into).map_err(|error| error.within(format!("open {}", path.display())))?;
    let unpack = || {
        if let (Some(_), Some(index)) = (outer.find("oci-layout"), outer.find("index.json")) {
            return unpack_oci(&outer, index, into, owners);
        }
        if let Some(manifest) = outer.find("manifest.json") {
            // A tarball may hold a file of that name, too.
            if let Ok(images) = serde_json::from_slice::<Vec<DockerImage>>(&outer.small(manifest)?) {
                return unpack_docker(&outer, &images, into, owners);
            }
        }
        let policy = Policy { owners, folders: Folders::Updated, replace: Replace::Everything };
        let summary = untar::extract(outer.range(0, outer.length), into, &RootPath::root(), policy)?;
        Ok(Unpacked { form: Form::Tarball, configuration: Value::Null, layers: 0, summary })
    };
    unpack().map_err(|error| error.within(format!("unpack {}", path.display())))
}

fn malformed(why: impl std::fmt::Display) -> Error {
    Error::cannot(Exit::Description, "read the archive").because(why)
}

/// The outer archive, uncompressed, and where its files lie.
struct Outer {
    file: File,
    length: u64,
    members: HashMap<RootPath, Place>,
}

#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    size: u64,
}

impl Outer {
    fn open(path: &Path, into: &Rooted) -> Result<Outer> {
        let mut file = host::file::open(path)?;
        let mut start = [0; 6];
        let read = file.read(&mut start).or_cannot(|| "read the archive")?;
        file.rewind().or_cannot(|| "read the archive")?;
        if Compression::of(&start[..read]) != Compression::None {
            // Members are read out of order, so it is decompressed into a file without a name beside the result.
            let mut plain = host::file::anonymous(into.host_path())?;
            let mut reader = untar::decompressed(file)?;
            io::copy(&mut reader, &mut plain).or_cannot(|| "decompress the archive")?;
            file = plain;
        }
        let length = file.metadata().or_cannot(|| "look at the archive")?.len();
        let mut outer = Outer { file, length, members: HashMap::new() };
        outer.read_names()?;
        Ok(outer)
    }

    /// Only names that can belong to an image are kept: a tarball may hold a million others.
    fn read_names(&mut self) -> Result<()> {
        let mut links = Vec::new();
        let mut members = HashMap::new();
        let mut reader = Members::new(self.range(0, self.length));
        while let Some(member) = reader.next_member().map_err(malformed)? {
            let path = RootPath::new(&member.name);
            if !belongs_to_an_image(&path) || members.len() >= MOST_MEMBERS {
                continue;
            }
            match member.what {
                What::Is(host::rooted::Kind::File) if member.segments.is_none() => {
                    members.insert(path, Place { offset: member.offset, size: member.size });
                }
                // Old `docker save` wrote a layer once and linked to it from where else it belongs.
                What::Is(host::rooted::Kind::Symlink(target)) => links.push((path.clone(), path.parent().join(target))),
                What::HardLink(target) => links.push((path, RootPath::new(target))),
                _ => {}
            }
        }
        drop(reader);
        for (path, target) in links {
            if let Some(place) = members.get(&target).copied() {
                members.entry(path).or_insert(place);
            }
        }
        self.members = members;
        Ok(())
    }

    fn find(&self, name: &str) -> Option<Place> {
        self.members.get(&RootPath::new(name)).copied()
    }

    fn need(&self, name: &str) -> Result<Place> {
        self.find(name).ok_or_else(|| malformed(format!("it has no `{}`", RootPath::new(name))))
    }

    fn range(&self, offset: u64, length: u64) -> Range<'_> {
        Range { file: &self.file, at: offset, end: offset.saturating_add(length) }
    }

    fn small(&self, place: Place) -> Result<Vec<u8>> {
        if place.size > LONGEST_JSON {
            return Err(malformed(format!("a JSON file of {} is too long", Bytes(place.size))));
        }
        let mut content = Vec::new();
        self.range(place.offset, place.size).read_to_end(&mut content).or_cannot(|| "read the archive")?;
        Ok(content)
    }

    /// A small blob of an OCI layout, its digest checked.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let content = self.small(self.need(&descriptor.path()?)?)?;
        matches(&descriptor.digest, &Sha256::digest(&content))?;
        Ok(content)
    }
}

fn belongs_to_an_image(path: &RootPath) -> bool {
    let name = path.name();
    let depth = path.relative().split(|byte| *byte == b'/').count();
    depth <= 3
        && (name == b"oci-layout"
            || [b".json".as_slice(), b".tar", b".gz", b".zst"].iter().any(|end| name.ends_with(end))
            || path.is_below(&RootPath::new("/blobs")))
}

/// A part of the outer archive as a stream.
struct Range<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Range<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (self.end - self.at).min(buffer.len() as u64) as usize;
        let read = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A stream that is hashed while it is read.
struct Hashed<R> {
    input: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

impl<R: Read> Hashed<R> {
    fn new(input: R) -> Hashed<R> {
        Hashed { input, hash: Sha256::new() }
    }

    /// Reads what is left, so that the digest covers everything.
    fn drain(&mut self) -> Result<()> {
        io::copy(self, &mut io::sink()).map(drop).or_cannot(|| "read a layer")
    }
}

/// Compares `sha256:...` with what was computed.
fn matches(stated: &str, computed: &[u8]) -> Result<()> {
    let computed = format!("sha256:{}", hex(computed));
    if stated == computed {
        return Ok(());
    }
    Err(Error::cannot(Exit::Integrity, "use the archive")
        .because(format!("a digest does not match its content\nstated:   {stated}\ncomputed: {computed}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    layers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    platform: Option<Value>,
}

impl Descriptor {
    fn path(&self) -> Result<String> {
        let digits = self.digest.strip_prefix("sha256:").filter(|digits| {
            digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        });
        match digits {
            Some(digits) => Ok(format!("blobs/sha256/{digits}")),
            None => Err(malformed(format!("`{}` is no SHA-256 digest", self.digest.escape_debug()))),
        }
    }
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

fn parsed<T: for<'de> Deserialize<'de>>(content: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(content).map_err(|error| malformed(format!("its {what} is malformed: {error}")))
}

/// The one image's manifest, through nested indexes.
fn find_manifest(outer: &Outer, index: &[u8], depth: u32) -> Result<Manifest> {
    let index: Index = parsed(index, "index")?;
    // Attestations are listed beside images, for no platform at all.
    let unknown = |image: &&Descriptor| {
        image.platform.as_ref().and_then(|platform| platform["os"].as_str()).is_none_or(|os| os != "unknown")
    };
    let mut digests = HashSet::new();
    let images: Vec<_> = index.manifests.iter().filter(unknown).filter(|image| digests.insert(&image.digest)).collect();
    let [image] = images.as_slice() else {
        return Err(malformed(format!("it holds {} images; one is expected", images.len())));
    };
    let content = outer.blob(image)?;
    let nested = image.media_type.ends_with("index.v1+json") || image.media_type.ends_with("manifest.list.v2+json");
    match nested {
        false => parsed(&content, "manifest"),
        true if depth < DEEPEST => find_manifest(outer, &content, depth + 1),
        true => Err(malformed("its index points to indexes without end")),
    }
}

fn unpack_oci(outer: &Outer, index: Place, into: &Rooted, owners: Owners) -> Result<Unpacked> {
    let manifest = find_manifest(outer, &outer.small(index)?, 0)?;
    let configuration: Value = parsed(&outer.blob(&manifest.config)?, "configuration")?;
    let mut layers = Vec::new();
    for layer in &manifest.layers {
        layers.push((outer.need(&layer.path()?)?, Some(layer.digest.as_str())));
    }
    lay(outer, Form::Oci, configuration, &layers, into, owners)
}

fn unpack_docker(outer: &Outer, images: &[DockerImage], into: &Rooted, owners: Owners) -> Result<Unpacked> {
    let [image] = images else {
        return Err(malformed(format!("it holds {} images; one is expected", images.len())));
    };
    let configuration: Value = parsed(&outer.small(outer.need(&image.config)?)?, "configuration")?;
    let layers: Result<Vec<_>> = image.layers.iter().map(|name| Ok((outer.need(name)?, None))).collect();
    lay(outer, Form::Docker, configuration, &layers?, into, owners)
}

/// Lays the layers over each other, the lowest first.
fn lay(
    outer: &Outer,
    form: Form,
    configuration: Value,
    layers: &[(Place, Option<&str>)],
    into: &Rooted,
    owners: Owners,
) -> Result<Unpacked> {
    let diff_ids = configuration["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
    if diff_ids.len() != layers.len() {
        let (layers, named) = (layers.len(), diff_ids.len());
        return Err(malformed(format!("it has {layers} layers, and its configuration names {named}")));
    }
    let mut summary = Summary::default();
    for ((place, digest), diff_id) in layers.iter().zip(&diff_ids) {
        let mut packed = Hashed::new(outer.range(place.offset, place.size));
        let done = {
            let mut plain = Hashed::new(untar::decompressed(&mut packed)?);
            let done = lay_one(&mut plain, into, owners)?;
            plain.drain()?;
            matches(diff_id.as_str().unwrap_or_default(), &plain.hash.finalize())?;
            done
        };
        packed.drain()?;
        if let Some(digest) = digest {
            matches(digest, &packed.hash.finalize())?;
        }
        summary.members += done.members;
        summary.bytes += done.bytes;
        summary.left_out.extend(done.left_out);
    }
    Ok(Unpacked { form, configuration, layers: layers.len(), summary })
}

/// Extracts one layer; its whiteouts (`.wh.NAME`, `.wh..wh..opq`) remove what lower layers brought, never its own.
fn lay_one(layer: impl Read, into: &Rooted, owners: Owners) -> Result<Summary> {
    let policy = Policy { owners, folders: Folders::Updated, replace: Replace::Everything };
    let mut own: HashSet<RootPath> = HashSet::new();
    untar::extract_chosen(layer, into, &RootPath::root(), policy, |member: &mut Member| {
        let path = RootPath::new(&member.name);
        let Some(hidden) = path.name().strip_prefix(b".wh.") else {
            let mut path = path;
            while path != RootPath::root() && own.insert(path.clone()) {
                path = path.parent();
            }
            return Ok(Verdict::Extract);
        };
        match hidden {
            b".wh..opq" => hide_lower(into, &path.parent(), &own)?,
            // Other names of this form are bookkeeping of aufs.
            name if name.starts_with(b".wh.") => {}
            b"" | b"." | b".." => return Err(malformed(format!("its whiteout {path} names no file"))),
            name => {
                let target = path.parent().join(name);
                if own.contains(&target) {
                    hide_lower(into, &target, &own)?;
                } else {
                    into.remove(&target)?;
                }
            }
        }
        Ok(Verdict::Skip)
    })
}

/// Removes what is in a folder, apart from what the layer itself put there.
fn hide_lower(into: &Rooted, folder: &RootPath, own: &HashSet<RootPath>) -> Result<()> {
    if !into.entry(folder)?.is_some_and(|entry| entry.is_folder()) {
        return Ok(());
    }
    for name in into.names(folder)? {
        let path = folder.join(&name);
        if own.contains(&path) {
            hide_lower(into, &path, own)?;
        } else {
            into.remove(&path)?;
        }
    }
    Ok(())
}
