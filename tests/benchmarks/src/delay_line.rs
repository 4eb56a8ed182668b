//! A distant broker: carries every byte to it and back after a delay, and nothing is lost or held up by
//! another byte. Like `netem`, but without the rights that needs.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Listens for the rest of this process, and gives its port.
///
/// # Panics
/// Where no port can be listened on.
pub fn start(broker: u16, each_way: Duration) -> u16 {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of this machine can be listened on");
    let port = listener.local_addr().expect("a listener has an address").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)) else {
                continue;
            };
            let Ok((client_back, broker_back)) =
                client.try_clone().and_then(|c| Ok((c, broker.try_clone()?)))
            else {
                continue;
            };
            thread::spawn(move || carry(client, broker, each_way));
            thread::spawn(move || carry(broker_back, client_back, each_way));
        }
    });
    port
}

fn carry(mut from: TcpStream, to: TcpStream, delay: Duration) {
    drop((from.set_nodelay(true), to.set_nodelay(true)));
    let (sender, due) = channel();
    let writer = thread::spawn(move || write_when_due(to, &due));
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if sender
            .send((Instant::now() + delay, buffer[..length].to_vec()))
            .is_err()
        {
            break;
        }
    }
    drop(sender);
    drop(writer.join());
    drop(from.shutdown(Shutdown::Both));
}

fn write_when_due(mut to: TcpStream, due: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((at, bytes)) = due.recv() {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
}
