//! Results in the order of the input, beside the items that they belong to where that is wanted.
//!
//! A window of items is read at a time, then the outputs of the tasks that have them, as many as fit. So what is held does not
//! grow with the job. Results that no item of the input leads to come at the end.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::coverage;
use super::pages::ResultsOf;
use crate::app::stage::lineage::{Amendments, map_stages};
use crate::app::stage::loaded::Loaded;
use crate::app::stage::{outputs, runtime::JobRuntime};
use crate::app::support::{blobs, db};
use crate::app::{App, AppError};
use crate::core::plan::spec::{InputKind, Output};
use crate::core::text::slices::{document_of, slice_id};
use crate::ports::{Db, Ports};
use crate::store::read::rows as sql;
use crate::store::row::{Columns, Row};
use crate::store::task::admission::Body;

pub mod finder;
pub mod input;

use finder::{Finder, hash};

/// Bytes of lines that are handed out at a time.
const PORTION_BYTES: usize = 65_536;
/// Tasks and bytes of outputs read at a time; with what amends them, fewer bytes.
const LOAD_TASKS: usize = 500;
const LOAD_BYTES: u64 = 1_000_000;
const LOAD_AMENDED: u64 = 500_000;
/// Indexes of tasks in one look for those that no item led to.
const REST: u32 = 5_000;
/// The job is at work, and the item has no result yet.
const PENDING: &str = "pending";

/// An item, or a slice of one, with what it has.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Of the item or slice; of a result that no item led to, its own.
    pub id: String,
    /// The item that a slice was cut from.
    pub from: Option<String>,
    /// The item's fields; none unless asked for.
    pub input: Option<Map<String, Value>>,
    pub found: Option<Found>,
    /// Why there is no result.
    pub reason: Option<String>,
    pub flags: Vec<String>,
}

/// A result.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub task: u32,
    pub output: Value,
    /// Where it is one result for many items.
    pub chunk: Option<Arc<Chunk>>,
    /// No line before has a result of this task.
    pub first: bool,
}

/// What one result for many items is called, and which they are.
#[derive(Debug, Default, PartialEq)]
pub struct Chunk {
    pub label: Option<String>,
    pub group: Option<String>,
    pub ids: Vec<String>,
}

/// An item that has still to be handed out.
#[derive(Debug)]
struct Wanted {
    id: String,
    from: Option<String>,
    found: Option<finder::Place>,
    place: input::Place,
}

impl Wanted {
    fn task(&self) -> Option<u32> {
        Some(self.found.as_ref()?.task)
    }

    /// The id of its result.
    fn result_id(&self) -> &str {
        let renamed = self
            .found
            .as_ref()
            .and_then(|found| found.renamed.as_deref());
        renamed.unwrap_or(&self.id)
    }
}

/// An output as it was read: as text, since JSON taken apart has ten times the bytes.
#[derive(Debug)]
enum Held {
    /// JSON texts by id, in the order of the output.
    Items(Map<String, Value>),
    Chunk(Arc<Chunk>, String),
}

/// Reads a job's results in the order of its input.
pub struct Rows<P: Ports> {
    pub app: App<P>,
    pub of: ResultsOf,
    kind: InputKind,
    /// Why items have no result, by the hash of their id; `None`: lines without a result and without fields are left out.
    reasons: Option<HashMap<u64, Arc<str>>>,
    over: bool,
    /// The stage that cuts items into slices.
    sliced_by: Option<u32>,
    reader: input::Reader,
    finder: Finder,
    window: VecDeque<Wanted>,
    flags: HashMap<String, Vec<String>>,
    held: HashMap<u32, Held>,
    /// Which tasks' results were handed out, one bit for each.
    visited: Vec<u64>,
    rest: Rest,
}

/// Where the search for tasks stands that no item led to.
#[derive(Debug, Default)]
struct Rest {
    after: i64,
    tasks: VecDeque<u32>,
    lines: VecDeque<Line>,
    done: bool,
}

impl<P: Ports> Rows<P> {
    /// All results; and with `input` every item, whether it has one or not.
    pub async fn new(
        app: App<P>,
        loaded: &Loaded,
        of: ResultsOf,
        input: bool,
    ) -> Result<Rows<P>, AppError> {
        let path = path(&loaded.runtime, of.stage);
        let renaming: Vec<u32> = path
            .iter()
            .filter(|(index, renames)| *renames && *index < of.stage)
            .map(|(index, _)| *index)
            .collect();
        let finder = Finder::new(&app, &of.job, of.stage, &renaming).await?;
        let over = loaded.job.state.is_terminal();
        let reasons = match input {
            true => Some(reasons(&app, loaded).await?),
            false => None,
        };
        let slices = loaded.runtime.spec.slices();
        Ok(Rows {
            kind: loaded.runtime.spec.input,
            sliced_by: path.first().map(|(index, _)| *index).filter(|_| slices),
            app,
            of,
            reasons,
            over,
            reader: input::Reader::default(),
            finder,
            window: VecDeque::new(),
            flags: HashMap::new(),
            held: HashMap::new(),
            visited: Vec::new(),
            rest: Rest {
                after: -1,
                ..Rest::default()
            },
        })
    }

    /// The next lines; none behind the last. Where it fails, the same may be asked for again.
    pub async fn portion(&mut self) -> Result<Vec<Line>, AppError> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        while bytes < PORTION_BYTES {
            match self.line().await {
                Ok(Some((line, more))) => {
                    bytes += more;
                    lines.push(line);
                }
                Ok(None) => break,
                // What is there already goes out first.
                Err(_) if !lines.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(lines)
    }

    /// The next line, and about how many bytes it has.
    async fn line(&mut self) -> Result<Option<(Line, usize)>, AppError> {
        loop {
            while let Some(wanted) = self.window.front() {
                if let Some(task) = wanted.task()
                    && !self.held.contains_key(&task)
                {
                    self.load().await?;
                }
                if let Some(wanted) = self.window.pop_front()
                    && let Some(line) = self.line_of(wanted)
                {
                    return Ok(Some(line));
                }
            }
            if !self.next_window().await? {
                return self.unreached().await;
            }
        }
    }

    /// What is known of an item whose outputs are held.
    fn line_of(&mut self, wanted: Wanted) -> Option<(Line, usize)> {
        let found = wanted
            .task()
            .and_then(|task| self.found(task, wanted.result_id()));
        if found.is_none() && self.reasons.is_none() {
            return None;
        }
        let input = self
            .reasons
            .is_some()
            .then(|| self.reader.fields(&wanted.place, self.kind));
        let reason = match &found {
            None => Some(self.reason(&wanted.id).to_string()),
            Some(_) => None,
        };
        let bytes = found.as_ref().map_or(0, |(_, bytes)| *bytes)
            + input.as_ref().map_or(0, |_| wanted.place.json.len())
            + 200;
        let found = found.map(|(found, _)| found);
        let flags = self.flags_of(wanted.result_id(), found.as_ref());
        let line = Line {
            id: wanted.id,
            from: wanted.from,
            input,
            found,
            reason,
            flags,
        };
        Some((line, bytes))
    }

    fn flags_of(&self, id: &str, found: Option<&Found>) -> Vec<String> {
        let label = match found {
            None => return Vec::new(),
            Some(found) => match &found.chunk {
                None => Some(id),
                Some(chunk) => chunk.label.as_deref(),
            },
        };
        label
            .and_then(|label| self.flags.get(label))
            .cloned()
            .unwrap_or_default()
    }

    fn found(&mut self, task: u32, id: &str) -> Option<(Found, usize)> {
        let (text, chunk) = match self.held.get(&task)? {
            Held::Items(results) => (results.get(id)?.as_str()?, None),
            Held::Chunk(chunk, text) => (text.as_str(), Some(chunk.clone())),
        };
        let output = serde_json::from_str(text).unwrap_or(Value::Null);
        let bytes = text.len();
        let first = visit(&mut self.visited, task);
        let found = Found {
            task,
            output,
            chunk,
            first,
        };
        Some((found, bytes))
    }

    fn reason(&self, id: &str) -> Arc<str> {
        let known = self.reasons.iter().find_map(|reasons| {
            let whole = || reasons.get(&hash(document_of(id)));
            reasons.get(&hash(id)).or_else(whole).cloned()
        });
        match known {
            Some(reason) if self.over || &*reason != coverage::NOT_STARTED => reason,
            _ if self.over => coverage::NOT_STARTED.into(),
            _ => PENDING.into(),
        }
    }

    /// Reads on in the input. False behind its end.
    async fn next_window(&mut self) -> Result<bool, AppError> {
        let places = self.reader.window(&self.app, &self.of.job).await?;
        if places.is_empty() {
            return Ok(false);
        }
        let mut window = VecDeque::with_capacity(places.len());
        let counts = self.slices(&places).await?;
        for place in places {
            match counts.get(&place.id) {
                None => window.push_back(Wanted {
                    id: place.id.clone(),
                    from: None,
                    found: None,
                    place,
                }),
                Some(count) => window.extend((1..=*count).map(|number| Wanted {
                    id: slice_id(&place.id, number),
                    from: Some(place.id.clone()),
                    found: None,
                    place: place.clone(),
                })),
            }
        }
        for wanted in &mut window {
            wanted.found = self.finder.find(&self.app, &wanted.id).await?;
        }
        for wanted in &window {
            self.finder.forget(&wanted.id);
        }
        self.held.clear();
        self.flags.clear();
        if self.of.output == Output::Item && self.reasons.is_some() {
            let ids: Vec<&str> = window.iter().map(Wanted::result_id).collect();
            self.flags = flags(&self.app, &self.of, &ids).await?;
        }
        self.window = window;
        Ok(true)
    }

    async fn slices(&self, places: &[input::Place]) -> Result<HashMap<String, u32>, AppError> {
        let Some(stage) = self.sliced_by else {
            return Ok(HashMap::new());
        };
        let items: Vec<&str> = places.iter().map(|place| place.id.as_str()).collect();
        let rows = db::rows(&self.app, sql::slices(&self.of.job, stage, &items)).await?;
        Ok(rows
            .iter()
            .map(|row| (row.text("item"), row.count("slices")))
            .collect())
    }

    /// The outputs of the next tasks of the window, as many as fit. The first of them is there afterwards.
    async fn load(&mut self) -> Result<(), AppError> {
        let mut tasks = Vec::new();
        let mut asked = HashSet::new();
        for task in self.window.iter().filter_map(Wanted::task) {
            if tasks.len() < LOAD_TASKS && !self.held.contains_key(&task) && asked.insert(task) {
                tasks.push(task);
            }
        }
        let wanted: HashSet<String> = self
            .window
            .iter()
            .map(|wanted| wanted.result_id().to_owned())
            .collect();
        // What earlier items of the window needed.
        let open: HashSet<u32> = self.window.iter().filter_map(Wanted::task).collect();
        self.held.retain(|task, _| open.contains(task));
        self.load_tasks(&tasks, Some(&wanted)).await?;
        Ok(())
    }

    /// Outputs of these tasks, those of `wanted` alone. Those of the first are held afterwards.
    async fn load_tasks(
        &mut self,
        tasks: &[u32],
        wanted: Option<&HashSet<String>>,
    ) -> Result<(), AppError> {
        let bytes = match self.of.amends.is_empty() {
            true => LOAD_BYTES,
            false => LOAD_AMENDED,
        };
        let read = sql::outputs(&self.of.job, tasks, bytes);
        let rows = db::rows(&self.app, read).await?;
        let amended = Amendments::of(&self.app, &self.of.job, &self.of.amends, &rows).await?;
        let mut labels = Vec::new();
        for row in &rows {
            let held = self.held_of(row, &amended, wanted).await?;
            if let Held::Chunk(chunk, ..) = &held {
                labels.extend(chunk.label.clone());
            }
            self.held.insert(row.count("idx"), held);
        }
        // A task before the last of them has no output, and neither has any where there is none at all.
        let last = rows.last().map(|row| row.count("idx"));
        for task in tasks {
            self.held
                .entry(*task)
                .or_insert_with(|| Held::Items(Map::new()));
            if last == Some(*task) {
                break;
            }
        }
        if !labels.is_empty() && self.reasons.is_some() {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let more = flags(&self.app, &self.of, &labels).await?;
            self.flags.extend(more);
        }
        Ok(())
    }

    async fn held_of(
        &self,
        row: &Row,
        amended: &Amendments,
        wanted: Option<&HashSet<String>>,
    ) -> Result<Held, AppError> {
        let text = blobs::text(&self.app, &Body::read(row, "body", "blob")).await?;
        let label = row.maybe_text("label");
        let stored = db::json_of(text);
        let is_chunk = stored.is_object();
        let results = outputs::outputs(stored, label.as_deref().unwrap_or_default());
        let texts = results.into_iter().filter_map(|(id, output)| {
            let keep = is_chunk || wanted.is_none_or(|wanted| wanted.contains(&id));
            keep.then(|| (amended.over(&id, output).to_string(), id))
        });
        if !is_chunk {
            let results = texts.map(|(text, id)| (id, Value::String(text)));
            return Ok(Held::Items(results.collect()));
        }
        let mut texts = texts;
        let text = texts.next().map(|(text, _)| text);
        let chunk = Chunk {
            group: row.maybe_text("grp"),
            ids: row.json("ids").unwrap_or_default(),
            label,
        };
        Ok(Held::Chunk(Arc::new(chunk), text.unwrap_or_default()))
    }

    /// Results of tasks that no item of the input led to, by the index of their tasks.
    async fn unreached(&mut self) -> Result<Option<(Line, usize)>, AppError> {
        loop {
            if let Some(line) = self.rest.lines.pop_front() {
                return Ok(Some((line, 1_000)));
            }
            if let Some(task) = self.rest.tasks.front().copied() {
                if !self.held.contains_key(&task) {
                    self.held.clear();
                    let next: Vec<u32> = self.rest.tasks.iter().take(LOAD_TASKS).copied().collect();
                    self.load_tasks(&next, None).await?;
                }
                self.rest.lines = self.lines_of(task);
                self.rest.tasks.pop_front();
                continue;
            }
            if self.rest.done {
                return Ok(None);
            }
            let read = sql::with_results(&self.of.job, self.of.stage, self.rest.after, REST);
            let rows = db::rows(&self.app, read).await?;
            match rows.last() {
                None => self.rest.done = true,
                Some(last) => self.rest.after = last.int("idx"),
            }
            let tasks = rows.iter().map(|row| row.count("idx"));
            let visited = &self.visited;
            self.rest.tasks = tasks.filter(|task| !is_visited(visited, *task)).collect();
        }
    }

    /// All results of a task whose output is held.
    fn lines_of(&mut self, task: u32) -> VecDeque<Line> {
        let ids: Vec<String> = match self.held.get(&task) {
            Some(Held::Items(results)) => results.keys().cloned().collect(),
            Some(Held::Chunk(chunk, ..)) => vec![chunk.label.clone().unwrap_or_default()],
            None => Vec::new(),
        };
        let lines = ids.into_iter().filter_map(|id| {
            let (found, _) = self.found(task, &id)?;
            let from = document_of(&id);
            Some(Line {
                from: (from != id).then(|| from.to_owned()),
                input: self.reasons.is_some().then(Map::new),
                flags: self.flags_of(&id, Some(&found)),
                found: Some(found),
                reason: None,
                id,
            })
        });
        lines.collect()
    }
}

/// The map stages that lead to one, with whether each gives its results ids of their own.
fn path(runtime: &JobRuntime, stage: u32) -> Vec<(u32, bool)> {
    let maps = map_stages(runtime);
    maps.iter()
        .filter(|(index, runtime)| *index <= stage && !runtime.stage.amends())
        .map(|(index, runtime)| (*index, outputs::renames(runtime)))
        .collect()
}

/// Why items have no result, as the report says it.
async fn reasons<P: Ports>(
    app: &App<P>,
    loaded: &Loaded,
) -> Result<HashMap<u64, Arc<str>>, AppError> {
    let mut names: HashSet<Arc<str>> = HashSet::new();
    let mut reasons = HashMap::new();
    for missing in coverage::missing(app, loaded).await? {
        let name: Arc<str> = missing.reason.as_str().into();
        let name = match names.get(&name) {
            Some(known) => known.clone(),
            None => {
                names.insert(name.clone());
                name
            }
        };
        reasons.insert(hash(&missing.id), name);
    }
    Ok(reasons)
}

async fn flags<P: Ports>(
    app: &App<P>,
    of: &ResultsOf,
    ids: &[&str],
) -> Result<HashMap<String, Vec<String>>, AppError> {
    let mut stages = vec![of.stage];
    stages.extend(&of.amends);
    let answers = app
        .ports
        .db()
        .batch(vec![sql::flags(&of.job, &stages, ids)])
        .await?;
    let mut flags: HashMap<String, Vec<String>> = HashMap::new();
    for row in answers.iter().flat_map(|answer| &answer.rows) {
        flags
            .entry(row.text("id"))
            .or_default()
            .push(row.text("flag"));
    }
    Ok(flags)
}

/// Marks a task; whether it was not marked before.
fn visit(visited: &mut Vec<u64>, task: u32) -> bool {
    let (word, bit) = (task as usize / 64, 1 << (task % 64));
    if visited.len() <= word {
        visited.resize(word + 1, 0);
    }
    match visited.get_mut(word) {
        Some(bits) if *bits & bit == 0 => {
            *bits |= bit;
            true
        }
        _ => false,
    }
}

fn is_visited(visited: &[u64], task: u32) -> bool {
    visited
        .get(task as usize / 64)
        .is_some_and(|bits| bits & (1 << (task % 64)) != 0)
}
