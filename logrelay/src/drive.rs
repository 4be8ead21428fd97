//! What keeps one destination going: it takes records from the spool at the destination's own cursor, and from the queue of
//! routes that are not durable, and has the sink deliver them.
//!
//! Each destination has a thread of its own with a small runtime of its own: a disk that hangs, a receiver that takes
//! nothing, holds nobody else up. What failed is tried again, after a growing pause, until it succeeds or the operator
//! takes the destination away; the cursor moves only over what was delivered. A crash repeats what was delivered since
//! the cursor was last written down, and loses nothing.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use crate::{destination::Sink, queue::Queue, spool::Reader};

mod driver;
mod progress;

use driver::Driver;
pub(crate) use progress::Progress;

/// First pause after a failure; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// How often a sink may look after itself.
const IDLE_EVERY: Duration = Duration::from_secs(1);
/// How long the last deliveries may take when the destination is stopped.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// Commands that wait at most.
const COMMANDS_MAX: usize = 16;

/// What can be said to a running destination.
#[derive(Debug)]
enum Command {
    Reopen,
    Pause(bool),
    Change(Change),
    Stop(oneshot::Sender<()>),
}

/// What another configuration makes different.
#[derive(Debug)]
pub(crate) struct Change {
    /// What delivers from now on, unless that stays; the cursor and the queue stay in any case.
    pub(crate) sink: Option<Box<Sink>>,
    /// Whether it pauses.
    pub(crate) paused: bool,
    /// Longest pause between attempts.
    pub(crate) pause_max: Duration,
}

/// A running destination.
#[derive(Debug)]
pub(crate) struct Destination {
    /// Name in the configuration.
    pub(crate) name: String,
    /// Number in the spool.
    pub(crate) number: u16,
    /// The way that does not go through the spool.
    pub(crate) queue: Arc<Queue>,
    /// What it did.
    pub(crate) progress: Arc<Progress>,
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a destination is started with.
pub(crate) struct Start {
    /// Name in the configuration.
    pub(crate) name: String,
    /// Number in the spool.
    pub(crate) number: u16,
    /// What delivers.
    pub(crate) sink: Sink,
    /// The spool at the destination's cursor.
    pub(crate) reader: Reader,
    /// The way that does not go through the spool.
    pub(crate) queue: Arc<Queue>,
    /// Whether it begins paused.
    pub(crate) paused: bool,
    /// Longest pause between attempts.
    pub(crate) pause_max: Duration,
    /// Microseconds since 1970.
    pub(crate) clock: fn() -> i64,
}

impl Destination {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread or no event queue for it.
    pub(crate) fn start(start: Start) -> std::io::Result<Self> {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let progress = Arc::new(Progress::default());
        progress.paused.store(start.paused, Relaxed);
        let (name, number, queue) = (start.name.clone(), start.number, start.queue.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let driver = Driver {
            name: start.name,
            number: start.number,
            sink: start.sink,
            reader: start.reader,
            queue: start.queue,
            progress: progress.clone(),
            inbox,
            pause: PAUSE_MIN,
            pause_max: start.pause_max.max(PAUSE_MIN),
            clock: start.clock,
        };
        // The kernel keeps 15 octets of a thread's name.
        let label: String = format!("log {name}").chars().take(15).collect();
        let thread = std::thread::Builder::new().name(label).spawn(move || runtime.block_on(driver.run()))?;
        Ok(Self { name, number, queue, progress, commands, thread: Mutex::new(Some(thread)) })
    }

    /// Closes and opens files again.
    pub(crate) fn reopen(&self) {
        self.say(Command::Reopen);
    }

    /// Stops delivering, or goes on; what comes meanwhile waits. False: it is too busy to be told.
    pub(crate) fn pause(&self, paused: bool) -> bool {
        self.say(Command::Pause(paused))
    }

    /// A place for a change among the commands that wait; none if it is too busy to be told. Then nothing has changed.
    pub(crate) fn reserve(&self) -> Option<Place> {
        self.commands.clone().try_reserve_owned().ok().map(Place)
    }

    fn say(&self, command: Command) -> bool {
        let told = self.commands.try_send(command).is_ok();
        if !told {
            tracing::warn!(destination = self.name, "is too busy to be told; repeat the command");
        }
        told
    }

    /// Whether its thread still runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops it after what is under way; what is not delivered stays in the spool.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        let stop = async { self.commands.send(Command::Stop(done)).await.is_ok() && stopped.await.is_ok() };
        if tokio::time::timeout(STOP_WITHIN, stop).await.is_err() {
            tracing::warn!(destination = self.name, "did not come to an end in time");
        }
    }
}

/// A reserved place for a [`Change`].
#[derive(Debug)]
pub(crate) struct Place(mpsc::OwnedPermit<Command>);

impl Place {
    /// Tells the destination.
    pub(crate) fn change(self, change: Change) {
        self.0.send(Command::Change(change));
    }
}
