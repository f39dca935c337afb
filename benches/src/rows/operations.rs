//! One operation by everyone who does it, side by side in each round.

use jose::algorithm::{JwsAlgorithm, KeyManagement};

use crate::{
    Fault,
    keys::Key,
    loops,
    peers::{
        node::Node,
        openbao::{OpenBao, Transit},
    },
    report::table::{Column, Table},
    service::{KeySetSpec, Mode, Operation, Service},
    settings::Settings,
};

/// The peers that run as processes.
pub(super) struct Peers<'a> {
    pub(super) node: &'a mut Node,
    pub(super) openbao: &'a OpenBao,
}

/// What a group measures.
struct Subject {
    operation: Operation,
    key: Key,
    set: KeySetSpec,
    openbao: bool,
}

fn subject(group: &str) -> Result<Subject, Fault> {
    let (name, operation) = group
        .rsplit_once('_')
        .ok_or("a group without an operation")?;
    let operation = match operation {
        "sign" => Operation::Sign,
        "verify" => Operation::Verify,
        "encrypt" => Operation::Encrypt,
        "decrypt" => Operation::Decrypt,
        other => return Err(format!("no operation {other}").into()),
    };
    let (key, bits) = match name {
        "rs256" => (Key::signing(JwsAlgorithm::Rs256, 2048)?, 2048),
        "ps256" => (Key::signing(JwsAlgorithm::Ps256, 2048)?, 2048),
        "es256" => (Key::signing(JwsAlgorithm::Es256, 0)?, 0),
        "ed25519" => (Key::signing(JwsAlgorithm::Ed25519, 0)?, 0),
        "rsa4096" => (Key::signing(JwsAlgorithm::Rs256, 4096)?, 4096),
        "rsa_oaep" => (Key::encryption(KeyManagement::RsaOaep256)?, 0),
        "ecdh_es" => (Key::encryption(KeyManagement::EcdhEsA256Kw)?, 0),
        other => return Err(format!("no algorithm {other}").into()),
    };
    let (set, algorithm) = (
        format!("op/bench-{}", name.replace('_', "-")),
        key.algorithm.name(),
    );
    let signs = key.jws().is_ok();
    Ok(Subject {
        operation,
        set: if signs {
            KeySetSpec::signing(&set, algorithm, bits)
        } else {
            KeySetSpec::encryption(&set, algorithm)
        },
        key,
        // Transit has no JWE; RSA-4096 is there for the service's own sake
        openbao: signs && name != "rsa4096",
    })
}

pub(super) async fn measure(
    group: &str,
    settings: &Settings,
    service: &Service<'_>,
    peers: Peers<'_>,
    table: &mut Table,
) -> Result<(), Fault> {
    let Subject {
        operation,
        key,
        set,
        openbao,
    } = subject(group)?;
    let service = if set.rsa_bits > 2048 {
        service.for_slow_operations()
    } else {
        *service
    };
    let mut in_process = match operation {
        Operation::Sign => loops::signing(&key)?,
        Operation::Verify => loops::verifying(&key)?,
        Operation::Encrypt => loops::encrypting(&key)?,
        Operation::Decrypt => loops::decrypting(&key)?,
    };
    peers.node.prepare(name(operation), &key)?;
    service.key_set(&set).await?;
    let work = service.subject(operation, &set.name).await?;
    let transit = match (openbao, operation) {
        (true, Operation::Sign) => {
            Some(Transit::signs(peers.openbao, key.jws()?, settings.batch).await?)
        }
        (true, _) => Some(Transit::verifies(peers.openbao, key.jws()?, settings.batch).await?),
        (false, _) => None,
    };
    for _round in 0..settings.rounds {
        for each in &mut in_process {
            let cpu = each.run(settings.loop_duration())?;
            table.record(group, each.who, [(Column::Cpu, cpu)]);
        }
        let cpu = peers.node.run(settings.loop_duration())?;
        table.record(group, "node-jose", [(Column::Cpu, cpu)]);
        for mode in Mode::of(operation) {
            let call = service.call(&work, *mode)?;
            let figures = service.saturate(&call, *mode).await;
            let figures = figures.map_err(|fault| format!("{}: {fault}", mode.who()))?;
            table.record(
                group,
                mode.who(),
                [
                    (Column::ServerCpu, figures.server_us),
                    (Column::ClientCpu, figures.client_us),
                    (Column::PerSecond, figures.per_second),
                ],
            );
        }
        if let Some(transit) = &transit {
            for (who, figures) in [
                ("openbao", transit.single(settings).await?),
                ("openbao-batch", transit.batch(settings).await?),
            ] {
                table.record(
                    group,
                    who,
                    [
                        (Column::ServerCpu, figures.server_us),
                        (Column::PerSecond, figures.per_second),
                    ],
                );
            }
        }
    }
    Ok(())
}

fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Sign => "sign",
        Operation::Verify => "verify",
        Operation::Encrypt => "encrypt",
        Operation::Decrypt => "decrypt",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_name_an_algorithm_and_an_operation() {
        let made = subject("ecdh_es_decrypt").unwrap();
        assert_eq!(made.set.algorithm, "ECDH-ES+A256KW");
        assert!(!made.openbao && made.operation == Operation::Decrypt);
        let made = subject("ed25519_verify").unwrap();
        assert_eq!(
            (made.set.name.as_str(), made.openbao),
            ("op/bench-ed25519", true)
        );
        for none in ["es256", "es256_wink", "hs256_sign"] {
            assert!(subject(none).is_err(), "{none}");
        }
    }
}
