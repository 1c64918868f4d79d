//! Which documents there are, in reading order, and what stands in them: headings, links, code blocks.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::markdown::anchor;
use crate::root;

/// A group of pages, as the index and the site list them.
pub struct Group {
    pub title: &'static str,
    pub pages: &'static [&'static str],
}

/// All documents that the site shows, in reading order. A file under `docs/` that is not here is a fault.
pub const GROUPS: [Group; 5] = [
    Group {
        title: "Guide",
        pages: &[
            "docs/guide/first-job.md",
            "docs/guide/inputs.md",
            "docs/guide/stages.md",
            "docs/guide/follow-ups.md",
            "docs/guide/checks.md",
            "docs/guide/cascades.md",
            "docs/guide/plans.md",
            "docs/guide/batches.md",
            "docs/guide/schedules.md",
            "docs/guide/webhooks.md",
            "docs/guide/agents.md",
            "docs/guide/command-line.md",
            "docs/guide/page.md",
        ],
    },
    Group {
        title: "Reference",
        pages: &[
            "docs/reference/http-api.md",
            "docs/reference/command-line.md",
            "docs/reference/stage-fields.md",
            "docs/reference/errors.md",
            "docs/reference/coverage-reasons.md",
            "docs/reference/models.md",
            "docs/reference/configuration.md",
        ],
    },
    Group {
        title: "Operate",
        pages: &[
            "docs/operate/deploy.md",
            "docs/operate/upgrade.md",
            "docs/operate/limits.md",
            "docs/operate/gateways.md",
            "docs/operate/tokens.md",
            "docs/operate/cost.md",
            "docs/operate/tracing.md",
            "docs/operate/what-to-do-when.md",
        ],
    },
    Group {
        title: "Internals",
        pages: &[
            "ARCHITECTURE.md",
            "docs/internals/admission.md",
            "docs/internals/cache.md",
            "docs/internals/ledger.md",
            "docs/internals/errors.md",
            "docs/internals/replay.md",
            "docs/internals/data-model.md",
            "docs/internals/stages.md",
            "docs/internals/prompts.md",
            "docs/internals/dependencies.md",
            "docs/decisions/README.md",
        ],
    },
    Group {
        title: "Project",
        pages: &[
            "README.md",
            "docs/README.md",
            "BENCHMARKS.md",
            "SECURITY.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
        ],
    },
];

/// One document.
pub struct Page {
    /// From the project's folder on.
    pub path: PathBuf,
    pub text: String,
}

/// A code block of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The line of its first word, from 1.
    pub line: usize,
    /// `sh`, `json`, …
    pub language: String,
    /// The other words after the language.
    pub words: Vec<String>,
    pub text: String,
    /// From the comment `<!-- not run: REASON -->` before it.
    pub not_run: Option<String>,
}

impl Page {
    pub fn read(path: &str) -> Result<Page> {
        let text = std::fs::read_to_string(root::dir().join(path))
            .with_context(|| format!("could not read {path}"))?;
        Ok(Page {
            path: PathBuf::from(path),
            text,
        })
    }

    /// The first heading.
    pub fn title(&self) -> String {
        self.headings()
            .into_iter()
            .next()
            .map_or_else(|| self.path.display().to_string(), |(_, text)| text)
    }

    /// Level and text of each heading.
    pub fn headings(&self) -> Vec<(HeadingLevel, String)> {
        let mut headings = Vec::new();
        let mut open: Option<(HeadingLevel, String)> = None;
        for event in parser(&self.text) {
            match event {
                Event::Start(Tag::Heading { level, .. }) => open = Some((level, String::new())),
                Event::End(TagEnd::Heading(_)) => headings.extend(open.take()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some((_, heading)) = &mut open {
                        heading.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        headings
    }

    /// The anchors of its headings; a second heading of the same text gets a number, as on GitHub.
    pub fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        for (_, text) in self.headings() {
            let base = anchor(&text);
            let twins = anchors
                .iter()
                .filter(|known| {
                    **known == base
                        || known
                            .rsplit_once('-')
                            .is_some_and(|(stem, n)| stem == base && n.parse::<u32>().is_ok())
                })
                .count();
            anchors.push(if twins == 0 {
                base
            } else {
                format!("{base}-{twins}")
            });
        }
        anchors
    }

    /// Where its links and pictures lead.
    pub fn links(&self) -> Vec<String> {
        parser(&self.text)
            .filter_map(|event| match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    Some(dest_url.into_string())
                }
                _ => None,
            })
            .collect()
    }

    pub fn fences(&self) -> Vec<Fence> {
        let mut fences = Vec::new();
        let mut open: Option<Fence> = None;
        let mut not_run = None;
        for (event, range) in parser(&self.text).into_offset_iter() {
            match event {
                Event::Html(text) | Event::InlineHtml(text) => {
                    not_run = text
                        .trim()
                        .strip_prefix("<!-- not run:")
                        .and_then(|rest| rest.strip_suffix("-->"))
                        .map(|reason| reason.trim().to_owned())
                        .or(not_run);
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match kind {
                        CodeBlockKind::Fenced(info) => info.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    let mut words = info.split_whitespace().map(str::to_owned);
                    open = Some(Fence {
                        line: self.text.get(..range.start).unwrap_or("").lines().count() + 1,
                        language: words.next().unwrap_or_default(),
                        words: words.collect(),
                        text: String::new(),
                        not_run: not_run.take(),
                    });
                }
                Event::Text(text) => {
                    if let Some(fence) = &mut open {
                        fence.text.push_str(&text);
                    }
                }
                Event::End(TagEnd::CodeBlock) => fences.extend(open.take()),
                Event::Start(Tag::Paragraph | Tag::Heading { .. }) => not_run = None,
                _ => {}
            }
        }
        fences
    }
}

pub fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES)
}

/// Every document that the site shows.
pub fn all() -> Result<Vec<Page>> {
    GROUPS
        .iter()
        .flat_map(|group| group.pages)
        .map(|path| Page::read(path))
        .chain(decisions()?.into_iter().map(|path| Page::read(&path)))
        .collect()
}

/// The decision records, by number.
pub fn decisions() -> Result<Vec<String>> {
    let folder = root::dir().join("docs/decisions");
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder)
        .with_context(|| format!("could not read {}", folder.display()))?
    {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") && name != "README.md" {
            paths.push(format!("docs/decisions/{name}"));
        }
    }
    paths.sort();
    Ok(paths)
}

/// Links to files and headings that are not there, and documents that no list names.
pub fn broken_links() -> Result<Vec<String>> {
    let pages = all()?;
    let mut faults = Vec::new();
    for page in &pages {
        for link in page.links() {
            if let Some(fault) = broken(page, &link, &pages) {
                faults.push(format!("{}: {fault}", page.path.display()));
            }
        }
    }
    let known = |path: &Path| pages.iter().any(|page| page.path == path);
    for folder in [
        "docs/guide",
        "docs/reference",
        "docs/operate",
        "docs/internals",
    ] {
        for entry in std::fs::read_dir(root::dir().join(folder))? {
            let path = Path::new(folder).join(entry?.file_name());
            if !known(&path) {
                faults.push(format!("{}: not in docs::pages::GROUPS", path.display()));
            }
        }
    }
    Ok(faults)
}

fn broken(page: &Page, link: &str, pages: &[Page]) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    if file.is_empty() {
        let there = page.anchors().iter().any(|anchor| anchor == heading);
        return (!there).then(|| format!("`{link}` leads to no heading"));
    }
    let target = normal(&page.path.parent().unwrap_or(Path::new("")).join(file));
    if !root::dir().join(&target).exists() {
        return Some(format!("`{link}` leads to no file"));
    }
    if heading.is_empty() {
        return None;
    }
    let there = match pages.iter().find(|other| other.path == target) {
        Some(other) => other.anchors().iter().any(|anchor| anchor == heading),
        None => true,
    };
    (!there).then(|| format!("`{link}` leads to no heading"))
}

/// Without `..` and `.`.
pub fn normal(path: &Path) -> PathBuf {
    let mut parts: Vec<std::path::Component<'_>> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                parts.pop();
            }
            std::path::Component::CurDir => {}
            other => parts.push(other),
        }
    }
    parts.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page {
            path: "docs/guide/a.md".into(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_code_block_has_its_line_its_words_and_its_reason_not_to_run() {
        let page = page(
            "# T\n\n<!-- not run: needs an account -->\n```sh exit=3\na\nb\n```\n\n```sh\nc\n```\n",
        );
        let fences = page.fences();
        assert_eq!(fences.len(), 2);
        let first = fences.first().cloned();
        assert_eq!(
            first,
            Some(Fence {
                line: 4,
                language: "sh".into(),
                words: vec!["exit=3".into()],
                text: "a\nb\n".into(),
                not_run: Some("needs an account".into()),
            })
        );
        assert_eq!(fences.get(1).and_then(|fence| fence.not_run.clone()), None);
    }

    #[test]
    fn a_link_to_a_heading_that_is_not_there_is_broken() {
        let page = page("# One\n\n## Two words\n\n[a](#two-words) [b](#three) [c](gone.md)\n");
        let faults: Vec<String> = page
            .links()
            .iter()
            .filter_map(|link| broken(&page, link, &[]))
            .collect();
        assert_eq!(
            faults,
            ["`#three` leads to no heading", "`gone.md` leads to no file"]
        );
        assert_eq!(page.anchors(), ["one", "two-words"]);
    }
}
