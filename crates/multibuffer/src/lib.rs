//! Eight operations at once: safe Rust over Intel's `crypto_mb`.
//!
//! The library computes the same operation for eight keys in the eight lanes of an AVX-512 register. A batch costs
//! about the same whether one lane is filled or eight, so it pays from the fill that [`Class::sign_pays_from`] and
//! its kin name. [`Engine::detect`] says whether the library is linked (feature `crypto-mb`) and the CPU has the
//! instructions; without either nothing here can be reached, and callers need no `cfg`.
//!
//! A key is prepared once ([`Signer`], [`Verifier`], [`Agreement`]); a call takes 1 to [`LANES`] jobs that borrow
//! keys, messages and output. Randomness and SHA-2 come in as arguments, as everywhere in `jose`.
//!
//! What holds, whatever the lanes compute:
//! - an RSA result leaves only after the public operation gave back what was signed: a faulty CRT half would give
//!   away a factor of the modulus;
//! - an ECDSA nonce is hedged with the key and the digest, so that a bad generator costs nothing;
//! - an Ed25519 key signs with the public key of its own seed, and S is below L before a lane sees it;
//! - each lane's status is read, and the output of a lane that failed is zeros.

mod agree;
mod class;
mod ed25519;
mod engine;
#[cfg(test)]
mod fault;
mod ffi;
mod p256;
mod rsa;
mod sign;
mod verify;
mod words;

pub use agree::{Agreement, AgreementJob, PeerKey, agree};
pub use class::Class;
pub use engine::{Engine, Unavailable};
pub use sign::{SignJob, Signer, sign};
pub use verify::{Verifier, VerifyJob, verify};

use jose::provider::Failed;

/// How many jobs one call takes.
pub const LANES: usize = 8;

/// One result a lane, in the order of the jobs; lanes without a job have failed.
pub type Outcomes = [Result<(), Failed>; LANES];

/// Nothing has succeeded yet.
const FAILED: Outcomes = [Err(Failed); LANES];
