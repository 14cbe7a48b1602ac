//! Finding the firmware.
