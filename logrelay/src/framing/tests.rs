use proptest::prelude::*;

use super::*;

type Owned = (Vec<u8>, u32, u16);

/// All lines of a stream that arrives in pieces of the given sizes (over and over), and the most memory it took.
fn split(max_line: usize, stream: &[u8], pieces: &[usize]) -> (Vec<Owned>, Counts, Result<(), TooManyErrors>, usize) {
    let (mut splitter, mut buffer) = (Splitter::new(max_line), Buffer::new(64));
    let (mut lines, mut rest, mut most) = (Vec::new(), stream, 0);
    let mut sizes = pieces.iter().cycle();
    let owned = |frame: Frame<'_>| (frame.raw.to_vec(), frame.original_len, frame.flags.0);
    let mut verdict = Ok(());
    while !rest.is_empty() && verdict.is_ok() {
        let room = buffer.room(max_line);
        let count = (*sizes.next().unwrap()).clamp(1, room.len()).min(rest.len());
        room[..count].copy_from_slice(&rest[..count]);
        buffer.filled(count);
        rest = &rest[count..];
        most = most.max(buffer.capacity());
        loop {
            match splitter.next(&mut buffer) {
                Ok(Some(frame)) => lines.push(owned(frame)),
                Ok(None) => break,
                Err(error) => {
                    verdict = Err(error);
                    break;
                }
            }
        }
    }
    if verdict.is_ok() {
        lines.extend(splitter.finish(&mut buffer, false).map(owned));
        assert!(!splitter.is_within(&buffer) || matches!(splitter.state, State::Rest(_)));
    }
    (lines, splitter.take_counts(), verdict, most)
}

fn raws(max_line: usize, stream: &[u8]) -> Vec<(String, u32, u16)> {
    let (lines, ..) = split(max_line, stream, &[usize::MAX]);
    lines.into_iter().map(|(raw, length, flags)| (String::from_utf8(raw).unwrap(), length, flags)).collect()
}

fn line(raw: &str) -> (String, u32, u16) {
    (raw.into(), raw.len() as u32, 0)
}

const TRUNCATED: u16 = Flags::TRUNCATED.0;
const INCOMPLETE: u16 = Flags::INCOMPLETE.0;

#[test]
fn newlines_end_lines_and_the_tail_is_one() {
    assert_eq!(
        raws(100, b"<1>a\n<2>b\r\n\n\r\n\0\n<3>c\0\nd"),
        [line("<1>a"), line("<2>b\r"), line("<3>c"), line("d")]
    );
    let (_, counts, ..) = split(100, b"<1>a\n\n\r\n<2>b", &[1]);
    assert_eq!((counts.lines, counts.empty, counts.errors), (2, 2, 0));
    assert_eq!(raws(100, b"2024-01-01 not a count\nx\n"), [line("2024-01-01 not a count"), line("x")]);
    assert_eq!(raws(100, b"12345678 too many digits\n"), [line("12345678 too many digits")]);
    assert_eq!(raws(100, b"0 leading zero\n"), [line("0 leading zero")]);
    assert_eq!(raws(100, b"<14>as Python sends\0<14>over TCP\0"), [line("<14>as Python sends"), line("<14>over TCP")]);
    assert_eq!(raws(100, b"123"), [line("123")]);
    assert_eq!(raws(100, b"1 2026-10-11T22:14:15Z web app\nx\n"), [line("1 2026-10-11T22:14:15Z web app"), line("x")]);
    assert_eq!(raws(100, b"2026 Oct 11"), [line("2026 Oct 11")]);
    assert_eq!(raws(100, b"5 "), [line("5 ")]);
    assert_eq!(raws(100, b""), []);
}

#[test]
fn counted_octets_may_hold_anything() {
    assert_eq!(raws(100, b"5 <1>a\n3 b\0c12 <2>abcd\n5 xy"), [line("<1>a\n"), line("b\0c"), line("<2>abcd\n5 xy")]);
    assert_eq!(
        raws(100, b"1 <\n1 b\r\n1 c"),
        [line("<"), line("b"), line("c")],
        "an uncounted end of line is passed over"
    );
    assert_eq!(raws(100, b"5 <bc"), [("<bc".into(), 5, TRUNCATED | INCOMPLETE)]);
    assert_eq!(raws(100, b"1 <12"), [line("<"), ("12".into(), 2, INCOMPLETE)]);
    let (lines, counts, ..) = split(100, b"1 <7 ", &[3]);
    assert_eq!((lines.len(), counts.errors), (1, 1), "a frame of which nothing came is an error");
}

#[test]
fn long_lines_are_cut_and_their_length_is_told() {
    assert_eq!(raws(4, b"<abcdefgh\nxyz\n"), [("<abc".into(), 9, TRUNCATED), line("xyz")]);
    assert_eq!(raws(4, b"<abcd"), [("<abc".into(), 5, TRUNCATED)]);
    assert_eq!(raws(4, b"<abc\n"), [line("<abc")]);
    assert_eq!(
        raws(4, b"9 <23456789 2 ok"),
        [("<234".into(), 9, TRUNCATED), (" 2 o".into(), 5, INCOMPLETE | TRUNCATED)]
    );
    assert_eq!(
        raws(4, b"9 <234567892 ok9999999 abcdef"),
        [("<234".into(), 9, TRUNCATED), line("ok"), ("abcd".into(), 9_999_999, TRUNCATED)]
    );
    for stream in [b"\rabc".as_slice(), b"\rabc\n"] {
        let (lines, counts, ..) = split(1, stream, &[1]);
        assert_eq!(
            (lines, counts.empty),
            (vec![(b"\r".to_vec(), 4, TRUNCATED)], 0),
            "no empty line: its rest was cut off"
        );
    }
    let long = [b"<".repeat(10_000_000), b"\nnext\n".to_vec()].concat();
    let (lines, counts, _, most) = split(65_536, &long, &[10_000]);
    assert_eq!((lines[0].0.len(), lines[0].1, lines[1].0.as_slice()), (65_536, 10_000_000, b"next".as_slice()));
    assert_eq!((counts.lines, counts.truncated), (2, 1));
    assert!(most <= 65_536 + (16 << 10), "{most}");
}

#[test]
fn a_wrong_count_costs_one_line_and_too_many_the_connection() {
    assert_eq!(raws(100, b"1 <oops 5\n1 b"), [line("<"), ("oops 5".into(), 6, INCOMPLETE), line("b")]);
    assert_eq!(raws(100, b"1 <12345678 x\n1 b"), [line("<"), ("12345678 x".into(), 10, INCOMPLETE), line("b")]);
    assert_eq!(raws(100, b"1 <<13>tail"), [line("<"), ("<13>tail".into(), 8, INCOMPLETE)]);
    let stream = [b"1 <".to_vec(), b"bad\n".repeat(20)].concat();
    let (lines, counts, verdict, _) = split(100, &stream, &[1]);
    assert_eq!((lines.len(), counts.errors, verdict), (17, 16, Err(TooManyErrors)));
}

#[test]
fn a_line_cut_off_before_its_time_is_incomplete_in_either_framing() {
    for (stream, flags) in [(b"<1>ab".as_slice(), INCOMPLETE), (b"9 <b", INCOMPLETE | TRUNCATED)] {
        let (mut splitter, mut buffer) = (Splitter::new(100), Buffer::new(8));
        buffer.put(stream);
        assert_eq!(splitter.next(&mut buffer), Ok(None));
        assert!(splitter.is_within(&buffer));
        assert_eq!(splitter.finish(&mut buffer, true).unwrap().flags.0, flags);
        assert!(!splitter.is_within(&buffer));
    }
}

/// Streams that look like syslog, nearly like it, or like nothing.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..40),
        4 => "[<>0-9a-z \n\r]{0,30}".prop_map(String::into_bytes),
        4 => proptest::collection::vec(any::<u8>(), 1..60)
            .prop_map(|body| [format!("{} ", body.len()).into_bytes(), body].concat()),
        4 => "<[a-z>\n ]{0,20}".prop_map(|body| format!("{} {body}", body.len()).into_bytes()),
        2 => "<13>[a-z ]{0,50}\n".prop_map(String::into_bytes),
        1 => "[0-9]{1,9} ?".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn how_a_stream_is_cut_up_changes_nothing(
        stream in streams(), max_line in 1usize..80, pieces in proptest::collection::vec(1usize..50, 1..8)
    ) {
        let (whole, counts, verdict, _) = split(max_line, &stream, &[usize::MAX]);
        let (cut, cut_counts, cut_verdict, most) = split(max_line, &stream, &pieces);
        prop_assert_eq!(&whole, &cut);
        prop_assert_eq!((counts, verdict), (cut_counts, cut_verdict));
        prop_assert!(most <= 64usize.max(max_line + (16 << 10)), "{}", most);
        prop_assert!(whole.iter().all(|(raw, length, _)| raw.len() <= max_line && raw.len() <= *length as usize));
    }

    #[test]
    fn what_is_framed_comes_out(bodies in proptest::collection::vec("<13>[a-z0-9 ]{0,60}", 0..20), counted in any::<bool>()) {
        let frame = |body: &String| match counted {
            true => format!("{} {body}", body.len()),
            false => format!("{body}\n"),
        };
        let stream: String = bodies.iter().map(frame).collect();
        let expected: Vec<_> = bodies.iter().map(|body| line(body)).collect();
        prop_assert_eq!(raws(100, stream.as_bytes()), expected);
    }
}
