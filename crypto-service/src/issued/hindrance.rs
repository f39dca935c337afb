//! Why nothing is recorded at the moment, as bits. None of them = it is.

use crate::refusal::Refusal;

/// There is no folder.
pub(super) const OFF: u8 = 1;
/// No key-manager has taken anything of this process yet.
pub(super) const UNREGISTERED: u8 = 2;
/// The disk refuses.
pub(super) const FAILING: u8 = 4;
/// The segments take what they may.
pub(super) const FULL: u8 = 8;
/// The process ends.
pub(super) const STOPPED: u8 = 16;

/// The reason that helps most.
pub(super) fn hindered(hindrances: u8) -> Refusal {
    let is = |what: u8| hindrances & what != 0;
    if is(OFF) {
        Refusal::not_ready(
            "the key set records what it issues, and this instance has no folder for that (issued.folder)",
        )
    } else if is(STOPPED) {
        Refusal::not_ready("the key set records what it issues, and this instance ends")
    } else if is(FAILING) {
        Refusal::not_ready(
            "the key set records what it issues, and the disk of this instance does not take the records",
        )
    } else if is(FULL) {
        Refusal::Unrecordable(
            "the key set records what it issues, and the records fill their folder: no key-manager takes them",
        )
    } else {
        Refusal::not_ready(
            "the key set records what it issues, and no key-manager takes records of this instance yet",
        )
    }
}
