//! The layers of an image: those of its base as they are, and the new ones on top.
//!
//! In: a tree, a plan and the layers below. Out: each layer in the archive, once, and a [`Layer`] that says what it is.
//! Never decides what a layer holds: that is [`difference`] and [`split`].

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use super::Order;
use super::archive::Archive;
use super::base::Base;
use super::compress::Compressed;
use super::follow::LayerReader;
use super::header::{BLOCK, Header, Type};
use super::split::{self, Division};
use super::tar::{Piece, Sink};
use super::{difference, tar};
use crate::error::{Error, Exit, OrCannot, Result, Warning};
use crate::host::file;
use crate::host::rooted::Kind;
use crate::host::untar::Compression;
use crate::pieces::Pieces;
use crate::plan::{ContainerPlan, LayerCompression, LayerSplit};
use crate::report::Step;

/// More layers than this are more than overlay filesystems mount.
pub const MOST: usize = 127;

/// A layer in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// SHA-256 of the uncompressed archive, in hexadecimal.
    pub diff_id: String,
    /// SHA-256 of what is stored.
    pub sha256: String,
    /// Length of what is stored.
    pub size: u64,
    /// How it is compressed.
    pub compression: Compression,
    /// What a new layer holds, for people; `None` for one of the base.
    pub new: Option<String>,
}

impl Layer {
    /// Its media type in an OCI manifest.
    pub fn media_type(&self) -> &'static str {
        match self.compression {
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
            _ => "application/vnd.oci.image.layer.v1.tar",
        }
    }

    /// What the name of its file ends in.
    pub fn end(&self) -> &'static str {
        match self.compression {
            Compression::Gzip => ".tar.gz",
            Compression::Zstd => ".tar.zst",
            _ => ".tar",
        }
    }
}

/// Puts all layers into the archive, the lowest first, each under `name`. New ones are read back by `reader`.
pub fn put(
    archive: &mut Archive,
    order: &Order<'_>,
    name: impl Fn(&Layer) -> String,
    pieces: &mut Pieces,
    reader: Option<&dyn LayerReader>,
    step: &Step,
) -> Result<Vec<Layer>> {
    let Order { tree, plan, base, .. } = *order;
    if let Some(disk) = order.disk {
        let write = |out: &mut dyn Sink| write_disk(disk, tree.epoch(), out);
        let name = |sums: &Compressed| name(&layer(sums, plan, String::new()));
        let sums = archive.layer(write, name, plan.compression, pieces, reader)?;
        return Ok(vec![layer(&sums, plan, String::new())]);
    }
    let mut layers = base.map(Base::layers).transpose()?.unwrap_or_default();
    let mut there = HashSet::new();
    for (layer, stored) in layers.iter().zip(base.into_iter().flat_map(Base::stored)) {
        let name = name(layer);
        // A base may have the same (empty) layer twice.
        if there.insert(name.clone()) {
            archive.blob(&name, &stored.blob)?;
        }
    }
    let content = match base {
        Some(base) => difference::pieces(tree, base.lower())?,
        None => tar::pieces(tree)?,
    };
    refuse_whiteouts(&content)?;
    step.total(content.len() as u64);
    let room = MOST.saturating_sub(layers.len());
    let divisions = match plan.layers {
        LayerSplit::One => vec![Division { what: String::new(), pieces: content }],
        LayerSplit::Packages { most } => split::by_packages(tree, content, (most as usize).min(room), step)?,
    };
    if divisions.len() > room {
        let why = format!("the base has {} layers, and an image has at most {MOST}", layers.len());
        return Err(Error::cannot(Exit::Description, "put a layer on top").because(why));
    }
    for Division { what, pieces: content } in divisions {
        let write = |out: &mut dyn Sink| tar::write(tree, &content, out, step);
        let made = |sums: &Compressed| layer(sums, plan, what.clone());
        let sums = archive.layer(write, |sums| name(&made(sums)), plan.compression, pieces, reader)?;
        layers.push(made(&sums));
    }
    Ok(layers)
}

fn layer(sums: &Compressed, plan: &ContainerPlan, what: String) -> Layer {
    Layer {
        diff_id: sums.plain_sha256.clone(),
        sha256: sums.sha256.clone(),
        size: sums.size,
        compression: compression(plan.compression),
        new: Some(what),
    }
}

/// How a layer is compressed that is to be compressed like this.
pub fn compression(how: LayerCompression) -> Compression {
    match how {
        LayerCompression::Gzip => Compression::Gzip,
        LayerCompression::Zstd => Compression::Zstd,
        LayerCompression::None => Compression::None,
    }
}

/// A layer with `disk/NAME` alone, for the user that QEMU is in KubeVirt (its user guide, "Container disks").
fn write_disk(disk: &Path, epoch: i64, out: &mut dyn Sink) -> Result<()> {
    const QEMU: u32 = 107;
    let file = file::open(disk)?;
    let cannot = || format!("put {} into a container", disk.display());
    let size = file.metadata().or_cannot(cannot)?.len();
    let of = |name: &str, kind: Kind, mode: u32, size: u64| {
        let what = Type::Is(&kind);
        Header { name: name.as_bytes(), what, mode, uid: QEMU, gid: QEMU, mtime: epoch, size, xattrs: &[] }.encode()
    };
    let name = format!("disk/{}", disk.file_name().unwrap_or_default().to_string_lossy());
    out.blocks(&of("disk/", Kind::Folder, 0o755, 0))?;
    out.blocks(&of(&name, Kind::File, 0o440, size))?;
    let (mut content, mut bytes, mut copied) = (file.take(size + 1), Vec::new(), 0);
    loop {
        bytes.clear();
        let read = content.by_ref().take(1 << 20).read_to_end(&mut bytes).or_cannot(cannot)?;
        if read == 0 {
            break;
        }
        copied += read as u64;
        bytes.resize(read.next_multiple_of(BLOCK), 0);
        out.blocks(&bytes)?;
    }
    if copied != size {
        return Err(Error::cannot(Exit::Io, cannot()).because("its length changed meanwhile"));
    }
    out.blocks(&[0; 2 * BLOCK])
}

/// A file of such a name would remove another one where the image is unpacked.
fn refuse_whiteouts(pieces: &[Piece]) -> Result<()> {
    let entries = pieces.iter().filter(|piece| !matches!(piece, Piece::Whiteout(_)));
    match entries.map(Piece::path).find(|path| path.name().starts_with(b".wh.")) {
        None => Ok(()),
        Some(path) => Err(Error::cannot(Exit::Description, format!("put {path} into a layer"))
            .because("names that begin with `.wh.` remove files of lower layers")),
    }
}

/// Says what a description asked for and the image does not need.
pub fn warn(step: &Step, text: String) {
    step.reporter().warn(Warning { text, place: None });
}
