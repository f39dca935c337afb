//! Rows, and the figures in them.

use crate::series::Series;

/// What a figure is, with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// CPU of the thread or process that does it, in-process.
    Cpu,
    /// CPU of the server.
    ServerCpu,
    /// CPU of the caller.
    ClientCpu,
    /// Operations per second.
    PerSecond,
    /// Calls that were made per second, answered or not.
    Offered,
    /// Median latency.
    P50,
    /// 99th percentile.
    P99,
    /// 99.9th percentile.
    P999,
    /// Of each hundred calls, those that failed or were refused.
    FailedPercent,
    /// Resident memory.
    Memory,
    /// Memory for each key.
    KeyBytes,
    /// Wall-clock seconds.
    Seconds,
    /// Allocations for each request.
    Allocations,
    /// Bytes allocated for each request.
    AllocatedBytes,
    /// A figure without a unit.
    Times,
}

impl Column {
    /// All, in the order in which tables show them.
    pub const ALL: [Self; 15] = [
        Self::Cpu,
        Self::ServerCpu,
        Self::ClientCpu,
        Self::PerSecond,
        Self::Offered,
        Self::P50,
        Self::P99,
        Self::P999,
        Self::FailedPercent,
        Self::Memory,
        Self::KeyBytes,
        Self::Seconds,
        Self::Allocations,
        Self::AllocatedBytes,
        Self::Times,
    ];

    /// The name in JSON.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Cpu => "cpu_us",
            Self::ServerCpu => "server_cpu_us",
            Self::ClientCpu => "client_cpu_us",
            Self::PerSecond => "per_second",
            Self::Offered => "offered_per_second",
            Self::P50 => "p50_us",
            Self::P99 => "p99_us",
            Self::P999 => "p999_us",
            Self::FailedPercent => "failed_percent",
            Self::Memory => "memory_mib",
            Self::KeyBytes => "bytes_per_key",
            Self::Seconds => "seconds",
            Self::Allocations => "allocations",
            Self::AllocatedBytes => "allocated_bytes",
            Self::Times => "times",
        }
    }

    /// The name in tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Cpu => "CPU, us",
            Self::ServerCpu => "server CPU, us",
            Self::ClientCpu => "caller CPU, us",
            Self::PerSecond => "per second",
            Self::Offered => "offered per second",
            Self::P50 => "p50, us",
            Self::P99 => "p99, us",
            Self::P999 => "p99.9, us",
            Self::FailedPercent => "refused or failed, %",
            Self::Memory => "memory, MiB",
            Self::KeyBytes => "bytes a key",
            Self::Seconds => "seconds",
            Self::Allocations => "allocations",
            Self::AllocatedBytes => "bytes",
            Self::Times => "times",
        }
    }
}

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// The group.
    pub group: String,
    /// Who, or which step, within the group.
    pub who: String,
    /// The figures, in the order of [`Column::ALL`].
    pub figures: Vec<(Column, Series)>,
}

impl Row {
    /// The figure of a column.
    #[must_use]
    pub fn figure(&self, column: Column) -> Option<&Series> {
        let found = self.figures.iter().find(|(its, _)| *its == column);
        found.map(|(_, series)| series)
    }
}

/// All rows, in the order in which they were measured.
#[derive(Debug, Clone, Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds one round's figures to a row.
    pub fn record(
        &mut self,
        group: &str,
        who: &str,
        figures: impl IntoIterator<Item = (Column, f64)>,
    ) {
        let row = self.row_mut(group, who);
        for (column, figure) in figures {
            match row.figures.iter_mut().find(|(its, _)| *its == column) {
                Some((_, series)) => series.push(figure),
                None => row.figures.push((column, Series::from_iter([figure]))),
            }
        }
        row.figures.sort_by_key(|(column, _)| *column);
    }

    fn row_mut(&mut self, group: &str, who: &str) -> &mut Row {
        let place = self
            .0
            .iter()
            .position(|row| row.group == group && row.who == who);
        let place = place.unwrap_or_else(|| {
            self.0.push(Row {
                group: group.to_owned(),
                who: who.to_owned(),
                figures: Vec::new(),
            });
            self.0.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed above")]
        &mut self.0[place]
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.0
    }

    /// The groups, in the order in which they were measured.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = Vec::new();
        for row in &self.0 {
            if !groups.contains(&row.group.as_str()) {
                groups.push(&row.group);
            }
        }
        groups
    }

    /// The rows of a group.
    pub fn of(&self, group: &str) -> impl Iterator<Item = &Row> {
        self.0.iter().filter(move |row| row.group == group)
    }

    /// One figure.
    #[must_use]
    pub fn figure(&self, group: &str, who: &str, column: Column) -> Option<&Series> {
        self.of(group).find(|row| row.who == who)?.figure(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_of_a_row_gather_in_it() {
        let mut table = Table::default();
        table.record("b", "x", [(Column::P50, 3.0), (Column::Cpu, 1.0)]);
        table.record("a", "y", [(Column::Cpu, 9.0)]);
        table.record("b", "x", [(Column::Cpu, 2.0)]);
        assert_eq!(table.groups(), ["b", "a"]);
        let cpu = table.figure("b", "x", Column::Cpu).unwrap();
        assert_eq!(cpu.rounds(), [1.0, 2.0]);
        let order: Vec<Column> = table.rows()[0].figures.iter().map(|its| its.0).collect();
        assert_eq!(order, [Column::Cpu, Column::P50]);
        assert!(table.figure("b", "y", Column::Cpu).is_none());
        assert!(table.figure("a", "y", Column::P99).is_none());
    }

    #[test]
    fn columns_have_names_of_their_own() {
        for (place, column) in Column::ALL.iter().enumerate() {
            let rest = &Column::ALL[place + 1..];
            assert!(rest.iter().all(|other| other.key() != column.key()));
            assert!(rest.iter().all(|other| other.title() != column.title()));
            assert!(rest.iter().all(|other| other > column));
        }
    }
}
