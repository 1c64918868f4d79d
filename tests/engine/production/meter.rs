//! Rows written, as D1 counts them: one for each row of a table that is inserted, changed or deleted, and one for each
//! entry that an index gets. Taking an entry out of an index counts nothing.
//!
//! Rows of D1's meter are counted inside its SQLite, which is not the one here. But SQLite decides when a statement is
//! prepared which indexes an `UPDATE` touches: those of which it sets a column or names one in the index's condition,
//! whether its value changes or not. `AFTER UPDATE OF columns` fires by the same rule, so temporary triggers count the
//! same. They take time of their own, so a run that is metered is not one that is timed.

use std::fmt::Write as _;

use serde_json::Value;

use crate::world::World;

/// Counts from now on.
pub fn install(world: &World) {
    let mut sql =
        String::from("CREATE TEMP TABLE meter (id INTEGER PRIMARY KEY, name TEXT, n INTEGER);\n");
    let mut counters = 0;
    let mut count = |sql: &mut String, name: &str, trigger: &str| {
        counters += 1;
        let _ = writeln!(
            sql,
            "INSERT INTO temp.meter VALUES ({counters}, '{name}', 0);
             CREATE TEMP TRIGGER meter_{counters} {trigger} BEGIN UPDATE meter SET n = n + 1 WHERE id = {counters}; END;"
        );
    };
    for (table, keyed) in tables(world) {
        for event in ["INSERT", "UPDATE", "DELETE"] {
            let name = format!("{table} {event}");
            count(&mut sql, &name, &format!("AFTER {event} ON main.{table}"));
        }
        for index in indexes(world, &table, keyed) {
            let condition = |row: &str| match &index.condition {
                Some(condition) => {
                    format!(" WHEN EXISTS (SELECT 1 FROM (SELECT {row}) WHERE {condition})")
                }
                None => String::new(),
            };
            let row = columns(world, &table)
                .iter()
                .map(|column| format!("NEW.{column} AS {column}"))
                .collect::<Vec<_>>()
                .join(", ");
            let when = condition(&row);
            let name = format!("{table} {}", index.name);
            let insert = format!("AFTER INSERT ON main.{table}{when}");
            count(&mut sql, &name, &insert);
            let update = match index.touched(world, &table) {
                Some(columns) => format!("AFTER UPDATE OF {columns} ON main.{table}{when}"),
                None => format!("AFTER UPDATE ON main.{table}{when}"),
            };
            count(&mut sql, &name, &update);
        }
    }
    world.execute(&sql);
}

/// Rows written since the meter was installed.
pub fn rows(world: &World) -> u64 {
    let rows = world.query("SELECT SUM(n) AS n FROM temp.meter");
    rows[0]["n"].as_u64().unwrap_or(0)
}

/// The same by table and by index, the largest first.
pub fn by_name(world: &World) -> Vec<(String, u64)> {
    let sql =
        "SELECT name, SUM(n) AS n FROM temp.meter GROUP BY name HAVING SUM(n) > 0 ORDER BY 2 DESC";
    let text = |row: &serde_json::Map<String, Value>| row["name"].as_str().unwrap().to_owned();
    let rows = world.query(sql);
    rows.iter()
        .map(|row| (text(row), row["n"].as_u64().unwrap_or(0)))
        .collect()
}

/// Tables with rows of the engine's, and whether the primary key is the table itself.
fn tables(world: &World) -> Vec<(String, bool)> {
    let sql = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite%'";
    let rows = world.query(sql);
    rows.iter()
        .map(|row| (row["name"].as_str().unwrap().to_owned(), row["wr"] == 1))
        .collect()
}

fn columns(world: &World, table: &str) -> Vec<String> {
    let rows = world.query(&format!("SELECT name FROM pragma_table_info('{table}')"));
    let names = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap().to_owned());
    names.collect()
}

struct Index {
    name: String,
    /// Its columns; an expression has none.
    columns: Vec<Option<String>>,
    /// Of a partial index: the condition.
    condition: Option<String>,
}

impl Index {
    /// The columns whose change touches it; `None`: any may.
    fn touched(&self, world: &World, table: &str) -> Option<String> {
        let mut touched: Vec<String> = self.columns.iter().cloned().collect::<Option<_>>()?;
        if let Some(condition) = &self.condition {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let words: Vec<&str> = condition.split(|c| !word(c)).collect();
            let more = columns(world, table);
            touched.extend(more.into_iter().filter(|one| words.contains(&one.as_str())));
        }
        touched.sort();
        touched.dedup();
        Some(touched.join(", "))
    }
}

fn indexes(world: &World, table: &str, keyed: bool) -> Vec<Index> {
    let sql = format!(
        "SELECT l.name, l.origin, s.sql FROM pragma_index_list('{table}') l LEFT JOIN sqlite_schema s ON s.name = l.name"
    );
    let rows = world.query(&sql);
    let own = rows.iter().filter(|row| !(keyed && row["origin"] == "pk"));
    own.map(|row| {
        let name = row["name"].as_str().unwrap().to_owned();
        let columns = world.query(&format!("SELECT name FROM pragma_index_info('{name}')"));
        let condition = row["sql"]
            .as_str()
            .and_then(|sql| sql.split_once(" WHERE "));
        Index {
            columns: columns
                .iter()
                .map(|column| column["name"].as_str().map(str::to_owned))
                .collect(),
            condition: condition.map(|(_, condition)| condition.to_owned()),
            name,
        }
    })
    .collect()
}
