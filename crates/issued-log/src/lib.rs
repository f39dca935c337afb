//! The records of issued tokens, as an instance writes them and the key-manager reads them.
//!
//! An instance has no secret that outlives it, and its disk may be stolen. So each segment file is sealed to a public key of the key-manager: who writes
//! it cannot read it again once the process is gone, and who takes the file has nothing.
//!
//! ```text
//! segment  header, frames
//! header   "CISG" 1, recipient (8), ephemeral X25519 public key (32), segment (16), process (16)
//! key      HKDF-SHA-256 of the agreement, salt = ephemeral || recipient's public key, info = "crypto-issued-v1/segment" 0 header
//! frame    length (4) of body, check (4), body
//! body     flags (1), AES-256-GCM of the entries, nonce = number of the frame, additional data = number, flags
//! ```
//!
//! The header is bound by the key, the place of a frame by its number, the end by a flag of the last frame. The check is the start of a SHA-256: it tells whoever
//! cannot open a frame where a crash has torn the file, and protects against nobody.
//!
//! No I/O and no clock: bytes in, bytes out.

#![forbid(unsafe_code)]

mod entry;
mod file;
mod keys;
mod segment;

pub use entry::{Entry, EntryRef, FrameBuilder, MAX_NAME, Malformed, read_entries};
pub use file::{Frames, pack};
pub use keys::{Recipient, RecipientKey, Subject, SubjectKey};
pub use segment::{HEADER_LEN, Header, Opened, Opener, SealFailed, Sealer, Unopened};
