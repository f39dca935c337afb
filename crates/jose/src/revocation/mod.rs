//! Revocations of tokens: what they match, how they are held, and when they may be forgotten.
//!
//! A revocation names one token by its `jti`, or tokens by what they say of subject, session and client, up to an `iat`. It belongs
//! to one key set, and what it names is kept as the start of a digest, the [`Id`]: 24 bytes for each [`Entry`], whatever the length of
//! the claims, and nobody's name in a store or on a wire.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`Claim`] | which claims are compared: `jti`, or some of `sub`, `sid` and client |
//! | [`Entry`] | one revocation: id, last `iat`, when it is forgotten |
//! | [`Table`] | those of one key set; a copy with a few more shares the rest |
//! | [`Filter`] | stands for a table that is too large to be passed on: no hit means not revoked |
//!
//! Nothing here has a clock. Times are whole seconds since 1970.

mod entry;
mod filter;
mod id;
mod table;

pub use entry::{ENTRY_LEN, Entry, MalformedEntries, NEVER, decode, encode, forget_at};
pub use filter::{Filter, MalformedFilter};
pub use id::{Claim, Id, LONGEST_VALUE, Match, TokenFacts};
pub use table::Table;
