//! Markdown as the generators write it: paragraphs of at most [`WIDTH`] characters, and tables.

/// The longest line of a document; tables are exempt, because a row cannot be broken.
pub const WIDTH: usize = 120;

/// A paragraph, broken at spaces.
pub fn paragraph(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines.last().is_some_and(|line| {
            !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH
        });
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}

/// A table with one row for each entry. Bars inside cells are escaped, line breaks become spaces.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = row(head.iter().map(|cell| (*cell).to_owned()).collect());
    text.push_str(&format!("|{}\n", "---|".repeat(head.len())));
    for cells in rows {
        text.push_str(&row(cells.iter().map(|cell| in_cell(cell)).collect()));
    }
    text
}

/// Text that may stand between two bars.
pub fn in_cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

/// The first line of a generated page: who wrote it, and how to write it again.
pub fn generated(from: &str) -> String {
    format!("<!-- Generated from {from} by `cargo xtask docs`. Do not edit. -->\n\n")
}

/// A heading's anchor, as GitHub makes it.
pub fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => c.to_lowercase().next(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_broken_at_spaces() {
        let text = paragraph(&"word ".repeat(60));
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert_eq!(text.split_whitespace().count(), 60);
    }

    #[test]
    fn cells_hold_no_bars_and_no_line_breaks() {
        assert_eq!(
            table(&["a"], &[vec!["x | y\nz".to_owned()]]),
            "| a |\n|---|\n| x \\| y z |\n"
        );
    }

    #[test]
    fn anchors_are_those_of_github() {
        assert_eq!(anchor("When not to use it"), "when-not-to-use-it");
        assert_eq!(anchor("`GET /v1/jobs/{id}`"), "get-v1jobsid");
    }
}
