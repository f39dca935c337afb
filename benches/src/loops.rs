//! Primitive operations in a loop, one engine at a time, in CPU time of the looping thread.

mod lanes;
mod single;

use std::{fmt, time::Duration};

use crate::{Fault, kernel, keys::Key, micros, now, number, peers};

pub use lanes::missing as lanes_missing;

/// What every loop signs or verifies, in bytes: about the signing input of an access token.
const MESSAGE: [u8; 400] = [b'm'; 400];
/// What every loop encrypts.
const PAYLOAD: [u8; 400] = [b'p'; 400];
/// Rounds of the loop before the clock starts.
const WARM: u32 = 4;

/// An operation that is repeated, under the name of who does it.
pub struct Loop {
    /// Who, as in [`crate::report::catalogue`].
    pub who: &'static str,
    operation: Box<dyn FnMut() -> Result<u32, Fault>>,
}

impl Loop {
    /// `operation` says how many operations it did.
    pub fn new(who: &'static str, operation: impl FnMut() -> Result<u32, Fault> + 'static) -> Self {
        Self {
            who,
            operation: Box::new(operation),
        }
    }

    /// CPU microseconds for each operation, over `duration`.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn run(&mut self, duration: Duration) -> Result<f64, Fault> {
        for _ in 0..WARM {
            (self.operation)().map_err(|fault| format!("{}: {fault}", self.who))?;
        }
        let (start, cpu) = (now(), kernel::thread_cpu_time()?);
        let mut done = 0;
        while start.elapsed() < duration {
            done += u64::from((self.operation)()?);
        }
        Ok(micros(kernel::thread_cpu_time()? - cpu) / number(done))
    }
}

impl fmt::Debug for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loop").field("who", &self.who).finish()
    }
}

/// Everyone who signs with `key` in this process.
///
/// # Errors
/// When an engine refuses the key.
pub fn signing(key: &Key) -> Result<Vec<Loop>, Fault> {
    let mut loops = vec![single::aws_lc_signs(key)?, single::ring_signs(key)?];
    loops.extend(lanes::signs(key)?);
    loops.push(peers::jsonwebtoken::signs(key)?);
    loops.push(peers::josekit::signs(key)?);
    Ok(loops)
}

/// Everyone who verifies with `key` in this process.
///
/// # Errors
/// When an engine refuses the key.
pub fn verifying(key: &Key) -> Result<Vec<Loop>, Fault> {
    let mut loops = vec![single::aws_lc_verifies(key)?, single::ring_verifies(key)?];
    loops.extend(lanes::verifies(key)?);
    loops.push(peers::jsonwebtoken::verifies(key)?);
    loops.push(peers::josekit::verifies(key)?);
    Ok(loops)
}

/// Everyone who encrypts to `key` in this process: whole tokens, since a JWE has no single primitive.
///
/// # Errors
/// When an engine refuses the key.
pub fn encrypting(key: &Key) -> Result<Vec<Loop>, Fault> {
    Ok(vec![
        single::codec_encrypts(key)?,
        peers::josekit::encrypts(key)?,
    ])
}

/// Everyone who decrypts with `key` in this process: whole tokens.
///
/// # Errors
/// When an engine refuses the key.
pub fn decrypting(key: &Key) -> Result<Vec<Loop>, Fault> {
    Ok(vec![
        single::codec_decrypts(key)?,
        peers::josekit::decrypts(key)?,
    ])
}

/// The loop that ratios are taken against.
///
/// # Errors
/// When aws-lc refuses the key.
pub fn aws_lc_signing(key: &Key) -> Result<Loop, Fault> {
    single::aws_lc_signs(key)
}

#[cfg(test)]
mod tests {
    use jose::algorithm::{JwsAlgorithm, KeyManagement};

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    fn all_run(loops: Vec<Loop>) -> Vec<&'static str> {
        loops
            .into_iter()
            .map(|mut each| {
                assert!(each.run(SHORT).unwrap() > 0.0, "{each:?}");
                each.who
            })
            .collect()
    }

    #[test]
    fn every_algorithm_is_signed_and_verified_by_every_engine_and_peer() {
        for algorithm in [
            JwsAlgorithm::Rs256,
            JwsAlgorithm::Ps256,
            JwsAlgorithm::Es256,
            JwsAlgorithm::Ed25519,
        ] {
            let key = Key::signing(algorithm, 2048).unwrap();
            for whos in [
                all_run(signing(&key).unwrap()),
                all_run(verifying(&key).unwrap()),
            ] {
                for who in ["aws-lc-rs", "ring", "jsonwebtoken", "josekit"] {
                    assert!(whos.contains(&who), "{algorithm}: {whos:?}");
                }
                assert_eq!(whos.contains(&"multibuffer"), lanes_missing().is_none());
            }
        }
    }

    #[test]
    fn both_key_managements_are_done_by_our_codec_and_by_josekit() {
        for algorithm in [KeyManagement::RsaOaep256, KeyManagement::EcdhEsA256Kw] {
            let key = Key::encryption(algorithm).unwrap();
            for whos in [
                all_run(encrypting(&key).unwrap()),
                all_run(decrypting(&key).unwrap()),
            ] {
                assert_eq!(whos, ["codec", "josekit"], "{algorithm}");
            }
        }
    }

    #[test]
    fn a_loop_that_fails_says_who() {
        let mut broken = Loop::new("nobody", || Err("no key".into()));
        let said = broken.run(SHORT).unwrap_err().to_string();
        assert_eq!(said, "nobody: no key");
    }
}
