//! Which setting a serial line has: the decision alone, without a clock or a port.
//!
//! A meter sends a burst of bytes every one to ten seconds. At the wrong setting a burst is garbage, at the
//! right one it is text even where it is cut, or a frame that decides itself. So one burst of garbage is
//! enough to try the other setting, text is given the chance to become a telegram, and a setting that has
//! worked is left only after several bursts in a row without a telegram: a line with a bad cable is not
//! one with a wrong setting.

use shared::config::SerialSetting;
use shared::telegram::{identification, seven_bit};

use super::Line;

/// How long nothing must come for a burst to be over.
pub const BURST_OVER: std::time::Duration = std::time::Duration::from_millis(400);

/// How long a setting that has not worked yet is tried where nothing comes at all: longer than the ten
/// seconds between two telegrams of the slowest meters.
pub const SILENCE: std::time::Duration = std::time::Duration::from_secs(12);

/// Bursts in a row without a telegram after which the other setting is tried.
#[derive(Debug, Clone, Copy)]
struct Patience {
    garbage: u32,
    text: u32,
}

const BEFORE_IT_WORKED: Patience = Patience { garbage: 1, text: 3 };
const AFTER_IT_WORKED: Patience = Patience { garbage: 3, text: 20 };

/// What counts as a burst where the bytes do not stop, in bytes: some of the longest telegrams.
const LONGEST_BURST_BYTES: usize = 24 * 1024;

/// The state of the search.
#[derive(Debug)]
pub struct LineSearch {
    is_auto: bool,
    line: Line,
    has_worked: bool,
    /// Bytes of the burst under way, and how many of them are text.
    bytes: usize,
    text_bytes: usize,
    /// The burst held a telegram.
    held_telegram: bool,
    garbage_bursts: u32,
    text_bursts: u32,
}

impl LineSearch {
    /// Begins with the setting configured, else with the one that worked before, else with the one that
    /// most meters have.
    #[must_use]
    pub fn new(setting: SerialSetting, remembered: Option<Line>) -> Self {
        let (is_auto, line) = match setting {
            SerialSetting::Auto => (true, remembered.unwrap_or(Line::Baud115200)),
            SerialSetting::Baud115200 => (false, Line::Baud115200),
            SerialSetting::Baud9600 => (false, Line::Baud9600),
        };
        Self {
            is_auto,
            line,
            has_worked: !is_auto,
            bytes: 0,
            text_bytes: 0,
            held_telegram: false,
            garbage_bursts: 0,
            text_bursts: 0,
        }
    }

    /// The setting to use now.
    #[must_use]
    pub fn line(&self) -> Line {
        self.line
    }

    /// Whether a telegram has come at this setting, or it is not to be searched for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.has_worked
    }

    /// Whether what came since the last pause held a telegram: that it is over then says nothing more.
    pub fn is_burst_told(&self) -> bool {
        self.held_telegram
    }

    /// A telegram was valid. Whether that is news: remember [`LineSearch::line`].
    pub fn telegram(&mut self) -> bool {
        self.held_telegram = true;
        self.garbage_bursts = 0;
        self.text_bursts = 0;
        !std::mem::replace(&mut self.has_worked, true)
    }

    /// Bytes came. The setting to use from now on, where it is another.
    pub fn bytes(&mut self, bytes: &[u8]) -> Option<Line> {
        self.bytes += bytes.len();
        self.text_bytes += bytes.iter().filter(|byte| is_text(**byte)).count();
        if self.bytes >= LONGEST_BURST_BYTES {
            self.burst_over()
        } else {
            None
        }
    }

    /// Nothing came for [`BURST_OVER`]. The setting to use from now on, where it is another.
    pub fn burst_over(&mut self) -> Option<Line> {
        let is_text = self.text_bytes * 10 >= self.bytes * 9;
        let is_empty = std::mem::take(&mut self.bytes) == 0;
        self.text_bytes = 0;
        let held_telegram = std::mem::take(&mut self.held_telegram);
        if is_empty || held_telegram {
            return None;
        }
        *(if is_text {
            &mut self.text_bursts
        } else {
            &mut self.garbage_bursts
        }) += 1;
        let patience = if self.has_worked {
            AFTER_IT_WORKED
        } else {
            BEFORE_IT_WORKED
        };
        if self.garbage_bursts >= patience.garbage || self.text_bursts >= patience.text {
            self.try_other()
        } else {
            None
        }
    }

    /// Nothing came for [`SILENCE`]. The setting to use from now on, where it is another.
    pub fn silence(&mut self) -> Option<Line> {
        if self.has_worked { None } else { self.try_other() }
    }

    fn try_other(&mut self) -> Option<Line> {
        if !self.is_auto {
            return None;
        }
        *self = Self {
            line: self.line.other(),
            has_worked: false,
            ..Self::new(SerialSetting::Auto, None)
        };
        Some(self.line)
    }
}

/// Text as a meter sends it, or as it shows with parity bits. A byte with a wrong parity is read as 0.
fn is_text(byte: u8) -> bool {
    let character = if seven_bit::has_even_parity(byte) {
        seven_bit::without_parity(byte)
    } else {
        byte
    };
    identification::is_text(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Burst {
        /// A whole telegram at the right setting.
        Telegram,
        /// Text, but no telegram: a telegram that was cut or damaged.
        Text,
        Garbage,
        Silence,
    }

    /// The settings used for each burst, and after the last.
    fn settings(search: &mut LineSearch, bursts: &[Burst]) -> Vec<Line> {
        let mut used = Vec::new();
        for burst in bursts {
            used.push(search.line());
            match burst {
                Burst::Telegram => {
                    search.bytes(b"/ISK5\r\n!0000\r\n");
                    search.telegram();
                    search.burst_over();
                }
                Burst::Text => {
                    search.bytes(b"1-0:1.8.1(003432.829*kWh)\r\n");
                    search.burst_over();
                }
                Burst::Garbage => {
                    search.bytes(&[0, 0xFE, 0x80, b'a', 0, 0xF8, 0x1C]);
                    search.burst_over();
                }
                Burst::Silence => {
                    search.burst_over();
                    search.silence();
                }
            }
        }
        used.push(search.line());
        used
    }

    #[test]
    fn every_course_of_bursts_leads_to_the_setting_that_works() {
        use Burst::{Garbage, Silence, Telegram, Text};
        use Line::{Baud9600 as Slow, Baud115200 as Fast};
        let auto = SerialSetting::Auto;
        type Row = (SerialSetting, Option<Line>, Vec<Burst>, Vec<Line>);
        let table: Vec<Row> = vec![
            (auto, None, vec![Telegram, Telegram], vec![Fast, Fast, Fast]),
            // Opened in the middle of a telegram.
            (auto, None, vec![Text, Telegram], vec![Fast, Fast, Fast]),
            (auto, None, vec![Garbage, Telegram], vec![Fast, Slow, Slow]),
            (
                auto,
                None,
                vec![Garbage, Text, Telegram],
                vec![Fast, Slow, Slow, Slow],
            ),
            // An encrypted frame of which only the end came, then one at the wrong setting.
            (
                auto,
                None,
                vec![Garbage, Garbage, Telegram],
                vec![Fast, Slow, Fast, Fast],
            ),
            (
                auto,
                None,
                vec![Silence, Silence, Silence, Telegram],
                vec![Fast, Slow, Fast, Slow, Slow],
            ),
            (auto, Some(Slow), vec![Telegram], vec![Slow, Slow]),
            (auto, Some(Slow), vec![Garbage, Telegram], vec![Slow, Fast, Fast]),
            // It worked, and a bad cable does not make it stop.
            (
                auto,
                None,
                vec![Telegram, Garbage, Garbage, Telegram, Garbage, Garbage],
                vec![Fast; 7],
            ),
            (
                auto,
                None,
                [vec![Telegram], vec![Text; 19], vec![Telegram], vec![Text; 19]].concat(),
                vec![Fast; 41],
            ),
            (
                auto,
                None,
                [vec![Telegram], vec![Silence; 20]].concat(),
                vec![Fast; 22],
            ),
            // It worked, and then another meter came.
            (
                auto,
                None,
                vec![Telegram, Garbage, Garbage, Garbage, Telegram],
                vec![Fast, Fast, Fast, Fast, Slow, Slow],
            ),
            // Text that never becomes a telegram.
            (
                auto,
                None,
                vec![Text, Text, Text, Garbage],
                vec![Fast, Fast, Fast, Slow, Fast],
            ),
            // Nothing to search for.
            (
                SerialSetting::Baud9600,
                Some(Fast),
                vec![Garbage, Silence, Text],
                vec![Slow; 4],
            ),
            (
                SerialSetting::Baud115200,
                Some(Slow),
                [Garbage; 30].to_vec(),
                vec![Fast; 31],
            ),
        ];
        for (setting, remembered, bursts, expected) in table {
            let mut search = LineSearch::new(setting, remembered);
            assert_eq!(
                settings(&mut search, &bursts),
                expected,
                "{setting:?}, {remembered:?}: {bursts:?}"
            );
        }
    }

    #[test]
    fn what_worked_is_news_once_and_again_after_it_has_stopped_working() {
        let mut search = LineSearch::new(SerialSetting::Auto, None);
        assert!(!search.is_settled());
        assert!(search.telegram());
        assert!(search.is_settled());
        assert!(!search.telegram());
        search.burst_over();
        settings(&mut search, &[Burst::Garbage; 3]);
        assert!(!search.is_settled());
        assert!(search.telegram());
        assert!(
            !LineSearch::new(SerialSetting::Baud9600, None).telegram(),
            "a setting that is given is no news"
        );
    }

    #[test]
    fn bytes_that_never_stop_are_judged_all_the_same() {
        let mut search = LineSearch::new(SerialSetting::Auto, None);
        let changes: Vec<Line> = (0..100).filter_map(|_| search.bytes(&[0x9C; 1024])).collect();
        assert_eq!(
            changes,
            [Line::Baud9600, Line::Baud115200, Line::Baud9600, Line::Baud115200]
        );
    }

    #[test]
    fn text_with_parity_bits_is_text() {
        let mut search = LineSearch::new(SerialSetting::Auto, None);
        let shown: Vec<u8> = b"1-0:1.8.1(003432.829*kWh)\r\n"
            .iter()
            .map(|&byte| seven_bit::with_parity(byte))
            .collect();
        search.bytes(&shown);
        assert_eq!(search.burst_over(), None);
    }
}
