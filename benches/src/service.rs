//! The running service under load: the same operation called one by one, coalesced, in batches and over streams.

pub mod batch;
mod single;
mod stream;

use std::{sync::Arc, time::Duration};

use client_admin::{AdminClient, CreateKeySet, KeyUse, Policy, RotateKeySet};
use client_core::{
    Coalescing, CryptoClient, Options,
    request::{Encrypt, Recipient, Sign},
};

use crate::{
    Fault, kernel,
    load::{Call, Outcome, closed_loop},
    micros, number,
    peers::{AUDIENCE, PAYLOAD},
    settings::Settings,
    stack::Stack,
};

/// Claims of an access token; the service adds `iss`, `iat`, `exp` and `jti`.
pub const CLAIMS: &str = r#"{"sub":"248289761001","aud":"https://api.example.com","client_id":"s6BhdRkqt3","scope":"openid profile email","auth_time":1790000000,"acr":"urn:example:loa:2","sid":"08a5019c-17e1-4977-8f42-65a12843ea02"}"#;
/// Before a measurement the same load runs for this part of its time.
const WARM_UP: u32 = 4;
/// An RSA-4096 signature takes about so many times as long as the slowest of the others.
pub const SLOW: usize = 8;
/// Different tokens that are verified and decrypted in turn.
const TOKENS: usize = 64;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Signs claims.
    Sign,
    /// Verifies tokens of the set.
    Verify,
    /// Encrypts to the set.
    Encrypt,
    /// Decrypts tokens of the set.
    Decrypt,
}

impl Operation {
    /// The development role that is granted it.
    fn role(self) -> &'static str {
        match self {
            Self::Decrypt => "auth",
            _ => "token",
        }
    }
}

/// How it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// An rpc for each operation; the client's coalescing is off.
    Unary,
    /// The client as it comes: concurrent calls share rpcs.
    Coalesced,
    /// The batch rpc.
    Batch,
    /// The stream rpc.
    Stream,
}

impl Mode {
    /// Those that an operation has: there are no streams of JWE.
    #[must_use]
    pub fn of(operation: Operation) -> &'static [Self] {
        match operation {
            Operation::Sign | Operation::Verify => {
                &[Self::Unary, Self::Coalesced, Self::Batch, Self::Stream]
            }
            Operation::Encrypt | Operation::Decrypt => &[Self::Unary, Self::Coalesced, Self::Batch],
        }
    }

    /// The name of its row.
    #[must_use]
    pub fn who(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::Coalesced => "coalesced",
            Self::Batch => "batch",
            Self::Stream => "stream",
        }
    }
}

/// An operation on a key set, with the tokens that it needs.
#[derive(Debug, Clone)]
pub struct Subject {
    operation: Operation,
    key_set: String,
    tokens: Arc<[String]>,
}

/// What saturation gave.
#[derive(Debug, Clone, Copy)]
pub struct Saturated {
    /// Operations per second.
    pub per_second: f64,
    /// The service's CPU for each operation.
    pub server_us: f64,
    /// This process's CPU for each operation.
    pub client_us: f64,
}

/// A running service and how hard it is pressed.
#[derive(Debug, Clone, Copy)]
pub struct Service<'a> {
    stack: &'a Stack,
    settings: &'a Settings,
    deadline: Duration,
    /// The callers at saturation are divided by this.
    fewer: usize,
}

impl<'a> Service<'a> {
    /// The service of `stack`.
    #[must_use]
    pub fn new(stack: &'a Stack, settings: &'a Settings) -> Self {
        Self {
            stack,
            settings,
            deadline: Duration::from_secs(10),
            fewer: 1,
        }
    }

    /// For operations that take milliseconds: as many callers as for the others would wait longer than the service
    /// lets anybody wait, and be refused.
    #[must_use]
    pub fn for_slow_operations(self) -> Self {
        Self {
            fewer: SLOW,
            ..self
        }
    }

    /// With another deadline for each call.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.stack.crypto_service
    }

    /// Creates a key set whose first key is Active at once; one that is there already is kept.
    ///
    /// # Errors
    /// As the key-manager's calls.
    pub async fn key_set(&self, set: &KeySetSpec) -> Result<(), Fault> {
        let admin = AdminClient::new(self.stack.admin_channel(1)?);
        match create(&admin, set).await {
            Err(error) if error.code() == client_core::Code::Aborted => Ok(()),
            done => Ok(done?),
        }
    }

    /// Gets ready for an operation: makes the tokens that it works on.
    ///
    /// # Errors
    /// As the service's calls.
    pub async fn subject(&self, operation: Operation, key_set: &str) -> Result<Subject, Fault> {
        let client = self.client("token", Mode::Unary)?;
        let tokens = TOKENS.min(self.settings.batch);
        let mut made = Vec::with_capacity(tokens);
        for _ in 0..tokens {
            match operation {
                Operation::Verify => {
                    made.push(client.sign(&Sign::json(key_set, CLAIMS)).await?.token);
                }
                Operation::Decrypt => made.push(client.encrypt(&encrypt(key_set)).await?.token),
                Operation::Sign | Operation::Encrypt => {}
            }
        }
        Ok(Subject {
            operation,
            key_set: key_set.to_owned(),
            tokens: made.into(),
        })
    }

    /// The call that does it.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn call(&self, subject: &Subject, mode: Mode) -> Result<Call, Fault> {
        let client = self.client(subject.operation.role(), mode)?;
        match mode {
            Mode::Unary | Mode::Coalesced => Ok(single::call(&client, subject)),
            Mode::Batch => batch::call(&client, subject, self.settings.batch),
            Mode::Stream => stream::call(&client, subject, self.settings.connections),
        }
    }

    /// The call that does it once, over a client that others use too.
    #[must_use]
    pub fn call_over(&self, client: &CryptoClient, subject: &Subject) -> Call {
        single::call(client, subject)
    }

    /// The call that does it once, over a channel of the runtime in which this runs.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn call_with(options: Options, subject: &Subject) -> Result<Call, Fault> {
        Ok(single::call(
            &CryptoClient::new(options.channel()?),
            subject,
        ))
    }

    /// How the channel of an operation is made, in the way of a mode.
    #[must_use]
    pub fn channel_options(&self, operation: Operation, mode: Mode) -> Options {
        self.options(operation.role(), mode)
    }

    /// A client in the way of a mode, as `role`.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn client(&self, role: &str, mode: Mode) -> Result<CryptoClient, Fault> {
        Ok(CryptoClient::new(self.options(role, mode).channel()?))
    }

    fn options(&self, role: &str, mode: Mode) -> Options {
        let options = self.stack.options(role, self.settings.connections);
        options.deadline(self.deadline).coalescing(match mode {
            Mode::Coalesced => Coalescing::On,
            Mode::Unary | Mode::Batch | Mode::Stream => Coalescing::Off,
        })
    }

    /// Calls as fast as the service answers.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn saturate(&self, call: &Call, mode: Mode) -> Result<Saturated, Fault> {
        let callers = match mode {
            Mode::Unary | Mode::Coalesced | Mode::Stream => self.settings.callers,
            Mode::Batch => self.settings.batch_callers,
        };
        let callers = callers.div_ceil(self.fewer);
        let duration = self.settings.duration();
        closed_loop(callers, duration / WARM_UP, call)
            .await?
            .sound()?;
        let before = self.cpu()?;
        let outcome = closed_loop(callers, duration, call).await?.sound()?;
        let after = self.cpu()?;
        Ok(Saturated {
            per_second: outcome.rate(),
            server_us: micros(after.0 - before.0) / number(outcome.done),
            client_us: micros(after.1 - before.1) / number(outcome.done),
        })
    }

    /// With one call in flight.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn alone(&self, call: &Call) -> Result<Outcome, Fault> {
        closed_loop(1, self.settings.duration(), call)
            .await?
            .sound()
    }

    fn cpu(&self) -> Result<(Duration, Duration), Fault> {
        Ok((kernel::cpu_time(self.pid())?, kernel::own_cpu_time()?))
    }
}

/// A key set to create.
#[derive(Debug, Clone)]
pub struct KeySetSpec {
    /// Its name, below `op/`, where the development roles have their grants.
    pub name: String,
    /// What it is for.
    pub key_use: KeyUse,
    /// The algorithm of its keys.
    pub algorithm: String,
    /// Of an RSA modulus; 0 = 2048.
    pub rsa_bits: u32,
}

impl KeySetSpec {
    /// Of tokens.
    #[must_use]
    pub fn signing(name: &str, algorithm: &str, rsa_bits: u32) -> Self {
        Self {
            name: name.to_owned(),
            key_use: KeyUse::Sign,
            algorithm: algorithm.to_owned(),
            rsa_bits,
        }
    }

    /// To encrypt to.
    #[must_use]
    pub fn encryption(name: &str, algorithm: &str) -> Self {
        Self {
            key_use: KeyUse::Encrypt,
            ..Self::signing(name, algorithm, 0)
        }
    }
}

/// Creates a key set and makes its first key Active.
///
/// # Errors
/// As the key-manager's calls.
pub async fn create(admin: &AdminClient, set: &KeySetSpec) -> Result<(), client_core::Error> {
    let create = CreateKeySet::new(&set.name, set.key_use, &set.algorithm).policy(Policy {
        algorithm: set.algorithm.clone(),
        rsa_bits: set.rsa_bits,
        ..Policy::default()
    });
    admin.create(&create).await?;
    let rotated = admin.rotate(&RotateKeySet::new(&set.name).force()).await;
    rotated.map(drop)
}

fn encrypt(key_set: &str) -> Encrypt {
    Encrypt::new(PAYLOAD, Recipient::KeySet(key_set.to_owned()))
}
