//! `kiwi system create`: an image of a prepared tree.
//!
//! In: a tree of `system prepare`. Out: what `system build` makes. Global options win over those that the tree was
//! prepared with, and the tree stays as it is.

use super::arguments::CreateArguments;
use super::build::{TreeKept, into_target};
use super::frame::{CacheUse, Frame};
use super::request::Request;
use crate::error::Result;
use crate::host::file;
use crate::pipeline::{self, Prepared};

/// Creates.
pub fn run(arguments: &CreateArguments, frame: &mut Frame<'_>) -> Result<u8> {
    let root = file::absolute(&arguments.root)?;
    let (prepared, mut request): (Prepared, Request) = Prepared::read(&root)?;
    if !arguments.signing_key.is_empty() {
        frame.warn("--signing-key is ignored: nothing is fetched for an image of a prepared tree".into());
    }
    let globals = frame.globals;
    if !globals.profiles.is_empty() {
        request.choices.profiles = globals.profiles.clone();
    }
    if globals.image_type.is_some() {
        request.choices.image_type = globals.image_type.clone();
    }
    request.choices.environment.extend(globals.environment.iter().cloned());
    let planned = request.plan(frame.colour)?;
    let target = &arguments.target_dir;
    into_target(frame, &planned, target, TreeKept::Elsewhere, CacheUse::Shared, |order, reporter| {
        pipeline::create(&planned.plan, order, &root, prepared, reporter)
    })
}
