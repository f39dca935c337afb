//! Without the library: nobody gets a [`Proof`], and were there one, every lane would fail.

use super::{Block, CrtKey, Lanes, Status};
use crate::{Class, LANES, Unavailable};

/// Is never made.
#[derive(Clone, Copy)]
pub(crate) struct Proof(());

pub(crate) const fn detect() -> Result<Proof, Unavailable> {
    Err(Unavailable::NotBuilt)
}

/// The status when nothing was computed.
const NOTHING: Status = Status(u32::MAX);

pub(crate) fn rsa_private(
    _: Proof,
    _: Class,
    _: &[Block; LANES],
    _: &mut [Block; LANES],
    _: &[Option<CrtKey<'_>>; LANES],
) -> Status {
    NOTHING
}

pub(crate) fn rsa_public(
    _: Proof,
    _: Class,
    _: &[Block; LANES],
    _: &mut [Block; LANES],
    _: &[Option<&[u64]>; LANES],
) -> Status {
    NOTHING
}

pub(crate) fn p256_public(
    _: Proof,
    _: &mut [[u64; 4]; LANES],
    _: &mut [[u64; 4]; LANES],
    _: &Lanes<'_, [u64; 4]>,
) -> Status {
    NOTHING
}

pub(crate) fn p256_agree(
    _: Proof,
    _: &mut [[u8; 32]; LANES],
    _: &Lanes<'_, [u64; 4]>,
    _: &Lanes<'_, [u64; 4]>,
    _: &Lanes<'_, [u64; 4]>,
) -> Status {
    NOTHING
}

pub(crate) fn p256_sign(
    _: Proof,
    _: &mut [[u8; 32]; LANES],
    _: &mut [[u8; 32]; LANES],
    _: &Lanes<'_, [u8; 32]>,
    _: &Lanes<'_, [u64; 4]>,
    _: &Lanes<'_, [u64; 4]>,
) -> Status {
    NOTHING
}

pub(crate) fn p256_verify(
    _: Proof,
    _: &Lanes<'_, [u8; 32]>,
    _: &Lanes<'_, [u8; 32]>,
    _: &Lanes<'_, [u8; 32]>,
    _: &Lanes<'_, [u64; 4]>,
    _: &Lanes<'_, [u64; 4]>,
) -> Status {
    NOTHING
}

pub(crate) fn ed25519_public(
    _: Proof,
    _: &mut [[u8; 32]; LANES],
    _: &Lanes<'_, [u8; 32]>,
) -> Status {
    NOTHING
}

pub(crate) fn ed25519_sign(
    _: Proof,
    _: &mut [[u8; 32]; LANES],
    _: &mut [[u8; 32]; LANES],
    _: &[Option<&[u8]>; LANES],
    _: &Lanes<'_, [u8; 32]>,
    _: &Lanes<'_, [u8; 32]>,
) -> Status {
    NOTHING
}

pub(crate) fn ed25519_verify(
    _: Proof,
    _: &Lanes<'_, [u8; 32]>,
    _: &Lanes<'_, [u8; 32]>,
    _: &[Option<&[u8]>; LANES],
    _: &Lanes<'_, [u8; 32]>,
) -> Status {
    NOTHING
}
