//! What live revocations of tokens cost: memory for each, time for a look-up, for one more and for forgetting, and the filter.
//!
//! Usage: `cargo run --release -p jose-aws-lc --example revocations [how many]`, by default a million.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example that measures shows what it found"
)]

use std::hint::black_box;
use std::time::Instant;

use jose::json::Object;
use jose::limits;
use jose::revocation::{ENTRY_LEN, Entry, Filter, Id, Table, TokenFacts};
use jose_aws_lc::AwsLc;

const LOOK_UPS: u32 = 100_000;
const CHANGES: u32 = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: u32 = match std::env::args().nth(1) {
        Some(count) => count.parse()?,
        None => 1_000_000,
    };
    let before = resident();
    let table: Table = (0..count).map(|number| entry(number, number)).collect();
    let grown = resident().saturating_sub(before);
    println!("{count} revocations, {ENTRY_LEN} bytes each on the wire");
    println!(
        "table: {:.2} bytes each, {} in all",
        per(table.memory(), count),
        table.memory()
    );
    println!(
        "resident memory grew by {grown} bytes, with what the list that it was made of left behind"
    );
    look_ups(&table, count)?;
    changes(&table, count);
    filter(&table, count);
    Ok(())
}

fn look_ups(table: &Table, count: u32) -> Result<(), jose::json::JsonError> {
    for (what, first) in [("revoked", 0), ("not revoked", count)] {
        let claims: Vec<_> = (0..LOOK_UPS)
            .map(|number| claims(first + number % count.max(1)))
            .collect();
        let begun = Instant::now();
        for claims in &claims {
            let object = Object::parse(claims.as_bytes(), limits::CLAIMS)?;
            black_box(table.revokes(&TokenFacts::of_object(&object), &AwsLc));
        }
        println!(
            "look-up of a token that is {what}, its claims parsed anew: {:?}",
            begun.elapsed() / LOOK_UPS
        );
    }
    Ok(())
}

fn changes(table: &Table, count: u32) {
    let begun = Instant::now();
    for number in 0..CHANGES {
        let mut next = table.clone();
        next.extend([entry(count + number, count)]);
        black_box(next.len());
    }
    println!("a new table with one more: {:?}", begun.elapsed() / CHANGES);
    let mut next = table.clone();
    let begun = Instant::now();
    let forgotten = next.forget(count / 2);
    println!("forgetting {forgotten}: {:?}", begun.elapsed());
}

fn filter(table: &Table, count: u32) {
    let begun = Instant::now();
    let filter = Filter::of(table);
    println!(
        "filter: {:.2} bytes each, made in {:?}",
        per(filter.bits().len(), count),
        begun.elapsed()
    );
    let strangers = (0..LOOK_UPS).map(|number| entry(count + number, 0).id);
    let hits = strangers.filter(|id| filter.hits(id)).count();
    println!("it hits {hits} of {LOOK_UPS} that are not in it");
}

fn entry(number: u32, forget_at: u32) -> Entry {
    Entry {
        id: Id::of_jti(&format!("token {number}"), &AwsLc),
        issued_before: 0,
        forget_at,
    }
}

fn claims(number: u32) -> String {
    format!(
        r#"{{"iss":"https://op.example.com","sub":"alice","jti":"token {number}","aud":"api"}}"#
    )
}

fn per(bytes: usize, count: u32) -> f64 {
    let whole = u32::try_from(bytes).unwrap_or(u32::MAX);
    f64::from(whole) / f64::from(count.max(1))
}

/// Bytes of memory that the process has; 0 where the kernel does not say.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kilobytes.unwrap_or_default() * 1024
}
