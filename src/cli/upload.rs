//! A body that is sent in pieces while a bar shows how far it is.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use indicatif::{ProgressBar, ProgressStyle};

/// Octets of one piece.
const PIECE: usize = 256 * 1024;
/// How often the mark moves while the node works.
const TICK: Duration = Duration::from_millis(120);

/// The bar for `total` octets; hidden unless somebody watches.
pub(super) fn bar(total: usize) -> ProgressBar {
    if !super::watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total as u64);
    let style = ProgressStyle::with_template("{spinner} {msg} {bar:30} {bytes}/{total_bytes} {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message("sending");
    bar.enable_steady_tick(TICK);
    bar
}

/// A body with its bar.
pub(super) struct Upload {
    rest: Bytes,
    bar: ProgressBar,
}

impl Upload {
    /// Sends `bytes`.
    pub(super) fn new(bytes: Bytes, bar: ProgressBar) -> Self {
        Self { rest: bytes, bar }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        self.bar.inc(length as u64);
        if self.rest.is_empty() {
            self.bar.set_message("the node checks and stores");
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn everything_is_sent_in_pieces() {
        let bytes = Bytes::from(vec![7; PIECE * 2 + 1]);
        let mut upload = Upload::new(bytes.clone(), ProgressBar::hidden());
        let mut sizes = Vec::new();
        while let Some(frame) = upload.frame().await {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(sizes, [PIECE, PIECE, 1]);
        assert!(upload.is_end_stream());
    }
}
