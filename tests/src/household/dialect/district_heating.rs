//! District heating (a WarmteLink): heat alone, no electricity at all.

use super::super::sheet::Sheet;
use super::super::{Settings, State};
use super::blocks::{self, Device};

pub(super) fn write(settings: &Settings, state: &State) -> Sheet {
    let mut sheet = Sheet::begin("NWA-WARMTELINK", state.at);
    sheet.text("1-3:0.2.8", "50", "Version_info");
    sheet.time(state.at);
    sheet.text(
        "0-0:96.1.1",
        &format!("ADC3100{:09}", settings.seed % 1_000_000_000),
        "Equipment_id",
    );
    sheet.line("0-0:96.13.1()");
    blocks::text_message(&mut sheet, &settings.text);
    blocks::device(
        &mut sheet,
        &Device {
            channel: 1,
            kind: "004",
            id: "621848012D2C0B0C",
            id_reference: "96.1.0",
            value_reference: "24.2.1",
            volume: &state.heat,
            unit: "GJ",
            has_valve: false,
            register: "heat_gj",
        },
    );
    sheet
}
