//! The connection to the broker: a thread of its own that connects, publishes what it is told to,
//! and says what the broker answered. It holds no message and takes no decision about one: those are
//! delivery's.
//!
//! Invariants:
//!
//! * There is no connection before [`Command::Connect`] and none after [`Command::Leave`]: a broker ends
//!   the connection of another client with the same id, so whoever asks must be the one to have it.
//! * Every connection has a client of its own, so that nothing asked of one connection can turn up on
//!   the next. Commands name the connection they are for; those for a former one are dropped.
//! * Sessions are clean: what the broker has not acknowledged is sent again by delivery, not by the
//!   MQTT library.
//! * Only PUBACK counts, under MQTT 5 only with the reasons success and no-matching-subscribers.
//!   Acknowledgements that came in just before a connection was lost count too.
//! * What the broker sends is bounded before it is read, and whatever was not asked for ends the connection.
//! * Only acknowledged readings or summaries are progress. After progress the same broker is tried first, after the
//!   shortest pause. A broker that ends the connection without progress, or has none, is left for the next of the list.
//! * Names are resolved at every attempt, and their addresses raced.

mod connection;
mod incoming;
mod probe;
mod tls;
mod transport;
mod trouble;
mod version311;
mod version5;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use shared::backoff::Backoff;
use shared::config::{BrokerAddress, BrokerOrder, MqttVersion, key};
use tokio::sync::mpsc;
use zeroize::Zeroize;

use crate::delivery::{Fault, Kind, Message, WINDOW_MESSAGES};

pub use connection::address;
pub use probe::{Probed, Trial, probe};
pub use tls::{TlsError, TlsFiles, configure as configure_tls};
pub use trouble::{Cause, Trouble};

use connection::Ended;

/// A connection attempt takes at most this long, from the name to the broker's answer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A broker that says nothing for twice this long is gone.
pub const KEEP_ALIVE: Duration = Duration::from_secs(20);

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Commands under way to the thread: more than delivery ever has outstanding on two connections.
const COMMANDS: usize = 4 * WINDOW_MESSAGES;

/// Reads what a broker sends from its answer to CONNECT on: how many packets were understood, and what ends the
/// connection, if anything does. The packets of `--check --deliver` count as asked for.
pub fn understood(settings: &MqttSettings, broker: &BrokerAddress, bytes: &[u8]) -> (usize, Option<Trouble>) {
    match settings.version {
        MqttVersion::V311 => connection::understood::<version311::Version311>(settings, broker, bytes),
        MqttVersion::Auto | MqttVersion::V5 => {
            connection::understood::<version5::Version5>(settings, broker, bytes)
        }
    }
}

/// Who to connect to, as whom, and where messages go.
#[derive(Clone)]
pub struct MqttSettings {
    /// Brokers to try in turn; not empty.
    pub brokers: Vec<BrokerAddress>,
    /// Whether they are tried as they are listed.
    pub order: BrokerOrder,
    /// Which version to speak.
    pub version: MqttVersion,
    /// How the broker knows this client; one connection at a time for each. May hold [`key::QUEUE`].
    pub client_id: String,
    /// User and password.
    pub login: Option<Login>,
    /// For brokers with TLS; none where no broker has it.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// What the broker publishes when this client vanishes.
    pub will: Option<Will>,
    /// The topic of each kind of message.
    pub topics: Topics,
}

/// User and password for the broker. This password is cleared from memory when it is no longer used. The copies that
/// the MQTT crate makes for each connection are not, nor is what rustls keeps of a client's key: neither lets us.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl Drop for Login {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What the broker publishes when this client vanishes, QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: String,
    /// Whether it is kept for later subscribers.
    pub is_retained: bool,
}

/// The topic of each kind of message; none where that kind is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Of the readings.
    pub readings: String,
    /// Of the summaries.
    pub summary: Option<String>,
    /// Of the state.
    pub state: Option<String>,
    /// Of availability.
    pub availability: Option<String>,
}

impl Topics {
    /// Where messages of this kind go.
    pub fn of(&self, kind: Kind) -> Option<&str> {
        match kind {
            Kind::Readings => Some(&self.readings),
            Kind::Summary => self.summary.as_deref(),
            Kind::State => self.state.as_deref(),
            Kind::Availability => self.availability.as_deref(),
        }
    }

    fn longest(&self) -> usize {
        [
            Some(&self.readings),
            self.summary.as_ref(),
            self.state.as_ref(),
            self.availability.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(String::len)
        .max()
        .unwrap_or(0)
    }
}

/// What the thread is told.
#[derive(Debug)]
pub enum Command {
    /// From now on keep a connection.
    Connect {
        /// The queue's identity, for the client identifier; none while it is not known.
        queue: Option<String>,
    },
    /// Say goodbye, so that the will is not published, and keep no connection until the next
    /// [`Command::Connect`]. Answered by [`MqttEvent::Left`].
    Leave,
    /// Publish, unless that connection is gone.
    Publish {
        /// On which connection.
        connection: u64,
        /// What.
        message: Message,
    },
    /// Give that connection up, without a goodbye, so that the will is published.
    Abandon {
        /// Which connection.
        connection: u64,
        /// Why, for the [`MqttEvent::Lost`] that follows.
        reason: String,
    },
    /// Say goodbye, so that the will is not published, and end the thread.
    Finish,
}

/// What happened.
#[derive(Debug)]
pub enum MqttEvent {
    /// The broker has accepted a connection.
    Connected {
        /// Number of the connection, rising.
        connection: u64,
        /// `localhost:1883`.
        broker: String,
        /// `MQTT 5`.
        version: &'static str,
        /// How many unacknowledged messages the broker takes.
        receive_maximum: u16,
        /// The largest payload it takes, in bytes; none where it names no bound.
        largest_payload: Option<usize>,
        /// Whether it keeps retained messages.
        takes_retained: bool,
    },
    /// The broker's side is taking what it was sent, and there is more for it to take.
    Taken {
        /// So many bytes.
        bytes: usize,
        /// In this time.
        within: Duration,
    },
    /// Messages that the broker cannot have, since it was not sent the end of them. A [`MqttEvent::Lost`] follows.
    Unsent {
        /// Which.
        ids: Vec<u64>,
    },
    /// PUBACK with success.
    Acknowledged {
        /// Of which messages: those whose PUBACK came together.
        ids: Vec<u64>,
    },
    /// PUBACK with another reason.
    Rejected {
        /// Of which message.
        id: u64,
        /// Whose fault it is.
        fault: Fault,
        /// The reason in words.
        reason: String,
    },
    /// A connection is gone.
    Lost(Trouble),
    /// An attempt failed; the next follows after a pause.
    Failed(Trouble),
    /// There is no connection any longer, after [`Command::Leave`].
    Left,
    /// The thread has ended after [`Command::Finish`].
    Finished,
}

/// The running thread. When it is dropped the thread ends without a goodbye.
#[derive(Debug)]
pub struct Mqtt {
    commands: mpsc::Sender<Command>,
}

/// The thread has ended, or does not take commands any longer.
#[derive(Debug, thiserror::Error)]
#[error("the thread that keeps the MQTT connection does not take commands any longer")]
pub struct Stuck;

impl Mqtt {
    /// Starts the thread, which waits for [`Command::Connect`]. `report` is called on it for every event,
    /// and may block to slow it down.
    ///
    /// # Errors
    /// Where the system gives no thread or no event queue.
    pub fn start(
        settings: MqttSettings,
        report: impl FnMut(MqttEvent) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (commands, received) = mpsc::channel(COMMANDS);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new().name("mqtt".to_owned()).spawn(move || {
            let keeper = Keeper {
                client_id: settings.client_id.clone(),
                settings,
                report,
                commands: received,
                connection: 0,
                without_retain: Vec::new(),
            };
            runtime.block_on(keeper.run());
            // Looking up a name cannot be interrupted, and must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(Self { commands })
    }

    /// Hands a command over without waiting.
    ///
    /// # Errors
    /// [`Stuck`]; the command is lost.
    pub fn tell(&self, command: Command) -> Result<(), Stuck> {
        self.commands.try_send(command).map_err(|_| Stuck)
    }
}

/// What the thread keeps between connections.
struct Keeper<R> {
    /// As configured; in the settings it is as the broker knows it.
    client_id: String,
    settings: MqttSettings,
    report: R,
    commands: mpsc::Receiver<Command>,
    connection: u64,
    /// Brokers that have refused a will because it is retained.
    without_retain: Vec<BrokerAddress>,
}

impl<R: FnMut(MqttEvent)> Keeper<R> {
    async fn run(mut self) {
        if self.settings.order == BrokerOrder::Random {
            shuffle(&mut self.settings.brokers);
        }
        while self.wait_to_connect().await && self.keep_connected().await {
            (self.report)(MqttEvent::Left);
        }
        (self.report)(MqttEvent::Finished);
    }

    /// False where the thread is to end.
    async fn wait_to_connect(&mut self) -> bool {
        loop {
            match self.commands.recv().await {
                Some(Command::Connect { queue }) => {
                    let queue = queue.unwrap_or_else(|| format!("{:08x}", crate::jitter::random()));
                    self.settings.client_id = client_id(&self.client_id, &queue);
                    return true;
                }
                Some(Command::Finish) | None => return false,
                Some(Command::Leave | Command::Publish { .. } | Command::Abandon { .. }) => {}
            }
        }
    }

    /// Connects, and connects again, until it is told to leave; false where the thread is to end.
    async fn keep_connected(&mut self) -> bool {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        let mut turn = Turn::new(self.settings.brokers.len());
        loop {
            let Some(broker) = self.settings.brokers.get(turn.broker()).cloned() else {
                return false;
            };
            let ended = self.connect(&broker, &mut turn).await;
            let mut is_pause_due = false;
            let trouble = match ended {
                Ended::Finished => return false,
                Ended::Left => return true,
                Ended::Failed(trouble) => {
                    (self.report)(MqttEvent::Failed(trouble.clone()));
                    trouble
                }
                Ended::Lost {
                    trouble,
                    has_progressed,
                } => {
                    if has_progressed {
                        backoff.reset();
                        turn.stay();
                        is_pause_due = true;
                    }
                    (self.report)(MqttEvent::Lost(trouble.clone()));
                    trouble
                }
            };
            tracing::debug!("{trouble}");
            if !is_pause_due && !turn.next() {
                continue;
            }
            let delay = backoff.next_delay(crate::jitter::random());
            match self.pause(delay).await {
                Paused::Over => {}
                Paused::Left => return true,
                Paused::Finished => return false,
            }
        }
    }

    /// One attempt, with MQTT 5 first where the version is `auto`, and the connection that comes of it.
    async fn connect(&mut self, broker: &BrokerAddress, turn: &mut Turn) -> Ended {
        let version = self.settings.version;
        if version == MqttVersion::V311 || (version == MqttVersion::Auto && turn.begins_with_311()) {
            let ended = self.keep::<version311::Version311>(broker).await;
            if matches!(&ended, Ended::Failed(trouble) if trouble.cause == Cause::TimedOut) {
                turn.swap_versions();
            }
            return ended;
        }
        let ended = self.keep::<version5::Version5>(broker).await;
        let Ended::Failed(trouble) = &ended else {
            return ended;
        };
        if version != MqttVersion::Auto {
            return ended;
        }
        match trouble.cause {
            // It may not know MQTT 5: brokers that do not refuse it in words close the connection.
            Cause::Version | Cause::Unanswered => {
                let first = trouble.clone();
                match self.keep::<version311::Version311>(broker).await {
                    Ended::Failed(second) => {
                        Ended::Failed(Trouble::of_both(first, second, self.settings.will.as_ref()))
                    }
                    ended => ended,
                }
            }
            // Or they say nothing at all, which takes too long to try both each time.
            Cause::TimedOut => {
                turn.swap_versions();
                ended
            }
            _ => ended,
        }
    }

    async fn keep<P: connection::Protocol>(&mut self, broker: &BrokerAddress) -> Ended {
        let ended = self.keep_with_will::<P>(broker).await;
        let is_retain_refused = matches!(&ended, Ended::Failed(trouble) if trouble.cause == Cause::Retain);
        let has_retained_will = self.settings.will.as_ref().is_some_and(|will| will.is_retained);
        if !is_retain_refused || !has_retained_will || self.without_retain.contains(broker) {
            return ended;
        }
        tracing::warn!(
            "{}: the broker keeps no retained messages: subscribers that come later do not learn that this publisher \
             has gone",
            connection::address(broker)
        );
        self.without_retain.push(broker.clone());
        self.keep_with_will::<P>(broker).await
    }

    async fn keep_with_will<P: connection::Protocol>(&mut self, broker: &BrokerAddress) -> Ended {
        self.connection += 1;
        let will = self.settings.will.clone().map(|will| Will {
            is_retained: will.is_retained && !self.without_retain.contains(broker),
            ..will
        });
        connection::keep::<P>(
            &self.settings,
            broker,
            will.as_ref(),
            self.connection,
            &mut self.commands,
            &mut self.report,
        )
        .await
    }

    async fn pause(&mut self, delay: Duration) -> Paused {
        let pause = tokio::time::sleep(delay);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return Paused::Over,
                command = self.commands.recv() => match command {
                    Some(Command::Finish) | None => return Paused::Finished,
                    Some(Command::Leave) => return Paused::Left,
                    Some(Command::Connect { .. } | Command::Publish { .. } | Command::Abandon { .. }) => {}
                },
            }
        }
    }
}

/// The client identifier of a publisher of this queue.
pub fn client_id(configured: &str, queue: &str) -> String {
    configured.replace(key::QUEUE, queue)
}

/// Fisher and Yates.
fn shuffle(brokers: &mut [BrokerAddress]) {
    for last in (1..brokers.len()).rev() {
        let other = crate::jitter::random() as usize % (last + 1);
        brokers.swap(last, other);
    }
}

/// How a pause ended.
enum Paused {
    Over,
    Left,
    Finished,
}

/// Whose turn it is among the brokers, and which version to begin with.
struct Turn {
    brokers: usize,
    broker: usize,
    tried: usize,
    begins_with_311: bool,
}

impl Turn {
    fn new(brokers: usize) -> Self {
        Self {
            brokers,
            broker: 0,
            tried: 0,
            begins_with_311: false,
        }
    }

    fn broker(&self) -> usize {
        self.broker
    }

    fn begins_with_311(&self) -> bool {
        self.begins_with_311
    }

    fn swap_versions(&mut self) {
        self.begins_with_311 = !self.begins_with_311;
    }

    /// After a connection that did its work its broker is the first choice.
    fn stay(&mut self) {
        self.tried = 0;
        self.begins_with_311 = false;
    }

    /// Goes on to the next broker. True where all have been tried and a pause is due.
    fn next(&mut self) -> bool {
        self.broker = (self.broker + 1) % self.brokers.max(1);
        self.tried += 1;
        if self.tried >= self.brokers {
            self.tried = 0;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_random_order_many_clients_spread_over_the_list() {
        let broker = |port| BrokerAddress {
            host: "broker".to_owned(),
            port,
            is_tls: false,
        };
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut brokers: Vec<BrokerAddress> = (0..5).map(broker).collect();
            shuffle(&mut brokers);
            firsts.insert(brokers[0].port);
            brokers.sort_by_key(|broker| broker.port);
            assert_eq!(brokers, (0..5).map(broker).collect::<Vec<_>>());
        }
        assert_eq!(firsts.len(), 5, "each is somebody's first");
    }
}
