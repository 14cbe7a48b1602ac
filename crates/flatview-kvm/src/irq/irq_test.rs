#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::thread;

use super::*;
use crate::KvmConfig;
use crate::probe::{FS, GS, Guest, Out, out, store_apic};

/// Handlers say here that they run, with their vector.
const RUNS: u16 = 0x500;
/// And here that they have sent their EOI.
const ENDED: u16 = 0x501;
/// The guest says here that it is set up.
const READY: u16 = 0x502;

const IRET: &[u8] = &[0xcf];
/// `sti; hlt`, for ever.
const IDLE: &[u8] = &[0xfb, 0xf4, 0xeb, 0xfd];

fn guest(irqchip: IrqChip) -> Option<Guest> {
    Guest::new(KvmConfig {
        irqchip,
        ..KvmConfig::default()
    })
}

impl Guest {
    /// Handlers that say what they do, around `eoi`.
    fn handlers(&self, vectors: &[u8], eoi: &[u8]) {
        for &vector in vectors {
            let says = |port| out(port, vector.into(), 1);
            self.handler(vector, &[&says(RUNS), eoi, &says(ENDED), IRET]);
        }
    }

    /// Runs `set_up`, then is idle.
    fn set_up(&mut self, set_up: &[Vec<u8>]) {
        self.code(&[&set_up.concat(), &out(READY, 0, 1), IDLE]);
        assert_eq!(self.run(), Out::Port(READY, vec![0]));
    }

    /// With 8259As whose vectors begin at 0x20, all lines unmasked; those of `levels` are level-triggered.
    fn with_pic(&mut self, levels: u8) {
        self.handlers(&[0x20, 0x21, 0x23, 0x25], &out(0x20, 0x20, 1));
        // ICW1 to ICW4, OCW1 (8259A datasheet); ELCR (82371SB datasheet, 2.5.3.5).
        let set_up = [
            (0x20, 0x11),
            (0x21, 0x20),
            (0x21, 4),
            (0x21, 1),
            (0x21, 0),
            (0x4d0, levels.into()),
        ];
        self.set_up(&set_up.map(|(port, value)| out(port, value, 1)));
    }

    /// With an enabled local APIC.
    fn with_apic(&mut self, set_up: &[Vec<u8>]) {
        self.handlers(&[0x41, 0x42, 0x43], &store_apic(FS, 0xb0, 0));
        // The spurious-interrupt vector register (Intel SDM vol. 3, 12.9).
        self.set_up(&[&[store_apic(FS, 0xf0, 0x1ff)], set_up].concat());
    }

    #[track_caller]
    fn handles(&mut self, vector: u8) {
        assert_eq!(self.run(), Out::Port(RUNS, vec![vector]));
    }

    #[track_caller]
    fn ends(&mut self, vector: u8) {
        assert_eq!(self.run(), Out::Port(ENDED, vec![vector]));
    }

    fn irqchip(&self) -> KvmIrqChip {
        self.accelerator.kvm_irqchip().unwrap()
    }
}

fn message(data: u32) -> MsiMessage {
    MsiMessage {
        address: 0xfee0_0000,
        data,
    }
}

/// Bits of an MSI's data (Intel SDM vol. 3, 12.11.2).
const ASSERT: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;

#[test]
fn a_line_wakes_a_halted_vcpu() {
    let Some(mut guest) = guest(IrqChip::Kernel) else {
        return;
    };
    guest.with_pic(0);
    let irqchip = guest.irqchip();
    let other = thread::spawn(move || irqchip.set_irq(1, true).unwrap());
    guest.handles(0x21);
    guest.ends(0x21);
    other.join().unwrap();
    // An edge is one interrupt, however long the line stays up.
    let irqchip = guest.irqchip();
    irqchip.set_irq(3, true).unwrap();
    guest.handles(0x23);
}

#[test]
fn a_level_comes_again_until_it_is_lowered() {
    let Some(mut guest) = guest(IrqChip::Kernel) else {
        return;
    };
    guest.with_pic(1 << 5);
    let irqchip = guest.irqchip();
    irqchip.set_irq(5, true).unwrap();
    guest.handles(0x25);
    guest.ends(0x25);
    guest.handles(0x25);
    irqchip.set_irq(5, false).unwrap();
    guest.ends(0x25);
    irqchip.set_irq(1, true).unwrap();
    guest.handles(0x21);
}

#[test]
fn an_eventfd_is_an_interrupt_until_its_irqfd_is_dropped() {
    let Some(mut guest) = guest(IrqChip::Kernel) else {
        return;
    };
    guest.with_pic(0);
    let irqchip = guest.irqchip();
    let trigger = EventNotifier::eventfd().unwrap();
    let irqfd = irqchip.irqfd(3, &trigger, None).unwrap();
    for _ in 0..3 {
        trigger.set().unwrap();
        guest.handles(0x23);
        guest.ends(0x23);
    }
    drop(irqfd);
    trigger.set().unwrap();
    irqchip.set_irq(5, true).unwrap();
    // GSI 3 has the higher priority, and would come first.
    guest.handles(0x25);
}

#[test]
fn a_resampled_irqfd_is_a_level_until_the_guests_eoi() {
    let Some(mut guest) = guest(IrqChip::Kernel) else {
        return;
    };
    // Pin 20, which no 8259A has: vector 0x43, level-triggered, to APIC 0 (82093AA datasheet, 3.2.4).
    let redirect = [(0, 0x38), (0x10, 0x0043), (0, 0x39), (0x10, 0)];
    guest.with_apic(&redirect.map(|(offset, value)| store_apic(GS, offset, value)));
    let (trigger, resample) = (
        EventNotifier::eventfd().unwrap(),
        EventNotifier::eventfd().unwrap(),
    );
    let irqfd = guest.irqchip().irqfd(20, &trigger, Some(&resample)).unwrap();
    for _ in 0..2 {
        trigger.set().unwrap();
        guest.handles(0x43);
        // A KVM that emulates guests may have ended the interrupt already, as the development machine's has.
        guest.ends(0x43);
        assert!(resample.test_and_clear().unwrap());
    }
    drop(irqfd);
}

#[test]
fn messages_come_by_ioctl_by_line_and_by_eventfd() {
    for irqchip in [IrqChip::Kernel, IrqChip::Split] {
        let Some(mut guest) = guest(irqchip) else { return };
        guest.with_apic(&[]);
        let irqchip = guest.irqchip();
        assert!(irqchip.send_msi(message(0x41)).unwrap());
        guest.handles(0x41);
        guest.ends(0x41);
        let gsi = irqchip
            .update_routes(|routes| routes.add_msi(message(0x42)))
            .unwrap();
        irqchip.set_irq(gsi, true).unwrap();
        guest.handles(0x42);
        guest.ends(0x42);
        let trigger = EventNotifier::eventfd().unwrap();
        let irqfd = irqchip.irqfd(gsi, &trigger, None).unwrap();
        trigger.set().unwrap();
        guest.handles(0x42);
        guest.ends(0x42);
        // An irqfd follows its route.
        irqchip
            .update_routes(|routes| routes.set(gsi, Route::Msi(message(0x43))))
            .unwrap();
        trigger.set().unwrap();
        guest.handles(0x43);
        drop(irqfd);
    }
}

#[derive(Debug, Default)]
struct Ends(Mutex<Vec<u8>>);

impl EoiListener for Ends {
    fn eoi(&self, vector: u8) {
        self.0.lock().unwrap().push(vector);
    }
}

#[test]
fn a_boards_i_o_apic_hears_the_end_of_its_levels() {
    let Some(mut guest) = guest(IrqChip::Split) else {
        return;
    };
    guest.with_apic(&[]);
    let irqchip: Arc<dyn flatview_accel::IrqChip> = Arc::new(guest.irqchip());
    let ends = Arc::new(Ends::default());
    let listener: Weak<Ends> = Arc::downgrade(&ends);
    irqchip.on_eoi(listener);
    let (edge, level) = (message(0x41), message(0x42 | ASSERT | LEVEL));
    irqchip
        .set_pin_messages(&[None, Some(edge), Some(level)])
        .unwrap();
    irqchip.send_msi(edge);
    guest.handles(0x41);
    guest.ends(0x41);
    irqchip.send_msi(level);
    guest.handles(0x42);
    assert_eq!(guest.run(), Out::Eoi(0x42));
    guest.accelerator.vm.ioapic_eoi(0x42);
    assert_eq!(*ends.0.lock().unwrap(), [0x42]);
    guest.ends(0x42);
    // A listener that is gone hears nothing, and keeps nothing.
    drop(ends);
    guest.accelerator.vm.ioapic_eoi(0x42);
}
