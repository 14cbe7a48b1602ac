//! Keys and their scan codes.

/// A key of a PC keyboard with 101 or 102 keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// In scan code set 1.
    code: u8,
    /// With the prefix 0xe0.
    extended: bool,
}

#[expect(missing_docs, reason = "the names are on the keys")]
impl Key {
    pub const ESCAPE: Key = Key::new(0x01);
    pub const BACKSPACE: Key = Key::new(0x0e);
    pub const TAB: Key = Key::new(0x0f);
    pub const ENTER: Key = Key::new(0x1c);
    pub const CTRL: Key = Key::new(0x1d);
    pub const SHIFT: Key = Key::new(0x2a);
    pub const ALT: Key = Key::new(0x38);
    pub const SPACE: Key = Key::new(0x39);
    pub const CAPS_LOCK: Key = Key::new(0x3a);
    pub const HOME: Key = Key::extended(0x47);
    pub const UP: Key = Key::extended(0x48);
    pub const PAGE_UP: Key = Key::extended(0x49);
    pub const LEFT: Key = Key::extended(0x4b);
    pub const RIGHT: Key = Key::extended(0x4d);
    pub const END: Key = Key::extended(0x4f);
    pub const DOWN: Key = Key::extended(0x50);
    pub const PAGE_DOWN: Key = Key::extended(0x51);
    pub const INSERT: Key = Key::extended(0x52);
    pub const DELETE: Key = Key::extended(0x53);
}

impl Key {
    /// The key with this scan code of set 1: below 0x80.
    pub const fn new(code: u8) -> Key {
        let extended = false;
        Key {
            code: code & 0x7f,
            extended,
        }
    }

    /// The key with this scan code of set 1 after the prefix 0xe0.
    pub const fn extended(code: u8) -> Key {
        let extended = true;
        Key {
            code: code & 0x7f,
            extended,
        }
    }

    /// A function key: F1 to F12.
    pub fn function(number: u8) -> Option<Key> {
        match number {
            1..=10 => Some(Key::new(0x3a + number)),
            11 | 12 => Some(Key::new(0x4c + number)),
            _ => None,
        }
    }

    /// The key that types a character on a US keyboard, and whether with the shift key.
    pub fn typing(character: char) -> Option<(Key, bool)> {
        let key = match character {
            ' ' => Key::SPACE,
            '\n' | '\r' => Key::ENTER,
            '\t' => Key::TAB,
            '\u{8}' => Key::BACKSPACE,
            '\u{1b}' => Key::ESCAPE,
            _ => {
                return ROWS.iter().find_map(|&(first, plain, shifted)| {
                    let at = |row: &str| row.chars().position(|of_row| of_row == character);
                    let (index, shift) = at(plain)
                        .map(|index| (index, false))
                        .or(at(shifted).map(|index| (index, true)))?;
                    Some((Key::new(first + u8::try_from(index).ok()?), shift))
                });
            }
        };
        Some((key, false))
    }

    /// What the keyboard sends when the key goes down, or up.
    pub(super) fn scan_codes(self, down: bool, set: u8) -> impl Iterator<Item = u8> {
        let prefix = self.extended.then_some(0xe0);
        let (release, code) = match (set, down) {
            (1, true) => (None, self.code),
            (1, false) => (None, self.code | 0x80),
            (_, true) => (None, self.set_2()),
            (_, false) => (Some(RELEASE), self.set_2()),
        };
        prefix.into_iter().chain(release).chain([code])
    }

    fn set_2(self) -> u8 {
        if self.code == 0x41 {
            return F7;
        }
        let code = SET_1.iter().position(|&code| code == self.code);
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(0)
    }
}

/// Before the code of a key that goes up, in set 2.
pub(super) const RELEASE: u8 = 0xf0;

/// The only key whose code is above 0x7f in set 2.
const F7: u8 = 0x83;

/// Rows of keys with ascending codes: that of the first, what they type, what they type with the shift key.
const ROWS: [(u8, &str, &str); 4] = [
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
];

/// What the keyboard controller makes of a byte of the keyboard: set 1 for set 2.
pub(super) fn translate(byte: u8) -> u8 {
    match byte {
        F7 => 0x41,
        0x84 => 0x54,
        _ => SET_1.get(usize::from(byte)).copied().unwrap_or(byte),
    }
}

/// The codes of set 1 for those of set 2 (IBM PS/2 Hardware Interface Technical Reference, keyboard controller).
#[rustfmt::skip]
const SET_1: [u8; 128] = [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
];

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn every_printable_character_has_a_key_and_letters_shift_to_capitals() {
        for character in ' '..='~' {
            assert!(Key::typing(character).is_some(), "{character:?}");
        }
        assert_eq!(Key::typing('é'), None);
        let (small, capital) = (Key::typing('m').expect("a key"), Key::typing('M').expect("a key"));
        assert_eq!(
            (small, capital),
            ((Key::new(0x32), false), (Key::new(0x32), true))
        );
        assert_eq!(Key::typing('"'), Some((Key::new(0x28), true)));
        assert_eq!(Key::typing('\\'), Some((Key::new(0x2b), false)));
    }

    #[test]
    fn set_2_translated_is_set_1() {
        for code in 1..0x59 {
            if (0x54..=0x56).contains(&code) {
                continue;
            }
            let codes: Vec<u8> = Key::new(code).scan_codes(true, 2).map(translate).collect();
            assert_eq!(codes, [code]);
        }
        let codes = |key: Key, down, set| key.scan_codes(down, set).collect::<Vec<u8>>();
        let a = Key::new(0x1e);
        assert_eq!(
            (codes(a, true, 2), codes(a, false, 2)),
            (vec![0x1c], vec![0xf0, 0x1c])
        );
        assert_eq!(codes(Key::UP, false, 2), [0xe0, 0xf0, 0x75]);
        assert_eq!(codes(Key::UP, false, 1), [0xe0, 0xc8]);
        assert_eq!(Key::function(7).map(|key| codes(key, true, 2)), Some(vec![0x83]));
        assert_eq!(Key::function(12), Some(Key::new(0x58)));
        assert_eq!(Key::function(0), None);
    }
}
