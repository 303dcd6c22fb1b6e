//! A small HTTP server on loopback that serves one folder and misbehaves by script.
//!
//! In: a folder and a list of faults. Out: a URL. One connection, one answer. Never listens anywhere but on 127.0.0.1.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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

struct Shared {
    folder: PathBuf,
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<String>>,
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
                std::thread::spawn(move || stream.map(|stream| answer(&shared, stream)));
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
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn answer(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split_whitespace().nth(1).unwrap_or("/").to_string();
    let mut authorization = None;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((_, value)) = header.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        {
            authorization = Some(value.trim().to_string());
        }
    }
    shared.requests.lock().unwrap().push(path.clone());
    let fault = {
        let mut rules = shared.rules.lock().unwrap();
        rules.iter_mut().find(|rule| rule.times > 0 && path.contains(&rule.part)).map(|rule| {
            rule.times = rule.times.saturating_sub(1);
            rule.fault.clone()
        })
    };
    let wanted = path.trim_start_matches('/').replace("%2b", "+").replace("%7e", "~").replace("%3a", ":");
    let found =
        if wanted.split('/').any(|part| part == "..") { None } else { fs::read(shared.folder.join(wanted)).ok() };
    let demanded = shared.password.lock().unwrap().clone();
    let (status, body) = match (&fault, found) {
        _ if demanded.is_some() && demanded != authorization => (401, b"who are you?\n".to_vec()),
        (Some(Fault::Status(status)), _) => (*status, b"<html>go away</html>\n".to_vec()),
        (Some(Fault::Bytes(bytes)), _) => (200, bytes.clone()),
        (Some(Fault::Redirect(_)), _) => (302, Vec::new()),
        (_, Some(body)) => (200, body),
        (_, None) => (404, b"not here\n".to_vec()),
    };
    if matches!(fault, Some(Fault::Hang)) {
        while !shared.stopping.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(100));
        }
        return Ok(());
    }
    let location = match &fault {
        Some(Fault::Redirect(url)) => format!("Location: {url}\r\n"),
        _ => String::new(),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{location}Connection: close\r\n\r\n");
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
                stream.write_all(piece)?;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        _ => {
            stream.write_all(&body)?;
            stream.shutdown(Shutdown::Write)?;
        }
    }
    Ok(())
}
