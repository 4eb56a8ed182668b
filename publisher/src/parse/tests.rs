//! Files of a few telegrams, whole and spoilt.

use serde_json::Value;
use shared::telegram::crc16;

use super::*;

const VALID: &str = "/KFM5KAIFA-METER\r\n\r\n1-0:1.8.1(000671.578*kWh)\r\n1-0:1.7.0(00.318*kW)\r\n!1E1D\r\n";

fn parse(bytes: &[u8]) -> (Exit, Vec<Value>, String) {
    let (mut readings, mut problems) = (Vec::new(), Vec::new());
    let settings = Settings {
        crc: CrcPolicy::Auto,
        keys: None,
    };
    let exit = run(
        &["-".into()],
        &settings,
        &mut &*bytes,
        &mut readings,
        &mut problems,
    )
    .expect("memory");
    let readings = serde_json::from_slice(&readings).expect("a JSON array");
    (exit, readings, String::from_utf8(problems).expect("UTF-8"))
}

#[test]
fn a_file_of_valid_telegrams_is_one_array() {
    let (exit, readings, problems) = parse(VALID.repeat(3).as_bytes());
    assert_eq!((exit, problems.as_str()), (Exit::Done, ""));
    let registers: Vec<&Value> = readings
        .iter()
        .map(|reading| &reading["Electricity_incoming_tariff1_kwh"])
        .collect();
    assert_eq!(registers, [671.578, 671.578, 671.578]);
    for absent in ["Received_at", "Queue", "Sequence"] {
        assert_eq!(readings[0].get(absent), None, "a file has no {absent}");
    }
}

#[test]
fn a_file_without_telegrams_is_an_empty_array_and_says_so() {
    for (bytes, problem) in [
        (&b""[..], "standard input: is empty, so it holds no telegram\n"),
        (b"{\n", "line 1: not a line of an export"),
        (b"\n\n", "standard input: "),
        (b"hello\r\n", "standard input: "),
    ] {
        let (exit, readings, problems) = parse(bytes);
        assert_eq!((exit, readings.len()), (Exit::Failed, 0));
        assert!(problems.contains(problem), "{bytes:?}: {problems}");
        assert_eq!(problems.lines().count(), 1, "{bytes:?}: {problems}");
    }
}

#[test]
fn a_telegram_whose_line_ends_are_lost_is_told_so() {
    let (exit, _, problems) = parse(VALID.replace("\r\n", "\n").as_bytes());
    assert_eq!(exit, Exit::Failed);
    assert!(problems.contains("CR LF"), "{problems}");
}

#[test]
fn what_is_rejected_is_named_with_its_position_and_reason() {
    let spoilt = VALID.replace("318", "319");
    let (exit, readings, problems) = parse([VALID, &spoilt, VALID].concat().as_bytes());
    assert_eq!((exit, readings.len()), (Exit::Failed, 2));
    let [line] = problems.lines().collect::<Vec<_>>()[..] else {
        panic!("{problems}")
    };
    let start = format!(
        "standard input: byte {0}: {0} bytes rejected: its CRC is 1E1D, but",
        VALID.len()
    );
    assert!(line.starts_with(&start), "{line}");
}

#[test]
fn an_encrypted_frame_without_key_is_named() {
    let frame = [&b"\xDB\x08SYSTEMID\x82\x00\x25\x30"[..], &[0x55; 36]].concat();
    let (exit, readings, problems) = parse(&frame);
    assert_eq!((exit, readings.len()), (Exit::Failed, 0));
    assert!(
        problems.contains("byte 0: the meter encrypts its telegrams"),
        "{problems}"
    );
}

#[test]
fn a_file_that_is_missing_fails_and_the_others_are_parsed() {
    let (mut readings, mut problems) = (Vec::new(), Vec::new());
    let settings = Settings {
        crc: CrcPolicy::Auto,
        keys: None,
    };
    let files = ["/nowhere/telegrams.txt".into(), "-".into()];
    let exit = run(
        &files,
        &settings,
        &mut VALID.as_bytes(),
        &mut readings,
        &mut problems,
    )
    .expect("memory");
    assert_eq!(exit, Exit::Failed);
    assert!(String::from_utf8_lossy(&problems).starts_with("/nowhere/telegrams.txt: cannot be opened: "));
    assert_eq!(
        serde_json::from_slice::<Vec<Value>>(&readings)
            .expect("an array")
            .len(),
        1
    );
}

#[test]
fn a_line_that_is_no_object_is_said_but_the_telegram_counts() {
    let telegram = "/X5Y\r\n\r\n1-0:1.7.0(00.318*kW)\r\nNO CARRIER\r\n!\r\n";
    let (exit, readings, problems) = parse(telegram.as_bytes());
    assert_eq!((exit, readings.len()), (Exit::Done, 1));
    assert_eq!(
        problems,
        "standard input: byte 0: its line \"NO CARRIER\" is no data object\n"
    );
}

#[test]
fn an_export_is_parsed_as_the_telegrams_that_it_holds() {
    let text = "/KFM5KAIFA-METER\r\n\r\n0-0:96.13.0(4869)\r\n0-1:96.1.0(\u{b3})\r\n!";
    let bytes: Vec<u8> = text.chars().map(|character| character as u8).collect();
    let crc = crc16::ARC.of(&bytes);
    let odd = format!("{text}{crc:04X}\r\n");
    let line = |telegram: &str| {
        serde_json::json!({"sequence": 7, "captured_at": "2026-11-20T08:00:00Z", "silence_ms": 1000,
            "telegram": telegram})
        .to_string()
    };
    let spoilt = VALID.replace("318", "319");
    let export = [
        line(VALID),
        String::new(),
        line(&odd),
        line(&spoilt),
        line("\u{20ac}"),
    ]
    .join("\n");
    let (exit, readings, problems) = parse(export.as_bytes());
    assert_eq!((exit, readings.len()), (Exit::Failed, 2), "{problems}");
    let odd: Vec<u8> = odd.chars().map(|character| character as u8).collect();
    let (_, raw, _) = parse(&[VALID.as_bytes(), &odd].concat());
    assert_eq!(readings, raw);
    let [wrong, no_byte] = problems.lines().collect::<Vec<_>>()[..] else {
        panic!("{problems}")
    };
    assert!(
        wrong.contains("line 4: ") && wrong.contains("its CRC is 1E1D, but"),
        "{wrong}"
    );
    assert!(
        no_byte.contains("line 5: ") && no_byte.contains("is no byte"),
        "{no_byte}"
    );

    let (exit, readings, problems) = parse(b"{\"readings\": 1}\n");
    assert_eq!((exit, readings.len()), (Exit::Failed, 0));
    assert!(problems.contains("line 1: not a line of an export"), "{problems}");
}

#[test]
fn noise_is_summarised_and_what_is_quoted_of_it_is_cut_and_escaped() {
    let noise: Vec<u8> = (0..400_000_u32)
        .flat_map(|n| {
            [
                b'/',
                (n.wrapping_mul(7919) >> 5) as u8,
                b'!',
                (n.wrapping_mul(104_729) >> 7) as u8,
                b'\n',
            ]
        })
        .collect();
    let (exit, _, problems) = parse(&noise);
    assert_eq!(exit, Exit::Failed);
    assert!(problems.len() < 20_000, "{} bytes", problems.len());
    let last = problems.lines().last().unwrap_or_default();
    assert!(last.ends_with(" more like these are not named"), "{last}");

    let odd = VALID.replace("1-0:1.7.0(00.318*kW)", &format!("\u{1b}[2J{}", "x".repeat(500)));
    let mut telegram = odd.split('!').next().unwrap_or_default().to_owned() + "!";
    telegram += &format!("{:04X}\r\n", crc16::ARC.of(telegram.as_bytes()));
    let (exit, readings, problems) = parse(telegram.as_bytes());
    assert_eq!((exit, readings.len()), (Exit::Done, 1));
    assert!(
        problems.contains("its line \"\\u{1b}[2Jxxx") && problems.contains("…\" is no data object"),
        "{problems}"
    );
    assert!(problems.len() < 200, "{problems}");
}
