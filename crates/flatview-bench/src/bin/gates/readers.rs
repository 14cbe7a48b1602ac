//! What readers on two threads, and commits, do to each other.

use std::time::{Duration, Instant};

use flatview_bench::measure::Cost;
use flatview_bench::readers::{Runs, Scene, run, with_commits};

use crate::table::{Gates, Result, exactly};

pub(crate) fn readers(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "readers";
    /// So many runs side by side make a verdict.
    const ENOUGH: usize = 5;
    // Shorter than what the scheduler gives at once, so that some runs are undisturbed on a busy machine.
    let duration = Duration::from_millis(6);
    let rounds = (gates.budget.as_millis() / 4).max(20);
    let scene = Scene::new()?;
    let looks = |_| scene.looks();
    let loads = |_| scene.loads();
    let mut commit = scene.commits();
    let [mut load1, mut load2, mut load3, mut look1, mut look2, mut look3] =
        [(); 6].map(|()| Runs::default());
    let mut rates = Vec::new();
    let begin = Instant::now();
    let enough = |runs: &Runs| runs.counts().0 >= ENOUGH;
    for round in 0.. {
        let all_enough = [&load2, &look2, &load3, &look3].into_iter().all(enough);
        if round >= rounds && (all_enough || begin.elapsed() > gates.budget * 25) {
            break;
        }
        load1.add(run(1, duration, loads));
        look1.add(run(1, duration, looks));
        load2.add(run(2, duration, loads));
        look2.add(run(2, duration, looks));
        for (runs, is_look) in [(&mut load3, false), (&mut look3, true)] {
            let (rate, result) = with_commits(&mut commit, || match is_look {
                true => run(2, duration, looks),
                false => run(2, duration, loads),
            });
            // A committer that did not get its turn would make it look better than it is.
            if rate > 9_000.0 {
                runs.add(result);
                rates.push(rate);
            }
        }
    }
    // The median: the least would be a run in which few commits fell.
    let of = |one: &Runs, two: &Runs| 100.0 * one.cost().median / two.cost().median;
    for (what, load, looked, limit) in [
        ("2 threads, of the bare load's", &load2, &look2, 95.0),
        ("and 10000 commits/s", &load3, &look3, 80.0),
    ] {
        let (loads, looks) = (of(&load1, load), of(&look1, looked));
        let (side_by_side, all) = looked.counts();
        let row = gates.add(GROUP, what, "%", exactly(100.0 * looks / loads));
        row.beside("load scales %", loads)
            .beside("look-up scales %", looks)
            .beside("load ns", load.cost().median)
            .beside("look-up ns", looked.cost().median)
            .beside(&format!("runs side by side of {all}"), side_by_side as f64);
        if enough(load) && enough(looked) {
            row.at_least(limit);
        }
    }
    if let Some(row) = gates.rows.last_mut().filter(|_| !rates.is_empty()) {
        row.beside("commits/s", Cost::of(rates).median);
    }
    Ok(())
}
