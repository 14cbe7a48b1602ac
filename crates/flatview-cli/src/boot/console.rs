//! Standard output while a guest writes to it, a byte at a time, and we do.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;

/// Standard output. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Console(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The guest has begun a line and not ended it.
    within_line: bool,
    /// Why nothing more can be written.
    failed: Option<io::Error>,
    /// What is done then.
    on_failure: Option<Box<dyn Fn() + Send>>,
}

impl Console {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `stop` when nobody reads any more.
    pub(crate) fn on_failure(&self, stop: impl Fn() + Send + 'static) {
        self.state().on_failure = Some(Box::new(stop));
    }

    /// Prints lines of our own, after the guest's line.
    pub(crate) fn line(&self, text: &str) {
        let mut state = self.state();
        let begin = if state.within_line { "\n" } else { "" };
        state.within_line = false;
        state.put(|out| write!(out, "{begin}{text}"));
    }

    /// Whether everything could be written.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        match self.state().failed.take() {
            Some(error) => Err(Error::Output(error)),
            None => Ok(()),
        }
    }
}

impl State {
    fn put(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if self.failed.is_some() {
            return;
        }
        let mut stdout = anstream::stdout().lock();
        if let Err(error) = write(&mut stdout).and_then(|()| stdout.flush()) {
            self.failed = Some(error);
            if let Some(stop) = &self.on_failure {
                stop();
            }
        }
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        if let Some(last) = bytes.last() {
            state.within_line = *last != b'\n';
        }
        if state.failed.is_none() {
            // As it is: a guest has escape sequences of its own.
            let mut stdout = io::stdout().lock();
            if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
                drop(stdout);
                state.put(|_| Err(error));
            }
        }
        // The guest's device goes on: a serial line does not know who listens.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
