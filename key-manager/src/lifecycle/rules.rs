//! The rules that decide over keys.
//!
//! There is one set of them, and it is [`keyring`]'s. They stand behind a trait so that a simulation can break one rule at a time and show that
//! it notices: no setting, and nothing outside a program that is built for it, puts others in their place.

use std::fmt;

use keyring::{Action, Context, KeySet, NewKey, Refusal, Time};

/// What is decided over a key set.
pub trait Rules: fmt::Debug + Send + Sync + 'static {
    /// As [`keyring::plan`].
    fn plan(&self, set: &KeySet, ctx: &Context<'_>) -> Vec<Action> {
        keyring::plan(set, ctx)
    }

    /// As [`keyring::apply`].
    ///
    /// # Errors
    /// [`Refusal`].
    fn apply(
        &self,
        set: &KeySet,
        action: &Action,
        generated: Option<NewKey>,
        ctx: &Context<'_>,
    ) -> Result<KeySet, Refusal> {
        keyring::apply(set, action, generated, ctx)
    }

    /// As [`keyring::date`].
    fn date(&self, ctx: &Context<'_>) -> Option<Time> {
        keyring::date(ctx)
    }

    /// As [`keyring::request_rotation`].
    ///
    /// # Errors
    /// [`Refusal`].
    fn request_rotation(
        &self,
        set: &KeySet,
        force: bool,
        generated: Option<NewKey>,
        ctx: &Context<'_>,
    ) -> Result<KeySet, Refusal> {
        keyring::request_rotation(set, force, generated, ctx)
    }

    /// As [`keyring::revoke`].
    ///
    /// # Errors
    /// [`Refusal`].
    fn revoke(
        &self,
        set: &KeySet,
        kid: &str,
        generated: Option<NewKey>,
        ctx: &Context<'_>,
    ) -> Result<KeySet, Refusal> {
        keyring::revoke(set, kid, generated, ctx)
    }
}

/// The rules of [`keyring`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lawful;

impl Rules for Lawful {}
