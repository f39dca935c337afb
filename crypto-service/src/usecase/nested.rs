//! Nested tokens (RFC 7519 section 11.2): signed, then encrypted.

use jose::jwt::{Claims, RejectReason, TokenHashes, Verified};
use service_kit::grants::Operation;
use service_kit::identity::Caller;
use tokio::time::Instant;

use super::sign::{claims_violations, inside};
use super::{
    DataPlane, DecryptCommand, Demands, EncryptCommand, EncryptedToken, SignCommand, SignedToken,
};
use crate::refusal::Refusal;

/// What to sign, and for whom to encrypt it.
#[derive(Debug)]
pub struct SignThenEncryptCommand {
    /// The inner token.
    pub sign: SignCommand,
    /// The outer one; its payload is ignored.
    pub encrypt: EncryptCommand,
}

/// A nested token.
#[derive(Debug)]
pub struct NestedToken {
    /// What is known of the token inside. Its text is in `outer` only.
    pub inner: SignedToken,
    /// The token.
    pub outer: EncryptedToken,
}

/// A nested token, and what the token inside has to satisfy.
#[derive(Debug)]
pub struct DecryptThenVerifyCommand {
    /// How to open it.
    pub decrypt: DecryptCommand,
    /// What the token inside has to satisfy.
    pub demands: Demands,
}

/// Why a nested token is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NestedRejection {
    /// The outer token; nothing more is said.
    Decryption,
    /// The token inside.
    Inner(RejectReason),
}

impl DataPlane {
    /// Signs claims, then encrypts the token.
    ///
    /// # Errors
    /// [`Refusal`]; both grants are asked for before anything is looked up.
    pub async fn sign_then_encrypt(
        &self,
        caller: &Caller,
        command: SignThenEncryptCommand,
        deadline: Option<Instant>,
    ) -> Result<NestedToken, Refusal> {
        let SignThenEncryptCommand { sign, encrypt } = command;
        let recipient = self.recipient_of_nested(caller, &sign, &encrypt);
        let first = |refusal| claims_first(&sign, TokenHashes::default(), refusal);
        let recipient = recipient.map_err(first)?;
        let inner = self.sign(caller, sign, deadline).await;
        let inner = inner.map_err(|refusal| inside("sign.", refusal))?;
        let outer = self.encrypt_to(&recipient, inner.token.as_bytes(), "JWT")?;
        Ok(NestedToken { inner, outer })
    }

    pub(super) fn recipient_of_nested(
        &self,
        caller: &Caller,
        sign: &SignCommand,
        encrypt: &EncryptCommand,
    ) -> Result<super::encrypt::Prepared, Refusal> {
        self.access()
            .require(caller, Operation::Sign, &sign.tenant, &sign.key_set)?;
        self.may_encrypt(caller, encrypt)?;
        self.recipient(encrypt)
    }

    /// Decrypts a nested token, then verifies the token inside.
    ///
    /// # Errors
    /// [`Refusal`]; all grants are asked for before anything is looked up.
    pub async fn decrypt_then_verify(
        &self,
        caller: &Caller,
        command: DecryptThenVerifyCommand,
        deadline: Option<Instant>,
    ) -> Result<Result<Verified<Claims>, NestedRejection>, Refusal> {
        let DecryptThenVerifyCommand { decrypt, demands } = command;
        self.access().require_all(
            caller,
            Operation::Decrypt,
            &decrypt.tenant,
            &decrypt.key_sets,
        )?;
        self.may_verify_with(caller, &demands)?;
        let Some(mut outer) = self.decrypt(caller, decrypt, deadline).await? else {
            return Ok(Err(NestedRejection::Decryption));
        };
        // What is not text is no token.
        let Ok(inner) = String::from_utf8(std::mem::take(&mut *outer.payload)) else {
            return Ok(Err(NestedRejection::Inner(RejectReason::Malformed)));
        };
        let verdict = self.judge(caller, &demands, inner, deadline).await?;
        Ok(verdict.map_err(NestedRejection::Inner))
    }
}

/// Fields come before grants and existence; see [`super::sign`].
pub(super) fn claims_first(
    sign: &SignCommand,
    hashes: TokenHashes<'_>,
    refusal: Refusal,
) -> Refusal {
    match claims_violations(sign, hashes) {
        none if none.is_empty() => refusal,
        found => inside("sign.", Refusal::Fields(found)),
    }
}
