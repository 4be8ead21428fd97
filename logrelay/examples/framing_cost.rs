//! What it costs to find the lines of a stream: nanoseconds of processor a line, for both framings.
//!
//! `cargo run --release -p logrelay --example framing_cost`

use std::hint::black_box;

use logrelay::framing::{Buffer, Splitter};
use nix::sys::resource::{UsageWho, getrusage};

const READ: usize = 64 << 10;
const LINES: usize = 2_000_000;

fn main() {
    let line = format!("<13>Oct 11 22:14:15 web01 app[123]: {}", "x".repeat(264));
    for (name, framed) in [("newlines", format!("{line}\n")), ("octet counting", format!("{} {line}", line.len()))] {
        let stream = framed.repeat(2 * READ / framed.len()).into_bytes();
        let (mut splitter, mut buffer) = (Splitter::new(65_536), Buffer::new(READ));
        let (mut lines, mut at) = (0, 0);
        let begun = processor_us();
        while lines < LINES {
            let room = buffer.room(65_536);
            let piece = &stream[at..(at + room.len()).min(stream.len())];
            room[..piece.len()].copy_from_slice(piece);
            buffer.filled(piece.len());
            at = (at + piece.len()) % stream.len();
            while let Ok(Some(frame)) = splitter.next(&mut buffer) {
                black_box(frame.raw);
                lines += 1;
            }
        }
        let spent = (processor_us() - begun) as f64 * 1000.0 / lines as f64;
        println!("{name}: {spent:.1} ns for a line of {} octets, copying it into the buffer included", line.len());
    }
}

fn processor_us() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| {
        let (user, system) = (usage.user_time(), usage.system_time());
        (user.tv_sec() + system.tv_sec()) * 1_000_000 + user.tv_usec() + system.tv_usec()
    })
}
