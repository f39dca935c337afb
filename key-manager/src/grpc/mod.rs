//! The wire: one file per service, each rpc decoded, carried out and encoded. Proto types stop here.

mod admin;
mod decode;
mod encode;
mod feed;
mod fields;
mod issued;
mod revocation;
mod status;
mod trail;
mod update;

pub use admin::{Admin, Backups};
pub use feed::{FeedServer, down_message, up_message};
pub use revocation::Revocation;
pub use status::refusals;
