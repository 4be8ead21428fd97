//! Read buffers of connections: shared, and held only by connections that have something to read.
//!
//! A read takes a buffer from the pool; when nothing more comes, the few octets of an unfinished line move to memory of
//! just their size and the buffer goes back. An idle connection so holds no buffer at all.
//!
//! Limits: of unfinished lines that are longer than [`PARKED_MAX`] the buffer stays with the connection; when such
//! buffers come to more than [`HELD_MAX`], the connection that wants one more is told to end.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

use crate::framing::Buffer;

/// Octets of a read at most, as a rule.
pub(crate) const READ: usize = 64 << 10;
/// Buffers that are kept for the next connection that wants one.
const FREE_MAX: usize = 64;
/// Octets of an unfinished line that are kept without the buffer.
const PARKED_MAX: usize = 4 << 10;
/// Octets of buffers that waiting connections hold at most.
const HELD_MAX: usize = 256 << 20;

/// Buffers that no connection holds.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<Vec<Buffer>>,
    held: AtomicUsize,
}

impl Pool {
    fn take(&self) -> Buffer {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| Buffer::new(READ))
    }

    fn give(&self, mut buffer: Buffer) {
        // A buffer that has grown for a long line goes back to the allocator.
        if buffer.capacity() == READ {
            buffer.clear();
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < FREE_MAX {
                free.push(buffer);
            }
        }
    }
}

/// What one connection has read and not taken.
#[derive(Debug)]
pub(crate) struct Input {
    pool: Arc<Pool>,
    buffer: Option<Buffer>,
    parked: Box<[u8]>,
    /// Octets of the buffer that count as held.
    held: usize,
}

impl Input {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, buffer: None, parked: Box::default(), held: 0 }
    }

    /// What was read.
    pub(crate) fn buffer(&mut self) -> &mut Buffer {
        let parked = std::mem::take(&mut self.parked);
        self.buffer.get_or_insert_with(|| {
            let mut buffer = self.pool.take();
            buffer.put(&parked);
            buffer
        })
    }

    /// Reads once, with room for a frame of `frame_max` octets. 0: the stream has ended.
    ///
    /// # Errors
    /// `OutOfMemory`: too much is held already by connections that wait for the end of a line.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        frame_max: usize,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = self.buffer.take().unwrap_or_else(|| {
            let mut buffer = self.pool.take();
            buffer.put(&self.parked);
            buffer
        });
        let mut room = ReadBuf::new(buffer.room(frame_max));
        let polled = Pin::new(stream).poll_read(cx, &mut room);
        let count = room.filled().len();
        if polled.is_pending() {
            return self.park(buffer);
        }
        self.parked = Box::default();
        self.pool.held.fetch_sub(std::mem::take(&mut self.held), Relaxed);
        buffer.filled(count);
        self.buffer = Some(buffer);
        ready!(polled)?;
        Poll::Ready(Ok(count))
    }

    fn park(&mut self, buffer: Buffer) -> Poll<io::Result<usize>> {
        let pending = buffer.pending();
        if pending.len() <= PARKED_MAX {
            if self.parked.len() != pending.len() {
                self.parked = pending.into();
            }
            self.pool.give(buffer);
            return Poll::Pending;
        }
        let capacity = buffer.capacity();
        self.buffer = Some(buffer);
        if self.held == 0 {
            if self.pool.held.fetch_add(capacity, Relaxed) + capacity > HELD_MAX {
                self.pool.held.fetch_sub(capacity, Relaxed);
                return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
            }
            self.held = capacity;
        }
        Poll::Pending
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.pool.held.fetch_sub(self.held, Relaxed);
        if let Some(buffer) = self.buffer.take() {
            self.pool.give(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that gives pieces, and is pending in between.
    struct Pieces(Vec<Option<Vec<u8>>>);

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            match self.0.pop() {
                Some(Some(piece)) => {
                    buf.put_slice(&piece);
                    Poll::Ready(Ok(()))
                }
                Some(None) => Poll::Pending,
                None => Poll::Ready(Ok(())),
            }
        }
    }

    #[test]
    fn a_waiting_connection_holds_what_it_must_and_no_more() {
        let pool = Arc::new(Pool::default());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let pieces = vec![Some(vec![b'c'; 10_000]), None, None, Some(b"b".to_vec()), None, None, Some(b"a".to_vec())];
        let (mut stream, mut input) = (Pieces(pieces), Input::new(pool.clone()));
        let mut poll = |input: &mut Input, stream: &mut Pieces| input.poll_read(&mut cx, stream, 1000);
        let free = || pool.free.lock().unwrap().len();

        assert!(matches!(poll(&mut input, &mut stream), Poll::Ready(Ok(1))));
        assert_eq!(free(), 0);
        for _ in 0..2 {
            assert!(poll(&mut input, &mut stream).is_pending());
            assert_eq!((free(), &*input.parked), (1, b"a".as_slice()));
        }
        assert!(matches!(poll(&mut input, &mut stream), Poll::Ready(Ok(1))));
        assert_eq!(input.buffer().pending(), b"ab");
        input.buffer().consume(2);
        for _ in 0..2 {
            assert!(poll(&mut input, &mut stream).is_pending());
            assert_eq!((free(), input.parked.len()), (1, 0));
        }
        stream.0.insert(0, None);
        assert!(matches!(poll(&mut input, &mut stream), Poll::Ready(Ok(10_000))));
        assert!(poll(&mut input, &mut stream).is_pending());
        assert_eq!((free(), pool.held.load(Relaxed)), (0, READ), "a long unfinished line keeps its buffer");
        assert_eq!(input.buffer().pending().len(), 10_000);

        pool.held.store(HELD_MAX, Relaxed);
        let mut other = Input::new(pool.clone());
        let mut stream = Pieces(vec![None, Some(vec![b'x'; 5000])]);
        assert!(poll(&mut other, &mut stream).is_ready());
        let Poll::Ready(Err(error)) = poll(&mut other, &mut stream) else { panic!("held too much") };
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(other.buffer().pending().len(), 5000, "what was read is still there");
        drop((input, other));
        assert_eq!(free(), 2);
    }
}
