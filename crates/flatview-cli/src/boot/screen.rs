//! `--display text`: the guest's screen in this terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anstyle::{Ansi256Color, Style};
use flatview_pc::board::Pc;
use flatview_pc::devices::vga::{Cell, Screen, TextScreen, Vga};

use super::console::Console;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// Shows the screen until it is dropped; then it stays as it is. In a pipe it is shown once, at the end.
pub(super) struct View {
    vga: Arc<Vga>,
    console: Console,
    drawing: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl View {
    pub(super) fn start(pc: &Pc, console: &Console) -> View {
        let mut view = View {
            vga: Arc::clone(pc.vga()),
            console: console.clone(),
            drawing: None,
        };
        if io::stdout().is_terminal() {
            let stop = Arc::new(AtomicBool::new(false));
            let (vga, console, stopped) = (Arc::clone(&view.vga), console.clone(), Arc::clone(&stop));
            let draw = move || {
                let mut before = None;
                console.line("\x1b[2J");
                while !stopped.load(Ordering::Relaxed) {
                    let screen = vga.screen();
                    if before.as_ref() != Some(&screen) {
                        console.line(&drawn(&screen));
                        before = Some(screen);
                    }
                    thread::sleep(INTERVAL);
                }
            };
            view.drawing = Some((stop, thread::spawn(draw)));
        }
        view
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.drawing.take() {
            stop.store(true, Ordering::Relaxed);
            let _ = thread.join();
            self.console.line(&drawn(&self.vga.screen()));
        } else {
            self.console.line(&format!("{}\n", self.vga.screen()));
        }
    }
}

/// The screen from the top left corner of the terminal on.
fn drawn(screen: &Screen) -> String {
    let mut text = String::from("\x1b[H");
    match screen {
        Screen::Text(screen) => draw_text(&mut text, screen),
        other => {
            let _ = write!(text, "\x1b[2J({other})\r\n");
        }
    }
    text
}

fn draw_text(text: &mut String, screen: &TextScreen) {
    for row in screen.rows() {
        let mut before = None;
        for cell in row {
            if before != Some(cell.attribute) {
                let _ = write!(text, "{}{}", anstyle::Reset, style(cell));
                before = Some(cell.attribute);
            }
            text.push(match cell.character {
                letter if letter.is_control() => ' ',
                letter => letter,
            });
        }
        let _ = write!(text, "{}\x1b[K\r\n", anstyle::Reset);
    }
    if let Some((column, row)) = screen.cursor() {
        let _ = write!(text, "\x1b[{};{}H", row + 1, column + 1);
    }
}

/// The 16 colours of a PC have blue and red the other way around.
fn style(cell: &Cell) -> Style {
    let color = |bits: u8| Ansi256Color((bits & 8) | (bits & 1) << 2 | (bits & 2) | (bits & 4) >> 2);
    Style::new()
        .fg_color(Some(color(cell.attribute & 15).into()))
        .bg_color(Some(color(cell.attribute >> 4 & 7).into()))
}
