//! Names in a package's archive, as paths in dpkg's lists.
//!
//! In: a name as an archive spells it. Out: an absolute path with the bytes that dpkg keeps. Refuses what would make
//! two spellings of one path or leave the tree.

/// The path: a leading slash, no trailing one; `/.` for the top folder, as dpkg has it.
///
/// # Errors
///
/// Why the name is refused: `..`, an empty component, a newline. (dpkg follows `..` inside its root and refuses
/// newlines; no package that dpkg-deb built has either.)
pub fn entry_name(written: &[u8]) -> Result<Vec<u8>, String> {
    let mut rest = written.strip_suffix(b"/").unwrap_or(written);
    while let Some(shorter) = rest.strip_prefix(b"./").or(rest.strip_prefix(b"/")) {
        rest = shorter;
    }
    if rest.is_empty() || rest == b"." {
        return Ok(b"/.".to_vec());
    }
    let odd = |part: &[u8]| part.is_empty() || part == b"." || part == b"..";
    if rest.contains(&b'\n') || rest.contains(&0) || rest.split(|byte| *byte == b'/').any(odd) {
        return Err(format!("the name `{}` is refused", written.escape_ascii()));
    }
    Ok([b"/", rest].concat())
}

/// The folder above a path and the last component; `/.` has neither.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    (path != b"/.").then(|| (&path[..slash], &path[slash + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths_as_in_dpkgs_lists() {
        for (written, path) in [
            ("./", "/."),
            (".", "/."),
            ("/", "/."),
            ("./usr/", "/usr"),
            ("usr/bin/x", "/usr/bin/x"),
            ("/etc/passwd", "/etc/passwd"),
            (".//./a", "/a"),
            ("./...", "/..."),
            ("-rf", "/-rf"),
        ] {
            assert_eq!(entry_name(written.as_bytes()).unwrap(), path.as_bytes(), "{written}");
        }
        for hostile in ["../x", "./a/../../x", "a/..", "..", "a//b", "a/./b", "a\nb"] {
            assert!(entry_name(hostile.as_bytes()).is_err(), "{hostile}");
        }
        assert_eq!(split(b"/a"), Some((b"".as_slice(), b"a".as_slice())));
        assert_eq!(split(b"/."), None);
    }
}
