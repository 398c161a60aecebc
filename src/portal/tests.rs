//! Secrets in every form, and what a renewal sends; the rest is proved against a portal.

use super::*;

#[test]
fn secrets_are_known_in_every_form() {
    let found = forms("a+b/c=\"d");
    let found: Vec<&str> = found.iter().map(|form| form.as_str()).collect();
    assert_eq!(found, ["a+b/c=\"d", "a%2Bb%2Fc%3D%22d", "a+b/c=\\\"d", "a+b\\/c=\\\"d"]);
}

#[test]
fn tokens_are_left_out_of_what_is_shown() {
    let token = format!("eyJ{}.{}_-x", "a".repeat(30), "b".repeat(30));
    let said = format!("Bearer {token}, and {token}");
    assert_eq!(without_tokens(&said), "Bearer [secret], and [secret]");
    assert_eq!(without_tokens("heyJo is no token"), "heyJo is no token");
}

#[test]
fn every_status_has_one_meaning() {
    let soon = Some(Duration::from_secs(7));
    assert_eq!(after_status(401, None), Next::NewToken);
    for again in [301, 302, 408, 429, 500, 502, 503, 504, 599] {
        assert_eq!(after_status(again, soon), Next::Again(soon), "{again}");
    }
    for hold in [400, 403, 404, 405, 409, 410, 422] {
        assert_eq!(after_status(hold, soon), Next::Hold, "{hold}");
    }
}

/// A login service and a portal that keep what they were sent, and answer the same always.
async fn counter(renewal: &'static str) -> (Portal, Arc<std::sync::Mutex<Vec<String>>>, tempfile::TempDir) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sent: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut part = [0; 4096];
            // What certhook sends has its length in its head.
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_lowercase();
                let (head, body) = text.split_once("\r\n\r\n")?;
                let length = head.split("content-length: ").nth(1).map(|rest| rest.lines().next().unwrap());
                (body.len() >= length.unwrap_or("0").parse().unwrap()).then_some(())
            };
            while whole(&request).is_none() {
                let count = stream.read(&mut part).await.unwrap();
                request.extend_from_slice(&part[..count]);
            }
            let request = String::from_utf8(request).unwrap();
            let answer = match request.contains("/oauth2/token") {
                true if request.contains("vault.azure.net") => {
                    r#"{"access_token":"vault-token","expires_in":3599}"#
                }
                true => r#"{"access_token":"portal-token","expires_in":3599}"#,
                false => renewal,
            };
            kept.lock().unwrap().push(request);
            let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{answer}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cret").unwrap();
    let text = format!(
        "[portal]\nendpoint = \"http://{address}\"\nlogin = \"http://{address}\"\ntenant_id = \"contoso.com\"\n\
         client_id = \"c\"\nclient_secret_file = {secret:?}\n[server.nginx]\ndiscover = true\n"
    );
    let config = crate::config::Config::parse(std::path::Path::new("certhook.toml"), &text).unwrap();
    (Portal::new(config.portal.unwrap()), sent, folder)
}

#[tokio::test]
async fn a_renewal_sends_nothing_or_the_key_vault_s_token() {
    let (portal, sent, _folder) = counter(r#"[{"id":158,"name":"contoso.com","remoteCreateDate":""}]"#).await;
    assert_eq!(portal.renew(false).await.unwrap()[0].id, 158);
    portal.renew(true).await.unwrap();
    portal.renew(true).await.unwrap();
    let sent = sent.lock().unwrap().clone();
    let line = |request: &String| request.lines().next().unwrap().to_owned();
    let lines: Vec<_> = sent.iter().map(line).collect();
    let (token, renewal) =
        ("POST /contoso.com/oauth2/token HTTP/1.1", "POST /api/v2/CertificateRenewal HTTP/1.1");
    assert_eq!(lines, [token, renewal, token, renewal, renewal], "each token is asked for once");
    let body = |index: usize| sent[index].split_once("\r\n\r\n").unwrap().1;
    assert!(body(0).contains("resource=https%3A%2F%2Fmanagement.core.windows.net"), "{}", sent[0]);
    assert!(body(2).contains("resource=https%3A%2F%2Fvault.azure.net"), "{}", sent[2]);
    assert_eq!(body(1), "");
    assert_eq!(sent[1].to_lowercase().matches("content-length: 0\r\n").count(), 1, "{}", sent[1]);
    for index in [3, 4] {
        assert_eq!(body(index), r#"{"keyVaultAccessToken":"vault-token"}"#);
        assert!(sent[index].contains("Bearer portal-token"), "{}", sent[index]);
    }
}

/// Between reports nothing is kept open; what was learnt is.
#[tokio::test]
async fn after_a_rest_it_goes_on_with_its_token() {
    let (portal, sent, _folder) = counter(r#"[{"id":158,"name":"contoso.com","remoteCreateDate":""}]"#).await;
    let is_held = |portal: &Portal| !portal.clients.are_at_rest();
    portal.renew(false).await.unwrap();
    assert!(is_held(&portal));
    portal.rest();
    assert!(!is_held(&portal));
    portal.renew(false).await.unwrap();
    let tokens = sent.lock().unwrap().iter().filter(|request| request.contains("/oauth2/token")).count();
    assert_eq!((tokens, sent.lock().unwrap().len()), (1, 3));
}

#[tokio::test]
async fn a_renewer_that_waits_keeps_nothing_open() {
    let (portal, sent, folder) = counter("[]").await;
    let (of_portal, portal) = (portal.config.clone(), Arc::new(portal));
    let renewal = config::Renewal {
        line: 0,
        every: Duration::from_secs(3600),
        wait: Duration::from_secs(3600),
        key_vault: false,
        fetch_into: None,
        owner: None,
    };
    let ledger = Arc::new(crate::ledger::Ledger::at(folder.path()));
    let renewer = crate::renewal::Renewer::new(
        Arc::clone(&ledger),
        Arc::clone(&portal),
        (&renewal, &of_portal),
        Vec::new(),
    );
    let (end, ended) = tokio::sync::oneshot::channel();
    let (end, was_held) = (std::cell::Cell::new(Some(end)), std::cell::Cell::new(false));
    let told = |_| match was_held.replace(true) {
        // It asked, and what it was told is noted.
        false => assert!(!portal.clients.are_at_rest()),
        true => drop(end.take()),
    };
    renewer.run(ended, told).await;
    assert!(portal.clients.are_at_rest());
    assert_eq!(sent.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn the_client_secret_is_what_was_meant_whatever_wrote_it() {
    let (portal, _, folder) = counter("[]").await;
    for (bytes, expected) in [
        (&b" s3cret \r\n"[..], Ok("s3cret")),
        (b"\xef\xbb\xbfs3cret\r\n", Ok("s3cret")),
        (b"\xff\xfes\0", Err("UTF-16")),
        (b"\xef\xbb\xbf\n", Err("is empty")),
        (b"dpapi:?", Err("no base64")),
    ] {
        std::fs::write(folder.path().join("secret"), bytes).unwrap();
        match (portal.client_secret(), expected) {
            (Ok(secret), Ok(expected)) => assert_eq!(secret.expose_secret(), expected),
            (Err(failure), Err(expected)) => {
                let problem = failure.problem;
                assert!(problem.code == "no_secret" && problem.message.contains(expected), "{problem}");
            }
            (secret, _) => panic!("{bytes:?}: {:?}", secret.err()),
        }
    }
}

#[tokio::test]
async fn nothing_to_renew_is_a_good_answer_and_odd_ones_are_none() {
    let (portal, _, _folder) = counter("[]").await;
    assert!(portal.renew(false).await.unwrap().is_empty());
    for answer in ["", "{}", "null", "<html>"] {
        let (portal, _, _folder) = counter(answer).await;
        assert_eq!(portal.renew(false).await.unwrap_err().problem.code, "bad_answer", "{answer}");
    }
}

#[tokio::test]
async fn the_key_vault_s_token_is_never_shown() {
    let (portal, _, _folder) = counter(r#"{"you sent":"vault-token, portal-token and s3cret"}"#).await;
    let failure = portal.renew(true).await.unwrap_err();
    assert!(failure.sent);
    let said = format!("{failure:?}");
    assert!(said.contains("[secret], [secret] and [secret]"), "{said}");
    for secret in ["vault-token", "portal-token", "s3cret"] {
        assert!(!said.contains(secret), "{said}");
    }
    portal.forget_token();
    assert!(portal.vault_tokens.known().is_none() && portal.tokens.known().is_none());
}
