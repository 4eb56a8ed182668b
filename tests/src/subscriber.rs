//! Somebody who subscribes and keeps every message in the order in which it came.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where it was published.
    pub topic: String,
    /// What it carries.
    pub payload: Vec<u8>,
    /// Whether the broker had kept it from before the subscription.
    pub is_retained: bool,
    /// When it came.
    pub at: Instant,
}

impl Received {
    /// The payload as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|error| {
            panic!(
                "{}: not JSON: {error}: {}",
                self.topic,
                String::from_utf8_lossy(&self.payload)
            )
        })
    }
}

/// The subscriber. It connects again when the broker was away, and its session is kept meanwhile, so
/// that it gets what was published in between.
pub struct Subscriber {
    shared: Arc<Shared>,
    client: Client,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<Received>,
    subscriptions: u64,
    last_error: String,
    is_ending: bool,
}

impl Subscriber {
    /// Subscribes to what the filter says, at the broker on this port of this machine, and waits until
    /// the broker has confirmed it.
    pub fn start(port: u16, filter: &str) -> Self {
        Self::start_at("127.0.0.1", port, filter, None)
    }

    /// The same anywhere, with a user's name and password.
    pub fn start_at(host: &str, port: u16, filter: &str, credentials: Option<(&str, &str)>) -> Self {
        Self::try_start_at(host, port, filter, credentials, Duration::from_secs(30))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same where it is not sure that the broker accepts it.
    ///
    /// # Errors
    /// When the broker has not confirmed the subscription within the deadline: the last error.
    pub fn try_start_at(
        host: &str,
        port: u16,
        filter: &str,
        credentials: Option<(&str, &str)>,
        deadline: Duration,
    ) -> Result<Self, String> {
        let id = format!("subscriber-{}-{port}-{:x}", std::process::id(), unique());
        let mut options = MqttOptions::new(id, host, port);
        options
            .set_clean_session(false)
            .set_keep_alive(Duration::from_secs(5));
        options
            .set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES)
            .set_inflight(500);
        if let Some((user, password)) = credentials {
            options.set_credentials(user, password);
        }
        let (client, mut connection) = Client::new(options, 64);
        let shared = Arc::new(Shared::default());
        let listener = thread::spawn({
            let (shared, client, filter) = (Arc::clone(&shared), client.clone(), filter.to_owned());
            move || {
                for event in connection.iter() {
                    let mut state = shared.lock();
                    if state.is_ending {
                        return;
                    }
                    match event {
                        Ok(Event::Incoming(Packet::ConnAck(_))) => {
                            // A broker that was killed may have forgotten the session.
                            drop(client.try_subscribe(&filter, QoS::AtLeastOnce));
                        }
                        Ok(Event::Incoming(Packet::SubAck(_))) => state.subscriptions += 1,
                        Ok(Event::Incoming(Packet::Publish(publish))) => state.messages.push(Received {
                            topic: publish.topic,
                            payload: publish.payload.to_vec(),
                            is_retained: publish.retain,
                            at: Instant::now(),
                        }),
                        Ok(_) => continue,
                        Err(error) => {
                            state.last_error = error.to_string();
                            drop(state);
                            thread::sleep(Duration::from_millis(20));
                            continue;
                        }
                    }
                    drop(state);
                    shared.changed.notify_all();
                }
            }
        });
        let subscriber = Self {
            shared,
            client,
            listener: Some(listener),
        };
        let ends = Instant::now() + deadline;
        let mut state = subscriber.shared.lock();
        while state.subscriptions == 0 {
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!(
                    "{host}:{port} has not confirmed a subscription within {deadline:?}; last error: {:?}",
                    state.last_error
                ));
            }
            let waited = subscriber.shared.changed.wait_timeout(state, left);
            state = waited.expect("the subscriber's lock is not poisoned").0;
        }
        drop(state);
        Ok(subscriber)
    }

    /// All that has come so far.
    pub fn messages(&self) -> Vec<Received> {
        self.shared.lock().messages.clone()
    }

    /// How many have come so far.
    pub fn count(&self) -> usize {
        self.shared.lock().messages.len()
    }

    /// The messages after the first so many.
    pub fn messages_after(&self, count: usize) -> Vec<Received> {
        self.shared
            .lock()
            .messages
            .get(count..)
            .unwrap_or_default()
            .to_vec()
    }

    /// Waits until the messages are as wanted; `look` says what is missing.
    pub fn wait_for<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut look: impl FnMut(&[Received]) -> Result<T, String>,
    ) -> T {
        self.wait(what, deadline, |state| {
            look(&state.messages).map_err(|seen| {
                format!(
                    "{seen} ({} messages, last error {:?})",
                    state.messages.len(),
                    state.last_error
                )
            })
        })
    }

    fn wait<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut look: impl FnMut(&State) -> Result<T, String>,
    ) -> T {
        let ends = Instant::now() + deadline;
        let mut state = self.shared.lock();
        loop {
            let seen = match look(&state) {
                Ok(value) => return value,
                Err(seen) => seen,
            };
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                panic!("waited {deadline:?} for {what}; last seen by the subscriber: {seen}");
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .expect("the subscriber's lock is not poisoned")
                .0;
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Ok(mut state) = self.shared.state.lock() {
            state.is_ending = true;
        }
        drop(self.client.try_disconnect());
        // The listener ends with the next event; it holds nothing that anybody waits for.
        drop(self.listener.take());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the subscriber's lock is not poisoned")
    }
}

fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

const MAX_PACKET_BYTES: usize = 16 * 1024 * 1024;
