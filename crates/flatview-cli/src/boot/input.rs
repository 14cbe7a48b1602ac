//! What reaches a running machine from outside: signals, and what somebody types.

use std::io::{self, IsTerminal, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use flatview_pc::device::lock;
use flatview_pc::devices::{I8042, Key};
use flatview_pc::request::{Request, Requests};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::BootError;

/// Says whether a signal has come that ends programs.
pub(super) struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ctrl-C and its like end the machine, in order. The second one ends the program at once.
pub(super) fn on_signals(requests: &Requests) -> Result<Interrupted, BootError> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(BootError::Signals)?;
    let (flag, requests) = (Arc::clone(&interrupted), requests.clone());
    thread::spawn(move || {
        for signal in signals.forever() {
            if flag.swap(true, Ordering::Relaxed) {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            requests.make(Request::Quit);
        }
    });
    Ok(Interrupted(interrupted))
}

/// Takes what is typed as it is typed, without showing it; puts the terminal back when dropped.
pub(super) struct RawTerminal(Termios);

impl RawTerminal {
    /// `None` if standard input is no terminal.
    pub(super) fn enter() -> Option<RawTerminal> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        // Ctrl-C stays a signal: it is how the machine is ended.
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(RawTerminal(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Gives what is typed to `take`, which says how many of the bytes it took; the rest waits.
pub(super) fn forward(mut from: impl Read + Send + 'static, take: impl Fn(&[u8]) -> usize + Send + 'static) {
    thread::spawn(move || {
        let mut buffer = [0; 256];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => read,
                // A pseudo terminal whose other end is closed, or not opened yet, or has nothing to say.
                Err(error)
                    if matches!(error.raw_os_error(), Some(EIO))
                        || error.kind() == io::ErrorKind::WouldBlock =>
                {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let mut left = &buffer[..read];
            while !left.is_empty() {
                let taken = take(left).min(left.len());
                left = &left[taken..];
                if taken == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    });
}

/// Types what a terminal sends on the guest's keyboard. Returns how many of the bytes were typed, or have no key.
pub(super) fn type_on(keyboard: &Mutex<I8042>, bytes: &[u8]) -> usize {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return bytes.len();
    };
    // The Enter and Backspace keys of terminals send these.
    let text = text.replace('\r', "\n").replace('\x7f', "\x08");
    let typed = lock(keyboard).type_text(&text);
    // What has no key is passed over.
    let rest = text[typed..].chars().next();
    typed
        + rest
            .filter(|next| Key::typing(*next).is_none())
            .map_or(0, char::len_utf8)
}

/// The error of a pseudo terminal with nobody at the other end.
const EIO: i32 = 5;
