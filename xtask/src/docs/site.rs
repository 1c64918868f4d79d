//! The documents as HTML, into `public/docs/`, which the Worker serves as files at `/docs`.
//!
//! Pages are plain: one style sheet, one script for the search, no build of their own. The page's Content-Security-Policy
//! holds for them too. Links between documents become addresses; links to sources lead to the repository.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use pulldown_cmark::{CowStr, Event, HeadingLevel, Tag, TagEnd, html};
use serde_json::json;

use super::pages::{GROUPS, Page, all, decisions, normal, parser};
use crate::root;

/// Where sources can be read.
const REPOSITORY: &str = "https://github.com/fanwise/fanwise/blob/main";

const TEMPLATE: &str = include_str!("site/page.html");
const STYLE: &str = include_str!("site/docs.css");
const SCRIPT: &str = include_str!("site/docs.js");

/// Writes all of it. Files that did not change are left alone, so that a running `wrangler dev` does not reload.
pub fn write() -> Result<()> {
    let folder = root::dir().join("public/docs");
    let pages = all()?;
    let mut search = Vec::new();
    for page in &pages {
        let file = folder.join(file_of(&page.path));
        put(&file, html_of(page, &pages).as_bytes())?;
        search.extend(entries(page));
    }
    put(&folder.join("docs.css"), STYLE.as_bytes())?;
    put(&folder.join("docs.js"), SCRIPT.as_bytes())?;
    put(
        &folder.join("search.json"),
        serde_json::to_string(&search)?.as_bytes(),
    )?;
    let pictures = root::dir().join("docs/pictures");
    for entry in std::fs::read_dir(&pictures)
        .with_context(|| format!("could not read {}", pictures.display()))?
    {
        let entry = entry?;
        let bytes = std::fs::read(entry.path())?;
        put(&folder.join("pictures").join(entry.file_name()), &bytes)?;
    }
    Ok(())
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not make {}", folder.display()))?;
    }
    std::fs::write(path, bytes).with_context(|| format!("could not write {}", path.display()))
}

/// The address of a document, from `/docs/` on and without `.html`: `guide/inputs`, `architecture`, `` for the index.
fn address(path: &Path) -> String {
    let text = path.with_extension("").to_string_lossy().into_owned();
    match text.as_str() {
        "docs/README" => String::new(),
        "README" => "overview".to_owned(),
        "docs/decisions/README" => "decisions".to_owned(),
        other => match other.strip_prefix("docs/") {
            Some(inner) => inner.to_owned(),
            None => other.to_lowercase(),
        },
    }
}

fn file_of(path: &Path) -> PathBuf {
    match address(path).as_str() {
        "" => PathBuf::from("index.html"),
        "decisions" => PathBuf::from("decisions/index.html"),
        other => PathBuf::from(format!("{other}.html")),
    }
}

fn html_of(page: &Page, pages: &[Page]) -> String {
    let title = page.title();
    TEMPLATE
        .replace("{title}", &escape(&title))
        .replace("{navigation}", &navigation(page))
        .replace("{body}", &body(page, pages))
}

fn navigation(current: &Page) -> String {
    let mut text = String::new();
    let mut decisions = decisions().unwrap_or_default();
    for group in &GROUPS {
        text.push_str(&format!("<h2>{}</h2>\n<ul>\n", group.title));
        let mut paths: Vec<String> = group.pages.iter().map(|path| (*path).to_owned()).collect();
        if group.title == "Internals" && current.path.starts_with("docs/decisions") {
            paths.append(&mut decisions);
        }
        for path in paths {
            let Ok(page) = Page::read(&path) else {
                continue;
            };
            let here = if page.path == current.path {
                " aria-current=\"page\""
            } else {
                ""
            };
            text.push_str(&format!(
                "<li><a href=\"/docs/{}\"{here}>{}</a></li>\n",
                address(&page.path),
                escape(&page.title())
            ));
        }
        text.push_str("</ul>\n");
    }
    text
}

fn body(page: &Page, pages: &[Page]) -> String {
    let mut anchors = page.anchors().into_iter();
    let mut events: Vec<Event<'_>> = Vec::new();
    for event in parser(&page.text) {
        let event = match event {
            Event::Start(Tag::Heading {
                level,
                classes,
                attrs,
                ..
            }) => Event::Start(Tag::Heading {
                level,
                id: anchors.next().map(CowStr::from),
                classes,
                attrs,
            }),
            Event::Start(Tag::Link {
                link_type,
                dest_url,
                title,
                id,
            }) => Event::Start(Tag::Link {
                link_type,
                dest_url: target(page, &dest_url, pages).into(),
                title,
                id,
            }),
            Event::Start(Tag::Image {
                link_type,
                dest_url,
                title,
                id,
            }) => Event::Start(Tag::Image {
                link_type,
                dest_url: target(page, &dest_url, pages).into(),
                title,
                id,
            }),
            // A wide table scrolls by itself, not the page.
            Event::Start(Tag::Table(columns)) => {
                events.push(Event::Html(
                    "<div class=\"table\" role=\"region\" aria-label=\"Table\" tabindex=\"0\">"
                        .into(),
                ));
                Event::Start(Tag::Table(columns))
            }
            Event::End(TagEnd::Table) => {
                events.push(Event::End(TagEnd::Table));
                Event::Html("</div>".into())
            }
            // Comments say how a block is made or tested.
            Event::Html(text) if text.trim_start().starts_with("<!--") => continue,
            other => other,
        };
        events.push(event);
    }
    let mut text = String::new();
    html::push_html(&mut text, events.into_iter());
    text.replace("<pre>", "<pre tabindex=\"0\">")
}

/// Where a link leads on the site.
fn target(page: &Page, link: &str, pages: &[Page]) -> String {
    if link.contains("://") || link.starts_with('#') || link.starts_with("mailto:") {
        return link.to_owned();
    }
    let (file, heading) = link.split_once('#').map_or((link, ""), |(f, h)| (f, h));
    let path = normal(&page.path.parent().unwrap_or(Path::new("")).join(file));
    let hash = if heading.is_empty() {
        String::new()
    } else {
        format!("#{heading}")
    };
    if let Ok(picture) = path.strip_prefix("docs/pictures") {
        return format!("/docs/pictures/{}", picture.display());
    }
    if pages.iter().any(|other| other.path == path) {
        return format!("/docs/{}{hash}", address(&path));
    }
    format!("{REPOSITORY}/{}{hash}", path.display())
}

/// A page's headings, for the search.
fn entries(page: &Page) -> Vec<serde_json::Value> {
    let title = page.title();
    page.headings()
        .into_iter()
        .zip(page.anchors())
        .filter(|((level, _), _)| *level <= HeadingLevel::H3)
        .map(|((level, text), id)| {
            let base = format!("/docs/{}", address(&page.path));
            let url = if level == HeadingLevel::H1 {
                base
            } else {
                format!("{base}#{id}")
            };
            json!({"heading": text, "page": title, "url": url})
        })
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_short_and_files_are_where_they_lead() {
        let of = |path: &str| (address(Path::new(path)), file_of(Path::new(path)));
        assert_eq!(
            of("docs/guide/inputs.md"),
            ("guide/inputs".into(), "guide/inputs.html".into())
        );
        assert_eq!(of("docs/README.md"), (String::new(), "index.html".into()));
        assert_eq!(
            of("ARCHITECTURE.md"),
            ("architecture".into(), "architecture.html".into())
        );
    }

    #[test]
    fn links_lead_to_pages_pictures_or_the_repository() {
        let page = Page {
            path: "docs/guide/a.md".into(),
            text: String::new(),
        };
        let other = Page {
            path: "docs/operate/cost.md".into(),
            text: String::new(),
        };
        let to = |link: &str| target(&page, link, std::slice::from_ref(&other));
        assert_eq!(to("../operate/cost.md#caps"), "/docs/operate/cost#caps");
        assert_eq!(to("../pictures/x.png"), "/docs/pictures/x.png");
        assert_eq!(
            to("../../src/claude/models.json"),
            format!("{REPOSITORY}/src/claude/models.json")
        );
        assert_eq!(to("https://example.com"), "https://example.com");
    }

    #[test]
    fn every_document_becomes_a_page_of_its_own() {
        let pages = all().unwrap();
        let mut files = std::collections::BTreeSet::new();
        for page in &pages {
            let html = html_of(page, &pages);
            assert_eq!(html.matches("<h1").count(), 1, "{}", page.path.display());
            assert!(
                html.contains("aria-current=\"page\""),
                "{}",
                page.path.display()
            );
            assert!(
                !html.contains(".md\"") || html.contains(REPOSITORY),
                "{}",
                page.path.display()
            );
            assert!(files.insert(file_of(&page.path)), "{}", page.path.display());
        }
    }

    #[test]
    fn headings_get_anchors_and_comments_go() {
        let page = Page {
            path: "docs/guide/a.md".into(),
            text: "<!-- not run: x -->\n\n# A b\n".into(),
        };
        assert_eq!(body(&page, &[]), "<h1 id=\"a-b\">A b</h1>\n");
    }
}
