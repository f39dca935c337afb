//! A log line for each promotion that is due and held up, when that begins, when its reason changes and when it ends.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use keyring::{Due, Holding, Wait};

use crate::vault::SetName;

/// By set, for what it waited in the last round.
type Reasons = BTreeMap<SetName, Vec<&'static str>>;

/// What was said of promotions that are held up.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<Reasons>);

/// One round over all sets.
pub(crate) struct Round<'a> {
    before: MutexGuard<'a, Reasons>,
    now: Reasons,
}

impl Held {
    pub(crate) fn begin(&self) -> Round<'_> {
        Round {
            before: self.0.lock().unwrap_or_else(PoisonError::into_inner),
            now: Reasons::new(),
        }
    }
}

impl Round<'_> {
    /// A promotion is due, and waits for this; for nothing where it is about to happen.
    pub(crate) fn note(&mut self, name: &SetName, due: Due, holding: &[Holding]) {
        let reasons: Vec<&'static str> = holding.iter().map(|one| reason(&one.wait)).collect();
        if reasons.is_empty() {
            return;
        }
        if self.before.get(name) != Some(&reasons) {
            let waits: Vec<String> = holding.iter().map(ToString::to_string).collect();
            tracing::info!(
                tenant = name.tenant,
                key_set = name.name,
                ?due,
                reasons = reasons.join(","),
                waits = waits.join("; "),
                "a promotion is held up"
            );
        }
        self.now.insert(name.clone(), reasons);
    }

    /// Says which are held up no more.
    pub(crate) fn end(mut self) {
        for name in self
            .before
            .keys()
            .filter(|name| !self.now.contains_key(name))
        {
            tracing::info!(
                tenant = name.tenant,
                key_set = name.name,
                "a promotion is held up no more"
            );
        }
        *self.before = self.now;
    }
}

/// The reason as the metric `plan_holds` has it.
pub(crate) fn reason(wait: &Wait) -> &'static str {
    match wait {
        Wait::Standby => "standby",
        Wait::FirstAck => "first_ack",
        Wait::Acks => "acks",
        Wait::Lead { .. } => "lead",
        Wait::Clocks { .. } | Wait::Peers => "clocks",
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::Arc,
    };

    use keyring::Span;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn waits(wait: Wait) -> Vec<Holding> {
        vec![Holding {
            wait,
            subscribers: vec!["instance#1".to_owned()],
            until: None,
        }]
    }

    #[test]
    fn one_line_says_that_a_promotion_is_held_up_and_one_that_it_is_no_more() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        let (held, name) = (Held::default(), SetName::new("default", "op/a"));
        tracing::subscriber::with_default(subscriber, || {
            for holding in [
                waits(Wait::Acks),
                waits(Wait::Acks),
                waits(Wait::Lead {
                    wait: Span::from_secs(5),
                }),
                Vec::new(),
                Vec::new(),
            ] {
                let mut round = held.begin();
                round.note(&name, Due::Requested, &holding);
                round.end();
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let said: Vec<&str> = text.lines().collect();
        assert_eq!(said.len(), 3, "{text}");
        for (line, says) in said.iter().zip(["acks", "lead", "no more"]) {
            assert!(line.contains(says) && line.contains("op/a"), "{line}");
        }
        assert!(
            said[0].contains("instance#1") && said[0].contains("Requested"),
            "{text}"
        );
    }
}
