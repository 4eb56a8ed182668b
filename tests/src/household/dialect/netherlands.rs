//! DSMR 4 and 5 as the meters of the Netherlands speak it (P1 companion standards 4.2.2 and 5.0.2).

use super::super::sheet::Sheet;
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
    let is_five = dialect == Dialect::Dsmr5;
    let (identification, version) = match dialect {
        Dialect::Dsmr4 => ("KMP5 KA6U001585575011", "40"),
        Dialect::Dsmr42 => ("KFM5KAIFA-METER", "42"),
        _ => ("ISK5\\2M550T-1012", "50"),
    };
    let mut sheet = Sheet::begin(identification, state.at);
    sheet.text("1-3:0.2.8", version, "Version_info");
    sheet.time(state.at);
    sheet.text("0-0:96.1.1", &blocks::serial_hex("E00440", seed), "Equipment_id");
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
    if dialect == Dialect::Dsmr4 {
        blocks::limiter(&mut sheet, "0999.00");
        blocks::breaker(&mut sheet);
    }
    blocks::failures(&mut sheet, state);
    blocks::sags_and_swells(&mut sheet, state, phases);
    if !is_five {
        sheet.line("0-0:96.13.1()");
    }
    blocks::text_message(&mut sheet, &settings.text);
    if is_five {
        blocks::voltage(&mut sheet, state, phases, 3);
    }
    blocks::current(&mut sheet, state, phases, 3, 0);
    blocks::phase_power(&mut sheet, state, phases, 2);
    if let Some(channel) = settings.gas_channel {
        blocks::device(
            &mut sheet,
            &Device {
                channel,
                kind: "003",
                id: &blocks::serial_hex("G00383", seed),
                id_reference: "96.1.0",
                value_reference: "24.2.1",
                volume: &state.gas,
                unit: "m3",
                has_valve: !is_five,
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
                id: &blocks::serial_hex("W00117", seed),
                id_reference: "96.1.0",
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
