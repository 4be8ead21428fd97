//! What a message of 300 octets costs on its way into a file: nanoseconds of one core, for one file and for 256 of them,
//! by the size of the chunks.
//!
//! `cargo run --release -p logrelay --example file_cost`

use logrelay::{
    destination::{Identity, Sink},
    message::{Batch, Field, Message},
};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

const HOSTS: usize = 256;
const ROUNDS: usize = 5;
const MESSAGES: usize = 400_000;

/// Nanoseconds of processor time that this process has used: of its own, and of the kernel's.
fn used() -> Result<[i64; 2], nix::Error> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok([usage.user_time().num_nanoseconds(), usage.system_time().num_nanoseconds()])
}

fn chunk(octets: usize) -> Batch {
    let mut batch = Batch::default();
    let names: Vec<_> = (0..HOSTS).map(|host| format!("dev-mysql{host:03}")).collect();
    let text = "x".repeat(240);
    for i in 0.. {
        let host = names[i * 7919 % HOSTS].as_str();
        let raw = format!("<30>Oct 11 22:14:{:02} {host} mysqld[4711]: {i:08} {text}", i / 1000 % 60);
        let mut message = Message::unread(raw.as_bytes(), 1_760_000_000_000_000);
        let body = raw.find(": ").map_or(0, |at| at + 2);
        message.message = &raw.as_bytes()[body..];
        message.stamp_us = 1_760_000_000_000_000 + i as i64 * 1000;
        message.sequence = i as u64 + 1;
        for (field, value) in [
            (Field::Source, "net"),
            (Field::Host, host),
            (Field::HeaderHost, host),
            (Field::Program, "mysqld"),
            (Field::Pid, "4711"),
            (Field::Zone, "us-east-1b"),
            (Field::Region, "us-east-1"),
            (Field::Product, "acme"),
            (Field::Roles, "mysql\n"),
        ] {
            message.set(field, value.as_bytes());
        }
        message.set(Field::Destinations, &[1, 0]);
        batch.push(&message);
        if batch.bytes().len() >= octets {
            break;
        }
    }
    batch
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("file_cost.{}", std::process::id()));
    for name in ["all.log", "${HOST}.log"] {
        for octets in [256 << 10, 1 << 20, 4 << 20] {
            let folder = dir.join(octets.to_string());
            let text = format!("name = \"f\"\nfile = \"{}/{name}\"\n", folder.display());
            let identity = Identity { node: "gw1", relay: "gw1" };
            let mut sink = Sink::build(&toml::from_str(&text)?, identity)?;
            let batch = chunk(octets);
            let chunks = MESSAGES / batch.count() as usize + 1;
            let mut best = [i64::MAX; 2];
            let mut now_us = 1_760_000_000_000_000;
            for _ in 0..ROUNDS {
                let began = used()?;
                let mut messages = 0;
                for _ in 0..chunks {
                    now_us += 1000;
                    messages += sink.deliver(batch.records(), 0, 1, now_us).await?.messages;
                }
                let ended = used()?;
                let spent = [0, 1].map(|i| (ended[i] - began[i]) / messages as i64);
                if spent[0] + spent[1] < best[0].saturating_add(best[1]) {
                    best = spent;
                }
                std::fs::remove_dir_all(&folder)?;
                sink.reopen().await;
            }
            println!(
                "{name:12} chunks of {:4} KiB ({:5} messages): {:4} + {:4} (kernel) ns a message",
                octets >> 10,
                batch.count(),
                best[0],
                best[1]
            );
        }
    }
    Ok(std::fs::remove_dir_all(&dir)?)
}
