//! What is wrong with a text that an operator wrote, and where: shared by filters, templates and rewrite rules.

use std::fmt;

/// Characters of a long line that are shown on each side of the place.
const SHOWN: usize = 60;

/// Why a filter, template or rewrite rule could not be read. Its display has the line with a caret below the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Line, from 1.
    pub line: usize,
    /// Column in that line, from 1, in characters.
    pub column: usize,
    /// What is wrong, and the remedy.
    pub text: String,
    /// The line.
    source: String,
}

impl SyntaxError {
    /// An error at an octet of `text`.
    pub(crate) fn new(text: &str, at: usize, why: String) -> Self {
        let at = text.floor_char_boundary(at.min(text.len()));
        let (before, after) = text.split_at(at);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let source = [&before[start..], after.split('\n').next().unwrap_or_default()].concat();
        Self {
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
            text: why,
            source: source.trim_end_matches('\r').into(),
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 1 {
            write!(f, "line {}, ", self.line)?;
        }
        writeln!(f, "column {}: {}", self.column, self.text)?;
        let skipped = self.column.saturating_sub(SHOWN + 1);
        // A tab would move the caret.
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let shown: String = self.source.chars().skip(skipped).take(2 * SHOWN).map(visible).collect();
        writeln!(f, "  {shown}")?;
        write!(f, "  {:>width$}", '^', width = self.column - skipped)
    }
}

impl std::error::Error for SyntaxError {}

/// The known word that is nearest to what was written, if one is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|name| (strsim::jaro_winkler(word, name), name));
    scored.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_the_place() {
        let error = SyntaxError::new("grün or\n\tblau", 10, "no such colour".into());
        assert_eq!((error.line, error.column), (2, 2));
        assert_eq!(error.to_string(), "line 2, column 2: no such colour\n   blau\n   ^");
        let error = SyntaxError::new("grün or", 6, "x".into());
        assert_eq!(error.to_string(), "column 6: x\n  grün or\n       ^");
        assert_eq!(SyntaxError::new("a", 99, String::new()).column, 2);
        assert_eq!(SyntaxError::new("", 0, String::new()).column, 1);
    }

    #[test]
    fn of_a_long_line_a_piece_is_shown() {
        let shown = SyntaxError::new(&"x".repeat(500), 300, "x".into()).to_string();
        assert!(shown.lines().all(|line| line.len() <= 2 * SHOWN + 2), "{shown}");
        assert_eq!(shown.lines().last().unwrap().len(), SHOWN + 3);
    }

    #[test]
    fn near_words() {
        assert_eq!(nearest("facilty", ["level", "facility"]), Some("facility"));
        assert_eq!(nearest("xyzzy", ["level", "facility"]), None);
    }
}
