//! Clients of a relay that know what was acknowledged: RELP (librelp's doc/relp.md), written for the tests alone.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Frames that wait for their acknowledgement at most.
const WINDOW: usize = 100;

/// A RELP connection. Lines that were sent and not acknowledged when it breaks are for the caller to send again.
pub(super) struct Relp {
    stream: TcpStream,
    txnr: u32,
    /// Transactions that wait, with the line of each.
    waiting: VecDeque<(u32, String)>,
    input: Vec<u8>,
}

impl Relp {
    pub(super) fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut relp = Self { stream, txnr: 1, waiting: VecDeque::new(), input: Vec::new() };
        let offer = "relp_version=0\nrelp_software=test\ncommands=syslog";
        writeln!(relp.stream, "1 open {} {offer}", offer.len())?;
        relp.waiting.push_back((1, String::new()));
        relp.read()?;
        Ok(relp)
    }

    /// Sends a line; returns the lines that were acknowledged meanwhile.
    pub(super) fn send(&mut self, line: &str) -> io::Result<Vec<String>> {
        self.txnr += 1;
        // Whatever of it is written: without an acknowledgement it is to be sent again.
        self.waiting.push_back((self.txnr, line.to_owned()));
        self.stream.write_all(format!("{} syslog {} {line}\n", self.txnr, line.len()).as_bytes())?;
        if self.waiting.len() < WINDOW { Ok(Vec::new()) } else { self.read() }
    }

    /// Waits for the acknowledgements of everything.
    pub(super) fn finish(&mut self) -> io::Result<Vec<String>> {
        let mut all = Vec::new();
        while !self.waiting.is_empty() {
            all.extend(self.read()?);
        }
        Ok(all)
    }

    /// The lines without acknowledgement.
    pub(super) fn left(self) -> Vec<String> {
        self.waiting.into_iter().map(|(_, line)| line).filter(|line| !line.is_empty()).collect()
    }

    /// Reads at least one response.
    fn read(&mut self) -> io::Result<Vec<String>> {
        loop {
            let mut done = Vec::new();
            while let Some(txnr) = self.response()? {
                let (expected, line) =
                    self.waiting.pop_front().ok_or_else(|| io::Error::other("too many responses"))?;
                assert_eq!(txnr, expected, "responses come in order");
                done.push(line);
            }
            if !done.is_empty() {
                return Ok(done.into_iter().filter(|line| !line.is_empty()).collect());
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.input.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// The transaction of the next whole response, which must be a good one.
    fn response(&mut self) -> io::Result<Option<u32>> {
        let text = String::from_utf8_lossy(&self.input).into_owned();
        let mut words = text.splitn(4, ' ');
        let (Some(txnr), Some(command), Some(length)) = (words.next(), words.next(), words.next()) else {
            return Ok(None);
        };
        let Some(rest) = words.next() else {
            // `0 serverclose 0` has no data.
            return if text.contains("serverclose") { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(None) };
        };
        if command != "rsp" {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let length: usize = length.parse().map_err(io::Error::other)?;
        let whole = text.len() - rest.len() + length + 1;
        if self.input.len() < whole {
            return Ok(None);
        }
        if !rest.starts_with("200") {
            return Err(io::Error::other(format!("refused: {rest}")));
        }
        self.input.drain(..whole);
        txnr.parse().map(Some).map_err(io::Error::other)
    }
}

/// A line with an identity, in the format of RFC 3164.
pub(super) fn line(id: &str) -> String {
    format!("<14>Nov 20 17:05:05 dev-web01 app[7]: {id}")
}
