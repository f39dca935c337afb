//! Sizes that bound every input. A value past its limit is refused before it is decoded.

use crate::json::Limits;

/// A decoded JOSE header: 4 KiB, 4 levels of nesting.
pub const HEADER: Limits = Limits {
    bytes: 4 * 1024,
    depth: 4,
};

/// The claims of a JWT: 12 KiB, 32 levels of nesting.
pub const CLAIMS: Limits = Limits {
    bytes: 12 * 1024,
    depth: 32,
};

/// One JWK. A private RSA key of 8192 bits takes about 6.5 KiB; certificates in `x5c` are ignored but counted.
pub const JWK: Limits = Limits {
    bytes: 16 * 1024,
    depth: 4,
};

/// A JWK set as it comes over the wire.
pub const JWK_SET: Limits = Limits {
    bytes: 1024 * 1024,
    depth: 6,
};

/// A signed token in compact form, in bytes.
pub const SIGNED_TOKEN: usize = 20 * 1024;

/// The payload of a JWE, in bytes.
pub const JWE_PAYLOAD: usize = 256 * 1024;

/// An encrypted token in compact form, in bytes.
pub const ENCRYPTED_TOKEN: usize = 384 * 1024;

/// Smallest RSA modulus, in bits.
pub const RSA_MIN_BITS: usize = 2048;

/// Largest RSA modulus, in bits.
pub const RSA_MAX_BITS: usize = 8192;

/// Longest key identifier, in characters.
pub const KID: usize = 128;
