//! What the technical reference says of the controller, the keyboard and the mouse.

use flatview_accel::{Clock, Control};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::irq::probe::Probe;

struct Bench {
    controller: Arc<Mutex<I8042>>,
    timers: Arc<TimerQueue>,
    control: Arc<Control>,
    keyboard: Arc<Probe>,
    mouse: Arc<Probe>,
    a20: Arc<Probe>,
    reset: Arc<Probe>,
}

impl Bench {
    fn new() -> Bench {
        let control = Arc::new(Control::new(Clock::counted(0)));
        let timers = TimerQueue::new(Arc::clone(&control));
        let [keyboard, mouse, a20, reset] = [(); 4].map(|()| Probe::new());
        let lines = I8042Lines {
            keyboard: keyboard.1,
            mouse: mouse.1,
            a20: a20.1,
            reset: reset.1,
        };
        Bench {
            controller: I8042::new(&timers, lines),
            timers,
            control,
            keyboard: keyboard.0,
            mouse: mouse.0,
            a20: a20.0,
            reset: reset.0,
        }
    }

    fn command(&self, command: u8) {
        lock(&self.controller).write(Part::Command, 0, command);
    }

    fn data(&self, value: u8) {
        lock(&self.controller).write(Part::Data, 0, value);
    }

    fn status(&self) -> u8 {
        lock(&self.controller).read(Part::Command, 0)
    }

    fn read(&self) -> u8 {
        lock(&self.controller).read(Part::Data, 0)
    }

    /// Everything there is to read now.
    fn answer(&self) -> Vec<u8> {
        std::iter::from_fn(|| (self.status() & 1 != 0).then(|| self.read())).collect()
    }

    fn ask(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().for_each(|&byte| self.data(byte));
        self.answer()
    }

    fn ask_mouse(&self, bytes: &[u8]) -> Vec<u8> {
        for &byte in bytes {
            self.command(0xd4);
            self.data(byte);
        }
        self.answer()
    }

    /// What comes of the strokes that wait.
    fn typed(&self) -> Vec<u8> {
        let mut read = Vec::new();
        while self.control.deadline() != u64::MAX {
            self.control.clock().advance_to(self.control.deadline());
            self.timers.run_due();
            read.extend(self.answer());
        }
        read
    }
}

#[test]
fn the_controller_answers_its_commands() {
    let bench = Bench::new();
    assert_eq!(bench.status(), 0x18);
    bench.command(0xaa);
    assert_eq!(
        (bench.status(), bench.answer(), bench.status()),
        (0x1d, vec![0x55], 0x1c)
    );
    for (command, answer) in [
        (0x20, 0x03),
        (0xa9, 0x00),
        (0xab, 0x00),
        (0xc0, 0x80),
        (0xd0, 0xcf),
    ] {
        bench.command(command);
        assert_eq!(bench.answer(), [answer], "command {command:#x}");
    }
    for (command, mode) in [(0xa7, 0x23), (0xad, 0x33), (0xa8, 0x13), (0xae, 0x03)] {
        bench.command(command);
        bench.command(0x20);
        assert_eq!(bench.answer(), [mode], "after {command:#x}");
    }
    bench.command(0x60);
    bench.data(0x65);
    bench.command(0x20);
    assert_eq!(bench.answer(), [0x65]);
}

#[test]
fn bytes_that_the_guest_puts_into_the_output_buffer_come_back() {
    let bench = Bench::new();
    bench.command(0xd2);
    bench.data(0x12);
    assert_eq!(
        (bench.status() & 0x21, bench.keyboard.level(), bench.mouse.level()),
        (0x01, true, false)
    );
    assert_eq!((bench.read(), bench.keyboard.level()), (0x12, false));
    bench.command(0xd3);
    bench.data(0xa5);
    assert_eq!(
        (bench.status() & 0x21, bench.keyboard.level(), bench.mouse.level()),
        (0x21, false, true)
    );
    assert_eq!(
        (bench.read(), bench.read(), bench.status() & 0x21),
        (0xa5, 0xa5, 0)
    );
}

#[test]
fn the_output_port_is_a20_and_reset() {
    let bench = Bench::new();
    bench.command(0xd1);
    bench.data(0xdf);
    assert!(bench.a20.level());
    bench.command(0xdd);
    assert!(!bench.a20.level());
    bench.command(0xd0);
    assert_eq!(bench.answer(), [0xcd], "bit 4 is the output buffer");
    bench.command(0xdf);
    bench.command(0xff);
    assert_eq!((bench.a20.level(), bench.reset.rises()), (true, 0));
    bench.command(0xfe);
    assert_eq!(bench.reset.rises(), 1);
    bench.command(0xd1);
    bench.data(0x02);
    assert_eq!(bench.reset.rises(), 1);
}

#[test]
fn the_keyboard_answers_its_commands() {
    let bench = Bench::new();
    assert_eq!(bench.ask(&[0xff]), [0xfa, 0xaa]);
    assert_eq!(bench.ask(&[0xf2]), [0xfa, 0xab, 0x83]);
    assert_eq!(bench.ask(&[0xee]), [0xee]);
    assert_eq!(bench.ask(&[0xed, 0x05]), [0xfa, 0xfa]);
    assert_eq!(lock(&bench.controller).leds(), 5);
    assert_eq!(
        bench.ask(&[0xf3, 0x20, 0xf0, 0x00]),
        [0xfa, 0xfa, 0xfa, 0xfa, 0x02]
    );
    assert_eq!(bench.ask(&[0xfe]), [0x02], "again");
    assert_eq!(bench.ask(&[0xf0, 0x03]), [0xfa, 0xfe], "no set 3");
    assert_eq!(
        bench.ask(&[0xed, 0xf4]),
        [0xfa, 0xfa],
        "a command instead of an argument"
    );
    assert_eq!(bench.ask(&[0x01]), [0xfe]);
    bench.command(0x60);
    bench.data(0x41);
    assert_eq!(bench.ask(&[0xf2]), [0xfa, 0xab, 0x41], "translated");
}

#[test]
fn the_mouse_answers_its_commands() {
    let bench = Bench::new();
    assert_eq!(bench.ask_mouse(&[0xff]), [0xfa, 0xaa, 0x00]);
    assert_eq!(bench.ask_mouse(&[0xf2]), [0xfa, 0x00]);
    assert_eq!(bench.ask_mouse(&[0xf3, 80, 0xe8, 3, 0xe7, 0xf4]), [0xfa; 6]);
    assert_eq!(bench.ask_mouse(&[0xe9]), [0xfa, 0x30, 3, 80]);
    assert_eq!(bench.ask_mouse(&[0xeb]), [0xfa, 0x08, 0, 0]);
    assert_eq!(
        bench.ask_mouse(&[0xee, 0x12, 0xec, 0x12]),
        [0xfa, 0x12, 0xfa, 0xfe]
    );
    bench.command(0xa7);
    assert_eq!(bench.answer(), [0_u8; 0]);
    assert_eq!(bench.ask_mouse(&[0xf6]), [0xfa], "to talk to it enables it");
}

#[test]
fn a_text_is_typed_at_a_speed_that_guests_can_take() {
    let bench = Bench::new();
    bench.command(0x60);
    bench.data(0x41);
    let typed = lock(&bench.controller).type_text("aB\n");
    assert_eq!(typed, 3);
    bench.keyboard.rises();
    assert_eq!(bench.typed(), [0x1e, 0x9e, 0x2a, 0x30, 0xb0, 0xaa, 0x1c, 0x9c]);
    assert_eq!((bench.keyboard.rises(), bench.timers.now()), (8, 7 * STROKE));
    assert_eq!(
        lock(&bench.controller).type_text("ok é"),
        3,
        "there is no such key"
    );
    bench.typed();
    let typed = lock(&bench.controller).type_text(&"x".repeat(2000));
    assert_eq!(typed, 511);
    assert_eq!(bench.typed().len(), 2 * 511);
}

#[test]
fn keys_wait_while_the_keyboard_is_off_or_the_guest_is_busy() {
    let bench = Bench::new();
    assert_eq!(bench.ask(&[0xf5]), [0xfa]);
    assert!(lock(&bench.controller).press(Key::UP));
    bench.control.clock().advance_to(10 * STROKE);
    bench.timers.run_due();
    assert_eq!(bench.answer(), [0_u8; 0]);
    assert_eq!(bench.ask(&[0xf4]), [0xfa]);
    assert_eq!(bench.typed(), [0xe0, 0x75, 0xe0, 0xf0, 0x75], "set 2");
    bench.ask(&[0xf0, 0x01]);
    lock(&bench.controller).stroke(Key::UP, false);
    assert_eq!(bench.typed(), [0xe0, 0xc8], "set 1");
    bench.command(0xad);
    lock(&bench.controller).stroke(Key::ENTER, true);
    bench.control.clock().advance_to(100 * STROKE);
    bench.timers.run_due();
    assert_eq!(bench.answer(), [0_u8; 0]);
    bench.command(0xae);
    assert_eq!(bench.answer(), [0x1c]);
}

#[test]
fn a_reset_forgets_everything() {
    let bench = Bench::new();
    bench.command(0xdd);
    bench.data(0xf2);
    lock(&bench.controller).type_text("text");
    lock(&bench.controller).reset();
    assert_eq!(
        (bench.status(), bench.keyboard.level(), bench.a20.level()),
        (0x18, false, true)
    );
    assert_eq!(bench.timers.deadline(), None);
}

proptest! {
    #[test]
    fn whatever_a_guest_does_an_interrupt_means_that_there_is_a_byte(
        steps in vec((0..5_u8, any::<u8>()), 0..100),
    ) {
        let bench = Bench::new();
        for (kind, value) in steps {
            match kind {
                0 => bench.command(value),
                1 => bench.data(value),
                2 => drop(bench.read()),
                3 => drop(lock(&bench.controller).press(Key::new(value))),
                _ => {
                    bench.control.clock().advance_to(bench.timers.now() + STROKE);
                    bench.timers.run_due();
                }
            }
            let status = bench.status();
            prop_assert!(!bench.keyboard.level() || status & 0x21 == 0x01);
            prop_assert!(!bench.mouse.level() || status & 0x21 == 0x21);
        }
    }
}
