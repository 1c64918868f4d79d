//! The migrations as text: a naive splitter leaves them whole, and every table and column says what it holds.
//!
//! `wrangler d1 migrations apply --remote` posts a file as it is, and the server splits it into statements. Reports say
//! that it takes a bare `CASE … END` for the end of a trigger and that it finds `BEGIN` only in upper case. How it treats
//! comments and quotes is not known, so the file must survive every combination.

use std::collections::{BTreeMap, BTreeSet};

use fanwise::store::MIGRATIONS;
use rusqlite::Connection;

/// The most bytes that D1 takes as one statement, and so of a file that is posted before it is split.
const MOST_BYTES: usize = 100_000;

/// What a splitter knows besides `;`, `BEGIN` and `END`.
#[derive(Debug, Clone, Copy)]
struct Rules {
    comments: bool,
    quotes: bool,
    /// A bare `CASE` opens a block, as in wrangler. Without it, the `END` of a bare `CASE` ends the trigger.
    cases: bool,
}

const EVERY_RULE: [bool; 2] = [false, true];

fn every_splitter() -> impl Iterator<Item = Rules> {
    let pairs = EVERY_RULE.map(|comments| EVERY_RULE.map(|quotes| (comments, quotes)));
    pairs.into_iter().flatten().flat_map(|(comments, quotes)| {
        EVERY_RULE.map(|cases| Rules {
            comments,
            quotes,
            cases,
        })
    })
}

/// Splits at each `;` outside of a block. A keyword counts where white space is before it and white space or `;` behind.
fn split(sql: &str, rules: Rules) -> Vec<String> {
    let mut statements = vec![String::new()];
    let mut depth = 0_u32;
    let mut rest = sql;
    while let Some(next) = rest.chars().next() {
        let skipped = match next {
            '-' if rules.comments && rest.starts_with("--") => {
                rest.find('\n').unwrap_or(rest.len())
            }
            '\'' if rules.quotes => rest[1..].find('\'').map_or(rest.len(), |end| end + 2),
            _ => 0,
        };
        let length = if skipped > 0 {
            skipped
        } else {
            next.len_utf8()
        };
        if skipped == 0 {
            let before = statements.last().and_then(|one| one.chars().last());
            if before.is_none_or(char::is_whitespace) {
                let is = |word: &str| {
                    let behind = rest.strip_prefix(word).and_then(|rest| rest.chars().next());
                    behind.is_some_and(|one| one.is_whitespace() || one == ';')
                };
                depth += u32::from(is("BEGIN") || (rules.cases && is("CASE")));
                depth = depth.saturating_sub(u32::from(is("END")));
            }
            if next == ';' && depth == 0 {
                statements.push(String::new());
                rest = &rest[1..];
                continue;
            }
        }
        let (read, behind) = rest.split_at(length);
        if let Some(statement) = statements.last_mut() {
            statement.push_str(read);
        }
        rest = behind;
    }
    statements.retain(|one| !one.trim().is_empty());
    statements
}

/// Every object with its text, and every row: equal only if nothing was lost or cut.
fn dump(conn: &Connection) -> Vec<String> {
    let list = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let mut all = list(
        "SELECT type || ' ' || name || ': ' || COALESCE(sql, '') FROM sqlite_schema ORDER BY rowid",
    );
    for table in list("SELECT name FROM sqlite_schema WHERE type = 'table'") {
        let mut statement = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap()));
            all.push(format!(
                "{table} has {}",
                values.collect::<Vec<_>>().join(", ")
            ));
        }
    }
    all
}

fn whole() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    for migration in MIGRATIONS {
        conn.execute_batch(migration).unwrap();
    }
    conn
}

#[test]
fn every_splitter_leaves_the_same_schema() {
    let wanted = dump(&whole());
    assert!(wanted.len() > 100, "{wanted:?}");
    for rules in every_splitter() {
        let conn = Connection::open_in_memory().unwrap();
        for statement in MIGRATIONS.into_iter().flat_map(|file| split(file, rules)) {
            // Refuses text behind the first statement.
            let result = conn.execute(&statement, []);
            assert!(result.is_ok(), "{rules:?}: {result:?} in {statement}");
        }
        assert_eq!(dump(&conn), wanted, "{rules:?}");
    }
    for file in MIGRATIONS {
        assert!(file.len() < MOST_BYTES, "{} bytes", file.len());
    }
}

#[test]
fn every_case_of_a_trigger_is_in_parentheses() {
    let code = MIGRATIONS.into_iter().flat_map(str::lines);
    let code = code.map(|line| line.split("--").next().unwrap_or_default());
    let code = code.collect::<Vec<_>>().join("\n");
    let words = |word: &str| code.match_indices(word).collect::<Vec<_>>();
    let cases = words("CASE");
    assert!(!cases.is_empty());
    for (at, _) in &cases {
        assert!(code[..*at].ends_with('('), "{}", &code[*at..at + 60]);
    }
    let (mut closed, mut ended) = (0, 0);
    for (at, _) in words(" END").into_iter().chain(words("\nEND")) {
        match code[at + 4..].chars().next() {
            Some(')') => closed += 1,
            Some(';') => ended += 1,
            other => panic!("END before {other:?}"),
        }
    }
    assert_eq!(
        (closed, ended),
        (cases.len(), words("CREATE TRIGGER").len())
    );
}

/// What the files must not hold is what the splitter of this test trips over.
#[test]
fn a_naive_splitter_cuts_a_trigger_that_breaks_the_rules() {
    let trigger = |begin: &str, value: &str| {
        format!(
            "CREATE TRIGGER t AFTER INSERT ON a\n{begin}\n  UPDATE a SET b = {value} WHERE c;\n  DELETE FROM d;\nEND;\n"
        )
    };
    let case = "CASE WHEN b THEN 1 END";
    let naive = Rules {
        comments: true,
        quotes: true,
        cases: false,
    };
    let cases = Rules {
        cases: true,
        ..naive
    };
    let parts = |sql: &str, rules| split(sql, rules).len();
    assert_eq!(parts(&trigger("BEGIN", &format!("({case})")), naive), 1);
    assert!(parts(&trigger("BEGIN", case), naive) > 1);
    assert!(parts(&trigger("begin", "1"), naive) > 1);
    // `END,` closes nothing there, so what follows is swallowed.
    let followed = trigger("BEGIN", &format!("{case}, e = 1")) + "CREATE TABLE f (g);";
    assert_eq!(parts(&followed, cases), 1);
    assert!(
        parts(
            "-- one; two\nCREATE TABLE f (g);",
            Rules {
                comments: false,
                ..naive
            }
        ) > 1
    );
}

/// One `CREATE TABLE` of a file: the line before it, and its lines.
fn tables(file: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let lines: Vec<&str> = file.lines().collect();
    let mut found = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("CREATE TABLE ") else {
            continue;
        };
        let (name, same_line) = name.split_once(' ').unwrap();
        assert_eq!(same_line, "(", "{name}: each column has a line of its own");
        let inside = lines[at + 1..]
            .iter()
            .take_while(|line| !line.starts_with(')'));
        let before = lines[at - 1].to_owned();
        found.insert(
            name.to_owned(),
            (before, inside.map(ToString::to_string).collect()),
        );
    }
    found
}

/// The words that the head of a file explains for all its tables: "-- `job`: …".
fn glossary(file: &str) -> BTreeSet<&str> {
    let head = file.lines().take_while(|line| line.starts_with("--"));
    let words = head.filter_map(|line| line.strip_prefix("-- `")?.split_once("`: "));
    words.map(|(word, _)| word).collect()
}

#[test]
fn every_table_and_column_says_what_it_holds() {
    let conn = whole();
    let mut statement = conn
        .prepare(
            "SELECT t.name, c.name FROM pragma_table_list t JOIN pragma_table_info(t.name) c
                  WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite%' ORDER BY 1, c.cid",
        )
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let known: BTreeSet<(String, String)> = rows.map(Result::unwrap).collect();
    let mut described = BTreeSet::new();
    let mut used = BTreeSet::new();
    let words: BTreeSet<&str> = MIGRATIONS.into_iter().flat_map(glossary).collect();
    for (table, (before, lines)) in MIGRATIONS.into_iter().flat_map(tables) {
        assert!(before.starts_with("-- "), "{table} has no comment above it");
        for line in lines {
            let (code, comment) = line.split_once("--").unwrap_or((&line, ""));
            let Some(column) = code.split_whitespace().next() else {
                continue;
            };
            if column.starts_with("PRIMARY") || column.starts_with("UNIQUE") {
                continue;
            }
            let clear = !comment.trim().is_empty()
                || words.contains(column)
                || column.ends_with("_at")
                || column.ends_with("_tokens");
            assert!(clear, "{table}.{column} needs a comment");
            used.insert(column.to_owned());
            described.insert((table.clone(), column.to_owned()));
        }
    }
    assert_eq!(described, known);
    for word in words {
        assert!(used.contains(word), "no column is called {word}");
    }
}
