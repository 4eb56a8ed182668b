//! What meters speak: one file per family, each writing the household's state as meters of that family
//! do.

mod austria;
mod belgium;
mod blocks;
mod district_heating;
mod hungary;
mod iskra;
mod luxembourg;
mod netherlands;
mod old_netherlands;
mod sweden;
mod switzerland;

use super::sheet::Sheet;
use super::{Settings, State, Telegram, crc};

/// What a meter speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// DSMR 2.2, Netherlands: every ten seconds, no CRC, no time, gas over two lines.
    Dsmr22,
    /// DSMR 3, Netherlands: the same with a message and a limit in amperes.
    Dsmr3,
    /// DSMR 4.0, Netherlands: every ten seconds, gas every hour.
    Dsmr4,
    /// DSMR 4.2, Netherlands.
    Dsmr42,
    /// DSMR 5, Netherlands: every second, gas every five minutes.
    Dsmr5,
    /// eMUCS 1.3, Belgium: no power of each phase, no demand.
    Belgium50213,
    /// eMUCS 1.5, Belgium: power of each phase.
    Belgium50215,
    /// eMUCS 1.7, Belgium: quarter-hour demand and its peaks.
    Belgium50217,
    /// eMUCS 2.1, Belgium: EAN codes and relays.
    Belgium50221,
    /// Luxembourg: no tariffs, reactive power, a message for each channel.
    Luxembourg,
    /// Sweden: no tariffs, eight digits, reactive power of each phase.
    Sweden,
    /// Austria: whole watts and watt-hours.
    Austria,
    /// Hungary: four tariffs, four quadrants, monthly billing where Belgium has its peaks.
    Hungary,
    /// A Hungarian meter with CRC-16/X-25.
    HungaryX25,
    /// Switzerland: `1-1` in place of `1-0`.
    Switzerland,
    /// Iskra IE.5: an identification line with a control character.
    IskraIe,
    /// District heating: no electricity, and a CRC without leading zeros.
    DistrictHeating,
}

/// How a telegram ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// CRC-16/ARC in four digits.
    Arc,
    /// The same without leading zeros.
    UnpaddedArc,
    /// CRC-16/X-25 in four digits.
    X25,
    /// `!` alone.
    NoCrc,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Dsmr22,
        Self::Dsmr3,
        Self::Dsmr4,
        Self::Dsmr42,
        Self::Dsmr5,
        Self::Belgium50213,
        Self::Belgium50215,
        Self::Belgium50217,
        Self::Belgium50221,
        Self::Luxembourg,
        Self::Sweden,
        Self::Austria,
        Self::Hungary,
        Self::HungaryX25,
        Self::Switzerland,
        Self::IskraIe,
        Self::DistrictHeating,
    ];

    /// Seconds between two telegrams.
    pub fn period_seconds(self) -> i64 {
        use Dialect::{Dsmr3, Dsmr4, Dsmr22, Dsmr42, HungaryX25, Luxembourg, Sweden};
        if matches!(
            self,
            Dsmr22 | Dsmr3 | Dsmr4 | Dsmr42 | Luxembourg | Sweden | HungaryX25
        ) {
            10
        } else {
            1
        }
    }

    /// How its telegrams end.
    pub fn ending(self) -> Ending {
        match self {
            Self::Dsmr22 | Self::Dsmr3 => Ending::NoCrc,
            Self::HungaryX25 => Ending::X25,
            Self::DistrictHeating => Ending::UnpaddedArc,
            _ => Ending::Arc,
        }
    }

    /// Whether its telegrams carry their own time.
    pub fn sends_its_time(self) -> bool {
        !matches!(self, Self::Dsmr22 | Self::Dsmr3)
    }

    pub(crate) fn gas_every_seconds(self) -> i64 {
        if matches!(self, Self::Dsmr22 | Self::Dsmr3 | Self::Dsmr4 | Self::Dsmr42) {
            3_600
        } else {
            300
        }
    }

    /// The smallest difference in power that it shows: what the household draws is a multiple of it.
    pub(crate) fn power_step_w(self) -> i64 {
        if matches!(self, Self::Dsmr22 | Self::Dsmr3) {
            10
        } else {
            1
        }
    }

    pub(crate) fn has_one_phase(self) -> bool {
        matches!(self, Self::Dsmr22 | Self::Dsmr3)
    }

    pub(crate) fn is_belgian(self) -> bool {
        matches!(
            self,
            Self::Belgium50213 | Self::Belgium50215 | Self::Belgium50217 | Self::Belgium50221
        )
    }

    pub(crate) fn may_have_gas(self) -> bool {
        use Dialect::{Austria, DistrictHeating, Hungary, HungaryX25, IskraIe, Sweden, Switzerland};
        !matches!(
            self,
            Austria | Sweden | Hungary | HungaryX25 | Switzerland | IskraIe | DistrictHeating
        )
    }

    pub(crate) fn may_have_water(self) -> bool {
        self.may_have_gas() && !matches!(self, Self::Dsmr22 | Self::Dsmr3 | Self::Luxembourg)
    }

    pub(crate) fn numbers_day_first(self) -> bool {
        self.is_belgian()
    }
}

/// The telegram of the state.
pub(crate) fn write(settings: &Settings, state: &State) -> Telegram {
    let sheet: Sheet = match settings.dialect {
        Dialect::Dsmr22 | Dialect::Dsmr3 => old_netherlands::write(settings, state),
        Dialect::Dsmr4 | Dialect::Dsmr42 | Dialect::Dsmr5 => netherlands::write(settings, state),
        dialect if dialect.is_belgian() => belgium::write(settings, state),
        Dialect::Luxembourg => luxembourg::write(settings, state),
        Dialect::Sweden => sweden::write(settings, state),
        Dialect::Austria => austria::write(state),
        Dialect::Hungary | Dialect::HungaryX25 => hungary::write(settings, state),
        Dialect::Switzerland => switzerland::write(settings, state),
        Dialect::IskraIe => iskra::write(settings, state),
        _ => district_heating::write(settings, state),
    };
    let (bytes, truth) = match settings.dialect.ending() {
        Ending::Arc => sheet.end_with_crc(crc::arc, 4),
        Ending::UnpaddedArc => sheet.end_with_crc(crc::arc, 1),
        Ending::X25 => sheet.end_with_crc(crc::x25, 4),
        Ending::NoCrc => sheet.end_without_crc(),
    };
    Telegram { bytes, truth }
}
