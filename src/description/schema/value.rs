//! What an attribute or a text may hold.
//!
//! In: a kind of value and the text. Out: whether it fits, and words for a person. Never changes a text.

/// A kind of value (KIWI's lexical types).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Any text.
    Text,
    /// Any text but none at all.
    NotEmpty,
    /// Letters, digits, `_`, `-`, `.`.
    Name,
    /// The same, at most 32.
    ShortName,
    /// At most 128 characters that a volume descriptor may hold (ECMA-119).
    VolumeText,
    /// A file's name without folders.
    FileName,
    /// `true`, `false`, `1`, `0`.
    Boolean,
    /// A whole number from 0 on.
    Number,
    /// A whole number that is at least this.
    AtLeast(u64),
    /// A whole number with or without a sign.
    Integer,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One or more of these words, divided by blanks.
    WordsOf(&'static [&'static str]),
    /// One or more of these words, divided by commas.
    ListOf(&'static [&'static str]),
    /// Words divided by commas or blanks.
    Words,
    /// `10`, `10M`, `10G`.
    PartitionSize,
    /// `10`, `10M`, `10G`, `all`.
    VolumeSize,
    /// A number or `all`.
    Blocks,
    /// Names of profiles divided by commas.
    Profiles,
    /// Architectures divided by commas.
    Architectures,
    /// `C`, `POSIX`, `en_US,de_DE`.
    Locales,
    /// `80`, `80/tcp`, `53/udp`.
    Port,
    /// `wheel,docker:999`.
    Groups,
    /// `file:`, `this:`, `http:`, `https:` or `ftp:` and something.
    KeyUri,
    /// A disk format, alone or behind `oci:` or `docker:`.
    Format,
    /// Four numbers up to 65535, divided by dots.
    PackageVersion,
    /// A GUID in lower case.
    Guid,
    /// Six bytes in hexadecimal.
    MacAddress,
    /// A whole number that is neither smaller nor larger than these.
    Between(u64, u64),
    /// `sha256:` and 64 digits.
    Digest,
}

/// Architectures that KIWI's schema knows.
pub const ARCHITECTURES: &[&str] = &[
    "x86_64", "i586", "i686", "ix86", "aarch64", "arm64", "amd64", "armv5el", "armv5tel", "armv6hl", "armv6l",
    "armv7hl", "armv7l", "ppc", "ppc64", "ppc64le", "s390", "s390x", "riscv64",
];

/// Disk formats that KIWI's schema knows.
pub const FORMATS: &[&str] = &["gce", "ova", "qcow2", "vagrant", "vmdk", "vdi", "vhd", "vhdx", "vhd-fixed"];

impl Value {
    /// Whether `text` is such a value.
    pub fn accepts(self, text: &str) -> bool {
        let name = |text: &str| {
            !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.'))
        };
        let number = |text: &str| digits(text) && text.parse::<u64>().is_ok();
        let size = |text: &str| number(text.strip_suffix(['M', 'G']).unwrap_or(text));
        match self {
            Value::Text => true,
            Value::NotEmpty => !text.trim().is_empty(),
            Value::Name => name(text),
            Value::ShortName => name(text) && text.len() <= 32,
            Value::VolumeText => {
                let fits =
                    |char: char| char.is_ascii_alphanumeric() || matches!(char, '!'..='/' | ':'..='?' | '_' | ' ');
                !text.is_empty() && text.len() <= 128 && text.chars().all(fits)
            }
            Value::FileName => !text.is_empty() && !text.contains(['/', '\0']) && text != "." && text != "..",
            Value::Boolean => matches!(text, "true" | "false" | "1" | "0"),
            Value::Number => number(text),
            Value::AtLeast(least) => text.parse::<u64>().is_ok_and(|number| number >= least) && digits(text),
            Value::Integer => number(text.strip_prefix(['-', '+']).unwrap_or(text)),
            Value::OneOf(words) => words.contains(&text),
            Value::WordsOf(words) => text.split(' ').all(|word| words.contains(&word)),
            Value::ListOf(words) => text.split(',').all(|word| words.contains(&word)),
            Value::Words => true,
            Value::PartitionSize => size(text),
            Value::VolumeSize => size(text) || text == "all",
            Value::Blocks => text.is_empty() || number(text) || text == "all",
            Value::Profiles => text.split(',').all(|name| !name.trim().is_empty()),
            Value::Architectures => text.split(',').all(|name| ARCHITECTURES.contains(&name)),
            Value::Locales => text.split(',').enumerate().all(|(index, locale)| {
                index == 0 && matches!(locale, "C" | "POSIX")
                    || locale.split_once('_').is_some_and(|(language, country)| {
                        matches!(language.len(), 2 | 3)
                            && language.chars().all(|char| char.is_ascii_lowercase())
                            && country.len() == 2
                            && country.chars().all(|char| char.is_ascii_uppercase())
                    })
            }),
            Value::Port => {
                let port = text.strip_suffix("/tcp").or(text.strip_suffix("/udp")).unwrap_or(text);
                digits(port) && port.parse::<u16>().is_ok()
            }
            Value::Groups => text.split(',').all(|group| {
                let (group, id) = group.split_once(':').unwrap_or((group, "0"));
                name(group) && !group.starts_with('-') && id.parse::<u32>().is_ok() && digits(id)
            }),
            Value::KeyUri => {
                ["file:", "this:", "http:", "https:", "ftp:"].iter().any(|scheme| text.starts_with(scheme))
            }
            Value::Format => match text.split_once(':') {
                None => FORMATS.contains(&text),
                Some((container, format)) => {
                    matches!(container, "oci" | "docker")
                        && (format == "raw" || format != "vagrant" && FORMATS.contains(&format))
                }
            },
            Value::PackageVersion => {
                text.split('.').count() == 4 && text.split('.').all(|part| digits(part) && part.parse::<u16>().is_ok())
            }
            Value::Guid => {
                let lengths = text.split('-').map(str::len);
                lengths.eq([8, 4, 4, 4, 12]) && text.chars().all(|char| matches!(char, '0'..='9' | 'a'..='f' | '-'))
            }
            Value::Between(least, most) => {
                text.parse::<u64>().is_ok_and(|number| (least..=most).contains(&number)) && digits(text)
            }
            Value::Digest => text.strip_prefix("sha256:").is_some_and(|digest| {
                digest.len() == 64 && digest.chars().all(|char| matches!(char, '0'..='9' | 'a'..='f'))
            }),
            Value::MacAddress => {
                text.split(':').count() == 6
                    && text.split(':').all(|byte| byte.len() == 2 && byte.chars().all(|char| char.is_ascii_hexdigit()))
            }
        }
    }

    /// The text as it counts: blanks around it and inside it are no part of a token, a plus is no part of a number
    /// (XML Schema part 2, 4.3.6 and 3.3.20).
    pub fn canonical(self, text: &str) -> Option<String> {
        match self {
            Value::Text | Value::NotEmpty | Value::FileName | Value::VolumeText | Value::Words => return None,
            _ => {}
        }
        let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if matches!(self, Value::Number | Value::AtLeast(_))
            && let Some(number) = words.strip_prefix('+').filter(|number| digits(number))
        {
            words = number.to_string();
        }
        (words != text).then_some(words)
    }

    /// What is expected, for a message: "a whole number".
    pub fn expected(self) -> String {
        let words = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        match self {
            Value::Text | Value::NotEmpty => "a text".to_string(),
            Value::Name => "letters, digits, `_`, `-` and `.`".to_string(),
            Value::ShortName => "at most 32 letters, digits, `_`, `-` and `.`".to_string(),
            Value::VolumeText => "at most 128 ASCII characters".to_string(),
            Value::FileName => "a name without `/`".to_string(),
            Value::Boolean => "`true` or `false`".to_string(),
            Value::Number => "a whole number".to_string(),
            Value::AtLeast(least) => format!("a whole number from {least} on"),
            Value::Integer => "a whole number, with or without a sign".to_string(),
            Value::OneOf([word]) => format!("`{word}`"),
            Value::OneOf(known) => format!("one of {}", words(known)),
            Value::WordsOf(known) => format!("words divided by blanks, from {}", words(known)),
            Value::ListOf(known) => format!("words divided by commas, from {}", words(known)),
            Value::Words => "words divided by commas".to_string(),
            Value::PartitionSize => "a size: `500`, `500M` or `2G`".to_string(),
            Value::VolumeSize => "a size: `500`, `500M`, `2G` or `all`".to_string(),
            Value::Blocks => "a number of blocks or `all`".to_string(),
            Value::Profiles => "names of profiles divided by commas".to_string(),
            Value::Architectures => format!("architectures divided by commas, from {}", words(ARCHITECTURES)),
            Value::Locales => "`C`, `POSIX` or locales divided by commas: `en_US,de_DE`".to_string(),
            Value::Port => "a port: `80`, `80/tcp` or `53/udp`".to_string(),
            Value::Groups => "groups divided by commas: `users,docker:999`".to_string(),
            Value::KeyUri => "`file:`, `this:`, `http:`, `https:` or `ftp:` and a path".to_string(),
            Value::Format => format!("one of {}, or `oci:` or `docker:` and one of them", words(FORMATS)),
            Value::PackageVersion => "four numbers divided by dots: `1.0.0.0`".to_string(),
            Value::Guid => "a GUID in lower case".to_string(),
            Value::MacAddress => "six bytes: `00:16:3e:00:00:01`".to_string(),
            Value::Between(least, most) => format!("a whole number from {least} to {most}"),
            Value::Digest => "`sha256:` and 64 digits in lower case".to_string(),
        }
    }

    /// The words that it may be, where it is one of a few.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Value::OneOf(words) | Value::WordsOf(words) | Value::ListOf(words) => words,
            Value::Architectures => ARCHITECTURES,
            Value::Format => FORMATS,
            Value::Boolean => &["true", "false"],
            _ => &[],
        }
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_value_knows_its_own() {
        let table: &[(Value, &[&str], &[&str])] = &[
            (Value::Boolean, &["true", "false", "1", "0"], &["yes", "True", "", " true"]),
            (Value::Number, &["0", "18446744073709551615"], &["-1", "1.5", "", "99999999999999999999", "+1", "0x1"]),
            (Value::AtLeast(2048), &["2048", "4096"], &["2047", "+4096", ""]),
            (Value::Integer, &["-5", "7", "+1"], &["-", "--1", "1-"]),
            (Value::Name, &["a", "A-b_c.1"], &["", "a b", "a/b", "ä"]),
            (Value::ShortName, &["ROOT"], &["123456789012345678901234567890123"]),
            (Value::FileName, &["a b", "x.tar"], &["", ".", "..", "a/b"]),
            (Value::PartitionSize, &["10", "10M", "2G"], &["10K", "M", "all", ""]),
            (Value::VolumeSize, &["10", "all", "2G"], &["ALL", "10T"]),
            (Value::Blocks, &["", "12", "all"], &["some"]),
            (Value::Profiles, &["A", "A,B"], &["", "A,", ",B"]),
            (Value::Architectures, &["x86_64", "aarch64,x86_64"], &["x86-64", "x86_64, aarch64"]),
            (Value::Locales, &["C", "POSIX", "en_US", "POSIX,en_US", "en_US,de_DE"], &["en", "en_US,C", "en_us", ""]),
            (Value::Port, &["80", "80/tcp", "53/udp"], &["80/sctp", "/tcp", "http", "70000"]),
            (Value::Groups, &["wheel", "users,docker:999"], &["", "a,,b", "docker:x", "docker:", "-G"]),
            (Value::KeyUri, &["file:///k", "this://k", "https://k"], &["k", "/k"]),
            (Value::Format, &["qcow2", "oci:raw", "docker:qcow2"], &["raw", "docker:vagrant", "zip", "rkt:raw"]),
            (Value::PackageVersion, &["1.0.0.65535"], &["1.0.0", "1.0.0.65536", "1.0.0.0.0"]),
            (Value::Guid, &["3f1c0000-0000-4000-8000-00000000000a"], &["3F1C0000-0000-4000-8000-00000000000A", "3f1c"]),
            (Value::MacAddress, &["00:16:3e:00:00:0F"], &["00:16:3e:00:00", "0:16:3e:00:00:01"]),
        ];
        for (value, good, bad) in table {
            for text in *good {
                assert!(value.accepts(text), "{value:?} refuses {text:?}");
            }
            for text in *bad {
                assert!(!value.accepts(text), "{value:?} accepts {text:?}");
            }
        }
    }
}
