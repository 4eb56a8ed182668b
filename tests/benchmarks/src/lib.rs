//! What the measurements of `tests/bench` share: telegrams, queues that are full already, the programs in an
//! installation, what a process has used, and what they are compared with.
//!
//! A measurement prints figures, one JSON object a line: `{"what":"capture_cpu_us","value":12.3}`. It judges
//! nothing: [`table`] knows what each is compared with and what the target is, in one place.

pub mod delay_line;
pub mod figures;
pub mod fill;
pub mod floor;
pub mod installation;
pub mod measure;
pub mod table;
pub mod telegrams;
pub mod usage;
