//! What KVM costs beside bare ioctls.
//!
//! Every row does the same thing twice, in turns: through `flatview-kvm`, on a [machine](machine::Machine), and with
//! nothing but `kvm-ioctls`, on a [bare one](bare::Bare). Guests are the same bytes in the same mode.
//!
//! Unlike elsewhere it is wall time that counts: the kernel waits for its own readers when a slot goes, and where the
//! host takes the processor away, the thread's time is set right later, in leaps that are longer than what is measured.
//!
//! - [`slots`]: what changes of the map cost.
//! - [`exits`]: accesses that come out to a device.
//! - [`dirty`]: harvests of dirty pages.

mod bare;
mod dirty;
mod exits;
mod guest;
mod machine;
mod slots;

use std::time::Instant;

use flatview_bench::measure::Cost;

use crate::table::{Gates, Result, Row, US, ratio};

const GROUP: &str = "kvm";

pub(crate) fn kvm(gates: &mut Gates) -> Result<()> {
    // It says so on stderr where there is none.
    if !flatview_testkit::kvm() {
        return Ok(());
    }
    slots::few(gates)?;
    slots::while_running(gates)?;
    slots::many(gates)?;
    exits::exits(gates)?;
    dirty::harvests(gates)
}

/// How many times as much as the bare ioctls something costs.
fn row(gates: &mut Gates, what: String, [ours, bare]: [Cost; 2]) -> &mut Row {
    gates
        .add(GROUP, what, "x", ratio(ours, bare))
        .beside("us", ours.least / US)
        .beside("bare us", bare.least / US)
}

/// The nanoseconds that `work` takes, by the clock on the wall.
fn wall(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_nanos() as f64)
}
