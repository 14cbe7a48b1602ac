//! Addresses as people write them: `0xfee00000`, `4G-64K`, `0xa0000..0xc0000`.

use flatview::AddressRange;

/// What was asked for is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Something is not a number.
    #[error(
        "{found:?} in {text:?} is no number: write 0xfee00000, 4096, 64K, 4G-64K, or a range as 0xa0000..0xc0000"
    )]
    NotANumber {
        /// All that was written.
        text: String,
        /// The part of it.
        found: String,
    },
    /// The sum is below 0 or beyond 2^64.
    #[error("{text:?} is no address: it is below 0, or beyond 2^64")]
    OutOfBounds {
        /// All that was written.
        text: String,
    },
    /// A range has no address in it.
    #[error(
        "{text:?} is empty: the end of a range is behind its first address (`..`), or its last one (`..=`)"
    )]
    Empty {
        /// All that was written.
        text: String,
    },
}

/// Reads an address, or a range of addresses.
///
/// An address is a sum of numbers, with `+` and `-`: decimal or `0x` and hexadecimal, with `_` between digits as one
/// likes, and with `K`, `M`, `G`, `T`, `P` or `E` for powers of 1024 (`KiB` and so on mean the same). A range is
/// `FIRST..END` without its end, or `FIRST..=LAST`.
///
/// # Errors
///
/// [`AddressError`], with what was written.
///
/// ```
/// use flatview_mtree::address::parse;
///
/// assert_eq!(parse("4G-64K")?.start(), 0xffff_0000);
/// let vga = parse("0xa0000..0xc0000")?;
/// assert_eq!((vga.start(), vga.last()), (0xa_0000, 0xb_ffff));
/// assert_eq!(parse("0..=0xffff_ffff_ffff_ffff")?, flatview::AddressRange::ALL);
/// # Ok::<(), flatview_mtree::address::AddressError>(())
/// ```
pub fn parse(text: &str) -> Result<AddressRange, AddressError> {
    let out_of_bounds = || AddressError::OutOfBounds {
        text: text.to_owned(),
    };
    let address = |sum: i128| u64::try_from(sum).map_err(|_| out_of_bounds());
    let Some((first, end)) = text.split_once("..") else {
        let at = address(sum(text, text)?)?;
        return AddressRange::from_bounds(at, at).ok_or_else(out_of_bounds);
    };
    let first = address(sum(first, text)?)?;
    let last = match end.strip_prefix('=') {
        Some(last) => sum(last, text)?,
        None => sum(end, text)? - 1,
    };
    let empty = || AddressError::Empty {
        text: text.to_owned(),
    };
    if last < i128::from(first) {
        return Err(empty());
    }
    AddressRange::from_bounds(first, address(last)?).ok_or_else(empty)
}

fn sum(part: &str, text: &str) -> Result<i128, AddressError> {
    let mut sum: i128 = 0;
    let mut rest = part.trim();
    let mut negative = false;
    loop {
        let (term, after) = match rest.find(['+', '-']) {
            Some(at) => (&rest[..at], Some(&rest[at..])),
            None => (rest, None),
        };
        let value = number(term.trim()).ok_or_else(|| AddressError::NotANumber {
            text: text.to_owned(),
            found: term.trim().to_owned(),
        })?;
        // Every number is below 2^68 and texts are short, so this does not overflow before it is out of bounds.
        sum = sum.saturating_add(if negative { -value } else { value });
        let Some(after) = after else {
            return Ok(sum);
        };
        negative = after.starts_with('-');
        rest = &after[1..];
    }
}

fn number(term: &str) -> Option<i128> {
    let digits_of = |digits: &str, radix| {
        let plain: String = digits.chars().filter(|&digit| digit != '_').collect();
        // A sign would be accepted.
        let is_plain = plain.chars().all(|digit| digit.is_digit(radix))
            && digits.starts_with(|first: char| first != '_');
        is_plain.then(|| u64::from_str_radix(&plain, radix).ok())?
    };
    if let Some(hex) = term.strip_prefix("0x").or_else(|| term.strip_prefix("0X")) {
        return digits_of(hex, 16).map(i128::from);
    }
    let unit = term
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(term.len());
    let (digits, unit) = term.split_at(unit);
    let power = match unit.trim_end_matches("iB").to_ascii_uppercase().as_str() {
        "" if unit.is_empty() => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return None,
    };
    i128::from(digits_of(digits, 10)?).checked_mul(1 << (10 * power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_units() {
        for (text, address) in [
            ("0", 0),
            ("4096", 0x1000),
            ("0xFEE0_0000", 0xfee0_0000),
            ("4G-64K", 0xffff_0000),
            ("1MiB + 0x10", 0x10_0010),
            ("16E-1", u64::MAX),
            ("2k", 0x800),
        ] {
            assert_eq!(
                parse(text),
                Ok(AddressRange::from_bounds(address, address).unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "", "0x", "+", "1X", "12iB", "0x1g", "-1", "1--1", "_1", "1..", "..2", "1..x", "é", "0x+1",
        ] {
            assert!(
                matches!(parse(text), Err(AddressError::NotANumber { .. })),
                "{text}: {:?}",
                parse(text)
            );
        }
        for text in ["0-1", "16E", "0..16E+1", "99999999E"] {
            assert!(
                matches!(parse(text), Err(AddressError::OutOfBounds { .. })),
                "{text}: {:?}",
                parse(text)
            );
        }
        for text in ["1..1", "2..=1", "0..0"] {
            assert!(
                matches!(parse(text), Err(AddressError::Empty { .. })),
                "{text}: {:?}",
                parse(text)
            );
        }
        assert_eq!(parse("0..16E"), Ok(AddressRange::ALL));
    }
}
