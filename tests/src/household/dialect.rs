//! What meters speak: one function per family, each writing the household's state as meters of that
//! family do.

mod blocks;
mod netherlands;

use super::sheet::Sheet;
use super::{Settings, State, Telegram, crc};

/// What a meter speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// DSMR 4.0 and 4.2, Netherlands: every ten seconds, gas every hour.
    Dsmr4,
    /// DSMR 5, Netherlands: every second, gas every five minutes.
    Dsmr5,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Dsmr4, Self::Dsmr5];

    /// Seconds between two telegrams.
    pub fn period_seconds(self) -> i64 {
        match self {
            Self::Dsmr5 => 1,
            Self::Dsmr4 => 10,
        }
    }

    pub(crate) fn gas_every_seconds(self) -> i64 {
        match self {
            Self::Dsmr5 => 300,
            Self::Dsmr4 => 3_600,
        }
    }

    pub(crate) fn power_step_w(self) -> i64 {
        1
    }

    pub(crate) fn has_one_phase(self) -> bool {
        false
    }

    pub(crate) fn may_have_gas(self) -> bool {
        true
    }

    pub(crate) fn may_have_water(self) -> bool {
        true
    }

    pub(crate) fn numbers_day_first(self) -> bool {
        false
    }
}

/// The telegram of the state.
pub(crate) fn write(settings: &Settings, state: &State, _frame_counter: u32) -> Telegram {
    let sheet: Sheet = match settings.dialect {
        Dialect::Dsmr4 | Dialect::Dsmr5 => netherlands::write(settings, state),
    };
    let (bytes, truth) = sheet.end_with_crc(crc::arc);
    Telegram { bytes, truth }
}
