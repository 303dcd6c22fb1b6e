//! The order of Debian version numbers (deb-version(7)).
//!
//! In: two versions as text. Out: which is the later one. Never refuses a version: dpkg did that when it built the
//! package.

use std::cmp::Ordering;

/// Compares `[epoch:]upstream[-revision]`.
pub fn compare(one: &str, other: &str) -> Ordering {
    let ((epoch, upstream, revision), (other_epoch, other_upstream, other_revision)) = (parts(one), parts(other));
    epoch.cmp(&other_epoch).then_with(|| part(upstream, other_upstream)).then_with(|| part(revision, other_revision))
}

fn parts(version: &str) -> (u64, &[u8], &[u8]) {
    let (epoch, rest) = match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    };
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream.as_bytes(), revision.as_bytes())
}

/// `~` before everything, even the end; the end before letters; letters before anything else.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None | Some(b'0'..=b'9') => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

/// Alternating runs of non-digits, compared by weight, and of digits, compared as numbers.
fn part(mut one: &[u8], mut other: &[u8]) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let text = |bytes: &[u8]| bytes.first().is_some_and(|byte| !byte.is_ascii_digit());
        while text(one) || text(other) {
            match weight(one.first()).cmp(&weight(other.first())) {
                Ordering::Equal => {}
                different => return different,
            }
            (one, other) = (one.get(1..).unwrap_or_default(), other.get(1..).unwrap_or_default());
        }
        let (number, rest) = number(one);
        let (other_number, other_rest) = self::number(other);
        match number.len().cmp(&other_number.len()).then_with(|| number.cmp(other_number)) {
            Ordering::Equal => (one, other) = (rest, other_rest),
            different => return different,
        }
    }
    Ordering::Equal
}

/// The digits at the front without their leading zeroes, and what follows.
fn number(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    let start = bytes[..end].iter().position(|byte| *byte != b'0').unwrap_or(end);
    (&bytes[start..end], &bytes[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_dpkg_compares_them() {
        for (one, sign, other) in [
            ("1.0", '=', "1.0"),
            ("1.0", '=', "0:1.0"),
            ("1.0", '=', "1.0-0"),
            ("1.00", '=', "1.0"),
            ("1:1", '>', "2"),
            ("1.0~rc1", '<', "1.0"),
            ("1.0~", '<', "1.0~a"),
            ("1.0", '<', "1.0a"),
            ("1.0a", '<', "1.0+"),
            ("1.9", '<', "1.10"),
            ("1.0-1", '<', "1.0-1+b1"),
            ("1.0-1-1", '>', "1.0-2"),
            ("2.36-9+deb12u9", '<', "2.36-9+deb12u10"),
            ("1.2.", '>', "1.2"),
        ] {
            let wanted = match sign {
                '<' => Ordering::Less,
                '>' => Ordering::Greater,
                _ => Ordering::Equal,
            };
            assert_eq!(compare(one, other), wanted, "{one} {sign} {other}");
            assert_eq!(compare(other, one), wanted.reverse(), "{other} {one}");
        }
    }
}
