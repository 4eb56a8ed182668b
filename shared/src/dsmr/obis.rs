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
        let (a, rest) = group(name)?;
        let (b, rest) = group(rest.strip_prefix(b"-")?)?;
        let (c, rest) = group(rest.strip_prefix(b":")?)?;
        let (d, rest) = group(dot(rest)?)?;
        let (e, rest) = group(dot(rest)?)?;
        rest.is_empty().then_some(Self { a, b, c, d, e })
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
fn group(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, mut rest) = text.split_first()?;
    let mut value = u16::from(digit(first)?);
    while let Some((&next, after)) = rest.split_first() {
        let Some(digit) = digit(next) else { break };
        value = value * 10 + u16::from(digit);
        if value > 255 {
            return None;
        }
        rest = after;
    }
    Some((u8::try_from(value).ok()?, rest))
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

fn dot(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b".").or_else(|| text.strip_prefix(b":"))
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
