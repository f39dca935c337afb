//! The report for people.

use std::fmt::Write as _;

use super::{
    Report, catalogue,
    plots::Plot,
    ratios::{Bar, Lanes, Ratio},
    table::{Column, Row},
};
use crate::series::Series;

pub(super) fn of(report: &Report, plots: &[Plot]) -> String {
    let mut page = Page::default();
    page.head(report);
    page.bar(&report.ratios());
    page.failures(report);
    for group in report.table.groups() {
        page.group(report, group, plots);
    }
    page.0
}

/// Grows line by line; writing to a string never fails.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn head(&mut self, report: &Report) {
        let (machine, settings) = (&report.machine, &report.settings);
        self.line("# Measured\n");
        self.line("Figures are ratios to read, not times to trust: machines differ. Everything below comes from one run; each figure is the median of");
        self.line("its rounds with the lowest and the highest, and each ratio is taken within a round. CPU is the kernel's account of user plus system time.\n");
        self.line("| | |\n| --- | --- |");
        let ifma = if machine.ifma { "with" } else { "without" };
        self.pair(
            "machine",
            &format!(
                "{} x {}, {ifma} AVX-512 IFMA, {} MiB",
                machine.cores, machine.cpu, machine.memory_mib
            ),
        );
        self.pair("kernel", &machine.kernel);
        self.pair(
            "lanes",
            match &report.lanes {
                Lanes::There => "crypto_mb",
                Lanes::Missing(why) => why,
            },
        );
        let versions = report.versions.iter();
        let versions: Vec<String> = versions
            .map(|(name, its)| format!("{name} {its}"))
            .collect();
        self.pair("versions", &versions.join(", "));
        self.pair("commit", &report.commit);
        self.pair("date", &report.date);
        self.pair("command", &format!("`{}`", report.command));
        self.pair(
            "load",
            &format!(
                "{} rounds of {} s; {} callers, or {} with batches of {}, over {} connections; client and server share the machine",
                settings.rounds,
                settings.seconds,
                settings.callers,
                settings.batch_callers,
                settings.batch,
                settings.connections
            ),
        );
    }

    fn pair(&mut self, name: &str, value: &str) {
        self.line(&format!("| {name} | {} |", cell(value)));
    }

    fn bar(&mut self, ratios: &[Ratio]) {
        self.line("\n## The bar\n");
        self.line("| figure | wanted | measured | spread | |\n| --- | --- | --- | --- | --- |");
        for ratio in ratios {
            let wanted = match ratio.definition.bar {
                Bar::AtLeast(bar) => format!("at least {bar}"),
                Bar::AtMost(bar) => format!("at most {bar}"),
            };
            let (measured, spread, verdict) = match &ratio.value {
                Ok(series) => (
                    median(series, 2),
                    spread(series, 2),
                    verdict(ratio.met()).to_owned(),
                ),
                Err(why) => ("none".to_owned(), String::new(), cell(why)),
            };
            self.line(&format!(
                "| {} | {wanted} | {measured} | {spread} | {verdict} |",
                ratio.definition.what
            ));
        }
    }

    fn failures(&mut self, report: &Report) {
        if report.faults.is_empty() {
            return;
        }
        self.line("\n## Not measured\n");
        for (group, why) in &report.faults {
            self.line(&format!("- {group}: {}", cell(why)));
        }
    }

    fn group(&mut self, report: &Report, group: &str, plots: &[Plot]) {
        let (heading, what) = catalogue::group(group);
        self.line(&format!("\n## {heading}\n\n{what}\n"));
        for plot in plots.iter().filter(|plot| plot.group == group) {
            self.line(&format!("![{heading}]({})\n", plot.file));
        }
        let rows: Vec<&Row> = report.table.of(group).collect();
        let used = |column: &Column| rows.iter().any(|row| row.figure(*column).is_some());
        let columns: Vec<Column> = Column::ALL.into_iter().filter(used).collect();
        let titles: Vec<&str> = columns.iter().map(|column| column.title()).collect();
        self.line(&format!("| row | {} | what it is |", titles.join(" | ")));
        self.line(&format!("| --- |{} --- |", " --- |".repeat(columns.len())));
        for row in rows {
            let figures: Vec<String> = columns.iter().map(|column| figure(row, *column)).collect();
            let what = catalogue::row(group, &row.who);
            self.line(&format!(
                "| {} | {} | {what} |",
                row.who,
                figures.join(" | ")
            ));
        }
    }
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "",
    }
}

fn figure(row: &Row, column: Column) -> String {
    let Some(series) = row.figure(column) else {
        return String::new();
    };
    let median_value = series.median().unwrap_or_default();
    let digits = digits(median_value);
    let mut text = median(series, digits);
    if series.rounds().len() > 1 {
        // writing to a string never fails
        let _written = write!(text, " ({})", spread(series, digits));
    }
    text
}

/// Three digits that mean something are enough.
fn digits(figure: f64) -> usize {
    match figure.abs() {
        small if small < 10.0 => 2,
        middle if middle < 100.0 => 1,
        _ => 0,
    }
}

fn median(series: &Series, digits: usize) -> String {
    series
        .median()
        .map(|median| format!("{median:.digits$}"))
        .unwrap_or_default()
}

fn spread(series: &Series, digits: usize) -> String {
    series
        .spread()
        .map(|(low, high)| format!("{low:.digits$} to {high:.digits$}"))
        .unwrap_or_default()
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{plots, tests::sample};

    #[test]
    fn the_page_says_where_with_what_and_how_it_was_measured() {
        let report = sample();
        let page = of(&report, &plots::of(&report.table));
        for part in [
            "2 x Test <CPU>, with AVX-512 IFMA",
            "aws-lc-rs 1.",
            "0123abc",
            "2026-01-02T03:04:05Z",
            "| RS256 sign: aws-lc-rs loop / server CPU, unary | at least 2.4 | 2.40 | 2.40 to 2.50 | met |",
            "- growth: no disk",
            "growth failed: no disk",
            "![RS256 sign, 2048 bits](rs256_sign.svg)",
            "| unary |  | 100 (100 to 200) | 20.0 (20.0 to 20.0) | 9000 (9000 to 9000) | this service over mTLS, one an rpc, coalescing off |",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }

    #[test]
    fn a_cell_stays_a_cell() {
        assert_eq!(cell("a|b\nc"), "a\\|b c");
    }

    #[test]
    fn figures_have_three_digits_that_mean_something() {
        assert_eq!([digits(1.5), digits(15.0), digits(150.0)], [2, 1, 0]);
    }
}
