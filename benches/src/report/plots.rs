//! Which plots a report has.

use super::{
    catalogue,
    plot::{Axis, Bar, Line, bars, lines},
    table::{Column, Row, Table},
};

/// A plot and where it belongs.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) group: String,
    pub(super) file: String,
    pub(super) svg: String,
}

pub(super) fn of(table: &Table) -> Vec<Plot> {
    let plot = |group: &str| {
        let svg = match group {
            "latency" => latency(table),
            "growth" => growth(table),
            group if has_cpu(table, group) => cpu(table, group),
            _ => return None,
        };
        Some(Plot {
            group: group.to_owned(),
            file: format!("{group}.svg"),
            svg,
        })
    };
    table.groups().into_iter().filter_map(plot).collect()
}

/// The CPU that a row is compared by: of whoever does the work.
fn work(row: &Row) -> Option<(Column, f64, (f64, f64))> {
    let column = match row.group.as_str() {
        "token_request" => Column::ClientCpu,
        _ if row.figure(Column::ServerCpu).is_some() => Column::ServerCpu,
        _ => Column::Cpu,
    };
    let series = row.figure(column)?;
    Some((column, series.median()?, series.spread()?))
}

fn has_cpu(table: &Table, group: &str) -> bool {
    group != "unary_latency" && table.of(group).any(|row| work(row).is_some())
}

fn cpu(table: &Table, group: &str) -> String {
    let bar = |row: &Row| {
        let (column, value, spread) = work(row)?;
        Some(Bar {
            label: row.who.clone(),
            value,
            spread,
            ours: match column {
                Column::ServerCpu => !row.who.starts_with("openbao"),
                Column::ClientCpu => row.who == "one-call",
                _ => false,
            },
        })
    };
    let drawn: Vec<Bar> = table.of(group).filter_map(bar).collect();
    let whose = match group {
        "token_request" => "the caller's CPU, us",
        _ => "CPU of who does it, us",
    };
    bars(&format!("{}: {whose}", catalogue::group(group).0), &drawn)
}

/// Rows are named `<load> <part> %`; a line for each load and percentile.
fn latency(table: &Table) -> String {
    let mut drawn: Vec<Line> = Vec::new();
    for row in table.of("latency") {
        let Some((load, part)) = row.who.trim_end_matches(" %").rsplit_once(' ') else {
            continue;
        };
        for (column, name) in [(Column::P50, "p50"), (Column::P99, "p99")] {
            let figure = row.figure(column).and_then(|series| series.median());
            let Some((part, figure)) = part.parse().ok().zip(figure) else {
                continue;
            };
            let label = format!("{load} {name}");
            match drawn.iter_mut().find(|line| line.label == label) {
                Some(line) => line.points.push((part, figure)),
                None => drawn.push(Line {
                    label,
                    points: vec![(part, figure)],
                }),
            }
        }
    }
    let names = ("% of saturation", "latency, us");
    lines(
        "Latency under load",
        (Axis::Even, Axis::Tenfold),
        names,
        &drawn,
    )
}

/// Rows are named `<n> key sets`.
fn growth(table: &Table) -> String {
    let point = |row: &Row| {
        let sets: f64 = row.who.strip_suffix(" key sets")?.parse().ok()?;
        Some((sets, row.figure(Column::PerSecond)?.median()?))
    };
    let line = Line {
        label: "ES256 signatures per second".to_owned(),
        points: table.of("growth").filter_map(point).collect(),
    };
    let names = ("key sets", "per second");
    lines(
        "Growth with key sets",
        (Axis::Tenfold, Axis::Even),
        names,
        &[line],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn each_group_that_can_be_drawn_has_a_plot() {
        let mut table = sample().table;
        table.record(
            "latency",
            "es256 25 %",
            [(Column::P50, 100.0), (Column::P99, 900.0)],
        );
        table.record(
            "latency",
            "es256 90 %",
            [(Column::P50, 300.0), (Column::P99, 9_000.0)],
        );
        table.record("growth", "1 key sets", [(Column::PerSecond, 15_000.0)]);
        table.record("growth", "100000 key sets", [(Column::PerSecond, 14_000.0)]);
        table.record("growth", "start to warm", [(Column::Seconds, 2.0)]);
        table.record("flood", "alone", [(Column::P99, 2.0)]);
        let plots = of(&table);
        let files: Vec<&str> = plots.iter().map(|plot| plot.file.as_str()).collect();
        assert_eq!(files, ["rs256_sign.svg", "latency.svg", "growth.svg"]);
        assert_eq!(plots[1].svg.matches("stroke-width=\"2\"").count(), 2);
        assert_eq!(plots[2].svg.matches("<circle").count(), 3);
        assert!(plots[0].svg.contains("aws-lc-rs") && plots[0].svg.contains("unary"));
    }
}
