//! What the CPU has only as an assistant.

use iced_x86::Mnemonic as M;

use super::Translator;
use crate::ops::{Op, Run, assistant};

impl Translator<'_> {
    pub(crate) fn assistant(&self, op: &mut Op) -> Option<Run> {
        Some(match self.instruction.mnemonic() {
            mnemonic @ (M::Popcnt | M::Tzcnt | M::Lzcnt) => {
                let (number, size) = self.general(0)?;
                let (s, _) = self.source(1, op)?;
                op.dst = number;
                let operation = match mnemonic {
                    M::Popcnt => assistant::POPCNT,
                    M::Tzcnt => assistant::TZCNT,
                    _ => assistant::LZCNT,
                };
                assistant::count_run(operation, s, size)
            }
            M::Crc32 => {
                op.dst = self.general(0)?.0;
                let (s, size) = self.source(1, op)?;
                assistant::crc32_run(s, size.unwrap_or_else(|| self.memory_size()))
            }
            M::Pshufb => {
                let s = self.operands(op)?;
                assistant::pshufb_run(s)
            }
            M::Stac => assistant::access_check::<true>,
            M::Clac => assistant::access_check::<false>,
            M::Clflushopt | M::Clwb => assistant::flush_line,
            M::Invpcid => {
                op.dst = self.general(0)?.0;
                self.memory(op)?;
                assistant::invpcid
            }
            _ => return None,
        })
    }
}
