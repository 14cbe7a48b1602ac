//! The VGA's registers (FreeVGA; the names of the registers are IBM's).

/// Nanoseconds of a frame at 60 Hz, and of each of its 525 lines.
const FRAME: u64 = 16_666_650;
const LINE: u64 = FRAME / 525;
/// Lines that are displayed, and nanoseconds of each.
const SHOWN_LINES: u64 = 480;
const SHOWN_OF_LINE: u64 = LINE * 4 / 5;

/// Input Status 1: display disabled, and vertical retrace.
const DISPLAY_DISABLED: u8 = 0x01;
const VERTICAL_RETRACE: u8 = 0x08;

/// Attribute Address: the palette is the display's; else the screen is blank.
const PALETTE_ADDRESS_SOURCE: u8 = 0x20;

/// Bits that there are of the sequencer's registers: Reset, Clocking Mode, Map Mask, Character Map Select, Memory Mode.
const SEQUENCER_BITS: [u8; 8] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0];
/// Bits that there are of the graphics controller's: Set/Reset, Enable Set/Reset, Color Compare, Data Rotate, Read Map
/// Select, Graphics Mode, Miscellaneous Graphics, Color Don't Care, Bit Mask.
const GRAPHICS_BITS: [u8; 16] = [
    0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff, 0, 0, 0, 0, 0, 0, 0,
];
/// Bits that there are of the attribute controller's, after its 16 palette registers of 6 bits: Attribute Mode Control,
/// Overscan Color, Color Plane Enable, Horizontal Pixel Panning, Color Select.
const ATTRIBUTE_BITS: [u8; 5] = [0xef, 0xff, 0x3f, 0x0f, 0x0f];

/// The CRT controller's registers have numbers up to this one, Line Compare.
const CRTC_REGISTERS: usize = 0x19;

/// Registers by their numbers in the sequencer (3c4), graphics controller (3ce) and CRT controller (3d4).
#[derive(Clone, Debug)]
pub(super) struct Registers {
    pub(super) sequencer: [u8; 8],
    /// A DISPI mode with linear memory is set: chain 4, all planes, whatever the sequencer says.
    pub(super) is_linear: bool,
    sequencer_index: u8,
    pub(super) graphics: [u8; 16],
    graphics_index: u8,
    pub(super) crtc: [u8; CRTC_REGISTERS],
    crtc_index: u8,
    pub(super) attribute: [u8; 21],
    attribute_index: u8,
    /// The next write to 3c0 is data.
    attribute_is_data: bool,
    miscellaneous: u8,
    feature_control: u8,
    palette: [[u8; 3]; 256],
    pel_mask: u8,
    read_index: u8,
    write_index: u8,
    /// Red, green or blue is next.
    component: usize,
    written: [u8; 3],
    /// What 3c7 reads: 3 after a read index was set, 0 after a write index.
    dac_state: u8,
}

impl Registers {
    pub(super) fn new() -> Registers {
        Registers {
            sequencer: [0; 8],
            is_linear: false,
            sequencer_index: 0,
            graphics: [0; 16],
            graphics_index: 0,
            crtc: [0; CRTC_REGISTERS],
            crtc_index: 0,
            attribute: [0; 21],
            attribute_index: 0,
            attribute_is_data: false,
            miscellaneous: 0,
            feature_control: 0,
            palette: [[0; 3]; 256],
            pel_mask: 0xff,
            read_index: 0,
            write_index: 0,
            component: 0,
            written: [0; 3],
            dac_state: 0,
        }
    }

    /// Miscellaneous Output, bit 0: whether the CRT controller is at 3d4 (color) or 3b4 (monochrome).
    fn is_hidden(&self, port: u16) -> bool {
        let is_color = self.miscellaneous & 1 != 0;
        match port {
            0x3b0..=0x3bf => is_color,
            0x3d0..=0x3df => !is_color,
            _ => false,
        }
    }

    /// Reads a port, at the guest's time `now` in nanoseconds.
    pub(super) fn read(&mut self, port: u16, now: u64) -> u8 {
        if self.is_hidden(port) {
            return 0xff;
        }
        match port {
            0x3c0 if !self.attribute_is_data => self.attribute_index,
            0x3c1 => self
                .attribute
                .get(usize::from(self.attribute_index & 0x1f))
                .map_or(0, |value| *value),
            0x3c4 => self.sequencer_index,
            0x3c5 => self.sequencer[usize::from(self.sequencer_index)],
            0x3c6 => self.pel_mask,
            0x3c7 => self.dac_state,
            0x3c8 => self.write_index,
            0x3c9 => {
                let value = self.palette[usize::from(self.read_index)][self.component];
                self.component += 1;
                if self.component == 3 {
                    self.component = 0;
                    self.read_index = self.read_index.wrapping_add(1);
                }
                value
            }
            0x3ca => self.feature_control,
            0x3cc => self.miscellaneous,
            0x3ce => self.graphics_index,
            0x3cf => self.graphics[usize::from(self.graphics_index)],
            0x3b4 | 0x3d4 => self.crtc_index,
            0x3b5 | 0x3d5 => self
                .crtc
                .get(usize::from(self.crtc_index))
                .map_or(0, |value| *value),
            0x3ba | 0x3da => {
                self.attribute_is_data = false;
                input_status_1(now)
            }
            // Input Status 0 among them: no interrupt, no switch.
            _ => 0,
        }
    }

    /// Writes a port.
    pub(super) fn write(&mut self, port: u16, value: u8) {
        if self.is_hidden(port) {
            return;
        }
        match port {
            0x3c0 => {
                if self.attribute_is_data {
                    self.write_attribute(value);
                } else {
                    self.attribute_index = value & 0x3f;
                }
                self.attribute_is_data = !self.attribute_is_data;
            }
            0x3c2 => self.miscellaneous = value & !0x10,
            0x3c4 => self.sequencer_index = value & 7,
            0x3c5 => {
                let index = usize::from(self.sequencer_index);
                self.sequencer[index] = value & SEQUENCER_BITS[index];
            }
            0x3c6 => self.pel_mask = value,
            0x3c7 => (self.read_index, self.component, self.dac_state) = (value, 0, 3),
            0x3c8 => (self.write_index, self.component, self.dac_state) = (value, 0, 0),
            0x3c9 => {
                self.written[self.component] = value;
                self.component += 1;
                if self.component == 3 {
                    self.component = 0;
                    self.palette[usize::from(self.write_index)] = self.written;
                    self.write_index = self.write_index.wrapping_add(1);
                }
            }
            0x3ce => self.graphics_index = value & 0xf,
            0x3cf => {
                let index = usize::from(self.graphics_index);
                self.graphics[index] = value & GRAPHICS_BITS[index];
            }
            0x3b4 | 0x3d4 => self.crtc_index = value,
            0x3b5 | 0x3d5 => self.write_crtc(value),
            0x3ba | 0x3da => self.feature_control = value & 0x10,
            _ => {}
        }
    }

    fn write_attribute(&mut self, value: u8) {
        let index = usize::from(self.attribute_index & 0x1f);
        let bits = match index.checked_sub(16) {
            None => 0x3f,
            Some(after_palette) => ATTRIBUTE_BITS.get(after_palette).map_or(0, |bits| *bits),
        };
        if let Some(register) = self.attribute.get_mut(index) {
            *register = value & bits;
        }
    }

    fn write_crtc(&mut self, value: u8) {
        let index = usize::from(self.crtc_index);
        let is_protected = self.crtc[0x11] & 0x80 != 0;
        match index {
            // Of Overflow, the bit of Line Compare is not protected.
            7 if is_protected => self.crtc[7] = self.crtc[7] & !0x10 | value & 0x10,
            0..=7 if is_protected => {}
            _ => {
                if let Some(register) = self.crtc.get_mut(index) {
                    *register = value;
                }
            }
        }
    }

    /// The screen shows nothing: the palette is being changed, or Clocking Mode turned the display off.
    pub(super) fn is_blank(&self) -> bool {
        self.attribute_index & PALETTE_ADDRESS_SOURCE == 0 || self.sequencer[1] & 0x20 != 0
    }

    /// Miscellaneous Graphics, bit 0.
    pub(super) fn is_graphic(&self) -> bool {
        self.graphics[6] & 1 != 0
    }

    /// Lines that are displayed: Vertical Display End, with its bits 8 and 9 from Overflow.
    pub(super) fn lines(&self) -> usize {
        let [overflow, low] = [self.crtc[7], self.crtc[0x12]].map(usize::from);
        (low | (overflow & 0x02) << 7 | (overflow & 0x40) << 3) + 1
    }

    /// Characters of a line: End Horizontal Display.
    pub(super) fn columns(&self) -> usize {
        usize::from(self.crtc[1]) + 1
    }

    /// Lines of a character, or how often a line of a graphic mode is repeated: Maximum Scan Line, and its bit 7, scan
    /// doubling.
    pub(super) fn lines_of_row(&self) -> usize {
        let lines = usize::from(self.crtc[9] & 0x1f) + 1;
        if self.is_graphic() && self.crtc[9] & 0x80 != 0 {
            lines * 2
        } else {
            lines
        }
    }

    /// Two registers of the CRT controller, the high one first.
    pub(super) fn crtc_word(&self, high: usize) -> u16 {
        u16::from_be_bytes([self.crtc[high], self.crtc[high + 1]])
    }
}

/// Where the beam would be. Guests wait for it to be away, or to come back.
fn input_status_1(now: u64) -> u8 {
    let in_frame = now % FRAME;
    let (line, in_line) = (in_frame / LINE, in_frame % LINE);
    if line >= SHOWN_LINES {
        VERTICAL_RETRACE | DISPLAY_DISABLED
    } else if in_line >= SHOWN_OF_LINE {
        DISPLAY_DISABLED
    } else {
        0
    }
}
