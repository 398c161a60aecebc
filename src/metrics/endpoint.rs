//! `GET /metrics`, for this host alone: few callers at once, little patience. A browser on this host may be led here
//! by a name of somebody else's (DNS rebinding): only names that mean this host are answered.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::platform::{self, ControlListener};

/// Others wait in the system's queue.
const AT_ONCE: usize = 4;
/// For a caller to say what it wants.
const HEAD: Duration = Duration::from_secs(5);
/// For all of a call.
const CALL: Duration = Duration::from_secs(15);
/// A request's head is a few hundred bytes; hyper takes no less than this.
const MOST_HEAD: usize = 8192;
/// The version of the text format.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Where callers come from.
pub enum Listener {
    /// Loopback.
    Tcp(TcpListener),
    /// A socket in the file system.
    Socket(ControlListener),
}

/// A caller's connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Listener {
    async fn accept(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Socket(listener) => Box::new(platform::accept(listener).await?),
        })
    }
}

/// Answers for ever; `page` is asked for each answer, and has none while the agent ends.
pub async fn serve<P, F>(listener: Listener, page: P)
where
    P: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<String>> + Send,
{
    let (permits, mut calls) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    loop {
        // Nobody closes it.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok(stream) => {
                let page = page.clone();
                calls.spawn(async move {
                    let _ = timeout(CALL, call(stream, page)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "nobody could be taken who asks for metrics");
                // Out of descriptors, most likely: they come back.
                sleep(Duration::from_millis(100)).await;
            }
        }
        while calls.try_join_next().is_some() {}
    }
}

async fn call<P, F>(stream: Box<dyn Stream>, page: P)
where
    P: Fn() -> F,
    F: Future<Output = Option<String>>,
{
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let page = &page;
        async move { Ok::<_, Infallible>(answer(&request, page).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false).max_buf_size(MOST_HEAD);
    // Whoever does not speak HTTP, or leaves, is nobody's trouble.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer<F>(request: &Request<Incoming>, page: impl Fn() -> F) -> Response<String>
where
    F: Future<Output = Option<String>>,
{
    let status = |status, text: &str| {
        let mut response = Response::new(format!("{text}\n"));
        *response.status_mut() = status;
        response
    };
    if !is_for_this_host(request) {
        return status(StatusCode::MISDIRECTED_REQUEST, "ask for localhost or a loopback address");
    }
    if request.uri().path() != "/metrics" {
        return status(StatusCode::NOT_FOUND, "only /metrics is here");
    }
    if request.method() != Method::GET {
        let mut response = status(StatusCode::METHOD_NOT_ALLOWED, "only GET");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    match page().await {
        Some(text) => {
            let mut response = Response::new(text);
            response.headers_mut().insert(CONTENT_TYPE, TEXT);
            response
        }
        None => status(StatusCode::SERVICE_UNAVAILABLE, "the agent ends"),
    }
}

/// Whether every host that the request names is this one. A browser always names one; a request of HTTP/1.0 need not.
fn is_for_this_host(request: &Request<Incoming>) -> bool {
    let headers = request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes);
    headers.chain(request.uri().authority().map(|named| named.as_str().as_bytes())).all(is_this_host)
}

/// Whether `host`, with a port or without, is `localhost` or a literal loopback address.
fn is_this_host(host: &[u8]) -> bool {
    let Ok(named) = Authority::try_from(host) else { return false };
    let name = named.host();
    let address = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(name);
    !named.as_str().contains('@')
        && (name.eq_ignore_ascii_case("localhost")
            || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::is_this_host;

    #[test]
    fn names_of_this_host_are_few() {
        for host in [
            "localhost",
            "LocalHost:9321",
            "127.0.0.1",
            "127.0.0.1:9321",
            "127.9.9.9:1",
            "[::1]:9321",
            "[::1]",
        ] {
            assert!(is_this_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9321",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil@localhost",
            "localhost.",
            "10.0.0.1:9321",
            "0.0.0.0",
            "[::]:9321",
            "[::ffff:10.0.0.1]",
            "::1",
            "[::1",
            "local host",
            "localhost/x",
        ] {
            assert!(!is_this_host(host.as_bytes()), "{host}");
        }
    }
}
