//! Any file to import is valid telegrams and the places of what is none, whatever policy there is for their CRC.

use std::io;

use capture::import::source::{Item, read, read_raw};
use shared::config::CrcPolicy;
use shared::telegram::assembler::MAX_TELEGRAM_BYTES;

use super::scratch::File;

/// Asserts every claim for these bytes. How many telegrams are in them, under all policies together.
pub(crate) fn hold_for(bytes: &[u8]) -> usize {
    let file = File::holding("import", bytes);
    let mut telegrams = 0;
    for policy in [CrcPolicy::Auto, CrcPolicy::Required, CrcPolicy::Off] {
        for is_raw in [false, true] {
            let mut telegram_bytes = 0;
            let take = |item| {
                match item {
                    Item::Telegram(entry) => {
                        assert!(entry.telegram.len() <= MAX_TELEGRAM_BYTES);
                        telegram_bytes += entry.telegram.len();
                        telegrams += 1;
                    }
                    Item::Rejected { place, reason } => {
                        let words = format!("{place}: {reason}");
                        assert!(!words.chars().any(char::is_control), "{words:?}");
                        assert!(words.chars().count() <= 500, "{words}");
                    }
                }
                Ok::<(), io::Error>(())
            };
            let done = if is_raw {
                read_raw(file.path(), policy, take)
            } else {
                read(file.path(), policy, take)
            };
            done.expect("the file can be read");
            assert!(telegram_bytes <= bytes.len(), "more than there is");
        }
    }
    telegrams
}
