//! Two vCPUs that share a program: one that refuses instructions, and the assistant.

use std::sync::Arc;

use flatview::{AddressSpace, MemTxAttrs};
use flatview_accel::{
    AccelError, Accelerator, AssistConfig, AssistedAccelerator, Control, Exit, InstructionBytes, Signals,
    Vcpu, VcpuConfig, VcpuState,
};
use flatview_cpu::{SoftAccelerator, SoftVcpu, instruction_name};

use crate::board::{Board, CODE, MMIO};

/// Whether an instruction is refused, by its bytes and how many were executed before.
type Refuses = fn(&[u8], u64) -> bool;

/// Makes vCPUs that refuse instructions.
#[derive(Clone, Copy, Debug)]
struct Refuser {
    refuses: Refuses,
}

impl Accelerator for Refuser {
    fn name(&self) -> &'static str {
        "refuser"
    }

    fn has_smm(&self) -> bool {
        true
    }

    fn create_vcpu(&self, config: VcpuConfig) -> Result<Box<dyn Vcpu>, AccelError> {
        Ok(Box::new(Refusing {
            inner: SoftAccelerator::default().create_soft_vcpu(&config)?,
            memory: config.memory,
            control: config.control,
            refuses: self.refuses,
        }))
    }
}

#[derive(Debug)]
struct Refusing {
    inner: SoftVcpu,
    memory: AddressSpace,
    control: Arc<Control>,
    refuses: Refuses,
}

impl Refusing {
    /// The next instruction, if it is refused. Code is where the page tables leave it.
    fn refused(&mut self) -> Option<InstructionBytes> {
        let state = self.inner.state().unwrap();
        let is_interrupted = self.control.signals().contains(Signals::INTR)
            && self.inner.takes_interrupts()
            && !state.interrupt_shadow;
        if state.halted || is_interrupted {
            return None;
        }
        let mut bytes = [0; 15];
        let at = state.sregs.cs.base + state.regs.rip;
        self.memory.read(at, &mut bytes, MemTxAttrs::UNSPECIFIED).unwrap();
        let count = self.inner.instructions().unwrap();
        (self.refuses)(&bytes, count).then(|| InstructionBytes::new(&bytes))
    }
}

impl Vcpu for Refusing {
    fn run(&mut self) -> Result<Exit, AccelError> {
        while self.control.clock().now() < self.control.deadline() {
            match self.step()? {
                Exit::Stepped => {}
                exit => return Ok(exit),
            }
        }
        Ok(Exit::Deadline)
    }

    fn step(&mut self) -> Result<Exit, AccelError> {
        match self.refused() {
            Some(instruction) => Ok(Exit::Unemulated(instruction)),
            None => self.inner.step(),
        }
    }

    fn state(&mut self) -> Result<VcpuState, AccelError> {
        self.inner.state()
    }

    fn set_state(&mut self, state: &VcpuState) -> Result<(), AccelError> {
        self.inner.set_state(state)
    }

    fn reset(&mut self) -> Result<(), AccelError> {
        self.inner.reset()
    }

    fn takes_interrupts(&self) -> bool {
        self.inner.takes_interrupts()
    }

    fn instructions(&self) -> Option<u64> {
        self.inner.instructions()
    }
}

fn assisted(refuses: Refuses, instructions: u32) -> AssistedAccelerator {
    let config = AssistConfig {
        instructions,
        name: instruction_name,
        ..AssistConfig::default()
    };
    let first = Arc::new(Refuser { refuses });
    AssistedAccelerator::new(first, Arc::new(SoftAccelerator::assistant()), config)
}

/// What a program leaves behind.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    state: VcpuState,
    low_memory: Vec<u8>,
    writes: [Vec<(u64, u32, u64)>; 2],
}

fn outcome(board: &Board, vcpu: &mut dyn Vcpu) -> Outcome {
    board.control.set_deadline(board.control.clock().now() + 100_000);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted, "{:x?}", vcpu.state().unwrap());
    let mut state = vcpu.state().unwrap();
    // The clock of one is not the other's.
    state.msrs.tsc = None;
    let mut low_memory = vec![0; 0x1_0000];
    board.ram.read(0, &mut low_memory).unwrap();
    let writes = [&board.device, &board.ports].map(|device| device.log.lock().unwrap().writes.clone());
    Outcome {
        state,
        low_memory,
        writes,
    }
}

/// A program ends in the same state, whoever executes which of its instructions.
fn is_the_same_in_any_case(make: impl Fn() -> Board) -> VcpuState {
    let mut board = make();
    let mut vcpu = std::mem::replace(&mut board.vcpu, make().vcpu);
    let expected = outcome(&board, &mut vcpu);
    let cases: [(Refuses, u32); 5] = [
        (|_, _| true, 1),
        (|_, _| true, 4),
        (|_, count| count % 2 == 0, 1),
        (|_, count| count % 3 == 2, 2),
        (|bytes, _| bytes[0] & 1 == 0, 1),
    ];
    for (index, (refuses, instructions)) in cases.into_iter().enumerate() {
        let mut board = make();
        let accelerator = assisted(refuses, instructions);
        let mut vcpu = accelerator.create_vcpu(board.config.clone()).unwrap();
        vcpu.set_state(&board.state()).unwrap();
        assert_eq!(outcome(&board, &mut *vcpu), expected, "{index}");
        assert!(accelerator.statistics().executed() > 0, "{index}");
        assert_eq!(accelerator.statistics().failed_repairs(), 0, "{index}");
    }
    expected.state
}

#[test]
fn integers_and_strings() {
    let state = is_the_same_in_any_case(|| {
        Board::protected(&[
            0xb9, 0x40, 0, 0, 0, 0xbf, 0, 0x50, 0, 0, 0xb0,
            0x5a, // mov ecx, 0x40; mov edi, 0x5000; mov al, 0x5a
            0xf3, 0xaa, // rep stosb
            0xbe, 0, 0x50, 0, 0, 0xbf, 0, 0x60, 0, 0, 0xb1,
            0x10, // mov esi, 0x5000; mov edi, 0x6000; mov cl, 0x10
            0xf3, 0xa5, // rep movsd
            0x31, 0xc0, 0xb1, 10, // xor eax, eax; mov cl, 10
            0x01, 0xc8, 0xe2, 0xfc, // add eax, ecx; loop
            0x50, 0x5b, 0x1b, 0xd3, 0xf4, // push eax; pop ebx; sbb edx, ebx; hlt
        ])
    });
    assert_eq!((state.regs.rbx, state.regs.rdi), (55, 0x6040));
}

#[test]
fn x87_and_sse() {
    let state = is_the_same_in_any_case(|| {
        let mut board = Board::protected(&[
            0xdb, 0xe3, 0xd9, 0xeb, 0xd9, 0xe8, 0xde, 0xc1, // fninit; fldpi; fld1; faddp
            0xdd, 0x15, 0, 0x50, 0, 0, 0xdf, 0xe0, // fst qword [0x5000]; fnstsw ax
            0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0xfe, 0xc0, // movd xmm0, eax; paddd xmm0, xmm0
            0x0f, 0xae, 0x15, 0, 0x51, 0, 0, // ldmxcsr [0x5100]
            0xf3, 0x0f, 0x7f, 0x05, 0, 0x52, 0, 0, 0xf4, // movdqu [0x5200], xmm0; hlt
        ]);
        board.load(0x5100, &0x1fa0_u32.to_le_bytes());
        board.set(|state| state.sregs.cr4 |= 0x600);
        board
    });
    assert_eq!(
        (state.regs.rax & 0xffff, state.fpu.mxcsr),
        (7 << 11 | 0x20, 0x1fa0)
    );
    assert_eq!(state.fpu.xmm[0][..2], [0x40, 0x70]);
}

#[test]
fn ports_and_devices() {
    let state = is_the_same_in_any_case(|| {
        let board = Board::protected(&[
            0xba, 0x10, 0, 0, 0, 0xbe, 0, 0x50, 0, 0, 0xb9, 4, 0, 0,
            0, // mov edx, 0x10; mov esi, 0x5000; mov ecx, 4
            0xf3, 0x6e, // rep outsb
            0xbf, 0, 0x51, 0, 0, 0xb1, 2, 0xf3, 0x6d, // mov edi, 0x5100; mov cl, 2; rep insd
            0xa1, 0, 0, 0x80, 0, // mov eax, [0x800000]
            0x01, 0x05, 8, 0, 0x80, 0, 0xf4, // add [0x800008], eax; hlt
        ]);
        board.load(0x5000, b"text");
        board
            .ports
            .log
            .lock()
            .unwrap()
            .answers
            .extend([0x1234_5678, 0x9abc_def0]);
        board.device.log.lock().unwrap().answers.extend([7, 9]);
        board
    });
    assert_eq!((state.regs.rax, MMIO), (7, 0x80_0000));
}

#[test]
fn a_page_that_comes_later() {
    let state = is_the_same_in_any_case(|| {
        let mut board = Board::protected(&[
            0xa1, 0x10, 0, 0x40, 0, // mov eax, [0x400010]
            0x43, 0xa3, 0x20, 0, 0x40, 0, 0xf4, // inc ebx; mov [0x400020], eax; hlt
        ]);
        // Pages of 4 MiB; the handler of #PF puts the second one where the first one is.
        board.load(0x9000, &0x83_u32.to_le_bytes());
        board.load(0x10, &0x1234_u32.to_le_bytes());
        board.load(0x3000 + 16 * 14, &[0xe9, 0x1b, 0x3f, 0, 0]); // jmp 0x7000
        // mov dword [0x9004], 0x83; mov edx, cr2; add esp, 4; iretd
        board.load(
            0x7000,
            &[
                0xc7, 0x05, 4, 0x90, 0, 0, 0x83, 0, 0, 0, 0x0f, 0x20, 0xd2, 0x83, 0xc4, 4, 0xcf,
            ],
        );
        board.set(|state| {
            (state.sregs.cr3, state.sregs.cr4, state.sregs.cr0) = (0x9000, 0x10, 0x8000_0011);
        });
        board
    });
    assert_eq!(
        (state.regs.rax, state.regs.rbx, state.regs.rdx),
        (0x1234, 1, 0x40_0010)
    );
}

#[test]
fn interrupts_of_programs_and_devices() {
    let state = is_the_same_in_any_case(|| {
        let board = Board::protected(&[
            0xcc, 0xcd, 0x30, // int3; int 0x30
            0xfb, 0xe6, 0x10, 0x42, 0xfa, // sti; out 0x10, al; inc edx; cli
            0x31, 0xc0, 0xf7, 0xf0, // xor eax, eax; div eax
        ]);
        for vector in [3, 0x20, 0x30] {
            board.load(0x3000 + 16 * vector, &[0x43, 0xcf]); // inc ebx; iretd
        }
        let pic = Arc::clone(&board.pic);
        *board.ports.on_write.lock().unwrap() = Some(Box::new(move |_, _| pic.raise(0x20)));
        board
    });
    assert_eq!((state.regs.rbx, state.regs.rip), (3, 0x3001));
}

#[test]
fn wide_registers() {
    let state = is_the_same_in_any_case(|| {
        let mut board = Board::long(&[
            0x49, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, // mov r8, 0x0807060504030201
            0x48, 0x0f, 0xc7, 0x0c, 0x25, 0, 0x50, 0, 0, // cmpxchg16b [0x5000]
            0x4d, 0x11, 0xc1, 0xf4, // adc r9, r8; hlt
        ]);
        board.set(|state| (state.regs.rbx, state.regs.rcx, state.regs.rdx) = (5, 6, 0));
        board
    });
    assert_eq!(state.regs.r9, 0x0807_0605_0403_0201);
}

#[test]
fn what_nobody_can_do_comes_out() {
    let mut board = Board::protected(&[0x40, 0x0f, 0x01, 0xc1]); // inc eax; vmcall
    let accelerator = assisted(|bytes, _| bytes[0] == 0x0f, 1);
    let mut vcpu = accelerator.create_vcpu(board.config.clone()).unwrap();
    vcpu.set_state(&board.state()).unwrap();
    board.control.set_deadline(1000);
    for _ in 0..2 {
        let Exit::Unemulated(instruction) = vcpu.run().unwrap() else {
            panic!("it was executed");
        };
        assert!(instruction.as_slice().starts_with(&[0x0f, 0x01, 0xc1]));
        let state = vcpu.state().unwrap();
        assert_eq!((state.regs.rip, state.regs.rax), (CODE + 1, 1));
    }
    let row = accelerator.statistics().instructions().swap_remove(0);
    assert_eq!((row.name.as_str(), row.repaired, row.failed), ("vmcall", 0, 2));
    assert_eq!(accelerator.statistics().last_refusal(), None);
    // A state that the assistant cannot have.
    let mut state = vcpu.state().unwrap();
    state.smm = true;
    vcpu.set_state(&state).unwrap();
    assert!(matches!(vcpu.step().unwrap(), Exit::Unemulated(_)));
    assert!(accelerator.statistics().last_refusal().unwrap().contains("smm"));
}

#[test]
fn it_is_named_after_the_first_and_can_be_turned_off() {
    let config = AssistConfig {
        enabled: false,
        ..AssistConfig::default()
    };
    let first = Arc::new(Refuser { refuses: |_, _| true });
    let accelerator = AssistedAccelerator::new(first, Arc::new(SoftAccelerator::assistant()), config);
    assert_eq!((accelerator.name(), accelerator.has_smm()), ("refuser", true));
    let mut board = Board::protected(&[0x40]);
    let mut vcpu = accelerator.create_vcpu(board.config.clone()).unwrap();
    vcpu.set_state(&board.state()).unwrap();
    assert!(matches!(vcpu.step().unwrap(), Exit::Unemulated(_)));
    assert_eq!(accelerator.statistics().instructions(), []);
}

#[test]
fn a_program_that_sets_the_time_stamp_counter() {
    // wrmsr; nop; hlt: refused is WRMSR, then NOP.
    let mut board = Board::protected(&[0x0f, 0x30, 0x90, 0xf4]);
    board.set(|state| (state.regs.rcx, state.regs.rdx) = (0x10, 0x100));
    let accelerator = assisted(|bytes, _| matches!(bytes[0], 0x0f | 0x90), 1);
    let mut vcpu = accelerator.create_vcpu(board.config.clone()).unwrap();
    vcpu.set_state(&board.state()).unwrap();
    board.control.set_deadline(1000);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    assert_eq!(vcpu.state().unwrap().msrs.tsc.unwrap() >> 32, 0x100);
    assert_eq!(
        (accelerator.statistics().executed(), vcpu.instructions()),
        (2, Some(3))
    );
}
