//! What the 8259A's datasheet (Intel 231468) says, and a slow model that says it again.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::irq::probe::Probe;

struct Bench {
    pic: Arc<Mutex<Pic>>,
    intr: Arc<Probe>,
}

impl Bench {
    /// Both chips initialised as PCs do: vectors 0x08 and 0x70, edges, no automatic EOI, nothing masked.
    fn new() -> Bench {
        let (intr, line) = Probe::new();
        let bench = Bench {
            pic: Pic::new(line),
            intr,
        };
        for (port, vector) in [(0x20, 0x08), (0xa0, 0x70)] {
            bench.out(port, 0x11);
            for value in [vector, 0x04, 0x01, 0x00] {
                bench.out(port + 1, value);
            }
        }
        bench
    }

    fn out(&self, port: u64, value: u8) {
        let (part, offset) = place(port);
        lock(&self.pic).write(part, offset, value);
    }

    fn read(&self, port: u64) -> u8 {
        let (part, offset) = place(port);
        lock(&self.pic).read(part, offset)
    }

    fn set(&self, pin: u32, level: bool) {
        self.pic.set_irq(pin, level);
    }

    fn pulse(&self, pin: u32) {
        self.set(pin, true);
        self.set(pin, false);
    }

    /// What the CPU does: nothing without INTR.
    fn interrupt(&self) -> Option<u8> {
        self.intr.level().then(|| lock(&self.pic).acknowledge())
    }
}

fn place(port: u64) -> (Part, u64) {
    match port {
        0x20 | 0x21 => (Part::Master, port - 0x20),
        0xa0 | 0xa1 => (Part::Slave, port - 0xa0),
        0x4d0 => (Part::MasterElcr, 0),
        _ => (Part::SlaveElcr, 0),
    }
}

#[test]
fn inputs_have_priorities_and_service_hinders_lower_ones() {
    let bench = Bench::new();
    bench.pulse(4);
    bench.pulse(1);
    assert_eq!(bench.interrupt(), Some(0x09));
    assert_eq!(bench.interrupt(), None, "4 waits for 1");
    bench.pulse(0);
    assert_eq!(bench.interrupt(), Some(0x08), "0 does not");
    bench.out(0x20, 0x20);
    assert_eq!(bench.interrupt(), None, "that ended 0, not 1");
    bench.out(0x20, 0x20);
    assert_eq!(bench.interrupt(), Some(0x0c));
}

#[test]
fn the_slave_is_heard_through_the_cascade() {
    let bench = Bench::new();
    bench.pulse(14);
    bench.pulse(8);
    bench.pulse(3);
    assert_eq!(bench.interrupt(), Some(0x70));
    assert_eq!(bench.interrupt(), None);
    bench.out(0xa0, 0x20);
    assert_eq!(bench.interrupt(), None, "the master still serves its input 2");
    bench.out(0x20, 0x20);
    assert_eq!(bench.interrupt(), Some(0x76), "before 3");
    bench.out(0x20, 0x62);
    assert_eq!(bench.interrupt(), Some(0x0b));
    bench.out(0x21, 0x04);
    bench.out(0xa0, 0x66);
    bench.pulse(9);
    bench.out(0x20, 0x63);
    assert_eq!(bench.interrupt(), None, "the cascade is masked");
}

#[test]
fn a_level_stays_requested_and_an_edge_does_not() {
    let bench = Bench::new();
    bench.out(0x4d0, 0xff);
    bench.out(0x4d1, 0xff);
    assert_eq!(
        (bench.read(0x4d0), bench.read(0x4d1)),
        (0xf8, 0xde),
        "0, 1, 2, 8 and 13 are edges"
    );
    for pin in [0, 5] {
        bench.set(pin, true);
    }
    assert_eq!(bench.interrupt(), Some(0x08));
    bench.out(0x20, 0x20);
    for _ in 0..2 {
        assert_eq!(bench.interrupt(), Some(0x0d));
        bench.out(0x20, 0x20);
    }
    bench.set(5, false);
    assert_eq!(bench.interrupt(), None);
}

#[test]
fn icw1_forgets_edges_and_the_mask_and_wants_a_new_edge() {
    let bench = Bench::new();
    bench.out(0x21, 0xff);
    bench.set(1, true);
    bench.out(0x20, 0x11);
    for value in [0x20, 0x04, 0x01] {
        bench.out(0x21, value);
    }
    assert_eq!((bench.read(0x21), bench.interrupt()), (0, None));
    bench.set(1, true);
    assert_eq!(bench.interrupt(), None, "the line was high before");
    bench.set(1, false);
    bench.set(1, true);
    assert_eq!(bench.interrupt(), Some(0x21));
}

#[test]
fn icw4_and_icw3_are_only_expected_when_icw1_says_so() {
    let bench = Bench::new();
    bench.out(0x20, 0x12);
    bench.out(0x21, 0x40);
    bench.out(0x21, 0xfe);
    assert_eq!(bench.read(0x21), 0xfe, "single, no ICW4: this was the mask");
    bench.pulse(0);
    assert_eq!(bench.interrupt(), Some(0x40));
}

#[test]
fn nobody_requests_any_more_input_7_is_the_spurious_one() {
    let bench = Bench::new();
    assert_eq!(lock(&bench.pic).acknowledge(), 0x0f);
    bench.out(0x20, 0x0b);
    assert_eq!(bench.read(0x20), 0, "and it is not in service");
}

#[test]
fn rotation_makes_the_one_that_was_served_the_last() {
    let bench = Bench::new();
    bench.pulse(3);
    assert_eq!(bench.interrupt(), Some(0x0b));
    bench.out(0x20, 0xa0);
    for pin in [3, 5, 0] {
        bench.pulse(pin);
    }
    for expected in [0x0d, 0x08, 0x0b] {
        assert_eq!(bench.interrupt(), Some(expected));
        bench.out(0x20, 0x20);
    }
    bench.out(0x20, 0xc5);
    for pin in [5, 6] {
        bench.pulse(pin);
    }
    assert_eq!(bench.interrupt(), Some(0x0e), "5 was set to be the last");
}

#[test]
fn automatic_eoi_serves_nothing_and_may_rotate() {
    let bench = Bench::new();
    bench.out(0x20, 0x11);
    for value in [0x08, 0x04, 0x03] {
        bench.out(0x21, value);
    }
    bench.out(0x20, 0x80);
    for expected in [0x09, 0x0b, 0x09] {
        bench.pulse(1);
        bench.pulse(3);
        assert_eq!(bench.interrupt(), Some(expected));
    }
}

#[test]
fn special_mask_mode_lets_lower_ones_through() {
    let bench = Bench::new();
    bench.pulse(1);
    assert_eq!(bench.interrupt(), Some(0x09));
    bench.pulse(6);
    bench.out(0x21, 0x02);
    assert_eq!(bench.interrupt(), None);
    bench.out(0x20, 0x68);
    assert_eq!(bench.interrupt(), Some(0x0e));
    bench.out(0x20, 0x20);
    bench.out(0x20, 0x20);
    bench.out(0x20, 0x0b);
    assert_eq!(
        bench.read(0x20),
        0x02,
        "what is masked is not ended without its name"
    );
}

#[test]
fn special_fully_nested_mode_lets_the_slave_interrupt_itself() {
    let bench = Bench::new();
    bench.out(0x20, 0x11);
    for value in [0x08, 0x04, 0x11] {
        bench.out(0x21, value);
    }
    bench.pulse(12);
    assert_eq!(bench.interrupt(), Some(0x74));
    bench.pulse(3);
    bench.pulse(13);
    assert_eq!(bench.interrupt(), None);
    bench.pulse(8);
    assert_eq!(bench.interrupt(), Some(0x70));
}

#[test]
fn a_poll_acknowledges() {
    let bench = Bench::new();
    bench.out(0x20, 0x0c);
    assert_eq!(bench.read(0x20), 0);
    bench.pulse(6);
    bench.out(0x20, 0x0c);
    assert_eq!(bench.read(0x20), 0x86);
    assert!(!bench.intr.level());
    bench.out(0x20, 0x0b);
    assert_eq!((bench.read(0x20), bench.read(0x20)), (0x40, 0x40));
}

#[test]
fn a_reset_keeps_what_comes_from_outside() {
    let bench = Bench::new();
    bench.out(0x4d1, 0x02);
    bench.set(9, true);
    lock(&bench.pic).reset();
    assert_eq!((bench.read(0x4d1), bench.intr.level()), (0, false));
    bench.out(0x4d1, 0x02);
    assert!(bench.intr.level(), "the line is still high");
}

/// An 8259A as the datasheet tells it: a list of inputs, the one of highest priority first.
struct Model {
    order: Vec<u8>,
    line: [bool; 8],
    edge: [bool; 8],
    masked: [bool; 8],
    served: [bool; 8],
    level: [bool; 8],
    special_mask: bool,
}

impl Model {
    fn new() -> Model {
        Model {
            order: (0..8).collect(),
            line: [false; 8],
            edge: [false; 8],
            masked: [false; 8],
            served: [false; 8],
            level: [false; 8],
            special_mask: false,
        }
    }

    fn requests(&self, pin: usize) -> bool {
        if self.level[pin] {
            self.line[pin]
        } else {
            self.edge[pin]
        }
    }

    fn deliverable(&self) -> Option<u8> {
        for &pin in &self.order {
            let at = usize::from(pin);
            if self.served[at] && !(self.special_mask && self.masked[at]) {
                return None;
            }
            if self.requests(at) && !self.masked[at] {
                return Some(pin);
            }
        }
        None
    }

    fn acknowledge(&mut self) -> Option<u8> {
        let pin = self.deliverable()?;
        self.served[usize::from(pin)] = true;
        self.edge[usize::from(pin)] = false;
        Some(pin)
    }

    fn end(&mut self, pin: Option<u8>, rotate: bool) {
        let ends = |&pin: &u8| {
            self.served[usize::from(pin)] && !(self.special_mask && self.masked[usize::from(pin)])
        };
        let Some(pin) = pin.or_else(|| self.order.iter().copied().find(ends)) else {
            return;
        };
        self.served[usize::from(pin)] = false;
        if rotate {
            self.make_last(pin);
        }
    }

    fn make_last(&mut self, pin: u8) {
        while self.order.last() != Some(&pin) {
            self.order.rotate_left(1);
        }
    }

    fn set(&mut self, pin: usize, level: bool) {
        self.edge[pin] |= level && !self.line[pin];
        self.line[pin] = level;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Line(u32, bool),
    Mask(u8),
    Elcr(u8),
    Eoi { rotate: bool, pin: Option<u8> },
    Last(u8),
    SpecialMask(bool),
    Interrupt,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8_u32, any::<bool>()).prop_map(|(pin, level)| Step::Line(pin, level)),
        1 => any::<u8>().prop_map(Step::Mask),
        1 => any::<u8>().prop_map(Step::Elcr),
        3 => (any::<bool>(), proptest::option::of(0..8_u8)).prop_map(|(rotate, pin)| Step::Eoi { rotate, pin }),
        1 => (0..8_u8).prop_map(Step::Last),
        1 => any::<bool>().prop_map(Step::SpecialMask),
        4 => Just(Step::Interrupt),
    ]
}

proptest! {
    #[test]
    fn the_pair_agrees_with_two_models(steps in vec((any::<bool>(), step()), 0..100)) {
        let (bench, mut models) = (Bench::new(), [Model::new(), Model::new()]);
        // The master hears the slave as a level.
        models[0].level[2] = true;
        for (of_slave, step) in steps {
            let (port, elcr, mask) = if of_slave { (0xa0, 0x4d1, 0xde) } else { (0x20, 0x4d0, 0xf8) };
            let model = &mut models[usize::from(of_slave)];
            match step {
                Step::Line(2, _) if !of_slave => {}
                Step::Line(pin, level) => {
                    bench.set(pin + if of_slave { 8 } else { 0 }, level);
                    model.set(pin as usize, level);
                }
                Step::Mask(mask) => {
                    bench.out(port + 1, mask);
                    model.masked = std::array::from_fn(|pin| mask & 1 << pin != 0);
                }
                Step::Elcr(levels) => {
                    bench.out(elcr, levels);
                    model.level = std::array::from_fn(|pin| levels & mask & 1 << pin != 0);
                    model.level[2] |= !of_slave;
                }
                Step::Eoi { rotate, pin } => {
                    bench.out(port, u8::from(rotate) << 7 | 0x20 | pin.map_or(0, |pin| 0x40 | pin));
                    model.end(pin, rotate);
                }
                Step::Last(pin) => {
                    bench.out(port, 0xc0 | pin);
                    model.make_last(pin);
                }
                Step::SpecialMask(on) => {
                    bench.out(port, if on { 0x68 } else { 0x48 });
                    model.special_mask = on;
                }
                Step::Interrupt => {
                    let [master, slave] = &mut models;
                    let expected = match master.acknowledge() {
                        Some(2) => slave.acknowledge().map(|pin| 0x70 | pin),
                        pin => pin.map(|pin| 0x08 | pin),
                    };
                    prop_assert_eq!(bench.interrupt(), expected);
                }
            }
            models[0].line[2] = models[1].deliverable().is_some();
            prop_assert_eq!(bench.intr.level(), models[0].deliverable().is_some());
            for (port, model) in [(0x20, &models[0]), (0xa0, &models[1])] {
                let register = |of: &dyn Fn(usize) -> bool| (0..8).map(|pin| u8::from(of(pin)) << pin).sum::<u8>();
                bench.out(port, 0x0a);
                prop_assert_eq!(bench.read(port), register(&|pin| model.requests(pin)));
                bench.out(port, 0x0b);
                prop_assert_eq!(bench.read(port), register(&|pin| model.served[pin]));
            }
        }
    }

    #[test]
    fn whatever_a_guest_does_intr_says_whether_an_interrupt_is_not_spurious(
        steps in vec((select_port(), any::<u8>(), 0..20_u32, any::<bool>(), any::<bool>()), 0..100),
    ) {
        let bench = Bench::new();
        for (port, value, pin, level, read) in steps {
            if read {
                bench.read(port);
            } else {
                bench.out(port, value);
            }
            bench.set(pin, level);
            if bench.intr.level() {
                let master = lock(&bench.pic).master.request();
                let slave = lock(&bench.pic).slave.request();
                let vector = bench.interrupt().expect("INTR is high");
                let pic = lock(&bench.pic);
                let expected = match (master, slave) {
                    (Some(CASCADE), slave) => pic.slave.vector(slave),
                    (pin, _) => pic.master.vector(pin),
                };
                prop_assert_eq!(vector, expected);
            }
        }
    }
}

fn select_port() -> impl Strategy<Value = u64> {
    proptest::sample::select(vec![0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1])
}
