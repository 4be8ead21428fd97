//! What a record costs from append over durable to read and committed: CPU microseconds of the whole process.
//!
//! `cargo run --release -p logrelay --example spool_cost [FOLDER [MILLION RECORDS]]`

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use logrelay::{
    message::{Batch, Field, Message},
    spool::{Options, RealDisk, Spool},
};
use nix::sys::resource::{Usage, UsageWho, getrusage};

/// Records of a batch: what a read of a socket gives.
const BATCH: u64 = 200;

#[allow(clippy::disallowed_methods)]
fn clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// CPU microseconds, user and system.
fn cpu(usage: &Usage) -> (i64, i64) {
    let us = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    (us(usage.user_time()), us(usage.system_time()))
}

fn batch(destination: u16, length: usize) -> (Vec<u8>, u32) {
    let mut batch = Batch::default();
    for _ in 0..BATCH {
        let raw = [b'x'; 300];
        let mut message = Message::unread(&raw, clock());
        message.set(Field::Host, b"web01");
        message.set(Field::Source, b"net");
        let destination = destination.to_le_bytes();
        message.set(Field::Destinations, &destination);
        let mut record = Vec::new();
        message.encode(&mut record);
        message.raw = &raw[..(300 + length).saturating_sub(record.len())];
        message.message = message.raw;
        batch.push(&message);
    }
    (batch.bytes().to_vec(), batch.count())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let temporary = std::env::temp_dir().join(format!("spool-cost-{}", std::process::id()));
    let folder = arguments.next().map_or(temporary, Into::into);
    let total = arguments.next().map_or(Ok(4), |millions| millions.parse::<u64>())? * 1_000_000;
    for (what, length) in [("records of 300 octets", 300), ("records of lines of 300 octets", 428)] {
        let options = Options { keep: std::time::Duration::ZERO, ..Options::new(&folder, "cost") };
        let spool = Spool::open(options, Arc::new(RealDisk::default()), clock)?;
        let id = spool.destination("one")?;
        let (bytes, count) = batch(id, length);
        let mut reader = spool.reader(id);
        let reading = tokio::spawn(async move {
            let mut read = 0;
            while read < total
                && let Some(chunk) = reader.next().await
            {
                read += chunk.records().filter_map(Message::decode).filter(|message| message.is_for(id)).count() as u64;
                reader.commit(chunk.last());
            }
            read
        });
        let (start, before) = (Instant::now(), cpu(&getrusage(UsageWho::RUSAGE_SELF)?));
        for _ in 0..total / BATCH {
            let mut buffer = spool.buffer();
            buffer.extend_from_slice(&bytes);
            spool.append(buffer, count).await?;
        }
        let read = reading.await?;
        let after = cpu(&getrusage(UsageWho::RUSAGE_SELF)?);
        let per = |us: i64| us as f64 / read as f64;
        let (user, system) = (per(after.0 - before.0), per(after.1 - before.1));
        let counts = spool.report().counts;
        println!(
            "{what}: {:.3} us CPU a record ({user:.3} user, {system:.3} system), {:.0} records/s, {} syncs, {} reads from memory, {} from disk",
            user + system,
            read as f64 / start.elapsed().as_secs_f64(),
            counts.syncs,
            counts.tail_reads,
            counts.disk_reads,
        );
        spool.close().await?;
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
