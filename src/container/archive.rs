//! The outer archive of a container image: a layer and a few small files in one tar.
//!
//! In: layers as streams, and files. Out: the archive and its digest. Each layer goes straight to its place: its
//! header is written when its length and digest are known, and so the whole is hashed at the end, from the page cache. Writing
//! the layer apart first would copy it once more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc::channel;

use super::compress::{Compressed, LayerWriter, Plain, Streamed};
use super::follow::{LayerReader, follow};
use super::header::{self, BLOCK, Header, Type};
use super::layers::compression;
use super::source::Blob;
use super::tar::Sink;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host;
use crate::host::rooted::Kind;
use crate::pieces::Pieces;
use crate::plan::LayerCompression;
use crate::release::hash::Hasher;
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

    /// What `write` writes, as a layer. `name` is asked for the member's name when the layer's digests are known. A `reader`
    /// reads it back while it is written.
    pub fn layer(
        &mut self,
        write: impl FnOnce(&mut dyn Sink) -> Result<()>,
        name: impl FnOnce(&Compressed) -> String,
        how: LayerCompression,
        pieces: &mut Pieces,
        reader: Option<&dyn LayerReader>,
    ) -> Result<Compressed> {
        let header_at = self.at;
        self.put(&[0; BLOCK])?;
        let layer = match reader {
            None => self.hashed(write, how, pieces)?,
            Some(reader) => self.read_back(write, how, pieces, reader)?,
        };
        self.at += layer.size;
        self.pad()?;
        self.file.flush().or_cannot(|| format!("write {}", self.name))?;
        let header = header::one_block(name(&layer).as_bytes(), layer.size, self.epoch);
        self.file.get_ref().write_all_at(&header, header_at).or_cannot(|| format!("write {}", self.name))?;
        Ok(layer)
    }

    fn hashed(
        &mut self,
        write: impl FnOnce(&mut dyn Sink) -> Result<()>,
        how: LayerCompression,
        pieces: &mut Pieces,
    ) -> Result<Compressed> {
        let plain = Plain::Written(Hasher::start());
        let Streamed { plain_sha256, sha256, size } = streamed(&mut self.file, self.at, write, how, pieces, plain)?;
        let bug = || Error::cannot(Exit::Bug, format!("write {}: a layer was not hashed", self.name));
        Ok(Compressed { plain_sha256: plain_sha256.ok_or_else(bug)?, sha256, size })
    }

    fn read_back(
        &mut self,
        write: impl FnOnce(&mut dyn Sink) -> Result<()>,
        how: LayerCompression,
        pieces: &mut Pieces,
        reader: &dyn LayerReader,
    ) -> Result<Compressed> {
        let (at, out) = (self.at, &mut self.file);
        out.flush().or_cannot(|| format!("write {}", self.name))?;
        let file = out.get_ref().try_clone().or_cannot(|| format!("read {} back", self.name))?;
        let (sender, members) = channel();
        let (streamed, read) = std::thread::scope(|scope| {
            let reading = scope.spawn(|| follow(&file, at, members, compression(how), reader));
            // Whatever comes of it, the sender is gone then, and the reader ends.
            let streamed = streamed(out, at, write, how, pieces, Plain::ReadBack(sender));
            (streamed, reading.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        // Where writing failed, what was read is cut off.
        let streamed = streamed?;
        let read = read.map_err(|error| error.within(format!("audit {}", self.name)))?;
        if read.size != streamed.size {
            return Err(Error::cannot(Exit::Bug, format!("read {} back: not all of it was read", self.name)));
        }
        reader.was_read(at, read.size);
        Ok(Compressed { plain_sha256: read.plain_sha256, sha256: streamed.sha256, size: streamed.size })
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

fn streamed(
    out: &mut BufWriter<File>,
    at: u64,
    write: impl FnOnce(&mut dyn Sink) -> Result<()>,
    how: LayerCompression,
    pieces: &mut Pieces,
    plain: Plain,
) -> Result<Streamed> {
    let mut packed = LayerWriter::new(out, how, pieces, at, plain);
    write(&mut packed)?;
    packed.finish()
}
