//! Layers that are looked at while they are written.
//!
//! In: the uncompressed archive of each layer, as it is read back from the artifact. Out: what was seen in it, for the audit of
//! the whole artifact, which then looks at the rest. Judges nothing before everything was seen.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Mutex;

use super::archive::see_plain_layer;
use crate::container::LayerReader;
use crate::error::{Error, Exit, Result};
use crate::scrub::{Auditor, Standard};

/// See the module.
#[derive(Debug)]
pub struct Layers<'a> {
    standard: Standard<'a>,
    looking: Mutex<BTreeMap<u64, Auditor<'a>>>,
    seen: Mutex<BTreeMap<u64, Seen<'a>>>,
}

/// What was seen in a layer.
#[derive(Debug)]
pub struct Seen<'a> {
    /// How much of the artifact it takes.
    pub size: u64,
    /// Who has seen it.
    pub auditor: Auditor<'a>,
}

impl<'a> Layers<'a> {
    /// None yet.
    pub fn new(standard: Standard<'a>) -> Layers<'a> {
        Layers { standard, looking: Mutex::default(), seen: Mutex::default() }
    }

    /// What they are judged by.
    pub(super) fn standard(&self) -> Standard<'a> {
        self.standard
    }

    /// What was seen in each, by where it begins in the artifact.
    pub(super) fn into_seen(self) -> BTreeMap<u64, Seen<'a>> {
        self.seen.into_inner().unwrap_or_default()
    }
}

impl LayerReader for Layers<'_> {
    fn read(&self, offset: u64, plain: &mut dyn Read) -> Result<()> {
        let mut auditor = Auditor::new(self.standard);
        see_plain_layer(plain, &mut auditor)?;
        let bug = |_| Error::cannot(Exit::Bug, "look at a layer: a thread panicked");
        self.looking.lock().map_err(bug)?.insert(offset, auditor);
        Ok(())
    }

    fn was_read(&self, offset: u64, size: u64) {
        // A layer that is not here is looked at with the rest.
        let auditor = self.looking.lock().ok().and_then(|mut looking| looking.remove(&offset));
        if let (Some(auditor), Ok(mut seen)) = (auditor, self.seen.lock()) {
            seen.insert(offset, Seen { size, auditor });
        }
    }
}
