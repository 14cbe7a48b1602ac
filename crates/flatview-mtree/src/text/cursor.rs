//! Reading one line from left to right.

/// What is left of a line, and where that is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    whole: &'a str,
    at: usize,
}

/// What was expected, at a byte of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) at: usize,
    pub(super) what: &'static str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(whole: &'a str, at: usize) -> Cursor<'a> {
        Cursor { whole, at }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.whole[self.at..]
    }

    pub(super) fn expected<T>(&self, what: &'static str) -> Result<T, Expected> {
        Err(Expected { at: self.at, what })
    }

    /// Goes past `text` if it comes next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let comes = self.rest().starts_with(text);
        if comes {
            self.at += text.len();
        }
        comes
    }

    pub(super) fn expect(&mut self, text: &str, what: &'static str) -> Result<(), Expected> {
        if self.eat(text) {
            Ok(())
        } else {
            self.expected(what)
        }
    }

    /// All up to `end`, and past it.
    pub(super) fn until(&mut self, end: &str, what: &'static str) -> Result<&'a str, Expected> {
        match self.rest().split_once(end) {
            Some((before, _)) => {
                self.at += before.len() + end.len();
                Ok(before)
            }
            None => {
                self.at = self.whole.len();
                self.expected(what)
            }
        }
    }

    /// Sixteen lower-case digits.
    pub(super) fn hex16(&mut self) -> Result<u64, Expected> {
        let bytes = self.rest().as_bytes();
        let mut value = 0;
        for digit in 0..16 {
            let nibble = match bytes.get(digit) {
                Some(byte @ b'0'..=b'9') => byte - b'0',
                Some(byte @ b'a'..=b'f') => byte - b'a' + 10,
                _ => {
                    self.at += digit;
                    return self.expected("an address of sixteen hexadecimal digits");
                }
            };
            value = value << 4 | u64::from(nibble);
        }
        self.at += 16;
        Ok(value)
    }

    /// A decimal number of any type; no sign where the type has none, and no `+`.
    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Result<T, Expected> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with('-'));
        let digits = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        match rest[..sign + digits].parse() {
            Ok(number) => {
                self.at += sign + digits;
                Ok(number)
            }
            Err(_) => self.expected("a decimal number"),
        }
    }
}
