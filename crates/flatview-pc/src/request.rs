//! What devices ask the machine to do.

use std::sync::{Arc, Mutex};

use flatview_accel::{Control, Signals};

use crate::device::lock;

/// What is asked of the machine, which does it when its vCPU has come out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Reset everything. The reason, for messages.
    Reset(&'static str),
    /// The guest switched the machine off.
    PowerOff,
    /// Somebody outside wants it to end.
    Quit,
}

/// Where requests go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Requests {
    pending: Arc<Mutex<Option<Request>>>,
    control: Arc<Control>,
}

impl Requests {
    /// Nothing is asked; `control` is that of the vCPU that has to come out.
    pub fn new(control: &Arc<Control>) -> Requests {
        Requests {
            pending: Arc::default(),
            control: Arc::clone(control),
        }
    }

    /// Asks. What ends the machine is not replaced by what does not.
    pub fn make(&self, request: Request) {
        let mut pending = lock(&self.pending);
        if !matches!(*pending, Some(Request::PowerOff | Request::Quit)) {
            *pending = Some(request);
        }
        drop(pending);
        self.control.raise(Signals::EXIT);
    }

    /// What was asked since the last time.
    pub fn take(&self) -> Option<Request> {
        lock(&self.pending).take()
    }
}
