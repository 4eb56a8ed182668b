//! E.ON and its like in Hungary: four tariffs, four quadrants, power factors, and a line of monthly
//! billing under the reference that is Belgium's history of peaks.

use super::super::sheet::{Kind, Sheet};
use super::super::{Settings, State};
use super::Dialect;
use super::blocks::{self, Number};

pub(super) fn write(settings: &Settings, state: &State) -> Sheet {
    let Settings {
        phases,
        seed,
        dialect,
        ..
    } = *settings;
    let identification = if dialect == Dialect::HungaryX25 {
        "HOL5DDSD545"
    } else {
        "SAG5SAG-METER"
    };
    let mut sheet = Sheet::begin(identification, state.at);
    sheet.time(state.at);
    sheet.other("0-0:42.0.0", &[&blocks::serial_hex("SAG308", seed)]);
    sheet.text("0-0:96.1.0", &blocks::serial_hex("899082", seed), "Equipment_id");
    sheet.text("0-0:96.14.0", &format!("{:04}", state.tariff), "Tarrif_id");
    blocks::breaker(&mut sheet);
    blocks::limiter(&mut sheet, "90.000");
    blocks::total_registers(&mut sheet, state, 6);
    blocks::tariff_registers(
        &mut sheet,
        state,
        Number {
            prefix: "1-0",
            digits: 6,
            decimals: 3,
        },
    );
    for tariff in [3, 4] {
        for (group, way, name) in [("1.8", "incoming", "import"), ("2.8", "outgoing", "export")] {
            sheet.number(
                &format!("1-0:{group}.{tariff}"),
                6,
                blocks::kwh(0),
                "kWh",
                &format!("Electricity_{way}_tariff{tariff}_kwh"),
                Kind::Register(&format!("electricity_{name}_tariff{tariff}_kwh")),
            );
        }
    }
    blocks::reactive_registers(&mut sheet, state, 6, "kvarh");
    for (quadrant, value) in (5..=8).zip(["000000.668", "000000.071", "000160.487", "000143.346"]) {
        sheet.other(&format!("1-0:{quadrant}.8.0"), &[&format!("{value}*kvarh")]);
    }
    sheet.other("1-0:15.8.0", &["000800.817*kWh"]);
    blocks::voltage(&mut sheet, state, phases, 3);
    blocks::current(&mut sheet, state, phases, 3, 0);
    sheet.other("1-0:13.7.0", &["0.998"]);
    sheet.other("1-0:33.7.0", &["0.975"]);
    sheet.other("1-0:14.7.0", &["50.00*Hz"]);
    blocks::total_power(
        &mut sheet,
        state,
        Number {
            prefix: "1-0",
            digits: 2,
            decimals: 3,
        },
    );
    for quadrant in 5..=8 {
        sheet.other(&format!("1-0:{quadrant}.7.0"), &["00.000*kvar"]);
    }
    blocks::fuse(&mut sheet, "200.00");
    if phases == 3 {
        sheet.other("1-0:51.4.0", &["200.00*A"]);
        sheet.other("1-0:71.4.0", &["200.00*A"]);
    }
    sheet.other(
        "0-0:98.1.0",
        &[
            "230701000000S",
            "000040.777*kWh",
            "000008.950*kWh",
            "000031.827*kWh",
            "000142.250*kWh",
            "03.564*kW",
        ],
    );
    blocks::text_message(&mut sheet, &settings.text);
    sheet
}
