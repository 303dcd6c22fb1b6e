//! A container image as it lies somewhere: a Docker archive, an OCI layout in a tar or in a folder.
//!
//! In: a file or folder from anywhere, and which of its images is wanted. Out: a [`StoredImage`]: its configuration and
//! where its layers are. Every digest that is stated is checked by the time that the content has been read. Never
//! unpacks anything, never believes a name in an archive.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::bound::{self, Bounded};
use super::unpack::Form;
use crate::bytes::Bytes;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host;
use crate::host::rooted::{Kind, RootPath, Rooted};
use crate::host::untar::{self, Compression, Members, What};
use crate::release::artifact::hex;

/// Longest JSON file that is read into memory, in bytes.
const LONGEST_JSON: u64 = 16 << 20;
/// Most bytes behind the end of a layer: programs fill up a block, of whatever size they like.
const LONGEST_END: u64 = 64 << 20;
/// Most members of the outer archive that are remembered; an image has a few per layer.
const MOST_MEMBERS: usize = 100_000;
/// How deep an index may point to an index.
const DEEPEST: u32 = 4;
/// The annotation of a short name or tag (OCI image specification, annotations.md).
pub const REFERENCE: &str = "org.opencontainers.image.ref.name";
/// The annotation in which containerd keeps the whole name.
pub const WHOLE_NAME: &str = "io.containerd.image.name";

/// An archive or folder that holds images.
#[derive(Debug)]
pub struct Store {
    holder: Holder,
}

#[derive(Debug)]
enum Holder {
    Archive { file: Arc<File>, length: u64, members: HashMap<RootPath, (u64, u64)> },
    Folder(Rooted),
}

/// A part of a file that holds one blob.
#[derive(Clone, Debug)]
pub struct Blob {
    file: Arc<File>,
    offset: u64,
    /// Length in bytes.
    pub size: u64,
}

/// An image that was found in a [`Store`].
#[derive(Clone, Debug)]
pub struct StoredImage {
    /// How it is stored.
    pub form: Form,
    /// `sha256:...` of its manifest; for a Docker archive, which has none, of its configuration.
    pub digest: String,
    /// Digests of the indexes that lead to it, outermost first.
    pub indexes: Vec<String>,
    /// Names and tags that the store has for it.
    pub names: Vec<String>,
    /// Its configuration, as it is stored.
    pub configuration: Vec<u8>,
    /// Its manifest, as it is stored; `None` in a Docker archive, which has none of this kind.
    pub manifest: Option<Vec<u8>>,
    /// Its layers, the lowest first.
    pub layers: Vec<StoredLayer>,
}

/// A layer of a [`StoredImage`].
#[derive(Clone, Debug)]
pub struct StoredLayer {
    /// The layer as it is stored, compressed or not.
    pub blob: Blob,
    /// `sha256:...` of that, where the store states it.
    pub digest: Option<String>,
    /// `sha256:...` of the uncompressed archive.
    pub diff_id: String,
    /// Its media type, where the store states it.
    pub media_type: Option<String>,
}

/// Which image of a store is meant.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Its name or tag; not needed where there is only one.
    pub name: Option<String>,
    /// GOARCH and variant: the choice where an index has the same image for several machines.
    pub platform: Option<(String, Option<String>)>,
}

pub(super) fn malformed(why: impl std::fmt::Display) -> Error {
    Error::cannot(Exit::Description, "read the archive").because(why)
}

impl Store {
    /// Opens a file or a folder; a compressed archive is decompressed into a file without a name in `scratch`.
    pub fn open(path: &Path, scratch: &Path) -> Result<Store> {
        if host::file::is_folder(path) {
            return Ok(Store { holder: Holder::Folder(Rooted::open(path)?) });
        }
        let mut file = host::file::open(path)?;
        let mut start = [0; 6];
        let read = file.read(&mut start).or_cannot(|| "read the archive")?;
        file.rewind().or_cannot(|| "read the archive")?;
        if Compression::of(&start[..read]) != Compression::None {
            // Members are read out of order.
            let what = || format!("decompress the archive into {}", scratch.display());
            file = bound::decompress(file, host::file::anonymous(scratch)?, host::file::free_space(scratch)?)
                .map_err(|error| error.within(what()))?;
        }
        Store::of_archive(file)
    }

    /// An archive that is not compressed.
    pub fn of_archive(file: File) -> Result<Store> {
        let length = file.metadata().or_cannot(|| "look at the archive")?.len();
        let file = Arc::new(file);
        let members = read_names(&file, length)?;
        Ok(Store { holder: Holder::Archive { file, length, members } })
    }

    /// What kind of store it is; `None` where it holds no image.
    pub fn form(&self) -> Result<Option<Form>> {
        if self.find("oci-layout")?.is_some() && self.find("index.json")?.is_some() {
            return Ok(Some(Form::Oci));
        }
        let Some(manifest) = self.find("manifest.json")? else { return Ok(None) };
        // A tarball may hold a file of that name, too.
        Ok(serde_json::from_slice::<Vec<DockerImage>>(&manifest.small()?).ok().map(|_| Form::Docker))
    }

    /// The whole archive; `None` for a folder.
    pub(super) fn whole(&self) -> Option<Blob> {
        match &self.holder {
            Holder::Archive { file, length, .. } => Some(Blob { file: Arc::clone(file), offset: 0, size: *length }),
            Holder::Folder(_) => None,
        }
    }

    /// Finds the image that is meant; 65 where there is none, or more than one.
    pub fn image(&self, wanted: &Wanted) -> Result<StoredImage> {
        match self.form()? {
            Some(Form::Oci) => self.oci_image(wanted),
            Some(Form::Docker) => self.docker_image(wanted),
            _ => Err(malformed("it is neither a Docker archive nor an OCI layout")),
        }
    }

    /// Every image of an OCI layout, or of a Docker archive, each once.
    pub fn images(&self) -> Result<Vec<StoredImage>> {
        match self.form()? {
            Some(Form::Oci) => {
                let mut leaves = self.leaves()?;
                let mut seen = HashSet::new();
                leaves.retain(|leaf| seen.insert(leaf.descriptor.digest.clone()));
                leaves.iter().map(|leaf| self.read_leaf(leaf, leaf.names.clone())).collect()
            }
            Some(Form::Docker) => self.docker_images()?.iter().map(|image| self.read_docker(image)).collect(),
            _ => Err(malformed("it is neither a Docker archive nor an OCI layout")),
        }
    }

    fn find(&self, name: &str) -> Result<Option<Blob>> {
        let path = RootPath::new(name);
        match &self.holder {
            Holder::Archive { file, members, .. } => {
                let place = members.get(&path).copied();
                Ok(place.map(|(offset, size)| Blob { file: Arc::clone(file), offset, size }))
            }
            Holder::Folder(folder) => {
                if !folder.entry(&path)?.is_some_and(|entry| entry.is_file()) {
                    return Ok(None);
                }
                let file = folder.open_file(&path)?;
                let size = file.metadata().or_cannot(|| format!("look at {path}"))?.len();
                Ok(Some(Blob { file: Arc::new(file), offset: 0, size }))
            }
        }
    }

    fn need(&self, name: &str) -> Result<Blob> {
        self.find(name)?.ok_or_else(|| malformed(format!("it has no `{}`", RootPath::new(name))))
    }

    /// A small blob of an OCI layout, its digest checked.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let content = self.need(&descriptor.path()?)?.small()?;
        matches(&descriptor.digest, &Sha256::digest(&content))?;
        Ok(content)
    }

    fn leaves(&self) -> Result<Vec<Leaf>> {
        let index: Index = parsed(&self.need("index.json")?.small()?, "index")?;
        let mut leaves = Vec::new();
        for descriptor in index.manifests {
            let name = |key: &str| descriptor.annotations.get(key).cloned();
            let names = [name(REFERENCE), name(WHOLE_NAME)].into_iter().flatten().collect();
            self.descend(descriptor, names, &[], &mut leaves)?;
        }
        Ok(leaves)
    }

    fn descend(
        &self,
        descriptor: Descriptor,
        names: Vec<String>,
        through: &[String],
        leaves: &mut Vec<Leaf>,
    ) -> Result<()> {
        // Attestations are listed beside images, for no platform at all.
        let os = descriptor.platform.as_ref().and_then(|platform| platform["os"].as_str());
        if os == Some("unknown") {
            return Ok(());
        }
        let kind = &descriptor.media_type;
        if !(kind.ends_with("index.v1+json") || kind.ends_with("manifest.list.v2+json")) {
            if leaves.len() >= MOST_MEMBERS {
                return Err(malformed("its index has no end"));
            }
            leaves.push(Leaf { descriptor, names, indexes: through.to_vec() });
            return Ok(());
        }
        if through.len() as u32 >= DEEPEST {
            return Err(malformed("its index points to indexes without end"));
        }
        let index: Index = parsed(&self.blob(&descriptor)?, "index")?;
        let through = [through, std::slice::from_ref(&descriptor.digest)].concat();
        index.manifests.into_iter().try_for_each(|one| self.descend(one, names.clone(), &through, leaves))
    }

    fn oci_image(&self, wanted: &Wanted) -> Result<StoredImage> {
        let mut leaves = self.leaves()?;
        let known: Vec<String> = leaves.iter().flat_map(|leaf| leaf.names.clone()).collect();
        if let Some(name) = &wanted.name {
            leaves.retain(|leaf| leaf.names.iter().any(|other| is_called(other, name)));
            if leaves.is_empty() {
                return Err(no_such(name, &known));
            }
        }
        let mut names: HashMap<String, Vec<String>> = HashMap::new();
        for leaf in &leaves {
            let all = names.entry(leaf.descriptor.digest.clone()).or_default();
            all.extend(leaf.names.iter().filter(|name| !all.contains(name)).cloned().collect::<Vec<_>>());
        }
        let mut digests = HashSet::new();
        leaves.retain(|leaf| digests.insert(leaf.descriptor.digest.clone()));
        if let (Some((architecture, variant)), true) = (&wanted.platform, leaves.len() > 1) {
            let platforms: Vec<String> = leaves.iter().map(|leaf| leaf.descriptor.shown_platform()).collect();
            leaves.retain(|leaf| leaf.descriptor.is_for(architecture, variant.as_deref()));
            if leaves.is_empty() {
                let why = format!("it holds an image for {}, and none for {architecture}", platforms.join(", "));
                return Err(malformed(why));
            }
        }
        let [leaf] = leaves.as_slice() else {
            return Err(malformed(format!("it holds {} images; one is expected", leaves.len())));
        };
        self.read_leaf(leaf, names.remove(&leaf.descriptor.digest).unwrap_or_default())
    }

    fn read_leaf(&self, leaf: &Leaf, names: Vec<String>) -> Result<StoredImage> {
        let stored = self.blob(&leaf.descriptor)?;
        let manifest: Manifest = parsed(&stored, "manifest")?;
        let configuration = self.blob(&manifest.config)?;
        let diff_ids = diff_ids(&configuration, manifest.layers.len())?;
        let mut layers = Vec::new();
        for (layer, diff_id) in manifest.layers.into_iter().zip(diff_ids) {
            let blob = self.need(&layer.path()?)?;
            let media_type = Some(layer.media_type).filter(|kind| !kind.is_empty());
            layers.push(StoredLayer { blob, digest: Some(layer.digest), diff_id, media_type });
        }
        let digest = leaf.descriptor.digest.clone();
        Ok(StoredImage {
            form: Form::Oci,
            digest,
            indexes: leaf.indexes.clone(),
            names,
            configuration,
            manifest: Some(stored),
            layers,
        })
    }

    fn docker_images(&self) -> Result<Vec<DockerImage>> {
        parsed(&self.need("manifest.json")?.small()?, "manifest")
    }

    fn docker_image(&self, wanted: &Wanted) -> Result<StoredImage> {
        let mut images = self.docker_images()?;
        if let Some(name) = &wanted.name {
            let known: Vec<String> = images.iter().flat_map(|image| image.names()).collect();
            images.retain(|image| image.names().iter().any(|other| is_called(other, name)));
            if images.is_empty() {
                return Err(no_such(name, &known));
            }
        }
        let [image] = images.as_slice() else {
            return Err(malformed(format!("it holds {} images; one is expected", images.len())));
        };
        self.read_docker(image)
    }

    fn read_docker(&self, image: &DockerImage) -> Result<StoredImage> {
        let configuration = self.need(&image.config)?.small()?;
        let diff_ids = diff_ids(&configuration, image.layers.len())?;
        let mut layers = Vec::new();
        for (name, diff_id) in image.layers.iter().zip(diff_ids) {
            layers.push(StoredLayer { blob: self.need(name)?, digest: None, diff_id, media_type: None });
        }
        let digest = format!("sha256:{}", hex(&Sha256::digest(&configuration)));
        let names = image.names();
        Ok(StoredImage {
            form: Form::Docker,
            digest,
            indexes: Vec::new(),
            names,
            configuration,
            manifest: None,
            layers,
        })
    }
}

fn no_such(name: &str, known: &[String]) -> Error {
    let error = malformed(format!("it holds no image `{}`", name.escape_debug()));
    match known.is_empty() {
        true => error,
        false => error.hint(format!("there is {}", known.join(", ").escape_debug())),
    }
}

/// Whether an image of this name or tag is the one that is meant: `tag`, `name:tag`, or the end of a longer name.
pub fn is_called(name: &str, wanted: &str) -> bool {
    name == wanted
        || name.strip_suffix(wanted).is_some_and(|rest| rest.ends_with(['/', ':']))
        || wanted.strip_suffix(name).is_some_and(|rest| rest.ends_with(':') && !name.contains('/'))
}

/// Only names that can belong to an image are kept: a tarball may hold a million others.
fn read_names(file: &Arc<File>, length: u64) -> Result<HashMap<RootPath, (u64, u64)>> {
    let mut links = Vec::new();
    let mut members = HashMap::new();
    let mut reader = Members::new(Range { file: Arc::clone(file), at: 0, end: length });
    while let Some(member) = reader.next_member().map_err(malformed)? {
        let path = RootPath::new(&member.name);
        if !belongs_to_an_image(&path) || members.len() >= MOST_MEMBERS {
            continue;
        }
        match member.what {
            What::Is(Kind::File) if member.segments.is_none() => {
                members.insert(path, (member.offset, member.size));
            }
            // Old `docker save` wrote a layer once and linked to it from where else it belongs.
            What::Is(Kind::Symlink(target)) => links.push((path.clone(), path.parent().join(target))),
            What::HardLink(target) => links.push((path, RootPath::new(target))),
            _ => {}
        }
    }
    for (path, target) in links {
        if let Some(place) = members.get(&target).copied() {
            members.entry(path).or_insert(place);
        }
    }
    Ok(members)
}

fn belongs_to_an_image(path: &RootPath) -> bool {
    let name = path.name();
    let depth = path.relative().split(|byte| *byte == b'/').count();
    depth <= 3
        && (name == b"oci-layout"
            || [b".json".as_slice(), b".tar", b".gz", b".zst"].iter().any(|end| name.ends_with(end))
            || path.is_below(&RootPath::new("/blobs")))
}

impl Blob {
    /// Its bytes.
    pub fn reader(&self) -> impl Read + Send + use<> {
        Range { file: Arc::clone(&self.file), at: self.offset, end: self.offset.saturating_add(self.size) }
    }

    fn small(&self) -> Result<Vec<u8>> {
        if self.size > LONGEST_JSON {
            return Err(malformed(format!("a JSON file of {} is too long", Bytes(self.size))));
        }
        let mut content = Vec::new();
        self.reader().read_to_end(&mut content).or_cannot(|| "read the archive")?;
        Ok(content)
    }

    /// Its SHA-256 in hexadecimal.
    pub fn sha256(&self) -> Result<String> {
        let mut hashed = Hashed::new(self.reader());
        hashed.drain()?;
        Ok(hex(&hashed.hash.finalize()))
    }

    /// How it is compressed.
    pub fn compression(&self) -> Result<Compression> {
        let mut start = Vec::new();
        self.reader().take(6).read_to_end(&mut start).or_cannot(|| "read a layer")?;
        Ok(Compression::of(&start))
    }
}

impl StoredLayer {
    /// Reads the uncompressed archive with `look` and checks the digests of both sides afterwards: 76 where one does
    /// not match, 65 where more comes out of it than of any image.
    pub fn read<T>(&self, look: impl FnOnce(&mut (dyn Read + Send)) -> Result<T>) -> Result<T> {
        let mut packed = Hashed::new(self.blob.reader());
        let unpack = |packed: &mut Hashed<_>| -> Result<T> {
            let mut plain = Hashed::new(Bounded::new(untar::decompressed(packed)?, self.blob.size));
            let done = look(&mut plain).and_then(|done| plain.drain_at_most(LONGEST_END).map(|()| done));
            if let Some(error) = plain.input.beyond() {
                return Err(error.within("read a layer"));
            }
            let done = done?;
            matches(&self.diff_id, &plain.hash.finalize())?;
            Ok(done)
        };
        let done = unpack(&mut packed);
        // What is malformed because it is damaged is damaged.
        if matches!(&done, Err(error) if error.exit() != Exit::Description) {
            return done;
        }
        packed.drain()?;
        if let Some(digest) = &self.digest {
            matches(digest, &packed.hash.finalize())?;
        }
        done
    }
}

/// A part of a file as a stream.
struct Range {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Range {
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

    /// The same, where no more than this is left.
    fn drain_at_most(&mut self, most: u64) -> Result<()> {
        let read = io::copy(&mut Read::take(&mut *self, most + 1), &mut io::sink()).map_err(untar::broken)?;
        match read > most {
            true => Err(malformed(format!("more than {} follow the end of a layer", Bytes(most)))),
            false => Ok(()),
        }
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

/// Whether a text is `sha256:` and 64 digits.
pub fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[derive(Debug)]
struct Leaf {
    descriptor: Descriptor,
    names: Vec<String>,
    indexes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl DockerImage {
    fn names(&self) -> Vec<String> {
        self.repo_tags.clone().unwrap_or_default()
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    platform: Option<Value>,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

impl Descriptor {
    fn path(&self) -> Result<String> {
        match self.digest.strip_prefix("sha256:").filter(|_| is_digest(&self.digest)) {
            Some(digits) => Ok(format!("blobs/sha256/{digits}")),
            None => Err(malformed(format!("`{}` is no SHA-256 digest", self.digest.escape_debug()))),
        }
    }

    fn word(&self, name: &str) -> Option<&str> {
        self.platform.as_ref().and_then(|platform| platform[name].as_str())
    }

    fn is_for(&self, architecture: &str, variant: Option<&str>) -> bool {
        let same = |stated: Option<&str>, wanted: Option<&str>| match (stated, wanted) {
            (Some(stated), Some(wanted)) => stated == wanted,
            _ => true,
        };
        self.word("os").is_none_or(|os| os == "linux")
            && self.word("architecture") == Some(architecture)
            && same(self.word("variant"), variant)
    }

    fn shown_platform(&self) -> String {
        let words = ["architecture", "variant"].into_iter().filter_map(|name| self.word(name));
        let text = words.collect::<Vec<_>>().join("/");
        if text.is_empty() { "an unnamed platform".into() } else { text.escape_debug().to_string() }
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

/// The digests of the uncompressed layers, which must be as many as there are layers.
fn diff_ids(configuration: &[u8], layers: usize) -> Result<Vec<String>> {
    let configuration: Value = parsed(configuration, "configuration")?;
    let diff_ids = configuration["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
    if diff_ids.len() != layers {
        let named = diff_ids.len();
        return Err(malformed(format!("it has {layers} layers, and its configuration names {named}")));
    }
    Ok(diff_ids.iter().map(|id| id.as_str().unwrap_or_default().to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_answers_to_its_tag_its_name_and_the_end_of_a_longer_one() {
        for (name, wanted, fits) in [
            ("latest", "latest", true),
            ("latest", "tiny:latest", true),
            ("docker.io/library/tiny:1", "tiny:1", true),
            ("docker.io/library/tiny:1", "1", true),
            ("docker.io/library/tiny:1", "iny:1", false),
            ("latest", "tiny:1", false),
            ("1", "tiny:11", false),
        ] {
            assert_eq!(is_called(name, wanted), fits, "{name} {wanted}");
        }
    }
}
