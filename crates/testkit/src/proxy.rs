//! A TCP proxy that can cut a connection without closing it: what a partition looks like from both ends, without root.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// How often a pump looks whether the line is cut.
const LOOK: Duration = Duration::from_millis(10);

/// Bytes at the beginning of a connection in which the mark of a sender is looked for.
const HEAD: usize = 4 * 1024;

/// A proxy to one address; it ends with this value.
///
/// While it is cut, bytes go nowhere and nobody is told: no end of stream, no reset. New connections are accepted and left alone.
/// Healed, old connections go on with the byte they stopped at.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
}

#[derive(Debug, Default)]
struct Line {
    cut: AtomicBool,
    ended: AtomicBool,
    /// Connections of an older number are dropped.
    generation: AtomicU64,
    /// Connections that begin with one of these are cut.
    cut_marks: Mutex<BTreeSet<String>>,
}

/// One connection.
#[derive(Debug, Default)]
struct Connection {
    generation: u64,
    /// What its near end sent first.
    head: OnceLock<String>,
}

impl Proxy {
    /// A proxy on a port of 127.0.0.1 that the system chooses.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its own address");
        let line = Arc::new(Line::default());
        let accepting = Arc::clone(&line);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                let line = Arc::clone(&accepting);
                thread::spawn(move || line.carry(stream, target));
            }
        });
        Self { address, line }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Carries nothing any more.
    pub fn cut(&self) {
        self.line.cut.store(true, Ordering::SeqCst);
    }

    /// Carries nothing any more of connections whose first bytes hold `mark`, such as a header that names the sender.
    pub fn cut_marked(&self, mark: &str) {
        self.line.marks().insert(mark.to_owned());
    }

    /// Carries again.
    pub fn heal(&self) {
        self.line.cut.store(false, Ordering::SeqCst);
        self.line.marks().clear();
    }

    /// Closes what is open, as a router that restarts; new connections are carried.
    pub fn reset(&self) {
        self.line.generation.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.ended.store(true, Ordering::SeqCst);
        // the accepting thread looks at its next connection; where nobody listens any more it has ended
        let _woken = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Line {
    fn marks(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.cut_marks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cut(&self, connection: &Connection) -> bool {
        let marked = || {
            let marks = self.marks();
            let head = connection.head.get();
            head.is_some_and(|head| marks.iter().any(|mark| head.contains(mark)))
        };
        self.cut.load(Ordering::SeqCst) || marked()
    }

    fn is_over(&self, connection: &Connection) -> bool {
        self.ended.load(Ordering::SeqCst)
            || self.generation.load(Ordering::SeqCst) != connection.generation
    }

    fn wait_while_cut(&self, connection: &Connection) {
        while self.is_cut(connection) && !self.is_over(connection) {
            thread::sleep(LOOK);
        }
    }

    /// Both directions of one connection, until either end closes.
    fn carry(self: Arc<Self>, near: TcpStream, target: SocketAddr) {
        let connection = Connection {
            generation: self.generation.load(Ordering::SeqCst),
            head: OnceLock::new(),
        };
        self.wait_while_cut(&connection);
        if self.is_over(&connection) {
            return;
        }
        // a target that is down looks to the other end as it does without a proxy: the connection closes
        let Ok(far) = TcpStream::connect(target) else {
            return;
        };
        thread::scope(|scope| {
            for (from, to, first) in [(&near, &far, true), (&far, &near, false)] {
                let (line, connection) = (&self, &connection);
                scope.spawn(move || {
                    line.pump(from, to, connection, first);
                    // one direction that ends ends the other
                    let _closed = from.shutdown(std::net::Shutdown::Both);
                    let _closed = to.shutdown(std::net::Shutdown::Both);
                });
            }
        });
    }

    /// Copies until either end closes; the direction of who connected tells who that is.
    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream, connection: &Connection, tells: bool) {
        if from.set_read_timeout(Some(LOOK)).is_err() || to.set_nodelay(true).is_err() {
            return;
        }
        let mut buffer = [0; 16 * 1024];
        while !self.is_over(connection) {
            if self.is_cut(connection) {
                thread::sleep(LOOK);
                continue;
            }
            let read = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => read,
                Err(error) if is_a_pause(error.kind()) => continue,
                Err(_gone) => return,
            };
            let Some(bytes) = buffer.get(..read) else {
                return;
            };
            if tells {
                let head = bytes.get(..HEAD).unwrap_or(bytes);
                connection
                    .head
                    .get_or_init(|| String::from_utf8_lossy(head).into_owned());
            }
            // what was read before the cut is not carried after it
            self.wait_while_cut(connection);
            if to.write_all(bytes).is_err() {
                return;
            }
        }
    }
}

fn is_a_pause(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo that serves one connection.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let mut writer = stream.try_clone().unwrap();
                    std::io::copy(&mut &stream, &mut writer).ok()
                });
            }
        });
        address
    }

    fn answers(stream: &mut TcpStream, patience: Duration) -> bool {
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.read_exact(&mut [0; 1]).is_ok()
    }

    #[test]
    fn a_cut_line_is_silent_in_both_directions_and_goes_on_where_it_stopped() {
        let proxy = Proxy::to(echo());
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(b"a").unwrap();
        assert!(answers(&mut stream, Duration::from_secs(10)));
        proxy.cut();
        stream.write_all(b"b").unwrap();
        assert!(!answers(&mut stream, Duration::from_millis(200)));
        let mut late = TcpStream::connect(proxy.address()).unwrap();
        late.write_all(b"c").unwrap();
        assert!(!answers(&mut late, Duration::from_millis(200)));
        proxy.heal();
        assert!(answers(&mut stream, Duration::from_secs(10)));
        assert!(answers(&mut late, Duration::from_secs(10)));
    }

    #[test]
    fn a_line_is_cut_for_those_alone_who_begin_with_a_mark() {
        let proxy = Proxy::to(echo());
        let begin = |text: &[u8]| {
            let mut stream = TcpStream::connect(proxy.address()).unwrap();
            stream.write_all(text).unwrap();
            stream
        };
        let mut marked = begin(b"m");
        assert!(answers(&mut marked, Duration::from_secs(10)));
        proxy.cut_marked("m");
        marked.write_all(b"x").unwrap();
        assert!(!answers(&mut marked, Duration::from_millis(200)));
        assert!(answers(&mut begin(b"o"), Duration::from_secs(10)));
        assert!(!answers(&mut begin(b"m"), Duration::from_millis(200)));
        proxy.heal();
        assert!(answers(&mut marked, Duration::from_secs(10)));
    }

    #[test]
    fn a_reset_closes_what_is_open_and_carries_what_is_new() {
        let proxy = Proxy::to(echo());
        let mut old = TcpStream::connect(proxy.address()).unwrap();
        old.write_all(b"a").unwrap();
        assert!(answers(&mut old, Duration::from_secs(10)));
        proxy.reset();
        old.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(old.read(&mut [0; 1]), Ok(0) | Err(_)));
        let mut new = TcpStream::connect(proxy.address()).unwrap();
        new.write_all(b"b").unwrap();
        assert!(answers(&mut new, Duration::from_secs(10)));
    }
}
