//! A second reader of telegrams, as plain as can be, that knows for each reference in which key its object
//! must be found. It works on text alone and shares no code with the program.

use serde_json::Value;

/// A data object: its reference, and what stands in each pair of brackets.
#[derive(Debug)]
pub(crate) struct Object {
    reference: String,
    groups: Vec<String>,
}

/// The objects of a telegram; of a reference that comes twice both.
pub(crate) fn objects(telegram: &[u8]) -> Vec<Object> {
    let text: String = telegram.iter().map(|byte| char::from(*byte)).collect();
    let body = text
        .split("\r\n!")
        .next()
        .unwrap_or_default()
        .replace("\r\n(", "(");
    let mut objects = Vec::new();
    for line in body.lines().skip(1) {
        let Some((reference, contents)) = line.split_once('(') else {
            continue;
        };
        let reference = reference.strip_suffix("*255").unwrap_or(reference);
        let five_groups = reference.matches('.').count() == 3;
        let reference = if five_groups {
            reference.strip_suffix(".255").unwrap_or(reference)
        } else {
            reference
        };
        let contents = contents.strip_suffix(')').expect("brackets that pair up");
        objects.push(Object {
            reference: reference.to_owned(),
            groups: contents.split(")(").map(str::to_owned).collect(),
        });
    }
    objects
}

/// Whether the reading says what the object says; the error names what is missing.
pub(crate) fn is_said(object: &Object, reading: &Value) -> Result<(), String> {
    let groups: Vec<&str> = object.groups.iter().map(String::as_str).collect();
    let reference = object.reference.as_str();
    let is_kept = reading["Other_objects"].get(reference) == Some(&Value::from(groups.clone()));
    if let (Some((key, unit)), [number]) = (number_key(reference), &groups[..]) {
        if is_kept == is_value(key, number, unit) {
            let is_not = if is_kept { "" } else { "not " };
            return Err(format!("{number} is {is_not}kept beside {key}"));
        }
    }
    if is_kept {
        return Ok(());
    }
    let must_be = |key: &str, json: String| {
        let found = reading.pointer(&format!("/{key}")).map(Value::to_string);
        if found.as_deref() == Some(&json) {
            Ok(())
        } else {
            Err(format!("{key} is {found:?}, not {json}"))
        }
    };
    if let Some((key, unit)) = number_key(reference) {
        return must_be(key, in_unit(groups[0], unit).ok_or("its unit is another")?);
    }
    let text = |text: &str| Value::from(text).to_string();
    match (reference, &groups[..]) {
        ("1-3:0.2.8" | "0-0:96.1.4", [version]) => must_be("Version_info", text(version)),
        ("0-0:96.1.1" | "0-0:96.1.0", [id]) => must_be("Equipment_id", text(id)),
        ("0-0:96.14.0", [tariff]) => must_be("Tarrif_id", text(tariff)),
        ("0-0:96.13.0" | "0-0:96.13.1", [""]) => Ok(()),
        ("0-0:96.13.1", [code]) => must_be("Text_msg", text(code)),
        ("0-0:96.13.0", [message]) => must_be("Text_msg", text(&decoded(message))),
        ("0-0:1.0.0", [time]) => must_be("Date_timestamp", text(&utc(time))),
        ("1-0:1.6.0", [time, demand]) => {
            must_be("Maximum_demand_month_time", text(&utc(time)))?;
            must_be(
                "Maximum_demand_month_kW",
                in_unit(demand, "kW").ok_or("its unit is another")?,
            )
        }
        ("0-0:98.1.0", [_, "1-0:1.6.0", "1-0:1.6.0", peaks @ ..]) => {
            for (index, peak) in peaks.chunks_exact(3).enumerate() {
                must_be(
                    &format!("Maximum_demand_history/{index}/Period"),
                    text(&utc(peak[0])),
                )?;
                must_be(
                    &format!("Maximum_demand_history/{index}/Time"),
                    text(&utc(peak[1])),
                )?;
                let demand = in_unit(peak[2], "kW").ok_or("its unit is another")?;
                must_be(&format!("Maximum_demand_history/{index}/Demand_kW"), demand)?;
            }
            Ok(())
        }
        ("1-0:99.97.0", [] | [""] | ["0", ..]) => must_be("Power_failure_history", "[]".to_owned()),
        ("1-0:99.97.0", [_, _, failures @ ..]) => {
            for (index, failure) in failures.chunks_exact(2).enumerate() {
                must_be(
                    &format!("Power_failure_history/{index}/Failure_time"),
                    text(&utc(failure[0])),
                )?;
                let seconds = in_unit(failure[1], "s").ok_or("its unit is another")?;
                must_be(
                    &format!("Power_failure_history/{index}/Failure_duration"),
                    seconds,
                )?;
            }
            Ok(())
        }
        _ => device_says(reference, &groups, reading),
    }
}

/// M-Bus devices, each in the entry of its channel.
fn device_says(reference: &str, groups: &[&str], reading: &Value) -> Result<(), String> {
    let (channel, field) = reference
        .strip_prefix("0-")
        .and_then(|rest| rest.split_once(':'))
        .ok_or_else(|| format!("{reference} has no key and is not among the others"))?;
    if groups == [""] {
        return Ok(());
    }
    let channel: u64 = channel.parse().map_err(|_| "its channel is no number")?;
    let device = reading["Mbus_devices"]
        .as_array()
        .and_then(|devices| devices.iter().find(|device| device["Channel"] == channel))
        .ok_or_else(|| format!("there is no device on channel {channel}"))?;
    let must_be = |key: &str, json: String| {
        let found = device[key].to_string();
        if found == json {
            Ok(())
        } else {
            Err(format!("{key} of channel {channel} is {found}, not {json}"))
        }
    };
    let text = |text: &str| Value::from(text).to_string();
    match (field, groups) {
        ("24.1.0", [device_type]) => must_be("Device_type", text(device_type)),
        ("96.1.0" | "96.1.1", [id]) => must_be("Device_id", text(id)),
        ("24.4.0", [position]) => must_be("Valve_position", plain(position)),
        ("24.2.1" | "24.2.3", [time, value]) => {
            must_be("Capture_time", text(&utc(time)))?;
            let (number, unit) = value.split_once('*').unwrap_or((value, ""));
            must_be("Value", plain(number))?;
            must_be(
                "Unit",
                if unit.is_empty() {
                    "null".to_owned()
                } else {
                    text(unit)
                },
            )
        }
        ("24.3.0", [time, _, _, _, _, unit, value]) => {
            must_be("Capture_time", text(&utc(time)))?;
            must_be("Value", plain(value))?;
            must_be("Unit", text(unit))
        }
        _ => Err(format!("{reference} has no key and is not among the others")),
    }
}

/// The key of a number, and its unit.
fn number_key(reference: &str) -> Option<(&'static str, &'static str)> {
    let (prefix, rest) = reference.split_once(':')?;
    Some(match (prefix, rest) {
        ("1-0" | "1-1", "1.8.0") => ("Electricity_incoming_total_kwh", "kWh"),
        ("1-0" | "1-1", "1.8.1") => ("Electricity_incoming_tariff1_kwh", "kWh"),
        ("1-0" | "1-1", "1.8.2") => ("Electricity_incoming_tariff2_kwh", "kWh"),
        ("1-0", "1.8.3") => ("Electricity_incoming_tariff3_kwh", "kWh"),
        ("1-0", "1.8.4") => ("Electricity_incoming_tariff4_kwh", "kWh"),
        ("1-0", "2.8.3") => ("Electricity_outgoing_tariff3_kwh", "kWh"),
        ("1-0", "2.8.4") => ("Electricity_outgoing_tariff4_kwh", "kWh"),
        ("1-0" | "1-1", "2.8.0") => ("Electricity_outgoing_total_kwh", "kWh"),
        ("1-0" | "1-1", "2.8.1") => ("Electricity_outgoing_tariff1_kwh", "kWh"),
        ("1-0" | "1-1", "2.8.2") => ("Electricity_outgoing_tariff2_kwh", "kWh"),
        ("1-0" | "1-1", "1.7.0") => ("Actualpower_incoming_kW", "kW"),
        ("1-0" | "1-1", "2.7.0") => ("Actualpower_outgoing_kW", "kW"),
        ("1-0", "21.7.0") => ("InstantaneousPower_incoming_L1_kW", "kW"),
        ("1-0", "41.7.0") => ("InstantaneousPower_incoming_L2_kW", "kW"),
        ("1-0", "61.7.0") => ("InstantaneousPower_incoming_L3_kW", "kW"),
        ("1-0", "22.7.0") => ("InstantaneousPower_outgoing_L1_kW", "kW"),
        ("1-0", "42.7.0") => ("InstantaneousPower_outgoing_L2_kW", "kW"),
        ("1-0", "62.7.0") => ("InstantaneousPower_outgoing_L3_kW", "kW"),
        ("1-0", "31.7.0") => ("Instantaneous_current_l1_amp", "A"),
        ("1-0", "51.7.0") => ("Instantaneous_current_l2_amp", "A"),
        ("1-0", "71.7.0") => ("Instantaneous_current_l3_amp", "A"),
        ("1-0", "32.7.0") => ("Voltage_L1_V", "V"),
        ("1-0", "52.7.0") => ("Voltage_L2_V", "V"),
        ("1-0", "72.7.0") => ("Voltage_L3_V", "V"),
        ("1-0", "32.32.0") => ("L1_voltage_sag_count", ""),
        ("1-0", "52.32.0") => ("L2_voltage_sag_count", ""),
        ("1-0", "72.32.0") => ("L3_voltage_sag_count", ""),
        ("1-0", "32.36.0") => ("L1_voltage_swell_count", ""),
        ("1-0", "52.36.0") => ("L2_voltage_swell_count", ""),
        ("1-0", "72.36.0") => ("L3_voltage_swell_count", ""),
        ("1-0", "1.4.0") => ("Current_average_demand_kW", "kW"),
        ("1-0", "31.4.0") => ("Fuse_threshold_A", "A"),
        ("0-0", "17.0.0") => ("Limiter_threshold_kW", "kW"),
        ("0-0", "96.3.10") => ("Breaker_state", ""),
        ("0-0", "96.7.21") => ("Power_failure_count", ""),
        ("0-0", "96.7.9") => ("Long_power_failure_count", ""),
        _ => return None,
    })
}

/// Whether a household can have this number. A connection has three phases of at most 250 A and 300 V; of the
/// thresholds 999.9 and the like are off.
fn is_value(key: &str, number: &str, unit: &str) -> bool {
    let Some(number) = in_unit(number, unit).and_then(|number| number.parse::<f64>().ok()) else {
        return false;
    };
    let most = match unit {
        "V" => 300.0,
        "A" => 250.0,
        "kW" if key.starts_with("Instantaneous") => 75.0,
        "kW" => 225.0,
        _ => f64::INFINITY,
    };
    let is_off = key.contains("threshold") && [999.0, 999.9].contains(&number);
    number <= most || is_off
}

/// The digits of a number in this unit, moved by three places where the meter states the unit without its
/// `k`.
fn in_unit(group: &str, unit: &str) -> Option<String> {
    let (number, stated) = group.split_once('*').unwrap_or((group, unit));
    if stated.eq_ignore_ascii_case(unit) {
        return Some(plain(number));
    }
    if format!("k{stated}").eq_ignore_ascii_case(unit) {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole = format!("000{whole}");
        let (thousands, units) = whole.split_at(whole.len() - 3);
        return Some(plain(&format!("{thousands}.{units}{fraction}")));
    }
    None
}

/// A number without zeros that say nothing.
fn plain(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    if fraction.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{fraction}")
    }
}

/// `YYMMDDhhmmss` with `S` or `W`, and of a meter that stands in the Netherlands without, as UTC.
fn utc(time: &str) -> String {
    let field = |at: usize| {
        time.get(at..at + 2)
            .and_then(|digits| digits.parse::<i64>().ok())
            .unwrap_or(-1)
    };
    let (year, month, day) = (2000 + field(0), field(2), field(4));
    let hours_east = match time.get(12..) {
        Some("S" | "s") => 2,
        Some("W" | "w") => 1,
        // April to September is summer and November to February winter everywhere in the corpus.
        _ if (4..=9).contains(&month) => 2,
        _ => 1,
    };
    let minutes = (days(year, month, day) * 24 + field(6) - hours_east) * 60 + field(8);
    let day_number = minutes.div_euclid(24 * 60);
    let (year, month, day) = (1999..2100)
        .flat_map(|year| (1..=12).map(move |month| (year, month)))
        .map(|(year, month)| (year, month, day_number - days(year, month, 0)))
        .find(|(year, month, day)| (1..=month_length(*year, *month)).contains(day))
        .unwrap_or_default();
    let (hour, minute) = (minutes.rem_euclid(24 * 60) / 60, minutes.rem_euclid(60));
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z",
        field(10)
    )
}

/// Days since a day long ago, by counting the days of years and months.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let years: i64 = (1990..year)
        .map(|year| (1..=12).map(|month| month_length(year, month)).sum::<i64>())
        .sum();
    years + (1..month).map(|month| month_length(year, month)).sum::<i64>() + day
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Text sent as hex digits.
fn decoded(hex: &str) -> String {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).map_or('?', char::from))
        .collect()
}
