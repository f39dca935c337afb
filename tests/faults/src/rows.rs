//! The groups of figures. A new one is a file of this folder and a line of [`GROUPS`].

mod etcd;
mod feed;
mod issued;
mod kills;
mod planted_bugs;
mod power_cuts;
mod revocation;
mod rotation;
mod store_edits;

use futures::future::LocalBoxFuture;

use crate::{
    Fault,
    figure::{Figure, Measured},
    progress,
    settings::Run,
};

/// Figures that are measured together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// As `--only` takes it.
    pub name: &'static str,
    /// What is done, in one line.
    pub about: &'static str,
    /// What comes out.
    pub figures: &'static [Figure],
    /// Does it.
    pub run: fn(Run) -> LocalBoxFuture<'static, Result<Vec<Measured>, Fault>>,
}

/// All of them, in the order in which they run.
pub const GROUPS: &[Group] = &[
    rotation::GROUP,
    revocation::GROUP,
    kills::GROUP,
    power_cuts::GROUP,
    store_edits::GROUP,
    etcd::GROUP,
    feed::GROUP,
    issued::GROUP,
    planted_bugs::GROUP,
];

/// The group of that name.
///
/// # Errors
/// Names those that there are.
pub fn named(name: &str) -> Result<&'static Group, Fault> {
    let found = GROUPS.iter().find(|group| group.name == name);
    found.ok_or_else(|| {
        let names: Vec<_> = GROUPS.iter().map(|group| group.name).collect();
        format!("--only {name}: there are {}", names.join(", ")).into()
    })
}

/// Runs a group. Where it fails, its figures are there without a number, and why is said.
pub async fn run(group: &Group, run: Run) -> Vec<Measured> {
    progress(&format!("{}: {}", group.name, group.about));
    let start = crate::now();
    let measured = (group.run)(run).await.unwrap_or_else(|fault| {
        progress(&format!("{} failed: {fault}", group.name));
        group
            .figures
            .iter()
            .map(|figure| figure.unmeasured())
            .collect()
    });
    for row in &measured {
        let shown = row
            .value
            .map_or_else(|| "nothing".to_owned(), |value| format!("{value:.3}"));
        progress(&format!(
            "{}: {shown} over {}, bar {}: {}",
            row.figure.name,
            row.n,
            row.figure.bar.value(),
            if row.ok() { "ok" } else { "NOT KEPT" }
        ));
    }
    progress(&format!("{}: took {:.0?}", group.name, start.elapsed()));
    measured
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_there_once() {
        let groups: BTreeSet<_> = GROUPS.iter().map(|group| group.name).collect();
        let figures: Vec<_> = GROUPS.iter().flat_map(|group| group.figures).collect();
        let names: BTreeSet<_> = figures.iter().map(|figure| figure.name).collect();
        assert_eq!((groups.len(), names.len()), (GROUPS.len(), figures.len()));
        assert!(named("kills").is_ok());
        assert!(named("none").unwrap_err().to_string().contains("kills"));
    }
}
