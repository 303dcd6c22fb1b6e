//! What programs print, without what must not be read by others.
//!
//! In: a text. Out: the same text with tokens, keys and signatures replaced. Never asks a program for its credentials.

/// What stands where a secret stood.
const HIDDEN: &str = "[hidden]";

/// Labels (in lower case) whose value is a secret; the value goes up to a blank, a quote, `&`, `;`, `,` or a bracket.
const LABELS: &[&str] = &[
    "accountkey=",
    "sharedaccesssignature=",
    "sig=",
    "x-amz-signature=",
    "x-amz-security-token=",
    "x-amz-credential=",
    "x-goog-signature=",
    "x-goog-credential=",
    "password=",
    "password:",
    "passwd=",
    "secret=",
    "secret:",
    "token=",
    "token:",
    "secretaccesskey:",
    "sessiontoken:",
    "access_token:",
    "refresh_token:",
    "client_secret:",
    "private_key:",
    "x-auth-token:",
    "x-subject-token:",
    "authorization:",
    "bearer",
    "basic",
    "credential=",
    "signature=",
];

/// How tokens begin that stand alone, and how long they are at least.
const TOKENS: &[(&str, usize)] =
    &[("AKIA", 16), ("ASIA", 16), ("eyJ", 20), ("gAAAA", 40), ("ya29.", 20), ("ghp_", 20), ("glpat-", 20)];

/// The text without secrets; `known` are some of this run.
pub fn hidden(text: &str, known: &[String]) -> String {
    let mut text = text.to_string();
    for secret in known {
        text = text.replace(secret.as_str(), HIDDEN);
    }
    text.split_inclusive('\n').map(line).collect()
}

fn line(line: &str) -> String {
    // Lower case of ASCII only, so that places are the same in both.
    let lower = line.to_ascii_lowercase();
    let mut out = String::new();
    let mut at = 0;
    while at < line.len() {
        let rest = &lower[at..];
        if let Some(label) = LABELS.iter().find(|label| begins(rest, label, &lower[..at])) {
            // A label in JSON is quoted: `"access_token": "..."`.
            let value = at + length(rest, label);
            let blanks = line[value..].len() - line[value..].trim_start_matches([' ', '"', '\'']).len();
            let from = value + blanks;
            let scheme = ["bearer ", "basic "].iter().find(|scheme| lower[from..].starts_with(**scheme));
            let from = from + scheme.map_or(0, |scheme| scheme.len());
            let to = from + end(&line[from..]);
            out.push_str(&line[at..from]);
            if to > from {
                out.push_str(HIDDEN);
            }
            at = to.max(from);
            continue;
        }
        let boundary = !lower[..at].ends_with(|char: char| char.is_ascii_alphanumeric());
        let token = TOKENS
            .iter()
            .find(|(start, least)| boundary && line[at..].starts_with(start) && word(&line[at..]) >= *least);
        if token.is_some() {
            out.push_str(HIDDEN);
            at += word(&line[at..]);
            continue;
        }
        let char = line[at..].chars().next().unwrap_or('\n');
        out.push(char);
        at += char.len_utf8();
    }
    out
}

/// Whether a label begins here: whole, and for words without `=` or `:` with a blank behind it.
fn begins(rest: &str, label: &str, before: &str) -> bool {
    let boundary = !before.ends_with(|char: char| char.is_ascii_alphanumeric());
    match label.strip_suffix(':') {
        _ if !boundary => false,
        Some(name) => rest.starts_with(label) || rest.strip_prefix(name).is_some_and(|rest| rest.starts_with("\":")),
        None if label.ends_with('=') => rest.starts_with(label),
        None => rest.strip_prefix(label).is_some_and(|rest| rest.starts_with(' ') && word(&rest[1..]) >= 8),
    }
}

fn length(rest: &str, label: &str) -> usize {
    if rest.starts_with(label) { label.len() } else { label.len() + 1 }
}

/// Where a value ends.
fn end(text: &str) -> usize {
    text.find(|char: char| char.is_whitespace() || "\"'&;,)]}>".contains(char)).unwrap_or(text.len())
}

/// How long the word is that begins here.
fn word(text: &str) -> usize {
    let in_word = |char: char| char.is_ascii_alphanumeric() || "-_.+/=".contains(char);
    text.find(|char| !in_word(char)).unwrap_or(text.len())
}

/// Whether a variable of this name holds a secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["PASSWORD", "SECRET", "TOKEN", "CONNECTION_STRING", "_KEY", "_SAS"].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_stays() {
        let table = [
            ("key AKIAIOSFODNN7EXAMPLE was used", "key [hidden] was used"),
            ("https://a/b?se=1&sig=abc%2Fdef&sv=2", "https://a/b?se=1&sig=[hidden]&sv=2"),
            ("AccountName=x;AccountKey=Zm9v/+a==;Blob=1", "AccountName=x;AccountKey=[hidden];Blob=1"),
            ("\"access_token\": \"ya29.abc\", \"x\": 1", "\"access_token\": \"[hidden]\", \"x\": 1"),
            ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [hidden]"),
            ("X-Auth-Token: gAAAAAbc", "X-Auth-Token: [hidden]"),
            ("the word gAAAA and password are fine", "the word gAAAA and password are fine"),
            ("mine is hunter2hunter2!", "mine is [hidden]!"),
            ("monkey: sig is a sign; tokens", "monkey: sig is a sign; tokens"),
            ("größe password=geheim, ende", "größe password=[hidden], ende"),
            ("snap-0123 and ami-0123", "snap-0123 and ami-0123"),
        ];
        for (text, wanted) in table {
            assert_eq!(hidden(text, &["hunter2hunter2".into()]), wanted);
        }
    }

    #[test]
    fn variables_with_secrets_are_known_by_their_names() {
        for name in ["AWS_SECRET_ACCESS_KEY", "OS_PASSWORD", "AZURE_STORAGE_CONNECTION_STRING", "AWS_SESSION_TOKEN"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["PATH", "AWS_PROFILE", "OS_CLOUD", "HOME"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
