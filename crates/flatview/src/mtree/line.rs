//! The lines of a text, without what comes behind: owners and the marks of accelerators.

use std::fmt;

/// The line of a region in a tree, as QEMU writes it; [`Display`](fmt::Display) gives it without the owner and
/// without a line feed.
///
/// ```
/// use flatview::mtree::{AliasWindow, TreeLine};
///
/// let line = TreeLine {
///     overflows: 0,
///     level: 2,
///     start: 0xe_0000,
///     last: 0xf_ffff,
///     priority: 1,
///     nonvolatile: false,
///     type_name: "rom",
///     name: "isa-bios",
///     alias: Some(AliasWindow { target: "pc.bios", first: 0x2_0000, last: 0x3_ffff }),
///     disabled: false,
/// };
/// assert_eq!(
///     line.to_string(),
///     "    00000000000e0000-00000000000fffff (prio 1, rom): \
///      alias isa-bios @pc.bios 0000000000020000-000000000003ffff"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TreeLine<'a> {
    /// How many marks of an overflow stand before the line: its own, and those of regions before it that have
    /// no line.
    pub overflows: u32,
    /// 1 for a root, one more for each container around it.
    pub level: u32,
    /// The first address.
    pub start: u64,
    /// The last address, inclusive; the first one for size 0, too.
    pub last: u64,
    /// The priority in its own container.
    pub priority: i32,
    /// Whether it is marked as non-volatile itself.
    pub nonvolatile: bool,
    /// Without the `nv-`: `ramd`, `romd`, `rom`, `ram` or `i/o` (rule A28).
    pub type_name: &'a str,
    /// The name of the region.
    pub name: &'a str,
    /// What it shows, if it is an alias.
    pub alias: Option<AliasWindow<'a>>,
    /// Whether it is disabled.
    pub disabled: bool,
}

/// What an alias shows, as its line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AliasWindow<'a> {
    /// The name of the target.
    pub target: &'a str,
    /// The first byte of the target.
    pub first: u64,
    /// The last byte, inclusive, modulo 2^64; the first one for size 0, too.
    pub last: u64,
}

impl fmt::Display for TreeLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for _ in 0..self.overflows {
            f.write_str(OVERFLOW)?;
        }
        for _ in 0..self.level {
            f.write_str("  ")?;
        }
        write_range(
            f,
            self.start,
            self.last,
            self.priority,
            self.nonvolatile,
            self.type_name,
        )?;
        match self.alias {
            None => f.write_str(self.name)?,
            Some(AliasWindow { target, first, last }) => {
                write!(f, "alias {} @{target} {first:016x}-{last:016x}", self.name)?;
            }
        }
        if self.disabled {
            f.write_str(" [disabled]")?;
        }
        Ok(())
    }
}

/// What stands before the indentation of a region that begins or ends beyond 2^64.
pub(super) const OVERFLOW: &str = "[DETECTED OVERFLOW!] ";

/// The line of a range of a view, as QEMU writes it; [`Display`](fmt::Display) gives it without the owner,
/// without marks of an accelerator, and without a line feed.
///
/// ```
/// use flatview::mtree::FlatLine;
///
/// let line = FlatLine {
///     start: 0xe_0000,
///     last: 0xf_ffff,
///     priority: 0,
///     nonvolatile: false,
///     type_name: "rom",
///     name: "pc.bios",
///     offset: 0x2_0000,
/// };
/// assert_eq!(
///     line.to_string(),
///     "  00000000000e0000-00000000000fffff (prio 0, rom): pc.bios @0000000000020000"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlatLine<'a> {
    /// The first address.
    pub start: u64,
    /// The last address, inclusive.
    pub last: u64,
    /// The priority that the region has in its own container, whatever it is seen through.
    pub priority: i32,
    /// Whether the region is non-volatile, or something that it is seen through.
    pub nonvolatile: bool,
    /// As in [`TreeLine::type_name`], but `rom` for all that is read-only here.
    pub type_name: &'a str,
    /// The name of the region.
    pub name: &'a str,
    /// The byte of the region that the range begins at.
    pub offset: u64,
}

impl fmt::Display for FlatLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("  ")?;
        write_range(
            f,
            self.start,
            self.last,
            self.priority,
            self.nonvolatile,
            self.type_name,
        )?;
        f.write_str(self.name)?;
        match self.offset {
            0 => Ok(()),
            offset => write!(f, " @{offset:016x}"),
        }
    }
}

fn write_range(
    f: &mut fmt::Formatter<'_>,
    start: u64,
    last: u64,
    priority: i32,
    nonvolatile: bool,
    type_name: &str,
) -> fmt::Result {
    let nonvolatile = if nonvolatile { "nv-" } else { "" };
    write!(
        f,
        "{start:016x}-{last:016x} (prio {priority}, {nonvolatile}{type_name}): "
    )
}
