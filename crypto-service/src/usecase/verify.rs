//! Verifying: policy, then the rules that services and thin clients share.

use jose::jwt::{Claims, NotVerified, RejectReason, Verified, VerifyRules, verify};
use keyring::Use;
use service_kit::grants::Operation;
use service_kit::identity::Caller;

use super::DataPlane;
use super::trust::CallersView;
use crate::refusal::Refusal;

/// A token and what it has to satisfy.
pub struct VerifyCommand {
    /// The tenant.
    pub tenant: String,
    /// The JWS in compact form.
    pub token: String,
    /// The sets that may have signed it; empty = every one that the caller may verify with.
    pub key_sets: Vec<String>,
    /// Whether the audience goes unchecked.
    pub audience_unchecked: bool,
    /// What the token has to satisfy.
    pub rules: VerifyRules,
    /// What stands before field names in refusals: `verify.` in a nested request.
    pub prefix: &'static str,
}

impl std::fmt::Debug for VerifyCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyCommand")
            .field("key_sets", &self.key_sets)
            .finish_non_exhaustive()
    }
}

/// The verdict on a token.
pub type VerifyVerdict = Result<Verified<Claims>, RejectReason>;

impl DataPlane {
    /// Judges a token.
    ///
    /// # Errors
    /// [`Refusal`]; what is wrong with the token is in the verdict.
    pub fn verify(
        &self,
        caller: &Caller,
        command: &VerifyCommand,
    ) -> Result<VerifyVerdict, Refusal> {
        self.may_verify_with(caller, command)?;
        let verdict = self.judge(caller, command, &command.token)?;
        self.metrics()
            .verified(verdict.as_ref().err().map(|reason| reason.name()));
        Ok(verdict)
    }

    /// Grants, existence and the lease.
    pub(super) fn may_verify_with(
        &self,
        caller: &Caller,
        command: &VerifyCommand,
    ) -> Result<(), Refusal> {
        let VerifyCommand {
            tenant, key_sets, ..
        } = command;
        self.access()
            .require_all(caller, Operation::Verify, tenant, key_sets)?;
        if command.audience_unchecked {
            self.access().require_all(
                caller,
                Operation::VerifyUncheckedAudience,
                tenant,
                key_sets,
            )?;
        }
        self.may_verify()?;
        let field = if command.prefix.is_empty() {
            "key_sets"
        } else {
            "verify.key_sets"
        };
        key_sets.iter().try_for_each(|name| {
            self.set_of(field, tenant, name, Use::Sign)
                .map(|_exists| ())
        })
    }

    /// Demands that these key sets are there, for a caller whose grants have been asked for, and that they may be relied on.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn demand_sign_sets(&self, tenant: &str, key_sets: &[String]) -> Result<(), Refusal> {
        self.may_verify()?;
        key_sets.iter().try_for_each(|name| {
            self.set_of("key_sets", tenant, name, Use::Sign)
                .map(|_exists| ())
        })
    }

    /// The verdict alone, on any token.
    pub(super) fn judge(
        &self,
        caller: &Caller,
        command: &VerifyCommand,
        token: &str,
    ) -> Result<VerifyVerdict, Refusal> {
        let snapshot = self.keys().snapshot();
        let view = CallersView {
            caller,
            access: self.access(),
            tenant_name: &command.tenant,
            tenant: snapshot.tenant(&command.tenant),
            private: self.private(),
            named: &command.key_sets,
            audience_unchecked: command.audience_unchecked,
        };
        let verdict = match verify(token, &view, &command.rules, self.clock().unix_seconds()) {
            Ok(claims) => Ok(claims),
            Err(NotVerified::Rejected(reason)) => Err(reason),
            // This view never says so: it is the service's own.
            Err(NotVerified::AskService) => Err(RejectReason::UnknownKey),
        };
        self.may_verify()?;
        Ok(verdict)
    }
}
