//! The adapter: what the board and the PCI function see.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use flatview::{
    Error, MemTxError, Memory, Owner, RamBlock, RamError, Region, Transaction, UnassignedIo, WeakMemory,
    WeakRegion,
};

use super::dispi::{Dispi, Effect};
use super::memory::{self, Direct, Planes};
use super::ports::{Ports, Registers as Which};
use super::registers::Registers;
use super::screen::{self, Screen, TextScreen};
use crate::device::{Reset, lock};
use crate::timer::TimerQueue;
use crate::trace::Causes;

/// Bytes of VRAM: QEMU's `vgamem_mb=16`.
const VRAM: u64 = 16 << 20;

/// Where the legacy window is.
const LEGACY: u64 = 0xa_0000;

/// Miscellaneous Graphics as a DISPI mode has it: graphic, 64 KiB at 0xa0000.
const DISPI_WINDOW: u8 = 0x05;
/// Graphics Mode: shift registers for 256 colors.
const SHIFT_256: u8 = 0x40;

/// The standard VGA: see the module.
pub struct Vga {
    state: Mutex<State>,
    timers: Arc<TimerQueue>,
    vram: RamBlock,
    /// Where `vga.chain4` goes, once there are regions.
    place: OnceLock<Place>,
    /// Where it was put; `None` if that is not known. Written within an update only, so that it is true.
    placed: Mutex<Option<Option<Direct>>>,
}

/// Of what the memory keeps alive, and that keeps the adapter alive, only weak handles are held.
struct Place {
    memory: WeakMemory,
    legacy: WeakRegion,
    chain4: Region,
    causes: Arc<Causes>,
}

pub(super) struct State {
    registers: Registers,
    dispi: Dispi,
    /// What the index port of DISPI says.
    dispi_index: u16,
    planes: Planes,
}

/// The regions of a [`Vga`], with QEMU's names. None is mapped yet.
#[derive(Clone, Debug)]
pub struct VgaRegions {
    /// `vga.vram`, 16 MiB: BAR 0, prefetchable.
    pub vram: Region,
    /// `vga.mmio`, 4 KiB: BAR 2. The VGA's ports from 0x3c0 on are at 0x400, DISPI at 0x500.
    pub mmio: Region,
    /// `vga-lowmem`, 128 KiB: the legacy window, at 0xa0000 with priority 1.
    pub lowmem: Region,
    /// `vga` and `vbe`: ports, and where each region begins.
    pub ports: [(u64, Region); 6],
}

impl Vga {
    /// A VGA after power-on. `timers` tell the guest's time, by which the beam goes.
    ///
    /// # Errors
    ///
    /// [`RamError`] if the host has no memory for VRAM.
    pub fn new(timers: Arc<TimerQueue>) -> Result<Arc<Vga>, RamError> {
        let vram = RamBlock::builder(VRAM).name("vga.vram").anonymous()?;
        let window = vram.window(0, VRAM).ok_or_else(|| RamError::OutsideBlock {
            block: vram.name().into(),
            start: 0,
            last: VRAM - 1,
            size: vram.max_size(),
        })?;
        Ok(Arc::new(Vga {
            state: Mutex::new(State {
                registers: Registers::new(),
                dispi: Dispi::new(VRAM),
                dispi_index: 0,
                planes: Planes::new(window),
            }),
            timers,
            vram,
            place: OnceLock::new(),
            placed: Mutex::new(Some(None)),
        }))
    }

    /// Makes the regions; `owner` is the PCI function. `legacy` is the container that has the legacy window at 0xa0000
    /// of it, that is the PCI bus: there `vga.chain4` comes and goes by itself, with priority 2, and `causes` hears that
    /// the VGA did it.
    ///
    /// # Errors
    ///
    /// [`Error`]: `memory` is not the one of `legacy`, or cannot be changed now.
    pub fn regions(
        self: &Arc<Self>,
        memory: &Memory,
        owner: &Owner,
        legacy: &Region,
        causes: &Arc<Causes>,
    ) -> Result<VgaRegions, Error> {
        let region = |name| memory.region(name).owner(owner);
        let io = |name, size: u64, first: u16, registers| {
            let vga = Arc::clone(self);
            region(name).io(
                size,
                Arc::new(Ports {
                    vga,
                    first,
                    size,
                    registers,
                }),
            )
        };
        let vram = region("vga.vram").ram(self.vram.clone());
        let chain4 = region("vga.chain4").alias(&vram, 0, 0x1_0000_u64)?;
        let mmio = region("vga.mmio").io(0x1000_u64, Arc::new(UnassignedIo));
        let remapped = io("vga ioports remapped", 0x20, 0x3c0, Which::VgaMmio);
        let dispi = io("bochs dispi interface", 0x16, 0, Which::DispiMmio);
        memory.update(|tx| {
            tx.add_subregion(&mmio, 0x400, &remapped)?;
            tx.add_subregion(&mmio, 0x500, &dispi)
        })?;
        let vga = |first: u16, size: u64| (u64::from(first), io("vga", size, first, Which::VgaPorts));
        let regions = VgaRegions {
            vram,
            mmio,
            lowmem: io("vga-lowmem", memory::WINDOW, 0, Which::LegacyWindow),
            ports: [
                vga(0x3b4, 2),
                vga(0x3ba, 1),
                vga(0x3c0, 16),
                vga(0x3d4, 2),
                vga(0x3da, 1),
                (0x1ce, io("vbe", 4, 0x1ce, Which::DispiPorts)),
            ],
        };
        // Whoever asks for regions a second time gets them; `vga.chain4` stays where it first was.
        let _ = self.place.set(Place {
            memory: memory.downgrade(),
            legacy: legacy.downgrade(),
            chain4,
            causes: Arc::clone(causes),
        });
        Ok(regions)
    }

    /// What is on the screen now.
    pub fn screen(&self) -> Screen {
        let state = lock(&self.state);
        if state.dispi.is_enabled() {
            let (width, height, bits) = state.dispi.mode();
            return Screen::Graphic {
                width: width.into(),
                height: height.into(),
                bits: bits.into(),
            };
        }
        if state.registers.is_blank() {
            Screen::Blank
        } else if state.registers.is_graphic() {
            screen::graphic(&state.registers)
        } else {
            Screen::Text(TextScreen::new(&state.registers, &state.planes))
        }
    }

    pub(super) fn read_port(&self, port: u16) -> u8 {
        let now = self.timers.now();
        lock(&self.state).registers.read(port, now)
    }

    pub(super) fn write_port(&self, port: u16, value: u8) -> Result<(), MemTxError> {
        {
            let mut state = lock(&self.state);
            state.registers.write(port, value);
            state.show_banks();
        }
        self.place_chain4()
    }

    pub(super) fn read_legacy(&self, offset: u64) -> u8 {
        let State {
            registers,
            dispi,
            planes,
            ..
        } = &mut *lock(&self.state);
        planes.read(registers, dispi.bank_offset(), offset)
    }

    pub(super) fn write_legacy(&self, offset: u64, value: u8) {
        let State {
            registers,
            dispi,
            planes,
            ..
        } = &mut *lock(&self.state);
        planes.write(registers, dispi.bank_offset(), offset, value);
    }

    pub(super) fn dispi_index(&self) -> u16 {
        lock(&self.state).dispi_index
    }

    pub(super) fn set_dispi_index(&self, index: u16) {
        lock(&self.state).dispi_index = index;
    }

    pub(super) fn read_dispi(&self, register: u16) -> u16 {
        lock(&self.state).dispi.read(register)
    }

    pub(super) fn write_dispi(&self, register: u16, value: u16) -> Result<(), MemTxError> {
        {
            let mut state = lock(&self.state);
            if let Effect::Set { clear } = state.dispi.write(register, value) {
                // A mode is no more than VRAM has.
                let _ = state.planes.vram.fill(0, 0, clear.min(VRAM));
            }
            state.show_banks();
        }
        self.place_chain4()
    }

    /// Puts `vga.chain4` where the registers have it. The lock of the state is not held meanwhile: an update waits for
    /// other updates, and for whatever their listeners do.
    fn place_chain4(&self) -> Result<(), MemTxError> {
        let Some(Place {
            memory,
            legacy,
            chain4,
            causes,
        }) = self.place.get()
        else {
            return Ok(());
        };
        if *lock(&self.placed) == Some(lock(&self.state).direct()) {
            return Ok(());
        }
        let Some(legacy) = legacy.upgrade() else {
            return Ok(());
        };
        let change = |tx: &mut Transaction<'_>| {
            // Another CPU may have been here; updates come one after the other, so what is true now stays it.
            let direct = lock(&self.state).direct();
            if let Some(container) = chain4.state()?.container {
                tx.del_subregion(&container, chain4)?;
            }
            if let Some(Direct {
                at,
                size,
                vram_offset,
            }) = direct
            {
                tx.set_size(chain4, size)?;
                tx.set_alias_offset(chain4, vram_offset)?;
                tx.add_subregion_overlap(&legacy, LEGACY + at, chain4, 2)?;
            }
            *lock(&self.placed) = Some(direct);
            Ok(())
        };
        let cause = || "VGA: which of its memory the guest sees at 0xa0000".to_owned();
        if !causes.update(memory, cause, change) {
            *lock(&self.placed) = None;
            return Err(MemTxError::ERROR);
        }
        Ok(())
    }
}

impl State {
    fn direct(&self) -> Option<Direct> {
        memory::direct(&self.registers, self.dispi.bank_offset(), VRAM)
    }

    /// A DISPI mode shows its banks in the legacy window, whatever the VGA's registers are set to.
    fn show_banks(&mut self) {
        let (_, _, bits) = self.dispi.mode();
        self.registers.is_linear = self.dispi.is_enabled() && bits != 4;
        if self.dispi.is_enabled() {
            let graphics = &mut self.registers.graphics;
            graphics[6] = graphics[6] & !0x0c | DISPI_WINDOW;
            let shift = if self.registers.is_linear { SHIFT_256 } else { 0 };
            graphics[5] = graphics[5] & !0x60 | shift;
        }
    }
}

impl Reset for Vga {
    /// What is in VRAM stays.
    fn reset(&self) {
        {
            let mut state = lock(&self.state);
            state.registers = Registers::new();
            state.dispi = Dispi::new(VRAM);
            state.dispi_index = 0;
        }
        // If the map cannot be changed now, it is when the guest next writes a register.
        let _ = self.place_chain4();
    }
}

impl fmt::Debug for Vga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Vga")
            .field("registers", &state.registers)
            .field("dispi", &state.dispi)
            .finish_non_exhaustive()
    }
}
