//! The database of a world: SQLite with the migrations and the very SQL that D1 runs, whole batches or nothing, and what strikes them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;

use fanwise::ports::{Answer, Db, DbError, Statement};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::Value as Sql;
use serde_json::{Map, Number, Value, json};

use super::{World, lock};
use crate::chaos::Strike;

/// A database as the migrations leave it.
pub(super) fn database() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.set_prepared_statement_cache_capacity(1_024);
    // Or every statement would be planned anew with the values of each of its runs.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .unwrap();
    for migration in fanwise::store::MIGRATIONS {
        conn.execute_batch(&broken(migration)).unwrap();
    }
    conn
}

/// Puts every table back to what stood in it when this was called first.
pub(super) fn empty(conn: &mut Connection) {
    let tables = |like: &str| -> Vec<(String, String)> {
        let sql = "SELECT 'main', name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'
                   UNION ALL SELECT 'temp', name FROM sqlite_temp_schema WHERE type = 'table' AND name LIKE ?1";
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([like], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    };
    let own = |(_, name): &(String, String)| !name.starts_with("first_");
    let first = tables("first_%").iter().any(|table| !own(table));
    let mut sql = String::new();
    for (schema, name) in tables("%").iter().filter(|table| own(table)) {
        if first {
            let _ = writeln!(
                sql,
                "DELETE FROM {schema}.{name}; INSERT INTO {schema}.{name} SELECT * FROM temp.first_{name};"
            );
        } else {
            let _ = writeln!(
                sql,
                "CREATE TEMP TABLE first_{name} AS SELECT * FROM {schema}.{name};"
            );
        }
    }
    if !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK").unwrap();
    }
    conn.execute_batch(&format!("BEGIN; {sql} COMMIT;"))
        .unwrap();
}

impl World {
    /// A query of the test's own.
    pub fn query(&self, sql: &str) -> Vec<Map<String, Value>> {
        let conn = lock(&self.0.conn);
        run(&conn, sql, &[]).unwrap().rows
    }

    /// Runs a batch as the engine would, at once.
    pub fn batch_now(&self, statements: Vec<Statement>) -> Result<Vec<Answer>, DbError> {
        let mut conn = lock(&self.0.conn);
        let transaction = conn.transaction().unwrap();
        let answers = statements
            .iter()
            .map(|statement| run(&transaction, statement.sql, &statement.params))
            .collect::<Result<Vec<_>, _>>()?;
        transaction.commit().unwrap();
        Ok(answers)
    }

    /// How SQLite means to carry a statement out.
    pub fn explain(&self, statement: &Statement) -> Vec<String> {
        let conn = lock(&self.0.conn);
        let sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
        let rows = run(&conn, &sql, &statement.params).unwrap().rows;
        rows.iter()
            .map(|row| row["detail"].as_str().unwrap().to_owned())
            .collect()
    }

    /// From now on nothing is written that would make the database larger than this.
    #[allow(dead_code, reason = "for the tests under a model of production")]
    pub fn limit_size(&self, bytes: Option<u64>) {
        let Some(bytes) = bytes else { return };
        let conn = lock(&self.0.conn);
        let page: i64 = conn
            .query_row("PRAGMA page_size", [], |row| row.get(0))
            .unwrap();
        let pages = (bytes as i64 / page).max(1);
        let limit = format!("PRAGMA max_page_count = {pages}");
        conn.query_row(&limit, [], |_| Ok(())).unwrap();
    }

    /// Runs SQL of the simulation's own.
    pub fn execute(&self, sql: &str) {
        lock(&self.0.conn).execute_batch(sql).unwrap();
    }
}

impl Db for World {
    async fn batch(&self, statements: Vec<Statement>) -> Result<Vec<Answer>, DbError> {
        let lost = || Err(DbError::Unavailable("network connection lost".into()));
        let strike = self.strike(|rates| rates.db, || names(&statements));
        let trip = self.batch_goes(&statements).await?;
        match strike {
            Strike::DiesBefore => return self.die().await,
            Strike::FailsBefore => return lost(),
            _ => {}
        }
        let watching = self.chaos().watching;
        let result = {
            let mut conn = lock(&self.0.conn);
            if watching {
                let mut tick = conn
                    .prepare_cached("UPDATE clock SET seq = seq + 1")
                    .unwrap();
                tick.execute([]).unwrap();
            }
            let transaction = conn.transaction().unwrap();
            let answers: Result<Vec<Answer>, DbError> = statements
                .iter()
                .map(|statement| run(&transaction, statement.sql, &statement.params))
                .collect();
            // D1 tells it with each statement; it is wanted once.
            let bytes = size(&transaction);
            if answers.is_ok() {
                transaction.commit().unwrap();
            }
            answers.map(|mut answers| {
                if let Some(last) = answers.last_mut() {
                    last.size = Some(bytes);
                }
                answers
            })
        };
        if watching {
            let seen: Vec<String> = {
                let conn = lock(&self.0.conn);
                let mut seen = conn.prepare_cached("SELECT text FROM violations").unwrap();
                let rows = seen.query_map([], |row| row.get(0)).unwrap();
                rows.map(Result::unwrap).collect()
            };
            for text in seen {
                self.tell(|| format!("  !!! {text}"));
                self.chaos().violations.push(text);
            }
        }
        if let Err(error) = &result {
            self.tell(|| format!("  {error}"));
            if let DbError::Refused(text) = error {
                self.chaos().violations.push(format!("SQL refused: {text}"));
            }
        }
        let result = self.batch_returns(trip, &statements, result).await;
        match strike {
            Strike::DiesAfter => self.die().await,
            Strike::FailsAfter => lost(),
            _ => result,
        }
    }
}

/// Bytes of all pages that are in use, as D1 has it.
fn size(conn: &Connection) -> u64 {
    let pragma = |name: &str| -> u64 {
        let mut statement = conn.prepare_cached(&format!("PRAGMA {name}")).unwrap();
        let value: i64 = statement.query_row([], |row| row.get(0)).unwrap();
        u64::try_from(value).unwrap_or(0)
    };
    (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
}

/// The names that the statements carry in their first lines.
fn names(statements: &[Statement]) -> String {
    let names: Vec<&str> = statements
        .iter()
        .map(|statement| {
            let line = statement.sql.lines().next().unwrap_or_default();
            line.trim_start_matches("-- ")
        })
        .collect();
    format!("db {}", names.join(" "))
}

/// A line of SQL that `cargo xtask simulate --mutations` has broken on purpose: what stood there, and what does now.
static BROKEN: LazyLock<Option<(String, String)>> = LazyLock::new(|| {
    let of = |name: &str| std::env::var(name).ok();
    Some((of("FANWISE_BREAK_SQL")?, of("FANWISE_BREAK_INTO")?))
});

/// The text as it is, or as it was broken.
fn broken(sql: &str) -> Cow<'_, str> {
    match &*BROKEN {
        Some((from, to)) if sql.contains(from.as_str()) => sql.replace(from.as_str(), to).into(),
        _ => sql.into(),
    }
}

pub(super) fn run(conn: &Connection, sql: &str, params: &[Value]) -> Result<Answer, DbError> {
    let sql = &broken(sql);
    let refuse = |error: rusqlite::Error| {
        let text = error.to_string();
        if text.contains("batch assertion failed") {
            DbError::Guard(text)
        } else if text.contains("database or disk is full") {
            // As the adapter of D1 reads it.
            DbError::Full("D1_ERROR: Exceeded maximum DB size".into())
        } else {
            DbError::Refused(format!("{text} in {sql}"))
        }
    };
    let mut statement = conn.prepare_cached(sql).map_err(refuse)?;
    for (index, value) in params.iter().enumerate() {
        let value = match value {
            Value::Null => Sql::Null,
            Value::Bool(value) => Sql::Integer(i64::from(*value)),
            // As D1 binds them: JavaScript knows only floats, and SQLite stores whole ones as integers.
            Value::Number(number) => match number.as_f64() {
                Some(real) if real.fract() == 0.0 && real.abs() < 9e15 => Sql::Integer(real as i64),
                Some(real) => Sql::Real(real),
                None => Sql::Null,
            },
            Value::String(text) => Sql::Text(text.clone()),
            other => panic!("{other} cannot be bound"),
        };
        statement
            .raw_bind_parameter(index + 1, value)
            .map_err(refuse)?;
    }
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = Vec::new();
    {
        let mut raw = statement.raw_query();
        while let Some(row) = raw.next().map_err(refuse)? {
            let mut object = Map::new();
            for (index, name) in names.iter().enumerate() {
                let value = match row.get::<_, Sql>(index).map_err(refuse)? {
                    Sql::Null => Value::Null,
                    Sql::Integer(value) => json!(value),
                    Sql::Real(value) => Number::from_f64(value).map_or(Value::Null, Value::Number),
                    Sql::Text(value) => Value::String(value),
                    Sql::Blob(_) => panic!("no blobs in rows"),
                };
                object.insert(name.clone(), value);
            }
            rows.push(object);
        }
    }
    // Steps of SQLite's machine, triggers and all: a measure of the rows that it looks at.
    let steps = statement.reset_status(rusqlite::StatementStatus::VmStep);
    Ok(Answer {
        rows,
        rows_read: u64::try_from(steps).unwrap_or(0),
        size: None,
    })
}
