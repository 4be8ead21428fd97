//! Where a source puts what it receives.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use super::{Clock, Counters};
use crate::intake::{Intake, Line, Receipt, Sender, Stopping};

/// The road into the relay: an [`Intake`], or in tests something that keeps what it is given. The methods are those of
/// [`Intake`] and [`Receipt`].
pub trait Road: Send + 'static {
    /// For a batch that was handed on.
    type Receipt: Send + 'static;
    /// Who sends what follows.
    fn sender(&mut self, sender: &Sender);
    /// Takes a line.
    fn line(&mut self, line: Line<'_>);
    /// Takes a record of another relay of ours; false if it is none.
    fn record(&mut self, record: &[u8]) -> bool;
    /// Whether the batch should be handed on now.
    fn is_full(&self) -> bool;
    /// Hands the batch on, waiting for room.
    fn flush(&mut self) -> impl Future<Output = Result<Self::Receipt, Stopping>> + Send;
    /// Hands the batch on without waiting.
    fn flush_or_shed(&mut self);
    /// Gives up the batch, which will be sent again.
    fn give_up(&mut self);
    /// Whether the batch is durable.
    fn is_durable(receipt: &Self::Receipt) -> bool;
    /// Waits until it is.
    fn durable(receipt: Self::Receipt) -> impl Future<Output = Result<(), Stopping>> + Send + 'static;
}

impl Road for Intake {
    type Receipt = Receipt;

    fn sender(&mut self, sender: &Sender) {
        Intake::sender(self, sender);
    }

    fn line(&mut self, line: Line<'_>) {
        Intake::line(self, line);
    }

    fn record(&mut self, record: &[u8]) -> bool {
        Intake::record(self, record)
    }

    fn is_full(&self) -> bool {
        Intake::is_full(self)
    }

    fn flush(&mut self) -> impl Future<Output = Result<Receipt, Stopping>> + Send {
        Intake::flush(self)
    }

    fn flush_or_shed(&mut self) {
        Intake::flush_or_shed(self);
    }

    fn give_up(&mut self) {
        Intake::give_up(self);
    }

    fn is_durable(receipt: &Receipt) -> bool {
        receipt.is_durable()
    }

    fn durable(receipt: Receipt) -> impl Future<Output = Result<(), Stopping>> + Send + 'static {
        receipt.durable()
    }
}

/// [`Road::flush`]; the time that it takes counts as waiting only when it does not end at once.
pub(crate) async fn hand_on<R: Road>(road: &mut R, counters: &Counters, clock: Clock) -> Result<R::Receipt, Stopping> {
    let mut flush = pin!(road.flush());
    if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(flush.as_mut().poll(cx))).await {
        return done;
    }
    let _waiting = counters.wait(clock);
    flush.await
}
