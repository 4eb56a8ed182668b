//! eMUCS-P1 as the meters of Belgium speak it: version in `0-0:96.1.4`, tariff 1 by day, quarter-hour
//! demand with its peaks, breaker, limiter and fuse.

use serde_json::json;

use super::super::amount::Amount;
use super::super::calendar;
use super::super::sheet::{Kind, Sheet};
use super::super::{Settings, State};
use super::Dialect;
use super::blocks::{self, Device, Number};

pub(super) fn write(settings: &Settings, state: &State) -> Sheet {
    let Settings {
        phases,
        seed,
        dialect,
        ..
    } = *settings;
    let version = match dialect {
        Dialect::Belgium50213 => 50_213,
        Dialect::Belgium50215 => 50_215,
        Dialect::Belgium50217 => 50_217,
        _ => 50_221,
    };
    let mut sheet = Sheet::begin("FLU5\\253769484_A", state.at);
    sheet.text("0-0:96.1.4", &version.to_string(), "Version_info");
    sheet.text("0-0:96.1.1", &blocks::serial_hex("1SAG11", seed), "Equipment_id");
    if version >= 50_221 {
        sheet.other("0-0:96.1.2", &["353431343430303132333435363738393033"]);
    }
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
    if version >= 50_217 {
        demand(&mut sheet, state);
    }
    blocks::total_power(
        &mut sheet,
        state,
        Number {
            prefix: "1-0",
            digits: 2,
            decimals: 3,
        },
    );
    if version >= 50_215 {
        blocks::phase_power(&mut sheet, state, phases, 2);
    }
    blocks::voltage(&mut sheet, state, phases, 3);
    blocks::current(
        &mut sheet,
        state,
        phases,
        3,
        if version >= 50_217 { 2 } else { 0 },
    );
    blocks::breaker(&mut sheet);
    if version >= 50_221 {
        sheet.other("0-1:96.3.10", &["0"]);
        sheet.other("0-2:96.3.10", &["1"]);
        sheet.other("1-0:94.32.1", &["400"]);
    }
    blocks::limiter(&mut sheet, "999.9");
    blocks::fuse(&mut sheet, "999");
    blocks::text_message(&mut sheet, &settings.text);
    if let Some(channel) = settings.gas_channel {
        blocks::device(
            &mut sheet,
            &Device {
                channel,
                kind: "003",
                id: &blocks::serial_hex("7FLO21", seed),
                id_reference: "96.1.1",
                value_reference: "24.2.3",
                volume: &state.gas,
                unit: "m3",
                has_valve: true,
                register: "gas_m3",
            },
        );
    }
    if let Some(channel) = settings.water_channel {
        blocks::device(
            &mut sheet,
            &Device {
                channel,
                kind: "007",
                id: &blocks::serial_hex("8SAT12", seed),
                id_reference: "96.1.1",
                value_reference: "24.2.1",
                volume: &state.water,
                unit: "m3",
                has_valve: false,
                register: "water_m3",
            },
        );
    }
    sheet
}

fn demand(sheet: &mut Sheet, state: &State) {
    let now = Amount::thousandths(state.demand.current_w());
    sheet.number(
        "1-0:1.4.0",
        2,
        now,
        "kW",
        "Current_average_demand_kW",
        Kind::Gauge("current_average_demand_kw"),
    );
    blocks::month_peak(sheet, state, "1-0");

    let history = &state.demand.history;
    let mut line = format!("0-0:98.1.0({})(1-0:1.6.0)(1-0:1.6.0)", history.len());
    let mut entries = Vec::new();
    for (month, at, watts) in history {
        let demand = Amount::thousandths(*watts);
        line += &format!(
            "({})({})({}*kW)",
            calendar::stamp(*month),
            calendar::stamp(*at),
            demand.padded(2)
        );
        entries.push(json!({
            "Period": calendar::rfc3339(*month),
            "Time": calendar::rfc3339(*at),
            "Demand_kW": demand.json(),
        }));
    }
    sheet.line(&line);
    sheet.expect("Maximum_demand_history", json!(entries));
}
