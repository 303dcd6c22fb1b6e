//! What a stage depends on.
//!
//! In: named parts (packages, scripts, settings) and their digests. Out: one digest, and what differs between two keys.
//! Never leaves anything out that could change the tree: whoever fills a key is responsible for that.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cache::digest::Sha256;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    stage: String,
    image: String,
    parts: BTreeMap<String, String>,
}

/// A part that is not the same in two keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only the wanted stage has it.
    New(String),
    /// Only the other stage has it.
    Gone(String),
    /// Both have it, with another value.
    Changed(String),
}

impl Key {
    /// A key without parts for a stage of an image. The image's name is for people: it is not a part of the digest.
    pub fn new(stage: &str, image: &str) -> Key {
        Key { stage: stage.into(), image: image.into(), parts: BTreeMap::new() }
    }

    /// Adds a part; `name` is what `--explain-cache` shows.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.parts.insert(name.into(), value.into());
    }

    /// A key with the same parts for a later stage.
    pub fn followed_by(&self, stage: &str) -> Key {
        Key { stage: stage.into(), ..self.clone() }
    }

    /// The stage's name.
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// The image that it was made for first.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// A part's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parts.get(name).map(String::as_str)
    }

    /// The names of all parts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }

    /// What the stage is found by.
    pub fn digest(&self) -> Sha256 {
        let mut text = format!("{:?}\n", self.stage);
        self.parts.iter().for_each(|(name, value)| text.push_str(&format!("{name:?} {value:?}\n")));
        Sha256::of(text)
    }

    /// Whether comparing the two says anything.
    pub fn is_like(&self, other: &Key) -> bool {
        (&self.stage, &self.image) == (&other.stage, &other.image)
    }

    /// What `self` has that `other` has not, and the other way round.
    pub fn differences(&self, other: &Key) -> Vec<Difference> {
        let mut all = Vec::new();
        for (name, value) in &self.parts {
            match other.parts.get(name) {
                None => all.push(Difference::New(name.clone())),
                Some(theirs) if theirs != value => all.push(Difference::Changed(name.clone())),
                Some(_) => {}
            }
        }
        let gone = other.parts.keys().filter(|name| !self.parts.contains_key(*name));
        all.extend(gone.map(|name| Difference::Gone(name.clone())));
        all
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::New(name) => write!(f, "{name} is new"),
            Difference::Gone(name) => write!(f, "{name} is gone"),
            Difference::Changed(name) => write!(f, "{name} changed"),
        }
    }
}
