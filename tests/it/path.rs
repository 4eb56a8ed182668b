//! The whole path: what the household lives is what a subscriber receives, number for number.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::Value;
use tests::deadline::{SOON, wait_for};
use tests::folder::Folder;
use tests::household::Dialect;
use tests::meter::TcpMeter;

use crate::installation::{Installation, TOPIC, assert_readings_are_true, household};

#[test]
fn every_reading_and_every_summary_agrees_with_the_household() {
    let mut house = Installation::new(11);
    let mut capture = house.start_capture();
    let mut publisher = house.start_publisher();
    house.send(299);
    house.send_into_the_next(10);
    assert_eq!(
        house.sent.len(),
        300,
        "the household starts on a full ten minutes"
    );
    let ledger = house.wait_for_reading(299, SOON);

    assert_eq!(ledger.len(), 299, "the last telegram's interval is not over");
    for ((sequence, reading), telegram) in ledger.readings().iter().zip(&house.sent) {
        telegram.truth.assert_published_as(reading);
        assert!(reading["Received_at"].is_string(), "{sequence}: {reading}");
    }

    let summaries = house.wait_for_received("summary", |summaries| summaries.len() >= 30);
    assert_summaries_agree(&house, &summaries, 10);

    let state = house.received("state").pop().expect("a state was published");
    // The newest there was when the last interval closed: a slow publisher has read the 300th by then.
    let sequence = state["sequence"].as_u64().expect("the state has a sequence");
    assert!((299..=300).contains(&sequence), "{state}");
    let last = &house.sent[sequence as usize - 1].truth;
    for (name, value) in last.registers.iter().chain(&last.gauges) {
        assert_eq!(decimal(&state[name]), *value, "{name} in {state}");
    }

    assert_eq!(house.received("availability"), ["online"]);
    assert!(publisher.terminate().0.success());
    house.wait_for_received("availability", |said| {
        said.last().is_some_and(|last| last == "offline")
    });
    assert!(capture.terminate().0.success());
}

/// Recomputes each summary from the household's truths.
fn assert_summaries_agree(house: &Installation, summaries: &[Value], interval: i64) {
    let mut by_interval: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (place, telegram) in house.sent.iter().enumerate() {
        by_interval
            .entry(telegram.truth.at.div_euclid(interval))
            .or_default()
            .push(place);
    }
    let mut summed: BTreeMap<&str, Decimal> = BTreeMap::new();
    for (summary, places) in summaries.iter().zip(by_interval.values()) {
        let (first, last) = (places[0], places[places.len() - 1]);
        assert_eq!(summary["telegrams"], places.len(), "{summary}");
        assert_eq!(summary["first_sequence"], first as u64 + 1, "{summary}");
        assert_eq!(summary["last_sequence"], last as u64 + 1, "{summary}");
        let registers = &house.sent[last].truth.registers;
        assert_eq!(
            summary["registers"].as_object().map_or(0, serde_json::Map::len),
            registers.len(),
            "{summary}"
        );
        for (name, value) in registers {
            let register = &summary["registers"][name];
            assert_eq!(
                decimal(&register["first"]),
                house.sent[first].truth.registers[name],
                "{name} in {summary}"
            );
            assert_eq!(decimal(&register["last"]), *value, "{name} in {summary}");
            let before = &house.sent[first.saturating_sub(1)].truth.registers[name];
            assert_eq!(decimal(&register["delta"]), value - before, "{name} in {summary}");
            *summed.entry(name).or_default() += decimal(&register["delta"]);
        }
        for (name, last) in &house.sent[last].truth.gauges {
            let values: Vec<Decimal> = places
                .iter()
                .map(|place| house.sent[*place].truth.gauges[name])
                .collect();
            let gauge = &summary["gauges"][name];
            assert_eq!(
                decimal(&gauge["min"]),
                *values.iter().min().unwrap(),
                "{name} in {summary}"
            );
            assert_eq!(
                decimal(&gauge["max"]),
                *values.iter().max().unwrap(),
                "{name} in {summary}"
            );
            assert_eq!(decimal(&gauge["last"]), *last, "{name} in {summary}");
            let mean = values.iter().sum::<Decimal>() / Decimal::from(values.len());
            let difference = (decimal(&gauge["mean"]) - mean).abs();
            assert!(
                difference < Decimal::new(1, 3),
                "{name} is {mean} on average, in {summary}"
            );
        }
    }
    // What all summaries say together is what the registers say.
    for (name, sum) in summed {
        let (first, last) = (
            &house.sent[0].truth.registers[name],
            &house.sent[298].truth.registers[name],
        );
        assert_eq!(sum, last - first, "{name}");
    }
}

fn decimal(value: &Value) -> Decimal {
    value
        .to_string()
        .parse()
        .unwrap_or_else(|_| panic!("not a number: {value}"))
}

#[test]
fn an_interval_of_0_publishes_every_telegram_as_it_comes_and_no_summary() {
    let mut house = Installation::new(12);
    house.configure(0, "", "");
    let _capture = house.start_capture();
    let _publisher = house.start_publisher();
    house.send(50);
    let ledger = house.wait_for_reading(50, SOON);
    assert_readings_are_true(&ledger, house.truths());
    let messages = house.subscriber.messages();
    assert_eq!(
        messages.iter().filter(|message| message.topic == TOPIC).count(),
        50
    );
    assert!(
        messages
            .iter()
            .filter(|message| message.topic == TOPIC)
            .all(|message| !message.is_retained)
    );
    assert_eq!(house.received("summary"), Vec::<Value>::new());
}

#[test]
fn an_interval_ends_with_half_a_minute_of_silence() {
    let mut house = Installation::new(13);
    house.configure(60, "", "");
    let _capture = house.start_capture();
    let _publisher = house.start_publisher();
    house.send(7);
    let ledger = house.wait_for_reading(7, Duration::from_secs(60));
    assert_eq!(ledger.len(), 7);
    let summaries = house.wait_for_received("summary", |summaries| !summaries.is_empty());
    assert_eq!(summaries[0]["telegrams"], 7, "{summaries:?}");
}

#[test]
fn what_status_counts_as_accepted_is_durable() {
    let mut house = Installation::new(15);
    let text = std::fs::read_to_string(house.folder.join("smartmeter.yml")).unwrap();
    house
        .folder
        .write("smartmeter.yml", format!("{text}  flush_interval: 3s\n"));
    let _capture = house.start_capture();
    house.send(20);
    let mut seen = Vec::new();
    let status = wait_for("the telegrams to be accepted", SOON, || {
        let status = house.capture(&["status", "--json"]).done().json();
        let number = |key: &str| status[key].as_u64().unwrap();
        assert_eq!(number("accepted"), number("head"), "{status}");
        assert_eq!(
            status["last_telegram_age_ms"].is_null(),
            number("head") == 0,
            "{status}"
        );
        seen.push(number("head"));
        if number("head") == 20 {
            Ok(status)
        } else {
            Err(format!("{status}"))
        }
    });
    assert_eq!(seen[0], 0, "it was looked at before the flush");
    let age = status["last_telegram_age_ms"].as_u64().unwrap();
    assert!(age >= 1_000, "the last came before the flush: {age} ms ago");
    let text = house.capture(&["status"]).done().text();
    assert!(text.contains("20 accepted, the last "), "{text}");
}

#[test]
fn a_meter_on_the_network_is_read_like_one_on_a_serial_line() {
    let mut house = Installation::at(
        Folder::new(),
        Box::new(TcpMeter::listen()),
        household(14, Dialect::Dsmr42),
    );
    house.configure(0, "", "");
    let _capture = house.start_capture();
    let _publisher = house.start_publisher();
    house.send(40);
    let ledger = house.wait_for_reading(40, SOON);
    assert_readings_are_true(&ledger, house.truths());
}
