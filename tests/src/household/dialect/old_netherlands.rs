//! DSMR 2.2 and 3: no time, no CRC, power in steps of 10 W, gas over two lines with a local time that
//! does not say whether it is summer.

use serde_json::json;

use super::super::amount::Amount;
use super::super::calendar;
use super::super::sheet::Sheet;
use super::super::{Settings, State};
use super::Dialect;
use super::blocks::{self, Number};

pub(super) fn write(settings: &Settings, state: &State) -> Sheet {
    let is_three = settings.dialect == Dialect::Dsmr3;
    let mut sheet = Sheet::begin(
        if is_three {
            "ISk5\\2MT382-1000"
        } else {
            "KMP5 ZABF001587315111"
        },
        state.at,
    );
    sheet.text(
        "0-0:96.1.1",
        &blocks::serial_hex("K8EG00", settings.seed),
        "Equipment_id",
    );
    blocks::tariff_registers(
        &mut sheet,
        state,
        Number {
            prefix: "1-0",
            digits: 5,
            decimals: 3,
        },
    );
    sheet.text("0-0:96.14.0", &format!("{:04}", state.tariff), "Tarrif_id");
    let digits = if is_three { 3 } else { 4 };
    blocks::total_power(
        &mut sheet,
        state,
        Number {
            prefix: "1-0",
            digits,
            decimals: 2,
        },
    );
    if is_three {
        // A limit in amperes has no key of its own: the reference means kW elsewhere.
        sheet.other("0-0:17.0.0", &["016*A"]);
    } else {
        blocks::limiter(&mut sheet, "0999.00");
    }
    blocks::breaker(&mut sheet);
    sheet.line("0-0:96.13.1()");
    blocks::text_message(&mut sheet, &settings.text);
    if let Some(channel) = settings.gas_channel {
        gas(
            &mut sheet,
            channel,
            &blocks::serial_hex("G2222A", settings.seed),
            state,
        );
    }
    sheet
}

fn gas(sheet: &mut Sheet, channel: u8, id: &str, state: &State) {
    let value = Amount::thousandths(state.gas.reading);
    let kind = if channel == 1 { "3" } else { "03" };
    let stamp = calendar::stamp_without_mark(state.gas.read_at);
    sheet.line(&format!("0-{channel}:24.1.0({kind})"));
    sheet.line(&format!("0-{channel}:96.1.0({id})"));
    sheet.line(&format!(
        "0-{channel}:24.3.0({stamp})(00)(60)(1)(0-{channel}:24.2.1)(m3)"
    ));
    sheet.line(&format!("({})", value.padded(5)));
    sheet.line(&format!("0-{channel}:24.4.0(1)"));
    // Of an hour that comes twice the telegram does not say which: the earlier is taken.
    let earlier = state.gas.read_at - 3_600;
    let is_told_twice = calendar::stamp_without_mark(earlier) == stamp;
    let time = calendar::rfc3339(if is_told_twice { earlier } else { state.gas.read_at });
    sheet.mbus_device(json!({
        "Channel": channel,
        "Device_type": kind,
        "Device_id": id,
        "Capture_time": time,
        "Value": value.json(),
        "Unit": "m3",
        "Valve_position": 1,
    }));
    sheet.expect("Gas_device_type", json!(kind));
    sheet.expect("Gas_device_id", json!(id));
    sheet.expect(
        "Gas_readings",
        json!([{"Capture_time": time, "Value_m3": value.json()}]),
    );
    sheet.register("gas_m3", value);
}
