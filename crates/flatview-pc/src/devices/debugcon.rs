//! The debug console: a port to which firmware writes its log.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};

use crate::devices::{ByteDevice, Bytes, DeviceRegion};

/// What a read finds, so that firmware knows that somebody listens (QEMU's default for `readback`).
const READBACK: u8 = 0xe9;

/// QEMU's `isa-debugcon`: what is written to its port goes to a [`Write`], byte by byte, and is flushed.
pub struct Debugcon {
    out: Box<dyn Write + Send>,
}

impl Debugcon {
    /// A console that writes to `out`; what that fails to take is lost.
    pub fn new(out: Box<dyn Write + Send>) -> Arc<Mutex<Debugcon>> {
        Arc::new(Mutex::new(Debugcon { out }))
    }

    /// `isa-debugcon`, 1 port at `port`: SeaBIOS and OVMF write to 0x402.
    pub fn region(this: &Arc<Mutex<Debugcon>>, port: u16) -> DeviceRegion {
        Bytes::region(this, (), "isa-debugcon", port.into(), 1)
    }
}

impl ByteDevice for Debugcon {
    type Part = ();

    fn read(&mut self, (): (), _: u64) -> u8 {
        READBACK
    }

    fn write(&mut self, (): (), _: u64, value: u8) {
        let _ = self.out.write_all(&[value]).and_then(|()| self.out.flush());
    }
}

impl fmt::Debug for Debugcon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Debugcon").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod test {
    use std::sync::mpsc;

    use super::*;
    use crate::device::lock;

    struct Lines(mpsc::Sender<u8>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            for &byte in bytes {
                self.0.send(byte).map_err(std::io::Error::other)?;
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn it_says_that_it_is_there_and_takes_every_byte() {
        let (sender, receiver) = mpsc::channel();
        let console = Debugcon::new(Box::new(Lines(sender)));
        assert_eq!(lock(&console).read((), 0), 0xe9);
        for byte in *b"log\n" {
            lock(&console).write((), 0, byte);
        }
        assert_eq!(receiver.try_iter().collect::<Vec<u8>>(), b"log\n");
        drop(receiver);
        lock(&console).write((), 0, b'!');
    }
}
