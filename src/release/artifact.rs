//! A file that will be shipped, hashed while it is written.
//!
//! In: bytes. Out: an [`Artifact`]. Never reads the file again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::bytes::Bytes;
use crate::error::{OrCannot, Result};
use crate::host;

/// A finished file of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// File name in the result folder.
    pub name: String,
    /// Format: `raw`, `qcow2`, `docker`, `oci`, `tar.xz`.
    pub format: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Length of the file.
    pub size: Bytes,
    /// `formatoptions` that it was written with.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Writes a new file and its SHA-256 at once.
pub struct ArtifactWriter {
    file: BufWriter<File>,
    hash: Sha256,
    size: u64,
    name: String,
}

impl ArtifactWriter {
    /// Creates `folder/name`.
    pub fn create(folder: &Path, name: &str) -> Result<ArtifactWriter> {
        let file = host::file::create(&folder.join(name))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        Ok(ArtifactWriter { file, hash: Sha256::new(), size: 0, name: name.into() })
    }

    /// Flushes and returns what was written. The release syncs all its files at once.
    pub fn finish(mut self, format: &str) -> Result<Artifact> {
        self.file.flush().or_cannot(|| format!("write {}", self.name))?;
        let sha256 = hex(&self.hash.finalize());
        Ok(Artifact {
            name: self.name,
            format: format.into(),
            sha256,
            size: Bytes(self.size),
            options: BTreeMap::new(),
        })
    }
}

impl Write for ArtifactWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
