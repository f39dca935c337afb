//! Eight at once: the lanes, always full.

use jose_aws_lc::AwsLc;
use multibuffer::{
    Engine, LANES, Outcomes, SignJob, Signer, Unavailable, Verifier, VerifyJob, sign, verify,
};

use super::{Loop, MESSAGE, single::signature};
use crate::{Fault, keys::Key};

const WHO: &str = "multibuffer";

/// Why there are no lanes; `None` where they are.
#[must_use]
pub fn missing() -> Option<String> {
    Engine::detect().err().map(|why| match why {
        Unavailable::NotBuilt => format!("{why} (`make multibuffer` fetches it)"),
        Unavailable::Cpu => why.to_string(),
    })
}

/// Eight signatures with one key, each checked with the public key before it counts. `None`: no lanes for this key.
pub(super) fn signs(key: &Key) -> Result<Option<Loop>, Fault> {
    let Ok(engine) = Engine::detect() else {
        return Ok(None);
    };
    let Some(signer) = Signer::prepare(engine, key.jws()?, &key.private)? else {
        return Ok(None);
    };
    let mut signatures: [Vec<u8>; LANES] = std::array::from_fn(|_| vec![0; signer.signature_len()]);
    Ok(Some(Loop::new(WHO, move || {
        let mut jobs = signatures.each_mut().map(|signature| SignJob {
            key: &signer,
            message: &MESSAGE,
            signature: signature.as_mut_slice(),
        });
        done(&sign(engine, &AwsLc, &AwsLc, &mut jobs))
    })))
}

/// Eight verifications with one key. `None`: no lanes for this key.
pub(super) fn verifies(key: &Key) -> Result<Option<Loop>, Fault> {
    let Ok(engine) = Engine::detect() else {
        return Ok(None);
    };
    let Some(verifier) = Verifier::prepare(engine, key.jws()?, &key.public())? else {
        return Ok(None);
    };
    let signature = signature(key)?;
    Ok(Some(Loop::new(WHO, move || {
        let jobs: [VerifyJob<'_>; LANES] = std::array::from_fn(|_| VerifyJob {
            key: &verifier,
            message: &MESSAGE,
            signature: &signature,
        });
        done(&verify(engine, &AwsLc, &jobs))
    })))
}

fn done(outcomes: &Outcomes) -> Result<u32, Fault> {
    for outcome in outcomes {
        (*outcome)?;
    }
    Ok(u32::try_from(LANES)?)
}
