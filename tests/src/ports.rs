//! TCP ports that a test may use, also again after whatever listened there was stopped.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Mutex;

/// A port of this machine that nothing listens on.
///
/// It lies below the range from which the system takes ports for outgoing connections, so that none of
/// those can have taken it while a broker that a test has stopped is away.
pub fn free() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN
        .lock()
        .expect("no thread panics while it holds the list of ports");
    let given = given.get_or_insert_with(HashSet::new);
    // Tests of several processes run at once: each begins elsewhere.
    let begin = std::process::id().wrapping_mul(37) % u32::from(COUNT);
    (0..COUNT)
        .map(|n| FIRST + ((begin + u32::from(n)) % u32::from(COUNT)) as u16)
        .find(|port| {
            !given.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok() && given.insert(*port)
        })
        .expect("one of 20000 ports is free")
}

const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;
