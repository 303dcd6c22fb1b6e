//! qcow2, QEMU's format (docs/interop/qcow2.txt in QEMU's source), version 3.
//!
//! In: a raw disk. Out: an image whose clusters are compressed on all cores, holes and clusters of zeros left out; and
//! back. Never writes or follows backing files, external data files or encryption.

mod deflate;
mod reader;
mod table;
mod writer;

use std::collections::BTreeMap;

use super::{DiskFormat, Writing, unknown_option};
use crate::error::{Error, Exit, Result};
use crate::pieces::Pieces;
use crate::release::Artifact;

pub use self::reader::Reader;
pub use self::table::MAGIC;

/// `format="qcow2"`.
pub struct Qcow2;

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all (`compressed=off`).
    Plain,
    /// Deflate, which every QEMU reads (`compression_type=zlib`, the default).
    Deflate,
    /// Zstandard: faster to read, QEMU 5.1 or newer (`compression_type=zstd`).
    Zstd,
}

/// `formatoptions`, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How clusters are compressed.
    pub packing: Packing,
    /// Clusters of `1 << cluster_bits` bytes, 9 to 21; default 16.
    pub cluster_bits: u32,
}

const KNOWN: &[&str] = &["compression_type=zlib|zstd", "compressed=on|off", "cluster_size=512..2M", "compat=1.1"];

impl Options {
    /// Reads `formatoptions`; what is not known, or contradicts itself, is 65.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Options> {
        let mut result = Options { packing: Packing::Deflate, cluster_bits: 16 };
        let mut compressed = true;
        for (key, value) in options {
            let bad = || {
                Error::cannot(Exit::Description, format!("use the format option `{key}={value}` with qcow2"))
                    .because(format!("its options are {}", KNOWN.join(", ")))
            };
            match (key.as_str(), value.as_str()) {
                ("compression_type", "zlib") => result.packing = Packing::Deflate,
                ("compression_type", "zstd") => result.packing = Packing::Zstd,
                ("compressed", "on" | "true" | "yes") => compressed = true,
                ("compressed", "off" | "false" | "no") => compressed = false,
                ("compat", "1.1" | "v3") => {}
                ("cluster_size", size) => result.cluster_bits = cluster_bits(size).ok_or_else(bad)?,
                ("compression_type" | "compressed" | "compat", _) => return Err(bad()),
                _ => return Err(unknown_option("qcow2", key, KNOWN)),
            }
        }
        if !compressed {
            result.packing = Packing::Plain;
        }
        Ok(result)
    }
}

/// `65536`, `64k`, `2M`: a power of two from 512 bytes to 2 MiB, as its exponent.
fn cluster_bits(text: &str) -> Option<u32> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 10),
        b'm' | b'M' => (&text[..text.len() - 1], 20),
        _ => (text, 0),
    };
    let size = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    Some(size.trailing_zeros()).filter(|bits| size.is_power_of_two() && (9..=21).contains(bits))
}

impl DiskFormat for Qcow2 {
    fn name(&self) -> &'static str {
        "qcow2"
    }

    fn extension(&self) -> &'static str {
        "qcow2"
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        Options::parse(options).map(drop)
    }

    fn write(&self, writing: &Writing<'_>, pieces: &mut Pieces) -> Result<Artifact> {
        writer::write(writing, Options::parse(writing.options)?, pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood_or_refused_by_name() {
        let parse = |text: &str| {
            let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
            Options::parse(&pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect())
        };
        let good = |packing, cluster_bits| Options { packing, cluster_bits };
        for (text, options) in [
            ("", good(Packing::Deflate, 16)),
            ("compression_type=zstd cluster_size=2M", good(Packing::Zstd, 21)),
            ("compressed=off compression_type=zlib", good(Packing::Plain, 16)),
            ("cluster_size=4k compat=1.1", good(Packing::Deflate, 12)),
            ("cluster_size=512", good(Packing::Deflate, 9)),
        ] {
            assert_eq!(parse(text).unwrap(), options, "{text}");
        }
        for text in
            ["cluster_size=3k", "cluster_size=4M", "cluster_size=", "compression_type=lz4", "compat=0.10", "backing=x"]
        {
            let error = parse(text).unwrap_err();
            assert_eq!(error.exit(), Exit::Description, "{text}");
            assert!(error.what().contains(text.split('=').next().unwrap()), "{}", error.what());
        }
    }
}
