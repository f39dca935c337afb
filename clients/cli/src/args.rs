//! The command line. The environment is read here and nowhere else.

mod issued;
mod update;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use issued::{Issued, IssuedWhich};
pub(crate) use update::Update;

use crate::output::Format;

const EXAMPLES: &str = "\
Examples:
  cryptoctl dev run                                     both daemons, key sets and a tour
  cryptoctl keyset create op/reports --alg ES256 --publish public
  cryptoctl keyset rotate op/access-token               after its waits
  cryptoctl keyset revoke op/access-token KID           at once
  cryptoctl issued list --kid KID                       what it has signed, of key sets that record it
  cryptoctl token revoke --sub alice                    everything that alice was issued so far
  cryptoctl sign op/access-token '{\"sub\":\"alice\",\"aud\":\"api\"}'
  cryptoctl sign op/access-token - < claims.json | cryptoctl verify - --audience api
  cryptoctl --output json keyset show op/id-token

Exit codes: 0 done, 1 rejected or refused, 2 and 64 wrong usage, 65 wrong input, 69 unavailable, 74 files, 77 not granted.";

const BACKUP_EXAMPLES: &str = "\
Examples:
  cryptoctl backup keys-2027-01-31.backup
  cryptoctl --as operator --certs /etc/crypto backup /backups/keys.backup

Keep the key-encryption key elsewhere than the backups: with both, everything opens; without it, nothing does.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  cryptoctl restore keys.backup --dry-run               verify it, and say what it would undo
  cryptoctl restore keys.backup                         refused where it would undo something
  cryptoctl restore keys.backup --force                 also where it does

See docs/restore.md.";

/// Key sets, tokens and the development set-up of the crypto-service.
#[derive(Debug, Parser)]
#[command(name = "cryptoctl", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where the crypto-service listens.
    #[arg(
        long,
        global = true,
        env = "CRYPTO_GRPC",
        default_value = "127.0.0.1:50051",
        value_name = "HOST:PORT"
    )]
    pub(crate) endpoint: String,
    /// Where the key-manager listens.
    #[arg(
        long,
        global = true,
        env = "KEYS_GRPC",
        default_value = "127.0.0.1:50052",
        value_name = "HOST:PORT"
    )]
    pub(crate) keys_endpoint: String,
    /// The folder with `ca.crt`, and `ROLE.crt` and `ROLE.key` of who calls.
    #[arg(long, global = true, default_value = "var/dev", value_name = "DIR")]
    pub(crate) certs: PathBuf,
    /// Who calls. Default: `admin` for key sets, `management` to revoke tokens, `token` to sign and encrypt, `auth` to verify and decrypt.
    #[arg(long = "as", global = true, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// The tenant.
    #[arg(long, global = true, default_value = "default")]
    pub(crate) tenant: String,
    /// How answers are written.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub(crate) output: Format,
    /// How long a call may take, in seconds.
    #[arg(long, global = true, default_value = "5", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) timeout: Duration,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Key sets and their life.
    #[command(subcommand)]
    Keyset(Keyset),
    /// Instances of the crypto-service.
    #[command(subcommand)]
    Subscriber(Subscriber),
    /// The audit log of the key-manager.
    #[command(subcommand)]
    Audit(Audit),
    /// Keys of keys: the data keys that seal the store, and the key-encryption keys that wrap those.
    #[command(subcommand)]
    Sealing(Sealing),
    /// What key sets have issued that record it: which tokens did we sign with this key?
    #[command(subcommand)]
    Issued(Issued),
    /// Take a backup of the whole store: one sealed file, of mode 0600, which opens with the key-encryption key alone.
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup {
        /// The file to write. It appears once it is whole, and one that exists is not written over.
        file: PathBuf,
    },
    /// Restore the whole store from a backup. Exit code 1 where it would undo something and is not forced.
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Restore),
    /// Sign claims.
    Sign(Sign),
    /// Verify a token. Exit code 1 when it is rejected.
    Verify(Verify),
    /// Encrypt a payload.
    Encrypt(Encrypt),
    /// Decrypt a token. Exit code 1 when it is rejected.
    Decrypt(Decrypt),
    /// Tokens that were signed.
    #[command(subcommand)]
    Token(Token),
    /// Print the JWK Set of a tenant.
    Jwks {
        /// Only the sets of this issuer.
        #[arg(long)]
        issuer: Option<String>,
    },
    /// Make a private key as a JWK, here, without a service: for `keyset import`, peers and tests.
    Keygen {
        /// The algorithm (JWA), such as ES256, RS256, Ed25519, HS256, RSA-OAEP-256, ECDH-ES+A256KW.
        algorithm: String,
        /// RSA modulus: 2048, 3072 or 4096.
        #[arg(long, default_value = "2048")]
        rsa_bits: u32,
        /// Curve for ECDH-ES: P-256, P-384, P-521 or X25519.
        #[arg(long)]
        curve: Option<String>,
        /// Write it to a new file of mode 0600 instead of standard output.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Make random bytes in hex, such as a key-encryption key.
    Secret {
        /// How many bytes.
        #[arg(long, default_value = "32", value_parser = clap::value_parser!(u16).range(16..=1024))]
        bytes: u16,
        /// Write them to a new file of mode 0600 instead of standard output.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// The development set-up.
    #[command(subcommand)]
    Dev(Dev),
    /// Print the completions of a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Key sets and their life.
#[derive(Debug, Subcommand)]
pub(crate) enum Keyset {
    /// Create a key set; its first key signs after its waits, or after `rotate --force`.
    Create(Create),
    /// List key sets.
    List,
    /// Show a key set, its keys, and what its next promotion waits for.
    Show {
        /// Its name.
        name: String,
    },
    /// Change the rules of a key set.
    Update(Update),
    /// Promote the standby key when its waits are over.
    Rotate {
        /// The set's name.
        name: String,
        /// Promote at once; the answer says what this may have broken.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        guard: Guard,
    },
    /// Import a key: a JWK, its `kid` kept, or PKCS#8 (.pem, .der, .p8).
    Import {
        /// The set's name.
        name: String,
        /// The file with the key; `-` is standard input. PEM and DER are told from JSON by what they begin with.
        file: String,
        /// The key id of a key in PKCS#8. Default: its thumbprint.
        #[arg(long)]
        kid: Option<String>,
        /// The algorithm (JWA) of a key in PKCS#8. Default: the set's.
        #[arg(long)]
        alg: Option<String>,
        /// What it enters as.
        #[arg(long = "state", value_enum, default_value = "prepared")]
        state: ImportState,
        /// When a key imported as retiring is retired (RFC 3339).
        #[arg(long, value_name = "TIME")]
        retire_at: Option<jiff::Timestamp>,
        /// Permit `--state active`.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        guard: Guard,
    },
    /// Destroy a retired or revoked key after a time in which it can be called off.
    Destroy {
        /// The set's name.
        name: String,
        /// The key.
        kid: String,
        /// From now to the destruction, in seconds: 60 to 31622400. Default: 7 days.
        #[arg(long, value_parser = seconds, value_name = "SECONDS", conflicts_with = "cancel")]
        after: Option<Duration>,
        /// Call a scheduled destruction off.
        #[arg(long)]
        cancel: bool,
        #[command(flatten)]
        guard: Guard,
    },
    /// Revoke a compromised key: nothing it signed verifies from then on.
    Revoke {
        /// The set's name.
        name: String,
        /// The key.
        kid: String,
        #[command(flatten)]
        guard: Guard,
    },
}

/// Tokens that were signed.
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Revoke a token by its jti, or the tokens of a subject, session or client that were issued so far.
    Revoke(RevokeToken),
}

/// Which tokens to revoke.
#[derive(Debug, Args)]
pub(crate) struct RevokeToken {
    /// The token with this `jti`.
    #[arg(long, conflicts_with_all = ["sub", "sid", "client", "issued_before"])]
    pub(crate) jti: Option<String>,
    /// When that token expires (RFC 3339): the revocation is forgotten then. Default: when no token of the set lives any more.
    #[arg(long, requires = "jti", value_name = "TIME")]
    pub(crate) expires_at: Option<jiff::Timestamp>,
    /// Tokens of this `sub`.
    #[arg(long)]
    pub(crate) sub: Option<String>,
    /// Tokens of this `sid`.
    #[arg(long)]
    pub(crate) sid: Option<String>,
    /// Tokens of this client.
    #[arg(long)]
    pub(crate) client: Option<String>,
    /// Tokens with an `iat` up to this time (RFC 3339). Default: now.
    #[arg(long, value_name = "TIME")]
    pub(crate) issued_before: Option<jiff::Timestamp>,
    /// Only tokens of this key set; may be repeated. Default: every one that the caller may revoke tokens of.
    #[arg(long)]
    pub(crate) key_set: Vec<String>,
    /// Repeat with the same id and it does not act twice. Default: a new one.
    #[arg(long)]
    pub(crate) request_id: Option<String>,
}

/// Instances of the crypto-service.
#[derive(Debug, Subcommand)]
pub(crate) enum Subscriber {
    /// List instances: their lease, and how far they have come.
    List {
        /// Only those whose lease has not run out.
        #[arg(long)]
        live: bool,
    },
    /// Give an instance no further lease.
    Evict {
        /// Its full name.
        name: String,
        /// Say that it is dead: its lease ends at once.
        #[arg(long)]
        force: bool,
    },
}

/// The audit log of the key-manager.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Print entries, oldest first.
    Query(AuditQuery),
    /// Print the newest signed checkpoints and the key that verifies them, as JSON: to be kept where the key-manager cannot write.
    Checkpoint,
    /// Verify a log: every entry, its place, and that it reaches every checkpoint that is known. Exit code 1 names the first bad entry.
    Verify {
        /// The folder of the log; of several key-managers on one store all their folders.
        #[arg(required = true)]
        folders: Vec<PathBuf>,
        /// The file that `audit checkpoint` wrote. Default: the key-manager is asked.
        #[arg(long, value_name = "FILE")]
        checkpoints: Option<PathBuf>,
        /// Chains of which no file is at hand are another key-manager's.
        #[arg(long)]
        partial: bool,
    },
}

const SEALING_EXAMPLES: &str = "\
Examples:
  cryptoctl sealing show                    generations of data keys, and what is under each
  cryptoctl sealing rotate --tenant acme    a new data key of a tenant
  cryptoctl sealing rotate --root           a new data key of what belongs to no tenant
  cryptoctl sealing show --watch            until nothing is left under older ones";

/// Keys of keys.
#[derive(Debug, Subcommand)]
#[command(after_help = SEALING_EXAMPLES)]
pub(crate) enum Sealing {
    /// Show generations of data keys, how much is under each, and which key-encryption keys wrap them.
    #[command(after_help = SEALING_EXAMPLES)]
    Show {
        /// Show what is left as it changes, and end when nothing is.
        #[arg(long)]
        watch: bool,
    },
    /// Make a new generation of a tenant's data key; what is under older ones is re-sealed in the background.
    #[command(after_help = SEALING_EXAMPLES)]
    Rotate {
        /// The root's data key in place of the tenant's.
        #[arg(long)]
        root: bool,
        /// Repeat with the same id and it does not act twice. Default: a new one.
        #[arg(long)]
        request_id: Option<String>,
    },
}

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct AuditQuery {
    /// Of this key set of the tenant.
    #[arg(long)]
    pub(crate) key_set: Option<String>,
    /// Of all tenants.
    #[arg(long)]
    pub(crate) all_tenants: bool,
    /// By this caller.
    #[arg(long)]
    pub(crate) caller: Option<String>,
    /// Of this act, such as RotateKeySet or Promote.
    #[arg(long)]
    pub(crate) act: Option<String>,
    /// With this outcome.
    #[arg(long, value_enum)]
    pub(crate) outcome: Option<AuditOutcome>,
    /// Not before (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<jiff::Timestamp>,
    /// Before (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<jiff::Timestamp>,
    /// At most so many.
    #[arg(long, default_value = "1000")]
    pub(crate) limit: usize,
}

/// What came of an act.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum AuditOutcome {
    /// It was about to be done.
    Begun,
    /// It was done.
    Done,
    /// It was forbidden.
    Refused,
    /// It failed.
    Failed,
    /// It was read.
    Read,
}

/// What makes a change safe to repeat.
#[derive(Debug, Args)]
pub(crate) struct Guard {
    /// Repeat with the same id and it does not act twice. Default: a new one.
    #[arg(long)]
    pub(crate) request_id: Option<String>,
    /// Refuse when the set has another revision.
    #[arg(long, default_value = "0", hide_default_value = true)]
    pub(crate) expected_revision: u64,
}

/// The state in which a key is imported.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ImportState {
    /// The next key.
    Prepared,
    /// The signing key, from now on; needs `--force`.
    Active,
    /// Verifies, or decrypts, until `--retire-at`.
    Retiring,
}

/// A new key set.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name, such as op/reports.
    pub(crate) name: String,
    /// The algorithm (JWA) of its keys. It also says the use: signing or encryption.
    #[arg(long)]
    pub(crate) alg: String,
    /// Bytes or sealed values instead of JWTs.
    #[arg(long = "use", value_enum)]
    pub(crate) purpose: Option<Use>,
    /// The `iss` of its tokens.
    #[arg(long, default_value = "")]
    pub(crate) issuer: String,
    /// Who sees its public keys. Default: internal; none for symmetric keys, which never leave the services.
    #[arg(long, value_enum)]
    pub(crate) publish: Option<Publish>,
    /// The `typ` of its tokens.
    #[arg(long, default_value = "")]
    pub(crate) typ: String,
    /// The longest lifetime of its tokens, in seconds.
    #[arg(long, value_parser = seconds, default_value = "3600", value_name = "SECONDS")]
    pub(crate) max_lifetime: Duration,
    /// Record each token that is issued, for `issued list`; what cannot be recorded is not signed.
    #[arg(long)]
    pub(crate) record_issued: bool,
    /// RSA modulus: 2048, 3072 or 4096.
    #[arg(long, default_value = "0", hide_default_value = true)]
    pub(crate) rsa_bits: u32,
    /// Curve for ECDH-ES: P-256, P-384, P-521 or X25519.
    #[arg(long, default_value = "")]
    pub(crate) curve: String,
    /// Content encryption of a `dir` set.
    #[arg(long, default_value = "")]
    pub(crate) enc: String,
    /// Repeat with the same id and it does not act twice. Default: a new one.
    #[arg(long)]
    pub(crate) request_id: Option<String>,
}

/// What the keys of a set are for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Use {
    /// JWTs.
    Sign,
    /// JWEs.
    Encrypt,
    /// Bytes.
    RawSign,
    /// Challenges and nonces.
    Seal,
}

/// Who sees public keys.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Publish {
    /// Nobody.
    None,
    /// Callers with a grant.
    Internal,
    /// Everybody.
    Public,
}

/// What to restore, and how.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The file that `backup` wrote.
    pub(crate) file: PathBuf,
    /// Verify the file and say what it would undo; change nothing.
    #[arg(long, conflicts_with = "force")]
    pub(crate) dry_run: bool,
    /// Restore also where that undoes what was done since: keys and key sets vanish, revoked keys are accepted again.
    #[arg(long)]
    pub(crate) force: bool,
    /// Repeat with the same id and file and it does not act twice. Default: a new one.
    #[arg(long)]
    pub(crate) request_id: Option<String>,
}

/// Claims to sign.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The key set.
    pub(crate) key_set: String,
    /// The claims as JSON, without `iat` and `exp`; `-` is standard input.
    pub(crate) claims: String,
    /// From `iat` to `exp`, in seconds. Default: the set's.
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    pub(crate) lifetime: Option<Duration>,
    /// The header's `typ`. Default: the set's.
    #[arg(long)]
    pub(crate) typ: Option<String>,
}

/// A token to verify.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The token; `-` is standard input.
    pub(crate) token: String,
    /// An accepted audience; may be repeated.
    #[arg(long, required_unless_present = "audience_unchecked")]
    pub(crate) audience: Vec<String>,
    /// Accept any audience; needs a grant of its own (`--as management`).
    #[arg(long)]
    pub(crate) audience_unchecked: bool,
    /// The expected issuer. Default: the set's.
    #[arg(long)]
    pub(crate) issuer: Option<String>,
    /// An accepted `typ`; may be repeated. Default: the set's.
    #[arg(long = "type")]
    pub(crate) types: Vec<String>,
    /// A key set that may have signed it; may be repeated. Default: all.
    #[arg(long)]
    pub(crate) key_set: Vec<String>,
    /// Tolerance for times, in seconds, at most 60.
    #[arg(long, value_parser = seconds, value_name = "SECONDS")]
    pub(crate) leeway: Option<Duration>,
    /// Verify as an `id_token_hint`.
    #[arg(long)]
    pub(crate) hint: bool,
}

/// A payload to encrypt.
#[derive(Debug, Args)]
pub(crate) struct Encrypt {
    /// The payload; `-` is standard input.
    pub(crate) payload: String,
    /// The recipient's key set.
    #[arg(long, required_unless_present = "jwk")]
    pub(crate) key_set: Option<String>,
    /// The recipient's public JWK in a file.
    #[arg(long, conflicts_with = "key_set")]
    pub(crate) jwk: Option<PathBuf>,
    /// The key management algorithm. Default: the key's.
    #[arg(long)]
    pub(crate) alg: Option<String>,
    /// The content encryption. Default: A256GCM.
    #[arg(long)]
    pub(crate) enc: Option<String>,
    /// The header's `cty`.
    #[arg(long)]
    pub(crate) cty: Option<String>,
}

/// A token to decrypt.
#[derive(Debug, Args)]
pub(crate) struct Decrypt {
    /// The token; `-` is standard input.
    pub(crate) token: String,
    /// A key set that may decrypt it; may be repeated. Default: all.
    #[arg(long)]
    pub(crate) key_set: Vec<String>,
}

/// The development set-up.
#[derive(Debug, Subcommand)]
pub(crate) enum Dev {
    /// Make certificates, key-encryption key, policy and configurations; what is there is kept.
    Init,
    /// Make the set-up, start both daemons, create the development key sets, take a tour, and stay up until Ctrl-C.
    Run {
        /// The folder with the daemons' programs. Default: the one of this program.
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
    },
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.strip_suffix('s')
        .unwrap_or(text)
        .parse()
        .map(Duration::from_secs)
        .map_err(|_not_a_number| format!("`{text}` is not a whole number of seconds"))
}

/// A variable of the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the program's one place that reads the environment"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
