//! What the tests share: batches of numbered lines, and reading a destination to its end.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use logrelay::{
    message::{Batch, Field, Message},
    spool::{Appended, Disk, NotYet, Options, Reader, RealDisk, Report, Spool, SpoolError},
};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[allow(clippy::disallowed_methods)]
pub(crate) fn clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

/// Small segments, quick syncs, nothing kept.
pub(crate) fn options(path: impl AsRef<Path>) -> Options {
    Options {
        max_bytes: 64 << 20,
        segment_bytes: 16 << 10,
        sync_every: Duration::from_millis(1),
        sync_bytes: 4 << 10,
        keep: Duration::ZERO,
        ..Options::new(path.as_ref(), "node/1")
    }
}

pub(crate) fn open(options: Options) -> Spool {
    open_on(Arc::new(RealDisk::default()), options)
}

/// Opens a spool that nobody uses any more. A process that another test has just begun may still hold its lock: it has
/// inherited every descriptor until it becomes its program.
pub(crate) fn open_on(disk: Arc<dyn Disk>, options: Options) -> Spool {
    let started = std::time::Instant::now();
    loop {
        match Spool::open(options.clone(), disk.clone(), clock) {
            Err(SpoolError::Locked(_)) if started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
}

/// A line with a number, an origin, destinations, and padding.
pub(crate) struct Line<'a> {
    pub(crate) number: u64,
    pub(crate) origin: &'a str,
    pub(crate) to: &'a [u16],
    pub(crate) padding: usize,
}

pub(crate) fn encode(lines: &[Line<'_>]) -> (Vec<u8>, u32) {
    let mut batch = Batch::default();
    for line in lines {
        let raw = format!("{:<width$}", line.number, width = line.padding);
        let to: Vec<u8> = line.to.iter().flat_map(|id| id.to_le_bytes()).collect();
        let mut message = Message::unread(raw.as_bytes(), clock());
        message.set(Field::Origin, line.origin.as_bytes());
        message.set(Field::Destinations, &to);
        assert!(batch.push(&message));
    }
    (batch.bytes().to_vec(), batch.count())
}

/// A batch of consecutive numbers.
pub(crate) fn numbers(numbers: std::ops::Range<u64>, to: &[u16], padding: usize) -> (Vec<u8>, u32) {
    let lines: Vec<_> = numbers.map(|number| Line { number, origin: "", to, padding }).collect();
    encode(&lines)
}

/// Appends, waiting for room of either kind.
pub(crate) async fn append(spool: &Spool, (mut bytes, count): (Vec<u8>, u32)) -> Appended {
    let trying = async {
        loop {
            bytes = match spool.try_append(bytes, count) {
                Ok(appended) => return appended,
                Err(NotYet::QueueFull(back) | NotYet::NoRoom(back)) => back,
                Err(refused) => panic!("{refused}"),
            };
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let appended = tokio::time::timeout(PATIENCE, trying).await;
    appended.unwrap_or_else(|_| panic!("there is no room: {:?}", spool.report()))
}

pub(crate) async fn durable(spool: &Spool, appended: Appended) {
    let mut frontier = spool.frontier();
    let reached = frontier.wait_for(|frontier| *frontier >= appended.last);
    match tokio::time::timeout(PATIENCE, reached).await {
        Ok(reached) => drop(reached.expect("the spool is open")),
        Err(_) => panic!("it does not become durable: {:?}", spool.report()),
    }
}

/// The number on a line.
pub(crate) fn number(message: &Message<'_>) -> u64 {
    str::from_utf8(message.raw).unwrap().trim().parse().unwrap()
}

/// (sequence, number) of the next chunk's lines for the destination, and what to commit; `None` if nothing comes although
/// all that is durable has been read.
pub(crate) async fn chunk(reader: &mut Reader) -> Option<(Vec<(u64, u64)>, u64)> {
    chunk_within(reader, PATIENCE).await
}

/// The same, waiting no longer than that.
pub(crate) async fn chunk_within(reader: &mut Reader, time: Duration) -> Option<(Vec<(u64, u64)>, u64)> {
    let id = reader.id();
    let chunk = tokio::time::timeout(time, reader.next()).await.ok()??;
    let messages = chunk.records().map(|record| Message::decode(record).unwrap());
    let lines: Vec<_> = messages.filter(|message| message.is_for(id)).map(|m| (m.sequence, number(&m))).collect();
    assert_eq!(lines.len() as u64, chunk.count());
    assert!(!lines.is_empty() && lines[0].0 >= chunk.first() && lines.iter().all(|line| line.0 <= chunk.last()));
    Some((lines, chunk.last()))
}

/// Reads until a number was read, without committing. Panics if it does not come.
pub(crate) async fn read_until(reader: &mut Reader, last: u64) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    while all.last().is_none_or(|(_, number)| *number != last) {
        let id = reader.id();
        let next = tokio::time::timeout(PATIENCE, reader.next()).await.expect("more to come").expect("open");
        let messages = next.records().map(|record| Message::decode(record).unwrap());
        all.extend(messages.filter(|message| message.is_for(id)).map(|message| (message.sequence, number(&message))));
    }
    all
}

/// Reads what there is for a destination, as far as it counts as pending, and commits it.
pub(crate) async fn drain(spool: &Spool, id: u16) -> Vec<(u64, u64)> {
    let mut reader = spool.reader(id);
    let mut all = Vec::new();
    while pending(&spool.report(), id) > 0 {
        let Some((lines, last)) = chunk(&mut reader).await else { break };
        all.extend(lines);
        reader.commit(last);
    }
    all
}

pub(crate) fn pending(report: &Report, id: u16) -> u64 {
    report.destinations.iter().find(|destination| destination.id == id).unwrap().pending
}

/// The books of every destination.
pub(crate) fn balance(report: &Report) {
    for d in &report.destinations {
        assert_eq!(d.appended, d.pending + d.delivered + d.dropped + d.lost, "{d:?}");
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited for: {what}"));
}

/// Paths of the segments, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    paths.sort();
    paths
}
