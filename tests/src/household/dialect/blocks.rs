//! Groups of lines that several families of meters share.

use serde_json::{Value, json};

use super::super::amount::Amount;
use super::super::calendar;
use super::super::sheet::{Kind, Sheet};
use super::super::{State, Volume};

/// How a number is written.
#[derive(Clone, Copy)]
pub(crate) struct Number<'a> {
    /// The first two fields of its reference.
    pub(crate) prefix: &'a str,
    /// Digits before the point.
    pub(crate) digits: usize,
    /// Digits behind it.
    pub(crate) decimals: u32,
}

/// The registers of both tariffs, import first.
pub(crate) fn tariff_registers(sheet: &mut Sheet, state: &State, number: Number<'_>) {
    for (group, way, name, watt_seconds) in [
        ("1.8", "incoming", "import", &state.import_ws),
        ("2.8", "outgoing", "export", &state.export_ws),
    ] {
        for (tariff, watt_seconds) in (1..).zip(watt_seconds) {
            sheet.number(
                &format!("{}:{group}.{tariff}", number.prefix),
                number.digits,
                kwh(*watt_seconds).with_decimals(number.decimals),
                "kWh",
                &format!("Electricity_{way}_tariff{tariff}_kwh"),
                Kind::Register(&format!("electricity_{name}_tariff{tariff}_kwh")),
            );
        }
    }
}

/// The registers of a meter without tariffs.
pub(crate) fn total_registers(sheet: &mut Sheet, state: &State, digits: usize) {
    for (group, way, name, watt_seconds) in [
        ("1.8.0", "incoming", "import", &state.import_ws),
        ("2.8.0", "outgoing", "export", &state.export_ws),
    ] {
        sheet.number(
            &format!("1-0:{group}"),
            digits,
            kwh(watt_seconds.iter().sum()),
            "kWh",
            &format!("Electricity_{way}_total_kwh"),
            Kind::Register(&format!("electricity_{name}_total_kwh")),
        );
    }
}

/// Power drawn and given back, of all phases together.
pub(crate) fn total_power(sheet: &mut Sheet, state: &State, number: Number<'_>) {
    let (import, export) = both_ways(state.power_w);
    for (group, way, name, power) in [
        ("1.7.0", "incoming", "import", import),
        ("2.7.0", "outgoing", "export", export),
    ] {
        sheet.number(
            &format!("{}:{group}", number.prefix),
            number.digits,
            power.with_decimals(number.decimals),
            "kW",
            &format!("Actualpower_{way}_kW"),
            Kind::Gauge(&format!("power_{name}_kw")),
        );
    }
}

/// Reactive registers, which have no key of their own.
pub(crate) fn reactive_registers(sheet: &mut Sheet, state: &State, digits: usize, unit: &str) {
    for (group, var_seconds) in [
        ("3.8.0", state.reactive_import_vars),
        ("4.8.0", state.reactive_export_vars),
    ] {
        sheet.other(
            &format!("1-0:{group}"),
            &[&format!("{}*{unit}", kwh(var_seconds).padded(digits))],
        );
    }
}

/// Reactive power, of all phases together.
pub(crate) fn reactive_power(sheet: &mut Sheet, state: &State, digits: usize, unit: &str) {
    let (import, export) = both_ways(state.phase_var.iter().sum());
    sheet.other("1-0:3.7.0", &[&format!("{}*{unit}", import.padded(digits))]);
    sheet.other("1-0:4.7.0", &[&format!("{}*{unit}", export.padded(digits))]);
}

/// Reactive power of each phase: all import, then all export.
pub(crate) fn reactive_phase_power(
    sheet: &mut Sheet,
    state: &State,
    phases: usize,
    digits: usize,
    unit: &str,
) {
    let vars = &state.phase_var[..phases];
    for (n, vars) in (1..).zip(vars) {
        let text = both_ways(*vars).0.padded(digits);
        sheet.other(&format!("1-0:{}3.7.0", 2 * n), &[&format!("{text}*{unit}")]);
    }
    for (n, vars) in (1..).zip(vars) {
        let text = both_ways(*vars).1.padded(digits);
        sheet.other(&format!("1-0:{}4.7.0", 2 * n), &[&format!("{text}*{unit}")]);
    }
}

/// Power of each phase: all drawn, then all given back.
pub(crate) fn phase_power(sheet: &mut Sheet, state: &State, phases: usize, digits: usize) {
    for phase in 0..phases {
        let n = phase + 1;
        sheet.number(
            &format!("1-0:{}1.7.0", 2 * n),
            digits,
            both_ways(state.phase_w[phase]).0,
            "kW",
            &format!("InstantaneousPower_incoming_L{n}_kW"),
            Kind::Gauge(&format!("power_import_l{n}_kw")),
        );
    }
    for phase in 0..phases {
        let n = phase + 1;
        sheet.number(
            &format!("1-0:{}2.7.0", 2 * n),
            digits,
            both_ways(state.phase_w[phase]).1,
            "kW",
            &format!("InstantaneousPower_outgoing_L{n}_kW"),
            Kind::Gauge(&format!("power_export_l{n}_kw")),
        );
    }
}

/// Voltage of each phase, tenths of a volt.
pub(crate) fn voltage(sheet: &mut Sheet, state: &State, phases: usize, digits: usize) {
    for phase in 0..phases {
        let n = phase + 1;
        sheet.number(
            &format!("1-0:{}2.7.0", 2 * n + 1),
            digits,
            Amount::new(state.voltage_dv[phase], 1),
            "V",
            &format!("Voltage_L{n}_V"),
            Kind::Gauge(&format!("voltage_l{n}_v")),
        );
    }
}

/// Current of each phase, without its direction.
pub(crate) fn current(sheet: &mut Sheet, state: &State, phases: usize, digits: usize, decimals: u32) {
    for phase in 0..phases {
        let n = phase + 1;
        let hundredths = state.phase_w[phase].abs() * 1_000 / state.voltage_dv[phase];
        sheet.number(
            &format!("1-0:{}1.7.0", 2 * n + 1),
            digits,
            Amount::new(hundredths, 2).with_decimals(decimals),
            "A",
            &format!("Instantaneous_current_l{n}_amp"),
            Kind::Gauge(&format!("current_l{n}_a")),
        );
    }
}

/// How often power failed.
pub(crate) fn failure_count(sheet: &mut Sheet, state: &State) {
    sheet.number(
        "0-0:96.7.21",
        5,
        Amount::whole(state.failures),
        "",
        "Power_failure_count",
        Kind::Other,
    );
}

/// Power failures: both counts and the log.
pub(crate) fn failures(sheet: &mut Sheet, state: &State) {
    failure_count(sheet, state);
    sheet.number(
        "0-0:96.7.9",
        5,
        Amount::whole(state.long_failures),
        "",
        "Long_power_failure_count",
        Kind::Other,
    );
    let log: String = state
        .failure_log
        .iter()
        .map(|(end, seconds)| format!("({})({seconds:010}*s)", calendar::stamp(*end)))
        .collect();
    sheet.line(&format!(
        "1-0:99.97.0({})(0-0:96.7.19){log}",
        state.failure_log.len()
    ));
    let history: Vec<Value> = state
        .failure_log
        .iter()
        .map(|(end, seconds)| json!({"Failure_time": calendar::rfc3339(*end), "Failure_duration": seconds}))
        .collect();
    sheet.expect("Power_failure_history", json!(history));
}

/// Sags of each phase, then swells of each.
pub(crate) fn sags_and_swells(sheet: &mut Sheet, state: &State, phases: usize) {
    for (group, name, counts) in [(32, "sag", &state.sags), (36, "swell", &state.swells)] {
        for (n, count) in (1..=phases).zip(counts) {
            sheet.number(
                &format!("1-0:{}2.{group}.0", 2 * n + 1),
                5,
                Amount::whole(*count),
                "",
                &format!("L{n}_voltage_{name}_count"),
                Kind::Other,
            );
        }
    }
}

/// The text message, in hexadecimal.
pub(crate) fn text_message(sheet: &mut Sheet, text: &str) {
    let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
    sheet.line(&format!("0-0:96.13.0({hex})"));
    sheet.expect("Text_msg", json!(text));
    sheet.expect("Text_msg_maxchars", json!(text.chars().count()));
}

/// The month's highest quarter-hour, and when it ended.
pub(crate) fn month_peak(sheet: &mut Sheet, state: &State, prefix: &str) {
    let (at, watts) = state.demand.peak;
    let peak = Amount::thousandths(watts);
    sheet.line(&format!(
        "{prefix}:1.6.0({})({}*kW)",
        calendar::stamp(at),
        peak.padded(2)
    ));
    sheet.expect("Maximum_demand_month_kW", peak.json());
    sheet.expect("Maximum_demand_month_time", json!(calendar::rfc3339(at)));
    sheet.gauge("maximum_demand_month_kw", peak);
}

/// The breaker: closed.
pub(crate) fn breaker(sheet: &mut Sheet) {
    sheet.number(
        "0-0:96.3.10",
        1,
        Amount::whole(1),
        "",
        "Breaker_state",
        Kind::Other,
    );
}

/// The limiter, in kW.
pub(crate) fn limiter(sheet: &mut Sheet, threshold: &str) {
    sheet.line(&format!("0-0:17.0.0({threshold}*kW)"));
    sheet.expect("Limiter_threshold_kW", amount_of(threshold).json());
}

/// The fuse of the first phase, in A.
pub(crate) fn fuse(sheet: &mut Sheet, threshold: &str) {
    sheet.line(&format!("1-0:31.4.0({threshold}*A)"));
    sheet.expect("Fuse_threshold_A", amount_of(threshold).json());
}

/// The amount that a constant of this file's callers is written as.
fn amount_of(text: &str) -> Amount {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let units = format!("{whole}{fraction}")
        .parse()
        .expect("thresholds are written as numbers");
    Amount::new(units, fraction.len() as u32)
}

/// A meter behind the meter.
pub(crate) struct Device<'a> {
    pub(crate) channel: u8,
    /// As the meter writes it: `003`.
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    /// `96.1.0`, or `96.1.1` in Belgium.
    pub(crate) id_reference: &'a str,
    /// `24.2.1`, or `24.2.3` for gas in Belgium.
    pub(crate) value_reference: &'a str,
    pub(crate) volume: &'a Volume,
    pub(crate) unit: &'a str,
    pub(crate) has_valve: bool,
    pub(crate) register: &'a str,
}

/// The lines of a meter behind the meter, and what comes out of them.
pub(crate) fn device(sheet: &mut Sheet, device: &Device<'_>) {
    let Device {
        channel,
        kind,
        id,
        id_reference,
        value_reference,
        volume,
        unit,
        has_valve,
        register,
    } = device;
    let value = Amount::thousandths(volume.reading);
    sheet.line(&format!("0-{channel}:24.1.0({kind})"));
    sheet.line(&format!("0-{channel}:{id_reference}({id})"));
    if *has_valve {
        sheet.line(&format!("0-{channel}:24.4.0(1)"));
    }
    sheet.line(&format!(
        "0-{channel}:{value_reference}({})({}*{unit})",
        calendar::stamp(volume.read_at),
        value.padded(5)
    ));
    let mut entry = json!({
        "Channel": channel,
        "Device_type": kind,
        "Device_id": id,
        "Capture_time": calendar::rfc3339(volume.read_at),
        "Value": value.json(),
        "Unit": unit,
    });
    if *has_valve {
        entry["Valve_position"] = json!(1);
    }
    sheet.mbus_device(entry);
    if kind.ends_with('3') {
        sheet.expect("Gas_device_type", json!(kind));
        sheet.expect("Gas_device_id", json!(id));
        sheet.expect(
            "Gas_readings",
            json!([{"Capture_time": calendar::rfc3339(volume.read_at), "Value_m3": value.json()}]),
        );
    }
    sheet.register(register, value);
}

/// A serial number as meters write it: its characters in hexadecimal.
pub(crate) fn serial_hex(prefix: &str, seed: u64) -> String {
    format!(
        "{prefix}{:011}",
        seed.wrapping_mul(2_654_435_761) % 100_000_000_000
    )
    .bytes()
    .map(|byte| format!("{byte:02X}"))
    .collect()
}

/// Wh as kWh; the rest of a Wh is not shown.
pub(crate) fn kwh(watt_seconds: i64) -> Amount {
    Amount::thousandths(watt_seconds / 3_600)
}

/// Import and export in kW of a power whose sign tells the direction.
pub(crate) fn both_ways(watts: i64) -> (Amount, Amount) {
    (
        Amount::thousandths(watts.max(0)),
        Amount::thousandths((-watts).max(0)),
    )
}
