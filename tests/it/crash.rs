//! `kill -9` of capture, publisher and broker at seeded moments over one folder. What capture had accepted
//! (what its socket showed) is published in the end, first receptions in order, duplicates byte for byte.

use std::thread;
use std::time::{Duration, Instant};

use shared::wire::client::Client;
use tests::deadline::{SOON, wait_for};
use tests::folder::Folder;
use tests::household::Dialect;
use tests::household::random::Random;
use tests::ledger::Ledger;
use tests::process::Process;
use tests::programs::{run_capture, start_capture};

use crate::installation::{Installation, TOPIC, assert_readings_are_true, household};

const RECOVERY: Duration = Duration::from_secs(120);

#[test]
fn a_publisher_killed_again_and_again_loses_nothing() {
    let mut house = Installation::new(31);
    let mut random = Random::new(31);
    let _capture = house.start_capture();
    for _ in 0..6 {
        let mut publisher = house.start_publisher();
        house.send(80);
        // From before it has connected to after it has caught up.
        thread::sleep(Duration::from_millis(random.below(300)));
        publisher.kill();
    }
    house.send_into_the_next(10);
    let _publisher = house.start_publisher();
    let head = house.sent.len() as u64;
    let ledger = house.wait_for_reading(head - 1, RECOVERY);
    assert_eq!(ledger.missing(head - 1), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
}

#[test]
fn a_capture_killed_again_and_again_keeps_what_it_has_shown() {
    let mut house = Installation::new(32);
    house.configure(0, "", "");
    let mut random = Random::new(32);
    let _publisher = house.start_publisher();
    let mut shown = 0;
    for round in 0..6 {
        let mut capture = house.start_capture();
        let status = house.try_status().unwrap();
        assert!(
            status.head >= shown,
            "round {round}: {shown} was shown, now {status:?}"
        );
        let until = Instant::now() + Duration::from_millis(50 + random.below(300));
        while Instant::now() < until {
            house.send(5);
            shown = house.try_status().unwrap().head;
        }
        capture.kill();
    }
    let _capture = house.start_capture();
    let head = house.try_status().unwrap().head;
    assert!(head >= shown, "{shown} was shown, now the head is {head}");
    assert!(shown > 100, "there was load: {shown} telegrams");
    let ledger = house.wait_for_reading(head, RECOVERY);
    assert_eq!(ledger.missing(head), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
    // A kill takes what was on its way: the pty's buffer and what was read and not flushed yet.
    let lost = house.sent.len() - ledger.len();
    assert!(lost <= 6 * 20, "six kills took {lost} telegrams");
}

#[test]
fn a_file_is_taken_once_whenever_capture_is_killed() {
    const COUNT: usize = 4000;
    let folder = Folder::new();
    let mut random = Random::new(36);
    let sent: Vec<u8> = household(36, Dialect::Dsmr5)
        .telegrams(COUNT)
        .into_iter()
        .flat_map(|telegram| telegram.bytes)
        .collect();
    folder.write("capture.txt", &sent);
    let places = ["--queue", "queue", "--socket", "queue.sock"];
    let arguments = [&["--usb", "file:capture.txt"], &places[..]].concat();
    let mut heads = vec![0];
    for _ in 0..6 {
        let before = *heads.last().unwrap();
        let mut capture = start_capture(folder.path(), &arguments);
        let grown = wait_for("the queue to grow", SOON, || {
            let mut client =
                Client::connect(&folder.join("queue.sock"), SOON).map_err(|error| error.to_string())?;
            let head = client.status().map_err(|error| error.to_string())?.head;
            if head > before || head as usize == COUNT {
                Ok(head)
            } else {
                Err(format!("{head}"))
            }
        });
        thread::sleep(Duration::from_millis(random.below(20)));
        capture.kill();
        heads.push(grown);
    }
    println!("heads at the kills: {heads:?}");
    assert!(
        heads[1] < COUNT as u64,
        "the first kill comes before the end: {heads:?}"
    );
    run_capture(folder.path(), &[&arguments[..], &["--once"]].concat()).done();
    let kept = run_capture(folder.path(), &[&["export"], &places[..]].concat()).done();
    assert!(
        kept.output == sent,
        "{} bytes sent, {} kept; heads at the kills: {heads:?}",
        sent.len(),
        kept.output.len()
    );
    let again = run_capture(folder.path(), &[&arguments[..], &["--once"]].concat()).done();
    let words = "capture.txt: 4,000 telegrams taken before";
    assert!(again.errors.contains(words), "{again:?}");
}

/// Rounds of killing one of the three after another over one folder; `SMARTMETER_CRASH_ROUNDS` says how
/// many.
#[test]
fn kills_of_capture_publisher_and_broker_over_one_folder_lose_nothing_that_was_accepted() {
    let rounds = std::env::var("SMARTMETER_CRASH_ROUNDS").map_or(30, |rounds| rounds.parse().unwrap());
    let seed = std::env::var("SMARTMETER_SEED").map_or(33, |seed| seed.parse().unwrap());
    println!("{rounds} rounds of seed {seed}");
    let mut house = Installation::new(seed);
    house.configure(2, "", "");
    let mut random = Random::new(seed);
    let mut capture = Some(house.start_capture());
    let mut publisher = Some(house.start_publisher());
    let mut kills = [0; 3];
    let mut shown = 0;
    for round in 0..rounds {
        // Load for a while, from none to a third of a second; then somebody dies, in the middle of what
        // the load has set off.
        let until = Instant::now() + Duration::from_millis(random.below(300));
        while Instant::now() < until {
            house.send(3);
            shown = shown.max(house.try_status().map_or(shown, |status| status.head));
        }
        match random.below(5) {
            0 | 1 => {
                kills[0] += 1;
                kill(&mut capture);
                capture = Some(house.start_capture());
                let head = house.try_status().unwrap().head;
                assert!(
                    head >= shown,
                    "round {round}: {shown} was shown, now the head is {head}"
                );
            }
            2 | 3 => {
                kills[1] += 1;
                kill(&mut publisher);
                publisher = Some(house.start_publisher());
            }
            _ => {
                kills[2] += 1;
                house.broker.kill();
                house.broker.start_again();
            }
        }
    }
    house.send_into_the_next(2);
    let head = house.wait_for_the_last();
    // A broker that is killed may forget what it has acknowledged: so what counts is what it acknowledged.
    let ledger = house.proxy.wait_for(
        "every accepted telegram to be acknowledged",
        RECOVERY,
        |recording| {
            let acknowledged = recording
                .acknowledged
                .iter()
                .filter(|publish| publish.topic == TOPIC);
            let last = acknowledged
                .clone()
                .next_back()
                .map(|publish| publish.payload.clone());
            let last: serde_json::Value = last
                .and_then(|last| serde_json::from_slice(&last).ok())
                .unwrap_or_default();
            let last = last
                .as_array()
                .and_then(|array| array.last()?["Sequence"].as_u64())
                .unwrap_or(0);
            if last + 1 < head {
                return Err(format!("{last} of {head}"));
            }
            Ok(Ledger::of(acknowledged.map(|publish| &*publish.payload)))
        },
    );
    println!(
        "{} telegrams sent, {head} accepted, {} duplicates; killed: capture {}, publisher {}, broker {}",
        house.sent.len(),
        ledger.duplicates(),
        kills[0],
        kills[1],
        kills[2]
    );
    assert_eq!(ledger.missing(head - 1), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
    assert!(rounds < 10 || kills.iter().all(|kills| *kills > 0), "{kills:?}");
    let status = house.try_status().unwrap();
    assert!(status.losses.is_empty(), "{:?}", status.losses);
    for process in [&mut capture, &mut publisher] {
        assert!(process.as_mut().unwrap().terminate().0.success());
    }
}

fn kill(process: &mut Option<Process>) {
    process.take().expect("it runs").kill();
}

#[test]
fn both_stop_within_a_second_of_sigterm_idle_and_under_load() {
    let mut house = Installation::new(34);
    house.configure(0, "", "");
    for _ in 0..2 {
        let mut capture = house.start_capture();
        let mut publisher = house.start_publisher();
        if !house.sent.is_empty() {
            // Still on its way when the signal comes.
            house.send(200);
        } else {
            house.send(1);
            house.wait_for_reading(1, SOON);
        }
        for process in [&mut publisher, &mut capture] {
            let (status, took) = process.terminate();
            assert!(status.success(), "{status}");
            assert!(took < Duration::from_secs(1), "it took {took:?}");
        }
    }
    let _capture = house.start_capture();
    let _publisher = house.start_publisher();
    let head = house.try_status().unwrap().head;
    let ledger = house.wait_for_reading(head, RECOVERY);
    assert_eq!(ledger.missing(head), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
}
