//! What a state permits: the tables of the lifecycle, as questions to a [`KeySet`].
//!
//! | signing sets | in JWKS | signs | verifies | fed |
//! | --- | --- | --- | --- | --- |
//! | Prepared | yes | no | yes, see below | public half; symmetric keys whole |
//! | Active | yes | yes | yes | whole |
//! | Retiring | yes | no | yes | public half; symmetric keys whole |
//! | Retired | no | no | hints, within the hint window | the same, where there is a hint window |
//! | Revoked, Destroyed | no | no | no | nothing |
//!
//! | encryption sets | in JWKS | encrypts | decrypts | fed |
//! | --- | --- | --- | --- | --- |
//! | Prepared | no | no | yes | whole |
//! | Active | yes | yes | yes | whole |
//! | Retiring | no | no | yes | whole |
//! | Retired, Revoked, Destroyed | no | no | no | nothing |
//!
//! A Prepared key verifies because promotion reaches instances one after the other: the first to sign
//! with it must not be refused by the last to hear of it. Sealing follows the signing table's states and
//! opens what it sealed by the same reasoning.

use crate::{KeySet, Publish, State, Time, Use, Version};

/// What a verification is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Access: the token must be live.
    #[default]
    Access,
    /// An `id_token_hint`: expired tokens and Retired keys, within the hint window.
    Hint,
}

/// How much of a key instances are fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fed {
    /// Its kid and state alone.
    Nothing,
    /// The public half.
    Public,
    /// The secret or private key, wrapped to the instance.
    Whole,
}

impl KeySet {
    /// Whether the issuer's JWKS lists the version.
    #[must_use]
    pub fn in_jwks(&self, version: &Version) -> bool {
        self.publish == Publish::Public && self.is_listed(version)
    }

    /// Whether the trust that the service's own clients receive lists the version.
    #[must_use]
    pub fn in_trust(&self, version: &Version) -> bool {
        self.publish >= Publish::Internal && self.is_listed(version)
    }

    fn is_listed(&self, version: &Version) -> bool {
        let in_use = match self.key_use {
            Use::Sign => matches!(
                version.state,
                State::Prepared | State::Active | State::Retiring
            ),
            Use::Encrypt => version.state == State::Active,
            Use::RawSign | Use::Seal => false,
        };
        in_use && !version.is_symmetric()
    }

    /// How much of the version instances are fed.
    #[must_use]
    pub fn fed(&self, version: &Version) -> Fed {
        let part = match (self.key_use, version.state) {
            (_, State::Revoked | State::Destroyed) | (Use::Encrypt, State::Retired) => Fed::Nothing,
            (_, State::Retired)
                if self.profile.hint_window.is_zero() || self.key_use != Use::Sign =>
            {
                Fed::Nothing
            }
            (_, State::Active) | (Use::Encrypt, _) => Fed::Whole,
            (_, State::Prepared | State::Retiring | State::Retired) if version.is_symmetric() => {
                Fed::Whole
            }
            (_, State::Prepared | State::Retiring | State::Retired) => Fed::Public,
        };
        if version.public_only {
            part.min(Fed::Public)
        } else {
            part
        }
    }

    /// Whether the version signs now. At most one of a set does.
    #[must_use]
    pub fn may_sign(&self, version: &Version) -> bool {
        matches!(self.key_use, Use::Sign | Use::RawSign)
            && version.state == State::Active
            && !version.public_only
    }

    /// Whether signatures of the version are accepted for that purpose at `now`. Whether the token itself
    /// is live, or within the hint window, is the caller's question.
    #[must_use]
    pub fn may_verify(&self, version: &Version, purpose: Purpose, now: Time) -> bool {
        let verifies = match version.state {
            State::Prepared | State::Active | State::Retiring => true,
            State::Retired => {
                let until = version
                    .retired_at
                    .map(|retired| retired + self.profile.hint_window);
                let hints = purpose == Purpose::Hint && self.key_use == Use::Sign;
                hints && until.is_some_and(|until| now < until)
            }
            State::Revoked | State::Destroyed => false,
        };
        matches!(self.key_use, Use::Sign | Use::RawSign) && verifies
    }

    /// Whether new ciphertexts are made with the version: encrypted to it, or sealed under it.
    #[must_use]
    pub fn may_encrypt(&self, version: &Version) -> bool {
        matches!(self.key_use, Use::Encrypt | Use::Seal) && version.state == State::Active
    }

    /// Whether ciphertexts of the version are opened.
    #[must_use]
    pub fn may_decrypt(&self, version: &Version) -> bool {
        let opens = matches!(
            version.state,
            State::Prepared | State::Active | State::Retiring
        );
        matches!(self.key_use, Use::Encrypt | Use::Seal) && opens && !version.public_only
    }
}
