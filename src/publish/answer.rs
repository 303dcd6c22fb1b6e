//! What an answer says.
//!
//! In: a program's stdout. Out: the texts that were picked from it, and whether they are what was wanted. Never guesses:
//! what is not there is `None`.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::checksum;
use super::step::{Check, Learned, Missing, Pick, Wanted};
use crate::error::{Error, Exit, Result};
use crate::release::artifact::hex;

/// The text that is picked; `None` where the answer does not have it.
pub fn pick(stdout: &[u8], pick: &Pick) -> Option<String> {
    match pick {
        Pick::At(pointer) => {
            let value: Value = serde_json::from_slice(stdout).ok()?;
            match value.pointer(pointer)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                Value::Bool(yes) => Some(yes.to_string()),
                _ => None,
            }
        }
        Pick::After(label) => {
            let text = String::from_utf8_lossy(stdout);
            let found = text.lines().find_map(|line| line.trim_start().strip_prefix(label.as_str()));
            found.map(|rest| rest.trim().to_string()).filter(|rest| !rest.is_empty())
        }
        Pick::Digest if stdout.is_empty() => None,
        Pick::Digest => Some(format!("sha256:{}", hex(&Sha256::digest(stdout)))),
    }
}

/// How many members a list has; `None` where the answer has no list there.
pub fn length(stdout: &[u8], pointer: &str) -> Option<usize> {
    let value: Value = serde_json::from_slice(stdout).ok()?;
    Some(value.pointer(pointer)?.as_array()?.len())
}

/// Whether the answer says what is wanted. What it says otherwise is the second part.
pub fn holds(stdout: &[u8], check: &Check, artifact: &Path, learned: &Learned) -> Result<(bool, String)> {
    let Some(said) = pick(stdout, &check.pick) else {
        return Ok((check.missing == Missing::Fine, "nothing".into()));
    };
    let good = match &check.wanted {
        Wanted::Is(wanted) => said == *wanted,
        Wanted::Learned(name) => learned.get(name) == Some(&said),
        Wanted::LearnedOrAny(name) => learned.get(name).is_none_or(|text| *text == said),
        Wanted::EntityTag => checksum::is_entity_tag(artifact, &said)?,
    };
    Ok((good, said))
}

/// 76 where the answer says something else.
pub fn check(stdout: &[u8], check: &Check, artifact: &Path, learned: &Learned) -> Result<()> {
    let (good, said) = holds(stdout, check, artifact, learned)?;
    if good {
        return Ok(());
    }
    let wanted = match &check.wanted {
        Wanted::Is(wanted) => wanted.clone(),
        Wanted::Learned(name) | Wanted::LearnedOrAny(name) => learned.get(name).cloned().unwrap_or_default(),
        Wanted::EntityTag => "what the artifact has".into(),
    };
    let what = &check.what;
    Err(Error::new(Exit::Integrity, format!("what was uploaded is not what was sent: the {what} differs"))
        .because(format!("there: {said}\nhere:  {wanted}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_picked_from_json_and_from_lines() {
        let json = br#"{"a": [{"id": "x", "n": 7, "yes": true, "none": null}]}"#;
        let table = [
            (Pick::at("/a/0/id"), Some("x")),
            (Pick::at("/a/0/n"), Some("7")),
            (Pick::at("/a/0/yes"), Some("true")),
            (Pick::at("/a/0/none"), None),
            (Pick::at("/a/1/id"), None),
            (Pick::at("/a"), None),
        ];
        for (wanted, text) in table {
            assert_eq!(pick(json, &wanted).as_deref(), text, "{wanted:?}");
        }
        assert_eq!(pick(b"\"x\"\n", &Pick::at("")).as_deref(), Some("x"));
        assert_eq!(pick(b"no json", &Pick::at("/a")), None);
        assert_eq!((length(json, "/a"), length(json, "/a/0"), length(json, "/b")), (Some(1), None, None));
        let lines = b"gs://b/o:\n    Hash (md5):      abc==\n    Empty:\n";
        assert_eq!(pick(lines, &Pick::After("Hash (md5):".into())).as_deref(), Some("abc=="));
        assert_eq!(pick(lines, &Pick::After("Empty:".into())), None);
    }
}
