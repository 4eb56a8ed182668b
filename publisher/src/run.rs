//! `publisher run`: the threads, what connects them, and the end.
//!
//! ```text
//!  source thread ──┐                     ┌──► source thread (read, commit, report)
//!  mqtt thread   ──┼──► flow (this one) ─┤
//!  signals       ──┘                     └──► mqtt thread (publish, give up, goodbye)
//! ```
//!
//! This thread never waits for the other two, so they may wait for it: that is what slows them down.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sd_notify::NotifyState;
use shared::config::Config;
use shared::exit::Exit;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::flow::{Flow, FlowEvent, Now, Order};
use crate::mqtt::{Command, Mqtt, MqttEvent};
use crate::settings::{self, SettingsError};
use crate::source::{Source, SourceCommand, SourceEvent};

/// Events on their way to this thread; the threads that send them wait when it is full.
const EVENTS: usize = 256;
/// After a signal: for the broker to acknowledge what is under way and the word `offline`.
const LAST_WORDS: Duration = Duration::from_millis(350);
/// After that: for the goodbye and the last commit. Together with the above less than a second.
const GOODBYE: Duration = Duration::from_millis(600);
/// The service manager hears this often that the flow goes on; the flow is due every 20 s at the latest.
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Why the publisher does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file that the configuration names does not do.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The system gives no thread, no event queue or no signals.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// A thread has ended on its own: a mistake in this program.
    #[error("{0}")]
    Stuck(String),
}

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// Where it cannot start. Brokers and captures that are away are no errors: they are waited for.
pub fn run(config: &Config) -> Result<Exit, RunError> {
    let (mqtt_settings, warnings) = settings::mqtt(&config.mqtt)?;
    let (keys, of_keys) = settings::keys(&config.decryption)?;
    for warning in warnings.iter().chain(&of_keys) {
        tracing::warn!("{warning}");
    }
    let (events, received) = sync_channel(EVENTS);
    let signalled = events.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if signalled.send(FlowEvent::Finish).is_err() {
                return;
            }
        }
    })?;
    let of_source = events.clone();
    let source = Source::start(settings::source(config), move |event| {
        // Nobody listens any longer when the program ends.
        let _ = of_source.send(FlowEvent::Source(event));
    })?;
    let mqtt = Mqtt::start(mqtt_settings, move |event| {
        let _ = events.send(FlowEvent::Mqtt(event));
    })?;
    let started = Instant::now();
    let flow = Flow::new(settings::flow(config, keys), now(started));
    Running {
        flow,
        source,
        mqtt,
        received,
        started,
    }
    .run()
}

struct Running {
    flow: Flow,
    source: Source,
    mqtt: Mqtt,
    received: Receiver<FlowEvent>,
    started: Instant,
}

impl Running {
    fn run(mut self) -> Result<Exit, RunError> {
        notify(&[NotifyState::Ready]);
        let mut orders = Vec::new();
        let mut told_alive = Instant::now();
        loop {
            let due = self.started + self.flow.deadline();
            let event = match self
                .received
                .recv_timeout(due.saturating_duration_since(Instant::now()))
            {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => FlowEvent::Tick,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(RunError::Stuck("all threads have ended".to_owned()));
                }
            };
            let is_finish = matches!(event, FlowEvent::Finish);
            if told_alive.elapsed() >= ALIVE_INTERVAL {
                told_alive = Instant::now();
                notify(&[NotifyState::Watchdog]);
            }
            self.handle(event, &mut orders)?;
            if Instant::now() >= due {
                self.handle(FlowEvent::Tick, &mut orders)?;
            }
            if is_finish {
                return self.finish(&mut orders);
            }
        }
    }

    fn handle(&mut self, event: FlowEvent, orders: &mut Vec<Order>) -> Result<(), RunError> {
        self.flow.handle(now(self.started), event, orders);
        let mut of_source = Vec::new();
        for order in orders.drain(..) {
            match order {
                Order::Source(command) => of_source.push(command),
                Order::Mqtt(command) => {
                    let told = self.mqtt.tell(command);
                    told.map_err(|stuck| RunError::Stuck(stuck.to_string()))?;
                }
            }
        }
        if of_source.is_empty() {
            return Ok(());
        }
        let told = self.source.tell(of_source);
        told.map_err(|stuck| RunError::Stuck(stuck.to_string()))
    }

    /// Says offline, says goodbye, commits what was acknowledged, all within a second. What is not
    /// acknowledged by then is sent again next time.
    fn finish(mut self, orders: &mut Vec<Order>) -> Result<Exit, RunError> {
        tracing::info!("stopping");
        notify(&[NotifyState::Stopping]);
        let deadline = Instant::now() + LAST_WORDS;
        while !self.flow.is_quiet() {
            match self
                .received
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(event) => self.handle(event, orders)?,
                Err(_) => break,
            }
        }
        // Without a goodbye the broker publishes the will, which says what could not be said.
        let mut is_mqtt_done = !self.flow.is_quiet();
        if !is_mqtt_done {
            is_mqtt_done = self.mqtt.tell(Command::Finish).is_err();
        }
        let mut is_source_done = self.source.tell([SourceCommand::Finish]).is_err();
        let deadline = Instant::now() + GOODBYE;
        while !(is_mqtt_done && is_source_done) {
            match self
                .received
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(FlowEvent::Mqtt(MqttEvent::Finished)) => is_mqtt_done = true,
                Ok(FlowEvent::Source(SourceEvent::Finished)) => is_source_done = true,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Ok(Exit::Done)
    }
}

fn now(started: Instant) -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        elapsed: started.elapsed(),
        unix_us: i64::try_from(unix.as_micros()).unwrap_or(i64::MAX),
    }
}

/// Tells the service manager, where there is one that wants to know.
fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}
