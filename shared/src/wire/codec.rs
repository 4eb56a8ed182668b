//! Frames to bytes and back: the only file that names the serialisation crate.
//!
//! bincode 2 is finished and unmaintained, which is no trouble for a format that is frozen: the golden
//! bytes in `shared/tests/wire.rs` fail where another version of it, or another crate in its place,
//! writes a single byte differently.
//!
//! Invariant: a frame's length is checked before anything is allocated for it, memory grows with
//! the bytes that have come and not with those that were announced, and no input panics.

use std::io::{ErrorKind, Read};

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::MAX_FRAME_BYTES;

/// Bytes of the hello: a magic word of eight and the protocol's version.
pub const HELLO_BYTES: usize = 12;

/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;

/// What a frame's announcement alone is given. From there on memory doubles as bytes come.
const FIRST_BYTES: usize = 4096;

const MAGIC: [u8; 8] = *b"P1QUEUE\n";

/// The configuration that is frozen: little endian, variable-length integers, and a bound on what a
/// length inside the body may claim.
const CONFIGURATION: Configuration<LittleEndian, Varint, Limit<MAX_FRAME_BYTES>> =
    bincode::config::standard().with_limit::<MAX_FRAME_BYTES>();

/// Why bytes are no message, or a message makes no frame. After any of these the session cannot go on.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The first bytes are not those of this protocol.
    #[error("the session does not begin with the hello of this protocol")]
    NotHello,
    /// A length above [`MAX_FRAME_BYTES`].
    #[error("a frame of {length} bytes exceeds the limit of {MAX_FRAME_BYTES}")]
    TooLong {
        /// The length announced or needed.
        length: u64,
    },
    /// The peer went away in the middle of a frame.
    #[error("the session ended after {have} of a frame's {want} bytes")]
    CutShort {
        /// Bytes that came.
        have: usize,
        /// Bytes that were announced.
        want: usize,
    },
    /// The body is not the encoding of a message.
    #[error("the frame of {length} bytes is not a message of this protocol: {reason}")]
    Undecodable {
        /// Length of the body.
        length: usize,
        /// What the decoder says.
        reason: String,
    },
    /// A message that cannot be encoded.
    #[error("the message cannot be encoded: {reason}")]
    Unencodable {
        /// What the encoder says.
        reason: String,
    },
    /// Reading failed, or took longer than the time allowed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The hello of this protocol version.
pub fn hello(version: u32) -> [u8; HELLO_BYTES] {
    let mut bytes = [0; HELLO_BYTES];
    let (magic, number) = bytes.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    number.copy_from_slice(&version.to_le_bytes());
    bytes
}

/// The protocol version that a hello states.
///
/// # Errors
///
/// [`CodecError::NotHello`] where the magic word is another.
pub fn hello_version(bytes: &[u8; HELLO_BYTES]) -> Result<u32, CodecError> {
    match bytes.split_first_chunk() {
        Some((magic, number)) if *magic == MAGIC => number
            .try_into()
            .map(u32::from_le_bytes)
            .map_err(|_| CodecError::NotHello),
        _ => Err(CodecError::NotHello),
    }
}

/// Replaces what is in `frame` by the frame of `message`: its length and its body.
///
/// # Errors
///
/// [`CodecError::TooLong`] where the body is longer than a frame may be; `frame` is empty then.
pub fn encode<M: Serialize>(message: &M, frame: &mut Vec<u8>) -> Result<(), CodecError> {
    frame.clear();
    frame.extend_from_slice(&[0; LENGTH_BYTES]);
    if let Err(error) = bincode::serde::encode_into_std_write(message, frame, CONFIGURATION) {
        frame.clear();
        return Err(CodecError::Unencodable {
            reason: error.to_string(),
        });
    }
    let length = frame.len().saturating_sub(LENGTH_BYTES);
    match u32::try_from(length) {
        Ok(number) if length <= MAX_FRAME_BYTES => {
            if let Some(place) = frame.first_chunk_mut() {
                *place = number.to_le_bytes();
            }
            Ok(())
        }
        _ => {
            frame.clear();
            Err(CodecError::TooLong {
                length: length as u64,
            })
        }
    }
}

/// The message that a frame's body holds, all of it.
///
/// # Errors
///
/// [`CodecError::Undecodable`] where it holds none, or more than one.
pub fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, CodecError> {
    let undecodable = |reason: String| CodecError::Undecodable {
        length: body.len(),
        reason,
    };
    let (message, used) = bincode::serde::borrow_decode_from_slice(body, CONFIGURATION)
        .map_err(|error| undecodable(error.to_string()))?;
    if used == body.len() {
        Ok(message)
    } else {
        Err(undecodable(format!("it ends after {used} bytes")))
    }
}

/// Reads the next frame and leaves its body in `body`, over what was in it. `false` where the peer ended the
/// session between two frames; what is in `body` then, or after an error, means nothing.
///
/// # Errors
///
/// As [`read_length`] and [`read_body`].
pub fn read_frame<R: Read>(stream: &mut R, body: &mut Vec<u8>) -> Result<bool, CodecError> {
    match read_length(stream)? {
        Some(length) => read_body(stream, length, body).map(|()| true),
        None => Ok(false),
    }
}

/// Reads the length of the next frame's body; none if the peer ended the session between two frames.
///
/// # Errors
///
/// Where the length is above the limit, the peer goes away within it, or reading fails.
pub fn read_length<R: Read>(stream: &mut R) -> Result<Option<usize>, CodecError> {
    let mut length = [0; LENGTH_BYTES];
    match read_up_to(stream, &mut length)? {
        0 => return Ok(None),
        LENGTH_BYTES => {}
        have => {
            return Err(CodecError::CutShort {
                have,
                want: LENGTH_BYTES,
            });
        }
    }
    let length = u32::from_le_bytes(length);
    let want = usize::try_from(length).unwrap_or(usize::MAX);
    if want > MAX_FRAME_BYTES {
        return Err(CodecError::TooLong {
            length: u64::from(length),
        });
    }
    Ok(Some(want))
}

/// Reads a body of so many bytes, over what was in `body`.
///
/// # Errors
///
/// Where the peer goes away within the frame, or reading fails. `body` never grows beyond twice what has come and
/// 4 KiB.
pub fn read_body<R: Read>(stream: &mut R, want: usize, body: &mut Vec<u8>) -> Result<(), CodecError> {
    // What is there is read over: clearing memory for every frame takes as long as reading it.
    body.truncate(want);
    let mut have = 0;
    loop {
        have += read_up_to(stream, body.get_mut(have..).unwrap_or_default())?;
        if have < body.len() {
            return Err(CodecError::CutShort { have, want });
        }
        if have == want {
            return Ok(());
        }
        // An announced megabyte costs nothing until it is sent.
        body.resize(want.min(have + have.max(FIRST_BYTES)), 0);
    }
}

/// Reads until `buffer` is full or the stream ends; how many bytes came.
fn read_up_to<R: Read>(stream: &mut R, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut have = 0;
    while let Some(rest) = buffer.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) => break,
            Ok(count) => have += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
