//! The queue, by claim.
//!
//! | module | claims |
//! |---|---|
//! | `basics` | what was flushed is there, and nothing else is visible; consumers; silence |
//! | `bytes` | stored bytes are what they always were; the frozen folder still opens |
//! | `model` | random operations against a model, reopening among them |
//! | `crash` | killed or cut off between any two steps |
//! | `damage` | flipped bytes, zeroed pages, cut files |
//! | `room` | full, read-only and vanished folders; the bound on the size |
//! | `flood` | the bound on the size at any moment, however much comes at once |
//! | `large` | telegrams as large as there are, that do not compress |
//! | `journal` | what waits beside sled is as safe as what is in it |
//! | `identities` | a copy of the folder that is put back gives no sequence again under the same identity |
//! | `versions` | a folder of a later version is refused and left as it was |
//! | `traps` | what sled does that would bite |

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and says what it was about"
)]

#[path = "queue/support.rs"]
mod support;

#[path = "queue/basics.rs"]
mod basics;
#[path = "queue/bytes.rs"]
mod bytes;
#[path = "queue/crash.rs"]
mod crash;
#[path = "queue/damage.rs"]
mod damage;
#[path = "queue/flood.rs"]
mod flood;
#[path = "queue/identities.rs"]
mod identities;
#[path = "queue/journal.rs"]
mod journal;
#[path = "queue/large.rs"]
mod large;
#[path = "queue/model.rs"]
mod model;
#[path = "queue/room.rs"]
mod room;
#[path = "queue/traps.rs"]
mod traps;
#[path = "queue/versions.rs"]
mod versions;
