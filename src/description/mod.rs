//! What the author wrote, with source positions.
//!
//! In: a folder or file with a KIWI XML description. Out: a [`Description`] or every problem at once.
//! Never fills in a default and never does I/O except loading the files of the description.

/// What the author wrote.
#[derive(Clone, Debug)]
pub struct Description {}
