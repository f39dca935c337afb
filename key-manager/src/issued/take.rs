//! Taking what an instance ships.

use issued_log::{Entry, Header, Opener};
use keyring::Time;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{IssuedError, IssuedKeys, WITHOUT_EXP};

/// A larger number is none: the sum over many processes stays a number of SQLite.
const MOST_UNRECORDED: u64 = 1 << 40;

/// What an instance ships: frames, and how far it has come.
#[derive(Clone, Debug, Default)]
pub struct Shipment {
    /// Who ships.
    pub caller: String,
    /// The process that issued: 32 lower-case hex digits.
    pub nonce: String,
    /// Some frames of one segment.
    pub frames: Option<Frames>,
    /// Everything that the process issued up to then is with some key-manager.
    pub complete_until: Option<Time>,
    /// The process has ended, and left nothing.
    pub finished: bool,
    /// Tokens that it has signed without a record.
    pub unrecorded: u64,
}

/// Frames of one segment, in their order.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    /// The segment's header.
    pub header: Vec<u8>,
    /// The number of the first one.
    pub first: u32,
    /// Each sealed.
    pub bodies: Vec<Vec<u8>>,
}

/// What was taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) next_frame: u32,
    pub(super) entries: u64,
    /// Segments of a finished process that were not ended.
    pub(super) torn: u64,
}

/// All of it in one transaction.
pub(super) fn take(
    connection: &mut Connection,
    keys: &IssuedKeys,
    shipment: &Shipment,
    granted: &dyn Fn(&str, &str) -> bool,
    now: Time,
) -> Result<Taken, IssuedError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let process = process(&transaction, shipment, now)?;
    let mut taken = match &shipment.frames {
        Some(frames) => {
            let segment = Segment::find(&transaction, process, shipment, frames, now)?;
            segment.take(&transaction, keys, frames, granted)?
        }
        None => Taken::default(),
    };
    if shipment.finished {
        let sql = "SELECT count(*) FROM segments WHERE process = ?1 AND ended = 0";
        let torn: i64 = transaction.query_row(sql, [process], |row| row.get(0))?;
        taken.torn = u64::try_from(torn).unwrap_or_default();
        let sql = "UPDATE segments SET ended = 2 WHERE process = ?1 AND ended = 0";
        transaction.execute(sql, [process])?;
    }
    transaction.commit()?;
    Ok(taken)
}

fn millis(time: Time) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The row of the process, with what is said of it.
fn process(
    transaction: &Transaction<'_>,
    shipment: &Shipment,
    now: Time,
) -> Result<i64, IssuedError> {
    let sql = "SELECT id, caller FROM processes WHERE nonce = ?1";
    let known: Option<(i64, String)> = transaction
        .query_row(sql, [&shipment.nonce], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if known
        .as_ref()
        .is_some_and(|(_, caller)| *caller != shipment.caller)
    {
        return Err(IssuedError::NotYours);
    }
    let sql = "INSERT INTO processes (nonce, caller, complete_until, finished, unrecorded, seen_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (nonce) DO UPDATE SET complete_until = max(complete_until, excluded.complete_until),
            finished = max(finished, excluded.finished), unrecorded = max(unrecorded, excluded.unrecorded), seen_at = excluded.seen_at";
    transaction.prepare_cached(sql)?.execute(params![
        shipment.nonce,
        shipment.caller,
        shipment.complete_until.map(millis).unwrap_or_default(),
        shipment.finished,
        i64::try_from(shipment.unrecorded.min(MOST_UNRECORDED)).unwrap_or_default(),
        millis(now),
    ])?;
    match known {
        Some((id, _)) => Ok(id),
        None => Ok(transaction.last_insert_rowid()),
    }
}

struct Segment {
    id: i64,
    next_frame: u32,
    header: Header,
}

impl Segment {
    fn find(
        transaction: &Transaction<'_>,
        process: i64,
        shipment: &Shipment,
        frames: &Frames,
        now: Time,
    ) -> Result<Self, IssuedError> {
        let header = Header::read(&frames.header).filter(|header| {
            let written = header.process.iter().map(|byte| format!("{byte:02x}"));
            written.collect::<String>() == shipment.nonce
        });
        let header = header.ok_or(IssuedError::Form {
            field: "frames.header",
            problem: "must be the header of a segment of that process",
        })?;
        let sql = "INSERT INTO segments (name, process, next_frame, ended, taken_at) VALUES (?1, ?2, 0, 0, ?3)
            ON CONFLICT (name) DO UPDATE SET taken_at = excluded.taken_at RETURNING id, next_frame";
        let (id, next): (i64, i64) = transaction.prepare_cached(sql)?.query_row(
            params![header.segment.as_slice(), process, millis(now)],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(Self {
            id,
            next_frame: u32::try_from(next).unwrap_or(u32::MAX),
            header,
        })
    }

    /// Frames before the expected one were taken earlier. Those after it leave a gap, which another replica has.
    fn take(
        self,
        transaction: &Transaction<'_>,
        keys: &IssuedKeys,
        frames: &Frames,
        granted: &dyn Fn(&str, &str) -> bool,
    ) -> Result<Taken, IssuedError> {
        let opener = Opener::new(keys.recipient(), &self.header)?;
        let mut names = Names {
            transaction,
            granted,
            last: None,
        };
        let mut taken = Taken {
            next_frame: self.next_frame,
            ..Taken::default()
        };
        let mut ended = false;
        for (number, body) in (frames.first..=u32::MAX).zip(&frames.bodies) {
            // Opened also where it was taken before: a batch is sound as a whole, or refused as one.
            let opened = opener.open(number, body)?;
            ended |= opened.last;
            if number < taken.next_frame {
                continue;
            }
            for (entry, place) in opened.entries.iter().zip(0_i64..) {
                self.insert(&mut names, entry, (i64::from(number), place))?;
                taken.entries = taken.entries.saturating_add(1);
            }
            taken.next_frame = number.saturating_add(1);
        }
        let sql = "UPDATE segments SET next_frame = ?2, ended = max(ended, ?3) WHERE id = ?1";
        transaction
            .prepare_cached(sql)?
            .execute(params![self.id, taken.next_frame, ended])?;
        Ok(taken)
    }

    fn insert(
        &self,
        names: &mut Names<'_>,
        entry: &Entry,
        (frame, place): (i64, i64),
    ) -> Result<(), IssuedError> {
        let (set, key, caller) = names.of(entry)?;
        let exp = entry
            .expires_at
            .map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        let at = i64::try_from(entry.at).unwrap_or(i64::MAX);
        let without = i64::try_from(WITHOUT_EXP.as_secs()).unwrap_or_default();
        let ends = exp.unwrap_or_else(|| (at / 1_000).saturating_add(without));
        let sql = "INSERT INTO entries (segment, frame, place, at, set_id, key_id, caller_id, jti, subject, exp, ends)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        names.transaction.prepare_cached(sql)?.execute(params![
            self.id,
            frame,
            place,
            at,
            set,
            key,
            caller,
            entry.jti,
            entry.subject.as_ref().map(|subject| subject.as_slice()),
            exp,
            ends,
        ])?;
        Ok(())
    }
}

/// Names as the numbers of their rows. Neighbours are often alike.
struct Names<'a> {
    transaction: &'a Transaction<'a>,
    granted: &'a dyn Fn(&str, &str) -> bool,
    last: Option<(Entry, (i64, i64, i64))>,
}

impl Names<'_> {
    fn of(&mut self, entry: &Entry) -> Result<(i64, i64, i64), IssuedError> {
        if let Some((last, ids)) = &self.last
            && (&last.tenant, &last.key_set, &last.kid, &last.caller)
                == (&entry.tenant, &entry.key_set, &entry.kid, &entry.caller)
        {
            return Ok(*ids);
        }
        if !(self.granted)(&entry.tenant, &entry.key_set) {
            return Err(IssuedError::NotGranted {
                tenant: entry.tenant.clone(),
                key_set: entry.key_set.clone(),
            });
        }
        let set = self.row(
            "SELECT id FROM sets WHERE tenant = ?1 AND name = ?2",
            "INSERT INTO sets (tenant, name) VALUES (?1, ?2)",
            params![entry.tenant, entry.key_set],
        )?;
        let key = self.row(
            "SELECT id FROM keys WHERE set_id = ?1 AND kid = ?2",
            "INSERT INTO keys (set_id, kid) VALUES (?1, ?2)",
            params![set, entry.kid],
        )?;
        let caller = self.row(
            "SELECT id FROM callers WHERE name = ?1",
            "INSERT INTO callers (name) VALUES (?1)",
            params![entry.caller],
        )?;
        self.last = Some((entry.clone(), (set, key, caller)));
        Ok((set, key, caller))
    }

    fn row(
        &self,
        find: &str,
        insert: &str,
        names: &[&dyn rusqlite::ToSql],
    ) -> Result<i64, IssuedError> {
        let known = self
            .transaction
            .prepare_cached(find)?
            .query_row(names, |row| row.get(0))
            .optional()?;
        if let Some(id) = known {
            return Ok(id);
        }
        self.transaction.prepare_cached(insert)?.execute(names)?;
        Ok(self.transaction.last_insert_rowid())
    }
}
