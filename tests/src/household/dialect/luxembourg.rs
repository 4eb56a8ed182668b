//! The Smarty of Luxembourg (P1 specification 1.1.3): totals without tariffs, reactive power, a message
//! for each channel, and devices that are announced before they are there.

use serde_json::json;

use super::super::sheet::Sheet;
use super::super::{Settings, State};
use super::blocks::{self, Device, Number};

pub(super) fn write(settings: &Settings, state: &State) -> Sheet {
    let Settings { phases, seed, .. } = *settings;
    let mut sheet = Sheet::begin("Lux5\\253694471_M", state.at);
    sheet.text("1-3:0.2.8", "42", "Version_info");
    sheet.time(state.at);
    // The logical device name is the nearest to an equipment identifier that this meter sends.
    let name = blocks::serial_hex("SAG103", seed);
    sheet.other("0-0:42.0.0", &[&name]);
    sheet.expect("Equipment_id", json!(name));
    blocks::total_registers(&mut sheet, state, 6);
    blocks::reactive_registers(&mut sheet, state, 6, "kvarh");
    blocks::total_power(
        &mut sheet,
        state,
        Number {
            prefix: "1-0",
            digits: 2,
            decimals: 3,
        },
    );
    blocks::reactive_power(&mut sheet, state, 2, "kvar");
    sheet.other("0-0:17.0.0", &["069.0*kVA"]);
    sheet.other("1-0:9.7.0", &["00.021*kVA"]);
    sheet.other("1-0:10.7.0", &["00.000*kVA"]);
    sheet.other("1-1:31.4.0", &["100*A", "-063*A"]);
    blocks::breaker(&mut sheet);
    sheet.other("0-1:96.3.10", &["0"]);
    sheet.other("0-2:96.3.10", &["0"]);
    blocks::failure_count(&mut sheet, state);
    blocks::sags_and_swells(&mut sheet, state, phases);
    blocks::text_message(&mut sheet, &settings.text);
    for message in 2..=5 {
        sheet.other(&format!("0-0:96.13.{message}"), &[""]);
    }
    blocks::voltage(&mut sheet, state, phases, 3);
    blocks::current(&mut sheet, state, phases, 3, 0);
    blocks::phase_power(&mut sheet, state, phases, 2);
    blocks::reactive_phase_power(&mut sheet, state, phases, 2, "kvar");
    for channel in 1..=4 {
        if Some(channel) == settings.gas_channel {
            blocks::device(
                &mut sheet,
                &Device {
                    channel,
                    kind: "003",
                    id: &blocks::serial_hex("FLO189", seed),
                    id_reference: "96.1.0",
                    value_reference: "24.2.1",
                    volume: &state.gas,
                    unit: "m3",
                    has_valve: true,
                    register: "gas_m3",
                },
            );
        } else if channel < 4 {
            announced(&mut sheet, channel);
        }
    }
    sheet
}

/// A water meter that is not there yet: a type and a valve, and a time that is none.
fn announced(sheet: &mut Sheet, channel: u8) {
    sheet.line(&format!("0-{channel}:24.1.0(007)"));
    sheet.line(&format!("0-{channel}:96.1.0()"));
    sheet.other(&format!("0-{channel}:24.2.1"), &["632525252525S", "00000.000"]);
    sheet.line(&format!("0-{channel}:24.4.0(1)"));
    sheet.mbus_device(json!({"Channel": channel, "Device_type": "007", "Valve_position": 1}));
}
