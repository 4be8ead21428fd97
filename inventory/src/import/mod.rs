//! Imports: hosts (and, in TOML and JSON, roles, records and grants) that a person hands over once.
//!
//! Every format becomes the same tree of fields as an inventory file and is checked in the same way.
//! Rows get the source `import:<format>`; an import with any fault gives no rows at all. The text is
//! in memory already; its size is checked against [`TEXT_OCTETS_MAX`].

mod csv_text;
mod ec2;
mod json;

use std::{str::FromStr, sync::Arc};

use compact_str::format_compact;

use crate::{
    change::Row,
    source::{Defaults, Fault, Faults, Lines, Page, conflicts, quoted, read_toml},
};

/// Most octets of one import. Callers read at most one more than this.
pub const TEXT_OCTETS_MAX: usize = 1 << 30;

/// A format that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As an inventory file.
    Toml,
    /// An array of objects with the keys of `[[host]]`, or `{"hosts": [], "records": [], "roles": [], "grants": []}`.
    Json,
    /// A header line with the keys of `[[host]]`; lists by spaces or semicolons, tags as `k=v;k=v`.
    Csv,
    /// The output of `aws ec2 describe-instances`.
    Ec2,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Toml, Self::Json, Self::Csv, Self::Ec2];

    /// The word on the command line, and after `import:` in the source of rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Toml => "toml",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Ec2 => "ec2",
        }
    }
}

/// A word that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no import format; known: toml, json, csv, ec2", quoted(.0))]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

/// Reads an import; `file` is its name in faults. Rows get the source `import:<format>`.
///
/// # Errors
/// All faults by line, up to [`crate::source::FAULTS_MAX`].
pub fn parse(format: Format, text: &str, file: &str, defaults: &Defaults) -> Result<Vec<Row>, Vec<Fault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut rows, mut faults) = (Vec::new(), Faults::default());
    let mut page = Page {
        file: Arc::from(file),
        source: format_compact!("import:{}", format.as_str()),
        defaults,
        lines: Lines::Plain,
        rows: &mut rows,
        faults: &mut faults,
    };
    if text.len() > TEXT_OCTETS_MAX {
        page.fault(0, "", format!("{} octets are too many, an import holds {TEXT_OCTETS_MAX}; split it", text.len()));
    } else if format != Format::Ec2 && is_blank(format, text) {
        // An upload that was cut off before its first octet must not look like "there are no hosts any more".
        page.fault(
            0,
            "",
            "this is empty; an import that is to bring nothing says so, as [] in JSON or host = [] in TOML",
        );
    } else {
        match format {
            Format::Toml => {
                page.lines = Lines::of(text);
                read_toml(page, text);
            }
            Format::Json => json::read_json(page, text),
            Format::Csv => csv_text::read_csv(page, text),
            Format::Ec2 => ec2::read_ec2(page, text),
        }
    }
    if format == Format::Ec2 {
        ec2::drop_replaced(&mut rows);
    }
    conflicts(&rows, &mut faults);
    if !faults.is_empty() {
        return Err(faults.into_sorted());
    }
    Ok(rows.into_iter().map(|located| located.row).collect())
}

/// Whether nothing at all is written here: only white space, and comments where the format has them.
fn is_blank(format: Format, text: &str) -> bool {
    let comments = format == Format::Toml;
    text.lines().map(str::trim).all(|line| line.is_empty() || (comments && line.starts_with('#')))
}

/// The parts of a list that people write with spaces, semicolons or commas.
fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, ';' | ',')).filter(|part| !part.is_empty())
}
