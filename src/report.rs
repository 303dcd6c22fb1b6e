//! What a person and a build farm see while ingot works.
//!
//! In: steps, their progress, warnings, the lines of programs that run. Out: bars or plain lines on stderr,
//! JSON lines for `--events`, the build's log file. Never writes to stdout, never decides anything.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::error::{Error, Warning};

/// How much is shown on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Steps and warnings.
    Steps,
    /// Steps, warnings and every line of every program.
    Everything,
}

/// Where progress goes. Cheap to clone; safe to use from several threads.
#[derive(Clone)]
pub struct Reporter {
    shared: Arc<Shared>,
    listener: Option<Arc<Listener>>,
    held: Option<Arc<Mutex<Vec<Warning>>>>,
}

/// Hears how many items of how many a step has done.
type Listener = dyn Fn(u64, u64) + Send + Sync;

struct Shared {
    verbosity: Verbosity,
    bars: bool,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    events: Option<File>,
    log: Option<File>,
    kiwi: Option<KiwiLog>,
    warnings: Vec<Warning>,
    clock: fn() -> Duration,
}

/// A log in the form of KIWI's: `[ INFO    ]: HH:MM:SS | text`, in UTC. Errors go to stderr, the rest to stdout.
pub struct KiwiLog {
    /// Lines below this level are left out.
    pub least: Level,
    /// Whether levels are coloured.
    pub colour: Colouring,
    /// Files and sockets that get every line, too.
    pub copies: Vec<Box<dyn Write + Send>>,
}

/// How much a line of KIWI's log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Lines of programs.
    Debug,
    /// Steps.
    Info,
    /// What should be known.
    Warning,
    /// What ended the build.
    Error,
}

/// `--color-output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colouring {
    /// Plain text.
    Off,
    /// Escape sequences of ECMA-48 around each line.
    On,
}

impl KiwiLog {
    fn write(&mut self, level: Level, text: &str, since_1970: Duration) {
        if level < self.least {
            return;
        }
        let (name, colour) = match level {
            Level::Debug => ("DEBUG", "0"),
            Level::Info => ("INFO", "1;32"),
            Level::Warning => ("WARNING", "1;33"),
            Level::Error => ("ERROR", "1;31"),
        };
        let seconds = since_1970.as_secs() % 86_400;
        let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        for line in text.lines() {
            let line = format!("[ {name:<8}]: {time} | {line}");
            for copy in &mut self.copies {
                let _ = writeln!(copy, "{line}");
            }
            let line = match self.colour {
                Colouring::Off => line,
                Colouring::On => format!("\x1b[{colour}m{line}\x1b[0m"),
            };
            // Who stopped reading does not stop the build.
            let _ = match level {
                Level::Error => writeln!(io::stderr(), "{line}"),
                _ => writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush()),
            };
        }
    }
}

impl Reporter {
    /// `events` receives JSON lines; `clock` gives the time since 1970 for their `ts`.
    pub fn new(verbosity: Verbosity, events: Option<File>, clock: fn() -> Duration) -> Reporter {
        let bars = verbosity == Verbosity::Steps && io::stderr().is_terminal();
        let state = State { events, log: None, kiwi: None, warnings: Vec::new(), clock };
        let shared = Arc::new(Shared { verbosity, bars, started: Instant::now(), state: Mutex::new(state) });
        Reporter { shared, listener: None, held: None }
    }

    /// A reporter that speaks as KIWI does.
    pub fn kiwi(log: KiwiLog, events: Option<File>, clock: fn() -> Duration) -> Reporter {
        let reporter = Reporter::new(Verbosity::Quiet, events, clock);
        reporter.state().kiwi = Some(log);
        reporter
    }

    /// A reporter that shows nothing, for tests and library users.
    pub fn silent() -> Reporter {
        Reporter::new(Verbosity::Quiet, None, || Duration::ZERO)
    }

    /// The same reporter, to which somebody listens: `listener` hears how many items of how many a step has done.
    pub fn heard_by(&self, listener: impl Fn(u64, u64) + Send + Sync + 'static) -> Reporter {
        Reporter { listener: Some(Arc::new(listener)), ..self.clone() }
    }

    /// The same reporter, which keeps warnings back until [`Reporter::let_go`]: what warns beside something else would do
    /// so in an order that differs from build to build.
    pub fn holding_back(&self) -> Reporter {
        Reporter { held: Some(Arc::default()), ..self.clone() }
    }

    /// Warns of what was kept back.
    pub fn let_go(self) {
        let held = self.held.as_ref().map(|held| std::mem::take(&mut *locked(held))).unwrap_or_default();
        let open = Reporter { held: None, ..self };
        held.into_iter().for_each(|warning| open.warn(warning));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.shared.state)
    }

    /// From now on, everything that programs print is kept in `file`.
    pub fn log_to(&self, file: File) {
        self.state().log = Some(file);
    }

    /// One line for the log; a write error of the log never fails a build.
    pub fn log_line(&self, line: &str) {
        self.keep(Level::Debug, line);
        if self.shared.verbosity == Verbosity::Everything {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Lines for the log file, and for KIWI's log at this level.
    fn keep(&self, level: Level, text: &str) {
        let mut state = self.state();
        let now = (state.clock)();
        if let Some(file) = &mut state.log {
            let _ = writeln!(file, "{text}");
        }
        if let Some(kiwi) = &mut state.kiwi {
            kiwi.write(level, text, now);
        }
    }

    /// Shows a warning at once and keeps it for the manifest. The same text is kept once.
    pub fn warn(&self, warning: Warning) {
        if let Some(held) = &self.held {
            return locked(held).push(warning);
        }
        if self.state().warnings.contains(&warning) {
            return;
        }
        let place = warning.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        let line = format!("warning: {}{place}", warning.text);
        self.keep(Level::Warning, &line);
        if self.shared.verbosity != Verbosity::Quiet {
            let _ = writeln!(io::stderr(), "{line}");
        }
        self.event(json!({"event": "warning", "text": warning.text, "place": warning.place}));
        self.state().warnings.push(warning);
    }

    /// The warnings so far, in order.
    pub fn warnings(&self) -> Vec<Warning> {
        self.state().warnings.clone()
    }

    /// Begins a step of the pipeline.
    pub fn step(&self, name: &'static str) -> Step {
        self.event(json!({"step": name, "event": "started"}));
        self.log_line(&format!("=== {name}"));
        let bar = if self.shared.bars {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{prefix:>14}  {wide_msg}"));
            bar.set_prefix(name);
            bar.enable_steady_tick(Duration::from_millis(250));
            Some(bar)
        } else {
            None
        };
        let inner = StepState { done: 0, total: 0, bytes: 0, cache: None, last_event: Instant::now(), finished: false };
        Step { reporter: self.clone(), name, started: Instant::now(), bar, state: Mutex::new(inner) }
    }

    /// A line for the person, outside any step (`done in 15.8 s: ...`).
    pub fn say(&self, line: &str) {
        self.keep(Level::Info, line);
        if self.shared.verbosity != Verbosity::Quiet {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Time since the reporter was made.
    pub fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// The last record: a failure.
    pub fn failed(&self, step: Option<&str>, error: &Error) {
        self.keep(Level::Error, &error.text());
        self.event(json!({"step": step, "event": "failed", "error": {
            "code": error.exit().code(), "what": error.what(), "cause": error.causes(), "hint": error.hint_text()}}));
    }

    /// Writes one JSON line to `--events`; `ts` is added in front.
    pub fn event(&self, mut event: Value) {
        let mut state = self.state();
        let ts = timestamp((state.clock)());
        if let (Some(file), Some(object)) = (&mut state.events, event.as_object_mut()) {
            object.shift_insert(0, "ts".into(), ts.into());
            let _ = writeln!(file, "{event}");
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// RFC 3339 in UTC with milliseconds, from the time since 1970.
pub fn timestamp(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs() as i64;
    let (year, month, day) = civil_date(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
        since_1970.subsec_millis()
    )
}

/// Year, month and day of a day number since 1970 in the proleptic Gregorian calendar.
pub fn civil_date(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month + 2) / 5 + 1) as u32;
    let month = if month < 10 { month + 3 } else { month - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A step that is under way. Dropped without [`Step::finish`], it ends as failed.
pub struct Step {
    reporter: Reporter,
    name: &'static str,
    started: Instant,
    bar: Option<ProgressBar>,
    state: Mutex<StepState>,
}

struct StepState {
    done: u64,
    total: u64,
    bytes: u64,
    cache: Option<(u64, u64)>,
    last_event: Instant,
    finished: bool,
}

impl Step {
    fn state(&self) -> MutexGuard<'_, StepState> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The name given to [`Reporter::step`].
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many items the step has; a bar is drawn from now on.
    pub fn total(&self, total: u64) {
        self.state().total = total;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_style(style("{prefix:>14}  [{bar:24}] {pos}/{len}  {wide_msg}"));
        }
    }

    /// `items` more are done, `bytes` more have passed.
    pub fn advance(&self, items: u64, bytes: u64) {
        let mut state = self.state();
        state.done += items;
        state.bytes += bytes;
        let (done, total) = (state.done, state.total);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
        if state.last_event.elapsed() >= Duration::from_millis(200) {
            state.last_event = Instant::now();
            let percent = (state.done * 100).checked_div(state.total).map(|percent| percent.min(100));
            let event = json!({"step": self.name, "event": "progress", "pct": percent,
                "done": state.done, "total": state.total, "bytes": state.bytes});
            drop(state);
            self.reporter.event(event);
        } else {
            drop(state);
        }
        if let Some(listener) = &self.reporter.listener {
            listener(done, total);
        }
    }

    /// What is going on right now: the last line of a program, a package's name.
    pub fn now(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.chars().filter(|char| !char.is_control()).take(60).collect::<String>());
        }
    }

    /// How many items the cache had, and how many had to be made or fetched.
    pub fn cache(&self, hits: u64, misses: u64) {
        self.state().cache = Some((hits, misses));
    }

    /// The reporter that the step belongs to.
    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Ends the step well; `summary` stands beside its name (`171 packages, 98 MB`).
    pub fn finish(self, summary: &str) {
        self.end("finished", summary);
    }

    fn end(&self, event: &str, summary: &str) {
        let mut state = self.state();
        if state.finished {
            return;
        }
        state.finished = true;
        let seconds = self.started.elapsed().as_secs_f64();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let mut record = json!({"step": self.name, "event": event, "summary": summary,
            "seconds": (seconds * 1000.0).round() / 1000.0, "done": state.done, "bytes": state.bytes});
        if let (Some((hits, misses)), Some(record)) = (state.cache, record.as_object_mut()) {
            record.insert("cache".into(), json!({"hits": hits, "misses": misses}));
        }
        self.reporter.event(record);
        if event == "finished" {
            let line = format!("{:>14}  {summary:<56} {seconds:>6.1}s", self.name);
            self.reporter.say(&line);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.end("stopped", "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_that_are_kept_back_come_when_they_are_let_go() {
        let reporter = Reporter::silent();
        let warn = |reporter: &Reporter, text: &str| reporter.warn(Warning { text: text.into(), place: None });
        let beside = reporter.holding_back();
        warn(&beside, "second");
        warn(&reporter, "first");
        beside.let_go();
        let texts: Vec<String> = reporter.warnings().into_iter().map(|warning| warning.text).collect();
        assert_eq!(texts, ["first", "second"]);
    }

    #[test]
    fn timestamps_are_rfc_3339_in_utc() {
        assert_eq!(timestamp(Duration::from_millis(1_795_217_217_102)), "2026-11-20T23:26:57.102Z");
        assert_eq!(timestamp(Duration::ZERO), "1970-01-01T00:00:00.000Z");
        assert_eq!(civil_date(11_016), (2000, 2, 29));
    }
}
