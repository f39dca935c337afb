//! Signing: encode, the private operation in the lanes, the public operation on its results, compare.

use jose::provider::{Digest, Failed, SecureRandom};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::encoding::{MAX_DIGEST, Scheme};
use super::{PrivateHalf, pkcs1, pss};
use crate::ffi::{self, Block};
use crate::{Class, Engine, FAILED, LANES, Outcomes, SignJob};

/// One salt a lane, from one call to the generator.
type Salts = [[u8; MAX_DIGEST]; LANES];

/// The jobs are of `class`; a lane without a key is one whose job was refused.
pub(crate) fn sign(
    engine: Engine,
    class: Class,
    random: &dyn SecureRandom,
    digest: &dyn Digest,
    jobs: &mut [SignJob<'_>],
    keys: [Option<&PrivateHalf>; LANES],
) -> Outcomes {
    let mut outcomes = FAILED;
    let Ok(salts) = salts(random, jobs) else {
        return outcomes;
    };
    let mut encoded: [Block; LANES] = [[0; 512]; LANES];
    for (((lane, job), salt), key) in encoded.iter_mut().zip(&*jobs).zip(&salts).zip(keys) {
        let Some(em) = lane
            .get_mut(..class.signature_len())
            .filter(|_| key.is_some())
        else {
            continue;
        };
        // a lane that cannot be encoded stays zeros, which is refused below
        if encode(digest, job, salt, em).is_err() {
            em.fill(0);
        }
    }
    let signatures = raw(engine, class, &encoded, keys, &mut outcomes);
    let lanes = encoded.iter().zip(signatures.iter()).zip(&mut outcomes);
    for (((em, signature), outcome), job) in lanes.zip(jobs) {
        *outcome = outcome.and_then(|()| leave(em, signature, job.signature));
    }
    outcomes
}

fn leave(encoded: &Block, signature: &Block, out: &mut [u8]) -> Result<(), Failed> {
    let signature = signature.get(..out.len()).ok_or(Failed)?;
    if encoded.iter().all(|byte| *byte == 0) {
        return Err(Failed);
    }
    out.copy_from_slice(signature);
    Ok(())
}

fn encode(
    digest: &dyn Digest,
    job: &SignJob<'_>,
    salt: &[u8; MAX_DIGEST],
    encoded: &mut [u8],
) -> Result<(), Failed> {
    let hash = job.key.algorithm().hash();
    match Scheme::of(job.key.algorithm()) {
        Scheme::Pkcs1 => pkcs1::encode(digest, hash, job.message, encoded),
        Scheme::Pss => {
            let salt = salt.get(..hash.output_len()).ok_or(Failed)?;
            pss::encode(digest, hash, job.message, salt, encoded)
        }
    }
}

/// Asks for nothing where no lane is PSS.
fn salts(random: &dyn SecureRandom, jobs: &[SignJob<'_>]) -> Result<Salts, Failed> {
    let mut salts = [[0; MAX_DIGEST]; LANES];
    let is_pss = |job: &SignJob<'_>| Scheme::of(job.key.algorithm()) == Scheme::Pss;
    if let Some(last) = jobs.iter().rposition(is_pss) {
        let used = salts.get_mut(..=last).ok_or(Failed)?;
        random.fill(used.as_flattened_mut())?;
    }
    Ok(salts)
}

/// The private operation on each representative. A result counts only when the public operation gives the
/// representative back: from a result that is wrong in one CRT half anyone computes a factor of the modulus
/// (Boneh, DeMillo, Lipton 1997).
fn raw(
    engine: Engine,
    class: Class,
    from: &[Block; LANES],
    keys: [Option<&PrivateHalf>; LANES],
    outcomes: &mut Outcomes,
) -> Zeroizing<[Block; LANES]> {
    let mut to = Zeroizing::new([[0; 512]; LANES]);
    let parts = keys.map(|key| key.and_then(PrivateHalf::crt));
    let private = ffi::rsa_private(engine.proof(), class, from, &mut to, &parts);
    #[cfg(test)]
    crate::fault::corrupt(&mut to);

    let mut back: [Block; LANES] = [[0; 512]; LANES];
    let moduli = keys.map(|key| key.map(|key| &*key.public.n));
    let public = ffi::rsa_public(engine.proof(), class, &to, &mut back, &moduli);
    let length = class.signature_len();
    for (lane, ((outcome, from), back)) in outcomes.iter_mut().zip(from).zip(&back).enumerate() {
        let (Some(from), Some(back)) = (from.get(..length), back.get(..length)) else {
            continue;
        };
        if private.is_ok(lane) && public.is_ok(lane) && bool::from(from.ct_eq(back)) {
            *outcome = Ok(());
        }
    }
    to
}
