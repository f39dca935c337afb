//! Messages by name, and those that a planted bug alters.

use crypto_proto::keys::v1 as proto;
use proto::watch_request::Message as Up;
use proto::watch_response::Message as Down;

use crate::bug::Bug;
use crate::sim::Sim;

pub(super) fn up_name(message: &Up) -> String {
    match message {
        Up::Hello(_) => "hello".to_owned(),
        Up::Ack(ack) => format!("ack {}", ack.epoch),
        Up::Renewal(renewal) => format!("renewal {}", renewal.id),
        Up::Goodbye(_) => "goodbye".to_owned(),
    }
}

pub(super) fn down_name(message: &Down) -> String {
    match message {
        Down::Welcome(_) => "welcome".to_owned(),
        Down::Snapshot(chunk) => format!("snapshot {}", chunk.epoch),
        Down::Delta(delta) => format!("delta {} to {}", delta.from_epoch, delta.epoch),
        Down::Lease(lease) => format!("lease {} on {}", lease.id, lease.epoch),
    }
}

/// What a broken hello says.
pub(super) fn broken_up(sim: &Sim, message: Up) -> Up {
    match message {
        Up::Hello(hello) if sim.has(Bug::OlderSnapshot) => Up::Hello(proto::Hello {
            highest_epoch: 0,
            ..hello
        }),
        message => message,
    }
}

/// What a broken reader makes of a message on its `streams`-th stream, at an epoch.
pub(super) fn broken_down(sim: &Sim, message: Down, streams: u64, epoch: u64) -> Down {
    match message {
        Down::Delta(delta) if sim.has(Bug::DeltaOverGap) => Down::Delta(proto::Delta {
            from_epoch: epoch,
            ..delta
        }),
        Down::Snapshot(chunk) if sim.has(Bug::TokenRevocationLost) && streams > 1 => {
            Down::Snapshot(proto::SnapshotChunk {
                revocations: Vec::new(),
                ..chunk
            })
        }
        message => message,
    }
}

/// The message as somebody sees it who never hears of revoked tokens.
pub(super) fn without_tokens(message: Down) -> Down {
    match message {
        Down::Delta(delta) => Down::Delta(proto::Delta {
            revocations: Vec::new(),
            ..delta
        }),
        Down::Snapshot(chunk) => Down::Snapshot(proto::SnapshotChunk {
            revocations: Vec::new(),
            ..chunk
        }),
        message => message,
    }
}
