//! End to end: the real programs, a meter on a pty or over TCP, a real mosquitto. One binary, a module
//! for each claim:
//!
//! * [`addresses`]: a name is reached at whichever of its addresses answers.
//! * [`bench`]: brokers, proxy, subscriber and meters do what the other tests take for granted.
//! * [`cable`]: at the end of a bad cable exactly the spared telegrams are accepted.
//! * [`peers`]: a peer that ends each connection costs nothing and does not fill the log.
//! * [`path`]: what the household lives is what a subscriber receives, number for number.
//! * [`outage`]: what is away for a while costs nothing that was accepted.
//! * [`broker`]: nor what a broker denies, or does under its name.
//! * [`hostile_broker`]: nor what a hostile one sends.
//! * [`hostile_meter`]: nor does a hostile meter cost more than its budget.
//! * [`hostile_client`]: nor what hostile clients of the socket do.
//! * [`slow_link`]: nor a slow link to it.
//! * [`disk`]: nor does a disk that is full, or gone for a while.
//! * [`crash`]: nor does `kill -9`, or SIGTERM.
//! * [`restore`]: nor does an older copy of the queue's folder that is put back.
//! * [`command_line`]: the Go program's command lines and files, and the commands, as users type them.
//! * [`demo`]: the demo in a terminal of any width.
//! * [`dialects`]: every dialect of the household through the real programs.
//! * [`forgery`]: what is forged on the line of a meter that encrypts is not published.
//! * [`corpus`]: real telegrams, where the folder of them is there.
//! * [`containers`]: the images and compositions in a real engine; `tests/containers` runs these.
//! * [`private`]: nor is anything private seen, or anybody taken for capture who is not.
//! * [`programs`]: every outside program that a test starts is in the list of them.
//! * [`sharing`]: several at once, strangers among them, harm nobody but themselves.
//! * [`terminal`]: nothing from outside acts on the terminal of who looks.
//! * [`soak`]: a day of meter time with outages; `tests/soak` runs it.
//! * [`source`]: what must hold of the source itself.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "these are tests, their own functions included"
)]

mod addresses;
mod bench;
mod broker;
mod cable;
mod command_line;
mod containers;
mod corpus;
mod crash;
mod demo;
mod dialects;
mod disk;
mod forgery;
mod hostile_broker;
mod hostile_client;
mod hostile_meter;
mod installation;
mod outage;
mod path;
mod peers;
mod private;
mod programs;
mod restore;
mod sharing;
mod slow_link;
mod soak;
mod source;
mod terminal;
