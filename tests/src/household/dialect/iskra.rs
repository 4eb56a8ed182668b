//! Iskra IE.5: an identification line with a control character, which the CRC counts like any byte, and
//! the equipment identifier where the Netherlands have the other one.

use serde_json::json;

use super::super::sheet::Sheet;
use super::super::{Settings, State};
use super::blocks::{self, Number};

pub(super) fn write(settings: &Settings, state: &State) -> Sheet {
    let Settings { phases, seed, .. } = *settings;
    let mut sheet = Sheet::begin("ISk5\u{2}MIE5T-200", state.at);
    sheet.other("1-0:0.0.0", &["00000000"]);
    let id = format!("{:05}", seed % 100_000);
    sheet.line(&format!("0-0:96.1.0({id})"));
    sheet.expect("Equipment_id", json!(id));
    sheet.time(state.at);
    blocks::tariff_registers(
        &mut sheet,
        state,
        Number {
            prefix: "1-0",
            digits: 6,
            decimals: 3,
        },
    );
    sheet.text("0-0:96.14.0", &format!("{:04}", state.tariff), "Tarrif_id");
    blocks::total_power(
        &mut sheet,
        state,
        Number {
            prefix: "1-0",
            digits: 2,
            decimals: 3,
        },
    );
    blocks::phase_power(&mut sheet, state, phases, 2);
    blocks::voltage(&mut sheet, state, phases, 3);
    blocks::current(&mut sheet, state, phases, 3, 0);
    blocks::breaker(&mut sheet);
    blocks::text_message(&mut sheet, &settings.text);
    sheet.line("0-1:96.1.1()");
    sheet
}
