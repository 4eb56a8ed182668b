//! A stand-in for capture's Unix socket that carries sessions to the real one and cuts them on request,
//! in the middle of a frame if it comes to that.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// The stand-in.
#[derive(Debug)]
pub struct SocketProxy {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    is_ending: bool,
    sessions: u64,
    open: Vec<UnixStream>,
    /// Bytes that may still pass from capture before everything is cut.
    budget: Option<usize>,
}

impl SocketProxy {
    /// One at `path`, in front of the socket at `target`.
    pub fn listen(path: &Path, target: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a socket can be made");
        let state = Arc::new(Mutex::new(State::default()));
        let acceptor = thread::spawn({
            let (state, target) = (Arc::clone(&state), target.to_owned());
            move || accept(&listener, &target, &state)
        });
        Self {
            path: path.to_owned(),
            state,
            acceptor: Some(acceptor),
        }
    }

    /// Cuts all sessions now.
    pub fn cut(&self) {
        cut(&mut lock(&self.state));
    }

    /// Cuts all sessions when so many more bytes have come from capture, wherever in a frame that is.
    pub fn cut_after(&self, bytes: usize) {
        lock(&self.state).budget = Some(bytes);
    }

    /// Sessions carried so far.
    pub fn sessions(&self) -> u64 {
        lock(&self.state).sessions
    }
}

impl Drop for SocketProxy {
    fn drop(&mut self) {
        lock(&self.state).is_ending = true;
        self.cut();
        // The acceptor waits for a session: this is one.
        drop(UnixStream::connect(&self.path));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cut(state: &mut State) {
    for stream in state.open.drain(..) {
        // One that has gone by itself is as gone as it should be.
        drop(stream.shutdown(Shutdown::Both));
    }
}

fn accept(listener: &UnixListener, target: &Path, state: &Arc<Mutex<State>>) {
    loop {
        let Ok((client, _)) = listener.accept() else {
            continue;
        };
        if lock(state).is_ending {
            return;
        }
        let Ok(capture) = UnixStream::connect(target) else {
            continue;
        };
        let streams = [
            client.try_clone(),
            client.try_clone(),
            capture.try_clone(),
            capture.try_clone(),
        ];
        let [
            Ok(client_reader),
            Ok(client_end),
            Ok(capture_reader),
            Ok(capture_end),
        ] = streams
        else {
            continue;
        };
        {
            let mut state = lock(state);
            state.sessions += 1;
            state.open.extend([client_end, capture_end]);
        }
        thread::spawn(move || pump(client_reader, capture, None));
        let state = Arc::clone(state);
        thread::spawn(move || pump(capture_reader, client, Some(&state)));
    }
}

fn pump(mut from: UnixStream, mut to: UnixStream, state: Option<&Mutex<State>>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let mut bytes = &buffer[..length];
        let mut is_last = false;
        if let Some(state) = state {
            let mut state = lock(state);
            if let Some(budget) = state.budget {
                is_last = bytes.len() >= budget;
                bytes = &bytes[..bytes.len().min(budget)];
                state.budget = (!is_last).then(|| budget - bytes.len());
            }
        }
        let is_written = to.write_all(bytes).is_ok();
        if is_last && let Some(state) = state {
            cut(&mut lock(state));
        }
        if !is_written {
            break;
        }
    }
    for end in [&from, &to] {
        drop(end.shutdown(Shutdown::Both));
    }
}
