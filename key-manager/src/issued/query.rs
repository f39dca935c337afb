//! Which tokens did we sign with this key?

use issued_log::Entry;
use keyring::Time;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter, types::Value};

use super::{IssuedError, IssuedKeys};

/// Counting stops here.
pub const MAX_COUNT: u64 = 10_000_000;

/// A process that has not said for so long that all is shipped is behind, in milliseconds.
const BEHIND_AFTER: u64 = 10_000;

/// Processes that are named at most.
const MOST_BEHIND: i64 = 100;

/// What to list. Empty fields match everything.
#[derive(Clone, Default)]
pub struct Query {
    /// The tenant.
    pub tenant: String,
    /// The key set.
    pub key_set: String,
    /// The key.
    pub kid: String,
    /// Who asked for the token.
    pub caller: String,
    /// Its `sub`.
    pub sub: String,
    /// Not before.
    pub from: Option<Time>,
    /// Before.
    pub until: Option<Time>,
    /// At most so many entries.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<Place>,
}

/// The `sub` is not shown.
impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query")
            .field("tenant", &self.tenant)
            .field("key_set", &self.key_set)
            .field("kid", &self.kid)
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

/// The place of an entry in these records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose records.
    pub store: String,
    /// When it was issued.
    pub at: i64,
    /// Its row.
    pub row: i64,
}

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Oldest first.
    pub entries: Vec<Listed>,
    /// Where the next page begins, if there is one.
    pub next: Option<Place>,
    /// Only for a first page.
    pub counts: Vec<Counted>,
    /// There are more than were counted.
    pub capped: bool,
    /// What was issued up to then is here, as far as instances ship here.
    pub complete_until: Time,
    /// Processes that hold that up.
    pub behind: Vec<Behind>,
    /// Tokens that instances have signed without a record.
    pub unrecorded: u64,
    /// Names these records.
    pub store: String,
}

/// An entry, and its name.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The same in every replica.
    pub id: String,
    /// The entry.
    pub entry: Entry,
}

/// How many match of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The key set.
    pub key_set: String,
    /// The key.
    pub kid: String,
    /// How many.
    pub count: u64,
}

/// A process whose records may not all be here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// As `ListSubscribers` names it.
    pub subscriber: String,
    /// What it issued up to then is shipped.
    pub complete_until: Time,
}

/// Reads a page in one transaction, so that entries, counts and completeness belong together.
pub(super) fn list(
    connection: &mut Connection,
    keys: &IssuedKeys,
    query: &Query,
    visible: &dyn Fn(&str) -> bool,
    now: Time,
) -> Result<Page, IssuedError> {
    let connection = connection.transaction()?;
    let store: String =
        connection.query_row("SELECT name FROM about WHERE id = 1", [], |row| row.get(0))?;
    let mut page = Page {
        store,
        ..Page::default()
    };
    if query
        .after
        .as_ref()
        .is_some_and(|after| after.store != page.store)
    {
        return Err(IssuedError::Form {
            field: "page_token",
            problem: "is of another replica's records: ask that one, or begin anew",
        });
    }
    completeness(&connection, &mut page, now)?;
    let Some(filter) = Filter::of(&connection, keys, query, visible)? else {
        return Ok(page);
    };
    if query.limit > 0 {
        entries(&connection, &filter, query, &mut page)?;
    }
    if query.after.is_none() {
        counts(&connection, &filter, &mut page)?;
    }
    Ok(page)
}

fn completeness(connection: &Connection, page: &mut Page, now: Time) -> Result<(), IssuedError> {
    let sql = "SELECT min(complete_until) FROM processes WHERE finished = 0";
    let lowest: Option<i64> = connection.query_row(sql, [], |row| row.get(0))?;
    page.complete_until = lowest.map_or(now, |lowest| time(lowest).min(now));
    let due = now.as_millis().saturating_sub(BEHIND_AFTER);
    let sql = "SELECT caller || '#' || nonce, complete_until FROM processes
        WHERE finished = 0 AND complete_until < ?1 ORDER BY complete_until, id LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let due = i64::try_from(due).unwrap_or(i64::MAX);
    let rows = statement.query_map([due, MOST_BEHIND], |row| {
        Ok(Behind {
            subscriber: row.get(0)?,
            complete_until: time(row.get(1)?),
        })
    })?;
    page.behind = rows.collect::<rusqlite::Result<_>>()?;
    let sql = "SELECT coalesce(sum(unrecorded), 0) FROM processes";
    let unrecorded: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    page.unrecorded = u64::try_from(unrecorded).unwrap_or_default();
    Ok(())
}

fn time(millis: i64) -> Time {
    Time::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// The conditions on an entry. One of them leads, by its index, and the others are checked: a `+` keeps SQLite from using theirs.
struct Filter {
    sql: String,
    values: Vec<Value>,
}

impl Filter {
    /// `None` where nothing can match.
    fn of(
        connection: &Connection,
        keys: &IssuedKeys,
        query: &Query,
        visible: &dyn Fn(&str) -> bool,
    ) -> Result<Option<Self>, IssuedError> {
        let sets = sets(connection, query, visible)?;
        let named = match query.kid.is_empty() {
            true => Vec::new(),
            false => named_keys(connection, &sets, &query.kid)?,
        };
        if sets.is_empty() || (named.is_empty() && !query.kid.is_empty()) {
            return Ok(None);
        }
        let mut filter = Self {
            sql: "1".to_owned(),
            values: Vec::new(),
        };
        let mut leads = true;
        if !query.sub.is_empty() {
            let subject = keys.subjects().digest(&query.tenant, &query.sub);
            filter.and("subject = ?", Value::Blob(subject.to_vec()));
            leads = false;
        }
        let by_key = ("key_id", named.as_slice());
        let by_set = ("set_id", sets.as_slice());
        let caller = caller(connection, &query.caller)?;
        if let (None, false) = (caller, query.caller.is_empty()) {
            return Ok(None);
        }
        if !named.is_empty() {
            filter.any_of(by_key, std::mem::take(&mut leads));
        }
        if let Some(caller) = caller {
            let column = if std::mem::take(&mut leads) { "" } else { "+" };
            filter.and(&format!("{column}caller_id = ?"), Value::Integer(caller));
        }
        if named.is_empty() {
            filter.any_of(by_set, leads);
        }
        let bound =
            |time: Time| Value::Integer(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        if let Some(from) = query.from {
            filter.and("at >= ?", bound(from));
        }
        if let Some(until) = query.until {
            filter.and("at < ?", bound(until));
        }
        Ok(Some(filter))
    }

    fn and(&mut self, condition: &str, value: Value) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.push(value);
    }

    fn any_of(&mut self, (column, rows): (&str, &[i64]), leads: bool) {
        let plus = if leads { "" } else { "+" };
        let rows: Vec<_> = rows.iter().map(ToString::to_string).collect();
        self.sql
            .push_str(&format!(" AND {plus}{column} IN ({})", rows.join(",")));
    }
}

/// The key sets that are asked for and may be shown.
fn sets(
    connection: &Connection,
    query: &Query,
    visible: &dyn Fn(&str) -> bool,
) -> Result<Vec<i64>, IssuedError> {
    let mut statement = connection.prepare_cached("SELECT id, name FROM sets WHERE tenant = ?1")?;
    let rows = statement.query_map([&query.tenant], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut wanted = Vec::new();
    for row in rows {
        let (id, name) = row?;
        if (query.key_set.is_empty() || query.key_set == name) && visible(&name) {
            wanted.push(id);
        }
    }
    Ok(wanted)
}

fn named_keys(connection: &Connection, sets: &[i64], kid: &str) -> Result<Vec<i64>, IssuedError> {
    let mut statement = connection.prepare_cached("SELECT id, set_id FROM keys WHERE kid = ?1")?;
    let rows = statement.query_map([kid], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
    let mut named = Vec::new();
    for row in rows {
        let (id, set): (i64, i64) = row?;
        if sets.contains(&set) {
            named.push(id);
        }
    }
    Ok(named)
}

fn caller(connection: &Connection, name: &str) -> Result<Option<i64>, IssuedError> {
    let sql = "SELECT id FROM callers WHERE name = ?1";
    let found = connection.query_row(sql, [name], |row| row.get(0));
    Ok(found.optional()?)
}

fn entries(
    connection: &Connection,
    filter: &Filter,
    query: &Query,
    page: &mut Page,
) -> Result<(), IssuedError> {
    let mut values = filter.values.clone();
    let mut behind = String::new();
    if let Some(after) = &query.after {
        behind.push_str(" AND (at, entries.id) > (?, ?)");
        values.extend([Value::Integer(after.at), Value::Integer(after.row)]);
    }
    let most = i64::try_from(query.limit.saturating_add(1)).unwrap_or(i64::MAX);
    values.push(Value::Integer(most));
    let sql = format!(
        "SELECT page.id, page.at, sets.tenant, sets.name, keys.kid, callers.name, page.jti, page.subject, page.exp, segments.name, page.frame, page.place
         FROM (SELECT * FROM entries WHERE {}{behind} ORDER BY at, id LIMIT ?) AS page
         JOIN sets ON sets.id = page.set_id JOIN keys ON keys.id = page.key_id
         JOIN callers ON callers.id = page.caller_id JOIN segments ON segments.id = page.segment
         ORDER BY page.at, page.id",
        filter.sql
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(values), listed)?;
    let mut rows: Vec<(Place, Listed)> = rows.collect::<rusqlite::Result<_>>()?;
    let more = rows.len() > query.limit;
    rows.truncate(query.limit);
    page.next = rows.last().filter(|_| more).map(|(place, _)| Place {
        store: page.store.clone(),
        ..place.clone()
    });
    page.entries = rows.into_iter().map(|(_, listed)| listed).collect();
    Ok(())
}

fn listed(row: &Row<'_>) -> rusqlite::Result<(Place, Listed)> {
    let place = Place {
        store: String::new(),
        row: row.get(0)?,
        at: row.get(1)?,
    };
    let subject: Option<Vec<u8>> = row.get(7)?;
    let exp: Option<i64> = row.get(8)?;
    let segment: Vec<u8> = row.get(9)?;
    let (frame, number): (i64, i64) = (row.get(10)?, row.get(11)?);
    let segment: String = segment.iter().map(|byte| format!("{byte:02x}")).collect();
    let entry = Entry {
        at: u64::try_from(place.at).unwrap_or_default(),
        tenant: row.get(2)?,
        key_set: row.get(3)?,
        kid: row.get(4)?,
        caller: row.get(5)?,
        jti: row.get(6)?,
        subject: subject.and_then(|bytes| bytes.try_into().ok()),
        expires_at: exp.and_then(|exp| u64::try_from(exp).ok()),
    };
    let id = format!("{segment}.{frame}.{number}");
    Ok((place, Listed { id, entry }))
}

fn counts(connection: &Connection, filter: &Filter, page: &mut Page) -> Result<(), IssuedError> {
    let sql = format!(
        "SELECT sets.name, keys.kid, counted.number FROM
            (SELECT key_id, count(*) AS number FROM (SELECT key_id FROM entries WHERE {} LIMIT {}) GROUP BY key_id) AS counted
         JOIN keys ON keys.id = counted.key_id JOIN sets ON sets.id = keys.set_id ORDER BY sets.name, keys.id",
        filter.sql,
        MAX_COUNT + 1
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(filter.values.iter()), |row| {
        let count: i64 = row.get(2)?;
        Ok(Counted {
            key_set: row.get(0)?,
            kid: row.get(1)?,
            count: u64::try_from(count).unwrap_or_default(),
        })
    })?;
    page.counts = rows.collect::<rusqlite::Result<_>>()?;
    let total: u64 = page.counts.iter().map(|counted| counted.count).sum();
    page.capped = total > MAX_COUNT;
    Ok(())
}
