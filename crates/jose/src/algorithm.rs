//! Algorithm names of JWA (RFC 7518, RFC 8037, RFC 9864) and nothing that is not spoken here.

use std::fmt;

/// An algorithm name that is refused. What is refused for a reason has a variant of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedAlgorithm {
    /// `none`: an unsecured token is no token.
    #[error("algorithm none is refused: a token must be signed")]
    None,
    /// `RSA1_5`: PKCS#1 v1.5 encryption leaks through padding oracles.
    #[error("algorithm RSA1_5 is refused: use RSA-OAEP-256")]
    Rsa15,
    /// `PBES2-*`: the sender would choose how much work the receiver does, and passwords are no keys.
    #[error("algorithm PBES2 is refused: use a key, not a password")]
    Pbes2,
    /// `zip`: compression leaks lengths, and inflating is unbounded work.
    #[error("zip is refused: compression before encryption leaks the content")]
    Zip,
    /// A name that is not known in this place.
    #[error("unknown algorithm {0:?}")]
    Unknown(String),
}

impl UnsupportedAlgorithm {
    /// The refusal that fits `name`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "none" => Self::None,
            "RSA1_5" => Self::Rsa15,
            _ if name.starts_with("PBES2-") => Self::Pbes2,
            _ => Self::Unknown(name.chars().take(64).collect()),
        }
    }
}

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($(#[$variant_doc])* $variant,)* }

        impl $type {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name as in JWA; names are case-sensitive.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Reads a name.
            ///
            /// # Errors
            /// [`UnsupportedAlgorithm`], which says by name what is refused on purpose.
            pub fn parse(name: &str) -> Result<Self, UnsupportedAlgorithm> {
                match name {
                    $($name => Ok(Self::$variant),)*
                    _ => Err(UnsupportedAlgorithm::named(name)),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = UnsupportedAlgorithm;

            fn from_str(name: &str) -> Result<Self, UnsupportedAlgorithm> {
                Self::parse(name)
            }
        }
    };
}

names! {
    /// `alg` of a JWS.
    JwsAlgorithm {
        /// RSASSA-PKCS1-v1_5 with SHA-256
        Rs256 = "RS256",
        /// RSASSA-PKCS1-v1_5 with SHA-384
        Rs384 = "RS384",
        /// RSASSA-PKCS1-v1_5 with SHA-512
        Rs512 = "RS512",
        /// RSASSA-PSS with SHA-256
        Ps256 = "PS256",
        /// RSASSA-PSS with SHA-384
        Ps384 = "PS384",
        /// RSASSA-PSS with SHA-512
        Ps512 = "PS512",
        /// ECDSA on P-256 with SHA-256
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384
        Es384 = "ES384",
        /// ECDSA on P-521 with SHA-512
        Es512 = "ES512",
        /// Ed25519 (RFC 9864)
        Ed25519 = "Ed25519",
        /// Ed25519 under its older name (RFC 8037); no other curve goes by it here
        EdDsa = "EdDSA",
        /// HMAC with SHA-256
        Hs256 = "HS256",
        /// HMAC with SHA-384
        Hs384 = "HS384",
        /// HMAC with SHA-512
        Hs512 = "HS512",
    }
}

names! {
    /// `alg` of a JWE.
    KeyManagement {
        /// RSAES-OAEP with SHA-1 and MGF1 with SHA-1
        RsaOaep = "RSA-OAEP",
        /// RSAES-OAEP with SHA-256 and MGF1 with SHA-256
        RsaOaep256 = "RSA-OAEP-256",
        /// ECDH-ES, direct key agreement
        EcdhEs = "ECDH-ES",
        /// ECDH-ES with AES-128 key wrap
        EcdhEsA128Kw = "ECDH-ES+A128KW",
        /// ECDH-ES with AES-256 key wrap
        EcdhEsA256Kw = "ECDH-ES+A256KW",
        /// AES-128 key wrap
        A128Kw = "A128KW",
        /// AES-256 key wrap
        A256Kw = "A256KW",
        /// AES-128-GCM key wrap
        A128GcmKw = "A128GCMKW",
        /// AES-256-GCM key wrap
        A256GcmKw = "A256GCMKW",
        /// The shared key encrypts the content itself
        Dir = "dir",
    }
}

names! {
    /// `enc` of a JWE.
    ContentEncryption {
        /// AES-128-GCM
        A128Gcm = "A128GCM",
        /// AES-192-GCM
        A192Gcm = "A192GCM",
        /// AES-256-GCM
        A256Gcm = "A256GCM",
        /// AES-128-CBC with HMAC-SHA-256
        A128CbcHs256 = "A128CBC-HS256",
        /// AES-192-CBC with HMAC-SHA-384
        A192CbcHs384 = "A192CBC-HS384",
        /// AES-256-CBC with HMAC-SHA-512
        A256CbcHs512 = "A256CBC-HS512",
    }
}

/// A SHA-2 function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl Hash {
    /// Length of the output, in bytes.
    #[must_use]
    pub const fn output_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl JwsAlgorithm {
    /// The hash of the algorithm; for Ed25519 it is SHA-512, inside the signature.
    ///
    /// `at_hash` and `c_hash` of an ID token use it too (OpenID Connect Core 3.1.3.6).
    #[must_use]
    pub const fn hash(self) -> Hash {
        match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 | Self::Hs256 => Hash::Sha256,
            Self::Rs384 | Self::Ps384 | Self::Es384 | Self::Hs384 => Hash::Sha384,
            Self::Rs512 | Self::Ps512 | Self::Es512 | Self::Hs512 | Self::Ed25519 | Self::EdDsa => {
                Hash::Sha512
            }
        }
    }

    /// Whether one secret both signs and verifies (HS*).
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }

    /// Whether both names mean one algorithm: equal, or the two names of Ed25519.
    #[must_use]
    pub fn is_same_as(self, other: Self) -> bool {
        self.canonical() == other.canonical()
    }

    const fn canonical(self) -> Self {
        match self {
            Self::EdDsa => Self::Ed25519,
            other => other,
        }
    }
}

impl KeyManagement {
    /// Whether one secret both encrypts and decrypts.
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        matches!(
            self,
            Self::A128Kw | Self::A256Kw | Self::A128GcmKw | Self::A256GcmKw | Self::Dir
        )
    }

    /// Length of the symmetric key in bytes; `None` for asymmetric keys and for `dir`, where `enc` says it.
    #[must_use]
    pub const fn key_len(self) -> Option<usize> {
        match self {
            Self::A128Kw | Self::A128GcmKw => Some(16),
            Self::A256Kw | Self::A256GcmKw => Some(32),
            _ => None,
        }
    }
}

impl ContentEncryption {
    /// Length of the content encryption key, in bytes.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::A128Gcm => 16,
            Self::A192Gcm => 24,
            Self::A256Gcm | Self::A128CbcHs256 => 32,
            Self::A192CbcHs384 => 48,
            Self::A256CbcHs512 => 64,
        }
    }

    /// Length of the initialisation vector, in bytes.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        match self {
            Self::A128Gcm | Self::A192Gcm | Self::A256Gcm => 12,
            Self::A128CbcHs256 | Self::A192CbcHs384 | Self::A256CbcHs512 => 16,
        }
    }

    /// Length of the authentication tag, in bytes.
    #[must_use]
    pub const fn tag_len(self) -> usize {
        match self {
            Self::A128Gcm | Self::A192Gcm | Self::A256Gcm | Self::A128CbcHs256 => 16,
            Self::A192CbcHs384 => 24,
            Self::A256CbcHs512 => 32,
        }
    }
}

/// The one algorithm of a key: for signatures or for encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// Signs or verifies.
    Jws(JwsAlgorithm),
    /// Encrypts or decrypts.
    Jwe(KeyManagement),
}

impl Algorithm {
    /// The name as in JWA.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jws(algorithm) => algorithm.name(),
            Self::Jwe(algorithm) => algorithm.name(),
        }
    }

    /// Reads a name of either kind.
    ///
    /// # Errors
    /// [`UnsupportedAlgorithm`].
    pub fn parse(name: &str) -> Result<Self, UnsupportedAlgorithm> {
        JwsAlgorithm::parse(name)
            .map(Self::Jws)
            .or_else(|_not_jws| KeyManagement::parse(name).map(Self::Jwe))
    }

    /// Whether the key is a shared secret.
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        match self {
            Self::Jws(algorithm) => algorithm.is_symmetric(),
            Self::Jwe(algorithm) => algorithm.is_symmetric(),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for algorithm in JwsAlgorithm::ALL {
            assert_eq!(JwsAlgorithm::parse(algorithm.name()), Ok(*algorithm));
            assert_eq!(
                Algorithm::parse(algorithm.name()),
                Ok(Algorithm::Jws(*algorithm))
            );
        }
        for algorithm in KeyManagement::ALL {
            assert_eq!(
                Algorithm::parse(algorithm.name()),
                Ok(Algorithm::Jwe(*algorithm))
            );
        }
        for enc in ContentEncryption::ALL {
            assert_eq!(ContentEncryption::parse(enc.name()), Ok(*enc));
        }
        assert_eq!(
            (
                JwsAlgorithm::ALL.len(),
                KeyManagement::ALL.len(),
                ContentEncryption::ALL.len()
            ),
            (14, 10, 6)
        );
    }

    #[test]
    fn weak_algorithms_are_refused_by_name() {
        for (name, says) in [
            ("none", "none"),
            ("RSA1_5", "RSA1_5"),
            ("PBES2-HS256+A128KW", "PBES2"),
            ("PBES2-HS512+A256KW", "PBES2"),
            ("es256", "es256"),
            ("None", "None"),
            ("ES256K", "ES256K"),
            ("", "unknown"),
        ] {
            let refusal = Algorithm::parse(name).unwrap_err();
            assert!(refusal.to_string().contains(says), "{name:?}: {refusal}");
        }
        assert!(UnsupportedAlgorithm::Zip.to_string().contains("zip"));
    }

    #[test]
    fn only_the_two_names_of_ed25519_mean_one_algorithm() {
        for a in JwsAlgorithm::ALL {
            for b in JwsAlgorithm::ALL {
                let aliases = a.name().starts_with("Ed") && b.name().starts_with("Ed");
                assert_eq!(a.is_same_as(*b), a == b || aliases, "{a} {b}");
            }
        }
    }
}
