//! A Swiss meter: `1-1` in place of `1-0` for what it counts in all, and a history cut off after its
//! count.

use super::super::sheet::Sheet;
use super::super::{Settings, State};
use super::blocks::{self, Number};
use serde_json::json;

pub(super) fn write(settings: &Settings, state: &State) -> Sheet {
    let phases = settings.phases;
    let mut sheet = Sheet::begin("EKL5\\253ELSTER", state.at);
    sheet.text("0-0:96.1.4", "12345", "Version_info");
    sheet.other("0-0:0.0.0", &["123412341234"]);
    sheet.expect("Equipment_id", json!("123412341234"));
    sheet.time(state.at);
    blocks::tariff_registers(
        &mut sheet,
        state,
        Number {
            prefix: "1-1",
            digits: 6,
            decimals: 3,
        },
    );
    sheet.text("0-0:96.14.0", &format!("{:04}", state.tariff), "Tarrif_id");
    blocks::month_peak(&mut sheet, state, "1-1");
    blocks::total_power(
        &mut sheet,
        state,
        Number {
            prefix: "1-1",
            digits: 2,
            decimals: 3,
        },
    );
    blocks::phase_power(&mut sheet, state, phases, 2);
    blocks::failures(&mut sheet, state);
    blocks::sags_and_swells(&mut sheet, state, phases);
    blocks::text_message(&mut sheet, &settings.text);
    blocks::voltage(&mut sheet, state, phases, 3);
    blocks::current(&mut sheet, state, phases, 3, 0);
    sheet
}
