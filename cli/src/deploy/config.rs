//! `wrangler.toml` as deploying reads and completes it: names, ids, variables. Its comments stay.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use toml_edit::{DocumentMut, Item};

/// `wrangler.toml`, with its comments.
pub struct Config {
    pub path: PathBuf,
    before: String,
    pub document: DocumentMut,
}

impl Config {
    pub fn read(dir: &Path) -> Result<Config> {
        let path = dir.join("wrangler.toml");
        let before = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "{} cannot be read: run this in a checkout of Fanwise, or say --dir",
                path.display()
            )
        })?;
        let document = before
            .parse()
            .with_context(|| format!("{} is no TOML", path.display()))?;
        Ok(Config {
            path,
            before,
            document,
        })
    }

    pub fn worker(&self) -> Result<String> {
        let name = self.document.get("name").and_then(Item::as_str);
        name.map(str::to_owned)
            .ok_or_else(|| anyhow!("{} has no `name`", self.path.display()))
    }

    /// A field of the first entry of a list of tables.
    pub fn text(&self, list: &str, key: &str) -> Result<String> {
        let entry = self
            .document
            .get(list)
            .and_then(Item::as_array_of_tables)
            .and_then(|list| list.get(0));
        entry
            .and_then(|entry| entry.get(key)?.as_str())
            .map(str::to_owned)
            .ok_or_else(|| anyhow!("{} has no `{key}` in [[{list}]]", self.path.display()))
    }

    pub fn set(&mut self, list: &str, key: &str, value: Option<String>) {
        let entry = self
            .document
            .get_mut(list)
            .and_then(Item::as_array_of_tables_mut)
            .and_then(|list| list.get_mut(0));
        if let (Some(entry), Some(value)) = (entry, value)
            && entry.get(key).and_then(Item::as_str) != Some(value.as_str())
        {
            entry.insert(key, toml_edit::value(value));
        }
    }

    /// Sets where the Worker runs. False where the file says so already.
    pub fn place(&mut self, region: &str) -> bool {
        let placement = self.document.entry("placement").or_insert_with(|| {
            let mut table = toml_edit::Table::new();
            table.decor_mut().set_prefix("\n");
            Item::Table(table)
        });
        let Some(table) = placement.as_table_like_mut() else {
            return false;
        };
        if table.get("region").and_then(Item::as_str) == Some(region) {
            return false;
        }
        // A mode of another kind of placement does not go with a region.
        table.remove("mode");
        table.insert("region", toml_edit::value(region));
        true
    }

    /// All that are named, those for dead letters too.
    pub fn queues(&self) -> BTreeSet<String> {
        let queues = self.document.get("queues");
        let tables = ["producers", "consumers"]
            .into_iter()
            .filter_map(|kind| queues.and_then(|queues| queues.get(kind)?.as_array_of_tables()));
        let names = tables.flat_map(|list| list.iter()).flat_map(|table| {
            ["queue", "dead_letter_queue"]
                .into_iter()
                .filter_map(|key| table.get(key)?.as_str())
        });
        names.map(str::to_owned).collect()
    }

    /// A variable of the Worker; nothing where it is empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let value = self.document.get("vars")?.get(name)?.as_str()?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    /// `toml_edit` makes what is missing.
    #[allow(clippy::indexing_slicing)]
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.document["vars"][name] = toml_edit::value(value);
    }

    pub fn is_complete(&self) -> bool {
        self.text("d1_databases", "database_id").is_ok() && self.text("kv_namespaces", "id").is_ok()
    }

    pub fn changed(&self) -> bool {
        self.document.to_string() != self.before
    }

    pub fn write(&mut self) -> Result<()> {
        let text = self.document.to_string();
        std::fs::write(&self.path, &text)
            .with_context(|| format!("could not write {}", self.path.display()))?;
        self.before = text;
        Ok(())
    }
}
