//! What a machine gives its firmware: where the memory is, which chips there are, what to boot.
//!
//! [`FwCfg`] is the device through which the firmware asks.
mod fw_cfg;

pub use fw_cfg::{FwCfg, FwCfgError, FwCfgKey, FwCfgRegions};
