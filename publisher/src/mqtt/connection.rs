//! One connection from the attempt to its end, the same for both versions of MQTT.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use shared::config::BrokerAddress;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Command, MqttEvent, MqttSettings, Trouble};
use crate::delivery::{Fault, WINDOW_MESSAGES};

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(300);
/// Requests that the library may hold: all that delivery has outstanding, and the goodbye.
pub(super) const REQUESTS: usize = WINDOW_MESSAGES + 8;

/// A version of MQTT, as the library implements it.
pub(super) trait Protocol {
    /// Takes requests.
    type Client;
    /// Does the work.
    type Loop;

    /// For log lines.
    const NAME: &'static str;

    fn open(settings: &MqttSettings, broker: &BrokerAddress) -> (Self::Client, Self::Loop);

    /// The next thing that happened. Connects when it is called first.
    fn poll(connection: &mut Self::Loop) -> impl Future<Output = Result<Happening, Trouble>>;

    /// What happened with what [`Protocol::poll`] told, and what had been received before it failed.
    fn leftovers(connection: &mut Self::Loop) -> Vec<Happening>;

    /// Queues a message, QoS 1. False where the library takes no more.
    fn publish(
        client: &Self::Client,
        topic: &str,
        is_retained: bool,
        payload: Bytes,
    ) -> impl Future<Output = bool>;

    fn say_goodbye(client: &Self::Client) -> bool;
}

/// What happened on a connection.
#[derive(Debug)]
pub(super) enum Happening {
    /// The broker accepted it.
    Greeted {
        receive_maximum: u16,
        largest_packet: Option<u32>,
    },
    /// The next of the queued messages has been given a packet id and written.
    Sent { packet_id: u16 },
    /// PUBACK.
    Answered {
        packet_id: u16,
        verdict: Result<(), (Fault, String)>,
    },
    /// The goodbye has been written.
    SaidGoodbye,
    /// Nothing of interest, such as a ping.
    Nothing,
}

/// How a connection ended.
pub(super) enum Ended {
    /// It never began.
    Failed(Trouble),
    /// It was there and is gone.
    Lost {
        trouble: Trouble,
        has_acknowledged: bool,
    },
    /// As wanted, and the thread with it.
    Finished,
    /// As wanted, for the time being.
    Left,
}

/// Connects, and serves commands until the connection ends.
pub(super) async fn keep<P: Protocol>(
    settings: &MqttSettings,
    broker: &BrokerAddress,
    number: u64,
    commands: &mut mpsc::Receiver<Command>,
    report: &mut impl FnMut(MqttEvent),
) -> Ended {
    let (client, mut connection) = P::open(settings, broker);
    let mut life = Life::new(settings, broker, number, P::NAME);
    let mut goodbye: Option<Goodbye> = None;
    loop {
        // A poll that is dropped half way can lose a message that was just taken from the requests,
        // so it is kept alive while commands are served.
        let polled = {
            let poll = P::poll(&mut connection);
            tokio::pin!(poll);
            loop {
                tokio::select! {
                    biased;
                    command = commands.recv(), if goodbye.is_none() => {
                        let ending = match command {
                            Some(Command::Publish { connection, message }) if connection == number => {
                                let Some(topic) = settings.topics.of(message.kind) else { continue };
                                let is_retained = message.kind.is_retained();
                                life.queued.push_back(message.id);
                                if !P::publish(&client, topic, is_retained, message.payload).await {
                                    let words = "the MQTT library takes no more messages";
                                    return life.lost(Trouble::other(broker, words));
                                }
                                continue;
                            }
                            Some(Command::Abandon { connection, reason }) if connection == number => {
                                return life.lost(Trouble::other(broker, reason));
                            }
                            Some(Command::Connect | Command::Publish { .. } | Command::Abandon { .. }) => continue,
                            Some(Command::Leave) => Goodbye::until_connect(),
                            Some(Command::Finish) => Goodbye::for_good(),
                            None => return Ended::Finished,
                        };
                        if !life.is_greeted || !P::say_goodbye(&client) {
                            return ending.ended();
                        }
                        goodbye = Some(ending);
                    },
                    polled = &mut poll => break polled,
                    ended = over(goodbye.as_ref()) => return ended,
                }
            }
        };
        match polled {
            Ok(happening) => {
                let others = P::leftovers(&mut connection);
                life.take_all(std::iter::once(happening).chain(others), report);
                if life.has_said_goodbye {
                    return goodbye.map_or(Ended::Finished, |goodbye| goodbye.ended());
                }
            }
            Err(trouble) => {
                life.take_all(P::leftovers(&mut connection), report);
                return match goodbye {
                    Some(goodbye) => goodbye.ended(),
                    None => life.lost(trouble),
                };
            }
        }
    }
}

/// A goodbye under way.
struct Goodbye {
    until: Instant,
    is_for_good: bool,
}

impl Goodbye {
    fn for_good() -> Self {
        Self {
            until: Instant::now() + GOODBYE,
            is_for_good: true,
        }
    }

    fn until_connect() -> Self {
        Self {
            is_for_good: false,
            ..Self::for_good()
        }
    }

    fn ended(&self) -> Ended {
        if self.is_for_good {
            Ended::Finished
        } else {
            Ended::Left
        }
    }
}

/// When the goodbye has taken too long; never without one.
async fn over(goodbye: Option<&Goodbye>) -> Ended {
    match goodbye {
        Some(goodbye) => {
            tokio::time::sleep_until(goodbye.until).await;
            goodbye.ended()
        }
        None => std::future::pending().await,
    }
}

/// What is known of a connection while it lasts.
struct Life<'a> {
    settings: &'a MqttSettings,
    broker: &'a BrokerAddress,
    number: u64,
    version: &'static str,
    is_greeted: bool,
    has_acknowledged: bool,
    has_said_goodbye: bool,
    /// Acknowledged, and not reported yet.
    acknowledged: Vec<u64>,
    /// Messages that have no packet id yet, in the order in which they will be given one.
    queued: VecDeque<u64>,
    /// Messages by the packet id that they were sent under.
    sent: HashMap<u16, u64>,
}

impl<'a> Life<'a> {
    fn new(
        settings: &'a MqttSettings,
        broker: &'a BrokerAddress,
        number: u64,
        version: &'static str,
    ) -> Self {
        Self {
            settings,
            broker,
            number,
            version,
            is_greeted: false,
            has_acknowledged: false,
            has_said_goodbye: false,
            acknowledged: Vec::new(),
            queued: VecDeque::new(),
            sent: HashMap::new(),
        }
    }

    /// Takes what happened together, and reports what was acknowledged together: each report may wake who hears it.
    fn take_all(
        &mut self,
        happenings: impl IntoIterator<Item = Happening>,
        report: &mut impl FnMut(MqttEvent),
    ) {
        for happening in happenings {
            self.take(happening, report);
        }
        self.report_acknowledged(report);
    }

    fn report_acknowledged(&mut self, report: &mut impl FnMut(MqttEvent)) {
        if !self.acknowledged.is_empty() {
            let ids = std::mem::take(&mut self.acknowledged);
            report(MqttEvent::Acknowledged { ids });
        }
    }

    fn take(&mut self, happening: Happening, report: &mut impl FnMut(MqttEvent)) {
        match happening {
            Happening::Greeted {
                receive_maximum,
                largest_packet,
            } => {
                self.is_greeted = true;
                // What a PUBLISH needs beside its payload: a header of at most five bytes, the topic
                // with its length, the packet id, and under MQTT 5 the length of no properties.
                let overhead = 5 + 2 + self.settings.topics.longest() + 2 + 1;
                report(MqttEvent::Connected {
                    connection: self.number,
                    broker: address(self.broker),
                    version: self.version,
                    receive_maximum: receive_maximum.min(WINDOW_MESSAGES as u16),
                    largest_payload: largest_packet.map(|bytes| {
                        usize::try_from(bytes)
                            .unwrap_or(usize::MAX)
                            .saturating_sub(overhead)
                    }),
                });
            }
            Happening::Sent { packet_id } => {
                if let Some(id) = self.queued.pop_front() {
                    self.sent.insert(packet_id, id);
                }
            }
            Happening::Answered { packet_id, verdict } => {
                let Some(id) = self.sent.remove(&packet_id) else {
                    tracing::debug!(
                        "{}: PUBACK of unknown packet id {packet_id}",
                        address(self.broker)
                    );
                    return;
                };
                match verdict {
                    Ok(()) => {
                        self.has_acknowledged = true;
                        self.acknowledged.push(id);
                    }
                    Err((fault, reason)) => {
                        // In the order in which the broker answered.
                        self.report_acknowledged(report);
                        report(MqttEvent::Rejected { id, fault, reason });
                    }
                }
            }
            Happening::SaidGoodbye => self.has_said_goodbye = true,
            Happening::Nothing => {}
        }
    }

    fn lost(&self, trouble: Trouble) -> Ended {
        if self.is_greeted {
            Ended::Lost {
                trouble: trouble.after_greeting(),
                has_acknowledged: self.has_acknowledged,
            }
        } else {
            Ended::Failed(trouble)
        }
    }
}

/// `localhost:1883`, as in the configuration.
pub(super) fn address(broker: &BrokerAddress) -> String {
    if broker.host.contains(':') {
        format!("[{}]:{}", broker.host, broker.port)
    } else {
        format!("{}:{}", broker.host, broker.port)
    }
}
