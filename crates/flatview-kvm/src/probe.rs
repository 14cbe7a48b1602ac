//! Guests of a few bytes in real mode, and a bare vCPU that runs them: for tests of what the kernel does between exits.
//!
//! 64 KiB of memory at 0, which is the only slot; memory and ports of the [`Guest`] have nothing in them. Data segments
//! other than DS begin where the devices are: ES at [`DEVICE`], FS at the local APIC, GS at the I/O APIC.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::{Arc, Mutex};

use flatview::{
    AccessRules, AddressSpace, Endianness, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, RamBlock, Region,
    Size, UnassignedIo,
};
use kvm_bindings::kvm_segment;
use kvm_ioctls::{VcpuExit, VcpuFd};

use crate::accel::Attachment;
use crate::{Bus, KvmAccelerator, KvmConfig, Slot, SlotFlags};

/// Where ES begins.
pub(crate) const DEVICE: u64 = 0xd000_0000;
/// Where FS begins (Intel SDM vol. 3, 12.4.1).
pub(crate) const LOCAL_APIC: u64 = 0xfee0_0000;
/// Where GS begins (82093AA datasheet, 3.0).
pub(crate) const IO_APIC: u64 = 0xfec0_0000;

/// Bytes of the memory at 0.
const RAM: u64 = 0x1_0000;
/// Where the code begins.
const CODE: u64 = 0x1000;

/// Why the vCPU came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    Halted,
    Port(u16, Vec<u8>),
    Write(u64, Vec<u8>),
    Read(u64, usize),
    Eoi(u8),
    Other(String),
}

pub(crate) struct Guest {
    // The first to go: it unregisters the listeners.
    pub(crate) attachment: Arc<Attachment>,
    pub(crate) accelerator: KvmAccelerator,
    pub(crate) memory: Memory,
    pub(crate) system: Region,
    pub(crate) io: Region,
    pub(crate) space: AddressSpace,
    pub(crate) ports: AddressSpace,
    ram: AddressSpace,
    pub(crate) vcpu: VcpuFd,
}

impl Guest {
    /// `None`, after a loud word, where there is no KVM.
    pub(crate) fn new(config: KvmConfig) -> Option<Guest> {
        flatview_testkit::kvm().then(|| Guest::with(KvmAccelerator::new(config).unwrap()))
    }

    fn with(accelerator: KvmAccelerator) -> Guest {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let io = memory.region("io").io(0x1_0000, Arc::new(UnassignedIo));
        let block = RamBlock::anonymous(RAM).unwrap();
        let ram = memory.region("ram").ram(block.clone());
        let space = memory.create_address_space("memory", &system).unwrap();
        let ports = memory.create_address_space("I/O", &io).unwrap();
        let attached = accelerator.attachment(&memory, &space, &ports, None);
        let slot = Slot {
            id: 100,
            gpa: 0,
            size: RAM,
            host_address: block.host_address().unwrap(),
            flags: SlotFlags::empty(),
            block,
            block_offset: 0,
        };
        accelerator.vm.set_slot(&slot).unwrap();
        let vcpu = accelerator.vm.fd.create_vcpu(0).unwrap();
        accelerator.vm.map_coalesced_ring(&vcpu).unwrap();
        let guest = Guest {
            attachment: attached.unwrap(),
            accelerator,
            ram: memory.create_address_space("RAM", &ram).unwrap(),
            memory,
            system,
            io,
            space,
            ports,
            vcpu,
        };
        guest.begin();
        guest
    }

    /// Real mode, at the code, interrupts disabled.
    fn begin(&self) {
        let mut sregs = self.vcpu.get_sregs().unwrap();
        let segment = |base: u64, old: kvm_segment| kvm_segment {
            base,
            selector: 0,
            ..old
        };
        sregs.cs = segment(0, sregs.cs);
        sregs.ds = segment(0, sregs.ds);
        sregs.ss = segment(0, sregs.ss);
        sregs.es = segment(DEVICE, sregs.es);
        sregs.fs = segment(LOCAL_APIC, sregs.fs);
        sregs.gs = segment(IO_APIC, sregs.gs);
        self.vcpu.set_sregs(&sregs).unwrap();
        let mut regs = self.vcpu.get_regs().unwrap();
        (regs.rip, regs.rsp, regs.rflags) = (CODE, 0x8000, 2);
        self.vcpu.set_regs(&regs).unwrap();
    }

    pub(crate) fn write(&self, address: u64, bytes: &[u8]) {
        self.ram.write(address, bytes, MemTxAttrs::UNSPECIFIED).unwrap();
    }

    /// The code that runs from now on.
    pub(crate) fn code(&self, pieces: &[&[u8]]) {
        self.write(CODE, &pieces.concat());
        self.begin();
    }

    /// The code that an interrupt with this vector comes to.
    pub(crate) fn handler(&self, vector: u8, pieces: &[&[u8]]) {
        let at = 0x2000 + u64::from(vector) * 0x40;
        self.write(at, &pieces.concat());
        // A far pointer: the segment is 0.
        self.write(u64::from(vector) * 4, &u32::try_from(at).unwrap().to_le_bytes());
    }

    /// Runs until the vCPU comes out, and finishes what it came out for: reads are zero.
    pub(crate) fn run(&mut self) -> Out {
        match self.vcpu.run().unwrap() {
            VcpuExit::Hlt => Out::Halted,
            VcpuExit::IoOut(port, bytes) => Out::Port(port, bytes.to_vec()),
            VcpuExit::MmioWrite(address, bytes) => Out::Write(address, bytes.to_vec()),
            VcpuExit::MmioRead(address, bytes) => {
                bytes.fill(0);
                Out::Read(address, bytes.len())
            }
            VcpuExit::IoapicEoi(vector) => Out::Eoi(vector),
            other => Out::Other(format!("{other:?}")),
        }
    }
}

/// `out port, al/ax/eax` of a value of so many bytes.
pub(crate) fn out(port: u16, value: u32, size: usize) -> Vec<u8> {
    let [low, high] = port.to_le_bytes();
    let mut code = vec![0xba, low, high, 0x66, 0xb8]; // mov dx, port; mov eax, value
    code.extend(value.to_le_bytes());
    code.extend(match size {
        1 => &[0xee][..],
        2 => &[0xef],
        _ => &[0x66, 0xef],
    });
    code
}

/// `mov [es:offset], al/ax/eax` of a value of so many bytes; 8 bytes come from [`WIDE`] by MMX.
pub(crate) fn store(offset: u16, value: u32, size: usize) -> Vec<u8> {
    let mut code = vec![0x66, 0xb8]; // mov eax, value
    code.extend(value.to_le_bytes());
    code.extend(match size {
        1 => &[0x26, 0xa2][..],
        2 => &[0x26, 0xa3],
        4 => &[0x66, 0x26, 0xa3],
        // movq mm0, [WIDE]; movq [es:offset], mm0
        _ => &[0x0f, 0x6f, 0x06, 0x00, 0x30, 0x26, 0x0f, 0x7f, 0x06],
    });
    code.extend(offset.to_le_bytes());
    code
}

/// Where [`store`] has 8 bytes from.
pub(crate) const WIDE: u64 = 0x3000;

/// `mov dword [fs/gs:offset], value`.
pub(crate) fn store_apic(segment: u8, offset: u16, value: u32) -> Vec<u8> {
    let mut code = vec![0x66, segment, 0xc7, 0x06];
    code.extend(offset.to_le_bytes());
    code.extend(value.to_le_bytes());
    code
}

/// Prefixes of [`store_apic`].
pub(crate) const FS: u8 = 0x64;
pub(crate) const GS: u8 = 0x65;

pub(crate) const HLT: &[u8] = &[0xf4];

/// A device that notes what is written to it, where others do, too.
#[derive(Debug)]
pub(crate) struct Notes {
    pub(crate) name: &'static str,
    pub(crate) endianness: Endianness,
    pub(crate) written: Arc<Mutex<Vec<String>>>,
}

impl MemoryRegionOps for Notes {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        self.written
            .lock()
            .unwrap()
            .push(format!("{} {offset:#x}/{size}?", self.name));
        Ok(0)
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let line = format!("{} {offset:#x}/{size}={value:#x}", self.name);
        self.written.lock().unwrap().push(line);
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        AccessRules::any(self.endianness)
    }
}

impl Guest {
    /// A device of 4 KiB at [`DEVICE`], or of 16 ports at 0x600, and what is written to it.
    pub(crate) fn device(
        &self,
        bus: Bus,
        endianness: Endianness,
        written: &Arc<Mutex<Vec<String>>>,
    ) -> Region {
        let (name, size, container, at) = match bus {
            Bus::Memory => ("memory", 0x1000, &self.system, DEVICE),
            Bus::Ports => ("ports", 16, &self.io, 0x600),
        };
        let device = self.memory.region(name).io(
            size,
            Arc::new(Notes {
                name,
                endianness,
                written: Arc::clone(written),
            }),
        );
        self.memory
            .update(|tx| tx.add_subregion(container, at, &device))
            .unwrap();
        device
    }
}
