//! System control port A: the A20 gate and a reset, at port 0x92.

use std::sync::{Arc, Mutex};

use crate::device::ResetMut;
use crate::devices::{ByteDevice, Bytes, DeviceRegion};
use crate::irq::IrqLine;

const RESET: u8 = 1;
const A20: u8 = 1 << 1;

/// Port 0x92.
#[derive(Debug)]
pub struct Port92 {
    value: u8,
    a20: IrqLine,
    reset: IrqLine,
}

impl Port92 {
    /// `a20` is high while the guest wants address bit 20; the board closes the gate only when neither this nor the
    /// keyboard controller wants it, or lets the last word count, as QEMU does. `reset` pulses when the guest wants a
    /// reset; whoever hears it notes it down, for this device is locked.
    pub fn new(a20: IrqLine, reset: IrqLine) -> Arc<Mutex<Port92>> {
        Arc::new(Mutex::new(Port92 { value: 0, a20, reset }))
    }

    /// `port92`, 1 port at 0x92.
    pub fn region(this: &Arc<Mutex<Port92>>) -> DeviceRegion {
        Bytes::region(this, (), "port92", 0x92, 1)
    }
}

impl ByteDevice for Port92 {
    type Part = ();

    fn read(&mut self, (): (), _: u64) -> u8 {
        self.value
    }

    fn write(&mut self, (): (), _: u64, value: u8) {
        let rises = value & !self.value;
        self.value = value;
        self.a20.set(value & A20 != 0);
        if rises & RESET != 0 {
            self.reset.pulse();
        }
    }
}

/// The gate stays as it is: the board opens it for the CPU.
impl ResetMut for Port92 {
    fn reset(&mut self) {
        self.value &= !RESET;
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::device::lock;
    use crate::irq::probe::Probe;

    #[test]
    fn a_reset_is_an_edge_and_a20_is_a_level() {
        let ((a20, a20_line), (reset, reset_line)) = (Probe::new(), Probe::new());
        let port = Port92::new(a20_line, reset_line);
        let steps = [
            (0x02, true, 0),
            (0x03, true, 1),
            (0x01, false, 0),
            (0x00, false, 0),
            (0x01, false, 1),
        ];
        for (value, level, resets) in steps {
            lock(&port).write((), 0, value);
            assert_eq!(
                (lock(&port).read((), 0), a20.level(), reset.rises()),
                (value, level, resets)
            );
        }
        lock(&port).reset();
        assert_eq!(lock(&port).read((), 0), 0);
    }
}
