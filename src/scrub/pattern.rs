//! Patterns of paths inside an image, as the table of rules writes them.
//!
//! In: a pattern and a path of any bytes. Out: whether they match. Never looks at a tree, never follows a symlink.
//!
//! `*` stands for any bytes within one component, `**` for any number of components (also none), and a leading `~` for
//! every home folder.

use crate::root::RootPath;

/// A pattern without `~`: its components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    components: Vec<Vec<u8>>,
}

impl Pattern {
    /// The patterns that `written` stands for: one, or one for each home.
    pub fn read(written: &str, homes: &[RootPath]) -> Vec<Pattern> {
        match written.strip_prefix('~') {
            Some(below) => homes
                .iter()
                .map(|home| {
                    // A home's own name may hold a `*`, which then means itself.
                    let mut components = components(home.as_bytes()).map(escaped).collect::<Vec<_>>();
                    components.extend(self::components(below.as_bytes()).map(<[u8]>::to_vec));
                    Pattern { components }
                })
                .collect(),
            None => vec![Pattern { components: components(written.as_bytes()).map(<[u8]>::to_vec).collect() }],
        }
    }

    /// Whether the whole path matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        let path: Vec<&[u8]> = components(path).collect();
        matches_from(&self.components, &path)
    }

    /// The components up to the first wildcard, as a path: everything that matches is at or below it.
    pub fn fixed_prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::new();
        for component in self.components.iter().take_while(|component| !component.contains(&b'*')) {
            prefix.push(b'/');
            prefix.extend(component.iter().map(|byte| if *byte == STAR { b'*' } else { *byte }));
        }
        if prefix.is_empty() { b"/".to_vec() } else { prefix }
    }
}

/// Stands for a `*` that means itself: `/` cannot be part of a component.
const STAR: u8 = b'/';

fn escaped(component: &[u8]) -> Vec<u8> {
    component.iter().map(|byte| if *byte == b'*' { STAR } else { *byte }).collect()
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
}

fn matches_from(pattern: &[Vec<u8>], path: &[&[u8]]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, rest)) if first == b"**" => (0..=path.len()).any(|skipped| matches_from(rest, &path[skipped..])),
        Some((first, rest)) => {
            path.split_first().is_some_and(|(name, below)| name_matches(first, name) && matches_from(rest, below))
        }
    }
}

/// Whether one component matches: the greedy match of each `*` is taken back only as far as the last one.
pub fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut next, mut retry) = (0, 0, None);
    while next < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at, next));
                at += 1;
            }
            Some(byte) if *byte == name[next] || (*byte == STAR && name[next] == b'*') => {
                at += 1;
                next += 1;
            }
            _ => match &mut retry {
                Some((star, from)) => {
                    *from += 1;
                    at = *star + 1;
                    next = *from;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_within_a_component_and_double_stars_do_not() {
        for (pattern, path, matches) in [
            ("/etc/udev/rules.d/*net*.rules", "/etc/udev/rules.d/70-persistent-net.rules", true),
            ("/etc/udev/rules.d/*net*.rules", "/etc/udev/rules.d/x/net.rules", false),
            ("/etc/ssh/ssh_host_*_key", "/etc/ssh/ssh_host_ed25519_key", true),
            ("/etc/ssh/ssh_host_*_key", "/etc/ssh/ssh_host_ed25519_key.pub", false),
            ("/tmp/*", "/tmp", false),
            ("/tmp/*", "/tmp/a", true),
            ("/tmp/*", "/tmp/a/b", false),
            ("/var/log/**", "/var/log", true),
            ("/var/log/**", "/var/log/a/b", true),
            ("/**/__pycache__", "/usr/lib/x/__pycache__", true),
            ("/**/__pycache__", "/__pycache__", true),
            ("/a/**/b/**/c", "/a/x/b/y/z/c", true),
            ("/a/**/b/**/c", "/a/x/c", false),
            ("/*a*b*", "/xaabbz", true),
            ("/*a*b", "/xaabbz", false),
        ] {
            let read = Pattern::read(pattern, &[]);
            assert_eq!(read[0].matches(path.as_bytes()), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn a_tilde_is_every_home_and_a_star_in_its_name_is_itself() {
        let homes = [RootPath::new("/root"), RootPath::new(b"/home/a*\xff"), RootPath::root()];
        let patterns = Pattern::read("~/.ssh/id_*", &homes);
        let any = |path: &[u8]| patterns.iter().any(|pattern| pattern.matches(path));
        assert!(any(b"/root/.ssh/id_rsa"));
        assert!(any(b"/home/a*\xff/.ssh/id_rsa"));
        assert!(any(b"/.ssh/id_"));
        assert!(!any(b"/home/ab\xff/.ssh/id_rsa"));
        assert_eq!(patterns[1].fixed_prefix(), b"/home/a*\xff/.ssh");
        assert_eq!(patterns[2].fixed_prefix(), b"/.ssh");
    }
}
