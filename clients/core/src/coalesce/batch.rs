//! What waited, on its way.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::kind::{Answers, Kind};
use super::lot::{Permit, Reply, Waiter};
use crate::channel::{Attempt, Busy, Member, Pool};
use crate::error::Code;

type Replies<K> = Vec<oneshot::Sender<Reply<K>>>;

/// Sends what waited in the place of a call that is back, and gives each waiter its answer. Ends early when no waiter is left.
///
/// A waiter never sends for itself: a future that nobody polls must not keep the place that others wait for.
pub(super) async fn send<K: Kind>(permit: Permit<K>, waiters: Vec<Waiter<K>>, now: Instant) {
    let (mut items, mut replies) = (Vec::with_capacity(waiters.len()), Replies::<K>::new());
    let (mut tried, mut end) = (Vec::new(), now);
    for waiter in waiters {
        end = end.max(waiter.end);
        tried.extend(waiter.tried);
        items.push((waiter.message, waiter.end.saturating_duration_since(now)));
        replies.push(waiter.reply);
    }
    let pool = permit.pool.clone();
    // A channel has at least one connection.
    let Ok(member) = pool.pick(&tried) else {
        return;
    };
    let busy = Busy::new(member, replies.len());
    let answered = tokio::select! {
        answered = timeout_at(end, ask::<K>(Attempt::new(member, end), items)) => answered,
        () = gone(&mut replies) => return,
    };
    drop(busy);
    // What waits goes out before anybody is told.
    drop(permit);
    // Past the latest deadline, each waiter knows by itself.
    if let Ok(answer) = answered {
        tell(&pool, member, replies, answer);
    }
}

/// One goes out as it is, several as a batch.
async fn ask<K: Kind>(
    attempt: Attempt,
    mut items: Vec<(K::Message, Duration)>,
) -> Answers<K::Answer> {
    match (items.pop(), items.is_empty()) {
        (Some((message, _)), true) => {
            let answer = K::unary(attempt, message).await?;
            Ok(vec![Ok(answer)])
        }
        (last, _) => {
            items.extend(last);
            K::batch(attempt, items).await
        }
    }
}

/// Returns when every waiter is gone.
async fn gone<K: Kind>(replies: &mut Replies<K>) {
    for reply in replies {
        reply.closed().await;
    }
}

fn tell<K: Kind>(pool: &Pool, member: &Member, replies: Replies<K>, answer: Answers<K::Answer>) {
    let several = replies.len() > 1;
    match answer {
        Ok(results) => {
            for (reply, result) in replies.into_iter().zip(results) {
                pool.note(member, &result);
                // A waiter that is gone wants no answer.
                let _ = reply.send(Reply::Done(result, member.endpoint));
            }
        }
        Err(error) if several && error.code() == Code::Unimplemented => {
            if let Some(lots) = &pool.lots {
                K::lot(lots).give_up_batches();
            }
            for reply in replies {
                let _ = reply.send(Reply::Alone);
            }
        }
        Err(error) => {
            pool.note::<()>(member, &Err(error.clone()));
            for reply in replies {
                let _ = reply.send(Reply::Done(Err(error.clone()), member.endpoint));
            }
        }
    }
}
