//! The store is edited behind the key-manager's back: it says so, or the edit changes nothing.

mod edit;
mod store;

use futures::FutureExt as _;

use super::Group;
use crate::{
    Fault, count,
    figure::{Figure, Measured},
    number, progress,
    settings::Run,
};

use edit::{Edit, all_edits, outside_the_record};
use store::{Store, Verdict};

const UNDETECTED: Figure = Figure::at_most("store_edits_undetected", 0.0);

pub(super) const GROUP: Group = Group {
    name: "store-edits",
    about: "bytes of every record flipped, records swapped, replayed, moved and deleted, the file cut short and rolled back",
    figures: &[UNDETECTED],
    run: |run| measure(run).boxed_local(),
};

async fn measure(run: Run) -> Result<Vec<Measured>, Fault> {
    let folder = run.folder()?;
    let store = Store::make(folder.path()).await?;
    let edits = all_edits(&store, run.of(41, 1), &mut run.dice("edits"))?;
    let (mut undetected, mut harmless) = (0, 0);
    for (index, edit) in edits.iter().enumerate() {
        match store.judge(edit).await? {
            Verdict::Detected => {}
            Verdict::Harmless => harmless += 1,
            Verdict::Undetected(what) => {
                undetected += 1;
                progress(&format!("store-edits: undetected: {edit}: {what}"));
            }
        }
        if (index + 1) % 2_000 == 0 {
            progress(&format!("store-edits: {} of {}", index + 1, edits.len()));
        }
    }
    progress(&format!(
        "store-edits: {} edits, {harmless} of them changed no key set and no key",
        edits.len()
    ));
    check_what_is_named(&store).await?;
    Ok(vec![
        UNDETECTED.measured(number(undetected), count(edits.len())),
    ])
}

/// What no check at rest can find is a list, and the list is true: each of these passes, and changes no key.
async fn check_what_is_named(store: &Store) -> Result<(), Fault> {
    for edit in outside_the_record(store)? {
        match store.judge(&edit).await? {
            Verdict::Harmless => progress(&format!("store-edits: named: {edit}")),
            Verdict::Detected => {
                return Err(format!("{edit} is found: it is named among what is not").into());
            }
            Verdict::Undetected(what) => return Err(format!("{edit} changes {what}").into()),
        }
    }
    match store.judge(&Edit::whole_store_at(0)).await? {
        Verdict::Detected => Ok(()),
        _ => Err("a rolled back store is not found by those who saw a later epoch".into()),
    }
}
