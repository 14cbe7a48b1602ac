//! A QEMU whose hardware a test drives.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use crate::Qemu;

/// A [`Qemu`] that stands still, and its qtest socket: reads and writes of ports and memory, without a guest.
#[derive(Debug)]
pub struct Qtest {
    socket: BufReader<UnixStream>,
    #[expect(dead_code, reason = "runs until this is dropped")]
    qemu: Qemu,
}

impl Qtest {
    /// Starts QEMU with these arguments, as [`Qemu::start`] does, and connects. `None` if QEMU is not installed.
    ///
    /// # Panics
    ///
    /// If QEMU opens no socket in a minute.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let qtest = [
            "-qtest",
            "unix:qtest.sock,server=on,wait=off",
            "-qtest-log",
            "/dev/null",
        ];
        let qemu = Qemu::start(&[&qtest, arguments].concat())?;
        // QEMU opens it after that of QMP, on which it was waited.
        let path = qemu.folder().join("qtest.sock");
        let mut attempts = (0..6000).map(|_| {
            thread::sleep(Duration::from_millis(10));
            UnixStream::connect(&path)
        });
        let socket = BufReader::new(attempts.find_map(Result::ok).expect("a socket after a minute"));
        Some(Self { socket, qemu })
    }

    /// Gives a command (`outb 0x70 0x0`) and returns what comes after `OK`.
    ///
    /// # Panics
    ///
    /// If QEMU does not say OK.
    pub fn command(&mut self, command: &str) -> String {
        writeln!(self.socket.get_mut(), "{command}").expect("QEMU listens");
        let mut line = String::new();
        self.socket.read_line(&mut line).expect("QEMU answers");
        let answer = line.trim().strip_prefix("OK");
        let answer = answer.unwrap_or_else(|| panic!("{command}: {line}"));
        answer.trim().to_owned()
    }

    /// Gives a command that answers with a number, such as `inl 0xcfc` or `readq 0x1000`.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn number(&mut self, command: &str) -> u64 {
        let answer = self.command(command);
        u64::from_str_radix(answer.trim_start_matches("0x"), 16)
            .unwrap_or_else(|error| panic!("{command}: {answer}: {error}"))
    }
}
