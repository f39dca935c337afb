//! What is measured: a function for each kind of group, and the order in which they run.

mod allocations;
mod flood;
mod goodput;
mod growth;
mod latency;
mod no_lanes;
mod operations;
mod token_request;

use crate::{
    Fault,
    kernel::Machine,
    loops,
    peers::{josekit, node::Node, openbao::OpenBao},
    progress,
    report::{
        Report,
        ratios::Lanes,
        table::Table,
        versions::{Versions, commit},
    },
    root,
    service::Service,
    settings::Settings,
    stack::{Stack, Start},
};

/// Every group, in the order in which they run.
pub const GROUPS: [&str; 21] = [
    "rs256_sign",
    "ps256_sign",
    "es256_sign",
    "ed25519_sign",
    "rsa4096_sign",
    "rs256_verify",
    "ps256_verify",
    "es256_verify",
    "ed25519_verify",
    "rsa_oaep_encrypt",
    "rsa_oaep_decrypt",
    "ecdh_es_encrypt",
    "ecdh_es_decrypt",
    "token_request",
    "unary_latency",
    "latency",
    "flood",
    "no_lanes",
    "goodput",
    "growth",
    "allocations",
];

/// Measures what the settings want.
///
/// # Errors
/// When a group is asked for that does not exist, a peer is missing or the service does not start: before anything is
/// measured. What fails later is in the report.
pub async fn run(settings: Settings, command: String) -> Result<Report, Fault> {
    if let Some(unknown) = settings
        .only
        .iter()
        .find(|only| !GROUPS.contains(&only.as_str()))
    {
        return Err(format!(
            "--only {unknown}: no such group; there are {}",
            GROUPS.join(", ")
        )
        .into());
    }
    let mut bench = Box::pin(Bench::set_up(&settings)).await?;
    for group in GROUPS.into_iter().filter(|group| settings.wants(group)) {
        progress(group);
        if let Err(fault) = Box::pin(bench.measure(group)).await {
            progress(&format!("{group}: {fault}"));
            bench.faults.push((group.to_owned(), fault.to_string()));
        }
    }
    let Bench {
        table,
        versions,
        faults,
        ..
    } = bench;
    Ok(Report {
        commit: commit(),
        date: jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
        command,
        machine: Machine::here(),
        lanes: loops::lanes_missing().map_or(Lanes::There, Lanes::Missing),
        settings: settings.clone(),
        versions,
        table,
        faults,
    })
}

/// What groups share.
struct Bench<'a> {
    settings: &'a Settings,
    stack: Stack,
    node: Node,
    openbao: OpenBao,
    table: Table,
    versions: Versions,
    faults: Vec<(String, String)>,
}

impl<'a> Bench<'a> {
    async fn set_up(settings: &'a Settings) -> Result<Self, Fault> {
        let mut node = Node::start(&root(), settings.quick)?;
        let openbao = OpenBao::start(&root()).await?;
        let stack = Start::new(settings).start()?;
        let mut versions = Versions::of_the_build();
        let node_versions = node.versions()?;
        versions.add("josekit's OpenSSL", openssl());
        versions.add("node", node_versions.node);
        versions.add("jose (Node)", node_versions.jose);
        versions.add("OpenBao", openbao.version.clone());
        Ok(Self {
            settings,
            stack,
            node,
            openbao,
            table: Table::default(),
            versions,
            faults: Vec::new(),
        })
    }

    async fn measure(&mut self, group: &'static str) -> Result<(), Fault> {
        let (settings, table) = (self.settings, &mut self.table);
        let service = Service::new(&self.stack, settings);
        match group {
            "token_request" => {
                token_request::measure(settings, &service, &mut self.node, table).await
            }
            "unary_latency" => latency::alone(settings, &service, table).await,
            "latency" => latency::under_load(settings, &service, table).await,
            "flood" => flood::measure(settings, &service, table).await,
            "no_lanes" => no_lanes::measure(settings, table).await,
            "goodput" => goodput::measure(settings, table).await,
            "growth" => growth::measure(settings, table).await,
            "allocations" => allocations::measure(settings, table),
            operation => {
                let peers = operations::Peers {
                    node: &mut self.node,
                    openbao: &self.openbao,
                };
                operations::measure(operation, settings, &service, peers, table).await
            }
        }
    }
}

/// `OpenSSL 3.0.19 27 Jan 2026` without the name that the report has already.
fn openssl() -> &'static str {
    josekit::openssl().trim_start_matches("OpenSSL ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[tokio::test]
    async fn a_group_that_does_not_exist_is_refused_before_anything_starts() {
        let settings = Settings::parse_from(["report", "--only", "rs256_sing"]);
        let said = run(settings, String::new()).await.unwrap_err().to_string();
        assert!(
            said.contains("rs256_sing") && said.contains("rs256_sign"),
            "{said}"
        );
    }

    #[test]
    fn the_version_of_openssl_is_a_version() {
        assert!(
            openssl().starts_with(|first: char| first.is_ascii_digit()),
            "{}",
            openssl()
        );
    }
}
