//! What key sets have issued.

use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  cryptoctl issued count --key-set op/access-token                     by key
  cryptoctl issued list --kid KID --issued-after 2027-01-31T09:00:00Z
  cryptoctl issued list --sub alice --caller spiffe://crypto.dev/token
  cryptoctl --output json issued list --kid KID --limit 100000 > issued.json
  cryptoctl issued list --kid KID --replica keys-1:50052 --replica keys-2:50052

Only key sets with --record-issued have records. A key-manager answers with what was shipped to it: where several share a store, name all of
them with --replica. What is known to be missing is said on standard error, and stands in the JSON as complete_until and behind.";

/// What key sets have issued.
#[derive(Debug, Subcommand)]
pub(crate) enum Issued {
    /// List issued tokens, oldest first: jti, key, caller, expiry; never the token.
    #[command(after_help = EXAMPLES)]
    List {
        #[command(flatten)]
        which: IssuedWhich,
        /// At most so many.
        #[arg(long, default_value = "1000")]
        limit: usize,
    },
    /// Count issued tokens by key.
    #[command(after_help = EXAMPLES)]
    Count {
        #[command(flatten)]
        which: IssuedWhich,
    },
}

/// Which tokens.
#[derive(Debug, Args)]
pub(crate) struct IssuedWhich {
    /// Of this key set of the tenant. Default: every one that the caller administers.
    #[arg(long)]
    pub(crate) key_set: Option<String>,
    /// By this key.
    #[arg(long)]
    pub(crate) kid: Option<String>,
    /// Asked for by this caller, such as spiffe://crypto.dev/token.
    #[arg(long)]
    pub(crate) caller: Option<String>,
    /// With this `sub`.
    #[arg(long)]
    pub(crate) sub: Option<String>,
    /// Not issued before (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) issued_after: Option<jiff::Timestamp>,
    /// Issued before (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) issued_before: Option<jiff::Timestamp>,
    /// A key-manager to ask; may be repeated, and the answers become one. Default: the one of --keys-endpoint.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) replica: Vec<String>,
}
