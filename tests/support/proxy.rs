//! An HTTP proxy on loopback, before a server, that lets requests through and lets some go wrong.
//!
//! In: the server's address and rules. Out: a URL. One connection, one request. A rule looks at the first line of a request
//! and its body. Never listens anywhere but on 127.0.0.1.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// This status and body are the answer; the server sees nothing.
    Answer(u16, String),
    /// The server does what it is asked, and its answer never arrives: the connection is closed.
    LostAnswer,
    /// The same, but the connection stays open until the proxy is dropped.
    NoAnswer,
    /// In the answer, one text stands in place of another of the same length.
    Altered(String, String),
}

struct Rule {
    part: String,
    fate: Fate,
    skip: usize,
    times: usize,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    /// First line and body of each request that the server has answered, or that was answered here.
    seen: Vec<String>,
    stopping: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A running proxy; stops when dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
}

impl Proxy {
    /// Before a server at `http://HOST:PORT`.
    pub fn start(server: &str) -> Proxy {
        let server = server.trim_start_matches("http://").to_string();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.state.lock().unwrap().stopping {
                    return;
                }
                let (shared, server) = (accepting.clone(), server.clone());
                // A client that goes away is its own business.
                std::thread::spawn(move || stream.map(|stream| serve(&shared, &server, stream)));
            }
        });
        Proxy { shared, port }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on, requests whose first line or body contains `part` have this fate.
    pub fn rule(&self, part: &str, fate: Fate) {
        self.rule_times(part, fate, 0, usize::MAX);
    }

    /// After `skip` such requests the next `times` have this fate.
    pub fn rule_times(&self, part: &str, fate: Fate, skip: usize, times: usize) {
        self.shared.state.lock().unwrap().rules.push(Rule { part: part.into(), fate, skip, times });
    }

    /// All rules are forgotten, and what was seen.
    pub fn forget(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.rules.clear();
        state.seen.clear();
    }

    /// How many requests with this part were answered, by whomever.
    pub fn count(&self, part: &str) -> usize {
        self.shared.state.lock().unwrap().seen.iter().filter(|text| text.contains(part)).count()
    }

    /// First line and body of the requests with this part.
    pub fn bodies(&self, part: &str) -> Vec<String> {
        let state = self.shared.state.lock().unwrap();
        state.seen.iter().filter(|text| text.contains(part)).cloned().collect()
    }

    /// Waits until so many requests with this part were answered.
    pub fn wait_for(&self, part: &str, count: usize) {
        let state = self.shared.state.lock().unwrap();
        let few = |state: &mut State| state.seen.iter().filter(|text| text.contains(part)).count() < count;
        let (_state, waited) = self.shared.changed.wait_timeout_while(state, Duration::from_secs(120), few).unwrap();
        assert!(!waited.timed_out(), "fewer than {count} requests of {part}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().stopping = true;
        self.shared.changed.notify_all();
        // Wakes the accepting thread.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(shared: &Shared, server: &str, mut client: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let (mut head, mut length, mut chunked) = (first.clone(), 0, false);
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or((&header, ""));
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", value) => length = value.parse().unwrap_or(0),
            ("transfer-encoding", value) => chunked = value.contains("chunked"),
            ("expect", _) => {
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                continue;
            }
            ("connection", _) => continue,
            _ => {}
        }
        head.push_str(&header);
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16).unwrap_or(0);
            let mut chunk = vec![0; size + 2];
            if size > 0 {
                reader.read_exact(&mut chunk)?;
            }
            body.extend(line.as_bytes());
            body.extend(&chunk[..if size > 0 { size + 2 } else { 0 }]);
            if size == 0 {
                // Trailers, up to an empty line.
                let mut trailer = String::new();
                while reader.read_line(&mut trailer)? > 2 {
                    body.extend(std::mem::take(&mut trailer).as_bytes());
                }
                body.extend(b"\r\n");
                break;
            }
        }
    } else {
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
    }
    let text = format!("{}\n{}", first.trim(), String::from_utf8_lossy(&body[..body.len().min(64 << 10)]));
    let fate = {
        let mut state = shared.state.lock().unwrap();
        let meant = |rule: &&mut Rule| rule.times > 0 && text.contains(&rule.part);
        state.rules.iter_mut().find(meant).and_then(|rule| {
            if rule.skip > 0 {
                rule.skip -= 1;
                return None;
            }
            rule.times -= 1;
            Some(rule.fate.clone())
        })
    };
    let answer = match &fate {
        Some(Fate::Answer(status, body)) => {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            [head.as_bytes(), body.as_bytes()].concat()
        }
        _ => {
            let mut upstream = TcpStream::connect(server)?;
            upstream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
            upstream.write_all(&body)?;
            let mut answer = Vec::new();
            upstream.read_to_end(&mut answer)?;
            answer
        }
    };
    let mut state = shared.state.lock().unwrap();
    state.seen.push(text);
    shared.changed.notify_all();
    match fate {
        Some(Fate::LostAnswer) => return client.shutdown(Shutdown::Both),
        Some(Fate::NoAnswer) => {
            drop(shared.changed.wait_while(state, |state| !state.stopping).unwrap());
            return Ok(());
        }
        _ => drop(state),
    }
    let answer = match fate {
        Some(Fate::Altered(old, new)) => {
            assert_eq!(old.len(), new.len());
            let at = answer.windows(old.len()).position(|window| window == old.as_bytes());
            let mut answer = answer;
            if let Some(at) = at {
                answer[at..at + new.len()].copy_from_slice(new.as_bytes());
            }
            answer
        }
        _ => answer,
    };
    client.write_all(&answer)?;
    client.shutdown(Shutdown::Write)
}
