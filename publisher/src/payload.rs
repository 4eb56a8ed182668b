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
    /// A part that begins with this reading, however large it is.
    pub(crate) fn begin(reading: &[u8], sequence: u64) -> Self {
        let mut bytes = Vec::with_capacity(reading.len() + 2);
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

    /// The JSON array.
    pub(crate) fn into_payload(mut self) -> Vec<u8> {
        self.bytes.push(b']');
        self.bytes
    }
}

/// An array of readings as two arrays of half as many each, for a broker that refuses the whole; none for
/// an array of one, or for what is no array.
pub fn halves(payload: &[u8]) -> Option<[Vec<u8>; 2]> {
    let inside = payload.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let commas = commas_between_elements(inside);
    let (first, second) = inside.split_at_checked(*commas.get(commas.len() / 2)?)?;
    let array = |elements: &[u8]| [b"[", elements, b"]"].concat();
    Some([array(first), array(second.strip_prefix(b",")?)])
}

/// Where the commas between the elements of an array stand.
fn commas_between_elements(inside: &[u8]) -> Vec<usize> {
    let mut commas = Vec::new();
    let mut depth = 0_usize;
    let mut is_text = false;
    let mut is_escaped = false;
    for (place, &byte) in inside.iter().enumerate() {
        match byte {
            _ if std::mem::replace(&mut is_escaped, false) => {}
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => depth += 1,
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            b',' if !is_text && depth == 0 => commas.push(place),
            _ => {}
        }
    }
    commas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_takes_readings_up_to_its_bound() {
        let mut part = Part::begin(b"{1}", 7);
        assert!(part.try_add(b"{2}", 8, 9));
        assert!(!part.try_add(b"{3}", 9, 12));
        assert_eq!((part.first_sequence, part.last_sequence), (7, 8));
        assert_eq!(part.into_payload(), b"[{1},{2}]");
    }

    #[test]
    fn halves_cut_between_readings_whatever_is_in_their_texts() {
        let cut = |payload: &str| {
            halves(payload.as_bytes())
                .map(|halves| halves.map(|half| String::from_utf8_lossy(&half).into_owned()))
        };
        assert_eq!(
            cut(r#"[{"a":","},{"b":[1,2]}]"#),
            Some([r#"[{"a":","}]"#.into(), r#"[{"b":[1,2]}]"#.into()])
        );
        assert_eq!(
            cut(r#"[{"a":"\"},{"},{"b":1},{"c":2}]"#),
            Some([r#"[{"a":"\"},{"},{"b":1}]"#.into(), r#"[{"c":2}]"#.into()])
        );
        assert_eq!(cut(r#"[{"a":1}]"#), None);
        assert_eq!(cut("[]"), None);
        assert_eq!(cut(r#"{"a":1}"#), None);
    }
}
