//! Decimal adjustment (Intel SDM vol. 2, DAA, DAS, AAA, AAS).

use super::Op;
use crate::exec::{Exec, Flow, Step};

/// `DAA`, `DAS`.
pub(crate) fn packed<const SUBTRACT: bool>(e: &mut Exec, _: &Op) -> Step {
    let (old, old_cf, old_af) = (e.reg::<u8>(0), e.r.flags.cf(), e.r.flags.af());
    let adjust = |value: u8, by: u8| {
        if SUBTRACT {
            value.wrapping_sub(by)
        } else {
            value.wrapping_add(by)
        }
    };
    let (mut al, mut cf) = (old, false);
    let af = old & 15 > 9 || old_af;
    if af {
        let borrows = if SUBTRACT { old < 6 } else { old > 0xff - 6 };
        cf = old_cf || borrows;
        al = adjust(al, 6);
    }
    if old > 0x99 || old_cf {
        al = adjust(al, 0x60);
        cf = true;
    } else if !SUBTRACT {
        cf = false;
    }
    e.set_reg(0, al);
    e.r.flags.set_logic::<u8>(u64::from(al));
    e.r.flags.set_cf_of(cf, false);
    e.r.flags.set_af(af);
    Ok(Flow::Next)
}

/// `AAA`, `AAS`.
pub(crate) fn unpacked<const SUBTRACT: bool>(e: &mut Exec, _: &Op) -> Step {
    let ax: u16 = e.reg(0);
    let adjusts = ax & 15 > 9 || e.r.flags.af();
    let ax = match (adjusts, SUBTRACT) {
        (true, false) => ax.wrapping_add(0x106),
        (true, true) => ax.wrapping_sub(0x106),
        (false, _) => ax,
    };
    e.set_reg(0, ax);
    let al = e.reg::<u8>(0);
    e.set_reg(0, al & 15);
    e.r.flags.set_logic::<u8>(u64::from(al & 15));
    e.r.flags.set_cf_of(adjusts, false);
    e.r.flags.set_af(adjusts);
    Ok(Flow::Next)
}
