//! Numbers with their units: `00052185.7825309*kWh`.
//!
//! A number is kept as the meter wrote it, digit for digit. No width is assumed, the unit may be missing,
//! in another case, or stand there without its `*`; what counts is the unit that the meter states, never
//! the one that the place would suggest.

use rust_decimal::Decimal;

use super::quantity::Measure;
use super::text::trim;

/// The number in the measure's own unit; none where it is no number, or of a unit that cannot be turned
/// into it.
pub(super) fn in_unit(text: &[u8], measure: Measure) -> Option<Decimal> {
    let (number, unit) = number_and_unit(text)?;
    let number = scaled(number, measure.power_of_ten(unit)?)?;
    (measure != Measure::Count || number.scale() == 0 && number.is_sign_positive()).then_some(number)
}

/// A number, and the unit behind it without `*`; an empty unit where none is stated.
pub(super) fn number_and_unit(text: &[u8]) -> Option<(Decimal, &[u8])> {
    let (number, rest) = decimal(trim(text))?;
    let unit = rest.strip_prefix(b"*").unwrap_or(rest);
    Some((number, trim(unit)))
}

/// The number times a power of ten, exactly; none beyond 28 digits.
pub(super) fn scaled(mut number: Decimal, power_of_ten: i8) -> Option<Decimal> {
    if power_of_ten == 0 {
        return Some(number);
    }
    if power_of_ten < 0 {
        let scale = number.scale() + u32::from(power_of_ten.unsigned_abs());
        number.set_scale(scale).ok()?;
        return Some(number);
    }
    let factor = 10_i64.checked_pow(u32::from(power_of_ten.unsigned_abs()))?;
    number.checked_mul(Decimal::from(factor))
}

/// Digits with at most one point among them and perhaps a minus sign before them, and what comes after.
fn decimal(text: &[u8]) -> Option<(Decimal, &[u8])> {
    let (is_negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    // One pass: a telegram holds thirty numbers, and this is what its parsing takes longest for.
    let mut mantissa = 0_u64;
    let mut point = None;
    let mut length = digits.len();
    for (at, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')),
            b'.' if point.is_none() => point = Some(at),
            _ => {
                length = at;
                break;
            }
        }
    }
    let (number, rest) = digits.split_at_checked(length)?;
    let whole = point.unwrap_or(length);
    let scale = point.map_or(0, |point| length - point - 1);
    if whole == 0 || point.is_some() && scale == 0 {
        return None;
    }
    let mantissa = if whole + scale <= DIGITS_IN_64_BITS {
        i128::from(mantissa)
    } else {
        long_mantissa(number)?
    };
    let mantissa = if is_negative { -mantissa } else { mantissa };
    let scale = u32::try_from(scale).ok()?;
    Some((Decimal::try_from_i128_with_scale(mantissa, scale).ok()?, rest))
}

/// As many digits as 64 bits hold, whatever the digits are.
const DIGITS_IN_64_BITS: usize = 19;

/// The digits as one number, the point left out.
fn long_mantissa(number: &[u8]) -> Option<i128> {
    (number.iter())
        .filter(|byte| byte.is_ascii_digit())
        .try_fold(0_i128, |mantissa, digit| {
            mantissa.checked_mul(10)?.checked_add((digit - b'0').into())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, measure: Measure) -> Option<String> {
        in_unit(text.as_bytes(), measure).map(|number| number.to_string())
    }

    #[test]
    fn digits_are_kept_as_sent() {
        for (text, number) in [
            ("000004.426*kWh", "4.426"),
            ("00052185.7825309*kWh", "52185.7825309"),
            ("0.10", "0.10"),
            ("(", ""),
            ("-063", "-63"),
        ] {
            let found = number_and_unit(text.as_bytes()).map(|(number, _)| number.to_string());
            assert_eq!(found.unwrap_or_default(), number, "{text}");
        }
    }

    #[test]
    fn the_unit_that_is_stated_scales_the_number() {
        assert_eq!(shown("000123456*Wh", Measure::Energy).as_deref(), Some("123.456"));
        assert_eq!(shown("001688.21*W", Measure::Power).as_deref(), Some("1.68821"));
        assert_eq!(shown("00.005*MWh", Measure::Energy).as_deref(), Some("5.000"));
        assert_eq!(shown("00.318kw", Measure::Power).as_deref(), Some("0.318"));
        assert_eq!(shown("00.000", Measure::Power).as_deref(), Some("0.000"));
        assert_eq!(shown("0230.0*V", Measure::Voltage).as_deref(), Some("230.0"));
        assert_eq!(shown("00.318*kvar", Measure::Power), None);
    }

    #[test]
    fn what_is_no_number_is_no_value() {
        for text in [
            "",
            "*kWh",
            "abc",
            ".5",
            "5.",
            "1,5*kW",
            "1.2.3*kW",
            "--1",
            "123456789012345678901234567890*kW",
        ] {
            assert_eq!(shown(text, Measure::Power), None, "{text}");
        }
        assert_eq!(shown("00.5", Measure::Count), None);
        assert_eq!(shown("-1", Measure::Count), None);
        assert_eq!(shown("00013", Measure::Count).as_deref(), Some("13"));
    }
}
