//! Timers of devices, by the guest's clock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use flatview_accel::Control;

use crate::device::lock;

type Callback = Arc<dyn Fn() + Send + Sync>;

/// The end of time, in nanoseconds: 146 years. A clock that counts instructions goes to the next deadline at once when
/// the guest halts; deadlines that a guest sets up to the last one of 64 bits would bring it to where sums overflow.
const NEVER: u64 = 1 << 62;

/// All timers of a machine. The machine's loop [runs those that are due](Self::run_due); the vCPU's deadline is always
/// the earliest of them.
pub struct TimerQueue {
    control: Arc<Control>,
    armed: Mutex<Armed>,
}

#[derive(Default)]
struct Armed {
    /// By deadline, and by number for those with the same one.
    queue: BTreeMap<(u64, u64), Callback>,
    timers: u64,
}

impl TimerQueue {
    /// No timers; `control` is that of the vCPU whose thread runs them.
    pub fn new(control: Arc<Control>) -> Arc<TimerQueue> {
        Arc::new(TimerQueue {
            control,
            armed: Mutex::default(),
        })
    }

    /// The guest's time in nanoseconds.
    pub fn now(&self) -> u64 {
        self.control.clock().now()
    }

    /// A timer that calls `callback` when its deadline has come. A device that owns its timer gives a [`Weak`] of
    /// itself to `callback`. No lock of the queue is held in the callback; it may arm timers, this one too.
    pub fn timer(self: &Arc<TimerQueue>, callback: impl Fn() + Send + Sync + 'static) -> Timer {
        let mut armed = lock(&self.armed);
        armed.timers += 1;
        Timer {
            number: armed.timers,
            deadline: None,
            callback: Arc::new(callback),
            queue: Arc::downgrade(self),
        }
    }

    /// Calls the callbacks of all timers whose deadline has come, the earliest first.
    pub fn run_due(&self) {
        let now = self.now();
        loop {
            let due = {
                let mut armed = lock(&self.armed);
                let due = match armed.queue.first_entry() {
                    Some(first) if first.key().0 <= now => Some(first.remove()),
                    _ => None,
                };
                self.tell(&armed);
                due
            };
            let Some(callback) = due else { return };
            callback();
        }
    }

    /// The earliest deadline.
    pub fn deadline(&self) -> Option<u64> {
        lock(&self.armed)
            .queue
            .keys()
            .next()
            .map(|&(deadline, _)| deadline)
    }

    fn tell(&self, armed: &Armed) {
        let first = armed
            .queue
            .keys()
            .next()
            .map_or(u64::MAX, |&(deadline, _)| deadline);
        self.control.set_deadline(first);
    }
}

impl fmt::Debug for TimerQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerQueue")
            .field("now", &self.now())
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}

/// A device's timer: [`TimerQueue::timer`]. Dropped, it never fires.
pub struct Timer {
    number: u64,
    deadline: Option<u64>,
    callback: Callback,
    queue: Weak<TimerQueue>,
}

impl Timer {
    /// Fires at `deadline`, in nanoseconds of the guest's clock, instead of whenever it was to fire before. A deadline
    /// in the past fires as soon as the machine's loop comes around; one in 146 years or later never does.
    pub fn arm(&mut self, deadline: u64) {
        self.replace(Some(deadline));
    }

    /// Does not fire.
    pub fn disarm(&mut self) {
        self.replace(None);
    }

    fn replace(&mut self, deadline: Option<u64>) {
        let Some(queue) = self.queue.upgrade() else { return };
        let mut armed = lock(&queue.armed);
        if let Some(old) = self.deadline {
            armed.queue.remove(&(old, self.number));
        }
        self.deadline = deadline;
        if let Some(new) = deadline.filter(|&new| new < NEVER) {
            armed.queue.insert((new, self.number), Arc::clone(&self.callback));
        }
        queue.tell(&armed);
    }

    /// When it fires, or fired last; `None` if it is disarmed.
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.disarm();
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod test {
    use flatview_accel::Clock;

    use super::*;

    fn queue() -> (Arc<TimerQueue>, Arc<Control>) {
        let control = Arc::new(Control::new(Clock::counted(0)));
        (TimerQueue::new(Arc::clone(&control)), control)
    }

    #[test]
    fn timers_fire_in_order_of_their_deadlines_and_once() {
        let (queue, control) = queue();
        let fired = Arc::new(Mutex::new(Vec::new()));
        let timer = |name: u32| {
            let fired = Arc::clone(&fired);
            queue.timer(move || lock(&fired).push(name))
        };
        let (mut first, mut second, mut never) = (timer(1), timer(2), timer(3));
        second.arm(20);
        first.arm(10);
        never.arm(5);
        never.disarm();
        assert_eq!(control.deadline(), 10);
        control.clock().advance_to(15);
        queue.run_due();
        assert_eq!((lock(&fired).clone(), control.deadline()), (vec![1], 20));
        control.clock().advance_to(20);
        queue.run_due();
        queue.run_due();
        assert_eq!((lock(&fired).clone(), control.deadline()), (vec![1, 2], u64::MAX));
    }

    #[test]
    fn a_halted_guest_does_not_bring_a_counted_clock_to_its_end() {
        let (queue, control) = queue();
        let mut timer = queue.timer(|| {});
        timer.arm(u64::MAX - 1);
        assert_eq!((queue.deadline(), control.deadline()), (None, u64::MAX));
        timer.arm(NEVER - 1);
        control.wait();
        assert_eq!(control.clock().now(), NEVER - 1);
        queue.run_due();
        timer.arm(control.clock().now() + 10);
        assert_eq!(queue.deadline(), None);
    }

    #[test]
    fn a_callback_arms_its_own_timer_and_a_dropped_timer_is_gone() {
        let (queue, control) = queue();
        let timer: Arc<Mutex<Option<Timer>>> = Arc::default();
        let weak = Arc::downgrade(&timer);
        *lock(&timer) = Some(queue.timer(move || {
            let timer = weak.upgrade().expect("alive");
            if let Some(timer) = lock(&timer).as_mut() {
                timer.arm(timer.deadline().unwrap_or(0) + 10);
            }
        }));
        if let Some(timer) = lock(&timer).as_mut() {
            timer.arm(10);
        }
        control.clock().advance_to(35);
        queue.run_due();
        assert_eq!(queue.deadline(), Some(40), "10, 20 and 30 have fired");
        drop(timer);
        assert_eq!(queue.deadline(), None);
    }
}
