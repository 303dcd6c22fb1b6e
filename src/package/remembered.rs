//! Solutions of earlier builds: the same question to the same package manager about the same metadata has the same answer.
//!
//! In: a question, which holds everything that can influence the solver (the digests of the repositories' metadata among
//! it), and a folder that nobody else uses meanwhile. Out: the answer of an earlier build, or none. Never an answer that was
//! not written completely: an entry begins with its own digest, and a damaged one is dropped. Whoever asks has brought the
//! metadata up to date, and verifies its signature, whatever is remembered.

use std::fmt;
use std::path::{Path, PathBuf};

use super::deb822::{self, Stanza};
use super::solution::Chosen;
use crate::bytes::Bytes;
use crate::cache::Sha256;
use crate::error::Result;
use crate::host::file;

/// How many answers are kept for one set of repositories: about 100 KB for every 100 packages each.
const MOST: usize = 32;
/// The field that says which archive it is; the others are the package's own.
const FIELD: &str = "Ingot-Chosen";

/// Who decided what is installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Solution {
    /// Nobody: there is nothing to decide.
    #[default]
    None,
    /// The package manager, in this build, for this reason.
    Made(String),
    /// The package manager, in an earlier build, from the same request and the same metadata.
    Remembered,
}

impl Solution {
    /// The reason where nobody asked this before, or where it was forgotten.
    pub fn new_question() -> Solution {
        Solution::Made("the request, the repositories or the package manager are new".into())
    }
}

impl fmt::Display for Solution {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Solution::None => write!(formatter, "solution: none, because no packages are asked for"),
            Solution::Made(why) => write!(formatter, "solution: made, because {why}"),
            Solution::Remembered => write!(formatter, "solution: reused"),
        }
    }
}

/// One package of a solution of apt's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solved {
    /// Its archive.
    pub chosen: Chosen,
    /// Its control fields, as the signed index has them.
    pub control: Stanza,
    /// Alias of the repository it comes from.
    pub repository: String,
}

/// The place of the answer to one question.
#[derive(Debug)]
pub struct Answer {
    folder: PathBuf,
    path: PathBuf,
}

impl Answer {
    /// Looks nowhere yet.
    pub fn to(question: &str, folder: &Path) -> Answer {
        let name = Sha256::of(question).to_string();
        Answer { folder: folder.to_path_buf(), path: folder.join(name) }
    }

    /// What an earlier build was answered, if `read` understands it.
    pub fn get<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>> {
        if !file::is_file(&self.path) {
            return Ok(None);
        }
        let found = whole(&file::read(&self.path)?).and_then(read);
        match found {
            None => file::remove(&self.path)?,
            // The least recently used one is the first to go.
            Some(_) => file::touch(&self.path)?,
        }
        Ok(found)
    }

    /// Keeps an answer for later builds.
    pub fn put(&self, text: &str) -> Result<()> {
        file::create_folders(&self.folder)?;
        file::write_atomically(&self.path, format!("{}\n{text}", Sha256::of(text)).as_bytes())?;
        let mut all = Vec::new();
        for name in file::names(&self.folder)? {
            let path = self.folder.join(name);
            let used = file::metadata(&path).and_then(|metadata| metadata.modified().ok());
            all.push((path != self.path, std::cmp::Reverse(used), path));
        }
        all.sort();
        all.iter().skip(MOST).try_for_each(|(_, _, path)| file::remove(path))
    }
}

/// The text of an entry that was written completely.
fn whole(bytes: &[u8]) -> Option<&str> {
    let (digest, text) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    (Sha256::of(text).to_string() == digest).then_some(text)
}

/// A solution of apt's as text.
pub fn write(solved: &[Solved]) -> String {
    let stanza = |one: &Solved| {
        let Chosen { uri, name, version, arch, size, digest } = &one.chosen;
        let repository = &one.repository;
        format!("{FIELD}: {uri} {name} {version} {arch} {} {digest} {repository}\n{}\n", size.0, one.control)
    };
    solved.iter().map(stanza).collect()
}

/// The solution of apt's that was written as this text, in installation order.
pub fn read(text: &str) -> Option<Vec<Solved>> {
    deb822::parse(text).ok()?.into_iter().map(one).collect()
}

fn one(mut control: Stanza) -> Option<Solved> {
    let line = control.get(FIELD)?.to_string();
    control.remove(FIELD);
    let words: Vec<&str> = line.splitn(7, ' ').collect();
    let [uri, name, version, arch, size, digest, repository] = words.as_slice() else { return None };
    let chosen = Chosen {
        uri: uri.to_string(),
        name: name.to_string(),
        version: version.to_string(),
        arch: arch.to_string(),
        size: Bytes(size.parse().ok()?),
        digest: digest.parse().ok()?,
    };
    Some(Solved { chosen, control, repository: repository.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solved() -> Vec<Solved> {
        let text = "Package: x\nVersion: 1:2+b\nDescription: x\n more\n .\n # of it\nTag:\n\nPackage: y\n";
        let chosen = |name: &str| Chosen {
            uri: format!("http://h/d/{name}_1%3a2%2bb_all.deb"),
            name: name.into(),
            version: "1:2+b".into(),
            arch: "all".into(),
            size: Bytes(12),
            digest: Sha256::of(name),
        };
        let stanzas = deb822::parse(text).unwrap();
        let solved = stanzas.into_iter().map(|control| Solved {
            chosen: chosen(control.text("Package")),
            control,
            repository: "an alias".into(),
        });
        solved.collect()
    }

    fn shown(solved: Option<Vec<Solved>>) -> Option<String> {
        solved.map(|solved| write(&solved))
    }

    #[test]
    fn an_answer_is_found_by_its_question_only() {
        let folder = tempfile::tempdir().unwrap();
        let answer = Answer::to("what?", folder.path());
        assert_eq!(answer.get(read).unwrap(), None);
        answer.put(&write(&solved())).unwrap();
        assert_eq!(shown(answer.get(read).unwrap()), Some(write(&solved())));
        assert_eq!(answer.get(read).unwrap().unwrap()[0].control.get("Tag"), Some(""));
        assert_eq!(Answer::to("what else?", folder.path()).get(read).unwrap(), None);
    }

    #[test]
    fn a_damaged_answer_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let answer = Answer::to("what?", folder.path());
        answer.put(&write(&solved())).unwrap();
        let whole = file::read(&answer.path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            file::write_atomically(&answer.path, &bytes).unwrap();
            assert_eq!(answer.get(read).unwrap(), None, "{at}");
            assert!(!file::is_file(&answer.path));
            file::write_atomically(&answer.path, &whole[..at]).unwrap();
            assert_eq!(answer.get(read).unwrap(), None, "{at}");
        }
    }

    #[test]
    fn only_so_many_are_kept_and_the_new_one_is_among_them() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..MOST + 5 {
            let answer = Answer::to(&number.to_string(), folder.path());
            answer.put(&write(&solved())).unwrap();
            assert!(answer.get(read).unwrap().is_some());
        }
        assert_eq!(file::names(folder.path()).unwrap().len(), MOST);
    }
}
