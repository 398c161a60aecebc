//! What the portal and the login service answer.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use super::shown::assert_shown;
use certhook::config::Config;
use certhook::portal::{Portal, Reading};
use jiff::Timestamp;

/// Not a file: the words of an answer are freed of a secret that cannot be read as well.
const CONFIG: &str = "
[portal]
tenant_id = \"contoso.com\"
client_id = \"1\"
client_secret_file = \"/none\"
[[site]]
certificate = \"/c.pem\"
verify = [\"127.0.0.1:443\"]
";

/// Any body is a list, an echo, a token, a wait, or words for the administrator.
pub fn portal(data: &[u8]) {
    static PORTAL: OnceLock<Portal> = OnceLock::new();
    let portal = PORTAL.get_or_init(|| {
        let config = Config::parse(Path::new("/c.toml"), CONFIG).expect("a configuration");
        Portal::new(config.portal.expect("a portal"))
    });
    let now = Timestamp::from_second(1_800_000_000).expect("a date within the calendar");
    let Reading { list, echo, token, words, wait } = portal.read(data, now);
    match list {
        Ok(list) => {
            assert!(list.len() <= data.len() / 2, "more entries than commas");
            for certificate in list {
                let _ = certificate.expires();
            }
        }
        Err(said) => assert_shown(&said, 4001),
    }
    if let Err(said) = echo {
        assert_shown(&said, 4001);
    } else {
        let text = String::from_utf8_lossy(data);
        assert!(text.contains("158"), "an echo of another certificate: {text}");
    }
    if let Some(token) = token {
        assert!(token <= Duration::from_secs(7 * 86_400), "{token:?}");
        assert!(String::from_utf8_lossy(data).contains("access_token") || data.contains(&b'\\'));
    }
    assert!(!words.chars().any(char::is_control), "{words:?}");
    assert!(words.chars().count() <= 4001, "{words}");
    if let Some(wait) = wait {
        assert!(wait <= Duration::from_secs(7 * 86_400), "{wait:?}");
    }
}
