//! Any octets as what a log sender sends: both framings of RFC 6587, RELP frames and commands; in whatever pieces they come.
#![no_main]

use logrelay::{
    framing::{Buffer, Splitter},
    relp::{
        frame::{Bad, Decoder, OVERHEAD, Response, encode},
        session::{Answers, Asked, Session},
    },
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&[max_line, size], stream)) = data.split_first_chunk() else { return };
    let (max_line, size) = (usize::from(max_line).max(1), usize::from(size).max(1));
    assert_eq!(lines(stream, max_line, usize::MAX), lines(stream, max_line, size), "the pieces change the lines");
    assert_eq!(relp(stream, max_line, usize::MAX), relp(stream, max_line, size), "the pieces change the answers");
    Response::parse(stream);
});

/// Lines with their lengths and flags, and whether the connection was given up.
fn lines(mut stream: &[u8], max_line: usize, size: usize) -> (Vec<(Vec<u8>, u32, u16)>, bool) {
    let (mut splitter, mut buffer, mut lines) = (Splitter::new(max_line), Buffer::new(64), Vec::new());
    let owned = |frame: logrelay::framing::Frame<'_>| {
        assert!(frame.raw.len() <= max_line && frame.raw.len() <= frame.original_len as usize);
        (frame.raw.to_vec(), frame.original_len, frame.flags.0)
    };
    while !stream.is_empty() {
        let room = buffer.room(max_line);
        let (piece, rest) = stream.split_at(room.len().min(size).min(stream.len()));
        room[..piece.len()].copy_from_slice(piece);
        buffer.filled(piece.len());
        stream = rest;
        assert!(buffer.capacity() <= 64.max(max_line + (16 << 10)));
        loop {
            match splitter.next(&mut buffer) {
                Ok(Some(frame)) => lines.push(owned(frame)),
                Ok(None) => break,
                Err(_) => return (lines, true),
            }
        }
    }
    lines.extend(splitter.finish(&mut buffer, false).map(owned));
    (lines, false)
}

/// What is answered, and how it ended.
fn relp(mut stream: &[u8], max_data: usize, size: usize) -> (Vec<u8>, Result<(), Bad>) {
    let (decoder, mut session, mut answers) = (Decoder { max_data }, Session::new(true), Answers::default());
    let (mut buffer, mut out) = (Buffer::new(64), Vec::new());
    while !stream.is_empty() {
        let room = buffer.room(max_data + OVERHEAD);
        let (piece, rest) = stream.split_at(room.len().min(size).min(stream.len()));
        room[..piece.len()].copy_from_slice(piece);
        buffer.filled(piece.len());
        stream = rest;
        loop {
            let (frame, used) = match decoder.decode(buffer.pending()) {
                Ok(Some(decoded)) => decoded,
                Ok(None) => break,
                Err(bad) => return (out, Err(bad)),
            };
            let mut again = Vec::new();
            encode(frame.txnr, frame.command, frame.data, &mut again);
            assert_eq!(decoder.decode(&again), Ok(Some((frame, again.len()))));
            match session.take(frame, &mut answers) {
                Ok(Asked::Line(line)) if line.first() == Some(&b'!') => answers.refused(frame.txnr),
                Ok(Asked::Line(_) | Asked::Record(_)) => answers.ok(frame.txnr),
                Ok(Asked::Answered) => {}
                Ok(Asked::Close) => {
                    answers.write(&mut out);
                    return (out, Ok(()));
                }
                Err(bad) => return (out, Err(bad)),
            }
            std::mem::take(&mut answers).write(&mut out);
            buffer.consume(used);
        }
    }
    (out, Ok(()))
}
