//! Decoded code: [`pages`] knows which memory it came from, [`cache`] keeps it.

pub(crate) mod cache;
pub(crate) mod pages;
