//! Whole telegrams, each written for the claim that it shows.

use super::*;

/// A telegram of these lines, without a CRC.
fn telegram(lines: &[&str]) -> Vec<u8> {
    format!("/XYZ5\\253\r\n\r\n{}\r\n!\r\n", lines.join("\r\n")).into_bytes()
}

/// The same with each character as its byte.
fn telegram_latin1(lines: &[&str]) -> Vec<u8> {
    let text = format!("/XYZ5\\253\r\n\r\n{}\r\n!\r\n", lines.join("\r\n"));
    text.chars()
        .map(|c| u8::try_from(c).expect("ISO 8859-1"))
        .collect()
}

fn number(readings: &Readings<'_>, quantity: Quantity) -> Option<String> {
    readings.quantity(quantity).map(|number| number.to_string())
}

/// `other` as `reference(group)(group)`.
fn other(readings: &Readings<'_>) -> Vec<String> {
    let shown = |object: &Object<'_>| {
        let groups: String = object.groups().map(|group| format!("({group})")).collect();
        format!("{}{groups}", object.reference())
    };
    readings.other.iter().map(shown).collect()
}

#[test]
fn a_dsmr_5_telegram_is_read_whole() {
    let bytes = b"/ISK5\\2M550T-1012\r\n\r\n1-3:0.2.8(50)\r\n0-0:1.0.0(190320181403W)\r\n\
        0-0:96.1.1(4530303434)\r\n1-0:1.8.1(000576.239*kWh)\r\n1-0:2.8.2(000000.000*kWh)\r\n\
        0-0:96.14.0(0002)\r\n1-0:1.7.0(00.193*kW)\r\n0-0:96.7.21(00009)\r\n\
        1-0:99.97.0(1)(0-0:96.7.19)(190201235231W)(0000003231*s)\r\n1-0:32.32.0(00006)\r\n\
        0-0:96.13.0(6869)\r\n1-0:32.7.0(236.1*V)\r\n1-0:31.7.0(0.48*A)\r\n0-1:24.1.0(003)\r\n\
        0-1:96.1.0(47303033)\r\n0-1:24.2.1(190320181003W)(00304.089*m3)\r\n!67B1\r\n";
    let readings = parse(bytes);
    assert_eq!(readings.identification, "ISK5\\2M550T-1012");
    assert_eq!(readings.version.as_deref(), Some("50"));
    assert_eq!(
        readings.time.map(|time| time.to_string()).as_deref(),
        Some("2019-03-20T17:14:03Z")
    );
    assert_eq!(readings.equipment_id.as_deref(), Some("4530303434"));
    assert_eq!(readings.tariff.as_deref(), Some("0002"));
    assert_eq!(
        number(&readings, Quantity::ImportTariff1).as_deref(),
        Some("576.239")
    );
    assert_eq!(
        number(&readings, Quantity::ExportTariff2).as_deref(),
        Some("0.000")
    );
    assert_eq!(number(&readings, Quantity::ImportTariff2), None);
    assert_eq!(number(&readings, Quantity::PowerImport).as_deref(), Some("0.193"));
    assert_eq!(number(&readings, Quantity::CurrentL1).as_deref(), Some("0.48"));
    assert_eq!(number(&readings, Quantity::PowerFailures).as_deref(), Some("9"));
    assert_eq!(readings.message.as_deref(), Some("hi"));
    assert_eq!(readings.crc.as_deref(), Some("67B1"));
    let [failure] = readings.power_failures.as_slice() else {
        panic!("{:?}", readings.power_failures)
    };
    assert_eq!(
        (failure.ended.to_string().as_str(), failure.seconds),
        ("2019-02-01T22:52:31Z", Decimal::from(3231))
    );
    let [gas] = readings.devices.as_slice() else {
        panic!("{:?}", readings.devices)
    };
    assert_eq!(
        (gas.channel, gas.device_type.as_deref(), gas.id.as_deref()),
        (1, Some("003"), Some("47303033"))
    );
    let reading = gas.reading.as_ref().expect("a reading");
    assert_eq!(reading.time.to_string(), "2019-03-20T17:10:03Z");
    assert_eq!(
        (reading.value.to_string().as_str(), reading.unit.as_deref()),
        ("304.089", Some("m3"))
    );
    assert_eq!(other(&readings), [""; 0]);
    assert_eq!(readings.not_understood, [""; 0]);
}

#[test]
fn any_byte_of_the_identification_line_is_kept() {
    let readings = parse(b"/ISk5\x02MT382\xAB\r\n\r\n1-0:1.7.0(1)\r\n!\r\n");
    assert_eq!(readings.identification, "ISk5\u{2}MT382\u{AB}");
}

#[test]
fn parity_bits_of_a_7e1_line_are_left_off() {
    let plain = telegram(&["1-0:1.8.1(00123.456*kWh)", "0-1:24.1.0(3)"]);
    let with_parity: Vec<u8> = plain
        .iter()
        .map(|byte| {
            if byte.count_ones() % 2 == 1 {
                byte | 0x80
            } else {
                *byte
            }
        })
        .collect();
    assert_ne!(plain, with_parity);
    assert_eq!(parse(&plain), parse(&with_parity));
}

#[test]
fn of_a_reference_sent_twice_the_first_counts_and_the_others_are_kept() {
    let bytes = telegram(&[
        "0-0:1.0.0(190320181403W)",
        "0-0:96.1.1(4530)",
        "1-0:1.7.0(1*kW)",
        "1-0:3.7.0(1)",
        "0-1:24.1.0(003)",
        "0-1:24.2.1(190320181003W)(00304.089*m3)",
        "1-0:1.7.0(2*kW)",
        "1-0:3.7.0(2)",
        "0-0:1.0.0(180320181403W)",
        "0-0:96.1.1(4531)",
        "0-1:24.2.1(190320171003W)(00303.000*m3)",
        "1-0:1.7.0.255(3*kW)",
        "1-0:1.7.0()",
    ]);
    let readings = parse(&bytes);
    assert_eq!(number(&readings, Quantity::PowerImport).as_deref(), Some("1"));
    assert_eq!(
        readings.time.map(|time| time.to_string()).as_deref(),
        Some("2019-03-20T17:14:03Z")
    );
    assert_eq!(readings.equipment_id.as_deref(), Some("4530"));
    let gas = readings.live_device(DeviceKind::Gas).and_then(Device::register);
    assert_eq!(
        gas,
        Some(("304.089".parse().expect("a decimal"), DeviceUnit::CubicMetre))
    );
    let kept = [
        "1-0:3.7.0(1)",
        "1-0:3.7.0(2)",
        "1-0:1.7.0(2*kW)",
        "1-0:1.7.0(3*kW)",
        "0-0:1.0.0(180320181403W)",
        "0-0:96.1.1(4531)",
        "0-1:24.2.1(190320171003W)(00303.000*m3)",
    ];
    assert_eq!(other(&readings), kept);
    assert_eq!(readings.misfits, []);
}

#[test]
fn a_reference_that_says_nothing_leaves_its_place_to_the_next() {
    let bytes = telegram(&[
        "1-0:1.7.0()",
        "1-0:1.7.0(1*kW)",
        "0-1:24.1.0()",
        "0-1:24.1.0(007)",
    ]);
    let readings = parse(&bytes);
    assert_eq!(number(&readings, Quantity::PowerImport).as_deref(), Some("1"));
    assert_eq!(readings.devices[0].device_type.as_deref(), Some("007"));
    assert_eq!(other(&readings), [""; 0]);
}

#[test]
fn what_stands_in_a_profile_is_no_live_value() {
    let live = ["0-0:1.0.0(260104162515W)", "1-0:1.8.0(00003668.743*kWh)"];
    let block = [
        "0-0:98.1.0",
        "(",
        "0-0:1.0.0(260101000000W)",
        "1-0:1.8.0(00003600.000*kWh)",
        ")",
    ];
    for lines in [[&live[..], &block].concat(), [&block[..], &live].concat()] {
        let bytes = telegram(&lines);
        let readings = parse(&bytes);
        assert_eq!(
            number(&readings, Quantity::ImportTotal).as_deref(),
            Some("3668.743")
        );
        assert_eq!(
            readings.time.map(|time| time.to_string()).as_deref(),
            Some("2026-01-04T15:25:15Z")
        );
        assert_eq!(
            other(&readings),
            ["0-0:98.1.0(0-0:1.0.0(260101000000W))(1-0:1.8.0(00003600.000*kWh))"]
        );
        assert_eq!(readings.not_understood, [""; 0]);
    }
}

#[test]
fn a_demand_is_its_number_and_its_time_whichever_comes_first() {
    for contents in [
        "(08.796*kW)(260102010000W)",
        "(260102010000W)(08.796*kW)",
        "(260102010000)(8796*W)",
    ] {
        for (reference, quantity) in [
            ("1-0:1.6.0", Quantity::MaximumDemandMonth),
            ("1-0:2.6.0", Quantity::MaximumExportDemandMonth),
        ] {
            let bytes = telegram(&[&format!("{reference}{contents}")]);
            let readings = parse(&bytes);
            assert_eq!(
                number(&readings, quantity).as_deref(),
                Some("8.796"),
                "{contents}"
            );
            let time = match quantity {
                Quantity::MaximumDemandMonth => readings.maximum_demand_month_time,
                _ => readings.maximum_export_demand_month_time,
            };
            let time = time.map(|time| time.to_string());
            assert_eq!(time.as_deref(), Some("2026-01-02T00:00:00Z"), "{contents}");
            assert_eq!(other(&readings), [""; 0], "{contents}");
        }
    }
}

#[test]
fn an_average_demand_may_have_its_time_too_which_is_kept() {
    let bytes = telegram(&["1-0:2.4.0(00.1*kW)(260102010000W)"]);
    let readings = parse(&bytes);
    let demand = number(&readings, Quantity::CurrentAverageExportDemand);
    assert_eq!(demand.as_deref(), Some("0.1"));
    assert_eq!(other(&readings), ["1-0:2.4.0(00.1*kW)(260102010000W)"]);
}

#[test]
fn a_time_is_no_value() {
    let lines = [
        "1-0:1.6.0(260102010000W)",
        "1-0:2.6.0(260102010000)(260102010000W)",
        "1-0:1.7.0(260102010000W)",
        "1-0:2.7.0(000000000000W)",
        "1-0:1.8.1(260102010000)",
        "1-0:32.7.0(260102010000)",
        "0-0:96.7.21(260102010000)",
        "0-1:24.2.1(260102010000W)(260102010000)",
        "1-0:31.7.0(000000000000)",
    ];
    let bytes = telegram(&lines);
    let readings = parse(&bytes);
    assert_eq!(readings.quantities, Quantities::default());
    assert_eq!(readings.devices, []);
    assert_eq!(other(&readings), lines);
    assert_eq!(readings.misfits.len(), lines.len());
}

#[test]
fn of_what_fits_no_quantity_the_cause_is_told() {
    for (line, said) in [
        (
            "1-0:1.7.0(00225.001*kW)",
            r#"1-0:1.7.0 says "(00225.001*kW)", which is not within -225 to 225 kW"#,
        ),
        (
            "1-0:1.7.0(230.1*V)",
            r#"1-0:1.7.0 says "(230.1*V)", whose unit does not fit"#,
        ),
        (
            "1-0:1.8.1(12345678)",
            r#"1-0:1.8.1 says "(12345678)", which is no number in the form that the standard gives it"#,
        ),
        (
            "1-0:21.7.0(1\u{7}\"*kW)(2)",
            r#"1-0:21.7.0 says "(1\u{7}"*kW)(2)", which is no number in the form that the standard gives it"#,
        ),
        (
            "1-0:32.7.0(1234567890123456789012345678901234567890123456789012345678901234*V)",
            r#"1-0:32.7.0 says "(123456789012345678901234567890123456789012345678901234567890123…", which is no number in the form that the standard gives it"#,
        ),
        (
            "0-2:24.2.1(190320181003W)(90000304.089*m3)",
            r#"0-2:24.2.1 says "(190320181003W)(90000304.089*m3)", which is not within -10000000 to 10000000 m³"#,
        ),
        (
            "0-2:24.2.1(190320181003W)(304*m3)(5)",
            r#"0-2:24.2.1 says "(190320181003W)(304*m3)(5)", which is no number in the form that the standard gives it"#,
        ),
    ] {
        let bytes = telegram(&[line]);
        let readings = parse(&bytes);
        let misfits: Vec<String> = readings.misfits.iter().map(ToString::to_string).collect();
        assert_eq!(misfits, [said], "{line}");
        assert_eq!(readings.other.len(), 1, "{line}");
        assert_eq!(readings.quantities, Quantities::default(), "{line}");
        assert_eq!(readings.devices, [], "{line}");
    }
}

#[test]
fn a_device_is_read_in_every_unit_that_its_kind_is_counted_in() {
    use DeviceUnit::{CubicMetre, GigaJoule, KilowattHour};
    for (device_type, value, register) in [
        ("003", "00304.089*m3", Some(("304.089", CubicMetre))),
        ("003", "00304089*dm3", Some(("304.089", CubicMetre))),
        ("003", "00304.089 m3", Some(("304.089", CubicMetre))),
        ("003", "00304089*l", Some(("304.089", CubicMetre))),
        ("003", "00304.089*M3", Some(("304.089", CubicMetre))),
        ("003", "00304.089*m\u{b3}", Some(("304.089", CubicMetre))),
        ("003", "00304.089", Some(("304.089", CubicMetre))),
        ("003", "001304.08", Some(("1304.08", CubicMetre))),
        ("003", "00112.384*kWh", Some(("112.384", KilowattHour))),
        ("004", "12785.333*MJ", Some(("12.785333", GigaJoule))),
        ("004", "12.785*GJ", Some(("12.785", GigaJoule))),
        ("004", "12785333*kJ", Some(("12.785333", GigaJoule))),
        ("004", "12785.333*kWh", Some(("12785.333", KilowattHour))),
        ("012", "00012.785", Some(("12.785", GigaJoule))),
        ("002", "00012.785*MWh", Some(("12785", KilowattHour))),
        ("007", "00012.785*m3", Some(("12.785", CubicMetre))),
    ] {
        let bytes = telegram_latin1(&[
            &format!("0-1:24.1.0({device_type})"),
            &format!("0-1:24.2.1(190320181003W)({value})"),
        ]);
        let readings = parse(&bytes);
        let found = readings.devices[0].register();
        let found = found.map(|(number, unit)| (number.normalize().to_string(), unit));
        let register = register.map(|(number, unit): (&str, _)| (number.to_owned(), unit));
        assert_eq!(found, register, "{device_type} {value}");
        assert_eq!(readings.other, [], "{device_type} {value}");
    }
}

#[test]
fn a_device_is_not_read_in_what_its_kind_does_not_count() {
    for (device_type, value) in [
        ("003", "00230.1*V"),
        ("007", "00012.785*kWh"),
        ("002", "00012.785*m3"),
        ("003", "99999999.999*m3"),
        ("003", "-99999999.000*m3"),
        ("003", "304"),
        ("003", "00304.089*"),
        ("003", "00304,089*m3"),
        ("003", "304e3*m3"),
        ("003", "304e3"),
        ("004", "360000.001*GJ"),
    ] {
        let line = format!("0-1:24.2.1(190320181003W)({value})");
        let bytes = telegram(&[&format!("0-1:24.1.0({device_type})"), &line]);
        let readings = parse(&bytes);
        assert_eq!(readings.devices[0].reading, None, "{line}");
        assert_eq!(other(&readings), [line.as_str()]);
        assert_eq!(readings.misfits.len(), 1, "{line}");
    }
}

#[test]
fn a_device_keeps_its_value_in_a_unit_that_nobody_knows() {
    let line = "0-1:24.2.1(190320181003W)(00304.089*ft3)";
    let bytes = telegram(&["0-1:24.1.0(003)", line]);
    let readings = parse(&bytes);
    let gas = &readings.devices[0];
    let reading = gas.reading.as_ref().expect("a reading");
    assert_eq!(
        (reading.value.to_string().as_str(), reading.unit.as_deref()),
        ("304.089", Some("ft3"))
    );
    assert_eq!(gas.register(), None);
    assert_eq!(other(&readings), [line]);
    assert_eq!(readings.misfits[0].cause, Cause::Unit);
}

#[test]
fn a_devices_reading_is_its_number_and_its_time_whichever_comes_first() {
    let bytes = telegram(&["0-1:24.1.0(003)", "0-1:24.2.1(00304.089*m3)(190320181003W)"]);
    let readings = parse(&bytes);
    let reading = readings.devices[0].reading.as_ref().expect("a reading");
    assert_eq!(reading.time.to_string(), "2019-03-20T17:10:03Z");
    assert_eq!(reading.value.to_string(), "304.089");
    assert_eq!(other(&readings), [""; 0]);
}

#[test]
fn times_of_before_the_standard_are_none_wherever_they_stand() {
    let lines = [
        "0-0:1.0.0(000101010000W)",
        "1-0:99.97.0(2)(0-0:96.7.19)(000101010000W)(0000000253*s)(190201235231W)(0000003231*s)",
        "1-0:1.6.0(000101010000W)(03.064*kW)",
        "0-0:98.1.0(2)(1-0:1.6.0)(1-0:1.6.0)(230801000000S)(000101010000W)(00.000*kW)(000101010000W)(230831181500S)(01.862*kW)",
        "0-1:24.1.0(003)",
        "0-1:24.2.1(000101010000W)(00304.089*m3)",
        "0-2:24.1.0(003)",
        "0-2:24.3.0(000101010000)(00)(60)(1)(0-2:24.2.1)(m3)(00001.001)",
    ];
    let bytes = telegram(&lines);
    let readings = parse(&bytes);
    assert_eq!(readings.time, None);
    assert_eq!(readings.power_failures.len(), 1);
    assert_eq!(readings.maximum_demand_month_time, None);
    assert_eq!(
        number(&readings, Quantity::MaximumDemandMonth).as_deref(),
        Some("3.064")
    );
    let peaks = readings.maximum_demand_history.as_deref().unwrap_or_default();
    let times: Vec<_> = peaks.iter().map(|peak| peak.time).collect();
    assert_eq!(times, [None]);
    assert!(readings.devices.iter().all(|device| device.reading.is_none()));
    let kept: Vec<&str> = [0, 1, 2, 3, 5, 7].map(|index| lines[index]).into();
    assert_eq!(other(&readings), kept);
    assert_eq!(readings.misfits, []);
}

#[test]
fn logs_are_read_by_what_their_entries_are() {
    let bytes = telegram(&[
        "1-0:99.97.0(1)(0-0:96.7.19)(0000003231*s)(190201235231W)",
        "0-0:98.1.0(2)(1-0:1.6.0)(1-0:1.6.0)(230901000000S)(01.862*kW)(230831181500S)(03.1*kW)(231001000000S)(230930181500S)",
    ]);
    let readings = parse(&bytes);
    assert_eq!(readings.power_failures[0].seconds, Decimal::from(3231));
    let peaks = readings.maximum_demand_history.as_deref().unwrap_or_default();
    let shown = |peak: &DemandPeak| {
        let time = peak.time.map(|time| time.to_string()).unwrap_or_default();
        format!("{} {time} {}", peak.period, peak.demand_kw)
    };
    assert_eq!(
        peaks.iter().map(shown).collect::<Vec<_>>(),
        [
            "2023-08-31T22:00:00Z 2023-08-31T16:15:00Z 1.862",
            "2023-09-30T22:00:00Z 2023-09-30T16:15:00Z 3.1"
        ]
    );
    assert_eq!(other(&readings), [""; 0]);
}

#[test]
fn five_tariffs_have_their_registers() {
    use Quantity::*;
    let registers = [
        ("1-0:1.8.3", ImportTariff3),
        ("1-0:1.8.4", ImportTariff4),
        ("1-0:1.8.5", ImportTariff5),
        ("1-0:2.8.3", ExportTariff3),
        ("1-0:2.8.4", ExportTariff4),
        ("1-0:2.8.5", ExportTariff5),
    ];
    for (reference, quantity) in registers {
        let bytes = telegram(&[&format!("{reference}(000981.30*kWh)")]);
        assert_eq!(
            number(&parse(&bytes), quantity).as_deref(),
            Some("981.30"),
            "{reference}"
        );
    }
    for reference in ["1-0:1.8.6", "1-0:1.8.9", "1-0:2.8.63"] {
        let line = format!("{reference}(000981.30*kWh)");
        let bytes = telegram(&[&line]);
        assert_eq!(other(&parse(&bytes)), [line.as_str()]);
    }
}

#[test]
fn signed_power_may_be_below_zero() {
    let bytes = telegram(&["1-0:16.7.0*255(-000370.54*W)"]);
    let readings = parse(&bytes);
    assert_eq!(
        number(&readings, Quantity::PowerSigned).as_deref(),
        Some("-0.37054")
    );
}

#[test]
fn odd_telegrams_keep_what_is_right_in_them() {
    let text = "30".repeat(1024);
    let bytes = format!(
        "/XYZ5\\253\r1-3:0.2.8()\r\n1-0:1.8.0(00052185.78253091*kWh)\r\n0-0:97.97.0((ER11))\r\n\
         1-0:1.7.0(-00.250*kW)\r\n0-0:96.13.0({text})\r\n!\r\n"
    );
    let readings = parse(bytes.as_bytes());
    assert_eq!(readings.identification, "XYZ5\\253");
    assert_eq!(readings.version, None);
    assert_eq!(
        number(&readings, Quantity::ImportTotal).as_deref(),
        Some("52185.78253091")
    );
    assert_eq!(
        number(&readings, Quantity::PowerImport).as_deref(),
        Some("-0.250")
    );
    assert_eq!(readings.message.as_deref(), Some("0".repeat(1024).as_str()));
    assert_eq!(other(&readings), ["0-0:97.97.0((ER11))"]);
    assert_eq!(readings.misfits, []);
}

#[test]
fn a_swiss_meter_names_electricity_differently_and_yields_to_the_standards_name() {
    let readings = |lines: &[&str]| {
        let bytes = telegram(lines);
        let readings = parse(&bytes);
        (number(&readings, Quantity::PowerImport), other(&readings))
    };
    assert_eq!(
        readings(&["1-1:1.7.0(01.622*kW)"]),
        (Some("1.622".into()), vec![])
    );
    for lines in [
        ["1-0:1.7.0(1*kW)", "1-1:1.7.0(2*kW)"],
        ["1-1:1.7.0(2*kW)", "1-0:1.7.0(1*kW)"],
    ] {
        assert_eq!(
            readings(&lines),
            (Some("1".into()), vec!["1-1:1.7.0(2*kW)".into()]),
            "{lines:?}"
        );
    }
}

#[test]
fn what_a_key_cannot_hold_is_kept_as_it_came() {
    let kept = [
        "1-0:1.7.0(00.1*kvar)",
        "1-0:32.7.0(abc)",
        "1-0:1.8.0*1(5*kWh)",
        "0-0:17.0.0(016*A)",
        "1-1:31.4.0(100*A)(-063*A)",
        "0-0:1.0.0(632525252525W)",
        "0-0:96.7.21(1.5)",
        "0-5:24.1.0(003)",
        "1-0:21.7.0(1*kW)junk",
        "C.1.0(9)",
        "0-0:96.13.2()",
    ];
    let bytes = telegram(&kept);
    let mut expected: Vec<String> = kept.iter().map(|line| (*line).to_owned()).collect();
    expected[8] = "1-0:21.7.0(1*kW)(junk)".into();
    assert_eq!(other(&parse(&bytes)), expected);
}

#[test]
fn a_line_that_is_no_object_is_named() {
    let bytes = telegram(&["***NO CARRIER***", "1-0:1.7.0(1*kW)", "1-0:2.7.0"]);
    assert_eq!(parse(&bytes).not_understood, ["***NO CARRIER***", "1-0:2.7.0"]);
}

#[test]
fn empty_power_failure_logs_are_empty() {
    for (log, leaves) in [
        ("()", None),
        ("(0)(0-0:96.7.19)", None),
        ("(0)()", None),
        ("(1)()()()", Some("1-0:99.97.0(1)()()()")),
        (
            "(1)(0-0:96.7.19)(000101000001W)(2147483647*s)",
            Some("1-0:99.97.0(1)(0-0:96.7.19)(000101000001W)(2147483647*s)"),
        ),
    ] {
        let bytes = telegram(&[&format!("1-0:99.97.0{log}")]);
        let readings = parse(&bytes);
        assert_eq!(readings.power_failures, [], "{log}");
        assert_eq!(other(&readings), Vec::from_iter(leaves), "{log}");
    }
}

#[test]
fn an_old_gas_reading_goes_over_two_lines() {
    for reading in [
        "0-1:24.3.0(161107190000)(00)(60)(1)(0-1:24.2.1)(m3)\r\n(00001.001)",
        "0-1:24.3.0(161107190000)(00)(60)(1)(0-1:24.2.1)(m3)(00001.001)",
    ] {
        let bytes = telegram(&["0-1:24.1.0(3)", reading, "0-1:24.4.0(1)"]);
        let readings = parse(&bytes);
        let gas = readings.live_device(DeviceKind::Gas).expect("a gas meter");
        let reading = gas.reading.as_ref().expect("a reading");
        assert_eq!(reading.time.to_string(), "2016-11-07T18:00:00Z");
        assert_eq!(
            (reading.value.to_string().as_str(), reading.unit.as_deref()),
            ("1.001", Some("m3"))
        );
        assert_eq!(gas.valve_position, Some(Decimal::ONE));
        assert_eq!(other(&readings), [""; 0]);
    }
}

#[test]
fn of_two_devices_of_a_kind_the_newest_reading_is_the_live_one() {
    let bytes = telegram(&[
        "0-1:24.1.0(003)",
        "0-1:96.1.0(4731)",
        "0-1:24.2.1(190320181003W)(00304.089*m3)",
        "0-2:24.1.0(003)",
        "0-2:96.1.0(4732)",
        "0-2:24.2.1(200320181003W)(00001.089*m3)",
        "0-3:24.1.0(003)",
        "0-3:96.1.0()",
        "0-3:24.2.1(700101010000W)(00000000)",
        "0-4:24.1.0()",
        "0-4:96.1.0()",
        "0-4:24.2.1(000101000000W)(00000000.0000)",
    ]);
    let readings = parse(&bytes);
    let channels: Vec<u8> = readings.devices.iter().map(|device| device.channel).collect();
    assert_eq!(channels, [1, 2, 3], "a channel that says nothing is absent");
    assert_eq!(
        readings.live_device(DeviceKind::Gas).map(|gas| gas.channel),
        Some(2)
    );
    assert_eq!(
        other(&readings),
        [
            "0-3:24.2.1(700101010000W)(00000000)",
            "0-4:24.2.1(000101000000W)(00000000.0000)"
        ]
    );
}

#[test]
fn of_two_devices_read_at_the_same_time_the_lower_channel_is_the_live_one() {
    let bytes = telegram(&[
        "0-2:24.1.0(007)",
        "0-2:24.2.1(200320181003W)(2*m3)",
        "0-3:24.1.0(007)",
        "0-3:24.2.1(200320181003W)(3*m3)",
    ]);
    let live = parse(&bytes)
        .live_device(DeviceKind::Water)
        .map(|water| water.channel);
    assert_eq!(live, Some(2));
}

#[test]
fn a_device_that_is_dated_ahead_of_the_telegram_is_live_only_if_there_is_no_other() {
    let live = |time: &str, readings: &[(u8, &str)]| {
        let mut lines = vec![format!("0-0:1.0.0({time})")];
        for (channel, time) in readings {
            lines.push(format!("0-{channel}:24.1.0(003)"));
            lines.push(format!("0-{channel}:24.2.1({time})(0000{channel}.000*m3)"));
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let bytes = telegram(&lines);
        parse(&bytes).live_device(DeviceKind::Gas).map(|gas| gas.channel)
    };
    let (exchanged, present) = ((1, "190101210000W"), (2, "180301210000W"));
    assert_eq!(live("180301214355W", &[exchanged, present]), Some(2));
    assert_eq!(live("180301214355W", &[exchanged]), Some(1));
    // It has none: of two the newer, as ever.
    assert_eq!(live("000101010000W", &[exchanged, present]), Some(1));
    // A day ahead is not more than a day ahead.
    assert_eq!(live("181231210000W", &[exchanged, present]), Some(1));
    assert_eq!(live("181231205959W", &[exchanged, present]), Some(2));
    // Both are ahead, and one says nothing.
    assert_eq!(live("170301214355W", &[exchanged, present]), Some(1));
    assert_eq!(live("170301214355W", &[(1, "000101010000W"), present]), Some(2));
}

#[test]
fn a_device_of_no_stated_type_that_counts_cubic_metres_is_gas() {
    let bytes = telegram(&[
        "0-1:24.2.1(151110190000W)(00845.206*m3)",
        "0-2:24.2.1(151110190000W)(5*GJ)",
    ]);
    let readings = parse(&bytes);
    let kinds: Vec<_> = readings.devices.iter().map(Device::kind).collect();
    assert_eq!(kinds, [Some(DeviceKind::Gas), None]);
}

#[test]
fn belgian_peaks_have_their_months() {
    let bytes = telegram(&[
        "0-0:96.1.4(50217)",
        "1-0:1.4.0(00.052*kW)",
        "1-0:1.6.0(231102114500W)(03.064*kW)",
        "0-0:98.1.0(2)(1-0:1.6.0)(1-0:1.6.0)(230801000000S)(632525252525W)(00.000*kW)(230901000000S)(230831181500S)(01.862*kW)",
        "0-0:17.0.0(999.9*kW)",
        "1-0:31.4.0(999*A)",
    ]);
    let readings = parse(&bytes);
    assert_eq!(readings.version.as_deref(), Some("50217"));
    assert_eq!(
        number(&readings, Quantity::CurrentAverageDemand).as_deref(),
        Some("0.052")
    );
    assert_eq!(
        number(&readings, Quantity::MaximumDemandMonth).as_deref(),
        Some("3.064")
    );
    let time = readings.maximum_demand_month_time.map(|time| time.to_string());
    assert_eq!(time.as_deref(), Some("2023-11-02T10:45:00Z"));
    assert_eq!(
        number(&readings, Quantity::LimiterThreshold).as_deref(),
        Some("999.9")
    );
    assert_eq!(number(&readings, Quantity::FuseThreshold).as_deref(), Some("999"));
    let peaks = readings.maximum_demand_history.as_deref().unwrap_or_default();
    let shown: Vec<_> = peaks
        .iter()
        .map(|peak| {
            (
                peak.period.to_string(),
                peak.time.map(|time| time.to_string()),
                peak.demand_kw.to_string(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("2023-07-31T22:00:00Z".to_owned(), None, "0.000".to_owned()),
            (
                "2023-08-31T22:00:00Z".to_owned(),
                Some("2023-08-31T16:15:00Z".to_owned()),
                "1.862".to_owned()
            ),
        ]
    );
    assert_eq!(
        other(&readings).len(),
        1,
        "the marker among the peaks is kept as it came"
    );
}

#[test]
fn a_hungarian_monthly_bill_is_no_list_of_peaks() {
    let bytes = telegram(&["0-0:98.1.0(230701000000S)(000040.777*kWh)(000008.950*kWh)"]);
    let readings = parse(&bytes);
    assert_eq!(readings.maximum_demand_history, None);
    assert_eq!(
        other(&readings),
        ["0-0:98.1.0(230701000000S)(000040.777*kWh)(000008.950*kWh)"]
    );
}

#[test]
fn a_belgian_history_may_be_empty() {
    let bytes = telegram(&["0-0:98.1.0(0)(1-0:1.6.0)(1-0:1.6.0)"]);
    let readings = parse(&bytes);
    assert_eq!(readings.maximum_demand_history, Some(vec![]));
    assert_eq!(other(&readings), [""; 0]);
}

#[test]
fn messages_are_hex_or_text_and_may_hold_slashes_and_brackets() {
    for (sent, read) in [
        ("303132333435363738393A", "0123456789:"),
        ("test-/-test", "test-/-test"),
        ("a (b) c", "a (b) c"),
        ("C3A9", "\u{E9}"),
        ("E9", "\u{E9}"),
    ] {
        let bytes = telegram(&[&format!("0-0:96.13.0({sent})")]);
        assert_eq!(parse(&bytes).message.as_deref(), Some(read), "{sent}");
    }
}

#[test]
fn a_text_beside_a_message_code_is_kept_as_it_came_too() {
    let bytes = telegram(&["0-0:96.13.1(3132)", "0-0:96.13.0(6869)"]);
    let readings = parse(&bytes);
    assert_eq!(readings.message_code.as_deref(), Some("3132"));
    assert_eq!(readings.message.as_deref(), Some("hi"));
    assert_eq!(other(&readings), ["0-0:96.13.0(6869)"]);
}

#[test]
fn a_crc_without_its_leading_zeros_is_four_digits_all_the_same() {
    for (sent, read) in [
        ("B9F", Some("0B9F")),
        ("0422", Some("0422")),
        ("", None),
        ("12345", None),
        ("XYZ1", None),
    ] {
        let bytes = format!("/X\r\n\r\n1-0:1.7.0(1)\r\n!{sent}\r\n").into_bytes();
        assert_eq!(parse(&bytes).crc.as_deref(), read, "{sent}");
    }
}

#[test]
fn a_meter_without_equipment_identifier_is_named_by_what_it_has() {
    for (lines, id) in [
        (vec!["0-0:42.0.0(5341)", "1-0:0.0.0(77)"], "5341"),
        (vec!["1-0:0.0.0*255(77)", "0-0:96.1.255*255(1ESY)"], "1ESY"),
        (vec!["0-0:96.1.0(3839)", "0-0:42.0.0(5341)"], "3839"),
        (vec!["0-0:96.1.0(3839)", "0-0:96.1.1(4040)"], "4040"),
    ] {
        let bytes = telegram(&lines);
        assert_eq!(parse(&bytes).equipment_id.as_deref(), Some(id), "{lines:?}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// A line of a telegram: mostly a known reference with contents of a kind that meters send.
    fn line() -> impl Strategy<Value = String> {
        let reference = prop_oneof![
            proptest::sample::select(vec![
                "1-0:1.8.1",
                "1-0:1.7.0",
                "1-1:1.7.0",
                "1-0:32.7.0",
                "1-0:32.32.0",
                "0-0:1.0.0",
                "0-0:96.1.1",
                "0-0:96.1.0",
                "0-0:96.13.0",
                "0-0:96.13.1",
                "0-0:17.0.0",
                "0-0:98.1.0",
                "1-0:99.97.0",
                "1-0:1.6.0",
                "0-1:24.1.0",
                "0-1:24.2.1",
                "0-1:24.2.3",
                "0-1:24.3.0",
                "0-1:96.1.0",
                "0-2:24.1.0",
                "0-2:24.2.1",
                "1-0:1.8.0*1",
                "1-0:21.7.0.255",
                "C.1.0",
            ])
            .prop_map(str::to_owned),
            "[0-9]-[0-9]:[0-9]{1,2}\\.[0-9]{1,2}\\.[0-9]{1,2}",
        ];
        let group = prop_oneof![
            "[0-9]{1,6}\\.[0-9]{1,4}\\*(kWh|kW|Wh|V|A|m3|GJ|kvar)",
            "[0-9]{1,5}",
            "2[0-9]0[1-9][0-2][0-9]1[0-9]3[0-9]0[0-9][SW]?",
            Just("632525252525W".to_owned()),
            Just("1-0:1.6.0".to_owned()),
            Just("0-0:96.7.19".to_owned()),
            "[!-'*-~]{1,8}",
            Just(String::new()),
            Just(" ".to_owned()),
        ];
        (reference, proptest::collection::vec(group, 1..5)).prop_map(|(reference, groups)| {
            let groups: String = groups.iter().map(|group| format!("({group})")).collect();
            format!("{reference}{groups}")
        })
    }

    /// Whether the readings say, somewhere, what this group says.
    fn says(readings: &Readings<'_>, group: &str) -> bool {
        let numbers = Quantity::ALL
            .iter()
            .filter_map(|quantity| readings.quantity(*quantity))
            .chain(
                readings
                    .devices
                    .iter()
                    .filter_map(|device| Some(device.reading.as_ref()?.value)),
            )
            .chain(readings.devices.iter().filter_map(|device| device.valve_position))
            .chain(readings.power_failures.iter().map(|failure| failure.seconds))
            .chain(
                readings
                    .maximum_demand_history
                    .iter()
                    .flatten()
                    .map(|peak| peak.demand_kw),
            );
        let times = (readings.time.iter().copied())
            .chain(readings.maximum_demand_month_time)
            .chain(
                readings
                    .devices
                    .iter()
                    .filter_map(|device| Some(device.reading.as_ref()?.time)),
            )
            .chain(readings.power_failures.iter().map(|failure| failure.ended))
            .chain(
                readings
                    .maximum_demand_history
                    .iter()
                    .flatten()
                    .flat_map(|peak| [Some(peak.period), peak.time])
                    .flatten(),
            );
        let texts = [
            &readings.version,
            &readings.equipment_id,
            &readings.tariff,
            &readings.message_code,
            &readings.message,
        ];
        let device_texts = readings.devices.iter().flat_map(|device| {
            [&device.device_type, &device.id]
                .into_iter()
                .filter_map(|text| text.as_deref())
        });
        let digits = group.split(|c: char| !c.is_ascii_digit() && c != '.').next();
        let number = digits.and_then(|digits| digits.parse::<Decimal>().ok());
        let as_text = text::message(group.as_bytes());
        number.is_some_and(|number| {
            numbers
                .into_iter()
                .any(|said| said == number || said * Decimal::from(1000) == number)
        }) || time::moment(group.as_bytes()).is_some_and(|time| times.into_iter().any(|said| said == time))
            || texts
                .into_iter()
                .flatten()
                .any(|text| text == group || *text == as_text)
            || device_texts.into_iter().any(|text| text == group)
            || readings.devices.iter().any(|device| {
                device
                    .reading
                    .as_ref()
                    .is_some_and(|reading| reading.unit.as_deref() == Some(group))
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_object_is_in_a_key_or_kept_as_it_came(lines in proptest::collection::vec(line(), 0..40)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let bytes = telegram(&lines);
            let readings = parse(&bytes);
            prop_assert!(readings.not_understood.is_empty());
            let kept = other(&readings);
            for line in &lines {
                let bracket = line.find('(').expect("an object");
                let name = |line: &str| line[..line.find('(').unwrap_or(0)].trim_end_matches("*255").trim_end_matches(".255").to_owned();
                let (reference, contents) = (name(line), &line[bracket..]);
                let groups: Vec<&str> = contents[1..contents.len() - 1].split(")(").collect();
                // The status, period and count of an old gas reading are part of its form, as are a log's
                // count and references.
                let is_form = |place: usize| match reference.as_str() {
                    "0-1:24.3.0" => (1..5).contains(&place),
                    "1-0:99.97.0" => place < 2,
                    "0-0:98.1.0" => place < 3,
                    _ => false,
                };
                let is_message = readings.message.as_deref() == Some(&contents[1..contents.len() - 1]);
                let is_said = is_message || (0..)
                    .zip(&groups)
                    .all(|(place, group)| group.trim().is_empty() || is_form(place) || says(&readings, group.trim()));
                let is_kept = kept.contains(&format!("{reference}{contents}"))
                    || kept.contains(&format!("{reference}{}", contents.trim()));
                prop_assert!(is_said || is_kept, "{line} is neither said nor kept in {readings:?}");
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            parse(&bytes);
        }

        #[test]
        fn any_brackets_and_digits_are_read_without_a_panic(text in "[/!0-9().*:SWkWhm\r\n-]{0,400}") {
            let readings = parse(text.as_bytes());
            prop_assert!(readings.other.len() + readings.not_understood.len() <= text.lines().count());
        }
    }
}
