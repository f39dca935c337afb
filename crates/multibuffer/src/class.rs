//! What may share a call.

use crate::LANES;

/// Jobs of one call are of one class: the eight lanes take the same steps. Within an RSA size, PKCS #1 v1.5 and PSS
/// with any hash may be mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 3072 bits: verification only.
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
    /// ECDSA on P-256 with SHA-256.
    P256,
    /// Ed25519.
    Ed25519,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 5] = [
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::P256,
        Self::Ed25519,
    ];

    /// Length of every signature of the class, in bytes.
    #[must_use]
    pub const fn signature_len(self) -> usize {
        match self {
            Self::Rsa2048 => 256,
            Self::Rsa3072 => 384,
            Self::Rsa4096 => 512,
            Self::P256 | Self::Ed25519 => 64,
        }
    }

    /// From how many jobs in a call signing in lanes takes less CPU time than signing them one after the other with
    /// aws-lc. More than [`crate::LANES`] means never: there are no lanes for it, as for RSA-3072, where the library
    /// takes 7.7 ms a call.
    ///
    /// Microseconds per signature of a message of 400 bytes, the least of 60 rounds in which both took turns, on
    /// one of two cores of an AMD EPYC (family 25, model 17) with AVX-512 IFMA:
    ///
    /// | | aws-lc | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 lanes filled |
    /// | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
    /// | RS256, 2048 bits | 232 | 1049 | 524 | 349 | 262 | 209 | 174 | 150 | 131 |
    /// | RS256, 3072 bits | 681 | 7696 | 3851 | 2565 | 1920 | 1542 | 1283 | 1098 | 962 |
    /// | RS256, 4096 bits | 1444 | 11076 | 5527 | 3687 | 2762 | 2209 | 1840 | 1580 | 1381 |
    /// | ES256 | 16.1 | 46.2 | 23.5 | 16.0 | 12.0 | 9.7 | 8.3 | 7.1 | 6.3 |
    /// | Ed25519 | 9.6 | 25.9 | 13.8 | 9.7 | 7.7 | 6.5 | 5.7 | 5.1 | 4.7 |
    #[must_use]
    pub const fn sign_pays_from(self) -> usize {
        match self {
            Self::Rsa2048 => 5,
            Self::Rsa3072 => LANES + 1,
            Self::Rsa4096 => 8,
            Self::P256 | Self::Ed25519 => 4,
        }
    }

    /// The same for verification, with a key that aws-lc has parsed:
    ///
    /// | | aws-lc | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 lanes filled |
    /// | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
    /// | RS256, 2048 bits | 15.5 | 44.4 | 22.2 | 14.8 | 11.1 | 8.9 | 7.4 | 6.4 | 5.6 |
    /// | RS256, 3072 bits | 32.6 | 96.1 | 47.9 | 32.0 | 23.9 | 19.1 | 15.9 | 13.7 | 11.9 |
    /// | RS256, 4096 bits | 68.1 | 178 | 90.2 | 59.6 | 45.0 | 36.2 | 30.0 | 25.8 | 22.5 |
    /// | ES256 | 49.5 | 156 | 77.7 | 51.7 | 38.8 | 31.0 | 25.9 | 22.2 | 19.4 |
    /// | Ed25519 | 36.8 | 86.4 | 44.2 | 29.2 | 22.2 | 17.9 | 14.9 | 12.9 | 11.5 |
    #[must_use]
    pub const fn verify_pays_from(self) -> usize {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 | Self::Ed25519 => 3,
            Self::P256 => 4,
        }
    }

    /// The class of a modulus.
    pub(crate) const fn of_modulus(bits: usize) -> Option<Self> {
        match bits {
            2048 => Some(Self::Rsa2048),
            3072 => Some(Self::Rsa3072),
            4096 => Some(Self::Rsa4096),
            _ => None,
        }
    }
}
