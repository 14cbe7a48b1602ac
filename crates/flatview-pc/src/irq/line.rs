//! A wire from a device to an interrupt controller.

use std::fmt;
use std::sync::Arc;

/// Where lines end: an interrupt controller, or what distributes a line to several.
pub trait InterruptSink: Send + Sync {
    /// The level of input `pin` is now `level`. May be told the same level again.
    fn set_irq(&self, pin: u32, level: bool);
}

/// A wire to one input of an [`InterruptSink`]. Cheap to clone; clones are the same wire.
#[derive(Clone)]
pub struct IrqLine {
    sink: Option<Arc<dyn InterruptSink>>,
    pin: u32,
}

impl IrqLine {
    /// A wire to input `pin` of `sink`.
    pub fn new(sink: Arc<dyn InterruptSink>, pin: u32) -> IrqLine {
        IrqLine {
            sink: Some(sink),
            pin,
        }
    }

    /// A wire that calls `callback` with each level it is set to.
    pub fn to_fn(callback: impl Fn(bool) + Send + Sync + 'static) -> IrqLine {
        IrqLine::new(Arc::new(Callback(callback)), 0)
    }

    /// A wire that leads nowhere.
    pub fn unconnected() -> IrqLine {
        IrqLine { sink: None, pin: 0 }
    }

    /// Sets the level.
    pub fn set(&self, level: bool) {
        if let Some(sink) = &self.sink {
            sink.set_irq(self.pin, level);
        }
    }

    /// High.
    pub fn raise(&self) {
        self.set(true);
    }

    /// Low.
    pub fn lower(&self) {
        self.set(false);
    }

    /// High, then low: an edge.
    pub fn pulse(&self) {
        self.raise();
        self.lower();
    }
}

struct Callback<F>(F);

impl<F: Fn(bool) + Send + Sync> InterruptSink for Callback<F> {
    fn set_irq(&self, _: u32, level: bool) {
        (self.0)(level);
    }
}

impl fmt::Debug for IrqLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sink {
            Some(_) => write!(f, "IrqLine({})", self.pin),
            None => f.write_str("IrqLine(unconnected)"),
        }
    }
}
