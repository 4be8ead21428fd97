//! Entries to records: directives, owners, TTLs, classes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{FAULTS_MAX, Fault, INCLUDE_DEPTH_MAX, INCLUDE_OCTETS_MAX, INCLUDES_MAX, generate};
use crate::{
    name::Name,
    rr::{Rdata, Rr, rtype},
    text::{
        encode, excerpt,
        lexer::{Lexer, Token},
        parse_name, seconds, type_name, type_number,
    },
    zone::Soa,
};

/// A record and where it stands.
pub(super) struct Line {
    pub rr: Rr,
    /// Index into the names of files.
    pub file: u32,
    pub line: u32,
}

/// What is gathered while files are read.
pub(super) struct Reader<'a> {
    pub lines: Vec<Line>,
    pub faults: Vec<Fault>,
    pub files: Vec<Arc<str>>,
    pub generated: u64,
    pub generated_octets: usize,
    include_dir: Option<&'a Path>,
    include_octets: u64,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
}

/// What holds within one file.
pub(super) struct Place {
    pub file: u32,
    pub line: u32,
    pub origin: Option<Name>,
    owner: Option<Name>,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(include_dir: Option<&'a Path>) -> Self {
        Self {
            lines: Vec::new(),
            faults: Vec::new(),
            files: Vec::new(),
            generated: 0,
            generated_octets: 0,
            include_dir,
            include_octets: 0,
            default_ttl: None,
            last_ttl: None,
        }
    }

    /// Reads one file and what it includes.
    pub(super) fn file(&mut self, text: &str, name: &str, origin: Option<Name>, depth: usize) {
        let file = self.files.len() as u32;
        self.files.push(name.into());
        let mut place = Place { file, line: 0, origin, owner: None, depth };
        let (mut lexer, mut tokens) = (Lexer::new(text), Vec::new());
        while self.faults.len() < FAULTS_MAX {
            let outcome = match lexer.next_entry(&mut tokens) {
                Ok(None) => return,
                Ok(Some(entry)) => {
                    place.line = entry.line;
                    self.entry(&mut place, entry.blank, &tokens)
                }
                Err(fault) => {
                    place.line = fault.line;
                    Err(fault.text.to_owned())
                }
            };
            if let Err(text) = outcome {
                self.faults.push(Fault { file: self.files[file as usize].clone(), line: place.line, text });
            }
        }
    }

    fn entry(&mut self, place: &mut Place, blank: bool, tokens: &[Token<'_>]) -> Result<(), String> {
        match tokens {
            [first, rest @ ..] if !blank && !first.quoted && first.text.starts_with('$') => {
                self.directive(place, first.text, rest)
            }
            [first, rest @ ..] if !blank => {
                place.owner = Some(name(place, first.text)?);
                self.record(place, rest)
            }
            _ => self.record(place, tokens),
        }
    }

    fn directive(&mut self, place: &mut Place, directive: &str, tokens: &[Token<'_>]) -> Result<(), String> {
        let known: &[(&str, std::ops::RangeInclusive<usize>, &str)] = &[
            ("$ORIGIN", 1..=1, "NAME"),
            ("$TTL", 1..=1, "SECONDS"),
            ("$INCLUDE", 1..=2, "FILE [ORIGIN]"),
            ("$GENERATE", 4..=6, "START-STOP[/STEP] OWNER [TTL] [CLASS] TYPE DATA"),
        ];
        let Some((keyword, count, form)) = known.iter().find(|known| known.0.eq_ignore_ascii_case(directive)) else {
            return Err(format!("{directive} is no directive that is known here ($ORIGIN, $TTL, $INCLUDE, $GENERATE)"));
        };
        if !count.contains(&tokens.len()) && (*keyword != "$GENERATE" || tokens.len() < *count.start()) {
            return Err(format!("{keyword} is written `{keyword} {form}` but {} words follow it", tokens.len()));
        }
        match *keyword {
            "$ORIGIN" => place.origin = Some(name(place, tokens[0].text)?),
            "$TTL" => self.default_ttl = Some(ttl(tokens[0].text)?),
            "$INCLUDE" => return self.include(place, tokens[0].text, tokens.get(1).map(|token| token.text)),
            _ => return generate::generate(self, place, tokens),
        }
        Ok(())
    }

    fn include(&mut self, place: &Place, file: &str, origin: Option<&str>) -> Result<(), String> {
        let Some(folder) = self.include_dir else {
            return Err(format!("$INCLUDE {file} is refused: this input has no folder to include files from"));
        };
        if place.depth + 1 >= INCLUDE_DEPTH_MAX || self.files.len() > INCLUDES_MAX {
            return Err(format!(
                "$INCLUDE {file} is refused: at most {INCLUDE_DEPTH_MAX} files deep and {INCLUDES_MAX} in all"
            ));
        }
        let origin = origin.map(|text| name(place, text)).transpose()?.or_else(|| place.origin.clone());
        let path = within(folder, file)?;
        let octets = std::fs::metadata(&path).map_err(|e| format!("$INCLUDE {file} cannot be read: {e}"))?.len();
        self.include_octets += octets;
        if self.include_octets > INCLUDE_OCTETS_MAX {
            return Err(format!(
                "$INCLUDE {file} is refused: included files hold more than {INCLUDE_OCTETS_MAX} octets"
            ));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| format!("$INCLUDE {file} cannot be read: {e}"))?;
        self.file(&text, &path.display().to_string(), origin, place.depth + 1);
        Ok(())
    }

    /// `[TTL] [class] type data` or `[class] [TTL] type data`.
    fn record(&mut self, place: &Place, tokens: &[Token<'_>]) -> Result<(), String> {
        let Some(owner) = &place.owner else {
            return Err("a line begins with white space, but no owner stands before it".into());
        };
        let owner = owner.clone();
        let (rr, explicit) = self.fields(place, owner, tokens)?;
        if explicit {
            self.last_ttl = Some(rr.ttl);
        }
        self.push(place, rr);
        Ok(())
    }

    pub(super) fn push(&mut self, place: &Place, rr: Rr) {
        self.lines.push(Line { rr, file: place.file, line: place.line });
    }

    /// Reads what follows the owner; also says whether a TTL was written.
    pub(super) fn fields(
        &mut self,
        place: &Place,
        owner: Name,
        mut tokens: &[Token<'_>],
    ) -> Result<(Rr, bool), String> {
        let (mut explicit, mut class) = (None, None);
        let rtype = loop {
            let Some((word, rest)) = tokens.split_first() else {
                return Err(format!("{owner} has no type"));
            };
            tokens = rest;
            if explicit.is_none() && word.text.starts_with(|c: char| c.is_ascii_digit()) {
                explicit = Some(ttl(word.text)?);
            } else if class.is_none() && is_class(word.text) {
                class = Some(word.text);
            } else {
                break type_number(word.text)
                    .ok_or_else(|| format!("{owner} has {:?} where a type is expected", excerpt(word.text)))?;
            }
        };
        if let Some(other) = class.filter(|c| !c.eq_ignore_ascii_case("IN") && !c.eq_ignore_ascii_case("CLASS1")) {
            return Err(format!("{owner} is of class {other}, but only class IN is served"));
        }
        if matches!(rtype, 0 | 41 | 128..=255) {
            return Err(format!("{} is no type of data that a zone can hold", type_name(rtype)));
        }
        let rdata = data(place, rtype, tokens).map_err(|e| format!("{owner}: {e}"))?;
        let ttl = self.ttl_of(rtype, explicit, &rdata).ok_or_else(|| {
            format!("{owner} {} has no TTL, and neither $TTL nor a record before it gives one", type_name(rtype))
        })?;
        Ok((Rr { owner, rtype, ttl, rdata }, explicit.is_some()))
    }

    /// The TTL as written, else `$TTL` (RFC 2308 section 4), else the last one written (RFC 1035), else the SOA minimum.
    fn ttl_of(&mut self, rtype: u16, explicit: Option<u32>, rdata: &[u8]) -> Option<u32> {
        let minimum = || Soa::from_rdata(0, rdata).filter(|_| rtype == rtype::SOA).map(|soa| soa.minimum);
        let ttl = explicit.or(self.default_ttl).or(self.last_ttl).or_else(minimum)?;
        if rtype == rtype::SOA && self.last_ttl.is_none() {
            self.last_ttl = Some(explicit.or_else(minimum)?);
        }
        Some(ttl)
    }
}

/// A name at `place`; relative ones need an origin.
pub(super) fn name(place: &Place, text: &str) -> Result<Name, String> {
    match &place.origin {
        Some(origin) => parse_name(text, origin).map_err(|e| e.to_string()),
        None if text.ends_with('.') => parse_name(text, &Name::root()).map_err(|e| e.to_string()),
        None => Err(format!("{:?} is relative, but no origin is known: write $ORIGIN before it", excerpt(text))),
    }
}

/// Data of a record; without an origin, as in the output of `dig`, every name in it must be absolute.
fn data(place: &Place, rtype: u16, tokens: &[Token<'_>]) -> Result<Rdata, String> {
    let Some(origin) = &place.origin else {
        let wire = encode(rtype, tokens, &Name::root()).map_err(|e| e.to_string())?;
        // A relative name comes out differently under another origin.
        return match encode(rtype, tokens, &Name::from_wire(b"\x07invalid\x00")) {
            Ok(other) if other == wire => Ok(wire),
            _ => Err("a name in the data is relative, but no origin is known: write $ORIGIN before it".into()),
        };
    };
    encode(rtype, tokens, origin).map_err(|e| e.to_string())
}

fn ttl(text: &str) -> Result<u32, String> {
    // RFC 2181 section 8: 31 bits.
    seconds(text)
        .filter(|ttl| *ttl <= i32::MAX as u32)
        .ok_or_else(|| format!("{:?} is no TTL: write seconds up to 2147483647, or 1h30m", excerpt(text)))
}

fn is_class(text: &str) -> bool {
    ["IN", "CH", "HS", "CS", "NONE", "ANY"].iter().any(|class| class.eq_ignore_ascii_case(text))
        || text
            .split_at_checked(5)
            .is_some_and(|(prefix, digits)| prefix.eq_ignore_ascii_case("CLASS") && digits.parse::<u16>().is_ok())
}

/// The file below `folder`; links that lead out of it are followed and refused.
fn within(folder: &Path, file: &str) -> Result<PathBuf, String> {
    let real = |path: &Path| path.canonicalize().map_err(|e| format!("$INCLUDE {file} cannot be read: {e}"));
    let (folder, path) = (real(folder)?, real(&folder.join(file))?);
    if path.starts_with(&folder) && path.is_file() {
        Ok(path)
    } else {
        Err(format!("$INCLUDE {file} is refused: it is no file below {}", folder.display()))
    }
}
