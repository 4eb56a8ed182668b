//! The table of OBIS references whose value is a number with a key of its own. A reference is a row.
//!
//! A row gives the reference, its [`Quantity`], what it is measured in, within which bounds, its key in the readings,
//! and its name in summary and state; `-` stands for none: counts, states and limits are neither registers nor gauges.
//! The order of the rows is that of summary and state.
//!
//! Source: DSMR P1 5.0.2, section 6.12; eMUCS-P1 1.7 and 2.1 (Belgium); Smarty P1 1.1.3 (Luxembourg).

use super::bounds::{self, Bounds};
use super::quantity::Measure;
use super::reference::Obis;

/// What is known of a quantity.
#[derive(Debug)]
pub struct Row {
    /// `A-B:C.D.E`.
    pub reference: &'static str,
    /// What it is measured in.
    pub measure: Measure,
    /// Within which it can be.
    pub(super) bounds: Bounds,
    /// Its key in the readings.
    pub key: &'static str,
    /// Its name in summary and state.
    pub name: Option<&'static str>,
    /// What it is, as a phrase.
    pub description: &'static str,
}

macro_rules! table {
    ($(
        #[doc = $description:literal]
        $reference:literal $quantity:ident $measure:ident $bounds:ident $key:literal $name:tt,
    )*) => {
        /// A number that a meter can send under one reference.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Quantity {
            $( #[doc = concat!("`", $reference, "`:", $description)] $quantity, )*
        }

        /// How many quantities there are.
        pub(super) const QUANTITIES: usize = [$($reference),*].len();

        static ROWS: [Row; QUANTITIES] = [$(
            Row {
                reference: $reference,
                measure: Measure::$measure,
                bounds: bounds::$bounds,
                key: $key,
                name: name!($name),
                description: $description.trim_ascii(),
            },
        )*];

        #[expect(non_upper_case_globals, reason = "each is named like its quantity")]
        mod packed {
            $( pub(super) const $quantity: u32 = super::packed($reference); )*
        }

        impl Quantity {
            /// All of them, in the order of the table.
            pub const ALL: [Self; QUANTITIES] = [$( Self::$quantity, )*];

            /// The quantity of a reference; its channel has been looked at.
            pub(super) fn of(reference: Obis) -> Option<Self> {
                match reference.packed() {
                    $( packed::$quantity => Some(Self::$quantity), )*
                    _ => None,
                }
            }
        }
    };
}

macro_rules! name {
    (-) => {
        None
    };
    ($name:literal) => {
        Some($name)
    };
}

const fn packed(reference: &str) -> u32 {
    match Obis::read_front(reference.as_bytes()) {
        Some((reference, [])) => reference.packed(),
        _ => panic!("the row begins with an OBIS reference"),
    }
}

impl Quantity {
    /// What is known of it.
    #[inline]
    pub const fn row(self) -> &'static Row {
        #[expect(clippy::indexing_slicing, reason = "there is a row for each")]
        &ROWS[self as usize]
    }
}

table! {
    /// Energy imported, all tariffs.
    "1-0:1.8.0" ImportTotal Energy ENERGY "Electricity_incoming_total_kwh" "electricity_import_total_kwh",
    /// Energy imported in tariff 1.
    "1-0:1.8.1" ImportTariff1 Energy ENERGY "Electricity_incoming_tariff1_kwh" "electricity_import_tariff1_kwh",
    /// Energy imported in tariff 2.
    "1-0:1.8.2" ImportTariff2 Energy ENERGY "Electricity_incoming_tariff2_kwh" "electricity_import_tariff2_kwh",
    /// Energy imported in tariff 3.
    "1-0:1.8.3" ImportTariff3 Energy ENERGY "Electricity_incoming_tariff3_kwh" "electricity_import_tariff3_kwh",
    /// Energy imported in tariff 4.
    "1-0:1.8.4" ImportTariff4 Energy ENERGY "Electricity_incoming_tariff4_kwh" "electricity_import_tariff4_kwh",
    /// Energy imported in tariff 5.
    "1-0:1.8.5" ImportTariff5 Energy ENERGY "Electricity_incoming_tariff5_kwh" "electricity_import_tariff5_kwh",
    /// Energy exported, all tariffs.
    "1-0:2.8.0" ExportTotal Energy ENERGY "Electricity_outgoing_total_kwh" "electricity_export_total_kwh",
    /// Energy exported in tariff 1.
    "1-0:2.8.1" ExportTariff1 Energy ENERGY "Electricity_outgoing_tariff1_kwh" "electricity_export_tariff1_kwh",
    /// Energy exported in tariff 2.
    "1-0:2.8.2" ExportTariff2 Energy ENERGY "Electricity_outgoing_tariff2_kwh" "electricity_export_tariff2_kwh",
    /// Energy exported in tariff 3.
    "1-0:2.8.3" ExportTariff3 Energy ENERGY "Electricity_outgoing_tariff3_kwh" "electricity_export_tariff3_kwh",
    /// Energy exported in tariff 4.
    "1-0:2.8.4" ExportTariff4 Energy ENERGY "Electricity_outgoing_tariff4_kwh" "electricity_export_tariff4_kwh",
    /// Energy exported in tariff 5.
    "1-0:2.8.5" ExportTariff5 Energy ENERGY "Electricity_outgoing_tariff5_kwh" "electricity_export_tariff5_kwh",
    /// Power imported.
    "1-0:1.7.0" PowerImport Power POWER "Actualpower_incoming_kW" "power_import_kw",
    /// Power exported.
    "1-0:2.7.0" PowerExport Power POWER "Actualpower_outgoing_kW" "power_export_kw",
    /// Power imported; below zero if more is exported.
    "1-0:16.7.0" PowerSigned Power POWER "Actualpower_signed_kW" "power_signed_kw",
    /// Power imported on phase L1.
    "1-0:21.7.0" PowerImportL1 Power PHASE_POWER "InstantaneousPower_incoming_L1_kW" "power_import_l1_kw",
    /// Power imported on phase L2.
    "1-0:41.7.0" PowerImportL2 Power PHASE_POWER "InstantaneousPower_incoming_L2_kW" "power_import_l2_kw",
    /// Power imported on phase L3.
    "1-0:61.7.0" PowerImportL3 Power PHASE_POWER "InstantaneousPower_incoming_L3_kW" "power_import_l3_kw",
    /// Power exported on phase L1.
    "1-0:22.7.0" PowerExportL1 Power PHASE_POWER "InstantaneousPower_outgoing_L1_kW" "power_export_l1_kw",
    /// Power exported on phase L2.
    "1-0:42.7.0" PowerExportL2 Power PHASE_POWER "InstantaneousPower_outgoing_L2_kW" "power_export_l2_kw",
    /// Power exported on phase L3.
    "1-0:62.7.0" PowerExportL3 Power PHASE_POWER "InstantaneousPower_outgoing_L3_kW" "power_export_l3_kw",
    /// Voltage of phase L1.
    "1-0:32.7.0" VoltageL1 Voltage VOLTAGE "Voltage_L1_V" "voltage_l1_v",
    /// Voltage of phase L2.
    "1-0:52.7.0" VoltageL2 Voltage VOLTAGE "Voltage_L2_V" "voltage_l2_v",
    /// Voltage of phase L3.
    "1-0:72.7.0" VoltageL3 Voltage VOLTAGE "Voltage_L3_V" "voltage_l3_v",
    /// Current of phase L1.
    "1-0:31.7.0" CurrentL1 Current CURRENT "Instantaneous_current_l1_amp" "current_l1_a",
    /// Current of phase L2.
    "1-0:51.7.0" CurrentL2 Current CURRENT "Instantaneous_current_l2_amp" "current_l2_a",
    /// Current of phase L3.
    "1-0:71.7.0" CurrentL3 Current CURRENT "Instantaneous_current_l3_amp" "current_l3_a",
    /// Average import of the quarter-hour so far.
    "1-0:1.4.0" CurrentAverageDemand Power POWER "Current_average_demand_kW" "current_average_demand_kw",
    /// Average export of the quarter-hour so far.
    "1-0:2.4.0" CurrentAverageExportDemand Power POWER "Current_average_demand_outgoing_kW" "current_average_export_demand_kw",
    /// Highest average import of a quarter-hour this month.
    "1-0:1.6.0" MaximumDemandMonth Power POWER "Maximum_demand_month_kW" "maximum_demand_month_kw",
    /// Highest average export of a quarter-hour this month.
    "1-0:2.6.0" MaximumExportDemandMonth Power POWER "Maximum_demand_month_outgoing_kW" "maximum_export_demand_month_kw",
    /// Power above which the meter switches off; nines only is no limit.
    "0-0:17.0.0" LimiterThreshold StatedPower POWER_THRESHOLD "Limiter_threshold_kW" -,
    /// Current above which the meter switches off; nines only is no limit.
    "1-0:31.4.0" FuseThreshold StatedCurrent CURRENT_THRESHOLD "Fuse_threshold_A" -,
    /// State of the breaker.
    "0-0:96.3.10" BreakerState Count STATE "Breaker_state" -,
    /// Power failures in any phase.
    "0-0:96.7.21" PowerFailures Count COUNT "Power_failure_count" -,
    /// Long power failures in any phase.
    "0-0:96.7.9" LongPowerFailures Count COUNT "Long_power_failure_count" -,
    /// Voltage sags on phase L1.
    "1-0:32.32.0" SagsL1 Count COUNT "L1_voltage_sag_count" -,
    /// Voltage sags on phase L2.
    "1-0:52.32.0" SagsL2 Count COUNT "L2_voltage_sag_count" -,
    /// Voltage sags on phase L3.
    "1-0:72.32.0" SagsL3 Count COUNT "L3_voltage_sag_count" -,
    /// Voltage swells on phase L1.
    "1-0:32.36.0" SwellsL1 Count COUNT "L1_voltage_swell_count" -,
    /// Voltage swells on phase L2.
    "1-0:52.36.0" SwellsL2 Count COUNT "L2_voltage_swell_count" -,
    /// Voltage swells on phase L3.
    "1-0:72.36.0" SwellsL3 Count COUNT "L3_voltage_swell_count" -,
}
