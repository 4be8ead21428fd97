//! The two headers that are more than macros side by side: MSGHDR of syslog-ng, and that of RFC 5424.

use super::{
    DateCache, Env, Time,
    write::{self, fraction, is_legacy},
};
use crate::message::{Field, Message};

/// Greatest lengths of HOSTNAME, APP-NAME, PROCID and MSGID (RFC 5424 section 6).
const LENGTHS: [(Field, usize); 4] = [(Field::Host, 255), (Field::Program, 48), (Field::Pid, 128), (Field::MsgId, 32)];

/// `program[pid]: ` or `program: `; nothing without a program. A line of RFC 3164 keeps what stood between its tag and
/// its message, as syslog-ng does: `prog:text` and `prog text` come out as they went in.
pub(super) fn legacy(message: &Message<'_>, out: &mut Vec<u8>) {
    let (program, pid) = (message.field(Field::Program), message.field(Field::Pid));
    if program.is_empty() {
        return;
    }
    out.extend_from_slice(program);
    if !pid.is_empty() {
        out.push(b'[');
        out.extend_from_slice(pid);
        out.push(b']');
    }
    out.extend_from_slice(separator(message, if pid.is_empty() { program } else { b"]" }));
}

/// What stands between the tag, which ends with `end`, and the message.
fn separator(message: &Message<'_>, end: &[u8]) -> &'static [u8] {
    if !is_legacy(message) {
        return b": ";
    }
    let Some(before) = before_message(message) else { return b": " };
    let tag = before.trim_ascii_end();
    match (tag.last() == Some(&b':'), tag.len() < before.len()) {
        (true, false) => b":",
        (false, true) if tag.ends_with(end) => b" ",
        _ => b": ",
    }
}

/// What stands before the message in the line as received, if the message is still a piece of it.
fn before_message<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    let at = (message.message.as_ptr() as usize).checked_sub(message.raw.as_ptr() as usize)?;
    message.raw.get(..at).filter(|_| at + message.message.len() <= message.raw.len())
}

/// All of a message of RFC 5424 but MSG, a blank at the end. The time has microseconds if there are any.
pub(super) fn rfc5424(message: &Message<'_>, env: &Env<'_>, dates: &mut DateCache, out: &mut Vec<u8>) {
    out.push(b'<');
    write::octet(message.pri, out);
    out.extend_from_slice(b">1 ");
    let (us, offset) = write::time(Time::Stamp, message, env);
    let micros = us.rem_euclid(1_000_000).unsigned_abs() as u32;
    let at = dates.at(us.div_euclid(1_000_000), offset);
    out.extend_from_slice(&at.iso);
    fraction(micros, if micros == 0 { 0 } else { 6 }, out);
    out.extend_from_slice(&at.zone);
    for (field, length) in LENGTHS {
        out.push(b' ');
        let text = message.field(field);
        let text = &text[..text.len().min(length)];
        let from = out.len();
        out.extend_from_slice(if text.is_empty() { b"-" } else { text });
        for octet in &mut out[from..] {
            // PRINTUSASCII; a blank would begin the next field.
            if !octet.is_ascii_graphic() {
                *octet = b'_';
            }
        }
    }
    out.push(b' ');
    let is_whole = message.sdata.starts_with(b"[") && message.sdata.ends_with(b"]");
    out.extend_from_slice(if is_whole { message.sdata } else { b"-" });
    if !message.message.is_empty() {
        out.push(b' ');
    }
}
