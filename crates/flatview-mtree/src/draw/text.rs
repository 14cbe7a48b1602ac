//! Words for a drawing: escaped, measured, shortened; numbers of bytes for people.

use std::fmt;

/// A text from outside, fit for XML and HTML, between tags and in attributes.
///
/// Control characters are no XML at all, not even escaped, and those that turn the direction of writing would
/// make one name look like another. They are shown as pictures.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\0'..='\x1f' => f.write_char(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'))?,
                '\x7f' => f.write_char('\u{2421}')?,
                '\u{80}'..='\u{9f}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{fffe}'
                | '\u{ffff}' => f.write_char('\u{fffd}')?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A number of bytes as people say it; with a `~` if that is not all of it.
pub(super) fn human(bytes: u128) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = (bytes.max(1).ilog2() / 10).min(6);
    let name = UNITS[power as usize];
    let unit = 1_u128 << (10 * power);
    let (whole, rest) = (bytes / unit, bytes % unit);
    let hundredths = rest * 100 / unit;
    let about = if hundredths * unit == rest * 100 { "" } else { "~" };
    match hundredths {
        0 => format!("{about}{whole} {name}"),
        tens if tens % 10 == 0 => format!("{about}{whole}.{} {name}", tens / 10),
        _ => format!("{about}{whole}.{hundredths:02} {name}"),
    }
}

/// An address, or where the space ends.
pub(super) fn address(address: u128) -> String {
    if address == 1 << 64 {
        "2^64".to_owned()
    } else {
        format!("{address:#x}")
    }
}

/// How wide a text of this font size will be, about, and rather too wide than too narrow: nobody knows the
/// font here.
pub(super) fn width(text: &str, size: u64) -> u64 {
    let percent: u64 = text.chars().map(percent_of).sum();
    (percent * size).div_ceil(100)
}

/// The width of a character, as a part of the font size.
fn percent_of(c: char) -> u64 {
    match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '|' | '\'' | '!' | '(' | ')' | '[' | ']' | ' ' => 36,
        'f' | 'r' | 't' | '-' => 44,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '→' => 98,
        'A'..='Z' | '+' | '~' => 76,
        '\0'..='\x7f' | '…' | '·' => 63,
        _ => 110,
    }
}

/// As much of a text as `room` pixels hold, with an ellipsis where it was cut; nothing if a few letters are
/// too many. Looks at no more of the text than fits.
pub(super) fn shorten(text: &str, size: u64, room: u64) -> String {
    let room = room * 100;
    let ellipsis = percent_of('…') * size;
    let mut used = 0;
    // The last place where an ellipsis would have fit.
    let mut cut = 0;
    for (at, c) in text.char_indices() {
        if used + ellipsis <= room {
            cut = at;
        }
        used += percent_of(c) * size;
        if used > room {
            let kept = text[..cut].trim_end();
            return match kept.chars().take(2).count() {
                2 => format!("{kept}…"),
                _ => String::new(),
            };
        }
    }
    text.to_owned()
}

/// The first characters of a text, with an ellipsis if there are more.
pub(super) fn first(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "text_test.rs"]
mod tests;
