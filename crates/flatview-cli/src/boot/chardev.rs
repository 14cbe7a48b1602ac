//! Where a serial port or a debug console leads.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;

use super::console::Console;
use crate::error::BootError;
use crate::output;

/// Where a serial port or a debug console leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chardev {
    /// Standard output, and standard input if the device takes any.
    Stdio,
    /// A file, which is made or emptied.
    File(PathBuf),
    /// A pseudo terminal, which another program opens.
    Pty,
    /// Nowhere.
    None,
}

impl FromStr for Chardev {
    type Err = String;

    fn from_str(text: &str) -> Result<Chardev, String> {
        match text {
            "stdio" => Ok(Chardev::Stdio),
            "pty" => Ok(Chardev::Pty),
            "none" => Ok(Chardev::None),
            _ => match text.strip_prefix("file:") {
                Some(path) if !path.is_empty() => Ok(Chardev::File(path.into())),
                _ => Err("expected stdio, file:PATH, pty or none".into()),
            },
        }
    }
}

/// What a device writes to, and what is read for it.
pub(crate) struct Open {
    pub(crate) output: Box<dyn Write + Send>,
    /// Another end than standard input.
    pub(crate) input: Option<File>,
}

impl Chardev {
    /// Opens it. For messages: `option` names the option that asks for it, `what` who is connected.
    pub(crate) fn open(
        &self,
        option: &'static str,
        what: &str,
        console: &Console,
    ) -> Result<Open, BootError> {
        let output: Box<dyn Write + Send> = match self {
            Chardev::Stdio => Box::new(console.clone()),
            Chardev::None => Box::new(io::sink()),
            Chardev::File(path) => {
                let file = File::create(path);
                Box::new(file.map_err(|why| BootError::Chardev {
                    option,
                    path: path.clone(),
                    why,
                })?)
            }
            Chardev::Pty => {
                let (master, name) = open_pty().map_err(BootError::Pty)?;
                output::error(&format!("flatview: {what} is on {name}\n"));
                let input = master.try_clone().map_err(BootError::Pty)?;
                return Ok(Open {
                    output: Box::new(Lossy(master)),
                    input: Some(input),
                });
            }
        };
        Ok(Open { output, input: None })
    }
}

/// A pseudo terminal: our end, and the name of the other.
fn open_pty() -> io::Result<(File, String)> {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    // What is written must not come back as input: the terminal behind it is not a person's.
    let mut modes = rustix::termios::tcgetattr(&master)?;
    modes.make_raw();
    rustix::termios::tcsetattr(&master, rustix::termios::OptionalActions::Now, &modes)?;
    // Nobody may be at the other end: a guest that talks to nobody does not stop.
    let flags = rustix::fs::fcntl_getfl(&master)?;
    rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
    Ok((File::from(master), name.to_string_lossy().into_owned()))
}

/// Writes what the other end takes, and drops the rest, as a serial line does.
struct Lossy(File);

impl Write for Lossy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(bytes.len()),
            done => done,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn names() {
        assert_eq!("stdio".parse(), Ok(Chardev::Stdio));
        assert_eq!("file:a:b".parse(), Ok(Chardev::File("a:b".into())));
        for wrong in ["", "file", "file:", "tty", "stdio "] {
            assert!(wrong.parse::<Chardev>().is_err(), "{wrong}");
        }
    }
}
