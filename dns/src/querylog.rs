//! The optional query log: one line per query, over whatever transport.
//!
//! `2026-01-31T12:00:00.000Z 10.1.2.3#4242 www.acme.private. A NOERROR udp`; the time is that of writing,
//! and `-` stands for what is not known or was not sent.
//! Answering threads only copy the question into a bounded queue; one thread formats and writes. A
//! full queue or a full disk loses lines, which are counted, and never an answer. Flushed every
//! second; a crash loses that second. The file is opened anew on request, for log rotation.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant, SystemTime},
};

use smallvec::SmallVec;

use crate::{name, query, rr::rcode_name, stream::Transport, text};

/// Lines that wait for the writer at most.
const QUEUE: usize = 16_384;
const FLUSH_EVERY: Duration = Duration::from_secs(1);

struct Entry {
    peer: SocketAddr,
    transport: Transport,
    question: SmallVec<[u8; 64]>,
    rcode: Option<u8>,
}

/// Handle of the answering threads.
pub(crate) struct QueryLog {
    queue: SyncSender<Entry>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    lost: AtomicU64,
    reopen: AtomicBool,
}

/// A log whose file is open. Nobody writes yet: a thread that starts before privileges are dropped keeps its own.
pub(crate) struct OpenLog {
    path: PathBuf,
    file: File,
}

impl OpenLog {
    /// Opens the file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.into(), file: append(path)? })
    }

    /// Starts the writer.
    pub(crate) fn start(self) -> io::Result<QueryLog> {
        let (queue, entries) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let writer = Writer { path: self.path, out: BufWriter::new(self.file), entries, shared: shared.clone() };
        std::thread::Builder::new().name("query-log".into()).spawn(move || writer.run())?;
        Ok(QueryLog { queue, shared })
    }
}

impl QueryLog {
    /// Notes one exchange; an empty reply was not sent.
    pub(crate) fn record(&self, peer: SocketAddr, transport: Transport, query: &[u8], reply: &[u8]) {
        let question = query.get(query::HEADER..).map(SmallVec::from_slice).unwrap_or_default();
        let entry = Entry { peer, transport, question, rcode: reply.get(3).map(|flags| flags & 15) };
        if self.queue.try_send(entry).is_err() {
            self.shared.lost.fetch_add(1, Relaxed);
        }
    }

    /// Lines lost because the queue was full or the file could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Relaxed)
    }

    /// Has the writer open the file anew.
    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Relaxed);
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

struct Writer {
    path: PathBuf,
    out: BufWriter<File>,
    entries: Receiver<Entry>,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self) {
        let mut flushed = Instant::now();
        loop {
            match self.entries.recv_timeout(FLUSH_EVERY) {
                Ok(entry) => self.write(&entry),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.out.flush();
                    return;
                }
            }
            if flushed.elapsed() >= FLUSH_EVERY {
                flushed = Instant::now();
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.out.flush() {
            tracing::warn!(path = %self.path.display(), %error, "cannot write the query log; lines are lost");
            self.shared.lost.fetch_add(1, Relaxed);
        }
        if self.shared.reopen.swap(false, Relaxed) {
            match append(&self.path) {
                Ok(file) => self.out = BufWriter::new(file),
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), %error, "cannot open the query log anew; writing on to the old file");
                }
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the writer stamps its lines")]
    fn write(&mut self, entry: &Entry) {
        let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
        let (asked, qtype) = match name::wire_len(&entry.question) {
            Some(length) => {
                let qtype = entry.question.get(length..length + 2).map_or(0, |t| u16::from_be_bytes([t[0], t[1]]));
                (name::display(&entry.question[..length].to_ascii_lowercase()), text::type_name(qtype))
            }
            None => ("-".into(), "-".into()),
        };
        let rcode = entry.rcode.map_or("-".into(), |code| rcode_name(code.into()));
        let (peer, transport) = (show_peer(entry.peer), entry.transport.name());
        if writeln!(self.out, "{now:.3} {peer} {asked} {qtype} {rcode} {transport}").is_err() {
            self.shared.lost.fetch_add(1, Relaxed);
        }
    }
}

fn show_peer(peer: SocketAddr) -> String {
    format!("{}#{}", peer.ip(), peer.port())
}
