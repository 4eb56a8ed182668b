//! Whatever a client asks of capture, in whatever order and form, it gets replies or its session ends, and the next
//! client gets a status. One capture serves every input of a process, so what it keeps of them adds up.
//!
//! The input is a list of orders: a byte says which request, and the next ones what is in it.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use capture::intake::IntakeStatus;
use capture::keeper::{CHANNEL_MESSAGES, Gate, Keeper, KeeperSettings};
use capture::meter::MeterFile;
use capture::queue::{Queue, QueueOptions};
use capture::server::socket::Socket;
use capture::server::writers::Writers;
use capture::server::{Common, Limits, Server};
use capture::service_manager::ServiceManager;
use shared::config::CrcPolicy;
use shared::wire::client::Client;
use shared::wire::codec;
use shared::wire::{Imported, PROTOCOL_VERSION, PublisherReport, Reply, Request, Start};

const PATIENCE: Duration = Duration::from_secs(60);
/// A user's changes have a rate: more would only be waited for.
const MOST_ORDERS: usize = 12;

/// Asserts every claim for these bytes. How many replies there were.
pub(crate) fn hold_for(bytes: &[u8]) -> usize {
    let mut frames = codec::hello(PROTOCOL_VERSION).to_vec();
    let mut rest = bytes;
    for _ in 0..MOST_ORDERS {
        let Some((&which, behind)) = rest.split_first() else {
            break;
        };
        let (within, behind) = behind.split_at(behind.len().min(usize::from(which >> 3)));
        rest = behind;
        frames.extend(order(which & 7, within));
    }
    let stream = UnixStream::connect(socket()).expect("capture listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let writer = stream.try_clone().expect("a copy");
    let replies = std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut writer = writer;
            // A session that has ended takes no more.
            let _ = writer.write_all(&frames);
            let _ = writer.shutdown(Shutdown::Write);
        });
        let (mut stream, mut body, mut replies) = (&stream, Vec::new(), 0);
        while let Ok(true) = codec::read_frame(&mut stream, &mut body) {
            codec::decode::<Reply>(&body).expect("capture's replies are replies");
            replies += 1;
        }
        replies
    });
    assert!(replies <= 1 + MOST_ORDERS, "{replies} replies");
    let mut client = Client::connect(socket(), PATIENCE).expect("there is a place");
    client.status().expect("a status");
    replies
}

fn order(which: u8, within: &[u8]) -> Vec<u8> {
    let text = || String::from_utf8_lossy(within).into_owned();
    let mut number = [0; 8];
    number
        .iter_mut()
        .zip(within)
        .for_each(|(place, byte)| *place = *byte);
    let number = u64::from_le_bytes(number);
    let request = match which {
        0 => Request::Open {
            consumer: text(),
            start: Start::Oldest,
        },
        1 => Request::Read {
            from: number,
            max_bytes: u32::MAX,
            wait_ms: 1,
        },
        2 => Request::Commit { sequence: number },
        3 => Request::Report(PublisherReport {
            connection: text().repeat(1 + within.len()),
            version: text(),
            skipped: [(text(), number)].into(),
            ..PublisherReport::default()
        }),
        4 => match number % 4 {
            0 => Request::Forget { consumer: text() },
            1 => Request::Locate { at_us: number as i64 },
            2 => Request::Imports,
            _ => Request::Renew {
                consumer: text(),
                queue: text(),
                sequence: number,
            },
        },
        5 => Request::Append {
            source: text(),
            offset: number,
            before: [0; 16],
            after: [0; 16],
            telegrams: vec![Imported {
                captured_at_us: number as i64,
                silence_ms: number,
                telegram: within.to_vec(),
            }],
        },
        6 => Request::Status,
        // A frame of this length that says anything, or a length of a frame that does not come.
        _ => {
            let mut frame = (within.len() as u32).to_le_bytes().to_vec();
            frame.extend(within);
            return frame;
        }
    };
    let mut frame = Vec::new();
    codec::encode(&request, &mut frame).expect("it is small");
    frame
}

/// Where the capture of this process serves.
fn socket() -> &'static PathBuf {
    static SOCKET: OnceLock<PathBuf> = OnceLock::new();
    SOCKET.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let queue_folder = folder.join("queue");
        let (queue, _) = Queue::open(&QueueOptions::new(&queue_folder)).expect("it opens");
        let reader = queue.reader();
        let (messages, taken) = sync_channel(CHANNEL_MESSAGES);
        let (input_end, _) = sync_channel(1);
        let settings = KeeperSettings {
            flush_interval: Duration::ZERO,
            meter_timeout: None,
            can_wait: false,
            imports_file: queue_folder.join("imports.json"),
        };
        let keeper = Keeper::new(
            queue,
            settings,
            Box::new(IntakeStatus::default),
            MeterFile::open(&queue_folder).0,
            ServiceManager::from_environment(),
            Gate::default(),
            input_end,
        )
        .expect("a keeper");
        std::thread::spawn(move || keeper.run(&taken));
        let path = folder.join("queue.sock");
        let bound = Socket::bind(&path).expect("a socket");
        let common = Common::new(Limits::default(), CrcPolicy::Auto);
        let server = Server::start(bound, reader, messages, common, Writers::new(&[])).expect("a server");
        // It serves to the end of the process.
        std::mem::forget(server);
        path
    })
}
