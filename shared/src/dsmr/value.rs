//! Numbers with their units: `00052185.7825309*kWh`.
//!
//! A number is kept as the meter wrote it, digit for digit. No width is assumed if its unit stands there, in whatever
//! case, with or without its `*`; what counts is that unit, never the one that the place would suggest. Without a unit
//! a number is in its quantity's own only if it has the form that the standard gives it. What is written as a time is
//! no number.

use rust_decimal::Decimal;

use super::misfit::Cause;
use super::obis::Quantity;
use super::object::single;
use super::text::{latin1, trim};
use super::time::is_written_as_time;
use super::unit::unit;

/// A number as it stands between brackets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'t> {
    pub(super) value: Decimal,
    /// Without its sign.
    digits: &'t [u8],
    /// What stands behind it, without `*`; none where nothing does.
    pub(super) unit: Option<&'t [u8]>,
}

impl<'t> Number<'t> {
    /// None for what is no number, a time included. Without its `*` a unit is one of the table: what else stands behind
    /// digits may be an exponent, or the rest of a number.
    pub(super) fn read(text: &'t [u8]) -> Option<Self> {
        let text = trim(text);
        if is_written_as_time(text) {
            return None;
        }
        let (value, rest) = decimal(text)?;
        let digits = text.strip_suffix(rest).unwrap_or_default();
        let unit = match trim(rest) {
            b"" => None,
            [b'*', stated @ ..] => Some(trim(stated)),
            bare => Some(unit(&latin1(bare)).map(|_| bare)?),
        };
        Some(Self {
            value,
            digits: digits.strip_prefix(b"-").unwrap_or(digits),
            unit,
        })
    }

    /// How many digits there are, and how many of them behind the point.
    pub(super) fn form(self) -> (usize, usize) {
        match self.digits.iter().position(|&byte| byte == b'.') {
            Some(point) => (self.digits.len() - 1, self.digits.len() - 1 - point),
            None => (self.digits.len(), 0),
        }
    }
}

/// The number in the quantity's own unit.
pub(super) fn in_unit(text: &[u8], quantity: Quantity) -> Result<Decimal, Cause> {
    let number = Number::read(text).ok_or(Cause::Form)?;
    let measure = quantity.measure();
    let power_of_ten = match (number.unit, measure.dimension()) {
        (None, _) => {
            let (digits, decimals) = number.form();
            measure
                .is_form(digits, decimals)
                .then_some(0)
                .ok_or(Cause::Form)?
        }
        (Some(text), Some(dimension)) => unit(&latin1(text))
            .filter(|(own, _)| *own == dimension)
            .map(|(_, power_of_ten)| power_of_ten)
            .ok_or(Cause::Unit)?,
        (Some(_), None) => return Err(Cause::Unit),
    };
    let bounds = Cause::Bounds(quantity.bounds());
    let value = scaled(number.value, power_of_ten).ok_or(bounds)?;
    quantity.can_be(value).then_some(value).ok_or(bounds)
}

/// The number in the only pair of brackets, in the quantity's own unit.
pub(super) fn only_in_unit(contents: &[u8], quantity: Quantity) -> Result<Decimal, Cause> {
    match usual(contents, quantity) {
        Some(number) => Ok(number),
        None => in_unit(single(contents).ok_or(Cause::Form)?, quantity),
    }
}

/// The same for numbers that are written as the standard prints them, without a sign, which are nearly all, and are
/// read at one look.
#[inline]
pub(super) fn usual(contents: &[u8], quantity: Quantity) -> Option<Decimal> {
    let (number, end) = unsigned(contents.strip_prefix(b"(")?, false)?;
    (quantity.measure().is_usual_end(end) && quantity.can_be(number)).then_some(number)
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

    fn shown(text: &str, quantity: Quantity) -> Option<String> {
        in_unit(text.as_bytes(), quantity)
            .ok()
            .map(|number| number.to_string())
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
            let found = Number::read(text.as_bytes()).map(|number| number.value.to_string());
            assert_eq!(found.unwrap_or_default(), number, "{text}");
        }
    }

    #[test]
    fn the_unit_that_is_stated_scales_the_number() {
        use Quantity::{CurrentL1, ImportTotal, PowerImport, VoltageL1};
        for (text, quantity, number) in [
            ("000123456*Wh", ImportTotal, "123.456"),
            ("00.005*MWh", ImportTotal, "5.000"),
            ("001688.21*W", PowerImport, "1.68821"),
            ("00.1*MW", PowerImport, "100.0"),
            ("318000*mW", PowerImport, "0.318000"),
            ("00.318kw", PowerImport, "0.318"),
            ("00.318 * KW", PowerImport, "0.318"),
            ("-00.318*kW", PowerImport, "-0.318"),
            ("0230.0*V", VoltageL1, "230.0"),
            ("0.230*kV", VoltageL1, "230.000"),
            ("230100*mV", VoltageL1, "230.100"),
            ("0000.005*kA", CurrentL1, "5.000"),
            ("05000*mA", CurrentL1, "5.000"),
        ] {
            assert_eq!(shown(text, quantity).as_deref(), Some(number), "{text}");
        }
        for text in [
            "00.318*kvar",
            "00.318*V",
            "00.318*kWh",
            "00.318*",
            "260102*W2",
            "1*1*kW",
        ] {
            assert_eq!(in_unit(text.as_bytes(), PowerImport), Err(Cause::Unit), "{text}");
        }
    }

    #[test]
    fn a_number_without_a_unit_has_the_form_of_its_quantity() {
        use Quantity::{
            CurrentL1, FuseThreshold, ImportTotal, LimiterThreshold, PowerImport, SagsL1, VoltageL1,
        };
        for (text, quantity) in [
            ("00.318", PowerImport),
            ("0000.31", PowerImport),
            ("000123.456", ImportTotal),
            ("00123.456", ImportTotal),
            ("230.1", VoltageL1),
            ("003", CurrentL1),
            ("1.27", CurrentL1),
            ("00013", SagsL1),
            ("3", SagsL1),
        ] {
            assert!(in_unit(text.as_bytes(), quantity).is_ok(), "{text}");
        }
        for (text, quantity) in [
            ("318", PowerImport),
            ("0.318", PowerImport),
            ("12345678", ImportTotal),
            ("123456", ImportTotal),
            ("230", VoltageL1),
            ("5000", CurrentL1),
            ("00.5", SagsL1),
            ("77.376", LimiterThreshold),
            ("999", FuseThreshold),
        ] {
            assert_eq!(in_unit(text.as_bytes(), quantity), Err(Cause::Form), "{text}");
        }
    }

    #[test]
    fn what_no_household_has_is_no_value() {
        use Quantity::{BreakerState, CurrentL1, ImportTotal, PowerImport, PowerImportL1, SagsL1, VoltageL1};
        for (text, quantity) in [
            ("225.001*kW", PowerImport),
            ("260102010000*W", PowerImport),
            ("75.001*kW", PowerImportL1),
            ("0.301*kV", VoltageL1),
            ("-230.1*V", VoltageL1),
            ("65535*A", CurrentL1),
            ("-100000001.000*kWh", ImportTotal),
            ("100000000.001*kWh", ImportTotal),
            ("79228162514264337593543950335*MWh", ImportTotal),
            ("-1", SagsL1),
            ("100000", SagsL1),
            ("10", BreakerState),
        ] {
            let bounds = Cause::Bounds(quantity.bounds());
            assert_eq!(in_unit(text.as_bytes(), quantity), Err(bounds), "{text}");
        }
    }

    #[test]
    fn a_threshold_of_nines_only_is_off_and_beyond_no_bound() {
        use Quantity::{CurrentL1, FuseThreshold, LimiterThreshold, PowerImport};
        for (text, quantity) in [
            ("999.9*kW", LimiterThreshold),
            ("0999.00*kW", LimiterThreshold),
            ("99.999*kW", LimiterThreshold),
            ("999*A", FuseThreshold),
            ("999.99*A", FuseThreshold),
        ] {
            let number = in_unit(text.as_bytes(), quantity).expect("a value");
            assert!(quantity.is_off(number), "{text}");
        }
        for (text, quantity) in [
            ("99*A", FuseThreshold),
            ("9.900*kW", LimiterThreshold),
            ("99.999*kW", PowerImport),
        ] {
            let number = in_unit(text.as_bytes(), quantity).expect("a value");
            assert!(!quantity.is_off(number), "{text}");
        }
        for (text, quantity) in [
            ("999*A", CurrentL1),
            ("999.9*kW", PowerImport),
            ("990*A", FuseThreshold),
            ("-999*A", FuseThreshold),
        ] {
            let bounds = Cause::Bounds(quantity.bounds());
            assert_eq!(in_unit(text.as_bytes(), quantity), Err(bounds), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_no_value() {
        for text in [
            "",
            "*kWh",
            "abc",
            ".5",
            "5.",
            "--1",
            "+1*kW",
            "1,5*kW",
            "1.2.3*kW",
            "1e3*kW",
            "1E-3*kW",
            "0x10*kW",
            "1 2*kW",
            "5 apples",
            "5kvar",
            "260102010000",
            "260102010000W",
            "000000000000W",
            "123456789012345678901234567890*kW",
        ] {
            assert_eq!(
                in_unit(text.as_bytes(), Quantity::PowerImport),
                Err(Cause::Form),
                "{text}"
            );
        }
    }
}
