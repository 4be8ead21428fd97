//! `$GENERATE START-STOP[/STEP] OWNER [TTL] [CLASS] TYPE DATA`: one record per number, as BIND makes them.
//!
//! `$` is the number, `${offset,width,base}` the number plus an offset, padded with zeros, in base
//! `d`, `o`, `x` or `X`; `\$` is a dollar sign.

use super::{
    GENERATE_MAX, GENERATE_OCTETS_MAX,
    read::{Place, Reader, name},
};
use crate::text::{excerpt, lexer::Token};

/// Makes the records of one line.
pub(super) fn generate(reader: &mut Reader<'_>, place: &Place, tokens: &[Token<'_>]) -> Result<(), String> {
    let [range, owner, rest @ ..] = tokens else { return Err("$GENERATE needs a range and an owner".into()) };
    let (start, stop, step) = bounds(range.text)
        .ok_or_else(|| format!("{:?} is no range: write START-STOP or START-STOP/STEP", excerpt(range.text)))?;
    let count = (stop - start) / step + 1;
    reader.generated += count;
    if reader.generated > GENERATE_MAX {
        return Err(format!("$GENERATE {} makes more than {GENERATE_MAX} records in all", range.text));
    }
    let mut number = start;
    while number <= stop {
        let fill = |text: &str| {
            fill(text, number).ok_or_else(|| format!("{:?} has a faulty ${{offset,width,base}}", excerpt(text)))
        };
        let owner = name(place, &fill(owner.text)?)?;
        let words = rest.iter().map(|token| fill(token.text)).collect::<Result<Vec<_>, _>>()?;
        let tokens: Vec<Token<'_>> =
            words.iter().zip(rest).map(|(text, token)| Token { text, quoted: token.quoted }).collect();
        let (rr, _) = reader.fields(place, owner, &tokens)?;
        reader.generated_octets += rr.owner.len() + rr.rdata.len();
        if reader.generated_octets > GENERATE_OCTETS_MAX {
            return Err(format!("$GENERATE {} makes more than {GENERATE_OCTETS_MAX} octets in all", range.text));
        }
        reader.push(place, rr);
        number += step;
    }
    Ok(())
}

fn bounds(text: &str) -> Option<(u64, u64, u64)> {
    let (range, step) = text.split_once('/').unwrap_or((text, "1"));
    let (start, stop) = range.split_once('-')?;
    let number = |text: &str| text.parse::<u32>().ok().map(u64::from);
    let (start, stop, step) = (number(start)?, number(stop)?, number(step)?);
    (start <= stop && step > 0).then_some((start, stop, step))
}

fn fill(text: &str, number: u64) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\']) {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        if tail.starts_with('\\') {
            let end = tail.char_indices().nth(2).map_or(tail.len(), |(end, _)| end);
            out.push_str(if tail.starts_with("\\$") { "$" } else { &tail[..end] });
            rest = &tail[end..];
        } else if let Some(inner) = tail.strip_prefix("${") {
            let (modifier, after) = inner.split_once('}')?;
            out.push_str(&modified(modifier, number)?);
            rest = after;
        } else {
            out.push_str(&number.to_string());
            rest = &tail[1..];
        }
        if out.len() > 2 * text.len() + 4096 {
            return None;
        }
    }
    out.push_str(rest);
    Some(out)
}

fn modified(modifier: &str, number: u64) -> Option<String> {
    let mut parts = modifier.split(',');
    let offset: i64 = parts.next()?.parse::<i32>().ok()?.into();
    let width: usize = parts.next().map_or(Some(0), |width| width.parse().ok().filter(|width| *width <= 255))?;
    let value = u64::try_from(i64::try_from(number).ok()? + offset).ok()?;
    let text = match parts.next().unwrap_or("d") {
        "d" => format!("{value:0width$}"),
        "o" => format!("{value:0width$o}"),
        "x" => format!("{value:0width$x}"),
        "X" => format!("{value:0width$X}"),
        _ => return None,
    };
    parts.next().is_none().then_some(text)
}
