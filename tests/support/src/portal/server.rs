//! Connections: one thread accepts, one serves each connection, and stopping ends them all.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::http::{self, Incoming, Reply, Request};
use super::trouble::Delivery;

/// How long a client may leave its answer unread.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How long answers that are under way may take to end when the portal stops.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long to read on after a refusal, so that the client gets to see it.
const LINGER: Duration = Duration::from_millis(500);

/// An address that stays taken while nobody listens there: connections are refused meanwhile.
#[derive(Debug)]
pub(super) struct Place {
    address: SocketAddr,
    _reserved: Socket,
}

impl Place {
    pub(super) fn reserve(address: SocketAddr) -> io::Result<Self> {
        let reserved = bound(address)?;
        let unknown = || io::Error::other("the socket has no address");
        let address = reserved.local_addr()?.as_socket().ok_or_else(unknown)?;
        Ok(Self { address, _reserved: reserved })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    fn listen(&self) -> io::Result<TcpListener> {
        let socket = bound(self.address)?;
        socket.listen(128)?;
        Ok(socket.into())
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Who answers what comes.
pub(super) trait Desk: std::fmt::Debug + Send + Sync {
    fn answer(&self, request: &Request) -> Delivery;
    /// This is the answer to what cannot be parsed.
    fn refuse(&self, reply: Reply) -> Delivery;
}

/// A server that can go down and come back.
#[derive(Debug)]
pub(super) struct Door {
    place: Place,
    desk: Arc<dyn Desk>,
    server: Mutex<Option<Server>>,
}

impl Door {
    pub(super) fn open(place: Place, desk: Arc<dyn Desk>) -> io::Result<Self> {
        let server = Server::start(&place, Arc::clone(&desk))?;
        Ok(Self { place, desk, server: Mutex::new(Some(server)) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.place.address()
    }

    pub(super) fn stop(&self) {
        if let Some(server) = self.server().take() {
            server.stop();
        }
    }

    pub(super) fn restart(&self) {
        self.stop();
        let server = Server::start(&self.place, Arc::clone(&self.desk));
        *self.server() = Some(server.expect("restart the portal simulator"));
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    lobby: Arc<Lobby>,
    accepting: JoinHandle<()>,
}

impl Server {
    fn start(place: &Place, desk: Arc<dyn Desk>) -> io::Result<Self> {
        let listener = place.listen()?;
        let lobby = Arc::new(Lobby::default());
        let accepting = thread::Builder::new().name("portal".to_owned()).spawn({
            let lobby = Arc::clone(&lobby);
            move || accept(listener, &lobby, &*desk)
        })?;
        Ok(Self { address: place.address(), lobby, accepting })
    }

    /// Refuses new connections, lets answers under way end, closes all, and joins the threads.
    fn stop(self) {
        self.lobby.close();
        // The accepting thread waits for a connection: this one tells it to look up.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        self.lobby.empty(FAREWELL);
        let ended = self.accepting.join();
        if !thread::panicking() {
            ended.expect("a thread of the portal simulator panicked");
        }
    }
}

fn accept(listener: TcpListener, lobby: &Lobby, desk: &dyn Desk) {
    thread::scope(|scope| {
        // Moved in, so that it closes before the connections' threads are waited for.
        let listener = listener;
        for number in 0_u64.. {
            match listener.accept() {
                Ok((stream, _)) => match lobby.enter(number, &stream) {
                    Ok(true) => {
                        scope.spawn(move || {
                            serve(stream, lobby, desk);
                            lobby.leave(number);
                        });
                    }
                    Ok(false) => return,
                    Err(_) => {}
                },
                Err(_) if lobby.is_closed() => return,
                // A connection that ended before it was accepted is no reason to stop; a lack of
                // file descriptors passes.
                Err(_) => {
                    lobby.wait_closed(Some(Duration::from_millis(10)));
                }
            }
        }
    });
}

fn serve(mut stream: TcpStream, lobby: &Lobby, desk: &dyn Desk) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_write_timeout(Some(WRITE_LIMIT));
    // A connection that breaks is the client's affair, and often what was asked for.
    if let Ok(End::Refused) = converse(&mut stream, lobby, desk) {
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.set_read_timeout(Some(LINGER));
        let _ = io::copy(&mut stream.take(1 << 20), &mut io::sink());
    }
}

/// How a conversation ended.
enum End {
    Said,
    Refused,
}

/// Answers request after request. The stream is any, so that TLS can come between.
fn converse(stream: &mut (impl Read + Write), lobby: &Lobby, desk: &dyn Desk) -> io::Result<End> {
    let mut pending = Vec::new();
    loop {
        let request = match http::read(stream, &mut pending)? {
            Incoming::End => return Ok(End::Said),
            Incoming::Refused(reply) => {
                deliver(stream, desk.refuse(reply), false, lobby)?;
                return Ok(End::Refused);
            }
            Incoming::Request(request) => request,
        };
        if !deliver(stream, desk.answer(&request), request.keep_alive, lobby)? {
            return Ok(End::Said);
        }
    }
}

/// Sends an answer; says whether the connection can be kept.
fn deliver(
    stream: &mut (impl Read + Write),
    delivery: Delivery,
    keep_alive: bool,
    lobby: &Lobby,
) -> io::Result<bool> {
    match delivery {
        Delivery::Whole(reply) => {
            let mut bytes = reply.head(keep_alive, Some(reply.body.len())).into_bytes();
            bytes.extend_from_slice(&reply.body);
            stream.write_all(&bytes)?;
            Ok(keep_alive)
        }
        Delivery::Half(reply) => {
            stream.write_all(reply.head(keep_alive, Some(reply.body.len())).as_bytes())?;
            stream.write_all(&reply.body[..reply.body.len() / 2])?;
            Ok(false)
        }
        Delivery::Slow(reply, pause) => {
            stream.write_all(reply.head(keep_alive, Some(reply.body.len())).as_bytes())?;
            for byte in &reply.body {
                if lobby.wait_closed(Some(Duration::from_millis(pause))) {
                    return Ok(false);
                }
                stream.write_all(std::slice::from_ref(byte))?;
            }
            Ok(keep_alive)
        }
        Delivery::Endless(length) => {
            let reply = Reply::typed(200, "application/json; charset=utf-8", Vec::new());
            stream.write_all(reply.head(false, None).as_bytes())?;
            let (start, end) = (br#"{"padding":""#, br#""}"#);
            stream.write_all(start)?;
            write_padding(stream, length.saturating_sub((start.len() + end.len()) as u64), lobby)?;
            stream.write_all(end)?;
            Ok(false)
        }
        Delivery::Flood { reply, bytes, announced } => {
            let length = announced.then(|| usize::try_from(bytes).unwrap_or(usize::MAX));
            stream.write_all(reply.head(false, length).as_bytes())?;
            stream.write_all(&reply.body)?;
            write_padding(stream, bytes.saturating_sub(reply.body.len() as u64), lobby)?;
            Ok(false)
        }
        Delivery::Cut => Ok(false),
        Delivery::Hang => {
            lobby.wait_closed(None);
            Ok(false)
        }
    }
}

fn write_padding(stream: &mut impl Write, length: u64, lobby: &Lobby) -> io::Result<()> {
    let mut left = length;
    let chunk = [b'x'; 8192];
    while left > 0 && !lobby.is_closed() {
        let size = left.min(chunk.len() as u64);
        stream.write_all(&chunk[..size as usize])?;
        left -= size;
    }
    Ok(())
}

/// The connections that are open, and whether the house closes.
#[derive(Debug, Default)]
struct Lobby {
    guests: Mutex<Guests>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Guests {
    streams: HashMap<u64, TcpStream>,
    closed: bool,
}

impl Lobby {
    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection; `false` when the house closes.
    fn enter(&self, number: u64, stream: &TcpStream) -> io::Result<bool> {
        let mut guests = self.lock();
        if !guests.closed {
            guests.streams.insert(number, stream.try_clone()?);
        }
        Ok(!guests.closed)
    }

    fn leave(&self, number: u64) {
        // The clone here must not keep the connection open: the client waits for its end.
        if let Some(stream) = self.lock().streams.remove(&number) {
            drop(stream);
        }
        self.changed.notify_all();
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Nobody is let in any more, and no more is read from those inside.
    fn close(&self) {
        let mut guests = self.lock();
        guests.closed = true;
        for stream in guests.streams.values() {
            let _ = stream.shutdown(Shutdown::Read);
        }
        drop(guests);
        self.changed.notify_all();
    }

    /// Waits until all have left, then closes on those that have not.
    fn empty(&self, patience: Duration) {
        let someone = |guests: &mut Guests| !guests.streams.is_empty();
        let (guests, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, someone)
            .unwrap_or_else(PoisonError::into_inner);
        for stream in guests.streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits for the house to close; `false` when the time was up first.
    fn wait_closed(&self, limit: Option<Duration>) -> bool {
        let until = limit.map(|limit| Instant::now() + limit);
        let mut guests = self.lock();
        while !guests.closed {
            guests = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    let waited = self.changed.wait_timeout(guests, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(guests).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }
}
