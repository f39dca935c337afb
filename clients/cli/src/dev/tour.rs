//! A tour of the running service, with real tokens: what `dev run` shows before it says `ready`.

use client_admin::{AdminClient, CreateKeySet, KeyUse, Policy, Profile, Publish, RotateKeySet};
use client_core::{
    Code, CryptoClient,
    request::{Decrypt, Decryption, Encrypt, Recipient, Sign, Verdict, Verify},
};

use super::ports::Ports;
use crate::{
    args::Global,
    connect::{channel, failed},
    error::Error,
    output::line,
};

const ISSUER: &str = "https://op.example.com";
const AUDIENCE: &str = "https://api.example.com";
const CLAIMS: &str = r#"{"sub":"alice","aud":"https://api.example.com","scope":"openid profile"}"#;
const PAYLOAD: &str = "a secret for the provider";

/// The development key sets: name, use, algorithm, `typ`.
const KEY_SETS: [(&str, KeyUse, &str, &str); 3] = [
    ("op/access-token", KeyUse::Sign, "ES256", "at+jwt"),
    ("op/id-token", KeyUse::Sign, "RS256", "JWT"),
    ("op/encryption", KeyUse::Encrypt, "RSA-OAEP-256", ""),
];

/// Creates the key sets that are missing, then signs, verifies, encrypts, decrypts and rotates.
pub(crate) async fn take(global: &Global, ports: &Ports) -> Result<(), Error> {
    let tour = Tour::new(global, ports)?;
    tour.key_sets().await?;
    let token = tour.sign().await?;
    tour.verify("verify, as auth", &token).await?;
    tour.encrypt_and_decrypt().await?;
    tour.rotate().await?;
    tour.verify("verify the old token: its key still verifies", &token)
        .await?;
    let new = tour.sign().await?;
    tour.try_it(&new)
}

struct Tour<'a> {
    global: &'a Global,
    ports: &'a Ports,
    admin: AdminClient,
    token: CryptoClient,
    auth: CryptoClient,
}

impl<'a> Tour<'a> {
    fn new(global: &'a Global, ports: &'a Ports) -> Result<Self, Error> {
        let keys = ports.keys_grpc.to_string();
        let crypto = ports.crypto_grpc.to_string();
        Ok(Self {
            global,
            ports,
            admin: AdminClient::new(channel(global, &keys, "admin")?),
            token: CryptoClient::new(channel(global, &crypto, "token")?),
            auth: CryptoClient::new(channel(global, &crypto, "auth")?),
        })
    }

    async fn key_sets(&self) -> Result<(), Error> {
        heading("key sets")?;
        for (name, key_use, algorithm, typ) in KEY_SETS {
            self.create(name, key_use, algorithm, typ).await?;
            let mut set = self
                .admin
                .get("", name)
                .await
                .map_err(|error| self.keys_failed(name, &error))?
                .key_set;
            if set.active().is_none() {
                let rotate = RotateKeySet::new(name).force();
                set = self
                    .admin
                    .rotate(&rotate)
                    .await
                    .map_err(|error| self.keys_failed(name, &error))?
                    .key_set;
            }
            let active = set
                .active()
                .ok_or_else(|| Error::software(format!("{name} has no Active key")))?;
            line(&format!("{name:<16} {algorithm:<13} {}", active.kid))?;
        }
        Ok(())
    }

    /// Creates a set; one that is there already is kept.
    async fn create(
        &self,
        name: &str,
        key_use: KeyUse,
        algorithm: &str,
        typ: &str,
    ) -> Result<(), Error> {
        let create = CreateKeySet::new(name, key_use, algorithm)
            .issuer(ISSUER)
            .publish(Publish::Public)
            .profile(Profile {
                typ: typ.to_owned(),
                ..Profile::default()
            })
            .policy(Policy {
                algorithm: algorithm.to_owned(),
                ..Policy::default()
            });
        match self.admin.create(&create).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Code::Aborted => Ok(()),
            Err(error) => Err(self.keys_failed(name, &error)),
        }
    }

    async fn sign(&self) -> Result<String, Error> {
        heading("sign, as token, with op/access-token")?;
        line(CLAIMS)?;
        let signed = self
            .token
            .sign(&Sign::json("op/access-token", CLAIMS))
            .await
            .map_err(|error| self.crypto_failed("sign", &error))?;
        line(&signed.token)?;
        Ok(signed.token)
    }

    async fn verify(&self, title: &str, token: &str) -> Result<(), Error> {
        heading(title)?;
        let verdict = self
            .auth
            .verify(&Verify::new(token, AUDIENCE))
            .await
            .map_err(|error| self.crypto_failed("verify", &error))?;
        match verdict {
            Verdict::Valid(valid) => line(&format!(
                "valid, by {} of {}\n{}",
                valid.kid, valid.key_set, valid.claims_json
            )),
            Verdict::Rejected(reason) => Err(Error::refused(format!(
                "the tour's token is rejected: {}",
                reason.name()
            ))),
        }
    }

    async fn encrypt_and_decrypt(&self) -> Result<(), Error> {
        heading("encrypt, as token, to op/encryption")?;
        let encrypt = Encrypt::new(PAYLOAD, Recipient::KeySet("op/encryption".to_owned()));
        let encrypted = self
            .token
            .encrypt(&encrypt)
            .await
            .map_err(|error| self.crypto_failed("encrypt", &error))?;
        line(&encrypted.token)?;
        heading("decrypt, as auth")?;
        let decryption = self
            .auth
            .decrypt(&Decrypt::new(encrypted.token))
            .await
            .map_err(|error| self.crypto_failed("decrypt", &error))?;
        match decryption {
            Decryption::Decrypted(content) if content.payload == PAYLOAD.as_bytes() => {
                line(PAYLOAD)
            }
            _ => Err(Error::refused("the tour's JWE does not decrypt")),
        }
    }

    async fn rotate(&self) -> Result<(), Error> {
        heading("rotate op/access-token, as admin, with force")?;
        let rotated = self
            .admin
            .rotate(&RotateKeySet::new("op/access-token").force())
            .await
            .map_err(|error| self.keys_failed("rotate", &error))?;
        line(&crate::keyset::set_text(&rotated.key_set))?;
        rotated
            .may_have_broken
            .iter()
            .try_for_each(|broken| line(&format!("  may have broken: {broken}")))
    }

    /// Lines that work when pasted, from the folder in which this was started.
    fn try_it(&self, token: &str) -> Result<(), Error> {
        heading("try it")?;
        let crypto = self.ports.crypto_grpc;
        let keys = self.ports.keys_grpc;
        let sign = format!(
            r#"{{"key_set":"op/access-token","claims":{{"sub":"bob","aud":"{AUDIENCE}"}}}}"#
        );
        let verify = format!(r#"{{"token":"{token}","audiences":["{AUDIENCE}"]}}"#);
        let set = r#"{"key_set":"op/access-token"}"#;
        let calls = [
            ("token", format!("{crypto} list")),
            (
                "token",
                format!("-d '{sign}' {crypto} crypto.jwt.v1.JwtService/Sign"),
            ),
            (
                "auth",
                format!("-d '{verify}' {crypto} crypto.jwt.v1.JwtService/Verify"),
            ),
            (
                "auth",
                format!("{crypto} crypto.jwks.v1.JwksService/GetJwks"),
            ),
            (
                "admin",
                format!("-d '{set}' {keys} crypto.keys.v1.KeyAdminService/GetKeySet"),
            ),
            (
                "admin",
                format!("-d '{set}' {keys} crypto.keys.v1.KeyAdminService/RotateKeySet"),
            ),
        ];
        for (role, call) in calls {
            line(&self.grpcurl(role, &call))?;
        }
        line(&format!(
            "curl -s http://{}/.well-known/jwks.json",
            self.ports.crypto_http
        ))
    }

    fn grpcurl(&self, role: &str, call: &str) -> String {
        const INSTALLED: &str = ".tools/venv/bin/grpcurl";
        let program = if std::path::Path::new(INSTALLED).exists() {
            INSTALLED
        } else {
            "grpcurl"
        };
        let dir = self.global.certs.display();
        format!(
            "{program} -cacert {dir}/ca.crt -cert {dir}/{role}.crt -key {dir}/{role}.key {call}"
        )
    }

    fn keys_failed(&self, doing: &str, error: &client_core::Error) -> Error {
        failed(&self.ports.keys_grpc.to_string(), error).during(doing)
    }

    fn crypto_failed(&self, doing: &str, error: &client_core::Error) -> Error {
        failed(&self.ports.crypto_grpc.to_string(), error).during(doing)
    }
}

fn heading(title: &str) -> Result<(), Error> {
    line(&format!("\n--- {title}"))
}
