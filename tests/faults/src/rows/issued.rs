//! kill -9 of a crypto-service that records what it issues: what is missing afterwards, and from how long before the kill.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use blackbox::{PATIENCE, Stack};
use client_admin::{AdminClient, IssuedQuery, Profile};
use client_core::CryptoClient;
use futures::FutureExt as _;
use tokio::task::JoinSet;

use super::Group;
use crate::{
    Fault, count,
    figure::{Figure, Measured},
    progress,
    settings::Run,
    stack::{self, Instance, admin, eventually, sign, signing_set},
};

/// The stated window: `[issued] max_unwritten`, at its default.
const WINDOW_MS: f64 = 1_000.0;
const WINDOW: Duration = Duration::from_millis(1_000);

const LOST: Figure = Figure::at_most("issued_lost_beyond_window", 0.0);
const MEASURED: Figure = Figure::at_most("issued_loss_window_ms", WINDOW_MS);

pub(super) const GROUP: Group = Group {
    name: "issued",
    about: "a crypto-service that records what it issues is killed while it signs; what its successor ships is compared with what was answered",
    figures: &[LOST, MEASURED],
    run: |run| measure(run).boxed_local(),
};

const SET: &str = "op/recorded";
/// Tasks that sign without a pause.
const CALLERS: usize = 2;

async fn measure(run: Run) -> Result<Vec<Measured>, Fault> {
    let kills = run.of(3, 100);
    let mut dice = run.dice("issued");
    let mut stack = Stack::start();
    let admin = admin(&stack)?;
    let first = Instance::at(&stack, stack.crypto, None)?;
    let profile = Profile {
        record_issued: true,
        ..Profile::default()
    };
    let set = signing_set(SET, "ES256").profile(profile);
    stack::create_active(&admin, &first.token, &set, SET).await?;
    let (mut tokens, mut lost, mut beyond, mut window) = (0, 0, 0, Duration::ZERO);
    for done in 0..kills {
        let from = blackbox::now();
        let callers = Callers::start(&stack)?;
        let signing = 300 + dice.below(1_200);
        tokio::time::sleep(Duration::from_millis(signing)).await;
        let killed = crate::now();
        stack.crypto_service.take().ok_or("it runs")?.kill();
        let answered = callers.answered().await?;
        stack.start_daemons();
        let listed = listed(&admin, from, blackbox::now()).await?;
        for (_jti, at) in answered.iter().filter(|(jti, _)| !listed.contains(*jti)) {
            let before = killed.saturating_duration_since(*at);
            lost += 1;
            beyond += usize::from(before > WINDOW);
            window = window.max(before);
        }
        tokens += answered.len();
        if (done + 1) % 20 == 0 {
            progress(&format!(
                "issued: {} of {kills} kills, {lost} of {tokens} tokens lost, within {window:.0?}",
                done + 1
            ));
        }
    }
    if tokens < kills {
        return Err("too few tokens were signed between the kills".into());
    }
    let beyond = f64::from(u32::try_from(beyond)?);
    let window = window.as_secs_f64() * 1_000.0;
    Ok(vec![
        LOST.measured(beyond, count(tokens)),
        MEASURED.measured(window, count(kills)),
    ])
}

/// Tasks that sign until they are told to end; each notes when it had which token.
struct Callers {
    tasks: JoinSet<Vec<(String, Instant)>>,
    over: Arc<AtomicBool>,
}

impl Callers {
    fn start(stack: &Stack) -> Result<Self, Fault> {
        let (mut tasks, over) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for _caller in 0..CALLERS {
            // a connection of its own, so that nothing of the process before is left in it
            let channel = stack::channel(stack, stack.crypto.grpc, "token")?;
            tasks.spawn(keep_signing(CryptoClient::new(channel), Arc::clone(&over)));
        }
        Ok(Self { tasks, over })
    }

    async fn answered(mut self) -> Result<BTreeMap<String, Instant>, Fault> {
        self.over.store(true, Ordering::SeqCst);
        let mut all = BTreeMap::new();
        while let Some(ended) = self.tasks.join_next().await {
            all.extend(ended?);
        }
        Ok(all)
    }
}

async fn keep_signing(client: CryptoClient, over: Arc<AtomicBool>) -> Vec<(String, Instant)> {
    let mut signed = Vec::new();
    while !over.load(Ordering::SeqCst) {
        match client.sign(&sign(SET)).await {
            Ok(token) => signed.push((token.jti, crate::now())),
            // not fed yet, or killed
            Err(_refused) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    signed
}

/// What is recorded since `from`, once everything that was issued until `until` is there.
async fn listed(
    admin: &AdminClient,
    from: SystemTime,
    until: SystemTime,
) -> Result<BTreeSet<String>, Fault> {
    let mut query = IssuedQuery {
        key_set: SET.to_owned(),
        // clocks are one clock here; a token in the first millisecond counts
        issued_after: from.checked_sub(Duration::from_secs(1)),
        page_size: 1,
        ..IssuedQuery::default()
    };
    let complete = async || {
        let page = admin.issued(&query).await;
        page.is_ok_and(|page| page.complete_until.is_some_and(|there| there >= until))
    };
    if !eventually(PATIENCE, complete).await {
        return Err("the records do not become complete".into());
    }
    query.page_size = 1_000;
    let mut jtis = BTreeSet::new();
    loop {
        let page = admin.issued(&query).await?;
        for entry in page.entries {
            if !jtis.insert(entry.jti) {
                return Err("a token is recorded twice".into());
            }
        }
        if page.next_page_token.is_empty() {
            return Ok(jtis);
        }
        query.page_token = page.next_page_token;
    }
}
