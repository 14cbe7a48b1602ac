//! The numbers of items that are no files.

/// Which item: a number that QEMU's `include/standard-headers/linux/qemu_fw_cfg.h` and `hw/i386/fw_cfg.h` give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FwCfgKey(pub(in super::super) u16);

impl FwCfgKey {
    /// "QEMU".
    pub const SIGNATURE: FwCfgKey = FwCfgKey(0x00);
    /// What the device can do, 4 bytes: bit 0 its two ports, bit 1 DMA.
    pub const ID: FwCfgKey = FwCfgKey(0x01);
    /// The machine's UUID, 16 bytes, in the order in which it is written.
    pub const UUID: FwCfgKey = FwCfgKey(0x02);
    /// The RAM that the machine begins with, in bytes, 8 bytes.
    pub const RAM_SIZE: FwCfgKey = FwCfgKey(0x03);
    /// Whether there is no screen, 2 bytes.
    pub const NOGRAPHIC: FwCfgKey = FwCfgKey(0x04);
    /// How many CPUs the machine begins with, 2 bytes.
    pub const NB_CPUS: FwCfgKey = FwCfgKey(0x05);
    /// Where the kernel belongs, 4 bytes.
    pub const KERNEL_ADDR: FwCfgKey = FwCfgKey(0x07);
    /// The kernel's size, 4 bytes.
    pub const KERNEL_SIZE: FwCfgKey = FwCfgKey(0x08);
    /// Where the initial RAM disk belongs, 4 bytes.
    pub const INITRD_ADDR: FwCfgKey = FwCfgKey(0x0a);
    /// The size of the initial RAM disk, 4 bytes.
    pub const INITRD_SIZE: FwCfgKey = FwCfgKey(0x0b);
    /// How many NUMA nodes there are, then a node for each CPU, then the RAM of each node: 8 bytes each.
    pub const NUMA: FwCfgKey = FwCfgKey(0x0d);
    /// Whether the firmware offers a menu, 2 bytes.
    pub const BOOT_MENU: FwCfgKey = FwCfgKey(0x0e);
    /// One more than the greatest APIC id that a CPU may ever have, 2 bytes.
    pub const MAX_CPUS: FwCfgKey = FwCfgKey(0x0f);
    /// Where the kernel begins to run, 4 bytes.
    pub const KERNEL_ENTRY: FwCfgKey = FwCfgKey(0x10);
    /// The kernel.
    pub const KERNEL_DATA: FwCfgKey = FwCfgKey(0x11);
    /// The initial RAM disk.
    pub const INITRD_DATA: FwCfgKey = FwCfgKey(0x12);
    /// Where the command line of the kernel belongs, 4 bytes.
    pub const CMDLINE_ADDR: FwCfgKey = FwCfgKey(0x13);
    /// The size of the command line with its zero, 4 bytes.
    pub const CMDLINE_SIZE: FwCfgKey = FwCfgKey(0x14);
    /// The command line, with a zero.
    pub const CMDLINE_DATA: FwCfgKey = FwCfgKey(0x15);
    /// Where the kernel's real mode part belongs, 4 bytes.
    pub const SETUP_ADDR: FwCfgKey = FwCfgKey(0x16);
    /// The size of the kernel's real mode part, 4 bytes.
    pub const SETUP_SIZE: FwCfgKey = FwCfgKey(0x17);
    /// The kernel's real mode part.
    pub const SETUP_DATA: FwCfgKey = FwCfgKey(0x18);
    /// The directory: how many files there are, and 64 bytes for each.
    pub const FILE_DIR: FwCfgKey = FwCfgKey(0x19);
    /// Whether the timer interrupt, ISA 0, is input 2 of the IOAPIC, 4 bytes.
    pub const IRQ0_OVERRIDE: FwCfgKey = FwCfgKey(0x8002);
    /// The HPETs: how many, 1 byte, and 15 bytes for each.
    pub const HPET: FwCfgKey = FwCfgKey(0x8004);
}
