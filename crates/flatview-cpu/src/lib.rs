//! An x86 CPU in software.
#![forbid(unsafe_code)]
