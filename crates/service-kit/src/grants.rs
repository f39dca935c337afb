//! The policy file: which caller may do what with which key sets.
//!
//! ```toml
//! [[grant]]
//! caller = "spiffe://crypto.dev/token"
//! tenant = "default"                 # may be left out: "default"
//! key_sets = ["op/*"]                # globs, see KeySetGlob
//! operations = ["sign", "verify"]
//! ```
//!
//! What no grant names is refused. Grants only add up; none takes away. The file is the same for both daemons,
//! and each looks at its own operations. A change is in force within a second; a mistake in a changed file keeps
//! the old grants. The request path reads a snapshot and takes no lock.

mod file;
mod glob;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

pub use file::{GrantMistake, PolicyError};
pub use glob::KeySetGlob;

use crate::identity::Caller;
use crate::watched::{Watched, WatchedFile};

/// What a grant permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Sign JWTs.
    Sign,
    /// Verify JWTs, with an audience named.
    Verify,
    /// Encrypt to the keys of a key set.
    Encrypt,
    /// Encrypt to a JWK that the caller brings. No key set is involved: ask [`Policy::allows_any`].
    EncryptToJwk,
    /// Decrypt with the keys of a key set.
    Decrypt,
    /// Verify without naming an audience, as introspection does.
    VerifyUncheckedAudience,
    /// Revoke tokens.
    RevokeTokens,
    /// All key administration.
    Administer,
    /// Receive the key feed.
    Feed,
    /// Take a backup of the whole store.
    Backup,
    /// Restore the whole store from a backup.
    Restore,
}

impl Operation {
    /// Every operation, in the order in which messages list them.
    pub const ALL: [Self; 11] = [
        Self::Sign,
        Self::Verify,
        Self::Encrypt,
        Self::EncryptToJwk,
        Self::Decrypt,
        Self::VerifyUncheckedAudience,
        Self::RevokeTokens,
        Self::Administer,
        Self::Feed,
        Self::Backup,
        Self::Restore,
    ];

    /// The name that the policy file uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::Encrypt => "encrypt",
            Self::EncryptToJwk => "encrypt-to-jwk",
            Self::Decrypt => "decrypt",
            Self::VerifyUncheckedAudience => "verify-unchecked-audience",
            Self::RevokeTokens => "revoke-tokens",
            Self::Administer => "administer",
            Self::Feed => "feed",
            Self::Backup => "backup",
            Self::Restore => "restore",
        }
    }
}

/// The text names no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an operation")]
pub struct UnknownOperation;

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL
            .into_iter()
            .find(|operation| operation.as_str() == name);
        found.ok_or(UnknownOperation)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The grants of one policy file. Immutable; replaced whole.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    by_caller: HashMap<String, Vec<Grant>>,
}

#[derive(Clone, Debug)]
struct Grant {
    tenant: String,
    key_sets: Vec<KeySetGlob>,
    operations: BTreeSet<Operation>,
}

impl Policy {
    /// Reads a policy from TOML; the error lists every mistake.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        file::parse(text)
    }

    /// Whether `caller` may do `operation` with `key_set` of `tenant`.
    pub fn allows(
        &self,
        caller: &Caller,
        operation: Operation,
        tenant: &str,
        key_set: &str,
    ) -> bool {
        self.matcher(caller, operation, tenant).matches(key_set)
    }

    /// Whether `caller` may do `operation` with some key set of `tenant`: for what is not about a key set.
    pub fn allows_any(&self, caller: &Caller, operation: Operation, tenant: &str) -> bool {
        self.grants(caller)
            .iter()
            .any(|grant| grant.covers(operation, tenant))
    }

    /// The key sets of `tenant` with which `caller` may do `operation`: ask it name by name.
    pub fn matcher<'a>(
        &'a self,
        caller: &Caller,
        operation: Operation,
        tenant: &'a str,
    ) -> SetMatcher<'a> {
        SetMatcher {
            grants: self.grants(caller),
            operation,
            tenant,
        }
    }

    /// The globs of `tenant` granted to `caller` for `operation`.
    pub fn globs<'a>(
        &'a self,
        caller: &Caller,
        operation: Operation,
        tenant: &'a str,
    ) -> impl Iterator<Item = &'a KeySetGlob> {
        let covering = self
            .grants(caller)
            .iter()
            .filter(move |grant| grant.covers(operation, tenant));
        covering.flat_map(|grant| &grant.key_sets)
    }

    /// The tenants in which `caller` may do `operation` with some key set.
    pub fn tenants(&self, caller: &Caller, operation: Operation) -> BTreeSet<&str> {
        let grants = self.grants(caller).iter();
        let covering = grants.filter(|grant| grant.operations.contains(&operation));
        covering.map(|grant| grant.tenant.as_str()).collect()
    }

    fn grants(&self, caller: &Caller) -> &[Grant] {
        self.by_caller.get(caller.name()).map_or(&[], Vec::as_slice)
    }
}

impl Grant {
    fn covers(&self, operation: Operation, tenant: &str) -> bool {
        self.tenant == tenant && self.operations.contains(&operation)
    }
}

/// The key sets that one caller may use for one operation.
#[derive(Clone, Copy, Debug)]
pub struct SetMatcher<'a> {
    grants: &'a [Grant],
    operation: Operation,
    tenant: &'a str,
}

impl SetMatcher<'_> {
    /// Whether the key set of this name is among them. The name need not exist.
    pub fn matches(&self, key_set: &str) -> bool {
        let covering = self
            .grants
            .iter()
            .filter(|grant| grant.covers(self.operation, self.tenant));
        covering
            .flat_map(|grant| &grant.key_sets)
            .any(|glob| glob.matches(key_set))
    }
}

/// The policy in force: follows its file.
pub type PolicyHandle = Watched<Policy>;

/// Opens the policy file; run [`Watched::watch`] on the handle to follow it.
pub fn open(path: &Path) -> Result<PolicyHandle, PolicyError> {
    Watched::open("policy", vec![WatchedFile::public(path)], |contents| {
        let bytes = contents.first().map_or(&[][..], |content| content);
        let text = std::str::from_utf8(bytes).map_err(|_not_text| PolicyError::NotUtf8)?;
        Policy::parse(text)
    })
}

#[cfg(test)]
mod tests;
