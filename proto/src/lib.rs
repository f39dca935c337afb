//! The wire contract: the messages and services of `proto/crypto`, one module per package.
//!
//! A feature per package (`jwt`, `jwe`, `jwks`, `keys`) and one per side (`client`, `server`), so that a caller compiles only
//! what it calls. The Rust under `src/gen` is checked in and made by `cargo test -p crypto-proto`, which compares it with what the
//! protos say; set `UPDATE_GENERATED=1` to write it anew.

/// What the items of batches and streams have in common.
#[cfg(any(feature = "jwt", feature = "jwe"))]
pub mod batch {
    /// Version 1.
    pub mod v1 {
        include!("gen/crypto.batch.v1.rs");
    }
}

/// JSON Web Tokens.
#[cfg(feature = "jwt")]
pub mod jwt {
    /// Version 1.
    pub mod v1 {
        include!("gen/crypto.jwt.v1.rs");
    }
}

/// JSON Web Encryption.
#[cfg(feature = "jwe")]
pub mod jwe {
    /// Version 1.
    pub mod v1 {
        include!("gen/crypto.jwe.v1.rs");
    }
}

/// JSON Web Key Sets and the trust stream.
#[cfg(feature = "jwks")]
pub mod jwks {
    /// Version 1.
    pub mod v1 {
        include!("gen/crypto.jwks.v1.rs");
    }
}

/// Key administration and the key feed.
#[cfg(feature = "keys")]
pub mod keys {
    /// Version 1.
    pub mod v1 {
        include!("gen/crypto.keys.v1.rs");
    }
}

/// The descriptor set of all packages, with their comments left out, for gRPC reflection.
#[cfg(feature = "reflection")]
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptors.bin");

#[cfg(any(feature = "client", feature = "server"))]
pub mod codec;
#[cfg(any(feature = "jwt", feature = "jwe", feature = "keys"))]
mod redacted;
