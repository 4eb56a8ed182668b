//! What is away for a while: the broker, the meter's adapter, the socket. Nothing that was accepted is
//! lost, and first receptions are in order (the ledger sees to that).

use std::thread;
use std::time::{Duration, Instant};

use tests::deadline::{SOON, wait_for};
use tests::folder::Folder;
use tests::household::Dialect;
use tests::meter::{Meter, PtyMeter, TcpMeter};

use crate::installation::{Installation, assert_readings_are_true, household};

/// The publisher's longest back-off is half a minute.
const RECOVERY: Duration = Duration::from_secs(90);

#[test]
fn a_broker_that_is_stopped_under_load_gets_everything_when_it_is_back() {
    let mut house = Installation::new(21);
    let _capture = house.start_capture();
    let _publisher = house.start_publisher();
    house.send(200);
    house.wait_for_reading(100, SOON);

    house.broker.stop();
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_secs(3) {
        house.send(20);
        thread::sleep(Duration::from_millis(20));
    }
    house.send_into_the_next(10);
    let head = house.sent.len() as u64;
    house.wait_for_head(head);
    assert!(house.ledger().last_sequence() < head - 100, "there is a backlog");
    house.broker.start_again();

    let ledger = house.wait_for_reading(head - 1, RECOVERY);
    assert_eq!(ledger.missing(head - 1), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
}

#[test]
fn connections_cut_again_and_again_lose_nothing() {
    let mut house = Installation::new(22);
    house.configure(0, "", "");
    let _capture = house.start_capture();
    let _publisher = house.start_publisher();
    for _ in 0..5 {
        house.send(60);
        house.proxy.cut();
    }
    house.send(10);
    let ledger = house.wait_for_reading(310, RECOVERY);
    assert_eq!(ledger.missing(310), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
}

#[test]
fn an_unplugged_adapter_is_read_again_when_it_is_plugged_in() {
    let folder = Folder::new();
    let meter = PtyMeter::plug_in(&folder.join("ttyUSB0"));
    let device = meter.address();
    let mut house = Installation::at(folder, Box::new(meter), household(23, Dialect::Dsmr5));
    house.configure(0, "", "");
    let capture = house.start_capture();
    let _publisher = house.start_publisher();
    house.send(20);
    house.wait_for_reading(20, SOON);

    let said = capture.lines_said();
    std::fs::remove_file(&device).unwrap();
    house.meter = Box::new(Unplugged);
    capture.wait_to_say_after(said, &device, SOON);
    let status = house.try_status().unwrap();
    assert!(!status.port_state.starts_with("open"), "{status:?}");

    house.meter = Box::new(PtyMeter::plug_in(device.as_ref()));
    wait_for("capture to open the new device", RECOVERY, || {
        let status = house.try_status()?;
        if status.port_state.starts_with("open") {
            Ok(())
        } else {
            Err(status.port_state)
        }
    });
    house.send(20);
    let ledger = house.wait_for_reading(40, SOON);
    assert_eq!(ledger.len(), 40);
    assert_readings_are_true(&ledger, house.truths());
}

/// The meter's end of an adapter that was pulled out.
struct Unplugged;

impl Meter for Unplugged {
    fn address(&self) -> String {
        "nowhere".to_owned()
    }

    fn send_within(&mut self, _: &[u8], _: Duration) -> std::io::Result<()> {
        Err(std::io::Error::other("the adapter is not plugged in"))
    }
}

#[test]
fn a_network_meter_that_hangs_up_in_the_middle_of_a_telegram_costs_that_telegram_alone() {
    let mut house = Installation::at(
        Folder::new(),
        Box::new(Dropping::new()),
        household(24, Dialect::Dsmr5),
    );
    house.configure(0, "", "");
    let _capture = house.start_capture();
    let _publisher = house.start_publisher();
    for _ in 0..3 {
        house.send(10);
        house.wait_for_head(house.sent.len() as u64);
        // Half a telegram, then nothing: this one is not counted as sent.
        let lost = house.household.telegram();
        house.meter.send(&lost.bytes[..lost.bytes.len() / 2]);
        house.meter.send(HANG_UP);
    }
    house.send(10);
    let ledger = house.wait_for_reading(40, RECOVERY);
    assert_eq!(ledger.len(), 40);
    assert_readings_are_true(&ledger, house.truths());
}

/// Told to a [`Dropping`] meter in place of bytes.
const HANG_UP: &[u8] = b"\0hang up\0";

/// A network meter that can be told to hang up.
struct Dropping {
    meter: TcpMeter,
}

impl Dropping {
    fn new() -> Self {
        Self {
            meter: TcpMeter::listen(),
        }
    }
}

impl Meter for Dropping {
    fn address(&self) -> String {
        self.meter.address()
    }

    fn send_within(&mut self, bytes: &[u8], deadline: Duration) -> std::io::Result<()> {
        if bytes == HANG_UP {
            self.meter.hang_up();
            return Ok(());
        }
        self.meter.send_within(bytes, deadline)
    }
}

#[test]
fn a_bad_cable_costs_the_telegrams_that_it_hits_and_no_other() {
    use tests::household::disturbance::{Cable, Rates};

    let mut house = Installation::new(25);
    house.configure(0, "crc: required", "");
    let _capture = house.start_capture();
    let _publisher = house.start_publisher();
    let mut cable = Cable::new(
        25,
        Rates {
            flipped: 60,
            cut: 60,
            noise: 60,
        },
    );
    let mut spared = Vec::new();
    for telegram in house.household.telegrams(400) {
        let (bytes, disturbance) = cable.carry(&telegram);
        house.meter.send(&bytes);
        if disturbance.spares_the_telegram() {
            spared.push(telegram);
        }
    }
    // The last one must not be a cut one, for what ends a cut telegram is the next.
    house.send(1);
    spared.append(&mut house.sent);
    assert!(spared.len() < 380, "the cable was bad");
    house.sent = spared;
    let last = house.sent.len() as u64;
    let ledger = house.wait_for_reading(last, SOON);
    assert_eq!(ledger.len() as u64, last);
    assert_readings_are_true(&ledger, house.truths());
    let status = house.try_status().unwrap();
    assert!(status.rejected.values().sum::<u64>() >= 401 - last, "{status:?}");
}

#[test]
fn sessions_with_capture_cut_in_the_middle_of_a_frame_lose_nothing() {
    use tests::household::random::Random;
    use tests::programs::start_publisher;
    use tests::socket_proxy::SocketProxy;

    let mut house = Installation::new(26);
    let _capture = house.start_capture();
    let socket = house.folder.join("cut.sock");
    let proxy = SocketProxy::listen(&socket, &house.socket());
    // Its file is capture's, but for the socket.
    let file = house.folder.join("smartmeter.yml");
    let configuration = std::fs::read_to_string(&file)
        .unwrap()
        .replace("queue.sock", "cut.sock");
    house.folder.write("publisher.yml", configuration);
    let mut random = Random::new(26);
    let _publisher = start_publisher(house.folder.path(), &["-config", "publisher.yml"]);
    for _ in 0..8 {
        proxy.cut_after(1 + random.below(6_000) as usize);
        house.send(40);
    }
    house.send_into_the_next(10);
    let head = house.sent.len() as u64;
    let ledger = house.wait_for_reading(head - 1, RECOVERY);
    assert_eq!(ledger.missing(head - 1), Vec::<u64>::new());
    assert_readings_are_true(&ledger, house.truths());
    assert!(proxy.sessions() > 2, "{} sessions", proxy.sessions());
}
