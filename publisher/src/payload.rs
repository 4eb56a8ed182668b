//! The array of readings that goes into one message: filled reading by reading up to a bound in bytes.

pub(crate) mod json;

/// Readings that wait for more of their interval.
#[derive(Debug)]
pub(crate) struct Part {
    bytes: Vec<u8>,
    /// Sequence of the first reading in it.
    pub(crate) first_sequence: u64,
    /// Sequence of the last reading in it.
    pub(crate) last_sequence: u64,
}

impl Part {
    /// A part that begins with this reading, however large it is. It is expected to have this many bytes at its end,
    /// so that it need not be moved as it grows.
    pub(crate) fn begin(reading: &[u8], sequence: u64, expected_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(expected_bytes.max(reading.len() + 2));
        bytes.push(b'[');
        bytes.extend_from_slice(reading);
        Self {
            bytes,
            first_sequence: sequence,
            last_sequence: sequence,
        }
    }

    /// Adds a reading, unless the array would be larger than `max_payload_bytes` then.
    pub(crate) fn try_add(&mut self, reading: &[u8], sequence: u64, max_payload_bytes: usize) -> bool {
        let comma_and_bracket = 2;
        if self.bytes.len() + reading.len() + comma_and_bracket > max_payload_bytes {
            return false;
        }
        self.bytes.push(b',');
        self.bytes.extend_from_slice(reading);
        self.last_sequence = sequence;
        true
    }

    /// Bytes of the array, but for the bracket at its end.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The JSON array.
    pub(crate) fn into_payload(mut self) -> Vec<u8> {
        self.bytes.push(b']');
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_takes_readings_up_to_its_bound() {
        let mut part = Part::begin(b"{1}", 7, 0);
        assert!(part.try_add(b"{2}", 8, 9));
        assert!(!part.try_add(b"{3}", 9, 12));
        assert_eq!((part.first_sequence, part.last_sequence), (7, 8));
        assert_eq!(part.into_payload(), b"[{1},{2}]");
    }
}
