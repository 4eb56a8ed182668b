//! `capture run`: opens the queue, serves it, reads the meter, and stops in order.
//!
//! ```text
//!   intake ──► (of a file: forwarder) ──► keeper (owns the queue)
//!                                       ▲
//! signals ──► here ──Stop──► ...        │ orders
//!                                     sessions ◄── server ◄── Unix socket
//! ```
//!
//! Stopping goes in the order of the stream: intake ends, what it had accepted is flushed, the queue is
//! closed, the sessions end, the socket goes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use shared::commands::command;
use shared::config::{Config, PortAddress};
use shared::exit::Exit;
use shared::regular_file;
use shared::wire::Loss;

use crate::failure::Failure;
use crate::forwarder::{Forwarder, PortFile};
use crate::heartbeat::Heartbeat;
use crate::intake::{Intake, Memory};
use crate::keeper::{CHANNEL_MESSAGES, Gate, Keeper, KeeperSettings, Message};
use crate::meter::MeterFile;
use crate::queue::layout::Layout;
use crate::queue::{OpenReport, Queue, QueueOptions, own_files};
use crate::server::socket::Socket;
use crate::server::writers::Writers;
use crate::server::{Common, Limits, Server};
use crate::service_manager::ServiceManager;
use crate::shutdown::{Signalled, Stop};
use crate::words;

/// Runs until a signal, or with `once` until the file is taken in.
///
/// # Errors
///
/// Where the queue cannot be opened, the socket cannot be served, or what had arrived could not be made
/// durable at the end.
pub fn run(config: &Config, once: bool) -> Result<(), Failure> {
    let is_file = matches!(config.port.address, PortAddress::File(_) | PortAddress::Stdin);
    if once && !is_file {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "--once takes in a file, and the port is {}: give --usb file:PATH",
                config.port.address
            ),
        ));
    }
    let no_thread = |error: io::Error| Failure::new(Exit::TryAgain, format!("no thread: {error}"));

    let (stop, stopped) = sync_channel(4);
    let signalled = Signalled::start(stop.clone()).map_err(no_thread)?;
    let (queue, report) = open_queue(config)?;
    tell(&report, &queue);
    if let Some(words) = own_files::open_to_others(&Layout::new(&config.queue.path)) {
        tracing::warn!("{words}");
    }
    let socket = Socket::bind(&config.queue.socket)?;
    tracing::info!(
        "capture {}: port {}, queue {} ({}), socket {}, head {}",
        env!("CARGO_PKG_VERSION"),
        config.port.address,
        config.queue.path.display(),
        queue.identity(),
        socket.path().display(),
        queue.head(),
    );

    let (meter_file, memory) = MeterFile::open(&config.queue.path);
    let file = PortFile::of(&config.port);
    // A file is judged by itself, so that it gives the same telegrams each time.
    let memory = if file.is_some() { Memory::default() } else { memory };
    let reader = queue.reader();
    let (messages, taken) = sync_channel(CHANNEL_MESSAGES);
    let gate = Gate::default();
    let is_stopping = Arc::new(AtomicBool::new(false));
    let forwarder = Forwarder {
        messages: messages.clone(),
        gate: gate.clone(),
        stop: stop.clone(),
        is_stopping: Arc::clone(&is_stopping),
    };
    let port = config.port.clone();
    let (intake, to_be_forwarded) = if is_file {
        let (intake, arrivals) = Intake::start(port, memory).map_err(no_thread)?;
        (intake, Some((forwarder, arrivals)))
    } else {
        let intake = Intake::start_into(port, memory, forwarder.directly()).map_err(no_thread)?;
        (intake, None)
    };
    let intake = Arc::new(intake);

    let (input_end, input_ended) = sync_channel(1);
    let settings = KeeperSettings {
        flush_interval: config.queue.flush_interval,
        meter_timeout: (!is_file).then_some(config.meter_timeout),
        can_wait: is_file,
        imports_file: imports_file(config),
    };
    let asked = Arc::clone(&intake);
    let service_manager = ServiceManager::from_environment();
    let keeper = Keeper::new(
        queue,
        settings,
        Box::new(move || asked.status()),
        meter_file,
        ServiceManager::from_environment(),
        gate,
        input_end,
    )
    .map_err(|error| Failure::new(Exit::Storage, format!("reading what has been imported: {error}")))?;
    let forwarder = to_be_forwarded
        .map(|(forwarder, arrivals)| forwarder.start(arrivals, file.map(|file| (file, keeper.imports()))))
        .transpose()
        .map_err(no_thread)?;
    let ended = stop.clone();
    let heartbeat = keeper.heartbeat();
    let keeper = std::thread::Builder::new()
        .name("keeper".to_owned())
        .spawn(move || {
            let _ends = OnEnd(ended);
            keeper.run(&taken)
        })
        .map_err(no_thread)?;
    let common = Common::new(Limits::default(), config.port.crc);
    let writers = Writers::new(&config.queue.writers);
    let server = Server::start(socket, reader, messages.clone(), common, writers).map_err(no_thread)?;
    if is_file {
        let path = config.port.address.to_string();
        std::thread::Builder::new()
            .name("input end".to_owned())
            .spawn(move || {
                let Ok(end) = input_ended.recv() else { return };
                if end.is_ok() {
                    tracing::info!("{path} is taken in, and durable");
                }
                if once {
                    let _ = stop.try_send(Stop::InputEnded(end));
                }
            })
            .map_err(no_thread)?;
    }
    signalled.running();
    service_manager.ready();

    let why = wait(&stopped, &heartbeat, KEEPER_PATIENCE)?;
    service_manager.stopping();
    match &why {
        Stop::Signal(name) => tracing::info!("stopping: {name}"),
        Stop::InputEnded(_) => tracing::debug!("stopping: the input has ended"),
        Stop::Fault(thread) => {
            tracing::error!("the {thread} thread has ended by a fault of the program: stopping");
        }
    }
    is_stopping.store(true, Ordering::Relaxed);
    intake.stop();
    // Where the keeper has ended already there is nobody to be told.
    let _ = messages.send(Message::Stop);
    let kept = keeper.join();
    server.stop();
    drop(messages);
    if let Some(forwarder) = forwarder {
        let _ = forwarder.join();
    }
    if let Some(intake) = Arc::into_inner(intake) {
        intake.join();
    }
    match kept {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let words = format!("the last telegrams could not be made durable: {error}");
            return Err(Failure::new(Exit::Storage, words));
        }
        Err(_) => return Err(Failure::new(Exit::Storage, "the queue is not closed in order")),
    }
    match why {
        Stop::Fault(thread) => Err(Failure::new(
            Exit::TryAgain,
            format!("the {thread} thread failed"),
        )),
        Stop::InputEnded(Err(words)) => Err(Failure::failed(words)),
        Stop::Signal(_) | Stop::InputEnded(Ok(())) => {
            tracing::info!("stopped; everything accepted is durable");
            Ok(())
        }
    }
}

/// Waits until capture is to stop.
///
/// # Errors
///
/// Where the keeper has not gone round for `patience`: nothing but the end of the process helps then.
fn wait(stopped: &Receiver<Stop>, heartbeat: &Heartbeat, patience: Duration) -> Result<Stop, Failure> {
    let (mut count, mut looks) = (heartbeat.count(), 0);
    // Looked at several times, since a process that was frozen finds all of its time over at once.
    while looks < LOOKS {
        match stopped.recv_timeout(patience / LOOKS) {
            Ok(why) => return Ok(why),
            Err(RecvTimeoutError::Disconnected) => return Ok(Stop::Fault("signals")),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let before = std::mem::replace(&mut count, heartbeat.count());
        looks = if count == before { looks + 1 } else { 0 };
    }
    Err(Failure::new(
        Exit::Storage,
        format!(
            "the queue has not answered for {} s: capture ends, to be started again; what was stored is on the disk",
            patience.as_secs()
        ),
    ))
}

/// How long the keeper may take for one round: what takes longest is writing a large database anew on a slow card.
const KEEPER_PATIENCE: Duration = Duration::from_secs(1800);
/// Into how many parts that is divided.
const LOOKS: u32 = 5;

/// Opens the queue that the configuration names.
///
/// # Errors
///
/// In words, with the exit code that fits.
pub fn open_queue(config: &Config) -> Result<(Queue, OpenReport), Failure> {
    let options = QueueOptions {
        max_size_bytes: config.queue.max_size_bytes,
        retention: config.queue.retention,
        is_copy_renewed: true,
        has_socket: is_inside(&config.queue.socket, &config.queue.path),
        ..QueueOptions::new(&config.queue.path)
    };
    expect_folder(&config.queue.path).map_err(|words| Failure::new(Exit::Storage, words))?;
    Ok(Queue::open(&options)?)
}

fn is_inside(path: &Path, folder: &Path) -> bool {
    match (std::path::absolute(path), std::path::absolute(folder)) {
        (Ok(path), Ok(folder)) => path.starts_with(folder),
        _ => false,
    }
}

/// Where something is under the name of the queue's folder, it is a folder.
///
/// # Errors
///
/// What it is instead.
pub fn expect_folder(path: &Path) -> Result<(), String> {
    match regular_file::kind(path) {
        Some(kind) if !path.is_dir() => Err(format!(
            "{} is {kind}; expected a folder (queue.path)",
            path.display()
        )),
        _ => Ok(()),
    }
}

/// Where it is written what has been imported into the queue.
pub fn imports_file(config: &Config) -> std::path::PathBuf {
    config.queue.path.join("imports.json")
}

/// Says what was found when the queue was opened, where that is news.
pub fn tell(report: &OpenReport, queue: &Queue) {
    if report.is_new {
        tracing::info!("the queue is new");
    }
    if report.renewed.is_some() {
        tracing::warn!(
            "the queue's folder is a copy, and what it was made of may have gone on; {}",
            renewed(queue)
        );
    }
    if let Some((folder, why)) = &report.moved_aside {
        tracing::error!(
            "the database could not be opened ({why}) and was moved to {}; a new one is begun, and \
             `{} {}` brings back what is whole in it",
            folder.display(),
            command("capture import --damaged"),
            folder.display()
        );
    }
    if report.damaged_blocks > 0 {
        tracing::error!(
            "found in the queue and gone: {}",
            words::counted(report.damaged_blocks, "damaged block")
        );
    }
    if report.restored_records > 0 {
        tracing::info!(
            "brought back from what was damaged: {}",
            words::counted(report.restored_records, "telegram")
        );
    }
    report.losses.iter().for_each(tell_loss);
}

/// Which identity is new, and from where on.
pub fn renewed(queue: &Queue) -> String {
    let identities = queue.identities();
    let first = identities.last().map_or(1, |newest| newest.first_sequence);
    let before = identities.iter().rev().nth(1);
    let before = before.map_or_else(String::new, |before| format!(" (before {})", before.queue));
    format!(
        "from #{first} on it has the identity {}{before}, so that no Queue and Sequence name two telegrams",
        queue.identity()
    )
}

/// Says what is missing.
pub fn tell_loss(loss: &Loss) {
    tracing::warn!(
        "sequences {} to {} are missing: {}",
        loss.first_sequence,
        loss.last_sequence,
        loss.cause
    );
}

/// Tells that the keeper has ended, also where it panicked: capture without it would read and store
/// nothing.
struct OnEnd(SyncSender<Stop>);

impl Drop for OnEnd {
    fn drop(&mut self) {
        let _ = self.0.try_send(Stop::Fault("keeper"));
    }
}

#[cfg(test)]
mod tests;
