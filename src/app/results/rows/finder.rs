//! Which task of a stage an item of the input is in.
//!
//! Tasks are read as the input is: expansion makes them about in its order, so that little is held of those ahead. Halves of
//! tasks that were split come last and are read first. Where a stage gave results ids of their own, a later one knows an
//! item by those; then all is read at the beginning.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::app::support::db;
use crate::app::{App, AppError};
use crate::ports::{Ports, Statement};
use crate::store::read::rows as sql;
use crate::store::row::{Columns, Row};

/// Tasks and bytes of ids of one look ahead.
const TASKS: u32 = 2_000;
const BYTES: u64 = 100_000;

/// Finds the task of an item. An id is held as 8 bytes of its hash.
#[derive(Debug)]
pub struct Finder {
    job: String,
    stage: u32,
    after: i64,
    /// All tasks were read.
    done: bool,
    tasks: HashMap<u64, Place>,
}

/// Where an item's result is.
#[derive(Debug, Clone)]
pub struct Place {
    pub task: u32,
    /// The id that the item has there, where an earlier stage gave it another than its own.
    pub renamed: Option<Arc<str>>,
}

/// The hash by which ids are held.
pub fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

fn ids(row: &Row) -> Vec<String> {
    row.json("ids").unwrap_or_default()
}

impl Finder {
    /// For the tasks of `stage`; `renaming` are the stages before it that give their results ids of their own.
    pub async fn new<P: Ports>(
        app: &App<P>,
        job: &str,
        stage: u32,
        renaming: &[u32],
    ) -> Result<Finder, AppError> {
        let mut finder = Finder {
            job: job.to_owned(),
            stage,
            after: -1,
            done: false,
            tasks: HashMap::new(),
        };
        every(app, job, stage, sql::halves, |row| finder.take(row)).await?;
        if !renaming.is_empty() {
            while !finder.done {
                finder.look_ahead(app).await?;
            }
        }
        for stage in renaming.iter().rev() {
            let mut origins = HashMap::new();
            let mut take = |row: &Row| {
                let label = row.maybe_text("label").unwrap_or_default();
                let Some(place) = finder.tasks.get(&hash(&label)) else {
                    return;
                };
                let renamed = place.renamed.clone().unwrap_or_else(|| label.into());
                let place = Place {
                    task: place.task,
                    renamed: Some(renamed),
                };
                origins.extend(ids(row).iter().map(|id| (hash(id), place.clone())));
            };
            every(app, job, *stage, sql::halves, &mut take).await?;
            every(app, job, *stage, sql::made, &mut take).await?;
            finder.tasks = origins;
        }
        Ok(finder)
    }

    /// The task that has the item, or the slice.
    pub async fn find<P: Ports>(
        &mut self,
        app: &App<P>,
        id: &str,
    ) -> Result<Option<Place>, AppError> {
        let key = hash(id);
        loop {
            if let Some(place) = self.tasks.get(&key) {
                return Ok(Some(place.clone()));
            }
            if self.done {
                return Ok(None);
            }
            self.look_ahead(app).await?;
        }
    }

    /// The item was read and does not come again.
    pub fn forget(&mut self, id: &str) {
        self.tasks.remove(&hash(id));
    }

    fn take(&mut self, row: &Row) {
        let task = row.count("idx");
        for id in ids(row) {
            self.tasks.entry(hash(&id)).or_insert(Place {
                task,
                renamed: None,
            });
        }
    }

    async fn look_ahead<P: Ports>(&mut self, app: &App<P>) -> Result<(), AppError> {
        let read = sql::made(&self.job, self.stage, self.after, TASKS, BYTES);
        let rows = db::rows(app, read).await?;
        match rows.last() {
            None => self.done = true,
            Some(last) => self.after = last.int("idx"),
        }
        rows.iter().for_each(|row| self.take(row));
        Ok(())
    }
}

async fn every<P: Ports>(
    app: &App<P>,
    job: &str,
    stage: u32,
    read: fn(&str, u32, i64, u32, u64) -> Statement,
    mut take: impl FnMut(&Row),
) -> Result<(), AppError> {
    let mut after = -1;
    loop {
        let rows = db::rows(app, read(job, stage, after, TASKS, BYTES)).await?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = last.int("idx");
        rows.iter().for_each(&mut take);
    }
}
