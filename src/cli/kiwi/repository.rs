//! `--add-repo` and `--set-repo`: up to eleven words, divided by commas.
//!
//! In: the option's value and its credentials. Out: [`RepositoryWords`], or 64. Never looks at a repository.

use std::path::Path;

use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::plan::overrides::{KeyWords, RepositoryWords};

/// Names of the words, in their order.
const WORDS: [&str; 11] = [
    "SOURCE",
    "TYPE",
    "ALIAS",
    "PRIORITY",
    "IMAGEINCLUDE",
    "PACKAGE_GPGCHECK",
    "{KEYS}",
    "COMPONENTS",
    "DISTRIBUTION",
    "REPOSITORY_GPGCHECK",
    "SOURCETYPE",
];

/// Reads the value of `option`.
pub fn parse(option: &str, value: &str, credentials: Option<&str>) -> Result<RepositoryWords> {
    let wrong = |why: String| {
        Error::new(Exit::Usage, format!("{option} {value} names no repository")).because(why).hint(WORDS.join(","))
    };
    let words = split(value);
    if words.len() > WORDS.len() {
        return Err(wrong(format!("it has {} words, {} are the most", words.len(), WORDS.len())));
    }
    let word = |at: usize| words.get(at).map(|word| word.trim()).filter(|word| !word.is_empty());
    let text = |at: usize| word(at).map(str::to_string);
    let truth = |at: usize| match word(at) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(wrong(format!("{} is `{other}`, neither true nor false", WORDS[at]))),
    };
    Ok(RepositoryWords {
        written: without_login(value),
        source: text(0).ok_or_else(|| wrong("SOURCE is empty".into()))?,
        kind: text(1),
        alias: text(2),
        priority: text(3),
        image_include: truth(4)?,
        repository_gpgcheck: truth(9)?,
        package_gpgcheck: truth(5)?,
        keys: word(6).map(|keys| keys.trim_matches(['{', '}']).split(';').map(key).collect()).unwrap_or_default(),
        components: text(7),
        distribution: text(8),
        source_type: text(10),
        credentials: credentials.map(login).transpose()?,
    })
}

/// The words; commas inside braces divide nothing.
fn split(value: &str) -> Vec<String> {
    let (mut words, mut inside) = (vec![String::new()], false);
    for char in value.chars() {
        match char {
            ',' if !inside => words.push(String::new()),
            char => {
                inside = (inside || char == '{') && char != '}';
                if let Some(word) = words.last_mut() {
                    word.push(char);
                }
            }
        }
    }
    words
}

/// A key as the description would name it: a file of the host, or a URL.
pub fn key(text: &str) -> KeyWords {
    let path = match text.split_once(':') {
        None => text.to_string(),
        Some(("file", path)) => format!("/{}", path.trim_start_matches('/')),
        Some(_) => return KeyWords { uri: text.to_string(), found: None },
    };
    let found = file::absolute(Path::new(&path)).ok().filter(|path| file::is_file(path));
    KeyWords { uri: text.to_string(), found }
}

/// `USER:PASSWORD`, or the first line of a file that holds it.
fn login(text: &str) -> Result<(String, String)> {
    let path = Path::new(text);
    let held = if file::is_file(path) { file::read_text(path)? } else { text.to_string() };
    match held.lines().next().unwrap_or_default().split_once(':') {
        Some((user, password)) => Ok((user.to_string(), password.to_string())),
        // Neither what was typed nor what the file holds is shown.
        None => Err(Error::new(Exit::Usage, "credentials are USER:PASSWORD, or a file that holds them")),
    }
}

/// The value as it may be shown.
fn without_login(value: &str) -> String {
    match value.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', ',']).unwrap_or(rest.len());
            match rest[..end].rfind('@') {
                Some(at) => format!("{scheme}://...{}", &rest[at..]),
                None => value.to_string(),
            }
        }
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_may_be_left_out_but_the_first() {
        let words = parse("--add-repo", "dir:///./repos/P/R,rpm-md,,1", None).unwrap();
        assert_eq!((words.source.as_str(), words.kind.as_deref()), ("dir:///./repos/P/R", Some("rpm-md")));
        assert_eq!((words.alias, words.priority.as_deref()), (None, Some("1")));
        let all = "http://h/d,apt-deb,a,2,true,false,{http://k/1;http://k/2},main contrib,sid,false,baseurl";
        let words = parse("--add-repo", all, Some("me:secret")).unwrap();
        assert_eq!(words.keys.len(), 2);
        assert_eq!((words.image_include, words.repository_gpgcheck), (Some(true), Some(false)));
        assert_eq!((words.components.as_deref(), words.distribution.as_deref()), (Some("main contrib"), Some("sid")));
        assert_eq!(words.credentials, Some(("me".into(), "secret".into())));
        assert!(!format!("{words:?}").contains("secret"));
        for bad in ["", ",apt-deb", "a,b,c,d,e,f,g,h,i,j,k,l", "http://h/d,,,,maybe"] {
            assert_eq!(parse("--set-repo", bad, None).unwrap_err().exit(), Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn a_login_in_an_address_is_never_shown() {
        assert_eq!(without_login("https://me:secret@host/x,apt-deb"), "https://...@host/x,apt-deb");
        assert_eq!(without_login("https://host/x@1"), "https://host/x@1");
    }
}
