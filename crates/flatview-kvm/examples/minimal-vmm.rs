//! A whole virtual machine monitor: a vCPU, RAM, a device in memory, a serial port. `docs/guide/kvm.md` explains it.

use std::error::Error;
use std::io::{Write, stdout};
use std::sync::{Arc, Mutex};

use flatview::{MemTxAttrs, MemTxError, Memory, MemoryRegionOpsMut, RamBlock, Size, UnassignedIo};
use flatview_accel::{Accelerator, Clock, Control, Exit, NoInterrupts, VcpuConfig};
use flatview_cpu::SoftAccelerator;
use flatview_kvm::{KvmAccelerator, KvmConfig};

/// A device in memory: each read takes a letter from it, and finds 0 when none is left.
struct Mailbox(std::vec::IntoIter<u8>);

impl MemoryRegionOpsMut for Mailbox {
    fn read(&mut self, _offset: u64, _size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(self.0.next().unwrap_or_default().into())
    }

    fn write(&mut self, offset: u64, _size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        eprintln!("the guest writes {value:#x} to the mailbox at {offset:#x}");
        Ok(())
    }
}

/// What a guest that only prints needs of a 16550A: register 0 sends, register 5 says that it may.
struct SerialPort;

impl MemoryRegionOpsMut for SerialPort {
    fn read(&mut self, offset: u64, _size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(if offset == 5 { 0x60 } else { 0 })
    }

    fn write(&mut self, offset: u64, _size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        if offset == 0 {
            let [letter, ..] = value.to_le_bytes();
            stdout().write_all(&[letter]).map_err(|_| MemTxError::ERROR)?;
        }
        Ok(())
    }
}

/// Sends all letters of the mailbox to the serial port, then says so to the mailbox and halts.
const GUEST: &[u8] = &[
    0xb8, 0x00, 0xb0, // mov ax, 0xb000
    0x8e, 0xd8, //       mov ds, ax
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xa0, 0x00, 0x00, // mov al, [0]          an exit: the mailbox answers
    0x84, 0xc0, //       test al, al
    0x74, 0x03, //       jz +3
    0xee, //             out dx, al           an exit: the serial port prints
    0xeb, 0xf6, //       jmp -10
    0xc6, 0x06, 0x04, 0x00, 0x2a, // mov byte [4], 42
    0xf4, //             hlt
];
const ENTRY: u64 = 0x1000;

fn main() -> Result<(), Box<dyn Error>> {
    // What the guest sees of memory: 1 MiB of RAM, and the mailbox in front of it at 0xb0000.
    let machine = Memory::new();
    let system = machine.region("system").container(Size::MAX);
    let ram = machine.region("ram").ram(RamBlock::anonymous(1 << 20)?);
    let letters = b"Hello from the mailbox\n".to_vec().into_iter();
    let mailbox = machine
        .region("mailbox")
        .io(0x1000, Arc::new(Mutex::new(Mailbox(letters))));
    // What it sees of ports: nobody, but for the serial port.
    let ports = machine.region("ports").io(64 << 10, Arc::new(UnassignedIo));
    let serial = machine.region("serial").io(8, Arc::new(Mutex::new(SerialPort)));
    machine.update(|tx| {
        tx.add_subregion(&system, 0, &ram)?;
        tx.add_subregion_overlap(&system, 0xb_0000, &mailbox, 1)?;
        tx.add_subregion_overlap(&ports, 0x3f8, &serial, 1)
    })?;
    let memory = machine.create_address_space("memory", &system)?;
    let io = machine.create_address_space("I/O", &ports)?;

    // The guest's program.
    memory.write(ENTRY, GUEST, MemTxAttrs::UNSPECIFIED)?;

    // KVM where there is one, and the software CPU where there is none.
    let accelerator: Box<dyn Accelerator> = match KvmAccelerator::new(KvmConfig::default()) {
        Ok(kvm) => Box::new(kvm),
        Err(error) => {
            eprintln!("{error}; the software CPU does it");
            Box::new(SoftAccelerator::default())
        }
    };
    let mut vcpu = accelerator.create_vcpu(VcpuConfig {
        index: 0,
        machine: machine.clone(),
        memory: memory.clone(),
        io,
        smm: None,
        interrupts: Arc::new(NoInterrupts),
        control: Arc::new(Control::new(Clock::host())),
    })?;

    // It begins in real mode at ENTRY, not at the reset vector.
    let mut state = vcpu.state()?;
    (state.sregs.cs.base, state.sregs.cs.selector) = (0, 0);
    state.regs.rip = ENTRY;
    vcpu.set_state(&state)?;

    loop {
        match vcpu.run()? {
            Exit::Halted => break,
            Exit::Shutdown => return Err("the guest crashed".into()),
            exit => eprintln!("{exit:?}"),
        }
    }
    // The memory map: where the kernel has a memory slot, it says so.
    let map = machine.mtree_flat();
    let map = map.accelerator("KVM", |space, range| accelerator.has_memory(space, range));
    eprint!("\n{map}");
    Ok(())
}
