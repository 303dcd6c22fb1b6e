//! `kiwi system update`: a prepared tree with more packages, or fewer.
//!
//! In: a tree of `system prepare` and names. Out: the tree that `system prepare` would have made with them. It is grown
//! anew, from the cache of packages: what was changed in the old one by hand is lost, and the warning says so.

use super::arguments::UpdateArguments;
use super::frame::{CacheUse, Frame};
use super::prepare::into_root;
use super::request::Request;
use crate::error::{Error, Exit, Result};
use crate::pipeline::Prepared;

/// Updates.
pub fn run(arguments: &UpdateArguments, frame: &mut Frame<'_>) -> Result<u8> {
    if arguments.add_package.is_empty() && arguments.delete_package.is_empty() {
        let error = Error::cannot(Exit::Usage, "update a tree").because("no package is named");
        return Err(error.hint("--add-package NAME or --delete-package NAME"));
    }
    let (_, mut request): (Prepared, Request) = Prepared::read(&arguments.root)?;
    let overrides = &mut request.overrides;
    overrides.packages.extend(arguments.add_package.iter().cloned());
    // A package that an earlier update added is installed and removed: something else may ask for it, too.
    overrides.delete_packages.extend(arguments.delete_package.iter().cloned());
    overrides.delete_packages.retain(|name| !arguments.add_package.contains(name));
    frame.warn("the tree is grown anew: changes that were made in it by hand are lost".into());
    into_root(frame, &request, &arguments.root, CacheUse::Shared)
}
