//! What flatview costs, beside what other crates and bare data structures cost in the same run.
//!
//! - [`measure`]: thread CPU time, and the least and the median of many repetitions.
//! - [`scenes`]: the machines that are changed and looked at.
//! - [`peers`]: the same jobs done by vm-memory, vm-device and the plain structures that bound what is possible.
//! - [`addresses`]: where look-ups go.
//! - [`readers`]: look-ups on several threads, with and without commits.
//! - [`footprint`]: how many bytes it takes.
//!
//! The criterion benches in `benches/` and the binary `gates`, which says in a minute whether the targets are
//! met, are made of these. `docs/benchmarks.md` has results and says how they were got.

pub mod addresses;
pub mod dumps;
pub mod footprint;
pub mod measure;
pub mod peers;
pub mod readers;
pub mod scenes;
