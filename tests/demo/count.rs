//! The count at the end: what the meter sent against what the subscriber received.

use std::collections::HashMap;

use tests::household::Truth;
use tests::ledger::Ledger;

use crate::screen::{Look, Screen};

/// The count.
pub(crate) struct Count {
    sent: u64,
    received: u64,
    lost: u64,
    duplicates: u64,
    /// Readings that are not what the household produced; none where the meter is a real one.
    wrong: Option<u64>,
    first_difference: Option<String>,
}

impl Count {
    /// Counts. `sent` is what the meter sent, or with a real meter what capture accepted.
    pub(crate) fn of(sent: u64, ledger: &Ledger, truths: Option<&[Truth]>) -> Self {
        let received = ledger.len() as u64;
        let mut count = Self {
            sent,
            received,
            lost: sent.saturating_sub(received),
            duplicates: ledger.duplicates(),
            wrong: None,
            first_difference: None,
        };
        let Some(truths) = truths else { return count };
        // The household's seconds are all different, so that a time names a telegram.
        let by_time: HashMap<_, _> = truths
            .iter()
            .filter_map(|truth| Some((truth.reading.get("Date_timestamp")?.as_str()?, truth)))
            .collect();
        let mut wrong = 0;
        for (sequence, reading) in ledger.readings() {
            let truth = reading["Date_timestamp"]
                .as_str()
                .and_then(|time| by_time.get(time));
            let differences = truth.map_or_else(
                || vec![format!("nothing was sent at {}", reading["Date_timestamp"])],
                |truth| truth.differences(reading),
            );
            if !differences.is_empty() {
                wrong += 1;
                count
                    .first_difference
                    .get_or_insert_with(|| format!("#{sequence}: {}", differences.join("; ")));
            }
        }
        count.wrong = Some(wrong);
        count
    }

    /// Whether all is as it must be.
    pub(crate) fn is_good(&self) -> bool {
        self.lost == 0 && self.received == self.sent && self.received > 0 && self.wrong.unwrap_or(0) == 0
    }

    pub(crate) fn show(&self, screen: &mut Screen) {
        let sent = if self.wrong.is_some() {
            "sent by the meter"
        } else {
            "accepted by capture"
        };
        let good_if_none = |number: u64| if number == 0 { Look::Good } else { Look::Bad };
        let mut lines = vec![
            (format!("telegrams {sent}"), self.sent, Look::Title, ""),
            (
                "received by the subscriber".to_owned(),
                self.received,
                Look::Title,
                "",
            ),
            ("lost".to_owned(), self.lost, good_if_none(self.lost), ""),
            (
                "duplicates".to_owned(),
                self.duplicates,
                Look::Title,
                "  the same bytes again (Queue, Sequence)",
            ),
        ];
        if let Some(wrong) = self.wrong {
            let note = "  every key, against the household's own";
            lines.push((
                "readings that differ".to_owned(),
                wrong,
                good_if_none(wrong),
                note,
            ));
        }
        for (name, number, look, note) in lines {
            let number = screen.paint(look, &format!("{number:>7}"));
            let note = screen.paint(Look::Dim, note);
            screen.say(&format!("    {name:<28}{number}{note}"));
        }
        if let Some(difference) = &self.first_difference {
            let line = screen.paint(Look::Bad, difference);
            screen.say(&format!("    {line}"));
        }
    }
}
