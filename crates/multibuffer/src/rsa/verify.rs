//! Verifying: the public operation in the lanes, then the encoding.

use jose::provider::{Digest, Failed};

use super::encoding::Scheme;
use super::{PublicHalf, pkcs1, pss};
use crate::ffi::{self, Block};
use crate::words;
use crate::{Class, Engine, FAILED, LANES, Outcomes, VerifyJob};

/// The jobs are of `class`; a lane without a key is one whose job was refused.
pub(crate) fn verify(
    engine: Engine,
    class: Class,
    digest: &dyn Digest,
    jobs: &[VerifyJob<'_>],
    keys: [Option<&PublicHalf>; LANES],
) -> Outcomes {
    let length = class.signature_len();
    let mut from: [Block; LANES] = [[0; 512]; LANES];
    let mut moduli = [None; LANES];
    for (((block, n), job), key) in from.iter_mut().zip(&mut moduli).zip(jobs).zip(keys) {
        // a number past the modulus is another spelling of the one below it (RFC 8017 section 5.2.2)
        let key = key.filter(|key| words::is_below(job.signature, &key.n));
        if let (Some(block), Some(key)) = (block.get_mut(..job.signature.len()), key) {
            block.copy_from_slice(job.signature);
            *n = Some(&*key.n);
        }
    }
    let mut to: [Block; LANES] = [[0; 512]; LANES];
    let status = ffi::rsa_public(engine.proof(), class, &from, &mut to, &moduli);

    let mut outcomes = FAILED;
    let lanes = outcomes.iter_mut().zip(&mut to).zip(jobs).zip(moduli);
    for (lane, (((outcome, block), job), n)) in lanes.enumerate() {
        if let Some(encoded) = block.get_mut(..length)
            && n.is_some()
            && status.is_ok(lane)
        {
            *outcome = holds(digest, job, encoded);
        }
    }
    outcomes
}

fn holds(digest: &dyn Digest, job: &VerifyJob<'_>, encoded: &mut [u8]) -> Result<(), Failed> {
    let hash = job.key.algorithm().hash();
    match Scheme::of(job.key.algorithm()) {
        Scheme::Pss => pss::verify(digest, hash, job.message, encoded),
        Scheme::Pkcs1 => {
            let mut expected: Block = [0; 512];
            let expected = expected.get_mut(..encoded.len()).ok_or(Failed)?;
            pkcs1::encode(digest, hash, job.message, expected)?;
            if expected == encoded {
                Ok(())
            } else {
                Err(Failed)
            }
        }
    }
}
