//! One file from one link: bounded in size and time, over TLS, and without any credentials.

use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, LOCATION};
use reqwest::{Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::admit::Admission;
use super::{Bytes, remote};
use crate::files::MOST_BYTES;
use crate::portal::{self, Clients};
use crate::problem::{Problem, printable};

/// So many redirects are followed for one file.
const MOST_REDIRECTS: usize = 5;

/// Downloads.
pub struct Downloader {
    admission: Admission,
    timeout: Duration,
    clients: Clients,
}

/// A file, and who gave it.
#[derive(Serialize, Deserialize)]
pub struct Got {
    #[serde(with = "remote::base64")]
    pub(super) bytes: Bytes,
    /// The host alone: the rest of a link may hold a signature.
    pub(super) host: String,
}

impl Downloader {
    /// For links of the portal at `endpoint`; `timeout` is for one file.
    pub fn new(endpoint: &str, timeout: Duration) -> Self {
        Self { admission: Admission::of(endpoint), timeout, clients: Clients::new(timeout) }
    }

    /// Lets go of the connections.
    pub fn rest(&self) {
        self.clients.rest();
    }

    /// `what` and `name` say in errors what it is of which certificate.
    pub(super) async fn get(&self, link: &str, what: &str, name: &str) -> Result<Got, Problem> {
        let mut asked = Asked { what, name, host: "its link".to_owned() };
        match tokio::time::timeout(self.timeout, self.follow(link, &mut asked)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(asked.unreachable("did not give all of it in time")),
        }
    }

    async fn follow(&self, link: &str, asked: &mut Asked<'_>) -> Result<Got, Problem> {
        let mut url = Url::parse(link).map_err(|_| asked.bad_link("is no URL"))?;
        asked.host = host_of(&url);
        self.admission.admit(&url).map_err(|why| asked.bad_link(why))?;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.ask(&url, asked).await?;
            if !is_redirect(response.status()) {
                return read(response, asked).await;
            }
            let next = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let next = next.and_then(|location| url.join(location).ok());
            let next = next.ok_or_else(|| asked.bad_redirect("redirects to nowhere"))?;
            self.admission.follows(&url, &next).map_err(|why| asked.bad_redirect(why))?;
            url = next;
            asked.host = host_of(&url);
        }
        Err(asked.bad_redirect("is the end of too many redirects"))
    }

    async fn ask(&self, url: &Url, asked: &Asked<'_>) -> Result<Response, Problem> {
        let client = self.clients.get(url.scheme() == "http")?;
        client.get(url.clone()).send().await.map_err(|error| asked.failed(error))
    }
}

/// Only what is there in full is an answer (200): neither a part of it nor a page that says why not.
async fn read(mut response: Response, asked: &Asked<'_>) -> Result<Got, Problem> {
    if response.status() != StatusCode::OK {
        return Err(asked.no_file(&format!("answered {}", response.status().as_u16())));
    }
    if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(asked.no_file("answered in an encoding that nobody asked for"));
    }
    let most = usize::try_from(MOST_BYTES).unwrap_or(usize::MAX);
    if response.content_length().is_some_and(|length| length > MOST_BYTES) {
        return Err(asked.too_large());
    }
    // One buffer from the beginning, so that no copy of a key is left behind by growing it.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    while let Some(chunk) = response.chunk().await.map_err(|error| asked.failed(error))? {
        if bytes.len() + chunk.len() > most {
            return Err(asked.too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Got { bytes, host: asked.host.clone() })
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("-");
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    printable(&host, 120)
}

/// What is being downloaded, for errors.
struct Asked<'a> {
    what: &'a str,
    name: &'a str,
    host: String,
}

impl Asked<'_> {
    fn place(&self) -> String {
        format!("{} of {} from {}", self.what, printable(self.name, 120), self.host)
    }

    fn bad_link(&self, why: &str) -> Problem {
        let message = format!("{}: the link {why}", self.place());
        Problem::new(
            "bad_link",
            message,
            "see the portal's configuration; certhook downloads over https, and from hosts outside this network",
        )
    }

    fn bad_redirect(&self, why: &str) -> Problem {
        let message = format!("{}: it {why}", self.place());
        Problem::new(
            "bad_redirect",
            message,
            "see where the portal's links lead; no such redirect is followed",
        )
    }

    fn no_file(&self, what: &str) -> Problem {
        let message = format!("{}: it {what}", self.place());
        let remedy = "links expire: fetch again; if it stays so, see the certificate at the portal";
        Problem::new("download_refused", message, remedy)
    }

    fn too_large(&self) -> Problem {
        let message = format!("{}: it is larger than {} kB", self.place(), MOST_BYTES / 1024);
        Problem::new("download_too_large", message, "see where the portal's links lead")
    }

    fn unreachable(&self, what: &str) -> Problem {
        let message = format!("{}: it {what}", self.place());
        Problem::new("download_unreachable", message, "see the network and the proxy; then fetch again")
    }

    fn failed(&self, error: reqwest::Error) -> Problem {
        let (words, untrusted) = portal::mishap(&error.without_url());
        let mut problem = self.unreachable(&words);
        if untrusted {
            problem.code = "download_untrusted".to_owned();
            problem.remedy =
                "where a proxy opens TLS, add its authority to the system's roots; then fetch again"
                    .to_owned();
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_without_the_rest_of_its_link() {
        let url = Url::parse("https://u:p@files.example.net:8443/path?sig=secret#x").unwrap();
        assert_eq!(host_of(&url), "files.example.net:8443");
    }
}
