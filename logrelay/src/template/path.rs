//! Paths from templates: what messages put into them stays where the operator wanted it.

use super::{Part, Template};

/// Octets that a macro puts into a path at most.
pub const INSERT_MAX: usize = 128;
/// Octets of a component of a path at most (NAME_MAX of Linux).
const COMPONENT_MAX: usize = 255;

/// What was changed so that a path is safe, for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathNotes {
    /// Macros whose text had octets that became `_`, or was empty.
    pub replaced: u32,
    /// Macros and components that were cut to their greatest length.
    pub cut: u32,
}

/// Makes what was appended to `out` since `from` safe as a piece of a component.
pub(super) fn make_safe(out: &mut Vec<u8>, from: usize, notes: &mut PathNotes) {
    if out.len() - from > INSERT_MAX {
        truncate(out, from, INSERT_MAX);
        notes.cut += 1;
    }
    let (mut replaced, mut leading) = (false, true);
    for octet in &mut out[from..] {
        leading &= *octet == b'.';
        if leading || *octet == b'/' || octet.is_ascii_control() {
            *octet = b'_';
            replaced = true;
        }
    }
    if out.len() == from {
        out.push(b'_');
        replaced = true;
    }
    notes.replaced += u32::from(replaced);
}

/// Makes the whole path safe, whatever the constant pieces of the template made of it: no component is empty, `.`,
/// `..` or too long. The first one may be empty, as the path is absolute.
pub(super) fn make_components_safe(out: &mut Vec<u8>, start: usize, notes: &mut PathNotes) {
    let is_plain = |component: &[u8]| {
        !matches!(component, [] | [b'.'] | [b'.', b'.']) && component.len() <= COMPONENT_MAX && !component.contains(&0)
    };
    let path = &out[start..];
    if path.strip_prefix(b"/").unwrap_or(path).split(|octet| *octet == b'/').all(is_plain) {
        return;
    }
    let path = out.split_off(start);
    let (absolute, path) = path.strip_prefix(b"/").map_or((false, &path[..]), |rest| (true, rest));
    for (number, component) in path.split(|octet| *octet == b'/').enumerate() {
        if absolute || number > 0 {
            out.push(b'/');
        }
        let from = out.len();
        match component {
            [] => out.push(b'_'),
            [b'.'] | [b'.', b'.'] => out.resize(from + component.len(), b'_'),
            _ => out.extend(component.iter().map(|octet| if *octet == 0 { b'_' } else { *octet })),
        }
        if out.len() - from > COMPONENT_MAX {
            truncate(out, from, COMPONENT_MAX);
            notes.cut += 1;
        }
    }
}

/// Keeps `length` octets after `from`, or up to three fewer so that no character of UTF-8 is halved.
fn truncate(out: &mut Vec<u8>, from: usize, length: usize) {
    let end = from + length;
    let is_boundary = |at: &usize| out.get(*at).is_none_or(|octet| octet & 0xc0 != 0x80);
    let whole = (end - 3..=end).rev().find(is_boundary).unwrap_or(end);
    out.truncate(whole);
}

/// Looks at the constant pieces of a template that is to be a path.
pub(super) fn check(template: &Template) -> Result<(), (usize, String)> {
    if !template.text.starts_with('/') {
        return Err((0, "the path of a file must be absolute, as /var/log/${HOST}.log".into()));
    }
    if let Some(at) = template.text.find(|c: char| c.is_control()) {
        return Err((at, "a control character or line end cannot be in a file's path; take it out".into()));
    }
    // A control character stands for a macro.
    let pieces = template.parts.iter().map(|part| match part {
        Part::Text(text) => &**text,
        _ => "\u{1}",
    });
    let shape = pieces.collect::<String>();
    let mut components = shape.split('/').skip(1).peekable();
    if components.peek().is_some_and(|first| first.contains('\u{1}')) {
        let why = "a folder must stand before the first macro, as /var/log/ does: messages can only write below it";
        return Err((template.text.find('$').unwrap_or(0), why.into()));
    }
    for component in components {
        let constant = component.bytes().filter(|octet| *octet != 1).count();
        if constant > COMPONENT_MAX {
            let why = format!("a component of a path has at most {COMPONENT_MAX} octets, but one here has {constant}");
            return Err((0, why));
        }
        if matches!(component, "" | "." | "..") {
            let place = template.text.find(&format!("/{component}/"));
            let place = place.unwrap_or(template.text.len().saturating_sub(component.len() + 1)) + 1;
            let why = format!("{component:?} cannot be a component of a file's path; write the path without it");
            return Err((place, why));
        }
    }
    Ok(())
}
