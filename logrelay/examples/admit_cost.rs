//! What deciding and counting cost per message: `cargo run --release -p logrelay --example admit_cost`.

use std::{hint::black_box, time::Instant};

use logrelay::{
    hosts::{Hosts, Outcome, Rate, Tally},
    message::Message,
};

const MESSAGES: i64 = 50_000;
const ROUNDS: i64 = 400;
const START: i64 = 1_790_000_000_000_000;

fn main() {
    let hosts = Hosts::new(1_000);
    let entry = hosts.address([10, 0, 0, 1].into(), START);
    let pass = Rate::new(10_000_000, 1_000_000, 3);
    let shed = Rate::new(1, 1, 3);
    measure("no rate", |n| _ = black_box(entry.admit(None, START + n, 6)));
    measure("rate, admitted", |n| _ = black_box(entry.admit(pass.as_ref(), START + n, 6)));
    measure("rate, shed", |n| _ = black_box(entry.admit(shed.as_ref(), START + n, 6)));
    let mut message = Message::unread(b"<13>Oct 11 22:14:15 web01 app: a line of no particular length", START);
    let mut tally = Tally::default();
    measure("tally", |n| {
        message.received_us = START + n;
        tally.read(black_box(&message));
        tally.count(Outcome::Spooled, 1);
    });
    measure("tally, and add for every 100", |n| {
        message.received_us = START + n;
        tally.read(black_box(&message));
        tally.count(Outcome::Spooled, 1);
        if n % 100 == 0 {
            entry.add(&tally, None);
            tally.clear();
        }
    });
    measure("another sender each time", |n| _ = black_box(hosts.address([10, 0, 1, n as u8].into(), START + n)));
    println!("{} octets an entry", size_of_val(&*entry));
}

/// The quickest of many short rounds: the machine may be busy otherwise.
fn measure(what: &str, mut each: impl FnMut(i64)) {
    let round = |n: i64| {
        let begin = Instant::now();
        (n * MESSAGES..(n + 1) * MESSAGES).for_each(&mut each);
        begin.elapsed().as_nanos()
    };
    let best = (0..ROUNDS).map(round).min().unwrap_or(0);
    println!("{:6.1} ns {what}", best as f64 / MESSAGES as f64);
}
