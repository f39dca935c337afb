//! Nested tokens (RFC 7519 section 11.2): signed, then encrypted.

use jose::jwt::{Claims, RejectReason, Verified};
use service_kit::grants::Operation;
use service_kit::identity::Caller;

use super::{
    DataPlane, DecryptCommand, EncryptCommand, EncryptedToken, SignCommand, SignedToken,
    VerifyCommand,
};
use crate::refusal::{Refusal, Violation};

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
    /// What the token inside has to satisfy; its own token is ignored.
    pub verify: VerifyCommand,
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
    ) -> Result<NestedToken, Refusal> {
        let SignThenEncryptCommand { sign, encrypt } = command;
        let recipient = self.recipient_of_nested(caller, &sign, &encrypt);
        let recipient = recipient.map_err(|refusal| claims_first(&sign, refusal))?;
        let inner = self.sign(caller, sign).await.map_err(inside)?;
        let outer = self.encrypt_to(&recipient, inner.token.as_bytes(), "JWT")?;
        Ok(NestedToken { inner, outer })
    }

    fn recipient_of_nested(
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
    ) -> Result<Result<Verified<Claims>, NestedRejection>, Refusal> {
        let DecryptThenVerifyCommand { decrypt, verify } = command;
        self.access().require_all(
            caller,
            Operation::Decrypt,
            &decrypt.tenant,
            &decrypt.key_sets,
        )?;
        self.may_verify_with(caller, &verify)?;
        let Some(outer) = self.decrypt(caller, decrypt).await? else {
            return Ok(Err(NestedRejection::Decryption));
        };
        // What is not text is no token.
        let Ok(inner) = std::str::from_utf8(&outer.payload) else {
            return Ok(Err(NestedRejection::Inner(RejectReason::Malformed)));
        };
        let verdict = self.judge(caller, &verify, inner)?;
        self.metrics()
            .verified(verdict.as_ref().err().map(|reason| reason.name()));
        Ok(verdict.map_err(NestedRejection::Inner))
    }
}

/// Fields come before grants and existence; see [`super::sign`].
fn claims_first(sign: &SignCommand, refusal: Refusal) -> Refusal {
    match super::claims_violations(&sign.claims, sign.lifetime) {
        none if none.is_empty() => refusal,
        found => inside(Refusal::Fields(found)),
    }
}

/// Names fields of the inner request as the outer one has them.
fn inside(refusal: Refusal) -> Refusal {
    let Refusal::Fields(violations) = refusal else {
        return refusal;
    };
    let rename = |violation: Violation| Violation {
        field: format!("sign.{}", violation.field),
        ..violation
    };
    Refusal::Fields(violations.into_iter().map(rename).collect())
}
