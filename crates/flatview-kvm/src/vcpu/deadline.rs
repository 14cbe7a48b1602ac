//! The timer that gets a vCPU out when its deadline has come.

use std::io;

use flatview_accel::Control;

use crate::sys::ThreadTimer;

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
    pub(super) fn arm(&mut self, control: &Control, thread: i32) -> io::Result<()> {
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
            timer.set(deadline.saturating_sub(control.clock().now()))?;
            self.armed = Some(deadline);
        }
        Ok(())
    }

    /// A signal came. It may have been the timer's: it does not come again.
    pub(super) fn forget(&mut self) {
        self.armed = None;
    }
}
