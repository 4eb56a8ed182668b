//! What a [`Quantity`] can be, and the quantities that a telegram states.

use rust_decimal::Decimal;

use super::bounds::Bounds;
use super::obis::{QUANTITIES, Quantity};
use super::unit::Dimension;

impl Quantity {
    /// What it is measured in.
    pub fn measure(self) -> Measure {
        self.row().measure
    }

    /// Whether it counts upwards for as long as the meter lives, where others are of the moment.
    pub fn is_register(self) -> bool {
        self.measure() == Measure::Energy
    }

    /// Within which it can be.
    pub(super) fn bounds(self) -> Bounds {
        self.row().bounds
    }

    /// Whether a meter says this number of this quantity.
    pub(super) fn can_be(self, number: Decimal) -> bool {
        let is_whole = || self.measure() != Measure::Count || number.scale() == 0;
        (self.bounds().contain(number) || self.is_off(number)) && is_whole()
    }

    /// Whether this threshold says that there is none: 999, 999.9, and since eMUCS 50221 99.999 and 999.99.
    pub fn is_off(self, number: Decimal) -> bool {
        let is_threshold = matches!(self, Self::LimiterThreshold | Self::FuseThreshold);
        is_threshold && {
            let mut digits = number.normalize().mantissa();
            let is_long = digits >= 999;
            while digits % 10 == 9 {
                digits /= 10;
            }
            is_long && digits == 0
        }
    }
}

/// What a quantity is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// kWh.
    Energy,
    /// kW.
    Power,
    /// kW, and nothing where no unit is stated: the same reference holds A or kVA elsewhere.
    StatedPower,
    /// V.
    Voltage,
    /// A.
    Current,
    /// A, and nothing where no unit is stated.
    StatedCurrent,
    /// A whole number without unit.
    Count,
}

impl Measure {
    /// Whether the standard ends a number of this measure like that, from behind its digits on.
    pub(super) fn is_usual_end(self, end: &[u8]) -> bool {
        match self {
            Self::Energy => end == b"*kWh)",
            Self::Power | Self::StatedPower => end == b"*kW)",
            Self::Voltage => end == b"*V)",
            Self::Current | Self::StatedCurrent => end == b"*A)",
            Self::Count => end == b")",
        }
    }

    /// Whether the standard gives a number of this measure so many digits, and so many of them behind the point: in no
    /// other form is a number without its unit known to be in the measure's own.
    pub(super) fn is_form(self, digits: usize, decimals: usize) -> bool {
        match self {
            // F9(3,3); in DSMR 2.2 and 3 F8(0,3), which without a fraction may as well be Wh.
            Self::Energy => matches!((digits, decimals), (9, 3) | (8, 1..=3)),
            // F5(3,3); in DSMR 2.2 and 3 F6(0,2).
            Self::Power => matches!((digits, decimals), (5, 3) | (6, 1..=2)),
            // F4(1,1).
            Self::Voltage => (digits, decimals) == (4, 1),
            // F3(0,0); in Belgium F3(2,2).
            Self::Current => matches!((digits, decimals), (3, 0 | 2)),
            Self::Count => decimals == 0,
            Self::StatedPower | Self::StatedCurrent => false,
        }
    }

    /// The dimension of its unit; none for a count.
    pub(super) fn dimension(self) -> Option<Dimension> {
        Some(match self {
            Self::Energy => Dimension::Energy,
            Self::Power | Self::StatedPower => Dimension::Power,
            Self::Voltage => Dimension::Voltage,
            Self::Current | Self::StatedCurrent => Dimension::Current,
            Self::Count => return None,
        })
    }
}

/// The quantities that a telegram states.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantities {
    values: [Option<Decimal>; QUANTITIES],
}

impl Default for Quantities {
    fn default() -> Self {
        Self {
            values: [None; QUANTITIES],
        }
    }
}

impl Quantities {
    /// The number of this quantity, in the unit of its measure.
    pub fn value(&self, quantity: Quantity) -> Option<Decimal> {
        self.values.get(quantity as usize).copied().flatten()
    }

    pub(super) fn set(&mut self, quantity: Quantity, value: Option<Decimal>) {
        if let Some(place) = self.values.get_mut(quantity as usize) {
            *place = value;
        }
    }
}
