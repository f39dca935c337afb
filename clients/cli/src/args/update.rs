//! Changes of a key set.

use std::time::Duration;

use clap::Args;

use super::{Guard, Publish, seconds};

/// Changes of a key set; what is not named stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cryptoctl keyset update op/access-token --record-issued true
  cryptoctl keyset update op/access-token --max-lifetime 900 --publish internal
  cryptoctl keyset update op/reports --alg ES384     the standby key is revoked, and another is made")]
pub(crate) struct Update {
    /// Its name.
    pub(crate) name: String,
    /// Record each token that is issued, for `issued list`; what cannot be recorded is not signed.
    #[arg(long, value_name = "BOOL")]
    pub(crate) record_issued: Option<bool>,
    /// The `iss` of its tokens; empty = none.
    #[arg(long)]
    pub(crate) issuer: Option<String>,
    /// Who sees its public keys.
    #[arg(long, value_enum)]
    pub(crate) publish: Option<Publish>,
    /// The longest lifetime of its tokens, in seconds.
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    pub(crate) max_lifetime: Option<Duration>,
    /// The algorithm (JWA) of its next key.
    #[arg(long)]
    pub(crate) alg: Option<String>,
    #[command(flatten)]
    pub(crate) guard: Guard,
}
