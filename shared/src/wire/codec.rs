//! Frames to bytes and back. The only file that names the serialisation crate's functions.
