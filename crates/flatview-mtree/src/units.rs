//! Sizes and lists of names as people read them.

use std::fmt;

/// A number of bytes in the largest binary unit that it has one of: `128 MiB`, `127.4 MiB`, `3 bytes`.
pub(crate) struct Bytes(pub(crate) u128);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let bytes = self.0;
        if bytes < 1024 {
            return write!(f, "{bytes} byte{}", if bytes == 1 { "" } else { "s" });
        }
        let power = (bytes.ilog2() / 10).min(6);
        let unit = UNITS[power as usize - 1];
        let one = 1_u128 << (10 * power);
        if bytes.is_multiple_of(one) {
            return write!(f, "{} {unit}", bytes / one);
        }
        // Cut, not rounded: 1024.0 KiB would be odd.
        write!(f, "{}.{} {unit}", bytes / one, bytes % one * 10 / one)
    }
}

/// The names of spaces that are told together, the best known one first.
pub(crate) struct Spaces<'a>(pub(crate) &'a [String]);

impl fmt::Display for Spaces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("no space"),
            [one] => f.write_str(one),
            [one, other] => write!(f, "{one} and {other}"),
            [one, others @ ..] => write!(f, "{one} and {} other spaces", others.len()),
        }
    }
}

/// Sorts names of spaces: what people look for first stands first, whatever order the dump has.
pub(crate) fn sort_spaces(spaces: &mut [String]) {
    spaces.sort_by(|one, other| rank(one).cmp(&rank(other)).then_with(|| one.cmp(other)));
}

/// Where a space stands among others; to be followed by its name.
pub(crate) fn rank(space: &str) -> usize {
    match space {
        "memory" => 0,
        "I/O" => 1,
        _ if space.starts_with("cpu-memory") => 2,
        _ => 3,
    }
}

/// `1 region`, `2 regions`.
pub(crate) struct Count<'a>(pub(crate) usize, pub(crate) &'a str);

impl fmt::Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
#[path = "units_test.rs"]
mod tests;
