//! A key-encryption key in AWS KMS: the key stays there, and wraps there.
//!
//! The encryption context binds a data key to its owner, and stands in the clear in CloudTrail: it says which tenant's key was opened.

mod error;

pub use error::AwsKmsError;

#[cfg(feature = "aws-kms")]
mod client;
#[cfg(feature = "aws-kms")]
mod credentials;
#[cfg(feature = "aws-kms")]
mod fault;
#[cfg(feature = "aws-kms")]
#[cfg(test)]
mod tests;
#[cfg(feature = "aws-kms")]
pub use client::AwsKmsKek;
