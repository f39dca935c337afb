//! The printed matrix.

use std::collections::{BTreeMap, BTreeSet};

use crate::peer::Refusal;

/// One cell: what came of one algorithm, content encryption, peer and direction.
#[derive(Debug)]
pub(crate) enum Cell {
    Run,
    Lacks(String),
    Failed(String),
}

impl Cell {
    fn mark(&self) -> char {
        match self {
            Self::Run => '+',
            Self::Lacks(_) => '-',
            Self::Failed(_) => '!',
        }
    }
}

impl From<Result<(), Refusal>> for Cell {
    fn from(outcome: Result<(), Refusal>) -> Self {
        match outcome {
            Ok(()) => Self::Run,
            Err(Refusal::Lacks(reason)) => Self::Lacks(reason),
            Err(Refusal::Failed(detail)) => Self::Failed(detail),
        }
    }
}

/// Which way a token goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    /// We make it, the peer opens it.
    Out,
    /// The peer makes it, we open it.
    In,
    /// The peer makes it, ring verifies it.
    InByRing,
}

impl Direction {
    fn heading(self, peer: &str) -> String {
        match self {
            Self::Out => format!("ours>{peer}"),
            Self::In => format!("{peer}>ours"),
            Self::InByRing => format!("{peer}>ring"),
        }
    }
}

/// The cells of one peer, in the order in which they ran.
pub(crate) type Column = Vec<(String, Direction, Cell)>;

/// What the whole matrix comes to.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(crate) run: usize,
    pub(crate) lacking: usize,
    pub(crate) failed: Vec<String>,
}

/// The marks of one line by peer and direction, one for each content encryption.
type Marks<'p> = BTreeMap<(&'p str, Direction), String>;

/// Prints one line per label and one column per peer and direction, then why cells are empty; adds to the sum.
pub(crate) fn print(title: &str, columns: &[(&str, Column)], sum: &mut Sum) {
    let mut lines: Vec<(&str, Marks<'_>)> = Vec::new();
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (peer, column) in columns {
        for (label, direction, cell) in column {
            let known = lines.iter().position(|(known, _)| known == label);
            let at = known.unwrap_or_else(|| {
                lines.push((label, Marks::new()));
                lines.len() - 1
            });
            lines[at]
                .1
                .entry((peer, *direction))
                .or_default()
                .push(cell.mark());
            let place = format!("{label}, {}", direction.heading(peer));
            match cell {
                Cell::Run => sum.run += 1,
                Cell::Lacks(reason) => {
                    sum.lacking += 1;
                    reasons.entry(reason).or_default().push(place);
                }
                Cell::Failed(detail) => sum.failed.push(format!("{place}: {detail}")),
            }
        }
    }
    print_lines(title, &headings(columns), &lines);
    for (reason, places) in reasons {
        println!(
            "lacking in {} cells: {reason}\n    {}",
            places.len(),
            places.join("; ")
        );
    }
}

/// Peers and directions, in the order of the columns.
fn headings<'p>(columns: &[(&'p str, Column)]) -> Vec<(&'p str, Direction)> {
    let mut all = Vec::new();
    for (peer, column) in columns {
        let directions: BTreeSet<_> = column.iter().map(|(_, direction, _)| *direction).collect();
        all.extend(directions.into_iter().map(|direction| (*peer, direction)));
    }
    all
}

fn print_lines(title: &str, headings: &[(&str, Direction)], lines: &[(&str, Marks<'_>)]) {
    let heads: Vec<_> = headings
        .iter()
        .map(|(peer, direction)| direction.heading(peer))
        .collect();
    println!("{}", line(title, heads.iter().map(String::as_str)));
    for (label, marks) in lines {
        let cells = headings
            .iter()
            .map(|heading| marks.get(heading).map_or("", String::as_str));
        println!("{}", line(label, cells));
    }
}

fn line<'c>(label: &str, cells: impl Iterator<Item = &'c str>) -> String {
    let cells: String = cells.map(|cell| format!(" {cell:<13}")).collect();
    format!("{label:<22}{cells}").trim_end().to_owned()
}
