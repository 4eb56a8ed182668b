//! Names with two addresses of which the first does not answer: both programs reach the second within seconds.

use std::process::Command;
use std::time::{Duration, Instant};

use tests::deadline::wait_for;
use tests::network::{NEAR, Network, SILENT};
use tests::process::Process;
use tests::programs::Programs;

use crate::installation::Installation;

/// One delay of an attempt, and what a busy machine takes to start a program.
const SECONDS: Duration = Duration::from_secs(4);

#[test]
fn a_first_address_that_does_not_answer_hides_neither_the_broker_nor_the_meter() {
    let Some(network) = Network::of_its_own("names") else {
        return;
    };
    network.name(&format!("{SILENT} house.test\n{NEAR} house.test\n"));
    let resolved = network
        .on_near(Command::new("getent").args(["ahosts", "house.test"]))
        .output()
        .unwrap();
    let resolved = String::from_utf8_lossy(&resolved.stdout).into_owned();
    assert!(
        resolved.starts_with(SILENT),
        "the silent one comes first:\n{resolved}"
    );
    network.near(|| {
        let meter = tests::meter::TcpMeter::listen_at(format!("{NEAR}:0").parse().unwrap()).unwrap();
        let folder = tests::folder::Folder::new();
        let household = crate::installation::household(172, tests::household::Dialect::Dsmr5);
        let mut house = Installation::at(folder, Box::new(meter), household);
        house.broker.stop();
        house
            .broker
            .configure(&format!("allow_anonymous true\nlistener 1883 {NEAR}\n"));
        house.broker.start_again();
        house.configure(0, "", "");
        let file = house.folder.join("smartmeter.yml");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace(&format!("tcp://{NEAR}:"), "tcp://house.test:");
        let proxy = format!("127.0.0.1:{}", house.proxy.port());
        std::fs::write(&file, text.replace(&proxy, "house.test:1883")).unwrap();

        let start = |name: &str, command: &mut Command| {
            command
                .current_dir(house.folder.path())
                .args(["-config", "smartmeter.yml"]);
            (
                Instant::now(),
                Process::start(name, &mut network.on_near(command)),
            )
        };
        let (began, capture) = start("capture", &mut Programs::built().capture());
        wait_for(
            "capture to be connected to the meter",
            Duration::from_secs(30),
            || {
                let state = house.try_status()?.port_state;
                if state == "connected" { Ok(()) } else { Err(state) }
            },
        );
        assert!(
            began.elapsed() < SECONDS,
            "{:?}: {}",
            began.elapsed(),
            capture.said()
        );
        let (began, publisher) = start("publisher", &mut Programs::built().publisher());
        publisher.wait_to_say("connected to house.test:1883", Duration::from_secs(30));
        assert!(
            began.elapsed() < SECONDS,
            "{:?}: {}",
            began.elapsed(),
            publisher.said()
        );
        house.send(20);
        house.wait_for_reading(20, Duration::from_secs(30));
    });
}
