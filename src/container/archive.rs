//! The outer archive of a container image: a layer and a few small files in one tar.
//!
//! In: layers as streams, and files. Out: the archive and its digest. Each layer goes straight to its place: its
//! header is written when its length and digest are known, and so the whole is hashed at the end, from the page cache. Writing
//! the layer apart first would copy it once more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::compress::{Compressed, LayerWriter};
use super::header::{self, BLOCK, Header, Type};
use super::source::Blob;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host;
use crate::host::rooted::Kind;
use crate::pieces::Pieces;
use crate::plan::LayerCompression;
use crate::release::{Artifact, hash};
use crate::report::Step;

/// An archive under construction.
pub struct Archive {
    file: BufWriter<File>,
    at: u64,
    epoch: i64,
    name: String,
}

impl Archive {
    /// Creates `folder/name`; every member gets the time `epoch`.
    pub fn create(folder: &Path, name: &str, epoch: i64) -> Result<Archive> {
        Ok(Archive::over(host::file::create(&folder.join(name))?, name, epoch))
    }

    /// Writes into an empty file; `name` is for messages.
    pub fn over(file: File, name: &str, epoch: i64) -> Archive {
        Archive { file: BufWriter::with_capacity(1 << 20, file), at: 0, epoch, name: name.into() }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.at += bytes.len() as u64;
        self.file.write_all(bytes).or_cannot(|| format!("write {}", self.name))
    }

    fn pad(&mut self) -> Result<()> {
        let padding = self.at.next_multiple_of(BLOCK as u64) - self.at;
        self.put(&[0; BLOCK][..padding as usize])
    }

    /// A folder; `name` ends in a slash.
    pub fn folder(&mut self, name: &str) -> Result<()> {
        let header = Header {
            name: name.as_bytes(),
            what: Type::Is(&Kind::Folder),
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: self.epoch,
            size: 0,
            xattrs: &[],
        };
        self.put(&header.encode())
    }

    /// A small file.
    pub fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.put(&header::one_block(name.as_bytes(), content.len() as u64, self.epoch))?;
        self.put(content)?;
        self.pad()
    }

    /// A blob of another archive, as it is.
    pub fn blob(&mut self, name: &str, blob: &Blob) -> Result<()> {
        self.put(&header::one_block(name.as_bytes(), blob.size, self.epoch))?;
        let copied = io::copy(&mut blob.reader(), &mut self.file).or_cannot(|| format!("write {}", self.name))?;
        if copied != blob.size {
            return Err(Error::cannot(Exit::Description, format!("copy {name} of the base"))
                .because(format!("it ends after {copied} of {} bytes", blob.size)));
        }
        self.at += copied;
        self.pad()
    }

    /// What `write` writes, as a layer. `name` is asked for the member's name when the layer's digests are known.
    pub fn layer(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
        name: impl FnOnce(&Compressed) -> String,
        how: LayerCompression,
        pieces: &mut Pieces,
    ) -> Result<Compressed> {
        let header_at = self.at;
        self.put(&[0; BLOCK])?;
        let mut packed = LayerWriter::new(&mut self.file, how, pieces, self.at);
        write(&mut packed)?;
        let layer = packed.finish()?;
        self.at += layer.size;
        self.pad()?;
        self.file.flush().or_cannot(|| format!("write {}", self.name))?;
        let header = header::one_block(name(&layer).as_bytes(), layer.size, self.epoch);
        self.file.get_ref().write_all_at(&header, header_at).or_cannot(|| format!("write {}", self.name))?;
        Ok(layer)
    }

    fn end(&mut self) -> Result<()> {
        self.put(&[0; 2 * BLOCK])?;
        self.file.flush().or_cannot(|| format!("write {}", self.name))
    }

    /// Ends an archive that is part of something else.
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    /// Ends the archive.
    pub fn finish(mut self, format: &str, step: &Step) -> Result<Artifact> {
        self.end()?;
        let (sha256, size) = hash::file(self.file.get_ref(), None, step)?;
        Ok(Artifact { name: self.name, format: format.into(), sha256, size, options: BTreeMap::new() })
    }
}
