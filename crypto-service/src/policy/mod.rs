//! Which caller may do what: the policy file's grants, asked with the caller first.
//!
//! What is not granted is refused in the same words whether the key set exists or not.

use std::fmt;
use std::sync::Arc;

use service_kit::grants::{Operation, Policy, PolicyHandle};
use service_kit::identity::Caller;

/// The rule that refused: no grant covers the operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NotGranted {
    operation: Operation,
    tenant: String,
    key_set: Option<String>,
}

impl fmt::Display for NotGranted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no grant gives the caller `{}`", self.operation)?;
        if let Some(key_set) = &self.key_set {
            write!(f, " on key set `{key_set}`")?;
        }
        write!(f, " in tenant `{}`", self.tenant)
    }
}

/// Demands a grant on a key set of a policy at hand: for whoever asks many times at once.
///
/// # Errors
/// [`NotGranted`].
pub(crate) fn require_of(
    policy: &Policy,
    caller: &Caller,
    operation: Operation,
    tenant: &str,
    key_set: &str,
) -> Result<(), NotGranted> {
    if policy.allows(caller, operation, tenant, key_set) {
        return Ok(());
    }
    Err(NotGranted {
        operation,
        tenant: tenant.to_owned(),
        key_set: Some(key_set.to_owned()),
    })
}

/// The grants in force. Cheap to clone; follows the policy file.
#[derive(Clone, Debug)]
pub struct Access(PolicyHandle);

impl Access {
    /// Grants that follow `policy`.
    #[must_use]
    pub fn new(policy: PolicyHandle) -> Self {
        Self(policy)
    }

    /// Whether `caller` may do `operation` with `key_set`.
    #[must_use]
    pub fn allows(
        &self,
        caller: &Caller,
        operation: Operation,
        tenant: &str,
        key_set: &str,
    ) -> bool {
        self.0.current().allows(caller, operation, tenant, key_set)
    }

    /// Demands a grant on a key set.
    ///
    /// # Errors
    /// [`NotGranted`].
    pub fn require(
        &self,
        caller: &Caller,
        operation: Operation,
        tenant: &str,
        key_set: &str,
    ) -> Result<(), NotGranted> {
        require_of(&self.0.current(), caller, operation, tenant, key_set)
    }

    /// All grants, as they are now, for [`require_of`].
    pub(crate) fn current(&self) -> Arc<Policy> {
        self.0.current()
    }

    /// Demands a grant on some key set of the tenant.
    ///
    /// # Errors
    /// [`NotGranted`].
    pub fn require_any(
        &self,
        caller: &Caller,
        operation: Operation,
        tenant: &str,
    ) -> Result<(), NotGranted> {
        if self.0.current().allows_any(caller, operation, tenant) {
            return Ok(());
        }
        Err(NotGranted {
            operation,
            tenant: tenant.to_owned(),
            key_set: None,
        })
    }

    /// Demands grants on each of the named sets, or on some set of the tenant where none is named.
    ///
    /// # Errors
    /// [`NotGranted`] for the first that is missing.
    pub fn require_all(
        &self,
        caller: &Caller,
        operation: Operation,
        tenant: &str,
        key_sets: &[String],
    ) -> Result<(), NotGranted> {
        if key_sets.is_empty() {
            return self.require_any(caller, operation, tenant);
        }
        key_sets
            .iter()
            .try_for_each(|key_set| self.require(caller, operation, tenant, key_set))
    }

    /// Demands any grant of this service in the tenant.
    ///
    /// # Errors
    /// [`NotGranted`] for `verify`.
    pub fn require_member(&self, caller: &Caller, tenant: &str) -> Result<(), NotGranted> {
        const DATA_PLANE: [Operation; 6] = [
            Operation::Sign,
            Operation::Verify,
            Operation::Encrypt,
            Operation::EncryptToJwk,
            Operation::Decrypt,
            Operation::VerifyUncheckedAudience,
        ];
        let policy = self.0.current();
        if DATA_PLANE
            .iter()
            .any(|operation| policy.allows_any(caller, *operation, tenant))
        {
            return Ok(());
        }
        Err(NotGranted {
            operation: Operation::Verify,
            tenant: tenant.to_owned(),
            key_set: None,
        })
    }

    /// Changes with each reload of the grants.
    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.changes()
    }
}
