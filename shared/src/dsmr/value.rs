//! Numbers with their units: `00052185.7825309*kWh`.
//!
//! A number is kept as the meter wrote it, digit for digit. No width is assumed, the unit may be missing,
//! in another case, or stand there without its `*`; what counts is the unit that the meter states, never
//! the one that the place would suggest.

use rust_decimal::Decimal;

use super::object::single;
use super::quantity::Measure;
use super::text::trim;

/// The number in the measure's own unit; none where it is no number, or of a unit that cannot be turned
/// into it.
pub(super) fn in_unit(text: &[u8], measure: Measure) -> Option<Decimal> {
    let (number, unit) = number_and_unit(text)?;
    let number = scaled(number, measure.power_of_ten(unit)?)?;
    is_possible(number, measure).then_some(number)
}

/// The number in the only pair of brackets, in the measure's own unit; none as in [`in_unit`], or where the
/// contents are anything else than one pair of brackets.
pub(super) fn only_in_unit(contents: &[u8], measure: Measure) -> Option<Decimal> {
    usual(contents, measure).or_else(|| in_unit(single(contents)?, measure))
}

/// The same for numbers that are written as the standard prints them, without a sign, which are nearly all, and are
/// read at one look.
#[inline]
pub(super) fn usual(contents: &[u8], measure: Measure) -> Option<Decimal> {
    let (number, end) = unsigned(contents.strip_prefix(b"(")?, false)?;
    (measure.is_usual_end(end) && is_possible(number, measure)).then_some(number)
}

/// A count is whole and not below zero.
fn is_possible(number: Decimal, measure: Measure) -> bool {
    measure != Measure::Count || number.scale() == 0 && number.is_sign_positive()
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
    match text.strip_prefix(b"-") {
        Some(digits) => unsigned(digits, true),
        None => unsigned(text, false),
    }
}

/// The same behind the sign.
#[inline(always)]
fn unsigned(digits: &[u8], is_negative: bool) -> Option<(Decimal, &[u8])> {
    // Byte by byte, and once: a telegram holds thirty numbers, and they are what its parsing takes longest for.
    let mut mantissa = 0_u64;
    let mut rest = digits;
    let mut point = None;
    loop {
        match rest {
            [digit @ b'0'..=b'9', after @ ..] => {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
                rest = after;
            }
            [b'.', after @ ..] if point.is_none() => {
                point = Some(after);
                rest = after;
            }
            _ => break,
        }
    }
    let scale = point.map_or(0, |fraction| fraction.len() - rest.len());
    let whole = digits.len() - rest.len() - scale - usize::from(point.is_some());
    if whole == 0 || point.is_some() && scale == 0 {
        return None;
    }
    let is_short = whole + scale <= DIGITS_IN_64_BITS;
    let scale = u32::try_from(scale).ok()?;
    let number = if is_short {
        let [low, middle] = [mantissa as u32, (mantissa >> 32) as u32];
        Decimal::from_parts(low, middle, 0, is_negative, scale)
    } else {
        let mantissa = long_mantissa(digits.strip_suffix(rest)?)?;
        let mantissa = if is_negative { -mantissa } else { mantissa };
        Decimal::try_from_i128_with_scale(mantissa, scale).ok()?
    };
    Some((number, rest))
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
