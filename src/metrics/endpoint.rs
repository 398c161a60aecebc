//! `GET /metrics`, for this host alone: few callers at once, little patience.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

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

/// Answers for ever; `page` is asked for each answer, and has none while the agent ends.
pub async fn serve<P, F>(listener: TcpListener, page: P)
where
    P: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<String>> + Send,
{
    let (permits, mut calls) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    loop {
        // Nobody closes it.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
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

async fn call<P, F>(stream: TcpStream, page: P)
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
