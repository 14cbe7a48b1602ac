//! The kernel's interrupt controllers as they are asked for, and what they refuse. What guests see of them is in
//! `src/irq/irq_test.rs`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::fs::File;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use flatview::{EventNotifier, MemTxAttrs, MemTxError, MemoryRegionOps};
use flatview_accel::{Accelerator, Control, EoiListener, Exit, MsiMessage, Signals};
use flatview_kvm::{IrqChip, KvmAccelerator, KvmConfig, KvmError, KvmIrqChip, Route, Routes};
use support::Board;

fn with(irqchip: IrqChip) -> Option<KvmAccelerator> {
    let mut config = KvmConfig::default();
    config.irqchip = irqchip;
    support::accelerator(config)
}

fn irqchip(irqchip: IrqChip) -> Option<KvmIrqChip> {
    with(irqchip).map(|kvm| kvm.kvm_irqchip().unwrap())
}

fn message(data: u32) -> MsiMessage {
    MsiMessage {
        address: 0xfee0_0000,
        data,
    }
}

fn notifier() -> EventNotifier {
    EventNotifier::eventfd().unwrap()
}

#[track_caller]
fn errno<T: std::fmt::Debug>(result: Result<T, KvmError>) -> i32 {
    match result.unwrap_err() {
        KvmError::IrqFd { source, .. } | KvmError::Ioctl { source, .. } => source.raw_os_error().unwrap(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_board_finds_the_controllers_that_the_kernel_has() {
    for (irqchip, split) in [
        (IrqChip::Off, None),
        (IrqChip::Split, Some(true)),
        (IrqChip::Kernel, Some(false)),
    ] {
        let Some(kvm) = with(irqchip) else { return };
        assert_eq!(kvm.irqchip().map(|irqchip| irqchip.is_split()), split);
    }
}

#[test]
fn routes_begin_as_the_kernel_has_them() {
    let Some(kernel) = irqchip(IrqChip::Kernel) else {
        return;
    };
    assert_eq!(kernel.routes(), Routes::of_kvm());
    let Some(split) = irqchip(IrqChip::Split) else {
        return;
    };
    assert_eq!(split.routes(), Routes::new());
}

#[test]
fn routes_change_as_a_whole_or_not_at_all() {
    let Some(kernel) = irqchip(IrqChip::Kernel) else {
        return;
    };
    kernel
        .update_routes(|routes| {
            *routes = Routes::of_pc();
            Ok(())
        })
        .unwrap();
    let failed = kernel.update_routes(|routes| {
        routes.add_msi(message(1))?;
        routes.set(4096, Route::Msi(message(2)))
    });
    assert!(matches!(failed, Err(KvmError::BadRoute { gsi: 4096, .. })));
    assert_eq!(kernel.routes(), Routes::of_pc());

    // Its pins are the board's: the kernel refuses.
    let Some(split) = irqchip(IrqChip::Split) else {
        return;
    };
    let failed = split.update_routes(|routes| {
        *routes = Routes::of_kvm();
        Ok(())
    });
    assert_eq!(errno(failed), libc::EINVAL);
    assert_eq!(split.routes(), Routes::new());
}

#[test]
fn there_are_as_many_routes_as_the_kernel_has() {
    let Some(kernel) = irqchip(IrqChip::Kernel) else {
        return;
    };
    // 40 of pins, and as many messages as there are GSIs left: 16 GSIs have two routes.
    let failed: Result<(), _> = kernel.update_routes(|routes| {
        loop {
            routes.add_msi(message(1))?;
        }
    });
    assert!(matches!(failed, Err(KvmError::NoFreeRoutes { .. })));
    let failed = kernel.update_routes(|routes| {
        while routes.add_msi(message(1)).is_ok() {}
        Ok(())
    });
    assert!(matches!(
        failed,
        Err(KvmError::NoFreeRoutes {
            needed: 4112,
            most: 4096
        })
    ));
    assert_eq!(kernel.routes(), Routes::of_kvm());
    let Some(split) = irqchip(IrqChip::Split) else {
        return;
    };
    split
        .update_routes(|routes| {
            while routes.add_msi(message(1)).is_ok() {}
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_boards_pins_are_those_of_a_split_controller() {
    use flatview_accel::IrqChip as _;
    let Some(kernel) = irqchip(IrqChip::Kernel) else {
        return;
    };
    assert!(kernel.set_pin_messages(&[None]).is_err());
    let Some(split) = irqchip(IrqChip::Split) else {
        return;
    };
    split.set_pin_messages(&[Some(message(1)); 24]).unwrap();
    assert!(split.set_pin_messages(&[Some(message(2)); 25]).is_err());
    assert_eq!(split.routes().get(23), Some(Route::Msi(message(1))));
    split.set_pin_messages(&[]).unwrap();
    assert_eq!(split.routes(), Routes::new());
}

#[test]
fn an_irqfd_is_refused_with_a_reason_and_leaves_nothing() {
    let Some(kernel) = irqchip(IrqChip::Kernel) else {
        return;
    };
    let trigger = notifier();
    let irqfd = kernel.irqfd(5, &trigger, None).unwrap();
    assert_eq!(errno(kernel.irqfd(6, &trigger, None)), libc::EBUSY);
    drop(irqfd);
    assert_eq!(kernel.irqfd(6, &trigger, None).unwrap().gsi(), 6);
    let file = EventNotifier::new(File::open("/dev/null").unwrap());
    assert_eq!(errno(kernel.irqfd(5, &file, None)), libc::EINVAL);
    assert_eq!(errno(kernel.irqfd(5, &trigger, Some(&file))), libc::EINVAL);
    let _irqfd = kernel.irqfd(5, &trigger, Some(&notifier())).unwrap();

    let Some(split) = irqchip(IrqChip::Split) else {
        return;
    };
    assert_eq!(errno(split.irqfd(5, &trigger, Some(&notifier()))), libc::EINVAL);
}

/// A port at which a guest says that it is ready.
#[derive(Debug)]
struct Ready(Sender<()>);

impl MemoryRegionOps for Ready {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        self.0.send(()).unwrap();
        Ok(())
    }
}

/// Notes the first end, and lets the vCPU come out.
#[derive(Debug)]
struct FirstEnd {
    vector: OnceLock<u8>,
    control: Arc<Control>,
}

impl EoiListener for FirstEnd {
    fn eoi(&self, vector: u8) {
        self.vector.set(vector).unwrap();
        self.control.raise(Signals::EXIT);
    }
}

/// The vCPU waits in the kernel; its end of the interrupt goes to the board's I/O APIC.
#[test]
fn a_message_wakes_a_vcpu_and_its_end_is_heard() {
    let Some(kvm) = with(IrqChip::Split) else { return };
    let board = Board::new();
    board.map_ram("ram", 0, 0x1_0000, 0);
    let (ready, is_ready) = channel();
    let config = board.vcpu(0);
    let port = board.memory.region("ready").io(1, Arc::new(Ready(ready)));
    board.update(|tx| tx.add_subregion(&board.io, 0x80, &port));
    let code = [
        &[0x66, 0x64, 0xc7, 0x06, 0xf0, 0, 0xff, 1, 0, 0][..], // mov dword [fs:0xf0], 0x1ff: enables the local APIC
        &[0xfb, 0xe6, 0x80],                                   // sti; out 0x80, al
        &[0xf4, 0xeb, 0xfd],                                   // hlt, for ever
    ];
    board.write(0x1000, &code.concat());
    let handler = [
        &[0x66, 0x64, 0xc7, 0x06, 0xb0, 0, 0, 0, 0, 0][..], // mov dword [fs:0xb0], 0: EOI
        &[0xe6, 0x80, 0xcf], // out 0x80, al, so that any KVM comes out by then; iret
    ];
    board.write(0x2000, &handler.concat());
    board.write(0x42 * 4, &0x2000_u32.to_le_bytes());

    let end = Arc::new(FirstEnd {
        vector: OnceLock::new(),
        control: Arc::clone(&config.control),
    });
    let weak = Arc::downgrade(&end);
    let irqchip = kvm.irqchip().unwrap();
    irqchip.on_eoi(weak);
    let level = message(0x42 | 1 << 14 | 1 << 15);
    irqchip.set_pin_messages(&[Some(level)]).unwrap();
    let mut vcpu = kvm.create_vcpu(config).unwrap();
    let mut state = vcpu.state().unwrap();
    support::real_mode(&mut state, 0x1000);
    state.sregs.fs.base = 0xfee0_0000;
    state.regs.rsp = 0x8000;
    vcpu.set_state(&state).unwrap();
    let vcpu = thread::spawn(move || assert_eq!(vcpu.run().unwrap(), Exit::Requested));
    is_ready.recv().unwrap();
    irqchip.send_msi(level);
    vcpu.join().unwrap();
    assert_eq!(end.vector.get(), Some(&0x42));
}
