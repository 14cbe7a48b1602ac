//! The Bochs display interface: VBE DISPI, as the Bochs VGA BIOS describes it.

/// The registers by their numbers.
pub(super) mod index {
    pub(in super::super) const ID: u16 = 0;
    pub(in super::super) const XRES: u16 = 1;
    pub(in super::super) const YRES: u16 = 2;
    pub(in super::super) const BPP: u16 = 3;
    pub(in super::super) const ENABLE: u16 = 4;
    pub(in super::super) const BANK: u16 = 5;
    pub(in super::super) const VIRT_WIDTH: u16 = 6;
    pub(in super::super) const VIRT_HEIGHT: u16 = 7;
    pub(in super::super) const X_OFFSET: u16 = 8;
    pub(in super::super) const Y_OFFSET: u16 = 9;
    pub(in super::super) const VIDEO_MEMORY_64K: u16 = 10;
}

/// The oldest and the newest version of the interface that a guest may ask for.
const OLDEST: u16 = 0xb0c0;
const NEWEST: u16 = 0xb0c5;

const ENABLED: u16 = 0x01;
/// The resolution registers read as the largest that there is.
const GET_CAPS: u16 = 0x02;
const NO_CLEAR_MEM: u16 = 0x80;

/// The largest resolution (QEMU's).
const MOST_X: u16 = 16000;
const MOST_Y: u16 = 12000;
const MOST_BPP: u16 = 32;

/// What a write asks of the VGA besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// A mode was set; so many bytes of VRAM are to be cleared.
    Set { clear: u64 },
}

#[derive(Clone, Debug)]
pub(super) struct Dispi {
    id: u16,
    xres: u16,
    yres: u16,
    bpp: u16,
    enable: u16,
    bank: u16,
    /// Where the bank begins in VRAM: where the register says, until a mode is left.
    bank_offset: u64,
    virtual_width: u16,
    x_offset: u16,
    y_offset: u16,
    /// Bytes of VRAM: a power of two, at most 4 GiB.
    vram: u64,
}

impl Dispi {
    pub(super) fn new(vram: u64) -> Dispi {
        Dispi {
            id: NEWEST,
            xres: 0,
            yres: 0,
            bpp: 0,
            enable: 0,
            bank: 0,
            bank_offset: 0,
            virtual_width: 0,
            x_offset: 0,
            y_offset: 0,
            vram,
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enable & ENABLED != 0
    }

    /// Width, height and bits of a pixel of the mode.
    pub(super) fn mode(&self) -> (u16, u16, u16) {
        (self.xres, self.yres, self.bpp)
    }

    /// Where the bank begins in VRAM.
    pub(super) fn bank_offset(&self) -> u64 {
        self.bank_offset
    }

    pub(super) fn read(&self, register: u16) -> u16 {
        let caps = self.enable & GET_CAPS != 0;
        match register {
            index::ID => self.id,
            index::XRES if caps => MOST_X,
            index::YRES if caps => MOST_Y,
            index::BPP if caps => MOST_BPP,
            index::XRES => self.xres,
            index::YRES => self.yres,
            index::BPP => self.bpp,
            index::ENABLE => self.enable,
            index::BANK => self.bank,
            index::VIRT_WIDTH => self.virtual_width,
            index::VIRT_HEIGHT if self.is_enabled() => self.lines_of_vram(),
            index::X_OFFSET => self.x_offset,
            index::Y_OFFSET => self.y_offset,
            index::VIDEO_MEMORY_64K => u16::try_from(self.vram >> 16).unwrap_or(u16::MAX),
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, register: u16, value: u16) -> Effect {
        match register {
            index::ID if (OLDEST..=NEWEST).contains(&value) => self.id = value,
            index::XRES => self.xres = value,
            index::YRES => self.yres = value,
            index::BPP => self.bpp = value,
            index::VIRT_WIDTH => self.virtual_width = value,
            index::X_OFFSET => self.x_offset = value,
            index::Y_OFFSET => self.y_offset = value,
            index::BANK => {
                // With four planes, a bank is four times as much VRAM.
                let planes = if self.bpp == 4 { 2 } else { 0 };
                let last = (self.vram >> 16 >> planes).saturating_sub(1);
                self.bank = value & u16::try_from(last).unwrap_or(u16::MAX);
                self.bank_offset = u64::from(self.bank) << 16;
            }
            index::ENABLE => return self.set_enable(value),
            _ => return Effect::None,
        }
        if self.is_enabled() {
            self.fit();
        }
        Effect::None
    }

    fn set_enable(&mut self, value: u16) -> Effect {
        let was_enabled = self.is_enabled();
        self.enable = value;
        if was_enabled || !self.is_enabled() {
            self.bank_offset = 0;
            return Effect::None;
        }
        (self.virtual_width, self.x_offset, self.y_offset) = (0, 0, 0);
        self.fit();
        let clear = match value & NO_CLEAR_MEM {
            0 => u64::from(self.yres) * self.line(),
            _ => 0,
        };
        Effect::Set { clear }
    }

    /// Bytes of a line; at least one.
    fn line(&self) -> u64 {
        let bits = match self.bpp {
            15 => 16,
            bits => bits,
        };
        (u64::from(self.virtual_width) * u64::from(bits) / 8).max(1)
    }

    fn lines_of_vram(&self) -> u16 {
        u16::try_from(self.vram / self.line()).unwrap_or(u16::MAX)
    }

    /// Makes a mode of what was asked for: one that VRAM has room for.
    fn fit(&mut self) {
        if !matches!(self.bpp, 4 | 8 | 15 | 16 | 24 | 32) {
            self.bpp = 8;
        }
        self.xres = (self.xres.min(MOST_X) & !7).max(8);
        self.virtual_width = (self.virtual_width & !7).clamp(self.xres, MOST_X);
        self.yres = self.yres.min(MOST_Y).min(self.lines_of_vram()).max(1);
        let bits = self.line() * 8 / u64::from(self.virtual_width);
        let first = u64::from(self.x_offset) * bits / 8 + u64::from(self.y_offset) * self.line();
        if first + u64::from(self.yres) * self.line() > self.vram {
            (self.x_offset, self.y_offset) = (0, 0);
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_mode_is_one_that_there_is_memory_for() {
        let mut dispi = Dispi::new(16 << 20);
        let mut set = |x, y, bpp| {
            dispi.write(index::ENABLE, 0);
            dispi.write(index::XRES, x);
            dispi.write(index::YRES, y);
            dispi.write(index::BPP, bpp);
            (dispi.write(index::ENABLE, 0x41), dispi.mode())
        };
        let clear = |clear| Effect::Set { clear };
        assert_eq!(set(1024, 768, 32), (clear(1024 * 768 * 4), (1024, 768, 32)));
        assert_eq!(set(801, 600, 15), (clear(800 * 600 * 2), (800, 600, 15)));
        assert_eq!(
            set(0xffff, 0xffff, 32),
            (clear(16000 * 4 * 262), (16000, 262, 32))
        );
        assert_eq!(set(0, 0, 7), (clear(8), (8, 1, 8)));
        assert_eq!(set(4, 1, 4), (clear(4), (8, 1, 4)));
    }

    #[test]
    fn registers_say_what_there_is() {
        let mut dispi = Dispi::new(16 << 20);
        assert_eq!(
            (dispi.read(index::ID), dispi.read(index::VIDEO_MEMORY_64K)),
            (0xb0c5, 256)
        );
        for (asked, got) in [(0xb0c0, 0xb0c0), (0xb0c6, 0xb0c0), (0xb0c4, 0xb0c4)] {
            dispi.write(index::ID, asked);
            assert_eq!(dispi.read(index::ID), got);
        }
        dispi.write(index::ENABLE, 0x02);
        let caps = [index::XRES, index::YRES, index::BPP].map(|register| dispi.read(register));
        assert_eq!(caps, [16000, 12000, 32]);
        dispi.write(index::BANK, 0x1ff);
        assert_eq!(dispi.bank_offset(), 0xff_0000);
        dispi.write(index::XRES, 640);
        dispi.write(index::YRES, 480);
        dispi.write(index::BPP, 8);
        dispi.write(index::ENABLE, 0xc1);
        dispi.write(index::VIRT_WIDTH, 1024);
        assert_eq!(dispi.read(index::VIRT_HEIGHT), 16384);
        dispi.write(index::Y_OFFSET, 480);
        assert_eq!(dispi.read(index::Y_OFFSET), 480);
        dispi.write(index::Y_OFFSET, 0xffff);
        assert_eq!(dispi.read(index::Y_OFFSET), 0, "not beyond the end of VRAM");
        assert_eq!((dispi.read(11), dispi.read(0xffff)), (0, 0));
    }
}
