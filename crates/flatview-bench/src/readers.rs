//! Look-ups on several threads, with and without commits.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::addresses::LOOKUPS;
use crate::measure::thread_cpu_time;

/// What threads that ran at the same time did.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Nanoseconds of its own CPU time that a thread needs for an operation, the mean of all threads.
    pub nanoseconds: f64,
    /// The least share of a core that any of the threads had. Only if all had nearly a core each did they run
    /// side by side, and only then does the run say anything about how they disturb each other.
    pub share: f64,
}

/// Lets so many threads work for `duration`. Each makes its own work, one call of which is [`LOOKUPS`]
/// operations.
///
/// # Panics
///
/// If a thread panics.
pub fn run<W: FnMut()>(threads: usize, duration: Duration, make: impl Fn(usize) -> W + Sync) -> Run {
    let barrier = Barrier::new(threads);
    let one = |number| {
        let mut work = make(number);
        work();
        barrier.wait();
        let (begin, cpu) = (Instant::now(), thread_cpu_time());
        let mut calls = 0;
        while begin.elapsed() < duration {
            work();
            calls += 1;
        }
        let cpu = (thread_cpu_time() - cpu).as_nanos() as f64;
        let share = cpu / begin.elapsed().as_nanos() as f64;
        (cpu / (calls * LOOKUPS) as f64, share)
    };
    let results: Vec<(f64, f64)> = thread::scope(|scope| {
        let one = &one;
        let handles: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || one(number)))
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().expect("no reader panics"))
            .collect()
    });
    Run {
        nanoseconds: results.iter().map(|&(cost, _)| cost).sum::<f64>() / threads as f64,
        share: results.iter().map(|&(_, share)| share).fold(1.0, f64::min),
    }
}

/// Does `work` while another thread calls `commit` 10,000 times a second. Returns the rate that was reached,
/// per second.
///
/// # Panics
///
/// If the other thread panics.
pub fn with_commits<T>(mut commit: impl FnMut() + Send, work: impl FnOnce() -> T) -> (f64, T) {
    const PERIOD: Duration = Duration::from_micros(100);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let committer = scope.spawn(|| {
            let begin = Instant::now();
            let mut commits = 0;
            while !stop.load(Ordering::Relaxed) {
                // Who overslept catches up.
                while PERIOD * commits <= begin.elapsed() && !stop.load(Ordering::Relaxed) {
                    commit();
                    commits += 1;
                }
                thread::sleep((PERIOD * commits).saturating_sub(begin.elapsed()));
            }
            f64::from(commits) / begin.elapsed().as_secs_f64()
        });
        let result = work();
        stop.store(true, Ordering::Relaxed);
        (committer.join().expect("the committer does not panic"), result)
    })
}

/// The best of several runs side by side.
#[derive(Clone, Debug, Default)]
pub struct Best {
    side_by_side: Vec<f64>,
    others: Vec<f64>,
}

impl Best {
    /// Takes a run into account.
    pub fn add(&mut self, run: Run) {
        match run.share > 0.85 {
            true => self.side_by_side.push(run.nanoseconds),
            false => self.others.push(run.nanoseconds),
        }
    }

    /// How many runs were side by side, of how many.
    pub fn counts(&self) -> (usize, usize) {
        let count = self.side_by_side.len();
        (count, count + self.others.len())
    }

    /// Nanoseconds for an operation, the least of the runs side by side; of all if none was.
    pub fn nanoseconds(&self) -> f64 {
        let runs = match self.side_by_side.is_empty() {
            true => &self.others,
            false => &self.side_by_side,
        };
        runs.iter().copied().fold(f64::INFINITY, f64::min)
    }
}
