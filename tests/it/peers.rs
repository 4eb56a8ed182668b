//! Network adapters that end the connection after each telegram. Nothing is lost, and the log is not filled: that the
//! port comes and goes is said once, and then once a minute with a count.

use std::time::Duration;

use shared::wire::client::Client;
use tests::deadline::{SOON, wait_for};
use tests::folder::Folder;
use tests::household::Dialect;
use tests::meter::{Meter as _, TcpMeter};
use tests::process::Process;
use tests::programs::start_capture;

use crate::installation::household;

/// The count is said after one.
const MINUTES: Duration = Duration::from_secs(150);

#[test]
fn a_peer_that_closes_after_each_telegram_is_said_once_and_then_with_a_count() {
    come_and_go("closed the connection", TcpMeter::hang_up);
}

#[test]
fn a_peer_that_resets_after_each_telegram_is_said_once_and_then_with_a_count() {
    come_and_go("reset", TcpMeter::reset);
}

/// Sends a telegram on each connection and ends it in this way, until the count has been said.
fn come_and_go(trouble: &str, end: impl Fn(&mut TcpMeter)) {
    let folder = Folder::new();
    let mut meter = TcpMeter::listen();
    let arguments = ["--usb", &meter.address(), "--socket", "s.sock", "--queue", "q"];
    let capture = start_capture(folder.path(), &arguments);
    let mut household = household(91, Dialect::Dsmr5);
    let mut sent = 0;
    let count = wait_for("the count to be said", MINUTES, || {
        meter
            .send_within(&household.telegram().bytes, SOON)
            .map_err(|error| error.to_string())?;
        sent += 1;
        wait_for(&format!("the head to be {sent}"), SOON, || {
            let head = head(&folder)?;
            if head == sent {
                Ok(())
            } else {
                Err(format!("{head}"))
            }
        });
        end(&mut meter);
        let said = lines(&capture, trouble);
        let count = said.iter().find(|line| line.contains("in between it works"));
        count.cloned().ok_or_else(|| said.join("\n"))
    });
    assert!(sent > 10, "{sent} connections");
    assert!(count.contains(" times in 6"), "{count}");
    let said = lines(&capture, trouble);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].contains("it is tried again until it works"), "{said:#?}");
    assert_eq!(lines(&capture, "works again").len(), 1, "{}", capture.said());
}

fn head(folder: &Folder) -> Result<u64, String> {
    let mut client = Client::connect(&folder.join("s.sock"), SOON).map_err(|error| error.to_string())?;
    Ok(client.status().map_err(|error| error.to_string())?.head)
}

fn lines(capture: &Process, text: &str) -> Vec<String> {
    let said = capture.said();
    let lines = said.lines().filter(|line| line.contains(text));
    lines.map(str::to_owned).collect()
}
