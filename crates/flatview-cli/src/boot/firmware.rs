//! Where the firmware comes from.
