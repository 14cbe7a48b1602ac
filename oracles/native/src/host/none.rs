//! No oracle here.

use super::Unavailable;
use crate::{Arena, Case, Outcome};

/// See the documentation of this module on x86-64 Linux; here none can be made.
#[derive(Debug)]
pub enum Host {}

impl Host {
    /// Says that there is none.
    ///
    /// # Errors
    ///
    /// [`Unavailable::OtherHost`], always.
    pub fn new() -> Result<Host, Unavailable> {
        Err(Unavailable::OtherHost)
    }

    /// Nobody can call it.
    pub fn run(&mut self, _: &Case, _: &mut Arena) -> Outcome {
        match *self {}
    }
}
