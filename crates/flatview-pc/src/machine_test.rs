use std::sync::Mutex;

use flatview_accel::{Clock, InstructionBytes};

use super::*;
use crate::device::lock;

/// Cannot execute its first instruction, and then shuts down.
#[derive(Debug)]
struct Stuck {
    state: Arc<Mutex<VcpuState>>,
    has_tried: bool,
}

impl Vcpu for Stuck {
    fn run(&mut self) -> Result<Exit, AccelError> {
        Ok(match std::mem::replace(&mut self.has_tried, true) {
            false => Exit::Unemulated(InstructionBytes::new(&[0x9b])),
            true => Exit::Shutdown,
        })
    }

    fn step(&mut self) -> Result<Exit, AccelError> {
        self.run()
    }

    fn state(&mut self) -> Result<VcpuState, AccelError> {
        Ok(lock(&self.state).clone())
    }

    fn set_state(&mut self, state: &VcpuState) -> Result<(), AccelError> {
        *lock(&self.state) = state.clone();
        Ok(())
    }

    fn reset(&mut self) -> Result<(), AccelError> {
        Ok(())
    }

    fn takes_interrupts(&self) -> bool {
        false
    }

    fn instructions(&self) -> Option<u64> {
        None
    }
}

/// How a machine ends whose vCPU cannot execute an instruction at this privilege level, and what its state is then.
fn ends(privilege_level: u8) -> (Result<End, AccelError>, VcpuState) {
    let state = Arc::new(Mutex::new(VcpuState::power_on(0)));
    lock(&state).sregs.ss.dpl = privilege_level;
    let control = Arc::new(Control::new(Clock::host()));
    let vcpu = Box::new(Stuck {
        state: Arc::clone(&state),
        has_tried: false,
    });
    let timers = TimerQueue::new(Arc::clone(&control));
    let requests = Requests::new(&control);
    let end = Machine::new(vcpu, control, timers, requests, Vec::new()).run();
    let state = lock(&state).clone();
    (end, state)
}

/// As KVM does by itself: a kernel that cannot go on ends the machine, a program gets #UD.
#[test]
fn a_program_cannot_end_the_machine_with_an_instruction() {
    let (end, state) = ends(3);
    assert!(matches!(end, Ok(End::TripleFault { .. })), "{end:?}");
    assert_eq!(state.injected, Some(INVALID_OPCODE));
    let (end, state) = ends(0);
    assert!(matches!(end, Err(AccelError::Unemulated { .. })), "{end:?}");
    assert_eq!(state.injected, None);
}
