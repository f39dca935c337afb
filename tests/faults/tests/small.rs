//! Every group at its small size: counts are asserted, never a time.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up stops")]

use faults::{
    figure::Measured,
    rows::{self, GROUPS},
    settings::Run,
};

/// Figures of time and memory: what a loaded machine shows of them says nothing.
const TIMED: [&str; 5] = [
    "revoke_p99_ms",
    "revoke_partition_bound_s",
    "feed_100k_s",
    "memory_100k_mb",
    "issued_loss_window_ms",
];

fn measured(group: &str) -> Vec<Measured> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let group = rows::named(group).unwrap();
    let measured = runtime.block_on(rows::run(group, Run::small()));
    for row in &measured {
        assert!(
            row.value.is_some() && row.n > 0,
            "{} was not measured",
            row.figure.name
        );
        if !TIMED.contains(&row.figure.name) {
            assert!(row.ok(), "{:?}", row);
        }
    }
    measured
}

#[test]
fn no_token_fails_while_key_sets_rotate() {
    assert!(measured("rotation")[0].n >= 2_000);
}

#[test]
fn a_revoked_key_is_refused_everywhere_and_behind_a_cut_line_when_its_lease_ends() {
    assert_eq!(measured("revocation").len(), 2);
}

#[test]
fn a_kill_at_any_step_loses_no_acknowledged_key_and_breaks_no_invariant() {
    assert_eq!(measured("kills").len(), 2);
}

#[test]
fn a_power_cut_loses_no_acknowledged_key() {
    assert_eq!(measured("power-cuts").len(), 1);
}

#[test]
fn no_edit_of_the_store_goes_undetected() {
    assert_eq!(measured("store-edits").len(), 1);
}

#[test]
fn etcd_that_goes_wrong_costs_no_token_and_lets_no_stale_write_in() {
    assert_eq!(measured("etcd").len(), 2);
}

#[test]
fn a_new_instance_is_fed_every_key_set() {
    assert_eq!(measured("feed").len(), 2);
}

#[test]
fn a_killed_instance_loses_no_record_of_a_token_from_before_the_stated_window() {
    assert_eq!(measured("issued").len(), 2);
}

#[test]
fn the_simulation_finds_every_planted_bug() {
    assert_eq!(measured("planted-bugs")[0].n, 20);
}

#[test]
fn every_group_has_a_small_test() {
    assert_eq!(GROUPS.len(), 9, "give the new group a test here");
}
