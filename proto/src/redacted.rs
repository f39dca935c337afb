//! `Debug` for messages that carry tokens, claims or keys: the names are shown, the rest is not.

use core::fmt;

/// Shows the listed fields and leaves out every other one.
macro_rules! redacted {
    ($($message:path { $($field:ident),* })*) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($field), &self.$field))*
                    .finish_non_exhaustive()
            }
        }
    )*};
}

#[cfg(feature = "jwt")]
mod jwt {
    use super::fmt;
    use crate::jwt::v1::{
        SignBatchItem, SignRequest, SignResponse, SignThenEncryptResponse, ValidToken,
        VerifyRequest, sign_request::ClaimsInput,
    };

    redacted! {
        SignRequest { tenant, key_set, lifetime, typ, request_id }
        SignResponse { kid, expires_at }
        SignBatchItem { sign, at_hash_of, c_hash, timeout }
        VerifyRequest { tenant, key_sets, types, leeway, purpose, request_id }
        ValidToken { kid, key_set }
        SignThenEncryptResponse { kid, expires_at, encryption_kid }
    }

    impl fmt::Debug for ClaimsInput {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(match self {
                Self::ClaimsJson(_) => "ClaimsJson(..)",
                Self::Claims(_) => "Claims(..)",
            })
        }
    }
}

#[cfg(feature = "jwe")]
mod jwe {
    use super::fmt;
    use crate::jwe::v1::{
        DecryptRequest, DecryptedToken, EncryptRequest, EncryptResponse, encrypt_request::Recipient,
    };

    redacted! {
        EncryptRequest { tenant, alg, enc, cty, request_id }
        EncryptResponse { kid }
        DecryptRequest { tenant, key_sets, request_id }
        DecryptedToken { kid, key_set }
    }

    impl fmt::Debug for Recipient {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::KeySet(name) => f.debug_tuple("KeySet").field(name).finish(),
                Self::RecipientJwk(_) => f.write_str("RecipientJwk(..)"),
                Self::ClientId(id) => f.debug_tuple("ClientId").field(id).finish(),
            }
        }
    }
}

#[cfg(feature = "keys")]
mod keys {
    use super::fmt;
    use crate::keys::v1::{
        FedVersion, ImportKeyRequest, IssuedEntry, IssuedKeys, ListIssuedRequest,
        RevokeTokenRequest, TokenMatch, revoke_token_request::Target,
    };

    redacted! {
        RevokeTokenRequest { tenant, key_sets, expires_at, request_id }
        TokenMatch { issued_before }
        ImportKeyRequest { tenant, key_set, state, force, request_id, expected_revision }
        FedVersion { kid, algorithm, state }
        IssuedKeys { public_key }
        IssuedEntry { id, issued_at, tenant, key_set, kid, caller }
        ListIssuedRequest { tenant, key_set, kid, caller, page_size, count_only }
    }

    impl fmt::Debug for Target {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(match self {
                Self::Jti(_) => "Jti(..)",
                Self::Match(_) => "Match(..)",
            })
        }
    }
}
