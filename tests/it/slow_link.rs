//! A slow link to the broker: what it carries arrives, once, and what it cannot carry is said in figures.

use std::time::{Duration, Instant};

use tests::network::{NEAR, Network};
use tests::process::Process;
use tests::programs::Programs;

use crate::installation::{Installation, TOPIC, assert_readings_are_true};

const BROKER_PORT: u16 = 1883;
/// Each of these ends within this time.
const DEADLINE: Duration = Duration::from_secs(85);

/// A broker at this end of the link, and a publisher at the other with so many telegrams that wait.
fn with_link(
    name: &str,
    rate: &str,
    send_interval: u32,
    waiting: usize,
    test: impl FnOnce(&Installation, &Process) + Send,
) {
    let Some(network) = Network::of_its_own(name) else {
        return;
    };
    network.slow_down(rate);
    network.near(|| {
        let mut house = Installation::new(171);
        house.broker.stop();
        house
            .broker
            .configure(&format!("allow_anonymous true\nlistener {BROKER_PORT} {NEAR}\n"));
        house.broker.start_again();
        let file = house.folder.join("smartmeter.yml");
        house.configure(send_interval, "", "");
        let text = std::fs::read_to_string(&file).unwrap();
        let proxy = format!("127.0.0.1:{}", house.proxy.port());
        std::fs::write(&file, text.replace(&proxy, &format!("{NEAR}:{BROKER_PORT}"))).unwrap();
        house.sent = house.household.telegrams(waiting);
        let bytes: Vec<u8> = house
            .sent
            .iter()
            .flat_map(|telegram| telegram.bytes.clone())
            .collect();
        house.folder.write("telegrams.txt", bytes);
        house.capture(&["import", "telegrams.txt"]).done();
        let _capture = house.start_capture();
        let mut publisher = Programs::built().publisher();
        publisher
            .current_dir(house.folder.path())
            .args(["-config", "smartmeter.yml"]);
        let publisher = Process::start("publisher", &mut network.on_far(&publisher));
        test(&house, &publisher);
    });
}

/// How often the publisher has connected, and that it never lost the broker.
fn assert_one_connection(publisher: &Process) {
    let said = publisher.said();
    assert_eq!(said.matches("connected to").count(), 1, "{said}");
    assert!(!said.contains("lost the broker"), "{said}");
}

#[test]
fn an_array_that_takes_longer_than_any_timeout_arrives_over_64_kbit_a_second() {
    with_link("array", "64kbit", 600, 620, |house, publisher| {
        let began = Instant::now();
        let ledger = house.wait_for_reading(270, DEADLINE);
        let took = began.elapsed();
        let first = house
            .subscriber
            .messages()
            .into_iter()
            .find(|message| message.topic == TOPIC);
        let bytes = first.expect("an array").payload.len();
        assert!(bytes > 400_000, "{bytes} bytes are not much");
        assert!(took > Duration::from_secs(50), "{took:?}: the link was not slow");
        assert_eq!(ledger.duplicates(), 0);
        assert_readings_are_true(&ledger, house.truths());
        assert_one_connection(publisher);
    });
}

#[test]
fn by_default_a_backlog_arrives_over_16_kbit_a_second_in_smaller_arrays() {
    // Less than a minute's worth of the link, and more than the first array alone.
    with_link("backlog", "16kbit", 60, 185, |house, publisher| {
        let ledger = house.wait_for_reading(68, DEADLINE);
        assert_eq!(ledger.duplicates(), 0);
        assert_eq!(ledger.missing(68), Vec::<u64>::new());
        assert_readings_are_true(&ledger, house.truths());
        let sizes: Vec<usize> = house
            .subscriber
            .messages()
            .iter()
            .filter(|message| message.topic == TOPIC)
            .map(|message| message.payload.len())
            .collect();
        assert!(sizes.last().is_some_and(|last| *last < 16_000), "{sizes:?}");
        assert_one_connection(publisher);
    });
}

#[test]
fn a_link_that_is_too_slow_for_the_meter_is_named_with_what_it_carries_and_what_is_needed() {
    with_link("too-slow", "6kbit", 60, 400, |_, publisher| {
        let line = publisher.wait_to_say("the link to the broker is too slow for this meter", DEADLINE);
        let figures: Vec<u64> = line
            .split_once("too slow")
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .filter_map(|word| word.replace([',', ';'], "").parse().ok())
            .collect();
        let [carried, needed] = figures[..] else {
            panic!("two figures: {line}")
        };
        // The link lets 750 bytes a second through, and at first a burst and what its buffers hold as well.
        assert!((375..=1_500).contains(&carried), "within twice the link: {line}");
        assert!((900..=3_000).contains(&needed), "a reading a second: {line}");
        let said = publisher.said();
        assert!(!said.contains("lost the broker"), "{said}");
    });
}
