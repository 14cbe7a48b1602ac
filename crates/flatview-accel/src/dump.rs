//! The registers as text.

use std::fmt;

use crate::{Segment, VcpuState};

/// All that says where a vCPU is and in which mode, as `info registers` of QEMU lays it out.
impl fmt::Display for VcpuState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VcpuState { regs, sregs, .. } = self;
        let general = [
            ("RAX", regs.rax),
            ("RBX", regs.rbx),
            ("RCX", regs.rcx),
            ("RDX", regs.rdx),
            ("RSI", regs.rsi),
            ("RDI", regs.rdi),
            ("RBP", regs.rbp),
            ("RSP", regs.rsp),
            ("R8 ", regs.r8),
            ("R9 ", regs.r9),
            ("R10", regs.r10),
            ("R11", regs.r11),
            ("R12", regs.r12),
            ("R13", regs.r13),
            ("R14", regs.r14),
            ("R15", regs.r15),
        ];
        for row in general.chunks(4) {
            let row = row.iter().map(|(name, value)| format!("{name}={value:016x}"));
            writeln!(f, "{}", row.collect::<Vec<_>>().join(" "))?;
        }
        writeln!(
            f,
            "RIP={:016x} RFL={:08x} CPL={} SMM={} HLT={}",
            regs.rip,
            regs.rflags,
            sregs.ss.dpl,
            u8::from(self.smm),
            u8::from(self.halted)
        )?;
        for (name, segment) in [
            ("ES ", &sregs.es),
            ("CS ", &sregs.cs),
            ("SS ", &sregs.ss),
            ("DS ", &sregs.ds),
            ("FS ", &sregs.fs),
            ("GS ", &sregs.gs),
            ("LDT", &sregs.ldt),
            ("TR ", &sregs.tr),
        ] {
            let Segment {
                selector,
                base,
                limit,
                ..
            } = segment;
            let attributes = attributes(segment);
            writeln!(
                f,
                "{name}={selector:04x} {base:016x} {limit:08x} {attributes:04x}"
            )?;
        }
        for (name, table) in [("GDT", sregs.gdt), ("IDT", sregs.idt)] {
            writeln!(f, "{name}=     {:016x} {:08x}", table.base, table.limit)?;
        }
        writeln!(
            f,
            "CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x}",
            sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4
        )?;
        writeln!(f, "EFER={:016x}", sregs.efer)
    }
}

/// Bits 40 to 55 of a descriptor (Intel SDM vol. 3, figure 3-8), without the limit's.
fn attributes(segment: &Segment) -> u16 {
    let bit = |flag, at: u32| u16::from(flag) << at;
    u16::from(segment.type_ & 15)
        | bit(segment.s, 4)
        | u16::from(segment.dpl & 3) << 5
        | bit(segment.present, 7)
        | bit(segment.avl, 12)
        | bit(segment.l, 13)
        | bit(segment.db, 14)
        | bit(segment.g, 15)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn after_power_on() {
        let text = VcpuState::power_on(0x6_0fb1).to_string();
        for line in [
            "RAX=0000000000000000 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000060fb1\n",
            "RIP=000000000000fff0 RFL=00000002 CPL=0 SMM=0 HLT=0\n",
            "CS =f000 00000000ffff0000 0000ffff 0093\n",
            "GDT=     0000000000000000 0000ffff\n",
            "CR0=60000010 CR2=0000000000000000 CR3=0000000000000000 CR4=00000000\nEFER=0000000000000000\n",
        ] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
    }
}
