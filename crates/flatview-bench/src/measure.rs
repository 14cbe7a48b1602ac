//! Thread CPU time, and the least and the median of many repetitions.
//!
//! The machines this runs on are shared. What another tenant takes away shows in wall time, not in the CPU
//! time of the thread; what he does to caches and clocks shows in both, so the least of many repetitions is
//! what is compared, and the median is told beside it.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// The CPU time that this thread has used so far.
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or_default(),
        time.tv_nsec.try_into().unwrap_or_default(),
    )
}

/// Nanoseconds of CPU time for one operation.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// The least of all repetitions.
    pub least: f64,
    /// The median of all repetitions.
    pub median: f64,
}

impl Cost {
    /// From the cost of one operation in each repetition.
    ///
    /// # Panics
    ///
    /// Without any.
    pub fn of(mut repetitions: Vec<f64>) -> Cost {
        repetitions.sort_by(f64::total_cmp);
        Cost {
            least: *repetitions.first().expect("at least one repetition"),
            median: repetitions[repetitions.len() / 2],
        }
    }

    /// The same in a unit of `nanoseconds` nanoseconds.
    pub fn per(self, nanoseconds: f64) -> Cost {
        Cost {
            least: self.least / nanoseconds,
            median: self.median / nanoseconds,
        }
    }
}

/// The CPU time that `work` takes, in nanoseconds.
pub fn once<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begin = thread_cpu_time();
    let result = work();
    let spent = thread_cpu_time() - begin;
    (spent.as_nanos() as f64, result)
}

/// Repeats `work`, which does `operations` operations, for `budget` of wall time and at least thrice, after
/// one time that does not count.
pub fn repeat(budget: Duration, operations: usize, mut work: impl FnMut()) -> Cost {
    work();
    let mut repetitions = Vec::new();
    let begin = Instant::now();
    while repetitions.len() < 3 || begin.elapsed() < budget {
        let (spent, ()) = once(&mut work);
        repetitions.push(spent / operations as f64);
    }
    Cost::of(repetitions)
}

/// Several ways to do the same, in turns, so that what disturbs the machine disturbs all of them. Each returns the
/// nanoseconds that one operation took. For `budget` of wall time and at least thrice, after one turn that does not
/// count.
///
/// # Errors
///
/// The first that one of them returns.
pub fn in_turns<const N: usize, E>(
    budget: Duration,
    mut ways: [&mut dyn FnMut() -> Result<f64, E>; N],
) -> Result<[Cost; N], E> {
    let mut repetitions: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for way in &mut ways {
        way()?;
    }
    let begin = Instant::now();
    while repetitions.iter().any(|all| all.len() < 3) || begin.elapsed() < budget {
        for (all, way) in repetitions.iter_mut().zip(&mut ways) {
            all.push(way()?);
        }
    }
    Ok(repetitions.map(Cost::of))
}
