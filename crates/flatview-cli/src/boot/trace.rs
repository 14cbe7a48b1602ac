//! `--trace-memory`: each change of the memory map, with its cause, and a strip of what lies below 1 MiB.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use flatview_pc::board::Pc;
use flatview_pc::trace::{MapChange, MapLine, MapTrace, Shown, Step};

use super::console::Console;
use crate::error::Error;
use crate::output::color;

/// Where the strip begins and ends, and how much a letter of it is.
const STRIP: (u64, u64, u64) = (0xa_0000, 0x10_0000, 0x4000);

/// Tells changes of a machine's memory map, and of its ports, until it is dropped.
pub(super) struct Trace {
    over: Arc<AtomicBool>,
    _registrations: [flatview::Registration; 2],
}

impl Trace {
    pub(super) fn start(pc: &Pc, console: &Console) -> Result<Trace, Error> {
        console.line(&format!("The memory map below 1 MiB: {LEGEND}.\n"));
        let over = Arc::new(AtomicBool::new(false));
        let listener = |mut story: Story| {
            let (console, timers, end) = (console.clone(), Arc::clone(pc.timers()), Arc::clone(&over));
            MapTrace::new(pc.causes(), move |change| {
                let told = story.tell(change, timers.now());
                if !told.is_empty() && !end.load(Ordering::Relaxed) {
                    console.line(&told);
                }
            })
        };
        let memory = pc.memory_space().register(listener(Story::default()))?;
        let ports = pc.port_space().register(listener(Story::of_ports()))?;
        Ok(Trace {
            over,
            _registrations: [memory, ports],
        })
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // A listener that leaves hears that everything disappears, which is nothing that happened to the guest.
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Knows what is where, to tell what changes.
#[derive(Default)]
struct Story {
    /// Of the ports, not of memory.
    is_of_ports: bool,
    /// The view, by first addresses.
    map: BTreeMap<u64, MapLine>,
    /// The strip as it was told last.
    strip: String,
}

/// What answers at ports where no device does.
const NO_PORT: &str = "io";

impl Story {
    fn of_ports() -> Story {
        Story {
            is_of_ports: true,
            ..Story::default()
        }
    }

    /// What happened, for a terminal; nothing of the ports at power on, which are many and always the same.
    fn tell(&mut self, change: &MapChange, nanoseconds: u64) -> String {
        if self.is_of_ports && change.number == 1 {
            return String::new();
        }
        for line in &change.gone {
            self.map.remove(&line.range.start());
        }
        for line in &change.new {
            self.map.insert(line.range.start(), line.clone());
        }
        let number = change.number;
        let milliseconds = nanoseconds / 1_000_000;
        let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
        let cause = match &change.cause {
            Some(cause) => cause,
            None if number == 1 => "power on",
            None => "a device",
        };
        let (what, width) = if self.is_of_ports { ("I/O", 4) } else { ("map", 8) };
        let mut text =
            format!("{dim}{what} {number:>3} {milliseconds:>6} ms{dim:#}  {bold}{cause}{bold:#}\n");
        for mut step in change.steps() {
            if self.is_of_ports {
                step.before = step.before.filter(|shown| shown.name != NO_PORT);
                step.after = step.after.filter(|shown| shown.name != NO_PORT);
            }
            tell_step(&mut text, &step, width);
        }
        let strip = self.strip();
        if !self.is_of_ports && strip != self.strip {
            let _ = writeln!(
                text,
                "{dim}      a0000{dim:#} {} {dim}fffff{dim:#}",
                painted(&strip)
            );
            self.strip = strip;
        }
        text
    }

    /// A letter for each 16 KiB from 0xa0000 to 0xfffff.
    fn strip(&self) -> String {
        let (start, end, unit) = STRIP;
        let letter = |address| {
            let line = self.map.range(..=address).next_back().map(|(_, line)| line);
            line.filter(|line| address <= line.range.last())
                .map_or('.', |line| letter(&line.shown))
        };
        (start..end)
            .step_by(usize::try_from(unit).unwrap_or(1))
            .map(letter)
            .collect()
    }
}

fn letter(shown: &Shown) -> char {
    match (shown.name.as_str(), shown.ram, shown.readonly) {
        (name, true, false) if is_ram(name) => 'W',
        (name, true, true) if is_ram(name) => 'R',
        ("pc.bios" | "pc.rom", ..) => 'B',
        (_, true, _) => 'M',
        _ => 'D',
    }
}

fn is_ram(name: &str) -> bool {
    name == "pc.ram" || name.starts_with("ram-node")
}

/// What the letters of the strip mean.
const LEGEND: &str = "a letter is 16 KiB: W RAM, R RAM that cannot be written, B firmware, M other memory, \
D a device, . nothing";

fn painted(strip: &str) -> String {
    let mut text = String::new();
    for letter in strip.chars() {
        let style = color(match letter {
            'W' => AnsiColor::Green,
            'R' => AnsiColor::Yellow,
            'B' => AnsiColor::Blue,
            'D' | 'M' => AnsiColor::Magenta,
            _ => AnsiColor::BrightBlack,
        });
        let _ = write!(text, "{style}{letter}{style:#}");
    }
    text
}

fn tell_step(text: &mut String, step: &Step, width: usize) {
    let (start, last) = (step.range.start(), step.range.last());
    let (gone, new) = (color(AnsiColor::Red), color(AnsiColor::Green));
    let after = |shown: &Shown| format!("{new}{}{new:#}", described(shown));
    let what = match (&step.before, &step.after) {
        (None, Some(shown)) => format!("appears      {}", after(shown)),
        (Some(shown), None) => format!("disappears   {gone}{}{gone:#}", described(shown)),
        (Some(old), Some(now)) if (&old.name, old.offset) == (&now.name, now.offset) => {
            let (style, how) = match now.readonly {
                true => (gone, "read only"),
                false => (new, "writable"),
            };
            format!("{} is now {style}{how}{style:#}", named(now))
        }
        (Some(old), Some(now)) => format!("{gone}{}{gone:#} is now {}", described(old), after(now)),
        (None, None) => return,
    };
    let _ = writeln!(text, "      {start:0width$x}-{last:0width$x}  {what}");
}

fn described(shown: &Shown) -> String {
    let kind = match (shown.ram, shown.readonly) {
        (true, false) => "",
        (true, true) => " (read only)",
        _ => " (device)",
    };
    format!("{}{kind}", named(shown))
}

fn named(shown: &Shown) -> String {
    match shown.offset {
        0 => shown.name.clone(),
        offset => format!("{} @{offset:x}", shown.name),
    }
}

#[cfg(test)]
mod test {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use flatview::AddressRange;

    use super::*;

    fn line(start: u64, last: u64, name: &str, ram: bool, readonly: bool) -> MapLine {
        let range = AddressRange::from_bounds(start, last).unwrap();
        let (name, offset) = (name.to_owned(), 0);
        MapLine {
            range,
            shown: Shown {
                name,
                offset,
                readonly,
                ram,
            },
        }
    }

    #[test]
    fn a_change_is_told_with_its_cause_and_the_strip() {
        let mut story = Story::default();
        let first = MapChange {
            number: 1,
            cause: None,
            gone: vec![],
            new: vec![
                line(0, 0x9_ffff, "pc.ram", true, false),
                line(0xe_0000, 0xf_ffff, "pc.bios", true, true),
            ],
        };
        let told = anstream::adapter::strip_str(&story.tell(&first, 0)).to_string();
        assert_eq!(
            told,
            "map   1      0 ms  power on
      00000000-0009ffff  appears      pc.ram
      000e0000-000fffff  appears      pc.bios (read only)
      a0000 ................BBBBBBBB fffff
"
        );
        let second = MapChange {
            number: 2,
            cause: Some("PAM".into()),
            gone: first.new[1..].to_vec(),
            new: vec![
                line(0xe_0000, 0xe_ffff, "pc.bios", true, true),
                line(0xf_0000, 0xf_ffff, "pc.ram", true, false),
            ],
        };
        let told = anstream::adapter::strip_str(&story.tell(&second, 12_345_678)).to_string();
        assert_eq!(
            told,
            "map   2     12 ms  PAM
      000f0000-000fffff  pc.bios @10000 (read only) is now pc.ram
      a0000 ................BBBBWWWW fffff
"
        );
    }

    #[test]
    fn ports_appear_where_nobody_answered() {
        let mut story = Story::of_ports();
        let mut change = MapChange {
            number: 1,
            cause: None,
            gone: vec![],
            new: vec![line(0, 0xffff, "io", false, false)],
        };
        assert_eq!(story.tell(&change, 0), "");
        change.number = 2;
        change.cause = Some("BAR4".into());
        change.gone = std::mem::take(&mut change.new);
        change.new = vec![
            line(0, 0xbfff, "io", false, false),
            line(0xc000, 0xc00f, "bmdma", false, false),
        ];
        let told = anstream::adapter::strip_str(&story.tell(&change, 0)).to_string();
        assert_eq!(
            told,
            "I/O   2      0 ms  BAR4\n      c000-c00f  appears      bmdma (device)\n"
        );
    }
}
