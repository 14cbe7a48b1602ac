//! What is to be seen.

use std::fmt;

use super::cp437;
use super::memory::Planes;
use super::registers::Registers;

/// What the display shows at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Screen {
    /// Nothing: the display is off.
    Blank,
    /// A text mode.
    Text(TextScreen),
    /// A graphic mode, of which only the resolution is told.
    Graphic {
        /// Pixels of a line.
        width: usize,
        /// Lines.
        height: usize,
        /// Bits of a pixel.
        bits: usize,
    },
}

impl Screen {
    /// The text, if it is a text mode.
    pub fn text(&self) -> Option<&TextScreen> {
        match self {
            Screen::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// `blank`, `graphic 1024x768x32`, or the rows of the text.
impl fmt::Display for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Screen::Blank => f.write_str("blank"),
            Screen::Text(text) => text.fmt(f),
            Screen::Graphic { width, height, bits } => write!(f, "graphic {width}x{height}x{bits}"),
        }
    }
}

/// A character on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What it looks like in code page 437.
    pub character: char,
    /// Colors: bits 0 to 3 of the character, bits 4 to 6 of what is behind it; bit 7 is the background's too, or lets it
    /// blink.
    pub attribute: u8,
}

/// A screen of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextScreen {
    columns: usize,
    /// Row after row.
    cells: Vec<Cell>,
    cursor: Option<(usize, usize)>,
}

impl TextScreen {
    /// Characters of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows, from the top.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[Cell]> {
        self.cells.chunks(self.columns)
    }

    /// The text of each row, without the spaces at its end.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = String> {
        self.rows().map(|row| {
            let text: String = row.iter().map(|cell| cell.character).collect();
            text.trim_end_matches([' ', '\u{a0}']).to_owned()
        })
    }

    /// Column and row of the cursor, from 0; `None` if it is off, or not on the screen.
    pub fn cursor(&self) -> Option<(usize, usize)> {
        self.cursor
    }

    /// What the registers of a text mode show of VRAM. A character and its attribute are the planes 0 and 1 of one
    /// address; addresses have 16 bits.
    pub(super) fn new(registers: &Registers, planes: &Planes) -> TextScreen {
        let columns = registers.columns();
        let rows = (registers.lines() / registers.lines_of_row()).max(1);
        // Start Address; and Offset, in units of two characters.
        let start = registers.crtc_word(0x0c);
        let pitch = usize::from(registers.crtc[0x13]) * 2;
        let address = |row: usize, column: usize| {
            let [low, high, ..] = (row * pitch + column).to_le_bytes();
            start.wrapping_add(u16::from_le_bytes([low, high]))
        };
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let cells = places.map(|(row, column)| {
            let [code, attribute, ..] = planes.group(u64::from(address(row, column)) * 4).to_le_bytes();
            Cell {
                character: cp437::character(code),
                attribute,
            }
        });
        // Cursor Start: bit 5 turns it off, and so does a last line before the first.
        let [first, last] = [registers.crtc[0x0a], registers.crtc[0x0b]];
        let is_on = first & 0x20 == 0 && first & 0x1f <= last & 0x1f;
        let place = usize::from(registers.crtc_word(0x0e).wrapping_sub(start));
        let cursor = match pitch {
            0 => (place, 0),
            _ => (place % pitch, place / pitch),
        };
        TextScreen {
            columns,
            cells: cells.collect(),
            cursor: (is_on && cursor.0 < columns && cursor.1 < rows).then_some(cursor),
        }
    }
}

/// The rows without the spaces at their ends, and without the empty rows at the end.
impl fmt::Display for TextScreen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut empty = 0;
        for line in self.lines() {
            if line.is_empty() {
                empty += 1;
                continue;
            }
            for _ in 0..std::mem::take(&mut empty) {
                writeln!(f)?;
            }
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// The resolution of a VGA's own graphic mode (FreeVGA: Graphics Mode, Shift Register; Clocking Mode).
pub(super) fn graphic(registers: &Registers) -> Screen {
    let pixels = registers.columns() * 8;
    let height = (registers.lines() / registers.lines_of_row()).max(1);
    let (width, bits) = match registers.graphics[5] >> 5 & 3 {
        0 if registers.sequencer[1] & 0x08 != 0 => (pixels / 2, 4),
        0 => (pixels, 4),
        1 => (pixels / 2, 2),
        // 256 colors: each pixel takes two clocks.
        _ => (pixels / 2, 8),
    };
    Screen::Graphic { width, height, bits }
}
