//! What the PC16550D's datasheet says.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::irq::probe::Probe;

/// All registers after power-on.
const POWER_ON: [u8; 8] = [0, 0, 0x01, 0, 0x08, 0x60, 0xb0, 0];

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Bench {
    serial: Arc<Serial>,
    irq: Arc<Probe>,
    out: Sink,
}

impl Bench {
    fn new() -> Bench {
        let (irq, line) = Probe::new();
        let out = Sink::default();
        Bench {
            serial: Serial::new(line, Box::new(out.clone())),
            irq,
            out,
        }
    }

    fn registers(&self) -> [u8; 8] {
        [0, 1, 2, 3, 4, 5, 6, 7].map(|offset| self.read(offset))
    }

    fn read(&self, offset: u64) -> u8 {
        let value = MemoryRegionOps::read(&*self.serial, offset, 1, MemTxAttrs::UNSPECIFIED);
        u8::try_from(value.expect("never fails")).expect("a byte")
    }

    fn write(&self, offset: u64, value: u8) {
        MemoryRegionOps::write(&*self.serial, offset, 1, value.into(), MemTxAttrs::UNSPECIFIED)
            .expect("never fails");
    }
}

#[test]
fn registers_after_power_on() {
    assert_eq!(Bench::new().registers(), POWER_ON);
}

#[test]
fn what_the_guest_writes_comes_out() {
    let bench = Bench::new();
    for byte in *b"Hi" {
        bench.write(0, byte);
    }
    bench.write(3, 0x83);
    bench.write(0, 0x01);
    bench.write(1, 0x02);
    assert_eq!((bench.read(0), bench.read(1)), (0x01, 0x02), "the divisor");
    bench.write(3, 0x03);
    bench.write(7, 0x5a);
    assert_eq!((bench.read(7), bench.read(1), bench.read(3)), (0x5a, 0, 0x03));
    assert_eq!(*lock(&bench.out.0), b"Hi");
}

#[test]
fn an_empty_transmitter_interrupts_until_that_was_seen() {
    let bench = Bench::new();
    bench.write(1, 0x02);
    assert!(bench.irq.level(), "it is empty when the interrupt is enabled");
    assert_eq!(
        (bench.read(2), bench.irq.level(), bench.read(2)),
        (0x02, false, 0x01)
    );
    bench.irq.rises();
    bench.write(0, b'x');
    bench.write(0, b'y');
    assert_eq!((bench.irq.level(), bench.irq.rises()), (true, 2));
    bench.write(1, 0x00);
    assert!(!bench.irq.level());
    bench.write(1, 0x02);
    assert_eq!(bench.read(2), 0x02);
}

#[test]
fn what_comes_in_is_held_back_when_the_receiver_is_full() {
    let bench = Bench::new();
    assert_eq!(
        (bench.serial.send(b"abc"), bench.serial.send(b"b")),
        (1, 0),
        "no FIFO"
    );
    assert_eq!((bench.read(5), bench.read(0), bench.read(5)), (0x61, b'a', 0x60));
    bench.write(2, 0x01);
    assert_eq!(bench.serial.send(&[b'x'; 20]), 16);
    assert_eq!(bench.serial.wait_for_room(Duration::ZERO), 0);
    let reader = Arc::clone(&bench.serial);
    let waits = std::thread::spawn(move || reader.wait_for_room(Duration::from_secs(600)));
    bench.read(0);
    assert_eq!(waits.join().expect("no panic"), 1);
    bench.write(2, 0x03);
    assert_eq!(
        (bench.read(5), bench.serial.wait_for_room(Duration::ZERO)),
        (0x60, 16)
    );
}

#[test]
fn received_characters_interrupt_until_they_are_read() {
    let bench = Bench::new();
    bench.write(2, 0x41);
    bench.write(1, 0x03);
    bench.serial.send(b"abcd");
    assert_eq!(
        bench.read(2),
        0xc4,
        "the trigger level is 4; before the empty transmitter"
    );
    bench.read(0);
    assert_eq!(bench.read(2), 0xcc, "below it: the timeout");
    for _ in 0..3 {
        bench.read(0);
    }
    assert_eq!(
        (bench.read(2), bench.read(2), bench.irq.level()),
        (0xc2, 0xc1, false)
    );
}

#[test]
fn loopback_connects_the_port_with_itself() {
    let bench = Bench::new();
    bench.write(1, 0x0c);
    bench.write(4, 0x1a);
    assert_eq!(
        (bench.read(2), bench.read(6)),
        (0x00, 0x90 | 0x02),
        "RTS is CTS, OUT2 is DCD; DSR fell"
    );
    assert!(!bench.irq.level(), "and that was seen");
    bench.write(4, 0x16);
    bench.write(4, 0x10);
    assert_eq!(bench.read(6), 0x0d, "CTS, RI and DCD fell");
    bench.write(0, b'a');
    bench.write(0, b'b');
    assert_eq!((bench.read(2), bench.read(5)), (0x06, 0x63), "overrun");
    assert_eq!((bench.read(0), bench.serial.send(b"c")), (b'a', 0));
    assert!(lock(&bench.out.0).is_empty());
}

#[test]
fn a_reset_forgets_everything() {
    let bench = Bench::new();
    for (offset, value) in [(2, 1), (1, 0x0f), (4, 0x10), (0, b'x'), (7, 1), (3, 3)] {
        bench.write(offset, value);
    }
    bench.serial.reset();
    assert!(!bench.irq.level());
    assert_eq!(bench.registers(), POWER_ON);
}

proptest! {
    #[test]
    fn whatever_a_guest_does_the_line_is_the_identification_and_the_fifo_is_bounded(
        steps in vec((0..8_u64, any::<u8>(), 0..3_u8), 0..100),
    ) {
        let bench = Bench::new();
        for (offset, value, kind) in steps {
            match kind {
                0 => drop(bench.read(offset)),
                1 => bench.write(offset, value),
                _ => drop(bench.serial.send(&vec![value; usize::from(value)])),
            }
            prop_assert!(lock(&bench.serial.state).received.len() <= FIFO);
            let level = bench.irq.level();
            prop_assert_eq!(level, bench.read(2) & 1 == 0);
        }
    }
}
