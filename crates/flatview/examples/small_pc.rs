//! The memory map of a small PC, and what happens to it when the guest moves a device.
//!
//! ```text
//! cargo run -p flatview --example small_pc
//! ```
//!
//! A PC's map is a stack of layers: 6 GiB of RAM in two pieces, PCI behind it, holes that the chipset opens
//! and closes, firmware at the top. None of the layers is cut up here. Each is a *region*, put where it
//! belongs with a *priority*; what an access really meets is worked out by the library and is called the
//! *flat view*.

use std::sync::{Arc, Mutex};

use flatview::{
    Error, ListenerResult, MemTxAttrs, MemTxError, Memory, MemoryListener, MemoryRegionOps,
    MemoryRegionSection, Owner, RamBlock, Region, Size,
};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

fn main() -> Result<(), Error> {
    // One `Memory` is one machine. Regions are made from it; they are handles, cheap to clone.
    let memory = Memory::new();
    let pc = Pc::build(&memory)?;

    // An address space is somebody who issues addresses, and the region he looks at. Views are rendered once
    // for each distinct root: the CPU and the network card share one here.
    let cpu = memory.create_address_space("memory", &pc.system)?;
    let _smm = memory.create_address_space("cpu-smm-0", &pc.smm)?;
    let _ports = memory.create_address_space("I/O", &pc.io)?;
    let _dma = memory.create_address_space("nic", &pc.nic.bus_master)?;

    heading("The tree of regions (info mtree)");
    print!("{}", memory.mtree());
    heading("What each address space shows (info mtree -f)");
    print!("{}", memory.mtree_flat());

    // A listener hears every change of one space: this is where a hypervisor's slots would be kept. At first
    // it hears of all that is there, which we have seen already.
    let listener = Arc::new(Heard::default());
    let _registration = cpu.register(listener.clone())?;
    listener.take();

    heading("The guest moves the card's BAR to 0xe0000000");
    // All of a transaction happens at once: nobody ever sees the BAR at neither place, or at both.
    memory.update(|tx| tx.set_address(&pc.nic.bar, 0xe000_0000))?;
    print!("{}\n\n{}", listener.take(), cpu.mtree_flat()?);

    heading("The firmware copies itself to RAM: PAM switches 0xf0000 from PCI to RAM");
    memory.update(|tx| {
        tx.set_enabled(&pc.pam[0][Pam::PCI], false)?;
        tx.set_enabled(&pc.pam[0][Pam::RAM], true)
    })?;
    print!("{}\n\n{}", listener.take(), cpu.mtree_flat()?);

    heading("Why RAM answers at 0xf1000 now, and who else would have");
    print!("{}", cpu.explain(0xf_1000)?);
    Ok(())
}

fn heading(text: &str) {
    println!("\n{text}\n{}\n", "=".repeat(text.len()));
}

/// The regions that `main` goes on with. The others live as long as the containers they are in.
struct Pc {
    system: Region,
    io: Region,
    smm: Region,
    /// For each window, the four things that can be seen in it.
    pam: Vec<[Region; 4]>,
    nic: Nic,
}

struct Nic {
    bar: Region,
    bus_master: Region,
}

/// The modes of a PAM window: what its number in the chipset's register means.
struct Pam;

impl Pam {
    const PCI: usize = 0;
    const RAM: usize = 3;
}

impl Pc {
    fn build(memory: &Memory) -> Result<Pc, Error> {
        // Containers have no memory of their own: where no child is, an access meets nothing.
        let system = memory.region("system").container(Size::MAX);
        let pci = memory.region("pci").container(Size::MAX);
        let io = memory.region("io").container(64 * KIB);
        // A RAM block without host memory: this program draws the map and never goes there.
        let ram = memory.region("pc.ram").ram(RamBlock::unbacked(6 * GIB));

        // Everything that belongs together is changed in one transaction; if a step fails, none is done.
        let receipt = memory.update(|tx| {
            // The RAM itself is mapped nowhere. Aliases are windows onto it: 3 GiB below the PCI hole, the
            // rest above 4 GiB.
            let below = memory.region("ram-below-4g").alias(&ram, 0, 3 * GIB)?;
            let above = memory.region("ram-above-4g").alias(&ram, 3 * GIB, 3 * GIB)?;
            tx.add_subregion(&system, 0, &below)?;
            tx.add_subregion(&system, 4 * GIB, &above)?;

            // PCI is everywhere, but behind all else: whatever has a priority above -1 hides it.
            tx.add_subregion_overlap(&system, 0, &pci, -1)?;

            // The firmware is a ROM that ends at 4 GiB, where the CPU starts. Its last 128 KiB are seen below
            // 1 MiB, too.
            let bios = memory.region("pc.bios").rom(RamBlock::unbacked(256 * KIB));
            let isa_bios = memory.region("isa-bios").readonly(true);
            let isa_bios = isa_bios.alias(&bios, 128 * KIB, 128 * KIB)?;
            tx.add_subregion(&pci, 4 * GIB - 256 * KIB, &bios)?;
            tx.add_subregion_overlap(&pci, 0xe_0000, &isa_bios, 1)?;

            // The VGA window of PCI lies at 0xa0000, where the RAM would hide it. So the chipset lays a piece
            // of PCI over the RAM...
            let vga = memory.region("vga-lowmem").io(128 * KIB, device());
            let smram_region = memory.region("smram-region").alias(&pci, 0xa_0000, 128 * KIB)?;
            tx.add_subregion_overlap(&pci, 0xa_0000, &vga, 1)?;
            tx.add_subregion_overlap(&system, 0xa_0000, &smram_region, 1)?;
            // ...except for a CPU in system management mode, which sees the RAM below: SMRAM.
            let smm = memory.region("cpu-smm").container(Size::MAX);
            let all = memory.region("memory").alias(&system, 0, Size::MAX)?;
            let smram = memory.region("smram").alias(&ram, 0xa_0000, 128 * KIB)?;
            tx.add_subregion(&smm, 0, &all)?;
            tx.add_subregion_overlap(&smm, 0xa_0000, &smram, 1)?;

            // PAM: for each window between 0xc0000 and 0xfffff the chipset chooses one of four. All four are
            // there from the start; to choose is to enable one and disable another. Where PCI has nothing, the
            // RAM behind it shines through.
            let mut pam = Vec::new();
            for (start, size) in pam_windows() {
                let window = |name| memory.region(name).enabled(false);
                let modes = [
                    window("pam-pci").enabled(true).alias(&pci, start, size)?,
                    window("pam-rom").readonly(true).alias(&ram, start, size)?,
                    // Reads from PCI and writes to RAM, which one region cannot say; QEMU shows RAM, too.
                    window("pam-pci").alias(&ram, start, size)?,
                    window("pam-ram").alias(&ram, start, size)?,
                ];
                for mode in &modes {
                    tx.add_subregion_overlap(&system, start, mode, 1)?;
                }
                pam.push(modes);
            }

            // Interrupt controllers. The high priority says that nothing a guest maps can hide the APIC.
            let ioapic = memory.region("ioapic").io(4 * KIB, device());
            let apic = memory.region("apic-msi").io(1024 * KIB, device());
            tx.add_subregion(&system, 0xfec0_0000, &ioapic)?;
            tx.add_subregion_overlap(&system, 0xfee0_0000, &apic, 4096)?;

            // Ports are an address space like any other.
            for (name, port, count) in [("i8042", 0x60, 1), ("rtc", 0x70, 2), ("serial", 0x3f8, 8)] {
                tx.add_subregion(&io, port, &memory.region(name).io(count, device()))?;
            }

            // A network card: registers that the guest can move about (a BAR), and its own way to memory, a
            // bus master. The alias is what the guest switches on and off with the bus-master bit.
            let owner = Owner::device("nic0");
            let bar = memory.region("nic.mmio").owner(&owner).io(128 * KIB, device());
            let bus_master = memory.region("bus master container").owner(&owner);
            let bus_master = bus_master.container(Size::MAX);
            let master = memory.region("bus master").owner(&owner);
            let master = master.alias(&system, 0, Size::MAX)?;
            tx.add_subregion_overlap(&pci, 0xfebc_0000, &bar, 1)?;
            tx.add_subregion(&bus_master, 0, &master)?;
            let nic = Nic { bar, bus_master };

            Ok((smm, pam, nic))
        })?;
        let (smm, pam, nic) = receipt.into_value();
        Ok(Pc {
            system,
            io,
            smm,
            pam,
            nic,
        })
    }
}

/// 64 KiB for the system BIOS, then twelve times 16 KiB for option ROMs and its extension.
fn pam_windows() -> impl Iterator<Item = (u64, u64)> {
    let small = (0..12).map(|n| (0xc_0000 + n * 16 * KIB, 16 * KIB));
    std::iter::once((0xf_0000, 64 * KIB)).chain(small)
}

/// What answers in a device's region. These have nothing to say.
struct Silent;

fn device() -> Arc<dyn MemoryRegionOps> {
    Arc::new(Silent)
}

impl MemoryRegionOps for Silent {
    fn read(&self, _offset: u64, _size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _offset: u64, _size: u32, _value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

/// Writes down what it hears.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn note(&self, what: &str, section: &MemoryRegionSection<'_>) {
        let (range, region, offset) = (
            section.range().range(),
            section.region(),
            section.offset_in_region(),
        );
        let line = format!("{what}  {range}  {} @{offset:#x}", region.name());
        self.0.lock().expect("nobody panics with it").push(line);
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().expect("nobody panics with it")).join("\n")
    }
}

impl MemoryListener for Heard {
    fn name(&self) -> &str {
        "example"
    }

    fn region_del(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.note("region_del", section);
        Ok(())
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        self.note("region_add", section);
        Ok(())
    }
}
