//! Other people's JOSE against ours, and our two engines against each other.
//!
//! | module | what it shows |
//! | --- | --- |
//! | `matrix` | alg x enc x peer x direction: what is made on one side opens on the other, altered tokens on neither |
//! | `published` | the cookbook gets one verdict from aws-lc-rs and from ring |
//! | `attacks` | signatures, keys and texts made to be taken by one engine and not by the other |

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what a test's own functions meet unexpectedly fails the test, and the matrix is printed"
)]

mod altered;
mod attacks;
mod encryption;
mod matrix;
mod numbers;
mod ours;
mod peer;
mod published;
mod row;
mod signatures;
mod table;
mod views;
