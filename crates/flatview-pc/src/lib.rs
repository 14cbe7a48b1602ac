//! A PC of QEMU's kind (`-machine pc`: i440FX and PIIX3), whose memory map is a [`flatview`] tree.
//!
//! It runs unmodified firmware (SeaBIOS, U-Boot) and what that boots. Which CPU executes it, the machine does not know:
//! that is a [`flatview_accel::Accelerator`].
//!
//! # Words
//!
//! - A [`Pc`](board::Pc) is the whole: memory, devices, a CPU. A [`PcConfig`](board::PcConfig) says what it is to be.
//! - A [`Machine`](machine::Machine) is the loop in which it runs, until there is an [`End`](machine::End).
//! - A *device* is a state behind a lock, with [regions](devices::DeviceRegion) that the board maps. It speaks by
//!   [lines](irq::IrqLine) (interrupts, A20, reset), by [timers](timer::TimerQueue), and by
//!   [requests](request::Requests) to the machine.
//! - A [*function*](pci::PciFunction) is a device on the PCI bus: configuration space, BARs, and an address space of its
//!   own for DMA.
//! - The [*layout*](layout::RamLayout) is where RAM is: below 4 GiB, above it, in which node.
//!
//! # A guest of eleven bytes
//!
//! ```
//! use std::io::{self, Read};
//!
//! use flatview_accel::Clock;
//! use flatview_cpu::SoftAccelerator;
//! use flatview_pc::board::{Pc, PcConfig};
//! use flatview_pc::layout::RamLayout;
//! use flatview_pc::machine::End;
//!
//! // The CPU begins 16 bytes below 4 GiB, where the BIOS ends.
//! let mut bios = vec![0; 0x1_0000];
//! bios[0xfff0..0xfff2].copy_from_slice(&[0xeb, 0xee]); // jmp 0xffe0
//! bios[0xffe0..0xffeb].copy_from_slice(&[
//!     0xba, 0x02, 0x04, // mov dx, 0x402: the debug port
//!     0xb0, b'h', 0xee, // mov al, 'h'; out dx, al
//!     0xb0, b'i', 0xee, // mov al, 'i'; out dx, al
//!     0xfa, 0xf4, // cli; hlt
//! ]);
//! let (mut said, debugcon) = io::pipe()?;
//! let mut pc = Pc::new(
//!     PcConfig {
//!         ram: RamLayout::new(16 << 20, &[])?,
//!         bios,
//!         vga_bios: None,
//!         drives: vec![],
//!         serial: None,
//!         debugcon: Some(Box::new(debugcon)),
//!         clock: Clock::counted(0),
//!         date: None,
//!     },
//!     &SoftAccelerator::default(),
//! )?;
//! assert_eq!(pc.machine().run()?, End::Halted { cs: 0xf000, rip: 0xffeb });
//! assert!(pc.memory_space().mtree_flat()?.to_string().contains("pc.bios"));
//! drop(pc);
//! let mut text = String::new();
//! said.read_to_string(&mut text)?;
//! assert_eq!(text, "hi");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The way of an access
//!
//! 1. The CPU executes `OUT`, or a store that is not to RAM, and asks the [address space](board::Pc::port_space).
//! 2. The view finds the device's region, and calls it: on the CPU's thread, with no lock of the memory's.
//! 3. The device locks its state. It sets lines, arms timers, makes requests; none of them calls a device back.
//! 4. A line ends in an [interrupt controller](irq), which tells the CPU's [`Control`](flatview_accel::Control). A
//!    request brings the CPU out of [`run`](flatview_accel::Vcpu::run), and the machine's loop does it.
//! 5. A device that does DMA lets go of its lock first: the guest says where it leads, be it to the device itself.
//!
//! # The way of a change of the map
//!
//! 1. The guest writes a register: PAM or SMRAM in the [host bridge](chipset), a BAR or a command register in a
//!    [function](pci), a bank of the [screen](devices::vga).
//! 2. The register's owner says why to [`Causes`](trace::Causes) and changes the tree in one update.
//! 3. The accelerator hears what came and went, and so does a [`MapTrace`](trace::MapTrace), if there is one.
//!
//! # Time
//!
//! Nothing ticks. A device that counts knows when it began; what it shows follows from the guest's
//! [clock](flatview_accel::Clock). It arms a timer only for what it has to do by itself, and no guest can have one come
//! more often than every 10 µs.
//!
//! # Locks
//!
//! A device's lock may be held when a line is set, a timer armed, a request made. The locks of the controllers
//! ([order](irq)), of the timers and of the requests are leaves behind it. While the memory is updated, only the
//! [function](pci) whose register was written is locked. No listener of the map may call a device.
//!
//! # Rooms
//!
//! | module | what is in it |
//! |---|---|
//! | [`accel`] | which accelerator: KVM, the software CPU, the two together |
//! | [`board`] | all parts of a `pc`, put together |
//! | [`machine`], [`request`], [`timer`], [`device`] | the loop; what devices ask of it; time; what devices have in common |
//! | [`layout`] | where RAM is |
//! | [`chipset`] | i440FX with PAM and SMRAM, PIIX3, PIIX4's power management |
//! | [`pci`] | bus, functions, BARs |
//! | [`irq`] | lines, 8259A, I/O APIC, local APIC |
//! | [`devices`] | IDE, VGA, keyboard, serial port, RTC, PIT, HPET, debug console |
//! | [`firmware`] | fw_cfg, ACPI, SMBIOS, E820; where firmware is found |
//! | [`trace`] | the changes of the map, with their causes |
//! | [`demo`] | a disk that boots and says what it found |
//!
//! # What is not there
//!
//! Of QEMU's `pc`: the 8237 and floppy disks, the parallel port, the SMBus, hotplug of CPUs and PCI functions. There is
//! one CPU. A mouse is there and lies still.
#![forbid(unsafe_code)]

pub mod accel;
pub mod board;
pub mod chipset;
pub mod demo;
pub mod device;
pub mod devices;
pub mod firmware;
pub mod irq;
pub mod layout;
pub mod machine;
pub mod pci;
pub mod request;
pub mod timer;
pub mod trace;

#[cfg(doctest)]
mod guides;
