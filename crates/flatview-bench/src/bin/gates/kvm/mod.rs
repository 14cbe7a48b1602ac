//! What KVM costs beside bare ioctls.
//!
//! Every row does the same thing twice, in turns: through `flatview-kvm`, on a [machine](machine::Machine), and with
//! nothing but `kvm-ioctls`, on a [bare one](bare::Bare). Guests are the same bytes in the same mode.
//!
//! - [`slots`]: what changes of the map cost.
//! - [`exits`]: accesses that come out to a device.
//! - [`dirty`]: harvests of dirty pages.

mod bare;
mod dirty;
mod exits;
mod guest;
mod machine;
mod slots;

use crate::table::{Gates, Result};

const GROUP: &str = "kvm";

pub(crate) fn kvm(gates: &mut Gates) -> Result<()> {
    // It says so on stderr where there is none.
    if !flatview_testkit::kvm() {
        return Ok(());
    }
    slots::one_slot(gates)?;
    slots::split(gates)?;
    slots::while_running(gates)?;
    slots::many(gates)?;
    exits::exits(gates)?;
    dirty::harvests(gates)
}
