//! What reading a line costs: `cargo run --release -p logrelay --example parse_cost`.
//!
//! Prints nanoseconds per line of 300 octets for each form; the best of several rounds, because other work on the
//! machine only ever adds.

use std::{hint::black_box, time::Instant};

use logrelay::{
    config::Profile,
    parse::{Hints, parse},
};

/// Octets of a line.
const LENGTH: usize = 300;
/// Different lines of a form, so that branches are not learned by heart.
const LINES: u32 = 1_000;
const ROUNDS: u32 = 200;

/// Name, how it is read, and the line's head by number.
type Form<'a> = (&'a str, Profile, &'a dyn Fn(u32) -> String);

fn main() {
    let bsd = |i: u32| format!("Oct {:2} 22:{:02}:{:02} web{i:04} sshd[{}]: ", i % 28 + 1, i % 60, i * 7 % 60, i * 31);
    let iso = |i: u32| format!("2026-10-{:02}T22:{:02}:{:02}.{:06}+02:00", i % 28 + 1, i % 60, i * 7 % 60, i * 977);
    let sd =
        |i: u32| format!("[origin@32473 ip=\"10.0.0.{}\" software=\"app\"][meta@32473 sequenceId=\"{i}\"]", i % 250);
    let forms: [Form<'_>; 9] = [
        ("RFC 3164", Profile::Rfc, &|i| format!("<38>{}", bsd(i))),
        ("RFC 3164, RFC 3339 stamp", Profile::Rfc, &|i| format!("<38>{} web{i:04} sshd[{}]: ", iso(i), i * 31)),
        ("RFC 5424", Profile::Rfc, &|i| format!("<38>1 {} web{i:04} sshd {} ID{i} - ", iso(i), i * 31)),
        ("RFC 5424, structured data", Profile::Rfc, &|i| {
            format!("<38>1 {} web{i:04} sshd {} ID{i} {} ", iso(i), i * 31, sd(i))
        }),
        ("/dev/log", Profile::Devlog, &|i| format!("<38>Oct {:2} 22:14:{:02} sshd[{}]: ", i % 28 + 1, i % 60, i * 31)),
        ("Cisco IOS", Profile::Cisco, &|i| {
            format!("<189>{i}: R1: *Oct {:2} 22:14:{:02}.123: %SYS-5-CONFIG_I: ", i % 28 + 1, i % 60)
        }),
        ("FortiGate", Profile::Fortigate, &|i| {
            format!(
                "<189>date=2026-10-11 time=22:14:{:02} devname=\"fw{i}\" devid=\"FG1\" eventtime=1795194000123456789 \
                 tz=\"+0100\" logid=\"{i}\" type=\"traffic\" subtype=\"forward\" level=\"notice\" ",
                i % 60
            )
        }),
        ("no header", Profile::Rfc, &|i| format!("<38>{{\"number\": {i}}} ")),
        ("odd header (syslog_loose)", Profile::Rfc, &|i| format!("<38>Oct\t{} 22:14:15 web{i:04} sshd: ", i % 28 + 1)),
    ];
    for (name, profile, head) in forms {
        let lines: Vec<String> = (0..LINES).map(|i| fill(head(i))).collect();
        let hints = Hints { received_us: 1_795_194_000_000_000, profile, offset_min: 60 };
        let mut best = f64::MAX;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for line in &lines {
                black_box(parse(black_box(line.as_bytes()), black_box(&hints)));
            }
            best = best.min(start.elapsed().as_secs_f64());
        }
        let status = parse(lines[0].as_bytes(), &hints).status.as_str();
        println!("{:>6.0} ns  {name} ({status})", best * 1e9 / f64::from(LINES));
    }
}

/// The head, and words up to the length.
fn fill(mut line: String) -> String {
    for word in ["accepted ", "publickey ", "for ", "deploy ", "from ", "10.1.2.3 ", "port ", "50122: "].iter().cycle()
    {
        if line.len() >= LENGTH {
            break;
        }
        line.push_str(word);
    }
    line.truncate(LENGTH);
    line
}
