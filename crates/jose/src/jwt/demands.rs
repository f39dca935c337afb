//! What a verifier demands of a token besides a signature.

use super::issue::Violation;

/// Largest leeway, in seconds.
pub const MAX_LEEWAY: u64 = 60;

/// What a token is verified for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// It is relied on now.
    #[default]
    Access,
    /// It only hints at who it was about (`id_token_hint`): expired tokens and Retired keys are accepted within
    /// the set's hint window, revoked ones never.
    Hint,
}

/// What a caller demands of a token. [`VerifyRules`] is made from it.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// The issuer; empty leaves it to the key set.
    pub issuer: String,
    /// The audiences of which the token must name one.
    pub audiences: Vec<String>,
    /// Whether the audience may go unchecked; needed where `audiences` is empty.
    pub audience_unchecked: bool,
    /// The values of `typ` that are accepted; empty leaves it to the key set's profile.
    pub types: Vec<String>,
    /// The key sets whose keys are accepted; empty is all of them.
    pub key_sets: Vec<String>,
    /// Seconds of tolerance for clocks, at most 60.
    pub leeway: u64,
    /// What the token is verified for.
    pub purpose: Purpose,
}

/// Checked demands on a token.
#[derive(Debug, Clone)]
pub struct VerifyRules(pub(super) VerifyOptions);

impl TryFrom<VerifyOptions> for VerifyRules {
    type Error = Vec<Violation>;

    fn try_from(options: VerifyOptions) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        if options.leeway > MAX_LEEWAY {
            violations.push(Violation {
                field: "leeway",
                fix: "must be at most 60 seconds",
            });
        }
        if options.audiences.is_empty() && !options.audience_unchecked {
            violations.push(Violation {
                field: "audiences",
                fix: "name an audience, or set audience_unchecked",
            });
        }
        for (field, list) in [
            ("audiences", &options.audiences),
            ("types", &options.types),
            ("key_sets", &options.key_sets),
        ] {
            if list.iter().any(String::is_empty) {
                violations.push(Violation {
                    field,
                    fix: "must not hold an empty value",
                });
            }
        }
        if violations.is_empty() {
            Ok(Self(options))
        } else {
            Err(violations)
        }
    }
}

impl VerifyRules {
    /// The key sets whose keys are accepted; empty is all of them.
    #[must_use]
    pub fn key_sets(&self) -> &[String] {
        &self.0.key_sets
    }

    /// Whether the audience goes unchecked.
    #[must_use]
    pub fn audience_unchecked(&self) -> bool {
        self.0.audience_unchecked
    }

    /// What the token is verified for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.0.purpose
    }
}
