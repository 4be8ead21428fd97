//! Attributes that come in parts: Active Directory gives at most 1500 values of an attribute at once, as
//! `member;range=0-1499`, and the others to whoever asks for `member;range=1500-*` (MS-ADTS section 3.1.1.3.1.3.3).
//!
//! An entry is taken over with all of its values or not at all: a group of which a part is known would shut people out.

use std::time::Duration;

use inventory::{Attribute, Value};

use super::{connect::Connection, search};

/// Parts of one attribute that are fetched; about a million values.
const PARTS_MAX: usize = 1000;

/// A part of the values of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part<'a> {
    /// The attribute's description without the range.
    name: &'a str,
    /// Place of the first value.
    first: u64,
    /// Place of the last value; none when it is the last of all.
    last: Option<u64>,
}

/// The part that an attribute description tells of, if it does.
fn part(description: &str) -> Option<Part<'_>> {
    let (name, option) = description.rsplit_once(';')?;
    let (key, range) = option.split_once('=')?;
    let (first, last) = range.split_once('-').filter(|_| key.eq_ignore_ascii_case("range"))?;
    let last = if last == "*" { None } else { Some(last.parse().ok()?) };
    Some(Part { name, first: first.parse().ok()?, last })
}

/// Whether some attribute came in part.
pub(super) fn is_in_parts(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|Attribute(description, _)| part(description).is_some())
}

/// Fetches what is lacking of attributes that came in part. No search may be under way on the connection.
pub(super) async fn complete(
    connection: &mut Connection,
    dn: &str,
    attributes: Vec<Attribute>,
    limit: Duration,
) -> Result<Vec<Attribute>, String> {
    let mut out = Vec::with_capacity(attributes.len());
    for Attribute(description, values) in attributes {
        let Some(Part { name, first, mut last }) = part(&description) else {
            out.push(Attribute(description, values));
            continue;
        };
        let lacking = |why: String| format!("the server gave a part of {name} of {dn:?}, but {why}");
        if first != 0 {
            return Err(lacking(format!("it begins with value {first}")));
        }
        let mut values = values.to_vec();
        let mut parts = 1;
        while let Some(end) = last {
            parts += 1;
            if parts > PARTS_MAX {
                return Err(lacking(format!(
                    "{PARTS_MAX} parts are not all; narrow base or filter in [directory.upstream]"
                )));
            }
            let next = end.saturating_add(1);
            let asked = format!("{name};range={next}-*");
            let found = search::read_base(connection, dn, &[&asked], limit).await.map_err(&lacking)?;
            let (more, end) = following(name, next, found).ok_or_else(|| lacking(format!("not what follows {end}")))?;
            values.extend(more);
            last = end;
        }
        out.push(Attribute(name.into(), values.into()));
    }
    Ok(out)
}

/// The values of the part that begins at `first`, and the place of the last of them unless it is the last of all.
fn following(name: &str, first: u64, found: Vec<Attribute>) -> Option<(Vec<Value>, Option<u64>)> {
    found.into_iter().find_map(|Attribute(description, values)| {
        let part = part(&description)?;
        let fits = part.name.eq_ignore_ascii_case(name) && part.first == first;
        (fits && part.last.is_none_or(|last| last >= first)).then(|| (values.to_vec(), part.last))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_from_other_options() {
        let member = |first, last| Some(Part { name: "member", first, last });
        assert_eq!(part("member;range=0-1499"), member(0, Some(1499)));
        assert_eq!(part("member;Range=1500-*"), member(1500, None));
        assert_eq!(part("cert;binary;range=0-1").map(|part| part.name), Some("cert;binary"));
        for whole in
            ["member", "member;binary", "cn;lang-de", "member;range=", "member;range=*-1", "member;arrange=0-1"]
        {
            assert_eq!(part(whole), None, "{whole}");
        }
    }

    #[test]
    fn only_the_part_that_follows_is_taken() {
        let sent = |description: &str| vec![Attribute(description.into(), ["cn=a".into()].into())];
        let follows =
            |description| following("member", 1500, sent(description)).map(|(values, last)| (values.len(), last));
        assert_eq!(follows("Member;range=1500-2999"), Some((1, Some(2999))));
        assert_eq!(follows("member;range=1500-*"), Some((1, None)));
        // The same part again, one that goes back, another attribute, none: each would go on for ever or leave a gap.
        for wrong in ["member;range=0-1499", "member;range=1500-1499", "owner;range=1500-*", "member"] {
            assert_eq!(follows(wrong), None, "{wrong}");
        }
    }
}
