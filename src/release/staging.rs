//! A hidden folder that becomes the result, or part of it, in one step.
//!
//! In: the target folder's name. Out: a folder to write into, and the step that makes it visible. Never deletes a file
//! of the target that the new result does not replace.
//!
//! A target that does not exist yet appears by one `rename`. One that exists is exchanged as a whole
//! (`renameat2(RENAME_EXCHANGE)`) with a folder that holds the new files and second names of the old ones that stay.
//! Where a folder cannot be exchanged (it is a mount point, somebody's working directory is in it, it holds folders), the
//! files are renamed one by one, `manifest.json` last: a reader that checks the manifest never takes a mixture for a release.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::lock::FolderLock;

/// Prefix of the folder that a build makes beside its target; an unlocked one is swept by the next build.
const PREFIX: &str = ".ingot-staging-";

/// The result of a build before it is visible.
#[derive(Debug)]
pub struct Staging {
    target: PathBuf,
    folder: PathBuf,
    lock: Option<FolderLock>,
    target_lock: Option<FolderLock>,
}

impl Staging {
    /// Checks that `target` can be written, locks it and makes the hidden folder beside it.
    ///
    /// 73 when the target cannot be created, is not a folder, is read-only, or another build is writing to it.
    pub fn begin(target: &Path) -> Result<Staging> {
        let cannot = |error: Error| {
            error.within(format!("use the target folder {}", target.display())).with_exit(Exit::CannotCreate)
        };
        if !file::is_folder(target) && file::exists(target) {
            return Err(Error::cannot(Exit::CannotCreate, format!("use the target folder {}", target.display()))
                .because("it is not a folder"));
        }
        let absolute = file::absolute(target)?;
        // A symlink to a folder is followed: the folder is replaced, not the link.
        let absolute = if file::is_folder(&absolute) { file::canonical(&absolute)? } else { absolute };
        let parent = absolute.parent().unwrap_or(Path::new("/")).to_path_buf();
        file::create_folders(&parent).map_err(cannot)?;
        let name = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = parent.join(format!("{PREFIX}{name}"));
        if file::is_folder(&folder) {
            // Left behind by a build that was killed, or in use by one that is running.
            let _stale = FolderLock::take(&folder)?.ok_or_else(|| busy(target))?;
            file::remove_tree(&folder)?;
        }
        let target_lock = if file::is_folder(&absolute) {
            file::check_writable(&absolute).map_err(cannot)?;
            Some(FolderLock::take(&absolute)?.ok_or_else(|| busy(target))?)
        } else {
            None
        };
        file::create_folder(&folder).map_err(cannot)?;
        let lock = FolderLock::take(&folder)?;
        Ok(Staging { target: absolute, folder, lock, target_lock })
    }

    /// 73 where the target is in a folder that the image is made of (`inputs`): the next image would hold this one.
    pub fn check_outside(&self, inputs: &[PathBuf]) -> Result<()> {
        for input in inputs.iter().filter(|input| file::is_folder(input)) {
            if self.target.starts_with(file::canonical(input)?) {
                return Err(Error::cannot(Exit::CannotCreate, format!("build into {}", self.target.display()))
                    .because(format!("it is in {}, and the image gets what is there", input.display()))
                    .hint("choose another --target-dir"));
            }
        }
        Ok(())
    }

    /// Where to write. Names that start with `.` are never published.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder that the result will be in.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Makes everything visible: synced first, then one step (see the module).
    pub fn publish(mut self) -> Result<PathBuf> {
        for name in self.names()? {
            if name.as_encoded_bytes().starts_with(b".") {
                file::remove_tree(&self.folder.join(name))?;
            }
        }
        file::sync_files(&self.folder)?;
        let parent = self.target.parent().unwrap_or(Path::new("/")).to_path_buf();
        if self.target_lock.is_none() {
            if file::rename_new(&self.folder, &self.target)? {
                file::sync_folder(&parent)?;
                self.folder = self.target.clone();
                self.lock = None;
                return Ok(self.target.clone());
            }
            // Somebody made the target while we were building: take it now, or give up without touching it.
            self.target_lock = Some(FolderLock::take(&self.target)?.ok_or_else(|| busy(&self.target))?);
        }
        if self.can_be_exchanged()? && self.exchange()? {
            file::sync_folder(&parent)?;
            return Ok(self.target.clone());
        }
        let mut names = self.names()?;
        names.sort_by_key(|name| (name == "manifest.json", name.clone()));
        for name in names {
            let (new, old) = (self.folder.join(&name), self.target.join(&name));
            // A folder is not renamed over another one.
            if file::is_folder(&new) {
                file::remove_tree(&old)?;
            }
            file::rename(&new, &old)?;
        }
        file::sync_folder(&self.target)?;
        Ok(self.target.clone())
    }

    fn names(&self) -> Result<Vec<OsString>> {
        file::names(&self.folder)
    }

    /// Only flat folders that nobody works in are exchanged: second names can be made of files, not of folders.
    fn can_be_exchanged(&self) -> Result<bool> {
        if crate::host::file::somebody_works_in(&self.target) {
            return Ok(false);
        }
        Ok(file::names(&self.target)?.iter().all(|name| file::is_plain_file(&self.target.join(name))))
    }

    fn exchange(&self) -> Result<bool> {
        for name in file::names(&self.target)? {
            let new = self.folder.join(&name);
            if !file::exists(&new) && file::hard_link(&self.target.join(&name), &new).is_err() {
                return Ok(false);
            }
        }
        file::copy_permissions(&self.target, &self.folder)?;
        file::exchange(&self.folder, &self.target)
    }
}

fn busy(target: &Path) -> Error {
    Error::cannot(Exit::CannotCreate, format!("use the target folder {}", target.display()))
        .because("another build is writing to it")
        .hint("wait for it, or choose another --target-dir")
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.folder != self.target {
            let _ = file::remove_tree(&self.folder);
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use std::fs;

    fn listing(folder: &Path) -> Vec<(String, String)> {
        let names = file::names(folder).unwrap().into_iter();
        names.map(|name| (name.to_string_lossy().into(), fs::read_to_string(folder.join(name)).unwrap())).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, content)| (name.to_string(), content.to_string())).collect()
    }

    #[test]
    fn a_new_target_appears_whole_without_hidden_files() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("deep/out");
        let staging = Staging::begin(&target).unwrap();
        fs::write(staging.folder().join("image.raw"), "raw").unwrap();
        fs::write(staging.folder().join(".scratch"), "x").unwrap();
        assert!(!target.exists());
        staging.publish().unwrap();
        assert_eq!(listing(&target), pairs(&[("image.raw", "raw")]));
        assert_eq!(file::names(target.parent().unwrap()).unwrap(), ["out"]);
    }

    #[test]
    fn an_existing_target_keeps_what_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("manifest.json"), "old").unwrap();
        fs::write(target.join("other"), "kept").unwrap();
        for folders in ["flat", "with a folder"] {
            if folders != "flat" {
                fs::create_dir(target.join("sub")).unwrap();
            }
            let staging = Staging::begin(&target).unwrap();
            fs::write(staging.folder().join("manifest.json"), folders).unwrap();
            staging.publish().unwrap();
            let _ = fs::remove_dir(target.join("sub"));
            assert_eq!(listing(&target), pairs(&[("manifest.json", folders), ("other", "kept")]));
            assert_eq!(file::names(folder.path()).unwrap(), ["out"]);
        }
    }

    #[test]
    fn a_dropped_build_leaves_the_target_as_it_was_and_a_second_build_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        fs::create_dir(&target).unwrap();
        let staging = Staging::begin(&target).unwrap();
        fs::write(staging.folder().join("image.raw"), "half").unwrap();
        let second = Staging::begin(&target).unwrap_err();
        assert_eq!(
            (second.exit(), second.causes()),
            (Exit::CannotCreate, ["another build is writing to it".into()].as_slice())
        );
        drop(staging);
        assert_eq!(listing(&target), []);
        assert_eq!(file::names(folder.path()).unwrap(), ["out"]);
    }

    #[test]
    fn what_a_killed_build_left_is_swept_and_what_a_live_one_uses_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        fs::create_dir(folder.path().join(".ingot-staging-out")).unwrap();
        fs::write(folder.path().join(".ingot-staging-out/half"), "").unwrap();
        let live = Staging::begin(&target).unwrap();
        assert_eq!(listing(live.folder()), []);
        assert_eq!(Staging::begin(&target).unwrap_err().exit(), Exit::CannotCreate);
        let other = Staging::begin(&folder.path().join("other")).unwrap();
        drop((live, other));
        assert_eq!(file::names(folder.path()).unwrap().len(), 0);
    }

    #[test]
    fn a_target_in_what_the_image_is_made_of_is_73() {
        let folder = tempfile::tempdir().unwrap();
        let [root, beside] = ["root", "rootfs"].map(|name| folder.path().join(name));
        fs::create_dir(&root).unwrap();
        let inputs = [folder.path().join("gone"), root.clone()];
        Staging::begin(&beside).unwrap().check_outside(&inputs).unwrap();
        for target in ["root", "root/out"] {
            let staging = Staging::begin(&folder.path().join(target)).unwrap();
            assert_eq!(staging.check_outside(&inputs).unwrap_err().exit(), Exit::CannotCreate, "{target}");
        }
        assert_eq!(file::names(folder.path()).unwrap(), ["root"]);
    }

    #[test]
    fn a_file_in_the_targets_place_is_73() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        fs::write(&target, "").unwrap();
        assert_eq!(Staging::begin(&target).unwrap_err().exit(), Exit::CannotCreate);
    }
}
