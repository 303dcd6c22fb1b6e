//! Relations between packages (deb-control(5), "Depends"): parsed, tested, and written as dpkg writes them.
//!
//! In: the value of a field like `Depends` or `Replaces`. Out: groups of alternatives. Never resolves anything.

use std::cmp::Ordering;
use std::fmt;

use super::version;

/// How versions must relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<<`
    Before,
    /// `<=`
    UpTo,
    /// `=`
    Exactly,
    /// `>=`
    From,
    /// `>>`
    After,
}

/// One package that would do: `name[:arch] [(comparison version)]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// Package name.
    pub name: String,
    /// `any`, `native` or an architecture.
    pub arch: Option<String>,
    /// The versions that do.
    pub version: Option<(Comparison, String)>,
}

/// Groups, all of which must hold; of the alternatives in a group, one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relations(pub Vec<Vec<Alternative>>);

impl Relations {
    /// Reads a field's value; `None` where it is malformed.
    pub fn parse(value: &str) -> Option<Relations> {
        let groups = value.split(',').map(str::trim).filter(|group| !group.is_empty());
        let groups = groups.map(|group| group.split('|').map(|one| alternative(one.trim())).collect());
        groups.collect::<Option<Vec<_>>>().map(Relations)
    }
}

fn alternative(text: &str) -> Option<Alternative> {
    let (name, version) = match text.split_once('(') {
        None => (text, None),
        Some((name, version)) => (name.trim(), Some(restriction(version.strip_suffix(')')?.trim())?)),
    };
    let (name, arch) = match name.split_once(':') {
        None => (name, None),
        Some((name, arch)) => (name, Some(arch.to_string())),
    };
    let plain = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
    (plain(name) && arch.as_deref().is_none_or(plain)).then(|| Alternative { name: name.to_string(), arch, version })
}

fn restriction(text: &str) -> Option<(Comparison, String)> {
    // `<` and `>` are old spellings of `<=` and `>=`.
    let signs = [
        ("<<", Comparison::Before),
        ("<=", Comparison::UpTo),
        (">>", Comparison::After),
        (">=", Comparison::From),
        ("=", Comparison::Exactly),
        ("<", Comparison::UpTo),
        (">", Comparison::From),
    ];
    let (comparison, version) =
        signs.into_iter().find_map(|(sign, comparison)| text.strip_prefix(sign).map(|rest| (comparison, rest)))?;
    let version = version.trim();
    (!version.is_empty() && !version.contains(char::is_whitespace)).then(|| (comparison, version.to_string()))
}

impl Alternative {
    /// Whether a package of this name and version is meant.
    pub fn covers(&self, name: &str, installed: &str) -> bool {
        self.name == name
            && self.version.as_ref().is_none_or(|(comparison, wanted)| {
                let order = version::compare(installed, wanted);
                match comparison {
                    Comparison::Before => order == Ordering::Less,
                    Comparison::UpTo => order != Ordering::Greater,
                    Comparison::Exactly => order == Ordering::Equal,
                    Comparison::From => order != Ordering::Less,
                    Comparison::After => order == Ordering::Greater,
                }
            })
    }
}

impl fmt::Display for Alternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(arch) = &self.arch {
            write!(f, ":{arch}")?;
        }
        let Some((comparison, version)) = &self.version else { return Ok(()) };
        let sign = match comparison {
            Comparison::Before => "<<",
            Comparison::UpTo => "<=",
            Comparison::Exactly => "=",
            Comparison::From => ">=",
            Comparison::After => ">>",
        };
        write!(f, " ({sign} {version})")
    }
}

impl fmt::Display for Relations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, group) in self.0.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { ", " })?;
            for (number, alternative) in group.iter().enumerate() {
                write!(f, "{}{alternative}", if number == 0 { "" } else { " | " })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_written_as_dpkg_writes_them() {
        for (written, normal) in [
            ("libc6 (>= 2.34)", "libc6 (>= 2.34)"),
            ("a(>=1),b|c ( <<2 ),\n d:any", "a (>= 1), b | c (<< 2), d:any"),
            ("x (> 1), y (< 2),", "x (>= 1), y (<= 2)"),
            ("", ""),
        ] {
            assert_eq!(Relations::parse(written).map(|relations| relations.to_string()).as_deref(), Some(normal));
        }
        for bad in ["a (>= 1", "a b", "a ()", "(>= 1)", "a | | b", "a (~ 1)"] {
            assert_eq!(Relations::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_alternative_covers_the_versions_it_names() {
        let covers = |text: &str, version: &str| alternative(text).unwrap().covers("a", version);
        assert!(covers("a", "1") && covers("a (<< 2)", "1") && covers("a (= 1)", "1") && covers("a (>= 1~)", "1"));
        assert!(!covers("b", "1") && !covers("a (>> 1)", "1") && !covers("a (<< 1)", "1:0"));
    }
}
