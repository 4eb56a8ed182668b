//! A TCP proxy in front of a broker: it keeps its port while the broker is away, cuts, refuses, holds
//! and delays on request, and records every message that the broker has acknowledged.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::mqtt::{self, Packets, Publish};

/// The proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What it does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Carries them to the broker.
    Pass,
    /// Closes every new one at once, as a machine does on which nothing listens.
    Refuse,
    /// Takes bytes from both sides and carries none of them.
    Hold,
}

/// What it has seen.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// Messages whose PUBACK has come from the broker, in the order of the PUBACKs.
    pub acknowledged: Vec<Publish>,
    /// Messages that went to the broker, acknowledged or not.
    pub published: u64,
    /// Connections that were carried, and the version of MQTT that each asked for.
    pub versions: Vec<u8>,
    /// Connections that were refused.
    pub refused: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    target: (String, u16),
    mode: Mode,
    delay: Duration,
    swallows_acknowledgements: bool,
    is_ending: bool,
    connections: HashMap<u64, [TcpStream; 2]>,
    recording: Recording,
}

impl Proxy {
    /// One in front of whatever listens on this port of this machine.
    pub fn to(target: u16) -> Self {
        Self::to_host(&Ipv4Addr::LOCALHOST.to_string(), target)
    }

    /// One in front of whatever listens on this port of that machine.
    pub fn to_host(host: &str, port: u16) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of this machine can be listened on");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                target: (host.to_owned(), port),
                mode: Mode::Pass,
                delay: Duration::ZERO,
                swallows_acknowledgements: false,
                is_ending: false,
                connections: HashMap::new(),
                recording: Recording::default(),
            }),
            changed: Condvar::new(),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Host and port of what it stands in front of.
    pub fn target(&self) -> (String, u16) {
        self.shared.lock().target.clone()
    }

    /// Carries new connections again.
    pub fn pass(&self) {
        self.change(|state| state.mode = Mode::Pass);
    }

    /// Cuts what is connected and closes every new connection at once.
    pub fn refuse(&self) {
        self.change(|state| state.mode = Mode::Refuse);
        self.cut();
    }

    /// Leaves connections open and carries nothing.
    pub fn hold(&self) {
        self.change(|state| state.mode = Mode::Hold);
    }

    /// Cuts what is connected now.
    pub fn cut(&self) {
        self.change(|state| {
            for ends in state.connections.values() {
                // One that has gone by itself is as gone as it should be.
                ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
            }
        });
    }

    /// Carries every byte this much later, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.change(|state| state.delay = delay);
    }

    /// Keeps the broker's PUBACKs to itself, and carries all else.
    pub fn swallow_acknowledgements(&self, swallows: bool) {
        self.change(|state| state.swallows_acknowledgements = swallows);
    }

    /// Carries new connections to this port of this machine.
    pub fn set_target(&self, port: u16) {
        self.change(|state| state.target.1 = port);
    }

    /// How many connections it carries now.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections.len()
    }

    /// What it has seen so far.
    pub fn recording(&self) -> Recording {
        self.shared.lock().recording.clone()
    }

    /// Waits until the recording is as wanted; `look` says what is missing.
    pub fn wait_for<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut look: impl FnMut(&Recording) -> Result<T, String>,
    ) -> T {
        let ends = Instant::now() + deadline;
        let mut state = self.shared.lock();
        loop {
            let seen = match look(&state.recording) {
                Ok(value) => return value,
                Err(seen) => seen,
            };
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                panic!("waited {deadline:?} for {what}; last seen by the proxy: {seen}");
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .expect("the proxy's lock is not poisoned")
                .0;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| state.is_ending = true);
        self.cut();
        // The acceptor waits for a connection: this is one.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the proxy's lock is not poisoned")
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for number in 0.. {
        let Ok((client, _)) = listener.accept() else {
            continue;
        };
        let (target, mode) = {
            let state = shared.lock();
            if state.is_ending {
                return;
            }
            (state.target.clone(), state.mode)
        };
        let broker = if mode == Mode::Refuse {
            None
        } else {
            TcpStream::connect((target.0.as_str(), target.1)).ok()
        };
        let Some(broker) = broker else {
            shared.lock().recording.refused += 1;
            shared.changed.notify_all();
            // A reset in place of an orderly end.
            let _ = sockopt::set_socket_linger(&client, Some(Duration::ZERO));
            continue;
        };
        if carry(number, client, broker, shared).is_err() {
            shared.lock().connections.remove(&number);
        }
    }
}

fn carry(number: u64, client: TcpStream, broker: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let ends = [client.try_clone()?, broker.try_clone()?];
    {
        let mut state = shared.lock();
        state.connections.insert(number, ends);
    }
    let session = Arc::new(Mutex::new(Session::default()));
    let (from_client, to_broker) = (client.try_clone()?, broker.try_clone()?);
    thread::spawn({
        let (shared, session) = (Arc::clone(shared), Arc::clone(&session));
        move || {
            pump(
                number,
                from_client,
                to_broker,
                Direction::ToBroker,
                &shared,
                &session,
            )
        }
    });
    thread::spawn({
        let shared = Arc::clone(shared);
        move || pump(number, broker, client, Direction::ToClient, &shared, &session)
    });
    Ok(())
}

/// What one connection has under way.
#[derive(Debug, Default)]
struct Session {
    version: u8,
    unacknowledged: HashMap<u16, Publish>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToBroker,
    ToClient,
}

fn pump(
    number: u64,
    mut from: TcpStream,
    to: TcpStream,
    direction: Direction,
    shared: &Arc<Shared>,
    session: &Mutex<Session>,
) {
    let (sender, receiver) = mpsc::sync_channel(1_024);
    let writer = to
        .try_clone()
        .map(|to| thread::spawn(move || write_when_due(to, &receiver)));
    let mut packets = Packets::default();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let mut state = shared.lock();
        while state.mode == Mode::Hold && !state.is_ending && state.connections.contains_key(&number) {
            state = shared
                .changed
                .wait_timeout(state, Duration::from_millis(100))
                .expect("not poisoned")
                .0;
        }
        let mut session = session.lock().expect("the session's lock is not poisoned");
        let mut forward = Vec::with_capacity(length);
        for packet in packets.push(&buffer[..length]) {
            match (direction, packet.kind()) {
                (Direction::ToBroker, mqtt::CONNECT) => {
                    session.version = packet.connect_version().unwrap_or(0);
                    let version = session.version;
                    state.recording.versions.push(version);
                }
                (Direction::ToBroker, mqtt::PUBLISH) => {
                    state.recording.published += 1;
                    if let Some(publish) = packet.publish(session.version) {
                        session.unacknowledged.insert(publish.packet_id, publish);
                    }
                }
                (Direction::ToClient, mqtt::PUBACK) => {
                    if state.swallows_acknowledgements {
                        continue;
                    }
                    if let Some(publish) = packet
                        .acknowledges()
                        .and_then(|id| session.unacknowledged.remove(&id))
                    {
                        state.recording.acknowledged.push(publish);
                    }
                }
                _ => {}
            }
            forward.extend_from_slice(&packet.bytes);
        }
        let due = Instant::now() + state.delay;
        drop((state, session));
        shared.changed.notify_all();
        if sender.send((due, forward)).is_err() {
            break;
        }
    }
    drop(sender);
    // What is under way is still delivered; then both ends are closed.
    if let Ok(writer) = writer {
        drop(writer.join());
    }
    for end in [&from, &to] {
        drop(end.shutdown(Shutdown::Both));
    }
    shared.lock().connections.remove(&number);
    shared.changed.notify_all();
}

fn write_when_due(mut to: TcpStream, chunks: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((due, chunk)) = chunks.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&chunk).is_err() {
            return;
        }
    }
}
