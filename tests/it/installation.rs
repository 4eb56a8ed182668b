//! An installation as a user has it, in a scratch folder: a meter, a configuration file, a mosquitto with
//! a proxy before it, and a subscriber at the broker.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use shared::wire::Status;
use shared::wire::client::{Batch, Client};
use tests::broker::Mosquitto;
use tests::deadline::{SOON, wait_for};
use tests::folder::Folder;
use tests::household::{Dialect, Household, Settings, Telegram, Truth};
use tests::ledger::Ledger;
use tests::meter::{Meter, PtyMeter, TcpMeter};
use tests::process::{Process, Ran};
use tests::programs;
use tests::proxy::Proxy;
use tests::subscriber::{Received, Subscriber};

pub(crate) const TOPIC: &str = "energy/smartmeter";

/// The installation, with nothing running but the broker.
pub(crate) struct Installation {
    pub(crate) subscriber: Subscriber,
    pub(crate) proxy: Proxy,
    pub(crate) broker: Mosquitto,
    pub(crate) meter: Box<dyn Meter>,
    pub(crate) household: Household,
    /// What the household has sent, in order.
    pub(crate) sent: Vec<Telegram>,
    pub(crate) folder: Folder,
}

/// A household that starts on a full ten minutes, so that tests can reckon with intervals.
pub(crate) fn household(seed: u64, dialect: Dialect) -> Household {
    let settings = Settings::seeded(seed, dialect);
    let starts_at = settings.starts_at - settings.starts_at % 600;
    Household::new(Settings {
        starts_at,
        ..settings
    })
}

impl Installation {
    /// With a DSMR 5 meter on a pty.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(household(seed, Dialect::Dsmr5))
    }

    /// With this household's meter on a pty; over TCP where `SMARTMETER_TEST_METER` is `tcp`: programs for
    /// another machine cannot set a line, since qemu's emulation does not know the call for it.
    pub(crate) fn with(household: Household) -> Self {
        let folder = Folder::new();
        let meter: Box<dyn Meter> =
            if std::env::var_os("SMARTMETER_TEST_METER").is_some_and(|meter| meter == "tcp") {
                Box::new(TcpMeter::listen())
            } else {
                Box::new(PtyMeter::plug_in(&folder.join("ttyUSB0")))
            };
        Self::at(folder, meter, household)
    }

    /// With this household's meter on that line.
    pub(crate) fn at(folder: Folder, meter: Box<dyn Meter>, household: Household) -> Self {
        let broker = Mosquitto::start(folder.path());
        let proxy = Proxy::to(broker.port());
        let subscriber = Subscriber::start(broker.port(), &format!("{TOPIC}/#"));
        let installation = Self {
            subscriber,
            proxy,
            broker,
            meter,
            household,
            sent: Vec::new(),
            folder,
        };
        installation.configure(10, "", "");
        installation
    }

    /// Writes the configuration file: the interval, further lines of the top level, further lines of
    /// `mqtt`.
    pub(crate) fn configure(&self, send_interval: u32, top: &str, mqtt: &str) {
        let indented: String = mqtt.lines().map(|line| format!("  {line}\n")).collect();
        let text = format!(
            "send_interval: {send_interval}\n\
             usb: {:?}\n\
             {top}\n\
             mqtt:\n\
             \x20 address: \"127.0.0.1:{}\"\n\
             \x20 topic: \"{TOPIC}\"\n\
             \x20 summary_topic: \"{TOPIC}/summary\"\n\
             \x20 state_topic: \"{TOPIC}/state\"\n\
             \x20 availability_topic: \"{TOPIC}/availability\"\n\
             {indented}\
             queue:\n\
             \x20 path: queue\n\
             \x20 socket: queue.sock\n",
            self.meter.address(),
            self.proxy.port(),
        );
        self.folder.write("smartmeter.yml", text);
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("queue.sock")
    }

    pub(crate) fn start_capture(&self) -> Process {
        let capture = programs::start_capture(self.folder.path(), &["-config", "smartmeter.yml"]);
        // Serving its queue, it has opened its folder and is at the meter's port.
        wait_for("capture to serve its queue", SOON, || self.try_status());
        capture
    }

    pub(crate) fn start_publisher(&self) -> Process {
        programs::start_publisher(self.folder.path(), &["-config", "smartmeter.yml"])
    }

    /// Runs `capture` with this installation's configuration.
    pub(crate) fn capture(&self, arguments: &[&str]) -> Ran {
        programs::run_capture(
            self.folder.path(),
            &[&["-config", "smartmeter.yml"], arguments].concat(),
        )
    }

    /// Runs `publisher` with this installation's configuration.
    pub(crate) fn publisher(&self, arguments: &[&str]) -> Ran {
        programs::run_publisher(
            self.folder.path(),
            &[&["-config", "smartmeter.yml"], arguments].concat(),
        )
    }

    /// Sends so many telegrams as fast as they are read.
    pub(crate) fn send(&mut self, count: usize) {
        for _ in 0..count {
            let telegram = self.household.telegram();
            self.meter.send(&telegram.bytes);
            self.sent.push(telegram);
        }
    }

    /// Sends until a telegram has begun another interval, so that all before it is closed.
    pub(crate) fn send_into_the_next(&mut self, interval_seconds: i64) {
        loop {
            self.send(1);
            if self.household.now() % interval_seconds < self.household.settings().period_seconds {
                return;
            }
        }
    }

    /// What capture says of itself.
    pub(crate) fn try_status(&self) -> Result<Status, String> {
        let mut client = Client::connect(&self.socket(), SOON).map_err(|error| error.to_string())?;
        client.status().map_err(|error| error.to_string())
    }

    /// Waits until capture has accepted up to this sequence.
    pub(crate) fn wait_for_head(&self, head: u64) -> Status {
        wait_for(&format!("the queue's head to be {head}"), SOON, || {
            let status = self.try_status()?;
            if status.head >= head {
                Ok(status)
            } else {
                Err(format!("{status:?}"))
            }
        })
    }

    /// Waits until capture has accepted the last telegram that was sent, and gives its sequence.
    pub(crate) fn wait_for_the_last(&self) -> u64 {
        let last = &self.sent.last().expect("something was sent").bytes;
        wait_for("the last telegram sent to be the head", SOON, || {
            let head = self.try_status()?.head;
            let mut client = Client::connect(&self.socket(), SOON).map_err(|error| error.to_string())?;
            match client
                .read(head, 1, Duration::ZERO)
                .map_err(|error| error.to_string())?
            {
                Batch::Records { records, head }
                    if records.last().is_some_and(|record| record.telegram == *last) =>
                {
                    Ok(head)
                }
                _ => Err(format!("the head is {head}")),
            }
        })
    }

    /// The readings that the subscriber has received.
    pub(crate) fn ledger(&self) -> Ledger {
        let messages = self.subscriber.messages();
        Ledger::of(
            messages
                .iter()
                .filter(|message| message.topic == TOPIC)
                .map(|message| &*message.payload),
        )
    }

    /// Waits until the subscriber has received the reading of this sequence, and gives all.
    pub(crate) fn wait_for_reading(&self, sequence: u64, deadline: Duration) -> Ledger {
        // Looking at all messages takes time: only where there are more than before.
        let mut looked_at = 0;
        let mut last = 0;
        self.subscriber.wait_for(
            &format!("the reading of sequence {sequence}"),
            deadline,
            |messages| {
                for message in messages.get(looked_at..).unwrap_or_default() {
                    if message.topic == TOPIC {
                        last = last.max(message.json()[0]["Sequence"].as_u64().unwrap_or(0));
                        let array = message.json();
                        let length = array.as_array().map_or(0, Vec::len);
                        last = last.max(array[length.saturating_sub(1)]["Sequence"].as_u64().unwrap_or(0));
                    }
                }
                looked_at = messages.len();
                if last >= sequence {
                    Ok(())
                } else {
                    Err(format!("the last reading is of {last}"))
                }
            },
        );
        self.ledger()
    }

    /// Payloads of a topic below [`TOPIC`], in the order in which they came.
    pub(crate) fn received(&self, below: &str) -> Vec<Value> {
        payloads(&self.subscriber.messages(), below)
    }

    /// The same, as soon as they are as wanted.
    pub(crate) fn wait_for_received(&self, below: &str, is_wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        self.subscriber
            .wait_for(&format!("messages of {TOPIC}/{below}"), SOON, |messages| {
                let payloads = payloads(messages, below);
                if is_wanted(&payloads) {
                    Ok(payloads)
                } else {
                    Err(format!("{payloads:?}"))
                }
            })
    }

    /// The truth about the telegrams sent.
    pub(crate) fn truths(&self) -> impl Iterator<Item = &Truth> {
        self.sent.iter().map(|telegram| &telegram.truth)
    }
}

fn payloads(messages: &[Received], below: &str) -> Vec<Value> {
    let topic = format!("{TOPIC}/{below}");
    messages
        .iter()
        .filter(|message| message.topic == topic)
        .map(|message| {
            serde_json::from_slice(&message.payload)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&message.payload).into_owned()))
        })
        .collect()
}

/// Panics where a reading is not exactly what the household produced for it: by the telegram's own time,
/// which no two of a household's telegrams share.
pub(crate) fn assert_readings_are_true<'a>(ledger: &Ledger, truths: impl Iterator<Item = &'a Truth>) {
    let truths: std::collections::HashMap<&str, &Truth> = truths
        .map(|truth| {
            (
                truth.reading["Date_timestamp"]
                    .as_str()
                    .expect("the meter sends its time"),
                truth,
            )
        })
        .collect();
    for (sequence, reading) in ledger.readings() {
        let time = reading["Date_timestamp"].as_str().unwrap_or_default();
        let truth = truths
            .get(time)
            .unwrap_or_else(|| panic!("{sequence}: nothing was sent at {time:?}"));
        truth.assert_published_as(reading);
    }
}
