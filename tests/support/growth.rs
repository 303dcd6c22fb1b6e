//! How the work of something grows with its input, however busy the machine is.
//!
//! In: the same work with an input and with one of four times its size. Out: a panic where it takes far more than four
//! times as much. Never looks at a clock on the wall: what counts is this thread's own processor time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// So many times as much as for a quarter of the input: between four times (linear) and sixteen (quadratic).
const MOST: u32 = 6;
/// Shorter than this is noise.
const LEAST: Duration = Duration::from_millis(2);
/// What disturbs one measurement does not disturb all of them.
const ROUNDS: usize = 5;

/// The processor time that `work` takes in this thread.
pub fn effort(work: impl FnOnce()) -> Duration {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let before = now();
    work();
    now() - before
}

/// Panics where `work` with `large`, four times the input of `small`, takes far more than four times as much.
#[track_caller]
pub fn assert_linear<T>(name: &str, small: &T, large: &T, work: impl Fn(&T)) {
    let (mut of_small, mut of_large) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        of_small = of_small.min(effort(|| work(small)));
        of_large = of_large.min(effort(|| work(large)));
        if of_large <= of_small.max(LEAST) * MOST {
            println!("{name}: {of_small:?}, four times as much: {of_large:?}");
            return;
        }
    }
    panic!("{name}: {of_small:?}, and {of_large:?} for four times as much");
}
