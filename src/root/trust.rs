//! Certificates that the image trusts beside what its packages bring.
//!
//! In: the plan's files. Out: copies in the folder of the image's family of distributions, and the store that the
//! image's own program made of them. Never puts a private key into an image.

use std::collections::BTreeSet;

use super::tree::{RootPath, RootTree};
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::sandbox::Sandbox;
use crate::plan::{Plan, TrustPlan};
use crate::report::Reporter;

/// Installs them; returns the files that the description brought. 65 for what is no certificate, and where the image
/// has no program that makes a store.
pub fn trust(plan: &Plan, tree: &RootTree, sandbox: &Sandbox, reporter: &Reporter) -> Result<BTreeSet<RootPath>> {
    let mut described = BTreeSet::new();
    let Some(trust) = &plan.root.trust else { return Ok(described) };
    let step = reporter.step("trust");
    let folder = RootPath::from(trust.family.anchors());
    tree.create_folders(&folder, 0o755)?;
    for certificate in &trust.files {
        let content = file::read(&certificate.path).map_err(|error| error.at(certificate.place.clone()))?;
        check(&content).map_err(|why| {
            Error::cannot(Exit::Description, format!("trust {}", certificate.path.display()))
                .because(why)
                .at(certificate.place.clone())
        })?;
        let path = folder.join(trust.family.name_of(&certificate.path).as_os_str().as_encoded_bytes());
        tree.write(&path, content, 0o644)?;
        described.insert(path);
    }
    let program = trust.family.program();
    if !["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|bin| tree.exists(&RootPath::from(*bin).join(program))) {
        return Err(lacks(trust));
    }
    let made = sandbox.run(reporter, &[program]);
    made.map_err(|error| error.with_exit(Exit::Description).within("make the store of trusted certificates"))?;
    step.finish(&format!("{} files, {program}", trust.files.len()));
    Ok(described)
}

fn lacks(trust: &TrustPlan) -> Error {
    Error::cannot(Exit::Description, "make the store of trusted certificates")
        .because(format!("the image has no {}", trust.family.program()))
        .hint("add the package `ca-certificates`")
}

/// PEM, and nothing that only its owner may have.
fn check(content: &[u8]) -> std::result::Result<(), &'static str> {
    let text = String::from_utf8_lossy(content);
    if text.contains("PRIVATE KEY-----") {
        return Err("it holds a private key, which everybody could read in the image");
    }
    let begins =
        |line: &str| matches!(line.trim_end(), "-----BEGIN CERTIFICATE-----" | "-----BEGIN TRUSTED CERTIFICATE-----");
    match text.lines().any(begins) {
        true => Ok(()),
        false => Err("it is no certificate in PEM; `openssl x509 -inform der -in FILE` makes one of DER"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_and_what_is_no_certificate_are_refused() {
        let certificate = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
        assert_eq!(check(format!("# ours\n{certificate}{certificate}").as_bytes()), Ok(()));
        for key in ["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            assert!(check(format!("{certificate}-----BEGIN {key}-----\n").as_bytes()).unwrap_err().contains("private"));
        }
        assert!(check(b"\x30\x82\x01\x02").unwrap_err().contains("PEM"));
        assert!(check(b"").is_err());
    }
}
