//! Package URLs (the package URL specification, types `deb`, `rpm` and `alpm`).
//!
//! In: a component and the image's os-release. Out: `pkg:TYPE/VENDOR/NAME@VERSION?QUALIFIERS`. Qualifiers are sorted by
//! name; every byte but letters, digits and `.-_~` is written as `%XX`, so that all readers agree.

use std::fmt::Write;

use super::{Component, Subject};
use crate::package::installed::Family;

pub(super) fn of(component: &Component, subject: &Subject) -> String {
    let (kind, vendor) = match component.family {
        Family::Dpkg => ("deb", "debian"),
        Family::Rpm => ("rpm", ""),
        // The type knows `arch` and the names of derivatives; os-release says `archarm`, too.
        Family::Pacman => ("alpm", "arch"),
    };
    let vendor = if subject.distribution.is_empty() { vendor } else { &subject.distribution };
    let vendor = vendor.to_lowercase();
    let (version, epoch) = match component.family {
        // The epoch is a qualifier of its own.
        Family::Rpm => match component.version.split_once(':') {
            Some((epoch, version)) => (version, epoch),
            None => (component.version.as_str(), ""),
        },
        Family::Dpkg | Family::Pacman => (component.version.as_str(), ""),
    };
    let distribution = match (subject.distribution.as_str(), subject.release.as_str()) {
        ("", _) => String::new(),
        (id, "") => id.to_string(),
        (id, release) => format!("{id}-{release}"),
    };
    let (source, source_version) = &component.source;
    let upstream = match component.family {
        Family::Rpm if !source.is_empty() => format!("{source}-{source_version}.src.rpm"),
        Family::Dpkg if *source != component.name && !source.is_empty() => format!("{source}@{source_version}"),
        // Scanners look every package up by what it was built from, whatever that is called.
        Family::Pacman => source.clone(),
        Family::Rpm | Family::Dpkg => String::new(),
    };
    let qualifiers: Vec<String> = [
        ("arch", component.arch.as_str()),
        ("distro", distribution.as_str()),
        ("epoch", epoch),
        ("upstream", upstream.as_str()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| format!("{name}={}", escaped(value)))
    .collect();
    let mut purl = format!("pkg:{kind}/");
    if !vendor.is_empty() {
        let _ = write!(purl, "{}/", escaped(&vendor));
    }
    let _ = write!(purl, "{}@{}", escaped(&component.name), escaped(version));
    if !qualifiers.is_empty() {
        let _ = write!(purl, "?{}", qualifiers.join("&"));
    }
    purl
}

fn escaped(text: &str) -> String {
    let mut found = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => found.push(byte.into()),
            _ => {
                let _ = write!(found, "%{byte:02X}");
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::{component, subject};
    use super::*;

    #[test]
    fn each_family_has_its_type_and_qualifiers() {
        let deb = component("libstdc++6");
        let wanted = "pkg:deb/debian/libstdc%2B%2B6@1%3A2.0%2Bx~1-3?arch=amd64&distro=debian-12&upstream=base%402.0";
        assert_eq!(deb.purl(&subject()), wanted);
        let rpm = Component { family: Family::Rpm, arch: "x86_64".into(), ..component("app") };
        let suse = Subject { distribution: "opensuse-leap".into(), release: "15.6".into(), ..subject() };
        let wanted = "pkg:rpm/opensuse-leap/app@2.0%2Bx~1-3?arch=x86_64&distro=opensuse-leap-15.6&epoch=1\
                      &upstream=base-2.0.src.rpm";
        assert_eq!(rpm.purl(&suse), wanted);
        let arch = Component { family: Family::Pacman, arch: "any".into(), ..component("app") };
        let rolling = Subject { distribution: "arch".into(), release: String::new(), ..subject() };
        assert_eq!(arch.purl(&rolling), "pkg:alpm/arch/app@1%3A2.0%2Bx~1-3?arch=any&distro=arch&upstream=base");
    }
}
