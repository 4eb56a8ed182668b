//! The terminal: lines that stay, and one at the bottom that is written over. Every line is cut to the width that
//! the terminal has at that moment. When standard output is no terminal: plain lines, whole, and the one at the
//! bottom only now and then.
//!
//! The cursor always rests at the beginning of the bottom line. So whether or not a terminal that is made narrower
//! breaks that line in two, clearing from the cursor down takes all of it away.

use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

/// Where the demo is shown.
pub(crate) struct Screen {
    is_terminal: bool,
    has_colour: bool,
    live: String,
    last_plain_live: Option<Instant>,
    frame: usize,
}

/// How a piece of text looks.
#[derive(Clone, Copy)]
pub(crate) enum Look {
    Title,
    Act,
    Dim,
    Good,
    Bad,
    Waiting,
}

const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// Clears from the beginning of the cursor's line down.
const CLEAR: &str = "\r\u{1b}[J";
const PLAIN_LIVE_EVERY: Duration = Duration::from_secs(2);

impl Screen {
    pub(crate) fn of_this_terminal() -> Self {
        let is_terminal =
            stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let has_colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            is_terminal,
            has_colour,
            live: String::new(),
            last_plain_live: None,
            frame: 0,
        }
    }

    /// Text in a look, where there is colour.
    pub(crate) fn paint(&self, look: Look, text: &str) -> String {
        if !self.has_colour {
            return text.to_owned();
        }
        let code = match look {
            Look::Title => "1",
            Look::Act => "1;36",
            Look::Dim => "2",
            Look::Good => "1;32",
            Look::Bad => "1;31",
            Look::Waiting => "33",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// How many cells a line may take: the last column stays free, since some terminals go on to the next line as
    /// soon as it is taken.
    pub(crate) fn width(&self) -> usize {
        if !self.is_terminal {
            return usize::MAX;
        }
        let columns = rustix::termios::tcgetwinsize(stdout()).map_or(0, |size| size.ws_col);
        // A terminal that does not know says 0.
        usize::from(if columns == 0 { 80 } else { columns })
            .saturating_sub(1)
            .max(1)
    }

    /// A line that stays, above the live one.
    pub(crate) fn say(&mut self, line: &str) {
        let width = self.width();
        self.write(&if self.is_terminal {
            format!("{CLEAR}{}\r\n{}\r", cut(line, width), cut(&self.live, width))
        } else {
            format!("{line}\n")
        });
    }

    /// The beginning of an act.
    pub(crate) fn act(&mut self, line: &str) {
        let line = self.paint(Look::Act, &format!("▶ {line}"));
        self.say("");
        self.say(&line);
    }

    /// What went wrong.
    pub(crate) fn complain(&mut self, error: &str) {
        self.end_live();
        let line = self.paint(Look::Bad, &format!("demo: {error}"));
        eprintln!("{line}");
    }

    /// Writes the live line over.
    pub(crate) fn live(&mut self, line: &str) {
        if self.is_terminal {
            self.frame = (self.frame + 1) % SPINNER.len();
            let spinner = SPINNER.get(self.frame).copied().unwrap_or(' ');
            self.live = format!("  {} {line}", self.paint(Look::Act, &spinner.to_string()));
            self.write(&format!("{CLEAR}{}\r", cut(&self.live, self.width())));
        } else if self
            .last_plain_live
            .is_none_or(|last| last.elapsed() >= PLAIN_LIVE_EVERY)
        {
            self.last_plain_live = Some(Instant::now());
            self.write(&format!("    {line}\n"));
        }
    }

    /// The live line is done with.
    pub(crate) fn end_live(&mut self) {
        if self.is_terminal && !self.live.is_empty() {
            self.live.clear();
            self.write(CLEAR);
        }
        self.last_plain_live = None;
    }

    fn write(&self, text: &str) {
        // A terminal that is gone is no reason to stop counting.
        let mut output = stdout().lock();
        let _ = output.write_all(text.as_bytes());
        let _ = output.flush();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end_live();
    }
}

/// A line that takes at most so many cells, with its colours; one that is longer ends with an ellipsis.
fn cut(line: &str, width: usize) -> String {
    let (mut kept, mut used, mut has_colour) = (String::new(), 0, false);
    let mut fits = 0;
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == '\u{1b}' {
            has_colour = true;
            chars.by_ref().find(|(_, c)| *c == 'm');
            continue;
        }
        used += cells(c);
        if used < width {
            // Here an ellipsis has room still.
            fits = at + c.len_utf8();
        }
        if used > width {
            kept.push_str(line.get(..fits).unwrap_or_default());
            kept.push('…');
            if has_colour {
                kept.push_str("\u{1b}[0m");
            }
            return kept;
        }
    }
    line.to_owned()
}

/// How many cells a character takes: two from the scripts of East Asia on, which is too many for some of them, but
/// never too few.
fn cells(c: char) -> usize {
    match c {
        '\u{0}'..='\u{10ff}' | '\u{2000}'..='\u{2e7f}' => 1,
        _ => 2,
    }
}

/// Text from outside with its control characters visible.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A bar of so many cells, `value` of `of` full.
pub(crate) fn bar(value: u64, of: u64, cells: usize) -> String {
    let eighths = if of == 0 {
        0
    } else {
        (value.min(of) as usize * cells * 8) / of as usize
    };
    let mut text = "█".repeat(eighths / 8);
    if let Some(part) = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8) {
        text.push_str(part);
    }
    let used = eighths.div_ceil(8);
    text.push_str(&"·".repeat(cells.saturating_sub(used)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_its_cells_and_not_to_its_bytes() {
        assert_eq!(cut("meter ──► capture", 17), "meter ──► capture");
        assert_eq!(cut("meter ──► capture", 16), "meter ──► captu…");
        assert_eq!(cut("meter ──► capture", 1), "…");
        assert_eq!(cut("電気メーター", 12), "電気メーター");
        assert_eq!(cut("電気メーター", 11), "電気メータ…");
        assert_eq!(cut("電気メーター", 10), "電気メー…");
    }

    #[test]
    fn colours_take_no_room_and_end_where_the_line_is_cut() {
        let line = "\u{1b}[1;36m▶ The count\u{1b}[0m";
        assert_eq!(cut(line, 11), line);
        assert_eq!(cut(line, 6), "\u{1b}[1;36m▶ The…\u{1b}[0m");
        assert_eq!(cut("", 1), "");
    }
}
