//! The lines that begin with `@`: other files, names for texts, and what means nothing here.

use std::collections::HashMap;

use super::{
    At, DEPTH_MAX, FILE_MAX, INCLUDES_MAX, Include, Notes,
    lexer::{self, Token},
};

/// Octets of a text with the names in it put in.
const LINE_MAX: usize = 1 << 16;

struct Reader<'a, 'n> {
    include: Include<'a>,
    notes: &'n mut Notes,
    /// `@define`d texts.
    names: HashMap<String, String>,
    includes: usize,
    out: Vec<(At, Token)>,
}

/// The tokens of a file and of all that it includes.
pub(super) fn tokens(text: &str, include: Include<'_>, notes: &mut Notes) -> Vec<(At, Token)> {
    let mut reader = Reader { include, notes, names: HashMap::new(), includes: 0, out: Vec::new() };
    reader.file(text, 0, 0);
    reader.out
}

impl Reader<'_, '_> {
    fn file(&mut self, text: &str, file: usize, depth: usize) {
        if text.len() > FILE_MAX {
            self.notes.add(At { file, line: 1 }, format!("the file has more than {FILE_MAX} octets; it is not read"));
            return;
        }
        // Lines between two directives are read together, because a text in quotes may have several.
        let (mut part, mut first, mut python) = (String::new(), 1, false);
        for (line, number) in text.split_inclusive('\n').zip(1u32..) {
            let at = At { file, line: number };
            let word = line.trim_start();
            if python || word.starts_with("python ") || word.starts_with("python{") {
                if !python {
                    self.notes.add(at, "Python code is not translated");
                }
                python = !line.starts_with('}');
                part.push('\n');
                continue;
            }
            if !line.starts_with('@') {
                self.substitute(line, at, &mut part);
                continue;
            }
            lexer::tokens(&part, At { file, line: first }, self.notes, &mut self.out);
            part.clear();
            first = number + 1;
            self.directive(line.trim_end(), at, depth);
        }
        lexer::tokens(&part, At { file, line: first }, self.notes, &mut self.out);
    }

    /// Puts in what `` `names` `` stand for.
    fn substitute(&mut self, line: &str, at: At, part: &mut String) {
        if line.trim_start().starts_with('#') {
            part.push('\n');
            return;
        }
        let mut pieces = line.split('`');
        part.push_str(pieces.next().unwrap_or_default());
        let limit = part.len() + LINE_MAX;
        while let Some(name) = pieces.next() {
            match (self.names.get(name), pieces.next()) {
                (Some(value), Some(after)) if part.len() + value.len() <= limit => {
                    part.push_str(value);
                    part.push_str(after);
                }
                (_, after) => {
                    self.notes.add(at, format!("`{name}` stands for something that is not known here; write it out"));
                    part.push_str(name);
                    part.push_str(after.unwrap_or_default());
                }
            }
        }
        if !part.ends_with('\n') {
            part.push('\n');
        }
    }

    fn directive(&mut self, line: &str, at: At, depth: usize) {
        let (name, rest) = line.split_once([' ', '\t', ':']).unwrap_or((line, ""));
        let mut words = Vec::new();
        lexer::tokens(rest.trim_start_matches([':', ' ', '\t']), at, self.notes, &mut words);
        let mut words = words.into_iter().map(|(_, token)| match token {
            Token::Word(text) | Token::Quoted { value: text, .. } => text,
            Token::Sign(c) => c.to_string(),
            Token::Dots => "..".into(),
        });
        match name {
            "@version" | "@module" | "@requires" => {}
            "@define" => {
                let (name, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                self.names.insert(name, value.replace('\n', " "));
            }
            "@include" => match words.next() {
                Some(name) => self.included(&name, at, depth),
                None => self.notes.add(at, "this @include names no file"),
            },
            _ => self.notes.add(at, format!("{name} is not translated")),
        }
    }

    fn included(&mut self, name: &str, at: At, depth: usize) {
        // The library of ready-made blocks that every installation includes; those that matter are known here.
        if name == "scl.conf" || name.ends_with("/scl.conf") || name.starts_with("scl/") {
            return;
        }
        if depth >= DEPTH_MAX {
            self.notes.add(at, format!("includes are more than {DEPTH_MAX} deep; {name:?} is not read"));
            return;
        }
        let files = match (self.include)(name) {
            Ok(files) => files,
            Err(why) => {
                self.notes.add(at, format!("{name:?} cannot be included: {why}"));
                return;
            }
        };
        for (file, text) in files {
            self.includes += 1;
            if self.includes > INCLUDES_MAX {
                self.notes.add(at, format!("more than {INCLUDES_MAX} files are included; {file:?} is not read"));
                return;
            }
            self.notes.files.push(file);
            self.file(&text, self.notes.files.len() - 1, depth + 1);
        }
    }
}
