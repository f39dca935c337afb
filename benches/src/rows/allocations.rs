//! The figures of the program `allocations`, which counts in a process of its own: a counting allocator here would
//! slow down everything else.

use std::process::Command;

use crate::{
    Fault,
    report::table::{Column, Table},
    settings::Settings,
};

/// Calls of the longer of its two runs, in a quick run.
const FEW: &str = "50";

pub(super) fn measure(settings: &Settings, table: &mut Table) -> Result<(), Fault> {
    let program = std::env::current_exe()?.with_file_name("allocations");
    let mut command = Command::new(&program);
    command
        .arg("--programs")
        .arg(&settings.programs)
        .arg("--scratch")
        .arg(&settings.scratch);
    if settings.quick {
        command.args(["--calls", FEW]);
    }
    let output = command
        .output()
        .map_err(|cause| format!("{}: {cause}", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(said.into());
    }
    let rows = read(&String::from_utf8(output.stdout)?);
    if rows.is_empty() {
        return Err("allocations printed no figures".into());
    }
    for (who, allocations, bytes) in rows {
        table.record(
            "allocations",
            &who,
            [
                (Column::Allocations, allocations),
                (Column::AllocatedBytes, bytes),
            ],
        );
    }
    Ok(())
}

/// The rows of its Markdown table.
fn read(table: &str) -> Vec<(String, f64, f64)> {
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let who = cells.next()?.to_owned();
        Some((
            who,
            cells.next()?.parse().ok()?,
            cells.next()?.parse().ok()?,
        ))
    };
    table.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_headings_are_not() {
        let table =
            "| what | allocations | bytes |\n| --- | --- | --- |\n| sign ES256 | 58.9 | 27008 |\n";
        assert_eq!(read(table), [("sign ES256".to_owned(), 58.9, 27008.0)]);
    }
}
