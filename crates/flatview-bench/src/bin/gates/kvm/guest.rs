//! Guests: a few bytes of code in the lowest 256 KiB, and the registers that they begin with.

use flatview::RamBlock;
use flatview_accel::VcpuState;

use crate::table::Result;

/// The memory of code and tables, from address 0.
pub(super) const LOW: u64 = 0x4_0000;
/// A device that everybody can reach, in real mode as well: the first bytes behind the low memory that are no slot.
pub(super) const DOOR: u64 = 0xd_0000;
/// A port of the same device.
pub(super) const PORT: u16 = 0x80;
/// Where the memory is that guests write to.
pub(super) const GIB: u64 = 1 << 30;

const CODE: u64 = 0x1000;
const TABLES: u64 = 0x2_0000;
/// A guest that spins is told to stop, and says that it runs.
const STOP: u64 = 0x3_8000;
const RUNS: u64 = 0x3_8008;

/// What a guest is in the low memory, and how it begins.
pub(super) struct Guest {
    code: Vec<u8>,
    /// Registers, from those after power-on.
    pub(super) begin: fn(&mut VcpuState),
}

impl Guest {
    /// Real mode: nothing but one instruction, over and over, with as few jumps as there is room for.
    pub(super) fn exits(instruction: &[u8]) -> Guest {
        const LEN: usize = 0x7000;
        let mut code = instruction.repeat(LEN / instruction.len());
        // JMP rel16, back to the first.
        let back = u16::try_from(code.len() + 3).unwrap_or_default().wrapping_neg();
        code.push(0xe9);
        code.extend(back.to_le_bytes());
        Guest {
            code,
            begin: real_mode,
        }
    }

    /// User mode: says that it runs, over and over, until it is told to stop; then knocks at the door, and begins again.
    pub(super) fn spin() -> Guest {
        let at = |place: u64| u32::try_from(place).unwrap_or_default().to_le_bytes();
        let mut code = Vec::new();
        // MOV BYTE [RUNS], 1
        code.extend([0xc6, 0x04, 0x25].into_iter().chain(at(RUNS)).chain([1]));
        // CMP BYTE [STOP], 0; JE, back to the first
        code.extend(
            [0x80, 0x3c, 0x25]
                .into_iter()
                .chain(at(STOP))
                .chain([0, 0x74, 0xee]),
        );
        knock_and_repeat(&mut code);
        Guest {
            code,
            begin: |state| state.enter_user_mode(TABLES, CODE, 0),
        }
    }

    /// User mode: writes a byte at [`GIB`] and after every `stride` bytes, `count` of them; then knocks at the door, and
    /// begins again.
    pub(super) fn writes(count: u32, stride: u32) -> Guest {
        let mut code = Vec::new();
        // MOV ECX, count; MOV EDI, GIB
        code.extend([0xb9].into_iter().chain(count.to_le_bytes()));
        code.extend([0xbf].into_iter().chain((1_u32 << 30).to_le_bytes()));
        // MOV [RDI], AL; ADD RDI, stride; DEC ECX; JNZ, back to the store
        code.extend(
            [0x88, 0x07, 0x48, 0x81, 0xc7]
                .into_iter()
                .chain(stride.to_le_bytes()),
        );
        code.extend([0xff, 0xc9, 0x75, 0xf3]);
        knock_and_repeat(&mut code);
        Guest {
            code,
            begin: |state| state.enter_user_mode(TABLES, CODE, 0),
        }
    }

    /// Puts it into low memory.
    pub(super) fn load(&self, low: &RamBlock) -> Result<()> {
        let window = low.window(0, LOW).ok_or("there is low memory")?;
        window.write(CODE, &self.code)?;
        // The first two GiB as they are, in pages of 2 MiB, for everybody (Intel SDM vol. 3, 4.5).
        const SHARED: u64 = 7;
        window.store(TABLES, (TABLES + 0x1000) | SHARED)?;
        for gib in 0..2 {
            let directory = TABLES + 0x2000 + gib * 0x1000;
            window.store(TABLES + 0x1000 + gib * 8, directory | SHARED)?;
            for page in 0..512 {
                window.store(directory + page * 8, gib << 30 | page << 21 | 1 << 7 | SHARED)?;
            }
        }
        Ok(())
    }
}

/// MOV [DOOR], AL; JMP to the first byte of `code`.
fn knock_and_repeat(code: &mut Vec<u8>) {
    code.push(0xa2);
    code.extend(DOOR.to_le_bytes());
    let back = u32::try_from(code.len() + 5).unwrap_or_default().wrapping_neg();
    code.push(0xe9);
    code.extend(back.to_le_bytes());
}

fn real_mode(state: &mut VcpuState) {
    let sregs = &mut state.sregs;
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    sregs.ds.base = DOOR;
    state.regs.rip = CODE;
    state.regs.rdx = PORT.into();
    state.regs.rflags = 2;
}

/// Tells [`Guest::spin`] in this memory to stop, or lets it go.
pub(super) fn set_stop(low: &RamBlock, stop: bool) -> Result<()> {
    let window = low.window(0, LOW).ok_or("there is low memory")?;
    Ok(window.store(STOP, u8::from(stop))?)
}

/// Waits until it has said again that it runs.
pub(super) fn wait_until_it_runs(low: &RamBlock) -> Result<()> {
    let window = low.window(0, LOW).ok_or("there is low memory")?;
    window.store(RUNS, 0_u8)?;
    while window.load::<u8>(RUNS)? == 0 {
        std::thread::yield_now();
    }
    Ok(())
}
