//! A TCP relay that can turn into a black hole: packets go in and nothing ever comes back.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::socket::{Backlog, listen};

use crate::{harness::wait_for, ports::free_port};

/// How often the threads look whether the relay has changed.
const TICK: Duration = Duration::from_millis(20);

/// Passes bytes between its own address and another one. Its threads end with the value.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
    /// Connections that fill the queue of a black hole.
    stuffing: Mutex<Vec<TcpStream>>,
}

#[derive(Default)]
struct Shared {
    black: AtomicBool,
    over: AtomicBool,
}

impl Relay {
    pub(crate) fn to(target: SocketAddr) -> Self {
        // A process that another test is just starting may share the port's probe until it becomes its program.
        let port = free_port();
        let listener = wait_for("the relay's port", || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
        listener.set_nonblocking(true).unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            listener: listener.try_clone().unwrap(),
            shared: Arc::default(),
            stuffing: Mutex::default(),
        };
        let shared = relay.shared.clone();
        thread::spawn(move || accept(&listener, target, &shared));
        relay
    }

    /// From now on nobody is answered: established connections hang, and the handshake of a new one does.
    pub(crate) fn black_hole(&self) {
        self.shared.black.store(true, Ordering::SeqCst);
        // A listening socket whose queue is full drops further SYNs.
        listen(&self.listener, Backlog::new(0).unwrap()).unwrap();
        let mut stuffing = self.stuffing.lock().unwrap();
        while let Ok(stream) = TcpStream::connect_timeout(&self.address, Duration::from_millis(300)) {
            stuffing.push(stream);
        }
    }

    /// Bytes go through again.
    pub(crate) fn pass(&self) {
        self.stuffing.lock().unwrap().clear();
        listen(&self.listener, Backlog::new(128).unwrap()).unwrap();
        self.shared.black.store(false, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, shared: &Arc<Shared>) {
    while !shared.over.load(Ordering::SeqCst) {
        let accepted = if shared.black.load(Ordering::SeqCst) { None } else { listener.accept().ok() };
        let Some((near, _)) = accepted else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        near.set_nonblocking(false).unwrap();
        // When the target is down, so is the relay.
        let Ok(far) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else { continue };
        for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
            from.set_nodelay(true).unwrap();
            let shared = shared.clone();
            thread::spawn(move || copy(from, to, &shared));
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    from.set_read_timeout(Some(TICK)).unwrap();
    let mut buffer = [0; 16384];
    while !shared.over.load(Ordering::SeqCst) {
        if shared.black.load(Ordering::SeqCst) {
            thread::sleep(TICK);
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                while shared.black.load(Ordering::SeqCst) && !shared.over.load(Ordering::SeqCst) {
                    thread::sleep(TICK);
                }
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn a_black_hole_answers_nobody_and_can_be_left() {
    let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = echo.local_addr().unwrap();
    thread::spawn(move || {
        for stream in echo.incoming().map_while(Result::ok) {
            thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut &stream));
        }
    });
    let relay = Relay::to(target);
    let mut stream = TcpStream::connect(relay.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"x").unwrap();
        stream.read(&mut [0]).is_ok_and(|n| n == 1)
    };
    assert!(ask(&mut stream));
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    relay.black_hole();
    assert!(!ask(&mut stream), "an established connection hangs");
    let new = TcpStream::connect_timeout(&relay.address, Duration::from_millis(300));
    assert!(new.is_err(), "so does the handshake of a new one");
    relay.pass();
    wait_for("the relay to pass again", || {
        let mut stream = TcpStream::connect_timeout(&relay.address, Duration::from_secs(3)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        ask(&mut stream).then_some(())
    });
}
