//! Which receiver is connected: the first that can be reached, and the first of the list again when it can be.

use std::sync::atomic::Ordering::Relaxed;

use tokio::net::UdpSocket;
use wire::upstream::TlsUpstream;

use super::{
    SyslogSink, connect, datagram,
    options::Options,
    relp::Relp,
    stream::Stream,
    target::{Target, Transport},
};
use crate::destination::counters::count;

/// A connection to a receiver.
#[derive(Debug)]
pub(super) enum Link {
    Datagram(UdpSocket),
    Stream(Box<Stream>),
    Relp(Box<Relp>),
}

impl Link {
    /// Connects to `target`.
    async fn new(target: &Target, options: &Options, tls: Option<&TlsUpstream>) -> Result<Self, String> {
        let transport = target.transport;
        if transport == Transport::Udp {
            return connect::datagram(target, options.timeout).await.map(Self::Datagram);
        }
        let connection = connect::stream(target, tls, options.timeout).await?;
        if transport.is_relp() {
            let session = Relp::open(connection, transport, options.window, options.timeout).await?;
            return Ok(Self::Relp(Box::new(session)));
        }
        Ok(Self::Stream(Box::new(Stream::new(connection))))
    }

    pub(super) async fn is_over(&mut self) -> bool {
        match self {
            Self::Datagram(_) => false,
            Self::Stream(stream) => stream.connection.is_over().await,
            Self::Relp(session) => session.is_over().await,
        }
    }

    /// Ends it in order. Whether that tells that everything which was written to it has been read; only a stream can.
    pub(super) async fn close(self) -> bool {
        match self {
            Self::Datagram(_) => false,
            Self::Stream(stream) => stream.close().await,
            Self::Relp(session) => {
                session.close().await;
                false
            }
        }
    }
}

impl SyslogSink {
    /// The connection failed: leaves this receiver out for a while. Returns the sentence.
    pub(super) fn broken(&mut self, reason: &str, now_us: i64) -> String {
        count(&self.counters.reconnects);
        self.leave_out(self.current, now_us);
        format!("destination {}: {}: {reason}.", self.options.name, self.target())
    }

    fn leave_out(&mut self, at: usize, now_us: i64) {
        if let Some(until) = self.down_until_us.get_mut(at) {
            *until = now_us.saturating_add(self.options.reopen_us);
        }
    }

    /// There is a connection; what a former one may have lost was sent again.
    pub(super) async fn ready(&mut self, now_us: i64) -> Result<(), String> {
        self.prefer_first(now_us).await;
        if let Some(link) = &mut self.link
            && link.is_over().await
        {
            count(&self.counters.reconnects);
            self.link = None;
        }
        if self.link.is_none() {
            self.connect(now_us).await?;
        }
        Ok(())
    }

    /// Connects to the first receiver that can be reached.
    pub(super) async fn connect(&mut self, now_us: i64) -> Result<(), String> {
        let (options, mut failed) = (self.options.clone(), Vec::new());
        let is_down = |at: &usize| self.down_until_us.get(*at).is_some_and(|until| *until > now_us);
        let (last, first): (Vec<_>, Vec<_>) = (0..options.targets.len()).partition(is_down);
        for at in first.into_iter().chain(last) {
            let Some(target) = options.targets.get(at) else { continue };
            match Link::new(target, &options, self.tls.as_ref()).await {
                Ok(link) => {
                    self.take_over(at, link, now_us);
                    return self.resend(now_us).await;
                }
                Err(error) => {
                    count(&self.counters.reconnects);
                    if target.transport == Transport::Udp {
                        self.leave_out(at, now_us);
                    }
                    failed.push(format!("{target}: {error}"));
                }
            }
        }
        let remedy = "check that it listens, and that no firewall stands between";
        Err(format!("destination {}: no receiver can be reached ({}); {remedy}.", options.name, failed.join("; ")))
    }

    fn take_over(&mut self, at: usize, link: Link, now_us: i64) {
        count(&self.counters.connects);
        if at != self.current {
            count(&self.counters.failovers);
        }
        if let Some(until) = self.down_until_us.get_mut(at) {
            *until = 0;
        }
        (self.current, self.link, self.since_us, self.probed_us) = (at, Some(link), now_us, now_us);
    }

    /// Sends again what a former stream may have lost. RELP has no way for lines whose records are gone: with it they wait
    /// for the next stream.
    async fn resend(&mut self, now_us: i64) -> Result<(), String> {
        if self.tail.is_empty() {
            return Ok(());
        }
        let patience = self.options.timeout;
        // Taken out, so that a delivery that is given up on the way leaves no half-used connection.
        let (link, messages) = match self.link.take() {
            Some(Link::Stream(mut stream)) => {
                let sent = self.tail.unconfirmed(self.framing(), &self.counters);
                if let (_, Err(reason)) = stream.send(&sent.octets, patience).await {
                    return Err(self.broken(&reason, now_us));
                }
                (Some(Link::Stream(stream)), sent.ends.len())
            }
            Some(Link::Datagram(socket)) => {
                let sent = self.tail.unconfirmed(None, &self.counters);
                if let Err(stopped) = datagram::send(&socket, &sent, patience, &self.counters, |_| true).await {
                    return Err(self.broken(&stopped.reason, now_us));
                }
                self.tail.clear();
                (Some(Link::Datagram(socket)), sent.ends.len())
            }
            link => (link, 0),
        };
        self.link = link;
        self.counters.resent.fetch_add(messages as u64, Relaxed);
        Ok(())
    }

    /// While the receiver is not the first: tries those before it every `reopen_s`, and changes over when one answers.
    pub(super) async fn prefer_first(&mut self, now_us: i64) {
        if let Some(probe) = self.probe.take_if(|probe| probe.is_finished())
            && let Ok(Some((at, link))) = probe.await
        {
            self.end_link().await;
            self.take_over(at, link, now_us);
            if let Err(reason) = self.resend(now_us).await {
                self.last_error = Some((now_us, reason));
            }
        }
        let due = now_us.saturating_sub(self.probed_us) >= self.options.reopen_us;
        if self.current == 0 || self.link.is_none() || self.probe.is_some() || !due {
            return;
        }
        self.probed_us = now_us;
        let better: Vec<_> = (0..self.current).filter(|at| self.may_return(*at, now_us)).collect();
        if better.is_empty() {
            return;
        }
        let (options, tls) = (self.options.clone(), self.tls.clone());
        self.probe = Some(tokio::spawn(async move {
            for at in better {
                let Some(target) = options.targets.get(at) else { continue };
                if let Ok(link) = Link::new(target, &options, tls.as_ref()).await {
                    return Some((at, link));
                }
            }
            None
        }));
    }

    /// Whether a receiver before the current one may be tried. One over UDP does not answer, so that an attempt says
    /// nothing: it gets another chance when it was given up and its time is over.
    fn may_return(&self, at: usize, now_us: i64) -> bool {
        let udp = self.options.targets.get(at).is_some_and(|target| target.transport == Transport::Udp);
        !udp || self.down_until_us.get(at).is_some_and(|until| *until != 0 && *until <= now_us)
    }
}
