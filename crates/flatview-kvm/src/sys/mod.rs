//! What `kvm-ioctls` and the standard library have no call for.
//!
//! - `ioctls.rs`: calls of KVM.
//! - `kick.rs`: the signal that gets a thread out of `KVM_RUN`. `timer.rs`: the same at a time.
//! - `pages.rs`: memory that the kernel shares with this process.

mod ioctls;
mod kick;
mod pages;
mod timer;

use std::io;

pub(crate) use ioctls::{
    clear_dirty_log, get_dirty_log, interrupt, ioeventfd, irqfd, reset_dirty_rings, set_xsave,
};
pub(crate) use kick::{KickTarget, Thread, install_kick_handler, signal_thread};
pub(crate) use pages::{PAGE, SharedPages};
pub(crate) use timer::ThreadTimer;

/// What a system call that returns -1 says.
fn answer(result: libc::c_int) -> io::Result<()> {
    match result {
        ..0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
