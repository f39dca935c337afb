//! Randomness that nobody's security rests on: request ids and jitter.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use rustls::crypto::{SecureRandom, ring};

static SOURCE: LazyLock<&'static dyn SecureRandom> =
    LazyLock::new(|| ring::default_provider().secure_random);

fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    // A source that fails leaves zeroes: the jitter is then the shortest, and a retry may repeat a request id.
    let _ = SOURCE.fill(&mut out);
    out
}

/// A new request id: 128 random bits as 32 hex digits.
#[must_use]
pub fn request_id() -> String {
    bytes::<16>()
        .iter()
        .fold(String::with_capacity(32), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        })
}

/// Between half of `delay` and all of it.
pub(crate) fn jitter(delay: Duration) -> Duration {
    let [byte] = bytes::<1>();
    delay.mul_f64(0.5 + f64::from(byte) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_between_half_and_all() {
        let delay = Duration::from_millis(100);
        for _ in 0..1000 {
            let drawn = jitter(delay);
            assert!(drawn >= delay / 2 && drawn <= delay, "{drawn:?}");
        }
    }

    #[test]
    fn request_ids_differ() {
        let (a, b) = (request_id(), request_id());
        assert_eq!((a.len(), b.len()), (32, 32));
        assert_ne!(a, b);
    }
}
