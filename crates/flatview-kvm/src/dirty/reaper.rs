//! The thread that empties dirty rings when nobody else does (rule P21).

use std::convert::Infallible;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::ring;
use crate::KvmError;
use crate::vm::Vm;

/// The thread. It ends, and is waited for, when this is dropped.
#[derive(Debug)]
pub(super) struct Reaper {
    /// Nothing is ever sent: that it goes says enough.
    stop: Option<Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Reaper {
    /// It does not keep the virtual machine alive.
    pub(super) fn start(vm: &Arc<Vm>) -> Result<Reaper, KvmError> {
        let (stop, stopped) = mpsc::channel::<Infallible>();
        let interval = vm.config.dirty_ring_interval.max(Duration::from_millis(1));
        let vm = Arc::downgrade(vm);
        let thread = thread::Builder::new()
            .name("kvm-reaper".into())
            .spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
                    reap(&vm);
                }
            })
            .map_err(KvmError::failed("clone"))?;
        Ok(Reaper {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

fn reap(vm: &Weak<Vm>) {
    let Some(vm) = vm.upgrade() else { return };
    let reaped = ring::reap(&vm, &mut vm.dirty.state(), None);
    if let Err(error) = reaped {
        tracing::warn!(%error, "the dirty rings");
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.stop = None;
        // It may have held the virtual machine last, and then it is this thread.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
