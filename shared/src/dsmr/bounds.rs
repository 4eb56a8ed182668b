//! Within which numbers a quantity of a household can be.
//!
//! The largest domestic connections have three phases of 250 A, and a phase is below 300 V: that is 75 kW a phase and
//! 225 kW in all. What it counts in a meter's life, taken as fifty years at full power, is below 100 million kWh. A
//! number beyond that is none: a time in the place of a value, a text, or a register that was never set.

use std::fmt;

use rust_decimal::Decimal;

/// The least and the largest number that a quantity can be, in its own unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bounds {
    most: u32,
    /// Whether it can be as far below zero.
    is_signed: bool,
    unit: &'static str,
}

const fn unsigned(most: u32, unit: &'static str) -> Bounds {
    Bounds {
        most,
        is_signed: false,
        unit,
    }
}

const fn signed(most: u32, unit: &'static str) -> Bounds {
    Bounds {
        most,
        is_signed: true,
        unit,
    }
}

pub(super) const VOLTAGE: Bounds = unsigned(300, " V");
/// Some meters give what flows back a sign.
pub(super) const CURRENT: Bounds = signed(250, " A");
pub(super) const PHASE_POWER: Bounds = signed(75, " kW");
pub(super) const POWER: Bounds = signed(225, " kW");
pub(super) const POWER_THRESHOLD: Bounds = unsigned(225, " kW");
pub(super) const CURRENT_THRESHOLD: Bounds = unsigned(250, " A");
/// A counter that was mounted the wrong way round, or that nets both ways, may be below zero.
pub(super) const ENERGY: Bounds = signed(100_000_000, " kWh");
/// The same energy.
pub(super) const HEAT: Bounds = signed(360_000, " GJ");
/// More than the largest diaphragm meter (G100, 160 m³ an hour) counts in seven years at full flow.
pub(super) const VOLUME: Bounds = signed(10_000_000, " m³");
/// The standard's five digits.
pub(super) const COUNT: Bounds = unsigned(99_999, "");
/// The standard's ten digits hold more, and no meter counts a failure of over a century.
pub(super) const SECONDS: Bounds = unsigned(u32::MAX, " s");
/// The standard's one digit.
pub(super) const STATE: Bounds = unsigned(9, "");

impl Bounds {
    /// Whether the number is within.
    #[inline]
    pub(super) fn contain(self, number: Decimal) -> bool {
        const TENS: [u64; 9] = [
            1,
            10,
            100,
            1_000,
            10_000,
            100_000,
            1_000_000,
            10_000_000,
            100_000_000,
        ];
        // Nearly all have few places. A decimal has at most 28, and 10²⁸ times the largest bound is less than 2¹²⁸.
        let ten = match TENS.get(number.scale() as usize) {
            Some(&ten) => ten.into(),
            None => 10_u128.pow(number.scale()),
        };
        let most = u128::from(self.most) * ten;
        (self.is_signed || number.is_zero() || number.is_sign_positive())
            && number.mantissa().unsigned_abs() <= most
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            most,
            is_signed,
            unit,
        } = self;
        let least = if *is_signed { -i64::from(*most) } else { 0 };
        write!(f, "{least} to {most}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_within() {
        let contains = |bounds: Bounds, number: &str| bounds.contain(number.parse().expect("a decimal"));
        for number in ["0", "-0.000", "300", "300.0000000000000000000000000"] {
            assert!(contains(VOLTAGE, number), "{number}");
        }
        for number in [
            "300.0000000000000000000000001",
            "-0.1",
            "79228162514264337593543950335",
        ] {
            assert!(!contains(VOLTAGE, number), "{number}");
        }
        for scale in 0..=28 {
            let is_at_bound = contains(COUNT, &format!("9.{}", "0".repeat(scale)));
            assert!(
                is_at_bound && contains(STATE, &format!("9.{}", "0".repeat(scale))),
                "{scale}"
            );
            assert!(
                !contains(STATE, &format!("9.{}1", "0".repeat(scale.min(26)))),
                "{scale}"
            );
        }
        assert!(contains(POWER, "-225") && contains(POWER, "225.000"));
        assert!(!contains(POWER, "-225.001") && !contains(POWER, "225.001"));
    }

    #[test]
    fn bounds_are_said_with_their_unit() {
        assert_eq!(POWER.to_string(), "-225 to 225 kW");
        assert_eq!(COUNT.to_string(), "0 to 99999");
    }
}
