//! What programs of this host trust while they download for a build.
//!
//! In: the certificates that a description names. Out: [`Certificates`]: a folder with those that this host trusts and
//! these, which a program sees in the place of the host's: zypper and pacman have no setting that counts for every address,
//! and libcurl reads one file or looks names up by their hash, as it was built. Never changes what the host itself trusts.

use std::path::{Path, PathBuf};

use crate::error::{Exit, Result, Warning};
use crate::host::file;
use crate::host::program::Program;
use crate::host::sandbox::Sandbox;
use crate::report::Reporter;

/// Where distributions have all of them in one file.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/certs/ca-bundle.crt"];
/// Where OpenSSL looks them up by their hash, whatever the distribution; libzypp, too.
const FOLDER: &str = "/etc/ssl/certs";
/// What the file is called in that folder: Debian's and Arch Linux's name, and Red Hat's.
const NAMES: [&str; 2] = ["ca-certificates.crt", "ca-bundle.crt"];
/// A certificate in PEM.
const MARKS: [(&str, &str); 2] = [
    ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"),
    ("-----BEGIN TRUSTED CERTIFICATE-----", "-----END TRUSTED CERTIFICATE-----"),
];

/// What libcurl says of a server that it does not believe, with OpenSSL or GnuTLS. In lower case.
const REFUSED: &[&str] = &[
    "ssl certificate problem",
    "certificate verification failed",
    "ssl peer certificate",
    "no alternative certificate subject name matches",
    "certificate subject name does not match",
];

/// What to do about it.
pub const HINT: &str = "if its certificate is your own, name who issued it with <certificates>, or --ca-cert of kiwi";

/// Whether a program says that it does not believe a server to be who it says it is.
pub fn are_refused(said: &str) -> bool {
    let said = said.to_lowercase();
    REFUSED.iter().any(|refused| said.contains(refused))
}

/// The certificates that this host trusts, `of_host` or where distributions have them, and those in `named` behind them.
pub fn in_one_file(of_host: Option<PathBuf>, named: &[PathBuf]) -> Result<Vec<u8>> {
    let usual = || BUNDLES.iter().map(PathBuf::from).find(|path| file::is_file(path));
    let mut bundle = Vec::new();
    for path in of_host.or_else(usual).iter().chain(named) {
        bundle.extend(file::read(path)?);
        bundle.push(b'\n');
    }
    Ok(bundle)
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    folder: Option<PathBuf>,
}

impl Certificates {
    /// Gathers them in `folder`, which is made; where none is named, there is nothing to do.
    pub fn gather(named: &[PathBuf], folder: &Path, reporter: &Reporter) -> Result<Certificates> {
        if named.is_empty() {
            return Ok(Certificates::default());
        }
        file::remove_tree(folder)?;
        file::create_folders(folder)?;
        let bundle = in_one_file(None, named)?;
        for name in NAMES {
            file::write(&folder.join(name), &bundle)?;
        }
        let mut own = Vec::new();
        for path in named {
            own.extend(apart(&String::from_utf8_lossy(&file::read(path)?)));
        }
        if file::is_folder(Path::new(FOLDER)) && hash_all(&own, folder, reporter)?.is_none() {
            let text = "this host has no openssl: a program that looks certificates up by their hash does not find those \
                        of <certificates>";
            reporter.warn(Warning { text: text.into(), place: None });
        }
        Ok(Certificates { folder: Some(folder.to_path_buf()) })
    }

    /// All of them in one file, where any are named.
    pub fn bundle(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(NAMES[0]))
    }

    /// The sandbox, whose programs see them in the place of the host's.
    pub fn shown_to(&self, sandbox: Sandbox) -> Sandbox {
        match &self.folder {
            Some(folder) if file::is_folder(Path::new(FOLDER)) => sandbox.in_place_of(Path::new(FOLDER), folder),
            _ => sandbox,
        }
    }
}

/// Puts the host's and these into `folder` under the hash of whom they are about; `None` where nobody can tell it.
fn hash_all(own: &[String], folder: &Path, reporter: &Reporter) -> Result<Option<()>> {
    let hosts = Path::new(FOLDER);
    for name in file::names(hosts)? {
        let is_hash = name.to_str().and_then(|name| name.split_once('.')).is_some_and(|(hash, number)| {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits(number)
        });
        if is_hash && file::is_file(&hosts.join(&name)) {
            file::write(&folder.join(&name), &file::read(&hosts.join(&name))?)?;
        }
    }
    for certificate in own {
        let asked = Program::new("openssl").args(["x509", "-noout", "-subject_hash"]).input(certificate.as_str());
        let asked = match asked.run(reporter) {
            Err(error) if error.exit() == Exit::HostLacks => return Ok(None),
            asked => asked?,
        };
        let hash = String::from_utf8_lossy(&asked.stdout).trim().to_string();
        let free = (0..).map(|number| folder.join(format!("{hash}.{number}"))).find(|path| !file::exists(path));
        if let Some(path) = free {
            file::write(&path, certificate.as_bytes())?;
        }
    }
    Ok(Some(()))
}

/// The certificates in a file: OpenSSL reads one of each file that it finds by its hash.
fn apart(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let Some((begin, end)) = MARKS.into_iter().find(|(begin, _)| *begin == line) else { continue };
        let mut certificate = format!("{begin}\n");
        for line in lines.by_ref() {
            certificate.push_str(&format!("{line}\n"));
            if line == end {
                break;
            }
        }
        found.push(certificate);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_of_one_file_are_told_apart() {
        let one = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
        let other = "-----BEGIN TRUSTED CERTIFICATE-----\nMIJ\n-----END TRUSTED CERTIFICATE-----\n";
        let text = format!("# ours\r\n{}more text\n{other}", one.replace('\n', "\r\n"));
        assert_eq!(apart(&text), [one, other]);
        assert_eq!(apart("no certificate\n"), [""; 0]);
    }

    #[test]
    fn a_server_that_is_not_believed_is_told_from_one_that_does_not_answer() {
        for (said, refused) in [
            ("Error message: SSL certificate problem: self-signed certificate", true),
            ("Curl error (60): SSL peer certificate or SSH remote key was not OK for https://h/x", true),
            ("SSL: no alternative certificate subject name matches target host name 'h'", true),
            ("Curl error (7): Couldn't connect to server for https://h/certificate", false),
        ] {
            assert_eq!(are_refused(said), refused, "{said}");
        }
    }

    #[test]
    fn nothing_is_done_where_nothing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let made = Certificates::gather(&[], &folder.path().join("x"), &Reporter::silent()).unwrap();
        assert_eq!((made.bundle(), file::names(folder.path()).unwrap().len()), (None, 0));
    }
}
