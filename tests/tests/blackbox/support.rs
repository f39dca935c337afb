//! Clients of a [`Stack`], and waiting.

use std::{net::SocketAddr, process::Command, time::Duration};

use blackbox::{PATIENCE, Process, Stack, program};
use client_admin::{AdminClient, CreateKeySet, KeySet, KeyUse, Publish, RotateKeySet};
use client_core::request::{RejectReason, Sign, SignedToken, ValidToken, Verify};
use client_core::{Channel, Claims, CryptoClient, Error, Options, RetryPolicy, TlsFiles};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// The issuer of the development key sets.
pub(crate) const ISSUER: &str = "https://op.example.com";
/// Who the tokens of these tests are for.
pub(crate) const AUDIENCE: &str = "https://api.example.com";

/// Short times, so that waits can be seen to end: a standby is ready two seconds after the last ack.
pub(crate) const QUICK: [(&str, &str); 3] = [
    ("KEY_MANAGER_TIMES_JWKS_CAP", "1s"),
    ("KEY_MANAGER_TIMES_LEAD", "2s"),
    ("KEY_MANAGER_TIMES_SKEW", "1s"),
];

/// Calls a method of a generated client once over a thin client's channel: `raw!(channel, JwtServiceClient.sign(request))`.
macro_rules! raw {
    ($channel:expr, $client:ident.$method:ident($message:expr)) => {{
        let message = $message;
        $channel
            .call(client_core::Repeat::OnlyIfUndone, |attempt| {
                let request = attempt.request(message.clone());
                async move { $client::new(attempt.connection()).$method(request).await }
            })
            .await
    }};
}
pub(crate) use raw;

fn options(stack: &Stack, address: SocketAddr, role: &str) -> Options {
    let files = TlsFiles::in_folder(stack.dev(), role);
    Options::new(format!("https://{address}"), files).deadline(Duration::from_secs(10))
}

/// A channel to `address` as `role`, with time enough on a loaded machine.
pub(crate) fn channel(stack: &Stack, address: SocketAddr, role: &str) -> Channel {
    options(stack, address, role).channel().expect("a channel")
}

/// A channel that never asks again: the first answer is the one that counts.
pub(crate) fn one_try(stack: &Stack, address: SocketAddr, role: &str) -> Channel {
    let once = RetryPolicy {
        attempts: 1,
        ..RetryPolicy::default()
    };
    options(stack, address, role)
        .retry(once)
        .channel()
        .expect("a channel")
}

/// The crypto-service, called as `role`.
pub(crate) fn crypto(stack: &Stack, role: &str) -> CryptoClient {
    CryptoClient::new(channel(stack, stack.crypto.grpc, role))
}

/// The key-manager, called as `admin`.
pub(crate) fn admin(stack: &Stack) -> AdminClient {
    AdminClient::new(channel(stack, stack.keys.grpc, "admin"))
}

/// A public SIGN set with the development issuer, promoted by force.
pub(crate) async fn signing_set(stack: &Stack, name: &str, algorithm: &str) -> KeySet {
    let create = CreateKeySet::new(name, KeyUse::Sign, algorithm)
        .issuer(ISSUER)
        .publish(Publish::Public);
    let admin = admin(stack);
    admin.create(&create).await.expect(name);
    admin
        .rotate(&RotateKeySet::new(name).force())
        .await
        .expect(name);
    // the next standby follows the promotion, and the private half its way to the instance
    let token = crypto(stack, "token");
    assert!(
        eventually(PATIENCE, async || sign(&token, name).await.is_ok()).await,
        "{name} does not sign"
    );
    let standing = async || {
        admin
            .get("", name)
            .await
            .is_ok_and(|shown| shown.key_set.standby().is_some())
    };
    assert!(
        eventually(PATIENCE, standing).await,
        "{name} has no standby"
    );
    admin.get("", name).await.expect(name).key_set
}

/// The key that signs.
pub(crate) fn active_kid(set: &KeySet) -> String {
    set.active().expect("an Active key").kid.clone()
}

/// Claims for [`AUDIENCE`].
pub(crate) fn claims() -> Claims {
    Claims::from_json(r#"{"sub":"alice"}"#)
        .and_then(|claims| claims.with("aud", AUDIENCE))
        .expect("claims")
}

/// Signs [`claims`].
pub(crate) async fn sign(client: &CryptoClient, key_set: &str) -> Result<SignedToken, Error> {
    client.sign(&Sign::new(key_set, &claims())).await
}

/// Verifies for [`AUDIENCE`], whatever the `typ` of the development sets.
pub(crate) async fn verify(
    client: &CryptoClient,
    token: &str,
) -> Result<Result<ValidToken, RejectReason>, Error> {
    let verdict = client.verify(&Verify::new(token, AUDIENCE)).await?;
    Ok(verdict.into_result())
}

/// Asks again until `done`; false where `patience` ran out first.
pub(crate) async fn eventually(patience: Duration, mut done: impl AsyncFnMut() -> bool) -> bool {
    let waited = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(patience, waited).await.is_ok()
}

/// A number generator whose seed is printed, so that a failure can be repeated.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(test: &str) -> Self {
        use std::hash::{BuildHasher as _, Hasher as _};
        let random = || {
            std::collections::hash_map::RandomState::new()
                .build_hasher()
                .finish()
        };
        let seed = std::option_env!("BLACKBOX_SEED")
            .map_or_else(random, |seed| seed.parse().expect("a number"));
        println!("{test}: build with BLACKBOX_SEED={seed} to repeat");
        Self(seed)
    }

    /// Below `bound` (splitmix64).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A daemon of a set-up, as a shell starts it that ignores the signal for files that grow too large, as a full disk sends none.
pub(crate) fn limited(stack: &Stack, daemon: &str) -> Process {
    let usual = stack.command(daemon);
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(program(daemon))
        .arg("--config")
        .arg(stack.dev().join(format!("{daemon}.toml")))
        .arg("--die-with-parent")
        .current_dir(stack.root());
    for (name, value) in usual.get_envs() {
        command.env(name, value.unwrap());
    }
    Process::start(daemon, command)
}

/// The largest file that it may write; `None` for no limit.
pub(crate) fn largest_file(process: &Process, bytes: Option<u64>) {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, limit).unwrap();
}
