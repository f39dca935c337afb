//! What is asked and answered, in plain types. `Debug` shows no token, no claim and no plaintext.

mod batch;
mod jwe;
mod jwks;
mod sign;
mod sign_batch;
mod sign_item;
mod verify;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use batch::{Batch, DecryptBatch, EncryptBatch, MOST_ITEMS, VerifyBatch};
pub use jwe::{Decrypt, DecryptedToken, Decryption, Encrypt, EncryptedToken, Recipient};
pub use jwks::Jwks;
pub use sign::{NestedToken, Sign, SignThenEncrypt, SignedToken};
pub use sign_batch::{ItemRef, SignBatch, SignedItem};
pub use sign_item::{EncryptTo, SignItem};
pub use verify::{DecryptThenVerify, Purpose, RejectReason, ValidToken, Verdict, Verify};

pub(crate) use batch::{bounded, results};

/// A duration for the wire. One that is too long for it becomes the longest there is, which the service refuses.
pub fn to_wire(duration: Duration) -> prost_types::Duration {
    let longest = prost_types::Duration {
        seconds: 315_576_000_000,
        nanos: 0,
    };
    prost_types::Duration::try_from(duration).unwrap_or(longest)
}

/// A duration from the wire; a negative one is none at all.
pub fn from_wire(duration: prost_types::Duration) -> Duration {
    Duration::try_from(duration).unwrap_or(Duration::ZERO)
}

/// A time from the wire; one before 1970 is 1970.
pub fn time_from_wire(time: prost_types::Timestamp) -> SystemTime {
    SystemTime::try_from(time).unwrap_or(UNIX_EPOCH)
}
