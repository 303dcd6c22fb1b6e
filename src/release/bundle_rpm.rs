//! A bundle as one RPM package, for those who ship files by their package manager.
//!
//! In: the files of a bundle. Out: `NAME-VERSION-ID.noarch.rpm` in their place. The same files give the same package.
//! Never installs anything; 69 where the host has no rpmbuild.

use std::path::{Path, PathBuf};

use super::bundle::BundleOrder;
use super::kiwi_result::KiwiResult;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::host::program::Program;
use crate::report::Reporter;

/// Packs `files`, which lie in `folder`, and removes them: the package holds them in `/var/tmp/NAME`, as KIWI's does.
pub fn pack(
    target: &Path,
    folder: &Path,
    order: &BundleOrder,
    files: &[PathBuf],
    reporter: &Reporter,
) -> Result<PathBuf> {
    let result = KiwiResult::read(target)?;
    let naming = &result.bundle_format;
    let name = order.stem(naming)?;
    let wrong = |text: &str| {
        let error = Error::new(Exit::Usage, format!("`{text}` cannot stand in the name of a package"));
        Err(error.because("letters, digits and `._+~-` can").hint("choose another --id or --bundle-format"))
    };
    let fits = |text: &str| text.chars().all(|char| char.is_ascii_alphanumeric() || "._+~-".contains(char));
    if let Some(text) = [name.as_str(), naming.version.as_str()].into_iter().find(|text| !fits(text)) {
        return wrong(text);
    }
    let step = reporter.step("bundle");
    let scratch = tempfile::Builder::new().prefix(".rpm-").tempdir_in(folder);
    let scratch = scratch.or_cannot(|| format!("make a folder in {}", folder.display()))?;
    let scratch = file::canonical(scratch.path())?;
    let folder = file::canonical(folder)?;
    let spec = scratch.join("bundle.spec");
    file::write(&spec, spec_of(&name, &naming.version, &folder, files).as_bytes())?;
    let date = date_of(target)?;
    let define = |name: &str, value: &str| ["--define".to_string(), format!("{name} {value}")];
    let top = scratch.display().to_string();
    let program = Program::new("rpmbuild").args(["-bb", "--nodeps", "--nocheck", "--target", "noarch"]);
    let program = program
        .args(define("_topdir", &top))
        .args(define("_rpmdir", &top))
        .args(define("_rpmfilename", "bundle.rpm"))
        .args(define("_buildhost", "localhost"))
        .args(define("use_source_date_epoch_as_buildtime", "1"))
        .args(define("clamp_mtime_to_source_date_epoch", "1"))
        // The files are packed as they are, and most of them are packed already.
        .args(define("_binary_payload", "w1.zstdio"))
        .args(define("__os_install_post", "%{nil}"))
        .env("SOURCE_DATE_EPOCH", date.to_string())
        .env("HOME", &scratch);
    program.arg(&spec).in_folder(&scratch).run(reporter).map_err(|error| match error.exit() {
        Exit::HostLacks => error.hint("install rpm-build (Debian: rpm), or leave --package-as-rpm out"),
        _ => error,
    })?;
    let package = folder.join(format!("{name}-{}-0.noarch.rpm", naming.version.replace('-', "_")));
    file::rename(&scratch.join("bundle.rpm"), &package)?;
    files.iter().try_for_each(|path| file::remove(path))?;
    step.finish(&package.file_name().unwrap_or_default().to_string_lossy());
    Ok(package)
}

/// The image's date, seconds since 1970; 0 where a result has no manifest.
fn date_of(target: &Path) -> Result<u64> {
    let path = target.join("manifest.json");
    if !file::is_file(&path) {
        return Ok(0);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&file::read(&path)?)
        .map_err(|error| Error::cannot(Exit::Description, format!("read {}", path.display())).because(error))?;
    Ok(manifest["epoch"].as_u64().unwrap_or(0))
}

fn spec_of(name: &str, version: &str, folder: &Path, files: &[PathBuf]) -> String {
    // A percent sign begins a macro.
    let quoted = |text: String| text.replace('%', "%%").replace('\'', "'\\''");
    let place = format!("/var/tmp/{name}");
    let mut install = format!("mkdir -p '%{{buildroot}}{place}'\n");
    for path in files {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let from = quoted(folder.join(&file).display().to_string());
        // A link costs nothing where the folder allows one.
        install.push_str(&format!(
            "ln '{from}' '%{{buildroot}}{place}/' 2>/dev/null || cp '{from}' '%{{buildroot}}{place}/'\n"
        ));
    }
    let version = version.replace('-', "_");
    format!(
        "Name: {name}\nVersion: {version}\nRelease: 0\nSummary: {name}\nLicense: Unspecified\nBuildArch: noarch\n\n\
         %description\nFiles of the image {name}.\n\n%install\n{install}\n%files\n%defattr(0644, root, root, 0755)\n{place}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_file_cannot_become_a_macro_or_a_command() {
        let spec = spec_of("n", "1-2", Path::new("/a%b'c"), &["/x/it's 100%.raw".into()]);
        assert!(spec.contains("ln '/a%%b'\\''c/it'\\''s 100%%.raw' '%{buildroot}/var/tmp/n/'"), "{spec}");
        assert!(spec.contains("Version: 1_2\n"), "{spec}");
    }
}
