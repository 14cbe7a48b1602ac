//! Cases that were found to be wrong once.

use std::sync::{Arc, Mutex};
use std::thread;

use flatview::{
    AccessRules, AccessSizes, AddressSpace, AtomicOp, Endianness, IommuAccess, IommuOps, IotlbEntry,
    MemTxAttrs, MemTxError, Memory, MemoryRegionOps, RamBlock, Region, Size,
};

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
const LITTLE: Endianness = Endianness::Little;

/// Writes down offset and size of each access.
struct Register {
    implemented: AccessSizes,
    accesses: Mutex<Vec<(u64, u32)>>,
}

impl Register {
    fn new(min: u8, max: u8) -> Arc<Register> {
        Arc::new(Register {
            implemented: AccessSizes {
                min,
                max,
                unaligned: false,
            },
            accesses: Mutex::default(),
        })
    }

    fn took(&self) -> Vec<(u64, u32)> {
        std::mem::take(&mut *self.accesses.lock().unwrap())
    }
}

impl MemoryRegionOps for Register {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        self.accesses.lock().unwrap().push((offset, size));
        Ok(0)
    }

    fn write(&self, offset: u64, size: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        self.accesses.lock().unwrap().push((offset, size));
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        AccessRules {
            implemented: self.implemented,
            ..AccessRules::default()
        }
    }
}

/// Lets everything through to the same address of another space.
struct Through(AddressSpace);

impl IommuOps for Through {
    fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
        IotlbEntry {
            target: Some(self.0.clone()),
            iova: iova & !0xfff,
            translated_address: iova & !0xfff,
            address_mask: 0xfff,
            permission: IommuAccess::all(),
        }
    }
}

fn show(memory: &Memory, region: &Region) -> AddressSpace {
    let root = memory.region("root").container(Size::MAX);
    memory.update(|tx| tx.add_subregion(&root, 0, region)).unwrap();
    memory.create_address_space("space", &root).unwrap()
}

fn behind_iommu(memory: &Memory, region: &Region) -> AddressSpace {
    let system = show(memory, region);
    show(
        memory,
        &memory.region("iommu").iommu(0x2000, Arc::new(Through(system))),
    )
}

/// K17: ROM is RAM, so who wants memory only meets it, and it refuses as it always does (L7).
#[test]
fn rom_refuses_accesses_that_want_memory_as_all_others() {
    let memory = Memory::new();
    let rom = memory.region("rom").rom(RamBlock::anonymous(0x1000).unwrap());
    let space = show(&memory, &rom);
    let attrs = MemTxAttrs {
        memory: true,
        ..MemTxAttrs::default()
    };
    let refused = Err(MemTxError::DECODE_ERROR);
    assert_eq!(space.store(0, 1_u32, LITTLE, attrs), refused);
    assert_eq!(space.write(0, &[1], attrs), refused);
    assert_eq!(
        space.write(0x2000, &[1], attrs),
        Err(MemTxError::ACCESS_ERROR),
        "nobody is no memory"
    );
}

/// K7: who implements "0 to 0" has not said anything, so it is 1 to 4.
#[test]
fn no_implemented_sizes_are_one_to_four() {
    let memory = Memory::new();
    let register = Register::new(0, 0);
    let space = show(&memory, &memory.region("io").io(0x1000, register.clone()));
    space.load::<u64>(0, LITTLE, ATTRS).unwrap();
    assert_eq!(register.took(), [(0, 4), (4, 4)]);
    space.load::<u8>(3, LITTLE, ATTRS).unwrap();
    assert_eq!(register.took(), [(3, 1)]);
}

/// L11: a word is one access to the device, an IOMMU on the way or not; what it would refuse it refuses.
#[test]
fn words_stay_whole_behind_an_iommu() {
    let memory = Memory::new();
    let register = Register::new(1, 8);
    let region = memory.region("io").io(0x2000, register.clone());
    let space = behind_iommu(&memory, &region);
    space.load::<u64>(8, LITTLE, ATTRS).unwrap();
    space.store(16, 0_u64, LITTLE, ATTRS).unwrap();
    assert_eq!(register.took(), [(8, 8), (16, 8)]);
    let refused = Err(MemTxError::DECODE_ERROR);
    assert_eq!(space.load::<u32>(2, LITTLE, ATTRS), refused, "unaligned");
    assert!(register.took().is_empty());
}

/// Words of memory are updated atomically behind an IOMMU, too.
#[test]
fn atomics_are_atomic_behind_an_iommu() {
    const ROUNDS: u64 = 20_000;
    let memory = Memory::new();
    let ram = memory.region("ram").ram(RamBlock::anonymous(0x1000).unwrap());
    let space = behind_iommu(&memory, &ram);
    thread::scope(|scope| {
        for _ in 0..2 {
            let mut reader = space.reader();
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    reader.atomic(0x10, AtomicOp::Add, 1_u64, LITTLE, ATTRS).unwrap();
                }
            });
        }
    });
    assert_eq!(space.load::<u64>(0x10, LITTLE, ATTRS), Ok(2 * ROUNDS));
}
