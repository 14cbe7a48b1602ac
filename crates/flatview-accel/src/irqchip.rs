//! Interrupt controllers that an accelerator has itself.

use std::fmt::Debug;
use std::sync::Weak;

use crate::AccelError;

/// A message-signalled interrupt: a write that an interrupt controller understands (Intel SDM vol. 3, 12.11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MsiMessage {
    /// Where the device would write: who is meant.
    pub address: u64,
    /// What it would write: vector, delivery mode, and in bit 15 whether it is a level.
    pub data: u32,
}

/// Interrupt controllers that an accelerator has itself: a board that finds them has none of its own, or, if they are
/// [split](Self::is_split), only those that are not the local APICs.
pub trait IrqChip: Debug + Send + Sync {
    /// Whether it has the local APICs only. The board then has the I/O APIC and the 8259As: it sends messages, says
    /// which ones its pins have, and hears of their ends.
    fn is_split(&self) -> bool;

    /// Raises or lowers the line of a global system interrupt. Of one that has no route, nothing comes.
    fn set_irq(&self, gsi: u32, level: bool);

    /// Back to the state after power-on, but for the local APICs, which are their vCPUs'.
    fn reset(&self);

    /// Sends a message to the local APICs.
    fn send_msi(&self, message: MsiMessage);

    /// For a split one: the messages that the pins of the board's I/O APIC send, from pin 0 on; `None` for a masked one.
    /// Of those that are levels, the [listener](Self::on_eoi) hears the end.
    ///
    /// # Errors
    ///
    /// [`AccelError`]: it is not split, or there are more pins than it can have (KVM: 24). Nothing is changed.
    fn set_pin_messages(&self, pins: &[Option<MsiMessage>]) -> Result<(), AccelError>;

    /// For a split one: who hears that a local APIC is done with a level-triggered interrupt, on the thread of that
    /// vCPU. The last one that was named. It is not kept alive, since it may have this as well.
    fn on_eoi(&self, listener: Weak<dyn EoiListener>);
}

/// An I/O APIC that is the board's, as a [split](IrqChip::is_split) accelerator sees it.
pub trait EoiListener: Debug + Send + Sync {
    /// A local APIC has got an EOI for a level-triggered interrupt with this vector (Intel SDM vol. 3, 12.8.5).
    fn eoi(&self, vector: u8);
}
