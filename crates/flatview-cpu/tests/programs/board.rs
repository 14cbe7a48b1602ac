//! A tiny machine: RAM at 0, the same RAM's first page again at 4 GiB - 4 KiB as ROM, a device, ports.
#![allow(dead_code, reason = "the example uses a part of it")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use flatview::{
    AddressSpace, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, RamBlock, RamWindow, Region, Size,
};
use flatview_accel::{
    Clock, Control, DescriptorTable, Exit, InterruptSource, Segment, Signals, Vcpu, VcpuConfig, VcpuState,
};
use flatview_cpu::{SoftAccelerator, SoftVcpu};

/// The bytes of RAM.
pub(crate) const RAM: u64 = 0x40_0000;
/// Where the device's 4 KiB of registers are.
pub(crate) const MMIO: u64 = 0x80_0000;
/// Where programs are put.
pub(crate) const CODE: u64 = 0x1000;
/// The last page below 4 GiB is ROM.
pub(crate) const ROM: u64 = 0xffff_f000;

/// What a device was told, and what it does then.
#[derive(Default)]
pub(crate) struct Log {
    /// `(address, size, value)` of each write.
    pub(crate) writes: Vec<(u64, u32, u64)>,
    /// What reads get, first to last, and then zeros.
    pub(crate) answers: VecDeque<u64>,
    /// The guest's time at each access.
    pub(crate) times: Vec<u64>,
}

/// What a device does with an address and a value.
type OnWrite = Box<dyn FnMut(u64, u64) + Send>;

/// A device that keeps a log.
pub(crate) struct Recorder {
    pub(crate) log: Mutex<Log>,
    pub(crate) on_write: Mutex<Option<OnWrite>>,
    control: Arc<Control>,
}

impl MemoryRegionOps for Recorder {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        let mut log = self.log.lock().unwrap();
        log.times.push(self.control.clock().now());
        Ok(log.answers.pop_front().unwrap_or(0))
    }

    fn write(&self, address: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        {
            let mut log = self.log.lock().unwrap();
            log.times.push(self.control.clock().now());
            log.writes.push((address, size, value));
        }
        if let Some(on_write) = self.on_write.lock().unwrap().as_mut() {
            on_write(address, value);
        }
        Ok(())
    }
}

/// An interrupt controller with one vector.
#[derive(Debug)]
pub(crate) struct Pic {
    vector: AtomicU8,
    control: Arc<Control>,
}

impl Pic {
    pub(crate) fn raise(&self, vector: u8) {
        self.vector.store(vector, Ordering::Relaxed);
        self.control.raise(Signals::INTR);
    }
}

impl InterruptSource for Pic {
    fn acknowledge(&self) -> Option<u8> {
        self.control.clear(Signals::INTR);
        Some(self.vector.load(Ordering::Relaxed))
    }
    fn apic_base(&self) -> u64 {
        0xfee0_0900
    }
    fn set_apic_base(&self, value: u64) -> bool {
        value & 0xff == 0
    }
    fn cr8(&self) -> u8 {
        0
    }
    fn set_cr8(&self, _: u8) {}
}

/// The machine.
pub(crate) struct Board {
    pub(crate) machine: Memory,
    pub(crate) memory: AddressSpace,
    pub(crate) system: Region,
    pub(crate) ram_region: Region,
    pub(crate) ram: RamWindow,
    pub(crate) rom: RamWindow,
    pub(crate) smram: RamWindow,
    pub(crate) device: Arc<Recorder>,
    pub(crate) ports: Arc<Recorder>,
    pub(crate) pic: Arc<Pic>,
    pub(crate) control: Arc<Control>,
    /// What the vCPU was made from.
    pub(crate) config: VcpuConfig,
    pub(crate) vcpu: SoftVcpu,
}

impl Board {
    pub(crate) fn new() -> Board {
        Board::with_clock(Clock::counted(0))
    }

    pub(crate) fn with_clock(clock: Clock) -> Board {
        let machine = Memory::new();
        let control = Arc::new(Control::new(clock));
        let recorder = || {
            Arc::new(Recorder {
                log: Mutex::default(),
                on_write: Mutex::default(),
                control: Arc::clone(&control),
            })
        };
        let (device, ports) = (recorder(), recorder());
        let system = machine.region("system").container(Size::MAX);
        let smm = machine.region("smm").container(Size::MAX);
        let io = machine.region("io").container(0x10000);
        let block = |size| RamBlock::anonymous(size).unwrap();
        let (ram, rom, smram) = (block(RAM), block(0x1000), block(0x10000));
        let ram_region = machine.region("ram").ram(ram.clone());
        let rom_region = machine.region("rom").rom(rom.clone());
        let smram_region = machine.region("smram").ram(smram.clone());
        let mmio = machine.region("device").io(0x1000, device.clone());
        let port_region = machine.region("ports").io(0x100, ports.clone());
        let whole = machine.region("whole").alias(&system, 0, Size::MAX).unwrap();
        let memory = machine.create_address_space("memory", &system).unwrap();
        let smm_space = machine.create_address_space("smm", &smm).unwrap();
        let io_space = machine.create_address_space("io", &io).unwrap();
        machine
            .update(|tx| {
                tx.add_subregion(&system, 0, &ram_region)?;
                tx.add_subregion(&system, ROM, &rom_region)?;
                tx.add_subregion(&system, MMIO, &mmio)?;
                tx.add_subregion(&smm, 0, &whole)?;
                tx.add_subregion_overlap(&smm, 0xa_0000, &smram_region, 1)?;
                tx.add_subregion(&io, 0, &port_region)
            })
            .unwrap();
        let pic = Arc::new(Pic {
            vector: AtomicU8::new(0),
            control: Arc::clone(&control),
        });
        let config = VcpuConfig {
            index: 0,
            machine: machine.clone(),
            memory: memory.clone(),
            io: io_space,
            smm: Some(smm_space),
            interrupts: pic.clone(),
            control: Arc::clone(&control),
        };
        Board {
            vcpu: SoftAccelerator::default().create_soft_vcpu(&config).unwrap(),
            machine,
            memory,
            system,
            ram_region,
            ram: ram.window(0, RAM).unwrap(),
            rom: rom.window(0, 0x1000).unwrap(),
            smram: smram.window(0, 0x10000).unwrap(),
            device,
            ports,
            pic,
            control,
            config,
        }
    }

    /// Puts bytes into RAM.
    pub(crate) fn load(&self, at: u64, bytes: &[u8]) {
        self.ram.write(at, bytes).unwrap();
    }

    pub(crate) fn u8(&self, at: u64) -> u8 {
        self.ram.load(at).unwrap()
    }

    pub(crate) fn u16(&self, at: u64) -> u16 {
        self.ram.load::<u16>(at).unwrap().to_le()
    }

    pub(crate) fn u32(&self, at: u64) -> u32 {
        self.ram.load::<u32>(at).unwrap().to_le()
    }

    pub(crate) fn state(&mut self) -> VcpuState {
        self.vcpu.state().unwrap()
    }

    /// Changes registers.
    pub(crate) fn set(&mut self, change: impl FnOnce(&mut VcpuState)) {
        let mut state = self.state();
        change(&mut state);
        self.vcpu.set_state(&state).unwrap();
    }

    /// Real mode, the program at [`CODE`], a stack below it.
    pub(crate) fn real(program: &[u8]) -> Board {
        let mut board = Board::new();
        board.load(CODE, program);
        board.set(|state| {
            state.sregs.cs = Segment {
                base: 0,
                selector: 0,
                ..state.sregs.cs
            };
            state.regs.rip = CODE;
            state.regs.rsp = CODE;
        });
        board
    }

    /// 32-bit protected mode with flat segments: code 8, data 0x10, at level 3: code 0x1b, data 0x23. The GDT is at
    /// 0x800, an IDT of 32-bit interrupt gates to 0x3000 + 16 * vector at 0x2000; at each of them is a `HLT`.
    pub(crate) fn protected(program: &[u8]) -> Board {
        let mut board = Board::new();
        board.protect();
        board.load(CODE, program);
        board
    }

    pub(crate) fn protect(&mut self) {
        for (index, descriptor) in [
            0_u64,
            0x00cf_9b00_0000_ffff,
            0x00cf_9300_0000_ffff,
            0x00cf_fb00_0000_ffff,
            0x00cf_f300_0000_ffff,
        ]
        .iter()
        .enumerate()
        {
            self.load(0x800 + 8 * index as u64, &descriptor.to_le_bytes());
        }
        for vector in 0..0x40 {
            let handler = 0x3000 + 16 * vector;
            self.load(0x2000 + 8 * vector, &gate(8, handler, 0x8e).to_le_bytes());
            self.load(handler, &[0xf4]);
        }
        self.set(|state| {
            let sregs = &mut state.sregs;
            sregs.cr0 = 0x11;
            sregs.gdt = DescriptorTable {
                base: 0x800,
                limit: 0x7f,
            };
            sregs.idt = DescriptorTable {
                base: 0x2000,
                limit: 0x1ff,
            };
            let flat = Segment {
                base: 0,
                limit: u32::MAX,
                selector: 0x10,
                type_: 3,
                present: true,
                db: true,
                s: true,
                g: true,
                ..Segment::default()
            };
            sregs.cs = Segment {
                selector: 8,
                type_: 11,
                ..flat
            };
            sregs.ds = flat;
            sregs.es = flat;
            sregs.fs = flat;
            sregs.gs = flat;
            sregs.ss = flat;
            state.regs.rip = CODE;
            state.regs.rsp = 0x8000;
        });
    }

    /// 64-bit code, without paging: a state that no program can come to, but that can be set.
    pub(crate) fn long(program: &[u8]) -> Board {
        let mut board = Board::protected(program);
        board.set(|state| {
            state.sregs.cs.l = true;
            state.sregs.cs.db = false;
            state.sregs.cr4 = 0x20;
            state.sregs.efer = 0x500;
        });
        board
    }

    /// Runs until the CPU comes out, or has executed very many instructions.
    pub(crate) fn run(&mut self) -> Exit {
        let deadline = self.control.clock().now() + 10_000_000;
        self.control.set_deadline(deadline);
        self.vcpu.run().unwrap()
    }

    /// Runs to a `HLT`.
    pub(crate) fn run_to_halt(&mut self) -> VcpuState {
        let exit = self.run();
        let state = self.state();
        assert_eq!(exit, Exit::Halted, "{state:x?} {:x?}", self.vcpu.last_undefined());
        state
    }

    /// Runs to the `HLT` of an exception's handler; its vector.
    pub(crate) fn run_to_exception(&mut self) -> u64 {
        let state = self.run_to_halt();
        let at = state.regs.rip - 1;
        assert!(
            (0x3000..0x3400).contains(&at) && at.is_multiple_of(16),
            "{state:x?}"
        );
        (at - 0x3000) / 16
    }
}

/// A 32-bit gate.
pub(crate) fn gate(selector: u16, handler: u64, kind: u8) -> u64 {
    handler & 0xffff | u64::from(selector) << 16 | u64::from(kind) << 40 | handler >> 16 << 48
}
