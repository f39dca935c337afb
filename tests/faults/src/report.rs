//! `tests/results/faults.json`: `{commit, machine, rows: [...]}`. It is written on failure too.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{Fault, figure::Measured};

/// Writes the report of a run of `commit`, see [`commit`]. Rows of figures that were not asked for are kept from the file that is there,
/// and say of which commit they are where that is another.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(path: &Path, commit: &str, seed: u64, measured: &[Measured]) -> Result<(), Fault> {
    let mut rows = kept(path, commit, measured);
    rows.extend(measured.iter().map(|row| row.row(seed)));
    let report = json!({ "commit": commit, "machine": machine(), "rows": rows });
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(&report)?;
    // a report is whole or the old one
    let part = path.with_extension("part");
    fs::write(&part, format!("{text}\n"))?;
    Ok(fs::rename(&part, path)?)
}

fn kept(path: &Path, commit: &str, measured: &[Measured]) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut old: Value = serde_json::from_str(&text).unwrap_or_default();
    let is_new = |row: &Value| {
        let name = row.get("name").and_then(Value::as_str);
        measured.iter().any(|new| Some(new.figure.name) == name)
    };
    let rows = old.get_mut("rows").and_then(Value::as_array_mut);
    let mut rows = rows.map(std::mem::take).unwrap_or_default();
    rows.retain(|row| !is_new(row));
    if let Some(before) = old.get("commit").filter(|before| *before != commit) {
        for row in rows.iter_mut().filter_map(Value::as_object_mut) {
            row.entry("commit").or_insert_with(|| before.clone());
        }
    }
    rows
}

/// The commit that stands here, `-dirty` where the tree has changes, `unknown` where git cannot say. Asked when a run begins: a long
/// run is of the tree that it was built from.
#[must_use]
pub fn commit() -> String {
    let Some(commit) = said_by("git", &["rev-parse", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // what an earlier run wrote is no change of what is measured
    let changes = [
        "status",
        "--porcelain",
        "--",
        ":/",
        ":(exclude,top)tests/results",
    ];
    match said_by("git", &changes) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}-dirty"),
    }
}

fn machine() -> Value {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processors: Vec<&str> = info
        .lines()
        .filter_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map(|(_, name)| name.trim())
        .collect();
    let memory = rustix::system::sysinfo();
    json!({
        "cpu": processors.first().copied().unwrap_or("unknown processor"),
        "cores": processors.len(),
        "kernel": rustix::system::uname().release().to_string_lossy(),
        "memory_mib": memory.totalram.saturating_mul(u64::from(memory.mem_unit)) / (1024 * 1024),
        "rustc": said_by("rustc", &["--version"]).unwrap_or_default(),
        "profile": if cfg!(debug_assertions) { "test" } else { "release" },
    })
}

fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;

    #[test]
    fn a_report_keeps_the_rows_that_were_not_asked_for_and_is_written_on_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results/faults.json");
        let (a, b) = (Figure::at_most("a", 0.0), Figure::at_most("b", 0.0));
        let both = [a.measured(0.0, 3), b.measured(0.0, 3)];
        write(&path, "first", 1, &both).unwrap();
        write(&path, "second", 2, &[b.unmeasured()]).unwrap();
        let report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let rows = report["rows"].as_array().unwrap();
        let told: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row["name"].as_str().unwrap(),
                    row["seed"].as_u64(),
                    &row["ok"],
                )
            })
            .collect();
        assert_eq!(
            told,
            [("a", Some(1), &json!(true)), ("b", Some(2), &json!(false))]
        );
        assert_eq!(
            (&rows[0]["commit"], &rows[1]["commit"]),
            (&json!("first"), &Value::Null)
        );
        assert!(report["commit"] == "second" && report["machine"]["cores"].as_u64() > Some(0));
    }
}
