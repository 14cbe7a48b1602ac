//! The timer that gets a vCPU out when its deadline has come.

use std::io;

use flatview_accel::Control;

use crate::sys::{Thread, ThreadTimer};

/// What is set to come at which deadline.
#[derive(Debug, Default)]
pub(super) struct DeadlineTimer {
    /// Made when there is a deadline for the first time, and for each thread anew.
    timer: Option<ThreadTimer>,
    /// The deadline that it is set to.
    armed: Option<u64>,
}

impl DeadlineTimer {
    /// Lets the deadline of `control`, which is to come yet, send the kick signal to `thread`. Asks the kernel only if
    /// it changed. A timer that is set to an earlier time, or a deadline that is gone, costs one exit too many.
    pub(super) fn arm(&mut self, control: &Control, thread: Thread) -> io::Result<()> {
        let deadline = control.deadline();
        if deadline == u64::MAX {
            return Ok(());
        }
        let timer = match &mut self.timer {
            Some(timer) if timer.thread() == thread => timer,
            timer => {
                self.armed = None;
                timer.insert(ThreadTimer::new(thread)?)
            }
        };
        if self.armed != Some(deadline) {
            // Not before the deadline: the time that passes until it is set is added.
            timer.set(deadline.saturating_sub(control.clock().now()))?;
            self.armed = Some(deadline);
        }
        Ok(())
    }

    /// Whether the signal is going to come at the deadline of `control`, or came because of it, or there is none: then
    /// nobody has to look at the clock before a signal comes.
    pub(super) fn is_armed(&self, control: &Control) -> bool {
        let deadline = control.deadline();
        deadline == u64::MAX || self.armed == Some(deadline)
    }
}
