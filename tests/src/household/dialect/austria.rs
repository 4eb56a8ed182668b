//! Sagemcom T210-D as in Austria: whole watts, watt-hours and vars of nine digits.

use super::super::State;
use super::super::amount::Amount;
use super::super::sheet::{Kind, Sheet};

pub(super) fn write(state: &State) -> Sheet {
    let mut sheet = Sheet::begin("EST5\\253710000_A", state.at);
    sheet.text("1-3:0.2.8", "50", "Version_info");
    sheet.time(state.at);
    for (group, way, name, watt_seconds, watts) in [
        (1, "incoming", "import", &state.import_ws, state.power_w.max(0)),
        (2, "outgoing", "export", &state.export_ws, (-state.power_w).max(0)),
    ] {
        let total: i64 = watt_seconds.iter().sum();
        for (register, key, watt_seconds) in [
            (0, "total", total),
            (1, "tariff1", watt_seconds[0]),
            (2, "tariff2", watt_seconds[1]),
        ] {
            sheet.number(
                &format!("1-0:{group}.8.{register}"),
                9,
                Amount::whole(watt_seconds / 3_600),
                "Wh",
                &format!("Electricity_{way}_{key}_kwh"),
                Kind::Register(&format!("electricity_{name}_{key}_kwh")),
            );
        }
        sheet.number(
            &format!("1-0:{group}.7.0"),
            9,
            Amount::whole(watts),
            "W",
            &format!("Actualpower_{way}_kW"),
            Kind::Gauge(&format!("power_{name}_kw")),
        );
    }
    let vars: i64 = state.phase_var.iter().sum();
    for (group, var_seconds, vars) in [
        (3, state.reactive_import_vars, vars.max(0)),
        (4, state.reactive_export_vars, (-vars).max(0)),
    ] {
        sheet.other(
            &format!("1-0:{group}.8.0"),
            &[&format!("{:09}*varh", var_seconds / 3_600)],
        );
        sheet.other(&format!("1-0:{group}.7.0"), &[&format!("{vars:09}*var")]);
    }
    sheet
}
