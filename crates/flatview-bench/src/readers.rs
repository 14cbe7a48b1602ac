//! Look-ups on several threads, with and without commits.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::addresses::{LOOKUPS, Pattern, throughput};
use crate::measure::{Cost, thread_cpu_time};
use crate::peers::BareStarts;
use crate::scenes::{Others, Windows};

/// What threads look at while another one changes it: 1,000 windows, and bare words to load beside them.
#[derive(Debug)]
pub struct Scene {
    windows: Windows,
    bare: BareStarts,
    pattern: Pattern,
}

impl Scene {
    const COUNT: usize = 1_000;

    /// With all windows there.
    ///
    /// # Errors
    ///
    /// What [`Windows::new`] says.
    pub fn new() -> Result<Scene, flatview::Error> {
        Ok(Scene {
            windows: Windows::new(Scene::COUNT, Others::None)?,
            bare: BareStarts::windows(Scene::COUNT),
            pattern: Pattern::windows(Scene::COUNT),
        })
    }

    /// One thread's work: look-ups.
    pub fn looks(&self) -> impl FnMut() {
        let mut reader = self.windows.space.reader();
        move || {
            throughput(self.pattern, |a| {
                reader
                    .find(a)
                    .map_or(0, |range| range.start() ^ range.offset_in_region())
            });
        }
    }

    /// One thread's work: loads that go nowhere else.
    pub fn loads(&self) -> impl FnMut() {
        || throughput(self.pattern, |a| a ^ self.bare.load())
    }

    /// Each call takes a window out, or puts it back, and touches the bare words.
    pub fn commits(&self) -> impl FnMut() + Send {
        let mut enabled = true;
        move || {
            enabled = !enabled;
            self.bare.touch();
            let toggled = self.windows.set(Scene::COUNT / 2, enabled);
            toggled.expect("a window can be toggled");
        }
    }
}

/// What threads that ran at the same time did.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Nanoseconds of its own CPU time that a thread needs for an operation, the mean of all threads.
    pub nanoseconds: f64,
    /// The least share of a core that any of the threads had. Only if all had nearly a core each did they run
    /// side by side, and only then does the run say anything about how they disturb each other.
    pub share: f64,
}

/// Gives this thread a core that the other numbers do not get, as far as there are enough. For runs of a few
/// milliseconds the scheduler does not move threads that happen to wake on one core.
fn take_core(number: usize) {
    let Ok(mine) = sched_getaffinity(None) else { return };
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| mine.is_set(core)).cycle();
    if let Some(core) = cores.nth(number) {
        let mut only = CpuSet::new();
        only.set(core);
        // Without it the run tells by its share that it was not side by side.
        let _ = sched_setaffinity(None, &only);
    }
}

/// Lets so many threads work for `duration`, each on a core of its own. Each makes its own work, one call of which is [`LOOKUPS`]
/// operations.
///
/// # Panics
///
/// If a thread panics.
pub fn run<W: FnMut()>(threads: usize, duration: Duration, make: impl Fn(usize) -> W + Sync) -> Run {
    let barrier = Barrier::new(threads);
    let one = |number| {
        take_core(number);
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

/// Several runs of one kind.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    side_by_side: Vec<f64>,
    others: Vec<f64>,
}

impl Runs {
    /// Takes a run into account.
    pub fn add(&mut self, run: Run) {
        match run.share > 0.8 {
            true => self.side_by_side.push(run.nanoseconds),
            false => self.others.push(run.nanoseconds),
        }
    }

    /// How many runs were side by side, of how many.
    pub fn counts(&self) -> (usize, usize) {
        let count = self.side_by_side.len();
        (count, count + self.others.len())
    }

    /// The cost of an operation in the runs side by side; in all if none was.
    pub fn cost(&self) -> Cost {
        Cost::of(match self.side_by_side.is_empty() {
            true => self.others.clone(),
            false => self.side_by_side.clone(),
        })
    }
}
