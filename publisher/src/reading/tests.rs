//! Telegrams and the JSON that must come of them, written by hand from the contract.

use shared::dsmr::{self, Measure};

use super::*;

fn json(telegram: &str, origin: Option<Origin<'_>>) -> String {
    let telegram = telegram.replace('\n', "\r\n");
    let mut out = Vec::new();
    write(&mut out, &dsmr::parse(telegram.as_bytes()), origin);
    String::from_utf8(out).expect("UTF-8")
}

/// Lines joined, each without its indentation.
fn joined(lines: &str) -> String {
    lines.lines().map(str::trim).collect()
}

#[test]
fn a_row_of_the_table_is_all_that_a_number_needs_to_be_published() {
    // Each number is another, and none is that of a key which is filled for want of one.
    let sent: Vec<(Quantity, u32)> = Quantity::ALL.into_iter().zip(1..).collect();
    let objects: String = (sent.iter())
        .map(|(quantity, number)| {
            let row = quantity.row();
            let contents = match row.measure {
                Measure::Energy => format!("{number:09}*kWh"),
                Measure::Power | Measure::StatedPower => format!("{number:02}.000*kW"),
                Measure::Voltage => format!("{number:03}.0*V"),
                Measure::Current | Measure::StatedCurrent => format!("{number:03}*A"),
                Measure::Count if *quantity == Quantity::BreakerState => "1".to_owned(),
                Measure::Count => format!("{number:05}"),
            };
            format!("{}({contents})\n", row.reference)
        })
        .collect();
    let json = json(&format!("/X\n\n{objects}!\n"), None);
    for (quantity, number) in sent {
        let number = if quantity == Quantity::BreakerState {
            1
        } else {
            number
        };
        let key = quantity.row().key;
        assert_eq!(
            json.matches(&format!("\"{key}\":")).count(),
            1,
            "{quantity:?}: {json}"
        );
        let is_there = [',', '}'].map(|end| json.contains(&format!("\"{key}\":{number}{end}")));
        assert!(is_there.contains(&true), "{quantity:?}: {json}");
    }
    assert!(!json.contains("Other_objects"), "{json}");
}

#[test]
fn a_telegram_of_a_three_phase_household_with_gas() {
    let origin = Origin {
        received_at: "2018-09-01T08:55:01.25Z".parse().expect("a time"),
        queue: "k3v9x0aa",
        sequence: 4711,
    };
    let telegram = "/ISk5\\2MT382-1000\n\n1-3:0.2.8(50)\n0-0:1.0.0(180901105500S)\n0-0:96.1.1(4B3845)\n\
        1-0:1.8.1(000003.369*kWh)\n1-0:1.8.2(000012.956*kWh)\n1-0:2.8.1(000001.795*kWh)\n\
        1-0:2.8.2(000001.322*kWh)\n0-0:96.14.0(0002)\n1-0:1.7.0(00.202*kW)\n1-0:2.7.0(00.000*kW)\n\
        0-0:96.7.21(00006)\n0-0:96.7.9(00003)\n\
        1-0:99.97.0(1)(0-0:96.7.19)(190326095015W)(0000002014*s)\n\
        1-0:32.32.0(00000)\n1-0:52.32.0(00001)\n1-0:72.32.0(00000)\n\
        1-0:32.36.0(00002)\n1-0:52.36.0(00000)\n1-0:72.36.0(00000)\n0-0:96.13.0(68656C6C6F)\n\
        1-0:32.7.0(230.0*V)\n1-0:52.7.0(229.5*V)\n1-0:72.7.0(231.0*V)\n\
        1-0:31.7.0(000*A)\n1-0:51.7.0(001*A)\n1-0:71.7.0(0.48*A)\n\
        1-0:21.7.0(00.015*kW)\n1-0:41.7.0(00.180*kW)\n1-0:61.7.0(00.007*kW)\n\
        1-0:22.7.0(00.000*kW)\n1-0:42.7.0(00.000*kW)\n1-0:62.7.0(00.000*kW)\n\
        1-0:3.7.0(00.123*kvar)\n\
        0-1:24.1.0(003)\n0-1:96.1.0(1234)\n0-1:24.2.1(180901105000S)(01520.211*m3)\n!1a2B\n";
    let expected = joined(
        r#"{"Manufacture_spec":"ISk5\\2MT382-1000","Version_info":"50","Date_timestamp":"2018-09-01T08:55:00Z","Equipment_id":"4B3845",
        "Electricity_incoming_tariff1_kwh":3.369,"Electricity_outgoing_tariff1_kwh":1.795,"Electricity_incoming_tariff2_kwh":12.956,"Electricity_outgoing_tariff2_kwh":1.322,
        "Tarrif_id":"0002","Actualpower_incoming_kW":0.202,"Actualpower_outgoing_kW":0,
        "InstantaneousPower_incoming_L1_kW":0.015,"InstantaneousPower_incoming_L2_kW":0.18,"InstantaneousPower_incoming_L3_kW":0.007,
        "InstantaneousPower_outgoing_L1_kW":0,"InstantaneousPower_outgoing_L2_kW":0,"InstantaneousPower_outgoing_L3_kW":0,
        "Power_failure_count":6,"Power_failure_history":[{"Failure_time":"2019-03-26T08:50:15Z","Failure_duration":2014}],"L1_voltage_sag_count":0,"L1_voltage_swell_count":2,
        "Text_msg":"hello","Text_msg_maxchars":5,
        "Instantaneous_current_l1_amp":0,"Instantaneous_current_l2_amp":1,"Instantaneous_current_l3_amp":0.48,
        "Instantaneous_activepower_incoming_kW":0,"Instantaneous_activepower_outgoing_kW":0,
        "Gas_device_type":"003","Gas_device_id":"1234","Gas_readings":[{"Capture_time":"2018-09-01T08:50:00Z","Value_m3":1520.211}],"Crc_string":"1a2B",
        "Received_at":"2018-09-01T08:55:01.25Z","Queue":"k3v9x0aa","Sequence":4711,
        "Long_power_failure_count":3,
        "L2_voltage_sag_count":1,"L3_voltage_sag_count":0,"L2_voltage_swell_count":0,"L3_voltage_swell_count":0,
        "Voltage_L1_V":230,"Voltage_L2_V":229.5,"Voltage_L3_V":231,
        "Mbus_devices":[{"Channel":1,"Device_type":"003","Device_id":"1234","Capture_time":"2018-09-01T08:50:00Z","Value":1520.211,"Unit":"m3"}],
        "Other_objects":{"1-0:3.7.0":["00.123*kvar"]}}"#,
    );
    assert_eq!(json(telegram, Some(origin)), expected);
}

#[test]
fn every_key_of_the_go_program_is_there_when_the_meter_sends_nothing() {
    let expected = joined(
        r#"{"Manufacture_spec":"X","Version_info":"","Date_timestamp":"","Equipment_id":"",
        "Electricity_incoming_tariff1_kwh":0,"Electricity_outgoing_tariff1_kwh":0,"Electricity_incoming_tariff2_kwh":0,"Electricity_outgoing_tariff2_kwh":0,
        "Tarrif_id":"","Actualpower_incoming_kW":0,"Actualpower_outgoing_kW":0,
        "InstantaneousPower_incoming_L1_kW":0,"InstantaneousPower_incoming_L2_kW":0,"InstantaneousPower_incoming_L3_kW":0,
        "InstantaneousPower_outgoing_L1_kW":0,"InstantaneousPower_outgoing_L2_kW":0,"InstantaneousPower_outgoing_L3_kW":0,
        "Power_failure_count":0,"Power_failure_history":[],"L1_voltage_sag_count":0,"L1_voltage_swell_count":0,
        "Text_msg":"","Text_msg_maxchars":0,
        "Instantaneous_current_l1_amp":0,"Instantaneous_current_l2_amp":0,"Instantaneous_current_l3_amp":0,
        "Instantaneous_activepower_incoming_kW":0,"Instantaneous_activepower_outgoing_kW":0,
        "Gas_device_type":"","Gas_device_id":"","Gas_readings":[],"Crc_string":""}"#,
    );
    assert_eq!(json("/X\n\n!\n", None), expected);
}

/// What comes after the Go program's keys.
fn further(json: &str) -> &str {
    json.split_once(r#""Crc_string":"""#)
        .expect("a key that is always there")
        .1
}

#[test]
fn belgian_keys_come_after_the_devices() {
    let telegram = "/FLU5\\253769484_A\n\n0-0:96.1.4(50217)\n1-0:1.4.0(02.351*kW)\n\
        1-0:1.6.0(200509134558S)(02.589*kW)\n\
        0-0:98.1.0(2)(1-0:1.6.0)(1-0:1.6.0)(200501000000S)(200423192538S)(03.695*kW)(200401000000S)(632525252525W)(00.000*kW)\n\
        0-0:96.3.10(1)\n0-0:17.0.0(999.9*kW)\n1-0:31.4.0(999*A)\n\
        0-1:24.1.0(003)\n0-1:96.1.1(37464C)\n0-1:24.4.0(1)\n0-1:24.2.3(200512134558S)(00112.384*m3)\n\
        0-2:24.1.0(007)\n0-2:96.1.1(385341)\n0-2:24.2.1(200512134558S)(00872.234*m3)\n!\n";
    let expected = joined(
        r#","Mbus_devices":[{"Channel":1,"Device_type":"003","Device_id":"37464C","Capture_time":"2020-05-12T11:45:58Z","Value":112.384,"Unit":"m3","Valve_position":1},
        {"Channel":2,"Device_type":"007","Device_id":"385341","Capture_time":"2020-05-12T11:45:58Z","Value":872.234,"Unit":"m3"}],
        "Current_average_demand_kW":2.351,"Maximum_demand_month_kW":2.589,"Maximum_demand_month_time":"2020-05-09T11:45:58Z",
        "Maximum_demand_history":[{"Period":"2020-04-30T22:00:00Z","Time":"2020-04-23T17:25:38Z","Demand_kW":3.695},{"Period":"2020-03-31T22:00:00Z","Demand_kW":0}],
        "Breaker_state":1,"Limiter_threshold_kW":999.9,"Fuse_threshold_A":999,
        "Other_objects":{"0-0:98.1.0":["2","1-0:1.6.0","1-0:1.6.0","200501000000S","200423192538S","03.695*kW","200401000000S","632525252525W","00.000*kW"]}}"#,
    );
    assert_eq!(further(&json(telegram, None)), expected);
}

#[test]
fn further_tariffs_signed_power_and_demands_of_export_have_keys() {
    let telegram = "/X\n\n1-0:1.8.3(000981.30*kWh)\n1-0:2.8.3(000000.100*kWh)\n1-0:1.8.5(000001*Wh)\n\
        1-0:16.7.0(-000370.54*W)\n1-0:2.4.0(00.351*kW)\n1-0:2.6.0(200509134558S)(02.589*kW)\n!\n";
    let expected = joined(
        r#","Electricity_incoming_tariff3_kwh":981.3,"Electricity_outgoing_tariff3_kwh":0.1,"Electricity_incoming_tariff5_kwh":0.001,
        "Actualpower_signed_kW":-0.37054,
        "Current_average_demand_outgoing_kW":0.351,"Maximum_demand_month_outgoing_kW":2.589,"Maximum_demand_month_outgoing_time":"2020-05-09T11:45:58Z"}"#,
    );
    assert_eq!(further(&json(telegram, None)), expected);
}

#[test]
fn what_comes_twice_or_does_not_fit_is_kept_under_its_reference_once() {
    let telegram = "/X\n\n1-0:1.7.0(00.1*kW)\n1-0:3.7.0(1)\n1-0:1.7.0(00.2*kW)\n1-0:32.7.0(999.9*V)\n\
        1-0:3.7.0(2)(3)\n1-0:1.7.0(00.3*kW)\n!\n";
    let json = json(telegram, None);
    assert!(json.contains(r#""Actualpower_incoming_kW":0.1,"#), "{json}");
    let expected = r#","Other_objects":{"1-0:3.7.0":["1","2","3"],"1-0:1.7.0":["00.2*kW","00.3*kW"],"1-0:32.7.0":["999.9*V"]}}"#;
    assert_eq!(further(&json), expected);
}

#[test]
fn gas_in_litres_is_published_in_cubic_metres() {
    let telegram = "/X\n\n0-1:24.1.0(003)\n0-1:24.2.1(200512134558S)(00112384*l)\n!\n";
    let json = json(telegram, None);
    assert!(json.contains(r#""Value_m3":112.384}]"#), "{json}");
    assert!(further(&json).contains(r#""Value":112384,"Unit":"l""#), "{json}");
}

#[test]
fn thresholds_in_another_unit_than_their_keys_are_kept_as_they_came() {
    let telegram = "/Lux5\n\n0-0:17.0.0(27.600*kVA)\n1-1:31.4.0(100*A)(-063*A)\n!\n";
    let expected = r#","Other_objects":{"0-0:17.0.0":["27.600*kVA"],"1-1:31.4.0":["100*A","-063*A"]}}"#;
    assert_eq!(further(&json(telegram, None)), expected);
}

#[test]
fn a_gas_meter_that_counts_energy_is_among_the_devices_alone() {
    let telegram = "/X\n\n0-1:24.1.0(003)\n0-1:24.2.1(200512134558S)(112.384*kWh)\n!\n";
    let json = json(telegram, None);
    assert!(
        json.contains(r#""Gas_device_type":"003","Gas_device_id":"","Gas_readings":[]"#),
        "{json}"
    );
    let expected = r#","Mbus_devices":[{"Channel":1,"Device_type":"003","Capture_time":"2020-05-12T11:45:58Z","Value":112.384,"Unit":"kWh"}]}"#;
    assert_eq!(further(&json), expected);
}

#[test]
fn the_message_code_goes_before_the_text_whose_length_is_still_told() {
    let json = json("/X\n\n0-0:96.13.1(3132)\n0-0:96.13.0(68C3A96C6C6F)\n!\n", None);
    assert!(
        json.contains(r#""Text_msg":"3132","Text_msg_maxchars":5"#),
        "{json}"
    );
    assert_eq!(
        further(&json),
        r#","Other_objects":{"0-0:96.13.0":["68C3A96C6C6F"]}}"#
    );
}

#[test]
fn a_meter_without_time_has_the_time_it_was_received() {
    let origin = Origin {
        received_at: "2026-11-20T08:00:00Z".parse().expect("a time"),
        queue: "q",
        sequence: 1,
    };
    let json = json("/X\n\n0-0:1.0.0(632525252525W)\n!\n", Some(origin));
    assert!(
        json.contains(r#""Date_timestamp":"2026-11-20T08:00:00Z""#),
        "{json}"
    );
    assert!(
        json.ends_with(r#""Other_objects":{"0-0:1.0.0":["632525252525W"]}}"#),
        "{json}"
    );
}

#[test]
fn any_byte_of_a_telegram_is_json() {
    let mut out = Vec::new();
    let every_byte: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    let telegram = [b"/", &every_byte[..], b"\r\n\r\n!\r\n"].concat();
    write(&mut out, &dsmr::parse(&telegram), None);
    let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    let text: String = every_byte.iter().map(|byte| char::from(*byte)).collect();
    assert_eq!(value["Manufacture_spec"], text);
}
