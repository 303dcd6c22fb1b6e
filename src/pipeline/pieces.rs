//! Compressed pieces of the last artifact of an image, for the next one.
//!
//! In: what an artifact is, and how to write it. Out: the artifact, the same bytes as without. One entry of the stage store
//! for each image and kind of artifact, replaced when it has become too different. Never trusts a piece that was not read
//! through; an artifact that cannot be kept is no failure.

use serde_json::Value;

use super::Order;
use super::stages::{Explain, Reuse, TOOL};
use crate::bytes::Bytes;
use crate::cache::stages::{Kept, Key, StageStore};
use crate::error::Result;
use crate::host::file;
use crate::pieces::{Pieces, Search};
use crate::plan::{LayerCompression, Plan};
use crate::release::Artifact;
use crate::report::Reporter;

const STAGE: &str = "pieces";
/// The last artifact stays the source of pieces while no more than one byte in so many had to be compressed.
const STALE: u64 = 10;

/// Writes an artifact. `what` is all that decides how it is compressed, for people to read, too.
pub(super) fn with_pieces(
    what: &str,
    plan: &Plan,
    order: &Order,
    reporter: &Reporter,
    foreseen: Option<Search>,
    write: impl FnOnce(&mut Pieces) -> Result<Artifact>,
) -> Result<Artifact> {
    let Reuse::UpTo(limit) = order.reuse else {
        let mut pieces = foreseen.map_or_else(Pieces::ignored, Pieces::of_search);
        let artifact = write(&mut pieces)?;
        if let (reused @ 1.., made) = pieces.reused_and_made() {
            reporter.log_line(&format!(
                "{what}: {} of compressed pieces made while scripts ran, {} made",
                Bytes(reused),
                Bytes(made)
            ));
        }
        return Ok(artifact);
    };
    let say = |line: &str| match order.explain {
        Explain::Aloud => reporter.say(&format!("{:>14}  {line}", "cache")),
        Explain::InTheLog => reporter.log_line(line),
    };
    let key = key(what, plan, order);
    let store = StageStore::open(&order.cache_dir, limit)?;
    let stage = store.find(&key)?;
    let is_first = stage.is_none();
    let mut pieces = match (stage, foreseen) {
        (Some(stage), _) => {
            let index = stage.payload().as_str().map(from_hex).unwrap_or_default();
            Pieces::of(stage.into_file(), &index)
        }
        (None, Some(search)) => Pieces::of_search(search),
        (None, None) => Pieces::unknown(),
    };
    let artifact = write(&mut pieces)?;
    let (reused, made) = pieces.reused_and_made();
    if reused + made > 0 {
        let damage = if pieces.met_damage() { "; some of the kept ones were damaged" } else { "" };
        let how = if is_first { "made while scripts ran" } else { "reused" };
        say(&format!("{what}: {} of compressed pieces {how}, {} made{damage}", Bytes(reused), Bytes(made)));
    }
    if (is_first && reused + made > 0) || pieces.met_damage() || made > (reused + made) / STALE {
        let index = Value::String(to_hex(pieces.index()));
        let kept = file::open(&order.folder.join(&artifact.name))
            .and_then(|image| store.replace(&key, index, &image, artifact.size));
        match kept {
            Ok(Kept::Yes(size)) => say(&format!("{what}: its pieces kept, {size}")),
            Ok(Kept::NoRoom) => say(&format!("{what}: its pieces not kept: there is no room for them")),
            Err(error) => say(&format!("{what}: its pieces not kept: {error}")),
        }
    }
    Ok(artifact)
}

/// What [`with_pieces`] is told of containers: pieces of one kind of compression are of no use to another one.
pub(super) fn of_container(how: LayerCompression) -> &'static str {
    match how {
        LayerCompression::Gzip => "container",
        LayerCompression::Zstd => "container, zstd",
        LayerCompression::None => "container, not compressed",
    }
}

/// Whether an earlier build left pieces that may be used.
pub(super) fn are_kept(what: &str, plan: &Plan, order: &Order) -> Result<bool> {
    let Reuse::UpTo(limit) = order.reuse else { return Ok(false) };
    Ok(StageStore::open(&order.cache_dir, limit)?.find(&key(what, plan, order))?.is_some())
}

fn key(what: &str, plan: &Plan, order: &Order) -> Key {
    let mut key = Key::new(STAGE, &plan.image.name);
    key.add(TOOL, &order.tool);
    key.add("the image", &plan.image.name);
    key.add("the artifact", what);
    key
}

fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// What is no digit counts as 0: the entry that it is in will not be found, or not be intact.
fn from_hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_survives_its_text() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes)), bytes);
        assert_eq!(to_hex(&[0, 0xa9]), "00a9");
    }
}
