//! Debian's control syntax (deb822(5)): stanzas of fields, as in Packages, Release, status and .sources files.
//!
//! In: text. Out: [`Stanza`]s, their fields in the order written. Never a signature check.

use std::fmt;

/// One paragraph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stanza {
    fields: Vec<(String, String)>,
    line: u32,
}

/// Text that is not in control syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// 1-based line.
    pub line: u32,
    /// What is wrong there.
    pub why: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl Stanza {
    /// The value of a field, whatever the case of its name; continuation lines follow after a newline each, without
    /// their leading blank.
    pub fn get(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    /// The field's value, empty where it is missing.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The words of a field.
    pub fn words(&self, name: &str) -> Vec<&str> {
        self.text(name).split_ascii_whitespace().collect()
    }

    /// Whether a field says yes.
    pub fn says_yes(&self, name: &str) -> bool {
        self.text(name).trim().eq_ignore_ascii_case("yes")
    }

    /// Sets a field, keeping its place, or adds it at the end.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.fields.iter_mut().find(|(field, _)| field.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value.into(),
            None => self.fields.push((name.to_string(), value.into())),
        }
    }

    /// Removes a field.
    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
    }

    /// Names and values in the order written.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The last field is complete: like dpkg, blanks are cut at the end of a value, not at the end of its lines.
    fn end_field(&mut self) {
        if let Some((_, value)) = self.fields.last_mut() {
            value.truncate(value.trim_end().len());
        }
    }

    /// 1-based line at which it begins.
    pub fn line(&self) -> u32 {
        self.line
    }
}

impl fmt::Display for Stanza {
    /// As it stands in a file, with a newline after each field and no empty line at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.fields {
            let mut lines = value.split('\n');
            match lines.next() {
                None | Some("") => writeln!(f, "{name}:")?,
                Some(first) => writeln!(f, "{name}: {first}")?,
            }
            lines.try_for_each(|line| writeln!(f, " {line}"))?;
        }
        Ok(())
    }
}

/// The stanzas of a file. Lines that begin with `#` are comments.
pub fn parse(text: &str) -> Result<Vec<Stanza>, Malformed> {
    let mut stanzas = Vec::new();
    let mut stanza = Stanza::default();
    for (line, number) in text.lines().zip(1..) {
        let malformed = |why| Malformed { line: number, why };
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            stanza.end_field();
            if !stanza.fields.is_empty() {
                stanzas.push(std::mem::take(&mut stanza));
            }
        } else if let Some(continued) = line.strip_prefix([' ', '\t']) {
            let (_, value) = stanza.fields.last_mut().ok_or(malformed("a continuation line without a field"))?;
            value.push('\n');
            value.push_str(continued);
        } else {
            let (name, value) = line.split_once(':').ok_or(malformed("neither a field nor a continuation line"))?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(malformed("a field's name is empty or has a blank in it"));
            }
            if stanza.fields.is_empty() {
                stanza.line = number;
            }
            stanza.end_field();
            stanza.fields.push((name.to_string(), value.trim_start().to_string()));
        }
    }
    stanza.end_field();
    if !stanza.fields.is_empty() {
        stanzas.push(stanza);
    }
    Ok(stanzas)
}

/// The text inside a clear-signed message (RFC 4880, 7); the text itself where it is not signed.
pub fn without_signature(text: &str) -> String {
    let Some(signed) = text.strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----") else {
        return text.to_string();
    };
    let lines = signed.lines().skip(1).skip_while(|line| !line.trim().is_empty()).skip(1);
    let lines = lines.take_while(|line| *line != "-----BEGIN PGP SIGNATURE-----");
    lines.map(|line| format!("{}\n", line.strip_prefix("- ").unwrap_or(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_keep_order_continuations_and_lines() {
        let text =
            "# comment\nPackage: a\nDescription: short\n long\n .\n more\n\n\nPackage: b\nConffiles:\n /etc/x 1\n";
        let stanzas = parse(text).unwrap();
        assert_eq!(stanzas.len(), 2);
        assert_eq!(stanzas[0].get("description"), Some("short\nlong\n.\nmore"));
        assert_eq!((stanzas[0].line(), stanzas[1].line()), (2, 9));
        assert_eq!(stanzas[1].text("Conffiles"), "\n/etc/x 1");
        assert_eq!(stanzas[1].to_string(), "Package: b\nConffiles:\n /etc/x 1\n");
        assert_eq!(parse(&stanzas[0].to_string()).unwrap()[0].fields, stanzas[0].fields);
    }

    #[test]
    fn text_that_is_no_control_file_is_refused_with_its_line() {
        for (text, line) in [("<html>", 1), ("A: b\n\n continued", 3), ("A: b\n: c", 2), ("A: b\nx y: c", 2)] {
            assert_eq!(parse(text).map_err(|malformed| malformed.line), Err(line), "{text}");
        }
        assert_eq!(parse("\n\n").unwrap(), Vec::new());
    }

    #[test]
    fn blanks_are_kept_within_a_value_and_cut_at_its_end() {
        let stanza = &parse("A:  b \n c  \n d \nE: f \n").unwrap()[0];
        assert_eq!((stanza.text("A"), stanza.text("E")), ("b \nc  \nd", "f"));
    }

    #[test]
    fn a_signature_is_taken_off() {
        let signed =
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nA: b\n- -dash\n-----BEGIN PGP SIGNATURE-----\nx\n";
        assert_eq!(without_signature(signed), "A: b\n-dash\n");
        assert_eq!(without_signature("A: b\n"), "A: b\n");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[A-Za-z:# \n\t-]{0,200}") {
            if let Ok(stanzas) = parse(&text) {
                let again: String = stanzas.iter().map(|stanza| format!("{stanza}\n")).collect();
                let names = |stanzas: &[Stanza]| stanzas.iter().map(|s| s.fields().count()).collect::<Vec<_>>();
                proptest::prop_assert_eq!(names(&parse(&again).unwrap()), names(&stanzas));
            }
        }
    }
}
