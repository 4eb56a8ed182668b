//! OBIS references: `A-B:C.D.E`, the names of data objects (IEC 62056-61).

/// A reference without the sixth group, which is 255 (*the present value*) or absent in all that has a
/// meaning here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Obis {
    /// Medium: 0 abstract, 1 electricity, 7 gas.
    pub(super) a: u8,
    /// Channel.
    pub(super) b: u8,
    /// Physical quantity.
    pub(super) c: u8,
    /// Way of measuring.
    pub(super) d: u8,
    /// Tariff.
    pub(super) e: u8,
}

impl Obis {
    /// Reads `A-B:C.D.E`. A `:` in place of a later `.` is taken too, as the DSMR 4.2 standard prints it.
    pub(super) fn read(name: &[u8]) -> Option<Self> {
        let (reference, rest) = Self::read_front(name)?;
        rest.is_empty().then_some(reference)
    }

    /// Whether it names a list of past values (98) or of events (99), of whatever medium.
    pub(super) fn is_profile(self) -> bool {
        matches!(self.c, 98 | 99)
    }

    /// Reads the reference that a line begins with, and gives what comes after it.
    #[inline(always)]
    pub(super) const fn read_front(line: &[u8]) -> Option<(Self, &[u8])> {
        let Some((a, [b'-', rest @ ..])) = group(line) else {
            return None;
        };
        let Some((b, [b':', rest @ ..])) = group(rest) else {
            return None;
        };
        let Some((c, [b'.' | b':', rest @ ..])) = group(rest) else {
            return None;
        };
        let Some((d, [b'.' | b':', rest @ ..])) = group(rest) else {
            return None;
        };
        let Some((e, rest)) = group(rest) else { return None };
        Some((Self { a, b, c, d, e }, rest))
    }

    /// The reference without its channel as one number.
    pub(super) const fn packed(self) -> u32 {
        u32::from_be_bytes([self.a, self.c, self.d, self.e])
    }
}

/// The name of a data object without the suffix that says *the present value*: `*255` or `.255`.
pub(super) fn without_suffix(name: &[u8]) -> &[u8] {
    let Some(stem) = name.strip_suffix(b"255") else {
        return name;
    };
    match stem.split_last() {
        Some((b'*', stem)) => stem,
        // `.255` is a suffix only behind five groups: `1-0:1.8.255` ends in a tariff.
        Some((b'.', stem)) if Obis::read(stem).is_some() => stem,
        _ => name,
    }
}

/// One to three digits that make at most 255, and what comes after them.
#[inline]
const fn group(text: &[u8]) -> Option<(u8, &[u8])> {
    Some(match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
            let value = (*a - b'0') as u16 * 100 + ((*b - b'0') * 10 + (*c - b'0')) as u16;
            if value > u8::MAX as u16 {
                return None;
            }
            (value as u8, rest)
        }
        [a @ b'0'..=b'9', b @ b'0'..=b'9', rest @ ..] => ((*a - b'0') * 10 + (*b - b'0'), rest),
        [a @ b'0'..=b'9', rest @ ..] => (*a - b'0', rest),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_five_small_numbers() {
        assert_eq!(
            Obis::read(b"1-0:99.97.0"),
            Some(Obis {
                a: 1,
                b: 0,
                c: 99,
                d: 97,
                e: 0
            })
        );
        assert_eq!(
            Obis::read(b"1-0:72:32.0"),
            Some(Obis {
                a: 1,
                b: 0,
                c: 72,
                d: 32,
                e: 0
            })
        );
        for no_reference in [
            "",
            "1",
            "1-0",
            "1-0:",
            "1-0:1.8",
            "1-0:1.8.",
            "1-0:1.8.256",
            "1-0:1.8.0*1",
            "x-0:1.8.0",
            "1-0:1.8.0000",
        ] {
            assert_eq!(Obis::read(no_reference.as_bytes()), None, "{no_reference}");
        }
    }

    #[test]
    fn only_the_suffix_of_the_present_value_is_left_off() {
        assert_eq!(without_suffix(b"1-0:1.8.0*255"), b"1-0:1.8.0");
        assert_eq!(without_suffix(b"1-0:21.7.0.255"), b"1-0:21.7.0");
        assert_eq!(without_suffix(b"0-0:96.1.255"), b"0-0:96.1.255");
        assert_eq!(without_suffix(b"0-0:96.1.255*255"), b"0-0:96.1.255");
        assert_eq!(without_suffix(b"1-0:1.8.0*1"), b"1-0:1.8.0*1");
    }
}
