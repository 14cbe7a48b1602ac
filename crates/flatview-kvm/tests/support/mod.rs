//! Small machines, and guests of a few bytes.
#![allow(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it; a test may fail; its guests are small"
)]

pub(crate) mod pic;
pub(crate) mod trace;

use std::sync::{Arc, Mutex};

use flatview::{
    AccessRules, AddressSpace, Endianness, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, RamBlock, Region,
    Size, Transaction, UnassignedIo,
};
use flatview_accel::{Clock, Control, NoInterrupts, Vcpu, VcpuConfig, VcpuState};
use flatview_kvm::{KvmAccelerator, KvmConfig, KvmVcpu};

/// KVM as `config` says; `None`, after a loud word, where there is none.
pub(crate) fn accelerator(config: KvmConfig) -> Option<KvmAccelerator> {
    trace::install();
    flatview_testkit::kvm().then(|| KvmAccelerator::new(config).unwrap())
}

/// The slots of ordinary memory, one line each: number, address, size and flags (1: logged, 2: read-only).
pub(crate) fn slots(kvm: &KvmAccelerator) -> Vec<String> {
    let line = |slot: &flatview_kvm::Slot| {
        format!(
            "{}: {:#x} {:#x} {}",
            slot.id,
            slot.gpa,
            slot.size,
            slot.flags.bits()
        )
    };
    kvm.slots(0).iter().map(line).collect()
}

/// Memory and ports with nothing in them.
pub(crate) struct Board {
    pub(crate) memory: Memory,
    pub(crate) system: Region,
    pub(crate) io: Region,
    pub(crate) space: AddressSpace,
    pub(crate) ports: AddressSpace,
}

impl Board {
    pub(crate) fn new() -> Board {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let io = memory.region("io").io(0x1_0000, Arc::new(UnassignedIo));
        Board {
            space: memory.create_address_space("memory", &system).unwrap(),
            ports: memory.create_address_space("I/O", &io).unwrap(),
            memory,
            system,
            io,
        }
    }

    /// A region with `size` bytes of memory, mapped nowhere.
    pub(crate) fn ram(&self, name: &str, size: u64) -> Region {
        self.memory.region(name).ram(RamBlock::anonymous(size).unwrap())
    }

    /// As [`ram`](Self::ram), mapped at `address` at priority `priority`.
    pub(crate) fn map_ram(&self, name: &str, address: u64, size: u64, priority: i32) -> Region {
        let ram = self.ram(name, size);
        self.map(&ram, address, priority);
        ram
    }

    pub(crate) fn map(&self, region: &Region, address: u64, priority: i32) {
        self.update(|tx| tx.add_subregion_overlap(&self.system, address, region, priority));
    }

    /// One transaction, which has to succeed.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Transaction<'_>) -> Result<(), flatview::Error>) {
        self.memory.update(change).unwrap();
    }

    /// Lets `kvm` follow it, without vCPUs.
    pub(crate) fn attach_to(&self, kvm: &KvmAccelerator) {
        kvm.attach(&self.memory, &self.space, &self.ports, None).unwrap();
    }

    pub(crate) fn write(&self, address: u64, bytes: &[u8]) {
        self.space.write(address, bytes, MemTxAttrs::UNSPECIFIED).unwrap();
    }

    pub(crate) fn read(&self, address: u64, bytes: &mut [u8]) {
        self.space.read(address, bytes, MemTxAttrs::UNSPECIFIED).unwrap();
    }

    /// What a vCPU without interrupt controllers is connected to.
    pub(crate) fn vcpu(&self, index: u32) -> VcpuConfig {
        VcpuConfig {
            index,
            machine: self.memory.clone(),
            memory: self.space.clone(),
            io: self.ports.clone(),
            smm: None,
            interrupts: Arc::new(NoInterrupts),
            control: Arc::new(Control::new(Clock::host())),
        }
    }

    /// Tables at `tables` that map the first `gib` GiB as they are, for user mode too, with pages of 2 MiB. They take
    /// 4 KiB for each GiB, and 8 KiB.
    pub(crate) fn identity_tables(&self, tables: u64, gib: u64) {
        const USER: u64 = 7;
        let mut words = vec![0_u64; 1024 + 512 * gib as usize];
        words[0] = (tables + 0x1000) | USER;
        for index in 0..gib {
            words[512 + index as usize] = (tables + 0x2000 + index * 0x1000) | USER;
        }
        for index in 0..gib * 512 {
            words[1024 + index as usize] = index << 21 | 1 << 7 | USER;
        }
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.write(tables, &bytes);
    }
}

/// Real mode, flat: all segments begin at 0.
pub(crate) fn real_mode(state: &mut VcpuState, ip: u16) {
    let segments = &mut state.sregs;
    for segment in [
        &mut segments.cs,
        &mut segments.ds,
        &mut segments.es,
        &mut segments.fs,
        &mut segments.gs,
        &mut segments.ss,
    ] {
        (segment.base, segment.selector) = (0, 0);
    }
    state.regs.rip = ip.into();
    state.regs.rflags = 2;
}

/// A device that notes what it is asked, and answers every read with the low bytes of one value.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) answer: u64,
    pub(crate) log: Mutex<Vec<Access>>,
}

/// What a [`Recorder`] was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Offset and size.
    Read(u64, u32),
    /// Offset, size and value.
    Write(u64, u32, u64),
}

impl Recorder {
    pub(crate) fn new(answer: u64) -> Arc<Recorder> {
        let log = Mutex::default();
        Arc::new(Recorder { answer, log })
    }

    /// What it was asked since this was called last.
    pub(crate) fn take(&self) -> Vec<Access> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

impl MemoryRegionOps for Recorder {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        self.log.lock().unwrap().push(Access::Read(offset, size));
        Ok(self.answer)
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let value = value & u64::MAX >> (64 - 8 * size);
        self.log.lock().unwrap().push(Access::Write(offset, size, value));
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        AccessRules::any(Endianness::Little)
    }
}

/// A vCPU in real mode at 0x1000, where `code` is, in memory from 0 to 0x10000.
pub(crate) fn real_mode_vcpu(kvm: &KvmAccelerator, board: &Board, code: &[u8]) -> KvmVcpu {
    real_mode_vcpu_with(kvm, board, code, board.vcpu(0))
}

/// As [`real_mode_vcpu`], connected to `config`.
pub(crate) fn real_mode_vcpu_with(
    kvm: &KvmAccelerator,
    board: &Board,
    code: &[u8],
    config: VcpuConfig,
) -> KvmVcpu {
    board.map_ram("ram", 0, 0x1_0000, 0);
    board.write(0x1000, code);
    let mut vcpu = kvm.create_kvm_vcpu(config).unwrap();
    let mut state = vcpu.state().unwrap();
    real_mode(&mut state, 0x1000);
    state.regs.rsp = 0x8000;
    vcpu.set_state(&state).unwrap();
    vcpu
}

/// 64-bit mode at privilege level 0; otherwise as [`VcpuState::enter_user_mode`].
pub(crate) fn kernel_mode(state: &mut VcpuState, tables: u64, rip: u64, rsp: u64) {
    state.enter_user_mode(tables, rip, rsp);
    let sregs = &mut state.sregs;
    for segment in [
        &mut sregs.cs,
        &mut sregs.ds,
        &mut sregs.es,
        &mut sregs.fs,
        &mut sregs.gs,
        &mut sregs.ss,
    ] {
        segment.dpl = 0;
        segment.selector &= !3;
    }
}

/// A vCPU in 64-bit mode at 0x1000, where `code` is, in memory from 0 to 0x40000, with the first GiB as it is.
pub(crate) fn long_mode_vcpu(
    kvm: &KvmAccelerator,
    board: &Board,
    code: &[u8],
    config: VcpuConfig,
    mode: fn(&mut VcpuState, u64, u64, u64),
) -> KvmVcpu {
    board.map_ram("ram", 0, 0x4_0000, 0);
    board.write(0x1000, code);
    board.identity_tables(0x2_0000, 1);
    let mut vcpu = kvm.create_kvm_vcpu(config).unwrap();
    let mut state = vcpu.state().unwrap();
    mode(&mut state, 0x2_0000, 0x1000, 0x8000);
    vcpu.set_state(&state).unwrap();
    vcpu
}
