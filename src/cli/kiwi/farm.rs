//! Whether a build farm's worker called, and what it laid out.
//!
//! In: the files that the Open Build Service puts into a build root. Out: [`BuildService`] and the trust that goes with
//! it. Never looks anywhere else.

use std::path::Path;

use crate::error::Result;
use crate::host::file;
use crate::plan::overrides::BuildService;

/// Every worker writes this file into the build root.
const MARK: &str = "/.buildenv";
/// Where it puts repositories, as PROJECT/REPOSITORY.
const REPOSITORIES: &str = "/usr/src/packages/SOURCES/repos";

/// Whether this runs in the build root of a farm's worker.
pub fn is_worker() -> bool {
    file::exists(Path::new(MARK))
}

/// The repositories of a worker; `server` is what else `obs://` may mean.
pub fn build_service(server: Option<&str>) -> Result<BuildService> {
    if is_worker() {
        let folder = Path::new(REPOSITORIES);
        return Ok(BuildService::Worker { folder: folder.to_path_buf(), names: names(folder)? });
    }
    Ok(server.map_or(BuildService::Unknown, |url| BuildService::Server(url.to_string())))
}

/// `PROJECT/REPOSITORY`, sorted; links that stand there for old tools, and their folders, are left out.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if !file::is_folder(folder) {
        return Ok(found);
    }
    let is_real = |path: &Path| file::is_folder(path) && file::canonical(path).is_ok_and(|real| real == path);
    for project in file::names(folder)? {
        let inside = folder.join(&project);
        if project.as_encoded_bytes().ends_with(b":") || !file::is_folder(&inside) {
            continue;
        }
        for repository in file::names(&inside)? {
            if is_real(&file::canonical(&inside)?.join(&repository)) {
                found.push(format!("{}/{}", project.to_string_lossy(), repository.to_string_lossy()));
            }
        }
    }
    found.sort();
    Ok(found)
}
