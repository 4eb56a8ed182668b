//! What counts as stopped, from telegrams of which values disappear.

use super::*;
use shared::dsmr;

const VOLTAGE: &str = "1-0:32.7.0(230.1*V)";
const TEN_SECONDS_MS: u64 = 10_000;

/// The meter and what has been said of it.
#[derive(Default)]
struct Bench {
    stopped: Stopped,
    sequence: u64,
    said: Vec<News>,
}

impl Bench {
    /// So many telegrams at ten seconds with these lines beside the power.
    fn send(&mut self, telegrams: u64, lines: &[&str]) {
        for _ in 0..telegrams {
            self.send_after(TEN_SECONDS_MS, lines);
        }
    }

    fn send_after(&mut self, silence_ms: u64, lines: &[&str]) {
        self.sequence += 1;
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let telegram = format!("/XYZ5\\2\r\n\r\n1-0:1.7.0(00.500*kW)\r\n{lines}!\r\n");
        let readings = dsmr::parse(telegram.as_bytes());
        self.stopped.read(&readings, self.sequence, silence_ms);
        self.said.extend(self.stopped.take_news());
    }

    fn values(&self) -> Vec<(&str, u64)> {
        self.stopped.values().collect()
    }
}

fn news(names: &[&str], has_stopped: bool, sequence: u64) -> News {
    News {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        has_stopped,
        sequence,
    }
}

fn gas(channel: u8, id: &str) -> [String; 3] {
    [
        format!("0-{channel}:24.1.0(003)"),
        format!("0-{channel}:96.1.0({id})"),
        format!("0-{channel}:24.2.1(261120080000W)(00012.345*m3)"),
    ]
}

fn lines(of: &[[String; 3]]) -> Vec<&str> {
    of.iter().flatten().map(String::as_str).collect()
}

#[test]
fn values_that_stop_together_are_said_once_together_and_once_when_they_come_again() {
    let mut bench = Bench::default();
    bench.send(100, &[VOLTAGE, "1-0:31.7.0(002*A)"]);
    bench.send(360, &[]);
    assert_eq!((bench.values(), &bench.said[..]), (vec![], &[][..]));
    bench.send(1, &[]);
    let names = ["voltage_l1_v", "current_l1_a"];
    assert_eq!(bench.said, [news(&names, true, 461)]);
    bench.send(1_000, &[]);
    assert_eq!(bench.said.len(), 1);
    assert_eq!(bench.values(), [(names[0], 1_361), (names[1], 1_361)]);
    bench.send(1, &[VOLTAGE]);
    assert_eq!(bench.said[1..], [news(&names[..1], false, 1_462)]);
    assert_eq!(bench.values(), [(names[1], 1_362)]);
}

#[test]
fn a_value_that_comes_seldom_or_came_shortly_has_not_stopped() {
    let mut bench = Bench::default();
    bench.send(99, &[VOLTAGE]);
    bench.send(1_000, &[]);
    for _ in 0..300 {
        bench.send(1, &[VOLTAGE]);
        bench.send(1, &[]);
    }
    for _ in 0..30 {
        bench.send(1, &[VOLTAGE]);
        bench.send(400, &[]);
    }
    assert_eq!((bench.values(), &bench.said[..]), (vec![], &[][..]));
}

#[test]
fn texts_counts_and_logs_never_count_as_stopped() {
    let mut bench = Bench::default();
    let seldom = [
        "0-0:96.13.0(48616C6C6F)",
        "0-0:96.7.21(00004)",
        "1-0:32.32.0(00002)",
        "1-0:99.97.0(1)(0-0:96.7.19)(000101000006W)(2147483647*s)",
        "0-0:17.0.0(016.1*kW)",
    ];
    bench.send(200, &seldom);
    bench.send(1_000, &[]);
    assert_eq!((bench.values(), &bench.said[..]), (vec![], &[][..]));
}

#[test]
fn neither_a_silence_nor_a_fast_meter_makes_a_value_stop_sooner() {
    let mut bench = Bench::default();
    bench.send(100, &[VOLTAGE]);
    // A day without the meter, and its gas not read for half an hour after.
    bench.send_after(86_400_000, &[]);
    bench.send(180, &[]);
    bench.send(100, &[VOLTAGE]);
    for _ in 0..3_600 {
        bench.send_after(1_000, &[]);
    }
    assert_eq!((bench.values(), &bench.said[..]), (vec![], &[][..]));
    bench.send_after(1_000, &[]);
    assert_eq!(bench.values(), [("voltage_l1_v", 3_601)]);
    // A minute apart: an hour is not yet a hundred telegrams.
    let mut bench = Bench::default();
    bench.send(100, &[VOLTAGE]);
    for _ in 0..99 {
        bench.send_after(60_000, &[]);
    }
    assert_eq!(bench.values(), []);
    bench.send_after(60_000, &[]);
    assert_eq!(bench.values(), [("voltage_l1_v", 100)]);
}

#[test]
fn an_exchanged_device_has_not_stopped_whichever_its_channel() {
    let (old, same_channel, other_channel) = (gas(1, "4F4C44"), gas(1, "4E4557"), gas(2, "4E4557"));
    for new in [same_channel, other_channel] {
        let mut bench = Bench::default();
        bench.send(200, &lines(std::slice::from_ref(&old)));
        bench.send(1_000, &lines(std::slice::from_ref(&new)));
        assert_eq!((bench.values(), &bench.said[..]), (vec![], &[][..]), "{new:?}");
        // It can stop too, and be exchanged for one on another channel after that.
        bench.send(400, &[]);
        assert_eq!(bench.values(), [("gas_m3", 400)]);
        bench.send(1, &lines(&[gas(3, "4E4558")]));
        assert_eq!(bench.values(), []);
        assert_eq!(bench.said.last(), Some(&news(&["gas_m3"], false, bench.sequence)));
    }
}

#[test]
fn of_two_devices_of_a_kind_the_one_that_stops_is_named_by_its_channel() {
    let both = [gas(1, "4F4E45"), gas(2, "54574F")];
    let mut bench = Bench::default();
    bench.send(200, &lines(&both));
    bench.send(400, &lines(&both[1..]));
    assert_eq!(bench.values(), [("gas_channel1_m3", 400)]);
}

#[test]
fn another_electricity_meter_need_not_send_the_same_values() {
    let (old, new) = ("0-0:96.1.1(4F4C44)", "0-0:96.1.1(4E4557)");
    let mut bench = Bench::default();
    bench.send(200, &[old, VOLTAGE]);
    bench.send(400, &[old]);
    assert_eq!(bench.values(), [("voltage_l1_v", 400)]);
    bench.send(1, &[new]);
    assert_eq!(bench.values(), []);
    bench.send(1_000, &[new]);
    assert_eq!(bench.said.len(), 1, "{:?}", bench.said);
}

#[test]
fn a_meter_that_always_names_other_devices_does_not_grow_the_memory() {
    let mut bench = Bench::default();
    for kind in 100..200 {
        for _ in 0..100 {
            bench.send(
                1,
                &[
                    &format!("0-1:24.1.0({kind})"),
                    &format!("0-1:96.1.0({:08})", bench.sequence),
                    "0-1:24.2.1(261120080000W)(00012.345*m3)",
                ],
            );
        }
    }
    assert_eq!(bench.stopped.entries.len(), MOST_ENTRIES);
}
