//! What clients ask for: signatures, verdicts, keys, plaintexts.

use std::sync::Arc;

use crypto_service::usecase::{DecryptCommand, Demands, SignCommand, VerifyCommand};
use jose::jwt::{Purpose, VerifyOptions, VerifyRules};

use crate::bug::Bug;
use crate::clock::EPOCH_MS;
use crate::instance::{Node, Process};
use crate::invariant::Invariant;
use crate::sim::lock;
use crate::stage::{Stage, TENANT};
use crate::truth::{Finding, Judge, Token};

/// A node whose clock is off by more is none that others agree with, in milliseconds.
const SANE: u64 = 2_500;

/// The longest pause in the middle of a call, in milliseconds.
const LONGEST_PAUSE: u64 = 900_000;

/// Waits here for what a thread of the lanes computes: virtual time must not run on meanwhile.
fn at_once<F: Future>(call: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    let mut call = std::pin::pin!(call);
    loop {
        match call.as_mut().poll(&mut context) {
            std::task::Poll::Ready(answer) => return answer,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// Calls one after the other until the run is over.
pub(crate) async fn run(stage: Arc<Stage>) {
    let mut calls = 0_u64;
    loop {
        stage.sim.sleep_about(stage.sim.world().call).await;
        let kind = stage.sim.dice().below(100);
        match kind {
            0..30 => sign_somewhere(&stage).await,
            30..60 => verify_somewhere(&stage).await,
            60..80 => stage.verify_outside(),
            80..90 => stage.encrypt(),
            _ => decrypt_somewhere(&stage).await,
        }
        calls += 1;
        if calls.is_multiple_of(200) {
            let now = stage.sim.now();
            stage.sim.truth().tidy(now);
        }
    }
}

/// A machine that runs, and how long it will stand still in the middle of this call.
fn somewhere(stage: &Stage) -> Option<(Arc<Node>, Arc<Process>, u64)> {
    let node = stage.any_node()?;
    let process = node.process(&stage.sim)?;
    let pauses = stage.is_storm() && stage.sim.world().troubles.pause > 0;
    let pause = if pauses && stage.sim.dice().in_1000(6) {
        stage.sim.dice().within((1_000, LONGEST_PAUSE))
    } else {
        0
    };
    Some((node, process, pause))
}

/// The machine stands still from the call's first look at the lease on.
fn begin_pause(stage: &Stage, node: &Node, pause: u64) {
    if pause > 0 {
        let blind = stage.sim.has(Bug::LeaseNotRechecked);
        node.clock.pause_after_a_reading(pause, blind);
        node.freeze(stage.sim.now() + pause);
    }
}

async fn end_pause(stage: &Stage, node: &Node, pause: u64) {
    node.clock.resume();
    if pause > 0 {
        stage.sim.step(format_args!(
            "i{} stands still for {} s",
            node.index,
            pause / 1_000
        ));
        stage.sim.sleep(pause).await;
    }
}

async fn sign_somewhere(stage: &Arc<Stage>) {
    let Some((node, process, pause)) = somewhere(stage) else {
        return;
    };
    let sub = format!("u{}", stage.sim.dice().below(5));
    sign(stage, (node, process), sub, pause).await;
}

/// One signature; a paused machine's answer comes when it goes on, and nobody waits for it.
pub(crate) async fn sign(
    stage: &Arc<Stage>,
    (node, process): (Arc<Node>, Arc<Process>),
    sub: String,
    pause: u64,
) {
    let Some((set, lifetime)) = what_to_sign(stage) else {
        return;
    };
    let jti = format!("j{}", stage.number());
    let command = SignCommand {
        tenant: TENANT.to_owned(),
        key_set: set.clone(),
        claims: format!(r#"{{"aud":"a","sub":"{sub}","jti":"{jti}"}}"#),
        lifetime: Some(lifetime),
        typ: String::new(),
    };
    let sane = is_sane(&node);
    begin_pause(stage, &node, pause);
    let signed = process
        .signer()
        .sign(&stage.assets.caller, command, None)
        .await;
    node.clock.resume();
    let Ok(signed) = signed else {
        stage
            .sim
            .step(format_args!("i{} does not sign for {set}", node.index));
        end_pause_later(stage, node, pause, |_| Ok(()));
        return;
    };
    let exp = signed.expires_at.unwrap_or_default();
    let token = Token {
        text: signed.token,
        kid: signed.kid.to_string(),
        set,
        sub,
        jti,
        iat: exp - lifetime,
        exp,
        sane,
    };
    let id = process.id;
    end_pause_later(stage, node, pause, move |stage| {
        let mut truth = stage.sim.truth();
        let label = truth.label(&token.kid).to_owned();
        let found = truth.signed(id, token, stage.sim.now());
        drop(truth);
        stage.sim.step(format_args!("{label} signs"));
        found
    });
}

/// Does the rest when the machine goes on.
fn end_pause_later(
    stage: &Arc<Stage>,
    node: Arc<Node>,
    pause: u64,
    rest: impl FnOnce(&Stage) -> Result<(), Finding> + Send + 'static,
) {
    let finish = |stage: &Stage, found: Result<(), Finding>| {
        if let Err((invariant, what)) = found {
            stage.sim.broken(invariant, what);
        }
    };
    if pause == 0 {
        finish(stage, rest(stage));
        return;
    }
    let stage = Arc::clone(stage);
    tokio::spawn(async move {
        end_pause(&stage, &node, pause).await;
        finish(&stage, rest(&stage));
    });
}

fn what_to_sign(stage: &Stage) -> Option<(String, u64)> {
    let truth = stage.sim.truth();
    let sets: Vec<&String> = truth
        .sets
        .values()
        .filter(|set| set.key_use == keyring::Use::Sign)
        .map(|set| &set.name)
        .collect();
    let mut dice = stage.sim.dice();
    let set = (*dice.pick(&sets)?).clone();
    let lifetime = match dice.below(40) {
        0 => 3_600,
        1..8 => 900,
        _ => dice.within((60, 300)),
    };
    Some((set, lifetime))
}

fn is_sane(node: &Node) -> bool {
    node.clock.offset().unsigned_abs() <= SANE
}

fn any_token(stage: &Stage) -> Option<Token> {
    let truth = stage.sim.truth();
    let index = stage.sim.dice().index(truth.tokens.len());
    truth.tokens.get(index).cloned()
}

async fn verify_somewhere(stage: &Arc<Stage>) {
    let Some(token) = any_token(stage) else {
        return;
    };
    let Some((node, process, pause)) = somewhere(stage) else {
        return;
    };
    verify(stage, (node, process), token, pause).await;
}

/// One verdict of an instance.
pub(crate) async fn verify(
    stage: &Arc<Stage>,
    (node, process): (Arc<Node>, Arc<Process>),
    token: Token,
    pause: u64,
) {
    let epoch = process.plane().keys().snapshot().epoch();
    let sane = is_sane(&node);
    begin_pause(stage, &node, pause);
    let verdict = verdict(stage, &process, &token).await;
    node.clock.resume();
    cache_later(stage, &process, &token);
    let id = process.id;
    let index = node.index;
    end_pause_later(stage, node, pause, move |stage| {
        let Some(accepted) = verdict else {
            return Ok(());
        };
        let (truth, now) = (stage.sim.truth(), stage.sim.now());
        let label = truth.label(&token.kid).to_owned();
        let said = if accepted.is_ok() { "takes" } else { "refuses" };
        let found = truth.left(id, now).and_then(|()| {
            // A clock that is wrong, and a token that was judged before a pause, say nothing of rotation.
            match sane && pause == 0 {
                true => truth.judged((Judge::Instance, index), epoch, &token, accepted, now),
                false => Ok(()),
            }
        });
        drop(truth);
        stage
            .sim
            .step(format_args!("i{index} {said} a token of {label}"));
        found
    });
}

/// `None` where the instance does not answer.
async fn verdict(stage: &Stage, process: &Process, token: &Token) -> Option<Result<(), String>> {
    if stage.sim.has(Bug::RevokedKeyRecached) && lock(&process.cached).contains_key(&token.kid) {
        return Some(Ok(()));
    }
    let rules = VerifyRules::try_from(VerifyOptions {
        issuer: String::new(),
        audiences: vec!["a".to_owned()],
        audience_unchecked: false,
        types: Vec::new(),
        key_sets: vec![token.set.clone()],
        leeway: 8,
        purpose: Purpose::Access,
    });
    let demands = Demands {
        tenant: TENANT.to_owned(),
        rules: rules.ok()?,
        prefix: "",
    };
    let command = VerifyCommand {
        token: token.text.clone(),
        demands,
    };
    let verdict = process
        .plane()
        .verify(&stage.assets.caller, command, None)
        .await;
    let verdict = verdict.ok()?;
    Some(verdict.map(drop).map_err(|reason| reason.name().to_owned()))
}

/// The planted bug: the call parses the key, and puts it into the cache when that is done.
fn cache_later(stage: &Stage, process: &Arc<Process>, token: &Token) {
    if !stage.sim.has(Bug::RevokedKeyRecached) {
        return;
    }
    let revoked = stage
        .sim
        .truth()
        .kids
        .get(&token.kid)
        .is_some_and(|kid| kid.revoked.is_some());
    if revoked {
        return;
    }
    let (sim, process, kid) = (stage.sim.clone(), Arc::clone(process), token.kid.clone());
    let takes = sim.within((20, 2_000));
    tokio::spawn(async move {
        sim.sleep(takes).await;
        lock(&process.cached).insert(kid, ());
    });
}

async fn decrypt_somewhere(stage: &Arc<Stage>) {
    let cipher = {
        let truth = stage.sim.truth();
        let index = stage.sim.dice().index(truth.ciphers.len());
        truth.ciphers.get(index).cloned()
    };
    let Some(cipher) = cipher else { return };
    let Some(node) = stage.any_node() else { return };
    let Some(process) = node.process(&stage.sim) else {
        return;
    };
    let command = DecryptCommand {
        tenant: TENANT.to_owned(),
        token: cipher.text.clone(),
        key_sets: Vec::new(),
        field: "key_sets",
    };
    let plane = process.plane();
    let Ok(opened) = at_once(plane.decrypt(&stage.assets.caller, command, None)) else {
        return;
    };
    let now = stage.sim.now();
    let truth = stage.sim.truth();
    let label = truth.label(&cipher.kid).to_owned();
    let must = truth.must_decrypt(&cipher.kid, cipher.at, now);
    let left = truth.left(process.id, now);
    drop(truth);
    stage.sim.step(format_args!(
        "i{} decrypts with {label}: {}",
        node.index,
        opened.is_some()
    ));
    if let Err((invariant, what)) = left {
        stage.sim.broken(invariant, what);
    }
    if must && opened.is_none() {
        let age = (now - cipher.at) / 1_000;
        let what = format!("i{} cannot open one of {age} s to {label}", node.index);
        stage.sim.broken(Invariant::Decrypts, what);
    }
}

impl Stage {
    /// Somebody outside verifies a token with the JWKS that it holds.
    fn verify_outside(&self) {
        let Some(token) = any_token(self) else { return };
        let published = {
            let truth = self.sim.truth();
            let set = truth.sets.get(&token.set);
            set.is_some_and(|set| {
                set.publish == keyring::Publish::Public && !set.policy.key.algorithm.is_symmetric()
            })
        };
        if !published {
            return;
        }
        let who = {
            let caches = lock(&self.outside).len();
            self.sim.dice().index(caches)
        };
        let Some((document, judge)) = self.held(who) else {
            return;
        };
        let now = self.sim.now();
        let seconds = (EPOCH_MS + now) / 1_000;
        if seconds >= token.exp || seconds + 5 < token.iat {
            return;
        }
        let listed = document.lists(&token.kid);
        let accepted = listed
            .then_some(())
            .ok_or_else(|| "not in its JWKS".to_owned());
        let truth = self.sim.truth();
        let label = truth.label(&token.kid).to_owned();
        // Somebody outside hears of no revoked token.
        let of_key = truth
            .kids
            .get(&token.kid)
            .is_some_and(|kid| kid.revoked.is_some());
        let found = match listed && !of_key {
            true => Ok(()),
            false => truth.judged((judge, who), 0, &token, accepted, now),
        };
        drop(truth);
        self.sim
            .step(format_args!("o{who} finds {label}: {listed}"));
        if let Err((invariant, what)) = found {
            self.sim.broken(invariant, what);
        }
    }
}
