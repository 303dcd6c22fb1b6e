//! A small HTTP server on loopback that serves one folder and misbehaves by script.
//!
//! In: a folder and a list of faults. Out: a URL. One connection, one answer. It says when a file was changed, answers
//! `If-Modified-Since` and `Range`, and keeps what was asked. Never listens anywhere but on 127.0.0.1.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

/// How an answer goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection is reset after so many bytes of the body.
    Reset(usize),
    /// The connection is closed in good order after so many bytes of the body, which was announced whole.
    Truncate(usize),
    /// So many bytes per second.
    Slow(usize),
    /// Nothing is answered until the server is dropped.
    Hang,
    /// Another status, with a page.
    Status(u16),
    /// These bytes, whatever was asked.
    Bytes(Vec<u8>),
    /// 302 to this URL.
    Redirect(String),
}

struct Rule {
    part: String,
    fault: Fault,
    times: usize,
}

/// What was asked, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path, as it was asked for.
    pub path: String,
    /// The first byte that is wanted (`Range: bytes=N-`).
    pub from: Option<u64>,
    /// Whether the client has the file already and asks for a newer one only.
    pub revalidates: bool,
    /// The status of the answer.
    pub status: u16,
}

struct Shared {
    folder: PathBuf,
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<Request>>,
    /// How many answers are under way, and the largest number of them so far.
    busy: Mutex<(usize, usize)>,
    /// The value that `Authorization` must have, in every request.
    password: Mutex<Option<String>>,
    stopping: AtomicBool,
}

/// A running server; stops when dropped.
pub struct Server {
    shared: Arc<Shared>,
    port: u16,
}

impl Server {
    /// Serves `folder`.
    pub fn start(folder: impl Into<PathBuf>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            folder: folder.into(),
            rules: Mutex::default(),
            requests: Mutex::default(),
            busy: Mutex::default(),
            password: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let shared = accepting.clone();
                // A client that goes away is its own business.
                std::thread::spawn(move || stream.map(|stream| count(&shared, stream)));
            }
        });
        Server { shared, port }
    }

    /// From now on, requests whose path contains `part` go wrong.
    pub fn fault(self, part: &str, fault: Fault) -> Server {
        self.fault_times(part, fault, usize::MAX)
    }

    /// The next `times` requests whose path contains `part` go wrong, the later ones do not.
    pub fn fault_times(self, part: &str, fault: Fault, times: usize) -> Server {
        self.shared.rules.lock().unwrap().push(Rule { part: part.into(), fault, times });
        self
    }

    /// From now on, a request without this `Authorization` is answered with 401.
    pub fn demand(self, authorization: &str) -> Server {
        *self.shared.password.lock().unwrap() = Some(authorization.to_string());
        self
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Paths of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.asked("").into_iter().map(|request| request.path).collect()
    }

    /// All requests so far whose path contains `part`.
    pub fn asked(&self, part: &str) -> Vec<Request> {
        let requests = self.shared.requests.lock().unwrap();
        requests.iter().filter(|request| request.path.contains(part)).cloned().collect()
    }

    /// How many answers were under way at the same time, at most.
    pub fn most_at_a_time(&self) -> usize {
        self.shared.busy.lock().unwrap().1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn count(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    let begin = |(now, most): &mut (usize, usize)| {
        *now += 1;
        *most = (*now).max(*most);
    };
    begin(&mut shared.busy.lock().unwrap());
    let answered = answer(shared, stream);
    shared.busy.lock().unwrap().0 -= 1;
    answered
}

/// When a file was changed, as HTTP writes it (RFC 9110, 5.6.7).
fn changed(path: &Path) -> Option<String> {
    let seconds = fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs() as i64;
    let mut date = Command::new("date");
    date.args(["-u", "-d", &format!("@{seconds}"), "+%a, %d %b %Y %H:%M:%S GMT"]).env("LC_ALL", "C");
    String::from_utf8(date.output().ok()?.stdout).ok().map(|text| text.trim().to_string())
}

fn answer(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split_whitespace().nth(1).unwrap_or("/").to_string();
    let (mut authorization, mut since, mut from) = (None, None, None);
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let Some((name, value)) = header.split_once(':') else { continue };
        let value = value.trim().to_string();
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value),
            "if-modified-since" => since = Some(value),
            "range" => from = value.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse().ok()),
            _ => {}
        }
    }
    let fault = {
        let mut rules = shared.rules.lock().unwrap();
        rules.iter_mut().find(|rule| rule.times > 0 && path.contains(&rule.part)).map(|rule| {
            rule.times = rule.times.saturating_sub(1);
            rule.fault.clone()
        })
    };
    let wanted = path.trim_start_matches('/').replace("%2b", "+").replace("%7e", "~").replace("%3a", ":");
    let file = shared.folder.join(&wanted);
    let found = if wanted.split('/').any(|part| part == "..") { None } else { fs::read(&file).ok() };
    let changed = found.as_ref().and_then(|_| changed(&file));
    let demanded = shared.password.lock().unwrap().clone();
    let (status, body) = match (&fault, found) {
        _ if demanded.is_some() && demanded != authorization => (401, b"who are you?\n".to_vec()),
        (Some(Fault::Status(status)), _) => (*status, b"<html>go away</html>\n".to_vec()),
        (Some(Fault::Bytes(bytes)), _) => (200, bytes.clone()),
        (Some(Fault::Redirect(_)), _) => (302, Vec::new()),
        (_, Some(_)) if since.is_some() && since == changed => (304, Vec::new()),
        (_, Some(body)) => match from.filter(|from| *from < body.len() as u64) {
            Some(from) => (206, body[from as usize..].to_vec()),
            None => (200, body),
        },
        (_, None) => (404, b"not here\n".to_vec()),
    };
    let request = Request { path, from, revalidates: since.is_some(), status };
    shared.requests.lock().unwrap().push(request);
    if matches!(fault, Some(Fault::Hang)) {
        while !shared.stopping.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(100));
        }
        return Ok(());
    }
    let mut more = match &fault {
        Some(Fault::Redirect(url)) => format!("Location: {url}\r\n"),
        _ if status == 401 => "WWW-Authenticate: Basic realm=\"tiny\"\r\n".to_string(),
        _ => String::new(),
    };
    let length = body.len();
    if let Some(changed) = changed.filter(|_| matches!(status, 200 | 206 | 304)) {
        more.push_str(&format!("Last-Modified: {changed}\r\nAccept-Ranges: bytes\r\n"));
    }
    if status == 401 {
        more.push_str("WWW-Authenticate: Basic realm=\"tiny\"\r\n");
    }
    if let (206, Some(from)) = (status, from) {
        let whole = from + length as u64;
        more.push_str(&format!("Content-Range: bytes {from}-{}/{whole}\r\n", whole - 1));
    }
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    match fault {
        Some(Fault::Reset(after)) => {
            stream.write_all(&body[..after.min(length)])?;
            stream.flush()?;
            // Closing with a linger time of 0 sends RST instead of FIN (socket(7), SO_LINGER).
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        }
        Some(Fault::Truncate(after)) => {
            stream.write_all(&body[..after.min(length)])?;
            stream.shutdown(Shutdown::Write)?;
        }
        Some(Fault::Slow(rate)) => {
            for piece in body.chunks(rate.div_ceil(10).max(1)) {
                if shared.stopping.load(Ordering::SeqCst) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
                stream.write_all(piece)?;
            }
        }
        _ => {
            stream.write_all(&body)?;
            stream.shutdown(Shutdown::Write)?;
        }
    }
    Ok(())
}
