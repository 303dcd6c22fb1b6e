//! Looking into one file.
//!
//! In: an entry and its bytes. Out: marks (a private key, the build's folder) and, where the judgement needs it, the
//! content itself. Reads each file once, in pieces: size does not matter.

use std::io::Read;

use memchr::memmem;

use super::{Sighting, Standard};
use crate::package::rpmdb::Format;
use crate::pieces::content::{CHUNK, Chunk};
use crate::root::RootPath;
use crate::root::tree::Entry;
use crate::scrub::owned;

/// What a file's content gives away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// A private key, with the words of its header (`OPENSSH PRIVATE KEY`).
    PrivateKey(String),
    /// The folder that the build ran in.
    BuildFolder,
    /// A name of the build host.
    HostName(String),
}

/// How much is read at a time: whole chunks, and what the processor's cache holds.
const PIECE: usize = CHUNK;
/// How much of the end of a piece is looked at again: a key's header and its first lines, or a long path.
const OVERLAP: usize = 4 << 10;
/// Configuration files are judged by their content up to this size, lists of packages' files up to a hundred times it.
const SMALL: u64 = 256 << 10;
/// Names shorter than this are ordinary words.
const SHORTEST_NAME: usize = 6;

/// Room for what is read of one file after the other: new memory for each would take longer than looking at it.
#[derive(Debug)]
pub(super) struct Window(Vec<u8>);

impl Window {
    pub fn new() -> Window {
        Window(vec![0; OVERLAP + PIECE])
    }
}

/// Reads `content` if the entry is a regular file. `chunks` gets what layers have to know of it.
pub(super) fn look(
    entry: Entry,
    content: &mut dyn Read,
    standard: &Standard,
    Window(window): &mut Window,
    mut chunks: Option<&mut Vec<Chunk>>,
) -> std::io::Result<Sighting> {
    let mut sighting = Sighting { entry, marks: Vec::new(), content: None };
    if !sighting.entry.is_file() {
        return Ok(sighting);
    }
    let keep = wanted(&sighting.entry.path, sighting.entry.size.0);
    let mut kept = Vec::new();
    let (mut carried, mut length) = (0, 0);
    loop {
        let read = fill(content, &mut window[carried..carried + PIECE])?;
        let piece = &window[carried..carried + read];
        length += read as u64;
        if keep {
            kept.extend_from_slice(piece);
        }
        if let Some(chunks) = &mut chunks {
            chunks.extend(piece.chunks(CHUNK).map(Chunk::of));
        }
        let end = carried + read;
        let edges = Edges { begins: carried == 0, ends: read < PIECE };
        search(&window[..end], edges, standard, &mut sighting.marks);
        if edges.ends {
            break;
        }
        window.copy_within(end - OVERLAP..end, 0);
        carried = OVERLAP;
    }
    sighting.marks.sort();
    sighting.marks.dedup();
    // An archive's header or a directory may lie about the length; what was read does not.
    sighting.entry.size = crate::bytes::Bytes(length);
    sighting.content = keep.then_some(kept);
    Ok(sighting)
}

/// Reads until `piece` is full or nothing is left.
fn fill(content: &mut dyn Read, piece: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match content.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether the judgement needs the whole content of this entry.
pub(super) fn is_wanted(entry: &Entry) -> bool {
    wanted(&entry.path, entry.size.0)
}

/// Whether the judgement needs the whole content.
fn wanted(path: &RootPath, size: u64) -> bool {
    let bytes = path.as_bytes();
    let database = owned::is_file_list(path) || bytes == owned::DIVERSIONS.as_bytes();
    let small = bytes.starts_with(b"/etc/") || bytes.starts_with(b"/boot/") || bytes == b"/var/lib/dbus/machine-id";
    let rpm = Format::of(path).is_some() || bytes == b"/var/lib/zypp/AutoInstalled";
    let pacman = bytes.starts_with(b"/var/lib/pacman/local/") && path.name() == b"desc";
    (rpm && size <= SMALL * 4096)
        || (pacman && size <= SMALL)
        || (database && size <= SMALL * 100)
        || (small && size <= SMALL)
}

/// Which edges of a window are the file's. What touches another one is inside of the window before or after it, too.
#[derive(Clone, Copy, Debug)]
struct Edges {
    begins: bool,
    ends: bool,
}

fn search(window: &[u8], edges: Edges, standard: &Standard, marks: &mut Vec<Mark>) {
    for at in memmem::find_iter(window, b"-----BEGIN ") {
        marks.extend(private_key(&window[at..]).map(Mark::PrivateKey));
    }
    let Standard::Build { host, .. } = standard else { return };
    if let Some(folder) = &host.workspace {
        let folder = folder.as_os_str().as_encoded_bytes();
        if folder.len() >= SHORTEST_NAME && memmem::find(window, folder).is_some() {
            marks.push(Mark::BuildFolder);
        }
    }
    for name in host.names.iter().filter(|name| name.len() >= SHORTEST_NAME) {
        let word = |at: usize| {
            if (at == 0 && !edges.begins) || (at + name.len() == window.len() && !edges.ends) {
                return false;
            }
            let before = at.checked_sub(1).and_then(|index| window.get(index));
            let after = window.get(at + name.len());
            ![before, after].into_iter().flatten().any(u8::is_ascii_alphanumeric)
        };
        if memmem::find_iter(window, name.as_bytes()).any(word) {
            marks.push(Mark::HostName(name.clone()));
        }
    }
}

/// The words of the header, if a real key follows: libraries hold the bare header as a constant, documents quote it.
/// The forms are those of RFC 7468 (PKCS#8), OpenSSL's traditional one, OpenSSH's and OpenPGP's (RFC 9580).
fn private_key(text: &[u8]) -> Option<String> {
    let text = &text[..text.len().min(OVERLAP)];
    let header = &text[b"-----BEGIN ".len()..];
    let end = memmem::find(&header[..header.len().min(64)], b"-----")?;
    let words = std::str::from_utf8(&header[..end]).ok()?;
    if !words.contains("PRIVATE KEY") || words.chars().any(char::is_control) {
        return None;
    }
    let body = &header[end + 5..];
    let body = &body[..memmem::find(body, b"-----").unwrap_or(body.len())];
    let body = &body[..memchr::memchr(0, body).unwrap_or(body.len())];
    // Keys stand in configuration files with their line ends written as `\n`, too.
    let body = String::from_utf8_lossy(body).replace("\\n", "\n");
    let is_base64 = |line: &str| {
        let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        line.len() >= 40 && line.bytes().all(base64)
    };
    body.lines().map(|line| line.trim().trim_matches(['"', '\''])).any(is_base64).then(|| words.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW";

    #[test]
    fn a_key_is_found_by_its_header_and_body_and_a_quoted_header_is_not_one() {
        for (text, wanted) in [
            (format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{BODY}\n"), Some("OPENSSH PRIVATE KEY")),
            (
                format!("-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n\r\n{BODY}\r\n"),
                Some("RSA PRIVATE KEY"),
            ),
            (format!("-----BEGIN PRIVATE KEY-----\\n{BODY}\\n"), Some("PRIVATE KEY")),
            (format!("-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\n{BODY}\n"), Some("PGP PRIVATE KEY BLOCK")),
            (format!("-----BEGIN PUBLIC KEY-----\n{BODY}\n"), None),
            (format!("-----BEGIN RSA PRIVATE KEY-----\0{BODY}\n"), None),
            ("-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----".into(), None),
            ("-----BEGIN ".into(), None),
        ] {
            assert_eq!(private_key(text.as_bytes()).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn a_key_that_lies_across_two_pieces_is_found() {
        for before in [PIECE - 20, PIECE - 1, 2 * PIECE - 70] {
            let mut content = vec![b'\n'; before];
            content.extend_from_slice(format!("-----BEGIN EC PRIVATE KEY-----\n{BODY}\n").as_bytes());
            let folder = tempfile::tempdir().unwrap();
            let tree = crate::root::RootTree::open(folder.path()).unwrap();
            tree.write(&"/x".into(), &content, 0o644).unwrap();
            let entry = tree.entry(&"/x".into()).unwrap().unwrap();
            let standard = Standard::Artifact(crate::plan::ScrubPreset::Vm);
            let (mut window, mut chunks) = (Window::new(), Vec::new());
            let sighting =
                look(entry.clone(), &mut content.as_slice(), &standard, &mut window, Some(&mut chunks)).unwrap();
            assert_eq!(sighting.marks, [Mark::PrivateKey("EC PRIVATE KEY".into())], "{before}");
            assert_eq!(chunks, content.chunks(CHUNK).map(Chunk::of).collect::<Vec<_>>());
            let again = look(entry, &mut content.as_slice(), &standard, &mut window, None).unwrap();
            assert_eq!((again.entry.size.0, again.marks), (content.len() as u64, sighting.marks));
        }
    }

    #[test]
    fn a_name_is_a_word_wherever_pieces_begin_and_end() {
        let host =
            crate::scrub::BuildHost { names: ["builder7".to_string()].into(), ..crate::scrub::BuildHost::unknown() };
        let (plan, asked) = (
            crate::plan::ScrubPlan { preset: crate::plan::ScrubPreset::Vm, except: Vec::new() },
            crate::scrub::Asked {
                paths: Default::default(),
                passwords: Default::default(),
                update_stack: crate::plan::UpdateStack::Kept,
                database: Default::default(),
            },
        );
        let standard = Standard::Build { plan: &plan, asked: &asked, host: &host };
        let folder = tempfile::tempdir().unwrap();
        let tree = crate::root::RootTree::open(folder.path()).unwrap();
        tree.write(&"/x".into(), b"", 0o644).unwrap();
        let entry = tree.entry(&"/x".into()).unwrap().unwrap();
        let mut window = Window::new();
        let mut found = |content: &[u8]| {
            let sighting = look(entry.clone(), &mut &*content, &standard, &mut window, None).unwrap();
            !sighting.marks.is_empty()
        };
        for near in [PIECE - OVERLAP, PIECE, 2 * PIECE - OVERLAP, 2 * PIECE] {
            for at in near - 9..=near + 9 {
                for (text, is_word) in
                    [(" builder7 ", true), (" builder7", true), ("xbuilder7 ", false), (" builder7x", false)]
                {
                    let mut content = vec![b'\n'; at];
                    content.extend_from_slice(text.as_bytes());
                    assert_eq!(found(&content), is_word, "{text} at {at}");
                    content.resize(content.len() + PIECE, if is_word { b'\n' } else { b'y' });
                    assert_eq!(found(&content), is_word, "{text} at {at}, and more");
                }
            }
        }
        assert!(found(b"builder7"));
        assert!(!found(b""));
    }
}
