//! The readings that a subscriber has received, each once, with what was wrong on the way: gaps,
//! disorder, and duplicates that are not the same.

use std::collections::HashMap;

use serde_json::Value;

/// Readings by queue and sequence.
#[derive(Debug, Default)]
pub struct Ledger {
    queue: Option<String>,
    readings: Vec<(u64, Value)>,
    place: HashMap<u64, usize>,
    /// Messages by their first sequence.
    messages: HashMap<u64, Vec<u8>>,
    duplicates: u64,
}

impl Ledger {
    /// A ledger of these payloads of the readings' topic, in the order in which they came.
    pub fn of<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut ledger = Self::default();
        payloads.into_iter().for_each(|payload| ledger.take(payload));
        ledger
    }

    /// Takes the next message. Panics where it is not what a publisher may send: an array of readings
    /// in order, of one queue, new ones after all that came before, old ones exactly as they were.
    pub fn take(&mut self, payload: &[u8]) {
        let array: Vec<Value> = serde_json::from_slice(payload)
            .unwrap_or_else(|error| panic!("not an array: {error}: {}", String::from_utf8_lossy(payload)));
        assert!(!array.is_empty(), "an empty array was published");
        let mut last_sequence = 0;
        for reading in array {
            let sequence = reading["Sequence"]
                .as_u64()
                .unwrap_or_else(|| panic!("no Sequence: {reading}"));
            let queue = reading["Queue"]
                .as_str()
                .unwrap_or_else(|| panic!("no Queue: {reading}"))
                .to_owned();
            assert_eq!(
                self.queue.get_or_insert(queue.clone()),
                &queue,
                "another queue at {sequence}"
            );
            assert!(
                sequence > last_sequence,
                "within an array {sequence} comes after {last_sequence}"
            );
            if last_sequence == 0 {
                match self.messages.get(&sequence) {
                    Some(known) => assert_eq!(
                        String::from_utf8_lossy(known),
                        String::from_utf8_lossy(payload),
                        "the message that begins with {sequence} came twice, and differs"
                    ),
                    None => drop(self.messages.insert(sequence, payload.to_vec())),
                }
            }
            last_sequence = sequence;
            if let Some(place) = self.place.get(&sequence) {
                assert_eq!(
                    self.readings[*place].1, reading,
                    "duplicate of {sequence} differs"
                );
                self.duplicates += 1;
            } else {
                let last = self.readings.last().map_or(0, |(last, _)| *last);
                assert!(
                    sequence > last,
                    "{sequence} was received for the first time after {last}"
                );
                self.place.insert(sequence, self.readings.len());
                self.readings.push((sequence, reading));
            }
        }
    }

    /// Readings by rising sequence.
    pub fn readings(&self) -> &[(u64, Value)] {
        &self.readings
    }

    /// How many different ones there are.
    pub fn len(&self) -> usize {
        self.readings.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }

    /// How many came again.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Highest sequence received.
    pub fn last_sequence(&self) -> u64 {
        self.readings.last().map_or(0, |(last, _)| *last)
    }

    /// The sequences up to this one that have not come.
    pub fn missing(&self, up_to: u64) -> Vec<u64> {
        (1..=up_to)
            .filter(|sequence| !self.place.contains_key(sequence))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    fn message(sequences: &[u64], note: &str) -> Vec<u8> {
        let readings: Vec<_> = sequences
            .iter()
            .map(|sequence| serde_json::json!({"Queue": "q", "Sequence": sequence, "Note": note}))
            .collect();
        serde_json::to_vec(&readings).unwrap()
    }

    #[test]
    fn duplicates_are_counted_and_gaps_are_told() {
        let messages = [message(&[1, 2], ""), message(&[4], ""), message(&[1, 2], "")];
        let ledger = Ledger::of(messages.iter().map(Vec::as_slice));
        assert_eq!(
            (ledger.len(), ledger.duplicates(), ledger.missing(4)),
            (3, 2, vec![3])
        );
    }

    #[test]
    #[should_panic(expected = "came twice, and differs")]
    fn a_duplicate_that_differs_is_told() {
        Ledger::of([message(&[1], "a").as_slice(), &message(&[1], "b")]);
    }

    #[test]
    #[should_panic(expected = "received for the first time after")]
    fn a_first_reception_out_of_order_is_told() {
        Ledger::of([message(&[2], "").as_slice(), &message(&[1], "")]);
    }
}
