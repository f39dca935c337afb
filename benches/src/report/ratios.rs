//! The ratios of the bar: which rows they are made of, and what they have to reach.

use super::table::{Column, Table};
use crate::series::Series;

/// What a ratio has to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// This much, or more.
    AtLeast(f64),
    /// This much, or less.
    AtMost(f64),
}

impl Bar {
    /// Whether a ratio reaches it.
    #[must_use]
    pub fn met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bar) => ratio >= bar,
            Self::AtMost(bar) => ratio <= bar,
        }
    }
}

/// Whether the lanes were there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lanes {
    /// They were.
    There,
    /// They were not, and why.
    Missing(String),
}

/// A figure of a row.
type Term = (&'static str, &'static str, Column);

/// One line of the bar.
#[derive(Debug)]
pub struct Definition {
    /// Its key in `ratios`.
    pub key: &'static str,
    /// What is compared, for a reader.
    pub what: &'static str,
    /// What it has to reach.
    pub bar: Bar,
    /// Whether it says nothing without lanes.
    pub needs_lanes: bool,
    above: Term,
    below: &'static [Term],
}

use Bar::{AtLeast, AtMost};
use Column::{ClientCpu, Cpu, P50, P99, PerSecond, ServerCpu};

macro_rules! bar {
    ($key:literal, $what:literal, $bar:expr, lanes: $lanes:literal, $above:expr, $below:expr) => {
        Definition {
            key: $key,
            what: $what,
            bar: $bar,
            needs_lanes: $lanes,
            above: $above,
            below: &$below,
        }
    };
}

/// All of them.
#[rustfmt::skip]
pub const BAR: [Definition; 21] = [
    bar!("rs256_sign_unary_vs_aws_lc", "RS256 sign: aws-lc-rs loop / server CPU, unary", AtLeast(2.4), lanes: true,
        ("rs256_sign", "aws-lc-rs", Cpu), [("rs256_sign", "unary", ServerCpu)]),
    bar!("rs256_total_cpu_vs_aws_lc", "RS256 sign: aws-lc-rs loop / server and client CPU, unary", AtLeast(2.1), lanes: true,
        ("rs256_sign", "aws-lc-rs", Cpu), [("rs256_sign", "unary", ServerCpu), ("rs256_sign", "unary", ClientCpu)]),
    bar!("rs256_sign_batch_vs_aws_lc", "RS256 sign: aws-lc-rs loop / server CPU, batch of 64", AtLeast(2.8), lanes: true,
        ("rs256_sign", "aws-lc-rs", Cpu), [("rs256_sign", "batch", ServerCpu)]),
    bar!("es256_sign_unary_vs_aws_lc", "ES256 sign: aws-lc-rs loop / server CPU, unary", AtLeast(0.8), lanes: true,
        ("es256_sign", "aws-lc-rs", Cpu), [("es256_sign", "unary", ServerCpu)]),
    bar!("es256_sign_batch_vs_aws_lc", "ES256 sign: aws-lc-rs loop / server CPU, batch of 64", AtLeast(2.2), lanes: true,
        ("es256_sign", "aws-lc-rs", Cpu), [("es256_sign", "batch", ServerCpu)]),
    bar!("es256_verify_unary_vs_aws_lc", "ES256 verify: aws-lc-rs loop / server CPU, unary", AtLeast(1.6), lanes: true,
        ("es256_verify", "aws-lc-rs", Cpu), [("es256_verify", "unary", ServerCpu)]),
    bar!("es256_verify_batch_vs_aws_lc", "ES256 verify: aws-lc-rs loop / server CPU, batch of 64", AtLeast(2.8), lanes: true,
        ("es256_verify", "aws-lc-rs", Cpu), [("es256_verify", "batch", ServerCpu)]),
    bar!("rs256_verify_batch_vs_aws_lc", "RS256 verify: aws-lc-rs loop / server CPU, batch of 64", AtLeast(2.0), lanes: true,
        ("rs256_verify", "aws-lc-rs", Cpu), [("rs256_verify", "batch", ServerCpu)]),
    bar!("ed25519_sign_batch_vs_aws_lc", "Ed25519 sign: aws-lc-rs loop / server CPU, batch of 64", AtLeast(1.3), lanes: true,
        ("ed25519_sign", "aws-lc-rs", Cpu), [("ed25519_sign", "batch", ServerCpu)]),
    bar!("ed25519_verify_batch_vs_aws_lc", "Ed25519 verify: aws-lc-rs loop / server CPU, batch of 64", AtLeast(2.5), lanes: true,
        ("ed25519_verify", "aws-lc-rs", Cpu), [("ed25519_verify", "batch", ServerCpu)]),
    bar!("rs256_sign_unary_vs_openbao", "RS256 sign: server CPU, OpenBao Transit / ours, one a request", AtLeast(9.0), lanes: true,
        ("rs256_sign", "openbao", ServerCpu), [("rs256_sign", "unary", ServerCpu)]),
    bar!("es256_sign_unary_vs_openbao", "ES256 sign: server CPU, OpenBao Transit / ours, one a request", AtLeast(12.0), lanes: true,
        ("es256_sign", "openbao", ServerCpu), [("es256_sign", "unary", ServerCpu)]),
    bar!("ed25519_sign_unary_vs_openbao", "Ed25519 sign: server CPU, OpenBao Transit / ours, one a request", AtLeast(10.0), lanes: true,
        ("ed25519_sign", "openbao", ServerCpu), [("ed25519_sign", "unary", ServerCpu)]),
    bar!("ecdh_es_decrypt_vs_josekit", "ECDH-ES+A256KW decrypt in-process: josekit / our codec", AtLeast(3.0), lanes: false,
        ("ecdh_es_decrypt", "josekit", Cpu), [("ecdh_es_decrypt", "codec", Cpu)]),
    bar!("ecdh_es_encrypt_vs_josekit", "ECDH-ES+A256KW encrypt in-process: josekit / our codec", AtLeast(2.0), lanes: false,
        ("ecdh_es_encrypt", "josekit", Cpu), [("ecdh_es_encrypt", "codec", Cpu)]),
    bar!("rs256_sign_unary_no_lanes_vs_aws_lc", "RS256 sign with `[lanes] engine = aws-lc`: aws-lc-rs loop / server CPU, unary", AtLeast(0.9), lanes: false,
        ("no_lanes", "aws-lc-rs", Cpu), [("no_lanes", "unary", ServerCpu)]),
    bar!("unary_added_latency_vs_empty_call", "p50 with one call in flight: ES256 sign / empty call", AtMost(1.5), lanes: false,
        ("unary_latency", "sign", P50), [("unary_latency", "empty", P50)]),
    bar!("token_request_caller_cpu_vs_node_jose", "caller's CPU for a token request: Node jose in-process / client crate", AtLeast(10.0), lanes: false,
        ("token_request", "node-jose", ClientCpu), [("token_request", "one-call", ClientCpu)]),
    bar!("throughput_100k_key_sets_vs_1", "ES256 sign per second: with 100,000 key sets / with 1", AtLeast(0.9), lanes: false,
        ("growth", "100000 key sets", PerSecond), [("growth", "1 key sets", PerSecond)]),
    bar!("goodput_10x_vs_peak", "RSA-4096 sign: goodput at 10 times saturation / peak", AtLeast(0.9), lanes: false,
        ("goodput", "rsa4096 coalesced 10x", PerSecond), [("goodput", "rsa4096 coalesced peak", PerSecond)]),
    bar!("es256_p99_under_rsa4096_flood_vs_alone", "p99 of ES256 at 1,000 per second: under a flood of RSA-4096 / alone", AtMost(2.0), lanes: false,
        ("flood", "flooded", P99), [("flood", "alone", P99)]),
];

/// A ratio of this run.
#[derive(Debug)]
pub struct Ratio {
    /// What it is.
    pub definition: &'static Definition,
    /// Round by round, or why there is none.
    pub value: Result<Series, String>,
}

impl Ratio {
    /// The median.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        self.value.as_ref().ok()?.median()
    }

    /// Whether it reaches the bar.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        self.median().map(|median| self.definition.bar.met(median))
    }
}

/// The ratios that these rows give. One without its rows has a reason.
#[must_use]
pub fn of(table: &Table, lanes: &Lanes, faults: &[(String, String)]) -> Vec<Ratio> {
    let ratio = |definition: &'static Definition| Ratio {
        definition,
        value: value(definition, table, lanes, faults),
    };
    BAR.iter().map(ratio).collect()
}

fn value(
    definition: &Definition,
    table: &Table,
    lanes: &Lanes,
    faults: &[(String, String)],
) -> Result<Series, String> {
    if let (true, Lanes::Missing(why)) = (definition.needs_lanes, lanes) {
        return Err(format!("no lanes: {why}"));
    }
    let figure = |(group, who, column): Term| {
        table
            .figure(group, who, column)
            .ok_or_else(|| missing(group, who, faults))
    };
    let above = figure(definition.above)?;
    let mut below: Option<Series> = None;
    for term in definition.below {
        let term = figure(*term)?;
        below = Some(below.map_or_else(|| term.clone(), |sum| sum.plus(term)));
    }
    let ratio = above.by(&below.unwrap_or_default());
    match ratio.median() {
        Some(_) => Ok(ratio),
        None => Err("the rows have no round in common".to_owned()),
    }
}

fn missing(group: &str, who: &str, faults: &[(String, String)]) -> String {
    match faults.iter().find(|(failed, _)| failed == group) {
        Some((_, why)) => format!("{group} failed: {why}"),
        None => format!("this run has no row `{who}` in {group}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    /// The keys that readers of `latest.json` rely on.
    pub(crate) const KEYS: [&str; 21] = [
        "rs256_sign_unary_vs_aws_lc",
        "rs256_total_cpu_vs_aws_lc",
        "rs256_sign_batch_vs_aws_lc",
        "es256_sign_unary_vs_aws_lc",
        "es256_sign_batch_vs_aws_lc",
        "es256_verify_unary_vs_aws_lc",
        "es256_verify_batch_vs_aws_lc",
        "rs256_verify_batch_vs_aws_lc",
        "ed25519_sign_batch_vs_aws_lc",
        "ed25519_verify_batch_vs_aws_lc",
        "rs256_sign_unary_vs_openbao",
        "es256_sign_unary_vs_openbao",
        "ed25519_sign_unary_vs_openbao",
        "ecdh_es_decrypt_vs_josekit",
        "ecdh_es_encrypt_vs_josekit",
        "rs256_sign_unary_no_lanes_vs_aws_lc",
        "unary_added_latency_vs_empty_call",
        "token_request_caller_cpu_vs_node_jose",
        "throughput_100k_key_sets_vs_1",
        "goodput_10x_vs_peak",
        "es256_p99_under_rsa4096_flood_vs_alone",
    ];

    fn ratio(ratios: Vec<Ratio>, key: &str) -> Ratio {
        let found = ratios.into_iter().find(|ratio| ratio.definition.key == key);
        found.unwrap()
    }

    #[test]
    fn the_bar_has_exactly_these_keys() {
        let keys: Vec<&str> = BAR.iter().map(|definition| definition.key).collect();
        assert_eq!(keys, KEYS);
    }

    #[test]
    fn a_ratio_is_the_median_of_its_rounds_and_sums_what_stands_below() {
        let report = sample();
        let unary = ratio(report.ratios(), "rs256_sign_unary_vs_aws_lc");
        assert_eq!(unary.median(), Some(2.4));
        assert_eq!(unary.met(), Some(true));
        let total = ratio(report.ratios(), "rs256_total_cpu_vs_aws_lc");
        assert_eq!(total.median(), Some(250.0 / 120.0));
        assert_eq!(total.met(), Some(false));
    }

    #[test]
    fn a_ratio_that_is_missing_says_why() {
        let mut report = sample();
        let reason = |report: &Report, key| ratio(report.ratios(), key).value.unwrap_err();
        use super::super::Report;
        let said = reason(&report, "throughput_100k_key_sets_vs_1");
        assert_eq!(said, "growth failed: no disk");
        let said = reason(&report, "rs256_sign_batch_vs_aws_lc");
        assert_eq!(said, "this run has no row `batch` in rs256_sign");
        report.lanes = Lanes::Missing("the CPU has no AVX-512 IFMA".to_owned());
        let said = reason(&report, "rs256_sign_unary_vs_aws_lc");
        assert_eq!(said, "no lanes: the CPU has no AVX-512 IFMA");
        assert!(
            !ratio(report.ratios(), "goodput_10x_vs_peak")
                .definition
                .needs_lanes
        );
    }

    #[test]
    fn a_bar_is_met_on_its_own_side() {
        assert!(AtLeast(2.0).met(2.0) && !AtLeast(2.0).met(1.99));
        assert!(AtMost(1.5).met(1.5) && !AtMost(1.5).met(1.51));
    }
}
