//! The play: the broker is there, goes away, comes back; then the count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tests::ledger::Ledger;

use crate::count::Count;
use crate::options::Options;
use crate::screen::{Look, Screen, bar, plain};
use crate::stage::Stage;

/// How it ended.
pub(crate) enum Ending {
    NothingLost,
    SomethingWrong,
    Interrupted,
}

const FRAME: Duration = Duration::from_millis(100);
/// How long the backlog may take after the broker is back: the publisher's longest back-off is half a
/// minute.
const RECOVERY: Duration = Duration::from_secs(90);

pub(crate) fn perform(options: &Options, screen: &mut Screen) -> anyhow::Result<Ending> {
    let is_interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&is_interrupted))?;
    }
    introduce(options, screen);
    let stage = match Stage::set(options, &is_interrupted) {
        Ok(stage) => stage,
        Err(_) if is_interrupted.load(Ordering::Relaxed) => return Ok(Ending::Interrupted),
        Err(error) => return Err(error),
    };
    let mut play = Play {
        options,
        screen,
        stage,
        ledger: Ledger::default(),
        messages: 0,
        // What an outage and the pause before the next attempt will pile up, so that the bar has a scale.
        most_waiting: u64::from(options.rate) * (options.outage + 10),
        last_shown: None,
        is_interrupted,
    };
    let ending = play.run();
    if ending.is_err() {
        play.screen.end_live();
    }
    ending
}

fn introduce(options: &Options, screen: &mut Screen) {
    let title = screen.paint(
        Look::Title,
        "Smart-meter reader: from the meter to MQTT without losing a telegram",
    );
    screen.say(&title);
    screen.say("");
    if screen.width() < 75 {
        screen.say("  meter ─► capture ─► queue");
        screen.say("  ─► publisher ─► broker ─► subscriber");
        return;
    }
    screen.say("    meter ──► capture ──► queue ──► publisher ──► broker ──► subscriber");
    let owner = |is_yours: bool, else_it_is| if is_yours { "yours" } else { else_it_is };
    let meter = owner(options.usb.is_some(), "simulated");
    let broker = owner(options.mqtt_address.is_some(), "embedded");
    let under = format!("    {meter:<10}process     on disk   process       {broker:<11}this demo");
    let under = screen.paint(Look::Dim, &under);
    screen.say(&under);
}

struct Play<'a> {
    options: &'a Options,
    screen: &'a mut Screen,
    stage: Stage,
    ledger: Ledger,
    /// Messages of the subscriber that have been looked at.
    messages: usize,
    most_waiting: u64,
    /// When a reading was last shown, and which.
    last_shown: Option<(Instant, u64)>,
    is_interrupted: Arc<AtomicBool>,
}

/// Where the telegrams are.
#[derive(Clone, Copy)]
struct Numbers {
    sent: u64,
    stored: u64,
    received: u64,
}

impl Play<'_> {
    fn run(&mut self) -> anyhow::Result<Ending> {
        let what = match &self.stage.meter {
            Some(meter) => {
                meter.begin();
                format!(
                    "The meter of a household begins to send, {} telegrams a second",
                    self.options.rate
                )
            }
            None => format!("Reading the meter at {}", plain(&self.stage.meter_name)),
        };
        self.screen.act(&what);
        let topic = &self.options.mqtt_topic;
        let line = format!(
            "A subscriber of {topic} ({} broker) receives, among others:",
            plain(&self.stage.broker_name)
        );
        self.screen.say(&format!("  {line}"));
        if !self.for_a_while(self.options.before(), false)? {
            return Ok(Ending::Interrupted);
        }

        let outage = self.options.outage();
        self.screen.act(&format!(
            "The broker goes away for {} s: connections are cut, new ones not answered",
            outage.as_secs()
        ));
        self.screen
            .say("  The meter does not stop, so capture goes on storing:");
        // As when its network is gone. An attempt that gets no answer is under way when the broker is back, so that
        // nobody waits for the next one.
        self.stage.proxy.hold();
        self.stage.proxy.cut();
        if !self.for_a_while(outage, true)? {
            return Ok(Ending::Interrupted);
        }
        let backlog = self.numbers()?;
        let waiting = backlog.stored.saturating_sub(backlog.received);

        self.screen
            .act(&format!("The broker is back; {waiting} telegrams wait for it"));
        self.stage.proxy.pass();
        let started = Instant::now();
        if !self.until_caught_up()? {
            return Ok(Ending::Interrupted);
        }
        let caught_up = format!("  Caught up after {:.1} s.", started.elapsed().as_secs_f64());
        self.screen.say(&caught_up);

        if let Some(meter) = &mut self.stage.meter {
            meter.end();
        }
        if !self.until_caught_up()? {
            return Ok(Ending::Interrupted);
        }
        self.count()
    }

    /// Shows what happens, until the time is over or somebody presses Ctrl-C.
    fn for_a_while(&mut self, time: Duration, is_outage: bool) -> anyhow::Result<bool> {
        let started = Instant::now();
        while started.elapsed() < time {
            if self.is_interrupted.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let numbers = self.look()?;
            let left = time.saturating_sub(started.elapsed()).as_secs_f64().ceil();
            self.show(
                numbers,
                &if is_outage {
                    format!("broker back in {left:.0} s")
                } else {
                    String::new()
                },
            );
            thread::sleep(FRAME);
        }
        Ok(true)
    }

    /// Shows what happens, until everything stored has been received.
    fn until_caught_up(&mut self) -> anyhow::Result<bool> {
        let started = Instant::now();
        loop {
            if self.is_interrupted.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let numbers = self.look()?;
            let is_away = numbers.received < numbers.stored && self.stage.proxy.connections() == 0;
            let note = format!("publisher pauses, {} s", started.elapsed().as_secs());
            self.show(numbers, if is_away { &note } else { "" });
            if numbers.received >= numbers.stored && numbers.stored >= numbers.sent {
                return Ok(true);
            }
            if started.elapsed() > RECOVERY {
                // What is missing is in the count.
                return Ok(true);
            }
            thread::sleep(FRAME);
        }
    }

    fn numbers(&mut self) -> anyhow::Result<Numbers> {
        // In this order a telegram on its way makes no number larger than the one before it.
        let received = self.ledger.len() as u64;
        let stored = self.stage.status()?.head;
        let sent = self.stage.meter.as_ref().map_or(stored, |meter| meter.sent());
        Ok(Numbers {
            sent,
            stored,
            received,
        })
    }

    /// Takes what the subscriber has received, and shows a reading a second.
    fn look(&mut self) -> anyhow::Result<Numbers> {
        self.stage.check()?;
        for message in self.stage.subscriber.messages_after(self.messages) {
            self.messages += 1;
            if message.topic == self.options.mqtt_topic {
                self.ledger.take(&message.payload);
            } else if message.topic.ends_with("/availability") {
                let payload = String::from_utf8_lossy(&message.payload);
                let line = plain(&format!("    {}: {payload}", message.topic));
                let line = self.screen.paint(Look::Dim, &line);
                self.screen.say(&line);
            }
        }
        let (at, shown) = self.last_shown.unzip();
        let is_time = at.is_none_or(|at| at.elapsed() > Duration::from_millis(1_500));
        let last = self.ledger.readings().last();
        if let Some((sequence, reading)) = last.filter(|(sequence, _)| is_time && Some(*sequence) != shown) {
            let line = plain(&describe(*sequence, reading));
            self.last_shown = Some((Instant::now(), *sequence));
            self.screen.say(&line);
        }
        self.numbers()
    }

    fn show(&mut self, numbers: Numbers, note: &str) {
        let Numbers {
            sent,
            stored,
            received,
        } = numbers;
        let waiting = stored.saturating_sub(received);
        self.most_waiting = self.most_waiting.max(waiting);
        // What there is room for: the bar and the note matter more than the first two numbers.
        let room = self.screen.width();
        let (text, cells) = match room {
            104.. => (
                format!("sent {sent:>5}  stored {stored:>5}  received {received:>5}  waiting {waiting:>4} "),
                24,
            ),
            70.. => (
                format!("stored {stored:>5}  received {received:>5}  waiting {waiting:>4} "),
                10,
            ),
            _ if note.is_empty() => (format!("waiting {waiting:>4} "), room.saturating_sub(20).min(20)),
            _ => (format!("waiting {waiting:>4} "), 0),
        };
        let bar = self
            .screen
            .paint(Look::Waiting, &bar(waiting, self.most_waiting, cells));
        let note = self.screen.paint(Look::Dim, note);
        let line = format!("{text}{bar} {note}");
        self.screen.live(&line);
    }

    fn count(&mut self) -> anyhow::Result<Ending> {
        let numbers = self.look()?;
        self.screen.end_live();
        let truths = self.stage.meter.as_ref().map(|meter| meter.truths());
        let count = Count::of(numbers.sent, &self.ledger, truths.as_deref());
        self.screen.act("The count");
        count.show(self.screen);
        let said = self.stage.said();
        let took = self.stage.strike();
        if count.is_good() {
            let took: Vec<String> = took
                .iter()
                .map(|(name, took)| format!("{name} in {} ms", took.as_millis()))
                .collect();
            let line = self.screen.paint(Look::Good, "✔ Nothing was lost.");
            self.screen.say("");
            self.screen.say(&format!("  {line} Stopped {}.", took.join(", ")));
            Ok(Ending::NothingLost)
        } else {
            let line = self.screen.paint(Look::Bad, "✘ This must not happen.");
            self.screen.say("");
            self.screen.say(&format!("  {line}"));
            self.screen.complain(&said);
            Ok(Ending::SomethingWrong)
        }
    }
}

/// A reading in a line.
fn describe(sequence: u64, reading: &Value) -> String {
    let time = reading["Date_timestamp"].as_str().unwrap_or("");
    let time = time.get(11..19).unwrap_or(time);
    let number = |key: &str| reading[key].to_string();
    let gas = reading["Gas_readings"][0]["Value_m3"].to_string();
    format!(
        "  #{sequence:<4} {time}  draws {:>6} kW  returns {:>6} kW  tariff {}  gas {:>8} m³",
        number("Actualpower_incoming_kW"),
        number("Actualpower_outgoing_kW"),
        reading["Tarrif_id"]
            .as_str()
            .unwrap_or("-")
            .trim_start_matches('0'),
        if gas == "null" { "-" } else { &gas },
    )
}
