//! How meters of Luxembourg, and some of Austria, encrypt: a telegram in one AES-128-GCM frame (Smarty P1
//! specification 1.1.3, section 3.2.5; DLMS suite 0).
//!
//! ```text
//! DB 08 system title (8) 82 length (2) 30 frame counter (4) ciphertext tag (12)
//! ```
//!
//! The length counts what follows it. The nonce is system title and frame counter, the additional data
//! `30` and the authentication key.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::aes::Aes128;
use aes_gcm::{AesGcm, KeyInit, Nonce};

/// How a meter encrypts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// The key.
    pub key: [u8; 16],
    /// The authentication key that the tag is made with. Many real meters use another than the one that
    /// is documented, so that nobody can verify it.
    pub authentication_key: [u8; 16],
    /// Who encrypts.
    pub system_title: [u8; 8],
}

/// The authentication key that the specification prints.
pub const DOCUMENTED_AUTHENTICATION_KEY: [u8; 16] = [
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF,
];

impl Encryption {
    /// With this key, and the documented authentication key.
    pub fn with_key(key: [u8; 16]) -> Self {
        Self {
            key,
            authentication_key: DOCUMENTED_AUTHENTICATION_KEY,
            system_title: *b"SAGHOUSE",
        }
    }

    /// The key as the configuration has it: 32 hex digits.
    pub fn key_text(&self) -> String {
        self.key.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// The frame around a telegram.
    pub fn frame(&self, frame_counter: u32, telegram: &[u8]) -> Vec<u8> {
        let mut nonce = self.system_title.to_vec();
        nonce.extend(frame_counter.to_be_bytes());
        let mut additional = vec![0x30];
        additional.extend(self.authentication_key);
        let cipher = AesGcm::<Aes128, U12, U12>::new(&self.key.into());
        let nonce = Nonce::<U12>::try_from(nonce.as_slice()).expect("a nonce has twelve bytes");
        let encrypted = cipher
            .encrypt(
                &nonce,
                Payload {
                    msg: telegram,
                    aad: &additional,
                },
            )
            .expect("a telegram is short enough to encrypt");

        let mut frame = vec![0xDB, 0x08];
        frame.extend(self.system_title);
        frame.push(0x82);
        frame.extend(((encrypted.len() + 5) as u16).to_be_bytes());
        frame.push(0x30);
        frame.extend(frame_counter.to_be_bytes());
        frame.extend(encrypted);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_length_that_its_head_says_and_shows_nothing_of_the_telegram() {
        let telegram = vec![b'x'; 700];
        let frame = Encryption::with_key([0xAA; 16]).frame(7, &telegram);
        let length = usize::from(u16::from_be_bytes([frame[11], frame[12]]));
        assert_eq!((frame.len(), length), (13 + length, 700 + 17));
        assert_eq!(&frame[..11], b"\xDB\x08SAGHOUSE\x82");
        assert_eq!(&frame[13..18], &[0x30, 0, 0, 0, 7]);
        assert!(!frame.windows(4).any(|window| window == b"xxxx"));
    }
}
