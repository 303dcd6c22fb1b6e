//! Passwords that protect nothing.
//!
//! In: /etc/passwd and /etc/shadow. Out: accounts without a password, and root with one of the passwords that everybody
//! tries first. Never logs a hash.

use sha_crypt::password_hash::PasswordVerifier;

/// passwd(5).
pub const PASSWD: &str = "/etc/passwd";
/// shadow(5).
pub const SHADOW: &str = "/etc/shadow";

/// What is wrong with a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// Nothing needs to be typed.
    Empty,
    /// One of [`WELL_KNOWN`].
    WellKnown(&'static str),
}

/// What templates, vendors' manuals and build descriptions set.
const WELL_KNOWN: &[&str] =
    &["root", "linux", "toor", "password", "admin", "changeme", "vagrant", "123456", "12345678", "test", "debian"];

/// SHA-crypt's default is 5000.
const MOST_ROUNDS: u32 = 100_000;

/// Accounts that anybody can log in to, in the order of the files. Hashes of root are tried where they are SHA-crypt
/// or yescrypt (crypt(5)), the methods of every distribution that is still maintained.
pub fn weak_accounts(passwd: &[u8], shadow: &[u8]) -> Vec<(String, Weakness)> {
    let mut weak = Vec::new();
    for (login, hash) in accounts(passwd).chain(accounts(shadow)) {
        let weakness = match hash.as_str() {
            "" => Some(Weakness::Empty),
            hash if login == "root" => well_known(hash).map(Weakness::WellKnown),
            _ => None,
        };
        weak.extend(weakness.map(|weakness| (login, weakness)));
    }
    weak
}

/// Login name and second field of each line.
fn accounts(content: &[u8]) -> impl Iterator<Item = (String, String)> {
    content.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':').map(|field| String::from_utf8_lossy(field).into_owned());
        let login = fields.next().filter(|login| !login.is_empty())?;
        // NIS compat entries (`+::::::`) are no accounts.
        Some((login, fields.next()?)).filter(|(login, _)| !login.starts_with(['+', '-']))
    })
}

fn well_known(hash: &str) -> Option<&'static str> {
    // A hostile image must not keep the audit busy for days; nobody uses a common password with a million rounds.
    let rounds = hash.split('$').find_map(|part| part.strip_prefix("rounds=")?.parse::<u32>().ok());
    if rounds.is_some_and(|rounds| rounds > MOST_ROUNDS) {
        return None;
    }
    WELL_KNOWN.iter().find(|word| matches(word, hash)).copied()
}

fn matches(password: &str, hash: &str) -> bool {
    if hash.starts_with("$5$") || hash.starts_with("$6$") {
        sha_crypt::ShaCrypt::default().verify_password(password.as_bytes(), hash).is_ok()
    } else if hash.starts_with("$y$") {
        yescrypt::Yescrypt::default().verify_password(password.as_bytes(), hash).is_ok()
    } else {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_without_a_password_are_found_in_both_files() {
        let found =
            weak_accounts(b"root:x:0:0::/root:/bin/sh\nopen::1:1::/:/bin/sh\n", b"root:*:1::\nlive::1::\n+::::\n");
        assert_eq!(found, [("open".into(), Weakness::Empty), ("live".into(), Weakness::Empty)]);
    }

    #[test]
    fn the_well_known_passwords_of_root_are_found_in_every_method_that_distributions_use() {
        for (hash, wanted) in [
            (
                "$6$abcdefgh$UpTHeIBbAOcPkHDQB085x/tvg71FMELvpunLTiD8aVqwfNsCjrsVCWSGj/6b.GUlF7Uw3/0JA5e3hAungH7t.0",
                Some("linux"),
            ),
            ("$y$j9T$abcdefgh12345678$MxiYiI77lDMZUiPFE5sE8SzZVKgzgQZYMusvR41UUD4", Some("linux")),
            ("$y$j9T$abcdefgh12345678$lHstH4pTuTq44ukRhuulEVKkW4wtoZseaGr5gJDLYsD", None),
            ("*", None),
            ("!", None),
            ("$6$", None),
            ("$6$rounds=999999999$abc$x", None),
        ] {
            let wanted: Vec<_> =
                wanted.map(|word| ("root".to_string(), Weakness::WellKnown(word))).into_iter().collect();
            assert_eq!(weak_accounts(b"", format!("root:{hash}:1:::\nbob:{hash}:1:::\n").as_bytes()), wanted, "{hash}");
        }
    }
}
