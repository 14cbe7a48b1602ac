#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::mpsc;

use flatview::{RamBlock, Size, UnassignedIo};
use proptest::prelude::*;

use super::*;

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
const RAM: u64 = 0x4000;
/// How many zeros a transfer writes at most.
const MOST_ZEROS: u32 = 16 << 20;
/// In the memory space: the device itself, a ROM, and nobody.
const ITSELF: u64 = 0x8000;
const ROM: u64 = 0x9000;
const NOBODY: u64 = 0xa000;

struct Machine {
    #[expect(dead_code, reason = "kept alive")]
    machine: Memory,
    memory: AddressSpace,
    io: AddressSpace,
    fw_cfg: Arc<FwCfg>,
}

fn machine() -> Machine {
    let machine = Memory::new();
    let system = machine.region("system").container(Size::MAX);
    let ports = machine.region("io").io(0x1_0000, Arc::new(UnassignedIo));
    let memory = machine.create_address_space("memory", &system).unwrap();
    let io = machine.create_address_space("I/O", &ports).unwrap();
    let fw_cfg = FwCfg::new(memory.clone());
    let owner = Owner::device("fw_cfg");
    let regions = fw_cfg.regions(&machine, &owner);
    let mirror = machine.region("mirror").alias(&regions.dma, 0, 8).unwrap();
    let ram = machine.region("ram").ram(RamBlock::anonymous(RAM).unwrap());
    let rom = machine.region("rom").rom(RamBlock::anonymous(0x1000).unwrap());
    machine
        .update(|tx| {
            tx.add_subregion(&system, 0, &ram)?;
            tx.add_subregion(&system, ITSELF, &mirror)?;
            tx.add_subregion(&system, ROM, &rom)?;
            tx.add_subregion(&ports, FwCfg::CONTROL_PORT.into(), &regions.control)?;
            tx.add_subregion(&ports, FwCfg::DMA_PORT.into(), &regions.dma)
        })
        .unwrap();
    Machine {
        machine,
        memory,
        io,
        fw_cfg,
    }
}

impl Machine {
    fn select(&self, key: u16) {
        self.io.store(0x510, key, Endianness::Little, ATTRS).unwrap();
    }

    fn read(&self, len: usize) -> Vec<u8> {
        (0..len)
            .map(|_| self.io.load::<u8>(0x511, Endianness::Little, ATTRS).unwrap())
            .collect()
    }

    /// Has a transfer done by a descriptor at 0x100 and returns what is in its control word then.
    fn dma(&self, control: u32, length: u32, address: u64) -> u32 {
        let fields = [control.to_be_bytes(), length.to_be_bytes()].concat();
        self.memory.write(0x100, &fields, ATTRS).unwrap();
        self.memory.write(0x108, &address.to_be_bytes(), ATTRS).unwrap();
        self.begin_dma(0x100);
        self.memory.load(0x100, Endianness::Big, ATTRS).unwrap()
    }

    fn begin_dma(&self, descriptor: u64) {
        let bytes = descriptor.to_be_bytes();
        self.io.write(FwCfg::DMA_PORT.into(), &bytes[..4], ATTRS).unwrap();
        self.io
            .write(u64::from(FwCfg::DMA_PORT) + 4, &bytes[4..], ATTRS)
            .unwrap();
    }

    fn memory(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(address, &mut bytes, ATTRS).unwrap();
        bytes
    }

    /// The directory: name, key, size.
    fn directory(&self) -> Vec<(String, u16, u32)> {
        self.select(0x19);
        let count = u32::from_be_bytes(self.read(4).try_into().unwrap());
        (0..count)
            .map(|_| {
                let size = u32::from_be_bytes(self.read(4).try_into().unwrap());
                let key = u16::from_be_bytes(self.read(4)[..2].try_into().unwrap());
                let name = String::from_utf8(self.read(56)).unwrap();
                (name.trim_end_matches('\0').to_owned(), key, size)
            })
            .collect()
    }
}

const ERROR: u32 = 1;
const READ: u32 = 2;
const SKIP: u32 = 4;
const SELECT: u32 = 8;
const WRITE: u32 = 16;

#[test]
fn items_are_read_byte_by_byte_and_end_in_zeros() {
    let machine = machine();
    machine.fw_cfg.add_u16(FwCfgKey::NB_CPUS, 0x102);
    machine.fw_cfg.add_u64(FwCfgKey::RAM_SIZE, 0x1_0000_0000);
    machine.fw_cfg.add_string(FwCfgKey::CMDLINE_DATA, "quiet");
    assert_eq!(machine.read(6), b"QEMU\0\0", "selected from the beginning");
    machine.select(0x01);
    assert_eq!(machine.read(4), [3, 0, 0, 0]);
    machine.select(0x05);
    assert_eq!(machine.read(3), [2, 1, 0]);
    machine.select(0x03);
    assert_eq!(machine.read(9), [0, 0, 0, 0, 1, 0, 0, 0, 0]);
    machine.select(0x15);
    assert_eq!(machine.read(7), b"quiet\0\0");
    machine.select(0x8005);
    assert_eq!(
        machine.read(2),
        [0, 0],
        "of the architecture, and nobody added it"
    );
    machine.select(0x4005);
    assert_eq!(machine.read(1), [2], "the bit for writing does not count");
    machine.select(0x3fff);
    assert_eq!(machine.read(1), [0]);
}

#[test]
fn both_ports_give_data_and_only_words_select() {
    let machine = machine();
    machine.io.store(0x510, 5_u8, Endianness::Little, ATTRS).unwrap();
    assert_eq!(machine.io.load::<u8>(0x510, Endianness::Little, ATTRS), Ok(b'Q'));
    assert_eq!(machine.read(1), b"E");
    let word = machine.io.load::<u16>(0x510, Endianness::Little, ATTRS);
    assert_eq!(word, Err(MemTxError::DECODE_ERROR));
    let long = machine.io.store(0x510, 0_u32, Endianness::Little, ATTRS);
    assert_eq!(long, Err(MemTxError::DECODE_ERROR));
    assert_eq!(machine.read(1), b"M");
}

#[test]
fn the_port_of_dma_says_who_it_is() {
    let machine = machine();
    let load = |port| machine.io.load::<u32>(port, Endianness::Big, ATTRS).unwrap();
    assert_eq!(load(0x514).to_be_bytes(), *b"QEMU");
    assert_eq!(load(0x518).to_be_bytes(), *b" CFG");
    assert_eq!(machine.io.load::<u8>(0x519, Endianness::Big, ATTRS), Ok(b'C'));
    assert_eq!(
        machine.io.load::<u64>(0x514, Endianness::Big, ATTRS),
        Ok(DMA_SIGNATURE)
    );
    let byte = machine.io.store(0x514, 0_u8, Endianness::Big, ATTRS);
    assert_eq!(byte, Err(MemTxError::DECODE_ERROR));
}

#[test]
fn files_are_sorted_and_their_keys_follow() {
    let machine = machine();
    machine.fw_cfg.add_file("etc/e820", vec![1; 20]).unwrap();
    machine.fw_cfg.add_file("etc/table-loader", vec![2; 128]).unwrap();
    machine.fw_cfg.add_file("bootorder", vec![]).unwrap();
    let named = |name: &str, key, size| (name.to_owned(), key, size);
    assert_eq!(
        machine.directory(),
        [
            named("bootorder", 0x20, 0),
            named("etc/e820", 0x21, 20),
            named("etc/table-loader", 0x22, 128),
        ]
    );
    machine.select(0x22);
    assert_eq!(machine.read(1), [2]);
    machine
        .fw_cfg
        .modify_file("bootorder", b"/rom@x\0".to_vec())
        .unwrap();
    assert_eq!(machine.directory()[0], named("bootorder", 0x20, 7));
    assert_eq!(machine.fw_cfg.file("bootorder").unwrap(), b"/rom@x\0");
    machine.select(0x23);
    assert_eq!(machine.read(1), [0], "no such file yet");
}

#[test]
fn what_cannot_be_a_file_is_refused() {
    let FwCfgError::BadName { .. } = machine().fw_cfg.add_file(&"x".repeat(56), vec![]).unwrap_err() else {
        panic!("a name that is too long");
    };
    let fw_cfg = machine().fw_cfg;
    fw_cfg.add_file(&"x".repeat(55), vec![]).unwrap();
    for name in ["", "a\0b"] {
        assert!(matches!(
            fw_cfg.add_file(name, vec![]),
            Err(FwCfgError::BadName { .. })
        ));
    }
    fw_cfg.add_file("a", vec![]).unwrap();
    assert!(matches!(
        fw_cfg.add_file("a", vec![]),
        Err(FwCfgError::NameTaken { .. })
    ));
    assert!(matches!(
        fw_cfg.modify_file("b", vec![]),
        Err(FwCfgError::NoSuchFile { .. })
    ));
    for number in 2..32 {
        fw_cfg.add_file(&number.to_string(), vec![]).unwrap();
    }
    let error = fw_cfg.add_file("33", vec![]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "fw_cfg has no place for `33`: 32 files are the most"
    );
}

#[test]
fn dma_selects_reads_and_skips() {
    let machine = machine();
    machine.fw_cfg.add_file("f", (0..=255).collect()).unwrap();
    assert_eq!(machine.dma(0x20 << 16 | SELECT | READ, 4, 0x1000), 0);
    assert_eq!(machine.memory(0x1000, 5), [0, 1, 2, 3, 0]);
    assert_eq!(machine.dma(SKIP, 16, 0), 0);
    assert_eq!(machine.read(1), [20], "the data port goes on where DMA was");
    assert_eq!(machine.dma(0, 16, 0), 0, "nothing to do");
    assert_eq!(machine.dma(READ, 1, 0x1000), 0);
    assert_eq!(machine.memory(0x1000, 2), [21, 1]);
    machine.memory.fill(0x1000, 0xee, 0x40, ATTRS).unwrap();
    assert_eq!(machine.dma(SKIP, 232, 0), 0);
    assert_eq!(machine.dma(READ, 6, 0x1000), 0);
    assert_eq!(
        machine.memory(0x1000, 7),
        [254, 255, 0, 0, 0, 0, 0xee],
        "zeros behind the end"
    );
    assert_eq!(machine.dma(SKIP, u32::MAX, 0), 0);
    assert_eq!(machine.dma(READ, 2, 0x1000), 0);
    assert_eq!(machine.dma(0x3fff << 16 | SELECT | READ, 3, 0x1010), 0);
    assert_eq!(
        machine.memory(0x1010, 4),
        [0, 0, 0, 0xee],
        "zeros of what cannot exist"
    );
}

#[test]
fn dma_to_where_no_memory_is_fails() {
    let machine = machine();
    machine.fw_cfg.add_file("f", vec![7; 0x2_0000]).unwrap();
    let select = 0x20 << 16 | SELECT;
    for target in [ROM, NOBODY, ITSELF, u64::MAX - 3] {
        assert_eq!(machine.dma(select | READ, 8, target), ERROR, "{target:#x}");
    }
    assert_eq!(
        machine.dma(select | READ, 0x2_0000, 0x3000),
        ERROR,
        "beyond the end of RAM"
    );
    assert_eq!(machine.memory(RAM - 1, 1), [7], "what could be written was");
    assert_eq!(machine.dma(0x3fff << 16 | SELECT | READ, u32::MAX, 0x3000), ERROR);
    for descriptor in [ROM, NOBODY, ITSELF, RAM - 4, u64::MAX] {
        machine.begin_dma(descriptor);
    }
    machine.select(0);
    assert_eq!(machine.read(4), b"QEMU");
}

#[test]
fn zeros_are_not_written_without_end() {
    let machine = Memory::new();
    let ram = machine
        .region("ram")
        .ram(RamBlock::anonymous(u64::from(MOST_ZEROS) + 0x3000).unwrap());
    let memory = machine.create_address_space("memory", &ram).unwrap();
    let ports = FwCfg::new(memory.clone()).regions(&machine, &Owner::device("fw_cfg"));
    memory.fill(0, 0xee, MOST_ZEROS as usize + 0x3000, ATTRS).unwrap();
    let length = MOST_ZEROS + 5;
    let descriptor = [
        READ.to_be_bytes(),
        length.to_be_bytes(),
        [0; 4],
        0x1000_u32.to_be_bytes(),
    ]
    .concat();
    memory.write(0, &descriptor, ATTRS).unwrap();
    ports
        .dma
        .dispatch_write(0, 0_u64, Endianness::Big, ATTRS)
        .unwrap();
    assert_eq!(memory.load::<u32>(0, Endianness::Big, ATTRS), Ok(ERROR));
    let end = 0x1000 + 4 + u64::from(MOST_ZEROS);
    assert_eq!(memory.load::<u8>(end - 1, Endianness::Big, ATTRS), Ok(0));
    assert_eq!(memory.load::<u8>(end, Endianness::Big, ATTRS), Ok(0xee));
}

#[test]
fn only_writable_files_are_written_and_only_within() {
    let machine = machine();
    let (sender, received) = mpsc::channel();
    machine.fw_cfg.add_file("fixed", vec![1; 8]).unwrap();
    machine
        .fw_cfg
        .add_writable_file("open", vec![0; 8], move |offset, bytes| {
            sender.send((offset, bytes.to_vec())).unwrap();
        })
        .unwrap();
    machine.memory.write(0x2000, &[9, 8, 7, 6], ATTRS).unwrap();
    assert_eq!(machine.dma(0x20 << 16 | SELECT | WRITE, 4, 0x2000), ERROR);
    assert_eq!(machine.fw_cfg.file("fixed").unwrap(), [1; 8]);
    assert_eq!(machine.dma(0x21 << 16 | SELECT | SKIP, 3, 0), 0);
    assert_eq!(machine.dma(WRITE, 4, 0x2000), 0);
    assert_eq!(machine.fw_cfg.file("open").unwrap(), [0, 0, 0, 9, 8, 7, 6, 0]);
    assert_eq!(received.try_recv().unwrap(), (3, vec![9, 8, 7, 6]));
    assert_eq!(machine.dma(WRITE, 2, 0x2000), ERROR, "there is one byte left");
    assert_eq!(machine.dma(WRITE, 1, 0x2000), ERROR, "and it was passed");
    assert_eq!(machine.dma(0x21 << 16 | SELECT | WRITE, 8, NOBODY), ERROR);
    assert_eq!(
        machine.dma(0x05 << 16 | SELECT | WRITE, 1, 0x2000),
        ERROR,
        "nobody added it"
    );
    assert!(received.try_recv().is_err());
    machine.select(0x21);
    assert_eq!(
        machine.read(8),
        [0, 0, 0, 9, 8, 7, 6, 0],
        "the guest reads what it wrote"
    );
}

#[test]
fn what_is_written_may_use_the_device() {
    let machine = machine();
    let weak = Arc::downgrade(&machine.fw_cfg);
    let callback = move |_: usize, bytes: &[u8]| {
        let fw_cfg = weak.upgrade().unwrap();
        fw_cfg.modify_file("copy", bytes.to_vec()).unwrap();
    };
    machine.fw_cfg.add_file("copy", vec![]).unwrap();
    machine
        .fw_cfg
        .add_writable_file("open", vec![0; 2], callback)
        .unwrap();
    machine.memory.write(0x2000, &[5, 6], ATTRS).unwrap();
    assert_eq!(machine.dma(0x21 << 16 | SELECT | WRITE, 2, 0x2000), 0);
    assert_eq!(machine.fw_cfg.file("copy").unwrap(), [5, 6]);
}

#[test]
fn a_reset_selects_the_signature_and_forgets_half_an_address() {
    let machine = machine();
    machine.select(1);
    machine
        .io
        .store(0x514, 0xffff_u32, Endianness::Big, ATTRS)
        .unwrap();
    machine.fw_cfg.reset();
    assert_eq!(machine.read(4), b"QEMU");
    machine
        .memory
        .write(0x100, &[0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0x10, 0], ATTRS)
        .unwrap();
    machine.select(0);
    machine
        .io
        .store(0x518, 0x100_u32, Endianness::Big, ATTRS)
        .unwrap();
    assert_eq!(machine.memory(0x1000, 3), b"QE\0");
}

/// An access of the guest, mostly to where something is.
fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..RAM,
        ITSELF - 8..ITSELF + 16,
        ROM - 8..ROM + 8,
        NOBODY..NOBODY + 8,
        any::<u64>()
    ]
}

proptest! {
    #[test]
    fn no_guest_does_harm(
        accesses in prop::collection::vec(
            (0x50e_u64..0x520, 0_u32..4, any::<Option<u64>>(), address(), (any::<u32>(), any::<u32>(), address())),
            1..60,
        )
    ) {
        let machine = machine();
        machine.fw_cfg.add_file("a", vec![1; 300]).unwrap();
        machine.fw_cfg.add_writable_file("b", vec![2; 300], |offset, bytes| {
            assert!(offset + bytes.len() <= 300);
        }).unwrap();
        for (port, size, value, descriptor, (control, length, target)) in accesses {
            // Keys and lengths near what exists.
            let control = control & 0x3f_001f;
            let length = if length % 7 == 0 { length } else { length % 512 };
            let fields = [control.to_be_bytes(), length.to_be_bytes()].concat();
            let _ = machine.memory.write(descriptor, &fields, ATTRS);
            let _ = machine.memory.write(descriptor.wrapping_add(8), &target.to_be_bytes(), ATTRS);
            machine.begin_dma(descriptor);
            let size = 1_usize << size;
            match value {
                Some(value) => drop(machine.io.write(port, &value.to_le_bytes()[..size], ATTRS)),
                None => drop(machine.io.read(port, &mut [0; 8][..size], ATTRS)),
            }
        }
        machine.select(0);
        prop_assert_eq!(machine.read(4), b"QEMU");
        prop_assert_eq!(machine.fw_cfg.file("a").unwrap(), vec![1; 300]);
        prop_assert_eq!(machine.fw_cfg.file("b").unwrap().len(), 300);
    }
}
