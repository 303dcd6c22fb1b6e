//! What Google's Compute Engine imports: `disk.raw` in a tar archive, sparse in GNU's old form, compressed with gzip.
//!
//! In: a raw disk. Out: NAME.tar.gz, with KIWI's `manifest.json` in front where the description names a licence. Never
//! reads holes.

use std::collections::BTreeMap;

use super::packed::{Codec, Packer};
use super::stream::{Blocks, Stream};
use super::{DiskFormat, Writing, tar, unknown_option, unknown_value};
use crate::error::{Result, Warning};
use crate::pieces::Pieces;
use crate::release::Artifact;

/// Length of a block that is data or hole: a short map matters more than a few zeros.
const BLOCK: u64 = 64 << 10;
const KNOWN: &[&str] = &["license=ADDRESS"];

/// `format="gce"`.
pub struct Gce;

impl DiskFormat for Gce {
    fn name(&self) -> &'static str {
        "gce"
    }

    fn extension(&self) -> &'static str {
        "tar.gz"
    }

    fn check(&self, options: &BTreeMap<String, String>) -> Result<()> {
        for (key, value) in options {
            match key.as_str() {
                "license" if !value.is_empty() => {}
                "license" => return Err(unknown_value("gce", key, value, KNOWN)),
                _ => return Err(unknown_option("gce", key, KNOWN)),
            }
        }
        Ok(())
    }

    fn write(&self, writing: &Writing<'_>, _pieces: &mut Pieces) -> Result<Artifact> {
        let Writing { disk, identity, folder, name, step, .. } = *writing;
        let size = disk.size().0;
        if !size.is_multiple_of(1 << 30) {
            let text = format!("gce: the disk has {size} bytes, no whole number of GiB: Google's cloud refuses it");
            step.reporter().warn(Warning { text, place: None });
        }
        let blocks = Blocks::find(disk, BLOCK)?;
        step.total(blocks.count());
        let mut packer = Packer::new(Stream::create(folder, name)?, Codec::Gzip);
        if let Some(license) = writing.options.get("license") {
            let manifest = serde_json::json!({"licenses": [license]}).to_string();
            packer.write(&tar::file("manifest.json", manifest.len() as u64, identity.epoch))?;
            packer.write(manifest.as_bytes())?;
            packer.zeros(tar::padding(manifest.len() as u64))?;
        }
        let range = |range: &std::ops::Range<u64>| {
            let start = range.start * BLOCK;
            (start, (range.end * BLOCK).min(size) - start)
        };
        let mut data: Vec<(u64, u64)> = blocks.data.iter().map(range).collect();
        // An entry of nothing says where a last hole ends.
        if data.last().is_none_or(|(start, length)| start + length < size) {
            data.push((size, 0));
        }
        packer.write(&tar::sparse("disk.raw", size, &data, identity.epoch))?;
        let mut stored = 0;
        for piece in blocks.pieces() {
            let part = blocks.part(&piece);
            let length = part.end - part.start;
            packer.copy(blocks.file(), part)?;
            stored += length;
            step.advance(piece.end - piece.start, length);
        }
        // Two blocks end an archive.
        packer.zeros(tar::padding(stored) + 2 * tar::BLOCK)?;
        packer.finish()?.finish(self.name())
    }
}
