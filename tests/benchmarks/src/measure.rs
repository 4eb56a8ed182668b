//! The measurements by name.

pub mod backlog;
pub mod growth;
pub mod latency;
pub mod live;
pub mod memory;
pub mod queue;
pub mod startup;

/// Which measurement, and how thorough.
pub const NAMES: [&str; 7] = [
    "queue",
    "capture",
    "publisher",
    "latency",
    "memory",
    "growth",
    "startup",
];

/// Measures.
///
/// # Errors
/// Where something of this machine fails, or the name is none of [`NAMES`].
pub fn run(name: &str, is_quick: bool, arguments: &[String]) -> anyhow::Result<()> {
    match name {
        "queue" => queue::measure(is_quick),
        "capture" => live::measure(is_quick),
        "publisher" => backlog::measure(is_quick),
        "latency" => latency::measure(is_quick),
        "memory" => memory::measure(is_quick),
        "growth" => growth::measure(is_quick),
        "growth-step" => growth::step(arguments),
        "startup" => startup::measure(is_quick),
        other => anyhow::bail!("there is no measurement {other}: {}", NAMES.join(", ")),
    }
}
