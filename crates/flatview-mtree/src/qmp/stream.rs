//! Connections that end in time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::address::Address;

/// When a step must be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    begin: Instant,
    pub(super) allowed: Duration,
}

impl Deadline {
    pub(super) fn after(allowed: Duration) -> Self {
        Self {
            begin: Instant::now(),
            allowed,
        }
    }

    /// The time that is left; [`ErrorKind::TimedOut`] if there is none.
    fn left(self) -> io::Result<Duration> {
        // Whole microseconds count for the kernel, and none would mean for ever.
        match self.allowed.saturating_sub(self.begin.elapsed()) {
            left if left < Duration::from_micros(1) => Err(ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

/// A connection, of whichever kind.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    pub(super) fn connect(address: &Address, deadline: Deadline) -> io::Result<Self> {
        match address {
            Address::Unix(path) => connect_unix(path, deadline).map(Self::Unix),
            Address::Tcp(host_and_port) => connect_tcp(host_and_port, deadline).map(Self::Tcp),
        }
    }

    /// Reads what is there, at least a byte; 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        loop {
            let left = Some(deadline.left()?);
            let read = match self {
                Self::Unix(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(buffer)),
                Self::Tcp(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(buffer)),
            };
            match read.map_err(timed_out) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    pub(super) fn write_all(&mut self, bytes: &[u8], deadline: Deadline) -> io::Result<()> {
        let left = Some(deadline.left()?);
        match self {
            Self::Unix(stream) => stream
                .set_write_timeout(left)
                .and_then(|()| stream.write_all(bytes)),
            Self::Tcp(stream) => stream
                .set_write_timeout(left)
                .and_then(|()| stream.write_all(bytes)),
        }
        .map_err(timed_out)
    }
}

/// To connect to a Unix socket waits while others wait there already, and std cannot give up.
fn connect_unix(path: &Path, deadline: Deadline) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    loop {
        set_socket_timeout(&socket, Timeout::Send, Some(deadline.left()?))?;
        match connect(&socket, &address) {
            Ok(()) => return Ok(socket.into()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(timed_out(error.into())),
        }
    }
}

fn connect_tcp(host_and_port: &str, deadline: Deadline) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in host_and_port.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, deadline.left()?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What the kernel says when a socket's time is over depends on the call.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => error,
    }
}
