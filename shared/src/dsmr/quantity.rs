//! The numbers that have a key of their own, and what each is measured in.

use rust_decimal::Decimal;

use super::bounds::{self, Bounds};
use super::obis::Obis;
use super::unit::Dimension;

/// A number that a meter can send under one reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// `1-0:1.8.0`, register, kWh.
    ImportTotal,
    /// `1-0:1.8.1`, register, kWh.
    ImportTariff1,
    /// `1-0:1.8.2`, register, kWh.
    ImportTariff2,
    /// `1-0:1.8.3`, register, kWh.
    ImportTariff3,
    /// `1-0:1.8.4`, register, kWh.
    ImportTariff4,
    /// `1-0:1.8.5`, register, kWh.
    ImportTariff5,
    /// `1-0:2.8.0`, register, kWh.
    ExportTotal,
    /// `1-0:2.8.1`, register, kWh.
    ExportTariff1,
    /// `1-0:2.8.2`, register, kWh.
    ExportTariff2,
    /// `1-0:2.8.3`, register, kWh.
    ExportTariff3,
    /// `1-0:2.8.4`, register, kWh.
    ExportTariff4,
    /// `1-0:2.8.5`, register, kWh.
    ExportTariff5,
    /// `1-0:1.7.0`, gauge, kW.
    PowerImport,
    /// `1-0:2.7.0`, gauge, kW.
    PowerExport,
    /// `1-0:16.7.0`, gauge, kW; below zero if more is given back than drawn.
    PowerSigned,
    /// `1-0:21.7.0`, gauge, kW.
    PowerImportL1,
    /// `1-0:41.7.0`, gauge, kW.
    PowerImportL2,
    /// `1-0:61.7.0`, gauge, kW.
    PowerImportL3,
    /// `1-0:22.7.0`, gauge, kW.
    PowerExportL1,
    /// `1-0:42.7.0`, gauge, kW.
    PowerExportL2,
    /// `1-0:62.7.0`, gauge, kW.
    PowerExportL3,
    /// `1-0:32.7.0`, gauge, V.
    VoltageL1,
    /// `1-0:52.7.0`, gauge, V.
    VoltageL2,
    /// `1-0:72.7.0`, gauge, V.
    VoltageL3,
    /// `1-0:31.7.0`, gauge, A.
    CurrentL1,
    /// `1-0:51.7.0`, gauge, A.
    CurrentL2,
    /// `1-0:71.7.0`, gauge, A.
    CurrentL3,
    /// `1-0:1.4.0`, average import of the quarter-hour so far, kW.
    CurrentAverageDemand,
    /// `1-0:2.4.0`, average export of the quarter-hour so far, kW.
    CurrentAverageExportDemand,
    /// `1-0:1.6.0`, highest quarter-hour of the month, kW.
    MaximumDemandMonth,
    /// `1-0:2.6.0`, highest quarter-hour of export of the month, kW.
    MaximumExportDemandMonth,
    /// `0-0:17.0.0`, kW; nines only is off.
    LimiterThreshold,
    /// `1-0:31.4.0`, A; nines only is off.
    FuseThreshold,
    /// `0-0:96.3.10`.
    BreakerState,
    /// `0-0:96.7.21`, count of failures in any phase.
    PowerFailures,
    /// `0-0:96.7.9`, count.
    LongPowerFailures,
    /// `1-0:32.32.0`, count of voltage sags.
    SagsL1,
    /// `1-0:52.32.0`, count.
    SagsL2,
    /// `1-0:72.32.0`, count.
    SagsL3,
    /// `1-0:32.36.0`, count of voltage swells.
    SwellsL1,
    /// `1-0:52.36.0`, count.
    SwellsL2,
    /// `1-0:72.36.0`, count.
    SwellsL3,
}

/// How many quantities there are.
pub(super) const QUANTITIES: usize = Quantity::SwellsL3 as usize + 1;

impl Quantity {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; QUANTITIES] = {
        use Quantity::*;
        [
            ImportTotal,
            ImportTariff1,
            ImportTariff2,
            ImportTariff3,
            ImportTariff4,
            ImportTariff5,
            ExportTotal,
            ExportTariff1,
            ExportTariff2,
            ExportTariff3,
            ExportTariff4,
            ExportTariff5,
            PowerImport,
            PowerExport,
            PowerSigned,
            PowerImportL1,
            PowerImportL2,
            PowerImportL3,
            PowerExportL1,
            PowerExportL2,
            PowerExportL3,
            VoltageL1,
            VoltageL2,
            VoltageL3,
            CurrentL1,
            CurrentL2,
            CurrentL3,
            CurrentAverageDemand,
            CurrentAverageExportDemand,
            MaximumDemandMonth,
            MaximumExportDemandMonth,
            LimiterThreshold,
            FuseThreshold,
            BreakerState,
            PowerFailures,
            LongPowerFailures,
            SagsL1,
            SagsL2,
            SagsL3,
            SwellsL1,
            SwellsL2,
            SwellsL3,
        ]
    };

    /// The quantity of an electricity reference `1-0:C.D.E`.
    pub(super) fn of_electricity(reference: Obis) -> Option<Self> {
        use Quantity::*;
        Some(match (reference.c, reference.d, reference.e) {
            (1, 8, 0) => ImportTotal,
            (1, 8, 1) => ImportTariff1,
            (1, 8, 2) => ImportTariff2,
            (1, 8, 3) => ImportTariff3,
            (1, 8, 4) => ImportTariff4,
            (1, 8, 5) => ImportTariff5,
            (2, 8, 0) => ExportTotal,
            (2, 8, 1) => ExportTariff1,
            (2, 8, 2) => ExportTariff2,
            (2, 8, 3) => ExportTariff3,
            (2, 8, 4) => ExportTariff4,
            (2, 8, 5) => ExportTariff5,
            (1, 7, 0) => PowerImport,
            (2, 7, 0) => PowerExport,
            (16, 7, 0) => PowerSigned,
            (21, 7, 0) => PowerImportL1,
            (41, 7, 0) => PowerImportL2,
            (61, 7, 0) => PowerImportL3,
            (22, 7, 0) => PowerExportL1,
            (42, 7, 0) => PowerExportL2,
            (62, 7, 0) => PowerExportL3,
            (32, 7, 0) => VoltageL1,
            (52, 7, 0) => VoltageL2,
            (72, 7, 0) => VoltageL3,
            (31, 7, 0) => CurrentL1,
            (51, 7, 0) => CurrentL2,
            (71, 7, 0) => CurrentL3,
            (1, 4, 0) => CurrentAverageDemand,
            (2, 4, 0) => CurrentAverageExportDemand,
            (1, 6, 0) => MaximumDemandMonth,
            (2, 6, 0) => MaximumExportDemandMonth,
            (31, 4, 0) => FuseThreshold,
            (32, 32, 0) => SagsL1,
            (52, 32, 0) => SagsL2,
            (72, 32, 0) => SagsL3,
            (32, 36, 0) => SwellsL1,
            (52, 36, 0) => SwellsL2,
            (72, 36, 0) => SwellsL3,
            _ => return None,
        })
    }

    /// The quantity of an abstract reference `0-0:C.D.E`.
    pub(super) fn of_meter(reference: Obis) -> Option<Self> {
        Some(match (reference.c, reference.d, reference.e) {
            (17, 0, 0) => Self::LimiterThreshold,
            (96, 3, 10) => Self::BreakerState,
            (96, 7, 21) => Self::PowerFailures,
            (96, 7, 9) => Self::LongPowerFailures,
            _ => return None,
        })
    }

    /// What it is measured in.
    pub fn measure(self) -> Measure {
        use Quantity::*;
        match self {
            ImportTotal | ImportTariff1 | ImportTariff2 | ImportTariff3 | ImportTariff4 | ImportTariff5
            | ExportTotal | ExportTariff1 | ExportTariff2 | ExportTariff3 | ExportTariff4 | ExportTariff5 => {
                Measure::Energy
            }
            PowerImport
            | PowerExport
            | PowerSigned
            | PowerImportL1
            | PowerImportL2
            | PowerImportL3
            | PowerExportL1
            | PowerExportL2
            | PowerExportL3
            | CurrentAverageDemand
            | CurrentAverageExportDemand
            | MaximumDemandMonth
            | MaximumExportDemandMonth => Measure::Power,
            LimiterThreshold => Measure::StatedPower,
            VoltageL1 | VoltageL2 | VoltageL3 => Measure::Voltage,
            CurrentL1 | CurrentL2 | CurrentL3 => Measure::Current,
            FuseThreshold => Measure::StatedCurrent,
            BreakerState | PowerFailures | LongPowerFailures | SagsL1 | SagsL2 | SagsL3 | SwellsL1
            | SwellsL2 | SwellsL3 => Measure::Count,
        }
    }

    /// Whether it counts upwards for as long as the meter lives, where others are of the moment.
    pub fn is_register(self) -> bool {
        self.measure() == Measure::Energy
    }

    /// Within which it can be.
    pub(super) fn bounds(self) -> Bounds {
        use Quantity::*;
        match self {
            PowerImportL1 | PowerImportL2 | PowerImportL3 | PowerExportL1 | PowerExportL2 | PowerExportL3 => {
                bounds::PHASE_POWER
            }
            BreakerState => bounds::STATE,
            other => match other.measure() {
                Measure::Energy => bounds::ENERGY,
                Measure::Power => bounds::POWER,
                Measure::StatedPower => bounds::POWER_THRESHOLD,
                Measure::Voltage => bounds::VOLTAGE,
                Measure::Current => bounds::CURRENT,
                Measure::StatedCurrent => bounds::CURRENT_THRESHOLD,
                Measure::Count => bounds::COUNT,
            },
        }
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
