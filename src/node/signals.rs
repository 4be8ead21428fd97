//! Signals, the service manager, and the end of the node.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::task::{self, Ended};
use crate::{api::App, exit::Failure};

/// How often the status line for the service manager is renewed when it asks for no watchdog.
const BEAT: Duration = Duration::from_secs(15);

/// The signals that the node listens to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// Tells the service manager, if there is one.
pub(super) fn tell(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        tracing::debug!("the service manager was not told: {e}");
    }
}

impl Signals {
    /// Starts to catch them.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until the node is told to stop, or one of its tasks ends by itself.
    ///
    /// # Errors
    /// Which task ended, and why.
    pub(super) async fn until_end(
        &mut self,
        tasks: &mut JoinSet<Ended>,
        app: &App,
        reload: impl Fn(),
    ) -> Result<(), Failure> {
        // Half the time that the watchdog allows, as sd_watchdog_enabled(3) advises.
        let mut beat = interval(sd_notify::watchdog_enabled().map_or(BEAT, |limit| limit / 2));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ok(()),
                _ = self.interrupt.recv() => return Ok(()),
                _ = self.hangup.recv() => {
                    tracing::info!("reading inventory, token and certificates again");
                    let since = NotifyState::monotonic_usec_now();
                    let mut states = vec![NotifyState::Reloading];
                    states.extend(since);
                    tell(&states);
                    reload();
                    tell(&[NotifyState::Ready]);
                }
                Some(ended) = tasks.join_next() => return Err(task::failure(ended)),
                _ = beat.tick() => {
                    let state = app.keeper.state();
                    let stuck = app.sources.all().iter().filter(|s| s.trouble.is_some()).count();
                    let line = format!(
                        "serving {} hosts, serial {}, {stuck} sources stuck, {} changes held",
                        state.host_count(), state.position().serial, app.keeper.held().len(),
                    );
                    tell(&[NotifyState::Watchdog, NotifyState::Status(&line)]);
                }
            }
        }
    }
}
