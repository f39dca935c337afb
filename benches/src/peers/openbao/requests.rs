//! Signing and verifying with one Transit key, under load.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jose::algorithm::JwsAlgorithm;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{OpenBao, client::Connection};
use crate::{Fault, kernel, micros, now, number, settings::Settings};

/// Callers with a connection and a request in flight each: more only queue up in a server of a few cores.
const CALLERS: usize = 16;
const MESSAGE: [u8; 400] = [b'm'; 400];

/// A Transit key, and the requests that are repeated.
#[derive(Debug)]
pub struct Transit<'a> {
    server: &'a OpenBao,
    single: Request,
    batch: Request,
}

#[derive(Debug, Clone)]
struct Request {
    path: String,
    body: Bytes,
    operations: u32,
}

/// What saturation gave.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Operations per second.
    pub per_second: f64,
    /// The server's CPU for each operation.
    pub server_us: f64,
}

/// Transit's names for an algorithm.
struct Names {
    key: &'static str,
    parameters: Value,
}

fn names(algorithm: JwsAlgorithm) -> Result<Names, Fault> {
    let (key, parameters) = match algorithm {
        JwsAlgorithm::Rs256 => ("rsa-2048", json!({ "signature_algorithm": "pkcs1v15" })),
        JwsAlgorithm::Ps256 => (
            "rsa-2048",
            json!({ "signature_algorithm": "pss", "salt_length": "hash" }),
        ),
        JwsAlgorithm::Es256 => ("ecdsa-p256", json!({ "marshaling_algorithm": "jws" })),
        JwsAlgorithm::Ed25519 => ("ed25519", json!({})),
        other => return Err(format!("OpenBao: no row for {other}").into()),
    };
    Ok(Names { key, parameters })
}

impl<'a> Transit<'a> {
    /// A new key, to sign with.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn signs(
        server: &'a OpenBao,
        algorithm: JwsAlgorithm,
        batch: usize,
    ) -> Result<Self, Fault> {
        let (names, key) = Self::key(server, algorithm).await?;
        let path = format!("/v1/transit/sign/{key}/sha2-256");
        let item = json!({ "input": STANDARD.encode(MESSAGE) });
        Self::over(server, &path, &names.parameters, &item, batch)
    }

    /// A new key, to verify with.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn verifies(
        server: &'a OpenBao,
        algorithm: JwsAlgorithm,
        batch: usize,
    ) -> Result<Self, Fault> {
        let (names, key) = Self::key(server, algorithm).await?;
        let item = json!({ "input": STANDARD.encode(MESSAGE) });
        let sign = merged(&names.parameters, &item);
        let mut connection = server.connect().await?;
        let path = format!("/v1/transit/sign/{key}/sha2-256");
        let signed = connection.post(&path, &sign).await?;
        let signature = signed.pointer("/data/signature");
        let item = json!({ "input": STANDARD.encode(MESSAGE), "signature": signature });
        let path = format!("/v1/transit/verify/{key}/sha2-256");
        Self::over(server, &path, &names.parameters, &item, batch)
    }

    async fn key(server: &OpenBao, algorithm: JwsAlgorithm) -> Result<(Names, String), Fault> {
        let names = names(algorithm)?;
        let key = format!("bench-{}", algorithm.name().to_ascii_lowercase());
        let mut connection = server.connect().await?;
        let create = json!({ "type": names.key });
        let path = format!("/v1/transit/keys/{key}");
        // a key of this name that is there already is kept
        connection.post(&path, &create).await?;
        Ok((names, key))
    }

    fn over(
        server: &'a OpenBao,
        path: &str,
        parameters: &Value,
        item: &Value,
        batch: usize,
    ) -> Result<Self, Fault> {
        let request = |body: Value, operations| Request {
            path: path.to_owned(),
            body: body.to_string().into(),
            operations,
        };
        let items = json!({ "batch_input": vec![item; batch] });
        Ok(Self {
            server,
            single: request(merged(parameters, item), 1),
            batch: request(merged(parameters, &items), u32::try_from(batch)?),
        })
    }

    /// One operation a request.
    ///
    /// # Errors
    /// When a request fails.
    pub async fn single(&self, settings: &Settings) -> Result<Figures, Fault> {
        self.saturate(&self.single, settings).await
    }

    /// A batch a request.
    ///
    /// # Errors
    /// When a request fails.
    pub async fn batch(&self, settings: &Settings) -> Result<Figures, Fault> {
        self.saturate(&self.batch, settings).await
    }

    async fn saturate(&self, request: &Request, settings: &Settings) -> Result<Figures, Fault> {
        // one that succeeds before the rest is let loose
        let mut first = self.server.connect().await?;
        check(&first.exchange(&request.path, request.body.clone()).await?)?;
        let mut callers = JoinSet::new();
        let mut connections = Vec::new();
        for _ in 0..CALLERS.min(settings.callers) {
            connections.push(self.server.connect().await?);
        }
        let (start, cpu) = (now(), kernel::cpu_time(self.server.pid())?);
        let end = start + settings.duration();
        for mut connection in connections {
            let request = request.clone();
            callers.spawn(async move { repeat(&mut connection, &request, end).await });
        }
        let mut requests = 0_u64;
        while let Some(done) = callers.join_next().await {
            requests += done??;
        }
        let operations = number(requests * u64::from(request.operations));
        Ok(Figures {
            per_second: operations / start.elapsed().as_secs_f64(),
            server_us: micros(kernel::cpu_time(self.server.pid())? - cpu) / operations,
        })
    }
}

async fn repeat(
    connection: &mut Connection,
    request: &Request,
    end: std::time::Instant,
) -> Result<u64, Fault> {
    let mut requests = 0;
    while now() < end {
        connection
            .exchange(&request.path, request.body.clone())
            .await?;
        requests += 1;
    }
    Ok(requests)
}

/// A batch answers 200 also when its items fail.
fn check(answer: &Bytes) -> Result<(), Fault> {
    let answer: Value = serde_json::from_slice(answer)?;
    let good = |result: &Value| {
        let valid = result.get("valid").and_then(Value::as_bool);
        result.get("signature").is_some_and(Value::is_string) || valid == Some(true)
    };
    let sound = match answer
        .pointer("/data/batch_results")
        .and_then(Value::as_array)
    {
        Some(results) => !results.is_empty() && results.iter().all(good),
        None => answer.get("data").is_some_and(good),
    };
    if !sound {
        return Err(format!("OpenBao answers {answer}").into());
    }
    Ok(())
}

/// The members of both objects.
fn merged(one: &Value, other: &Value) -> Value {
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let mut all = members(one);
    all.extend(members(other));
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[tokio::test]
    async fn every_algorithm_signs_and_verifies_one_by_one_and_in_batches() {
        let server = OpenBao::start(&crate::root()).await.unwrap();
        assert!(server.version.contains('.'), "{}", server.version);
        let mut settings = Settings::parse_from(["report", "--quick"]).resolved();
        settings.seconds = 0.02;
        for algorithm in [
            JwsAlgorithm::Rs256,
            JwsAlgorithm::Ps256,
            JwsAlgorithm::Es256,
            JwsAlgorithm::Ed25519,
        ] {
            let signs = Transit::signs(&server, algorithm, 3).await.unwrap();
            let verifies = Transit::verifies(&server, algorithm, 3).await.unwrap();
            for transit in [signs, verifies] {
                for figures in [
                    transit.single(&settings).await.unwrap(),
                    transit.batch(&settings).await.unwrap(),
                ] {
                    assert!(figures.per_second > 0.0, "{algorithm} {figures:?}");
                }
            }
        }
        assert!(names(JwsAlgorithm::Hs256).is_err());
    }

    #[test]
    fn an_answer_whose_items_failed_is_a_failure() {
        for (answer, good) in [
            (json!({ "data": { "signature": "vault:v1:x" } }), true),
            (json!({ "data": { "valid": true } }), true),
            (json!({ "data": { "valid": false } }), false),
            (
                json!({ "data": { "batch_results": [{ "valid": true }, { "error": "no" }] } }),
                false,
            ),
            (json!({ "data": { "batch_results": [] } }), false),
            (json!({}), false),
        ] {
            let bytes = Bytes::from(answer.to_string());
            assert_eq!(check(&bytes).is_ok(), good, "{answer}");
        }
    }
}
