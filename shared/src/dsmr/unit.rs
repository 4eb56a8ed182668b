//! Units as meters write them, and how they scale.

/// What is measured, each in the unit that all its others are turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dimension {
    /// kWh.
    Energy,
    /// GJ: energy as heat meters count it.
    Heat,
    /// kW.
    Power,
    /// V.
    Voltage,
    /// A.
    Current,
    /// m³.
    Volume,
}

/// What a unit measures, and by which power of ten a number in it is multiplied to be in its [`Dimension`]'s own. None
/// for a unit that is not in the table.
///
/// The case of letters does not count, but for that of the `m` of a power, a voltage or a current: milli or mega.
/// Nobody counts energy in thousandths of a Wh or J.
///
/// The text is read as ISO 8859-1, so that the superscript three of UTF-8 is two characters.
pub(super) fn unit(text: &str) -> Option<(Dimension, i8)> {
    use Dimension::*;
    const UNITS: [(&str, Dimension, i8); 23] = [
        ("kWh", Energy, 0),
        ("Wh", Energy, -3),
        ("MWh", Energy, 3),
        ("kW", Power, 0),
        ("W", Power, -3),
        ("mW", Power, -6),
        ("MW", Power, 3),
        ("V", Voltage, 0),
        ("mV", Voltage, -3),
        ("kV", Voltage, 3),
        ("A", Current, 0),
        ("mA", Current, -3),
        ("kA", Current, 3),
        ("m3", Volume, 0),
        ("m³", Volume, 0),
        ("mÂ³", Volume, 0),
        ("dm3", Volume, -3),
        ("dm³", Volume, -3),
        ("dmÂ³", Volume, -3),
        ("l", Volume, -3),
        ("GJ", Heat, 0),
        ("MJ", Heat, -3),
        ("kJ", Heat, -6),
    ];
    let text = text.trim();
    let is_same = |name: &str, dimension: Dimension| {
        let has_milli = matches!(dimension, Power | Voltage | Current) && name.starts_with(['m', 'M']);
        name.eq_ignore_ascii_case(text) && (!has_milli || name.get(..1) == text.get(..1))
    };
    let known = UNITS
        .iter()
        .find(|(name, dimension, _)| is_same(name, *dimension));
    known.map(|&(_, dimension, power_of_ten)| (dimension, power_of_ten))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsmr::text::latin1;

    #[test]
    fn a_unit_scales_in_whatever_case_it_is_written() {
        for (text, known) in [
            ("kWh", Some((Dimension::Energy, 0))),
            ("KWH", Some((Dimension::Energy, 0))),
            ("Wh", Some((Dimension::Energy, -3))),
            ("MWh", Some((Dimension::Energy, 3))),
            ("MWH", Some((Dimension::Energy, 3))),
            ("mwh", Some((Dimension::Energy, 3))),
            ("kw", Some((Dimension::Power, 0))),
            ("mW", Some((Dimension::Power, -6))),
            ("MW", Some((Dimension::Power, 3))),
            ("KA", Some((Dimension::Current, 3))),
            ("ma", Some((Dimension::Current, -3))),
            ("MA", None),
            ("DM3", Some((Dimension::Volume, -3))),
            ("L", Some((Dimension::Volume, -3))),
            ("mj", Some((Dimension::Heat, -3))),
            ("M3", Some((Dimension::Volume, 0))),
            ("kvar", None),
            ("", None),
        ] {
            assert_eq!(unit(text), known, "{text}");
        }
        assert_eq!(unit(&latin1(b"m\xB3")), Some((Dimension::Volume, 0)));
        assert_eq!(unit(&latin1("dm³".as_bytes())), Some((Dimension::Volume, -3)));
    }
}
