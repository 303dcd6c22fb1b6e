//! What a booting system says on its serial console.
//!
//! In: bytes as they come. Out: the text without terminal controls, its last lines, the units that systemd could not
//! start, and whether all hope is gone. Never decides how long to wait.

/// How much text is searched: what is waited for may come in pieces.
const MEMORY: usize = 64 << 10;
/// Lines that end every boot.
const HOPELESS: [&str; 6] = [
    "Kernel panic - not syncing",
    "You are in emergency mode",
    "Give root password for maintenance",
    "grub rescue>",
    "No bootable device",
    "Gave up waiting for root file system device",
];

/// The console's text so far.
#[derive(Debug, Default)]
pub struct Console {
    text: String,
    pending: Vec<u8>,
    failed: Vec<String>,
    seen: usize,
}

impl Console {
    /// Takes what was said.
    pub fn hear(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
        // A character or a control sequence may be cut in two; the rest comes later.
        let end = self.pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = self.pending.split_off(end);
        let lines = std::mem::replace(&mut self.pending, rest);
        let new = plain(&lines);
        for line in new.lines() {
            let line = line.trim();
            let is_failure = line.starts_with("[FAILED]") || line.contains("Failed to start ");
            let unit = line.trim_start_matches("[FAILED]").trim();
            if is_failure && !self.failed.iter().any(|known| unit.contains(known.as_str()) || known.contains(unit)) {
                self.failed.push(unit.to_string());
            }
        }
        self.text.push_str(&new);
        if self.text.len() > 2 * MEMORY {
            let mut from = self.text.len() - MEMORY;
            while !self.text.is_char_boundary(from) {
                from += 1;
            }
            self.text.drain(..from);
            self.seen = self.seen.saturating_sub(from);
        }
    }

    /// Whether `text` was said since the last look, in one line or over several.
    pub fn says(&self, text: &str) -> bool {
        self.text.contains(text) || (self.text.clone() + &plain(&self.pending)).contains(text)
    }

    /// The line that says that this system will not start.
    pub fn hopeless(&self) -> Option<String> {
        let all = self.text.clone() + &plain(&self.pending);
        let line = all.lines().rev().find(|line| HOPELESS.iter().any(|end| line.contains(end)));
        line.map(|line| line.trim().to_string())
    }

    /// What systemd could not start, as it says it.
    pub fn failed(&self) -> &[String] {
        &self.failed
    }

    /// The last lines that say something.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let all = self.text.clone() + &plain(&self.pending);
        let lines: Vec<&str> = all.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(count)..].iter().map(|line| line.to_string()).collect()
    }
}

/// Text without carriage returns, colours and cursor movements (ECMA-48 control sequences).
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => match chars.next() {
                Some('[') => {
                    while chars.next_if(|char| !('@'..='~').contains(char)).is_some() {}
                    chars.next();
                }
                Some(']') => {
                    while chars.next_if(|char| !matches!(char, '\u{7}' | '\u{1b}')).is_some() {}
                    chars.next();
                }
                _ => {}
            },
            '\n' | '\t' => plain.push(char),
            char if char.is_control() => {}
            char => plain.push(char),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_cuts_do_not_hide_what_is_said() {
        let mut console = Console::default();
        for piece in ["\u{1b}[0;1;31m[FAI", "LED]\u{1b}[0m Failed to start \u{1b}[0;1;39mx.service\u{1b}[0m - X.\r\n"] {
            console.hear(piece.as_bytes());
        }
        console
            .hear("See 'systemctl status x.service'.\r\n[  OK  ] Started y.\r\n\u{1b}]0;title\u{7}host log".as_bytes());
        assert!(!console.says("login:"));
        console.hear(b"in: ");
        assert!(console.says("host login:"));
        assert_eq!(console.failed(), ["Failed to start x.service - X."]);
        assert_eq!(console.last_lines(2), ["[  OK  ] Started y.", "host login:"]);
        assert_eq!(console.hopeless(), None);
        console.hear(b"\nKernel panic - not syncing: VFS\n");
        assert_eq!(console.hopeless().unwrap(), "Kernel panic - not syncing: VFS");
    }
}
