//! Settings of TLS, connections to other servers, and the `stream` and `mail` blocks.

use certhook_test_support::nginx::free_port;

use super::made::{Dial, Theme};
use super::maker::Maker;
use super::pool::pool;

const PROTOCOLS: [&str; 12] = [
    "ssl_protocols TLSv1.2;",
    "ssl_protocols TLSv1.3;",
    "ssl_protocols TLSv1.2 TLSv1.3;",
    "ssl_protocols TLSv1 TLSv1.1 TLSv1.2;",
    "ssl_ciphers HIGH:!aNULL:!MD5;",
    "ssl_ciphers ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256; ssl_prefer_server_ciphers on;",
    "ssl_ciphers \"ECDHE+CHACHA20:ECDHE+AES\"; ssl_protocols TLSv1.2;",
    "ssl_ciphers ECDHE+AES128+SHA:@SECLEVEL=0; ssl_protocols TLSv1.2;",
    "ssl_ecdh_curve prime256v1;",
    "ssl_ecdh_curve secp384r1; ssl_protocols TLSv1.3;",
    "ssl_ecdh_curve X25519:prime256v1:secp384r1;",
    "ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256; ssl_conf_command Groups P-256;",
];

const SESSIONS: [&str; 7] = [
    "ssl_session_cache shared:SSL:1m; ssl_session_tickets off;",
    "ssl_session_cache builtin:1000 shared:SSL:1m;",
    "ssl_session_cache none;",
    "ssl_session_cache off; ssl_session_tickets on;",
    "ssl_session_timeout 2; ssl_buffer_size 4k;",
    "ssl_early_data on;",
    "ssl_conf_command Options -SessionTicket;",
];

/// What the probe may fail to speak; there it must not say what is not so.
const BEYOND: [&str; 10] = [
    // After a HelloRetryRequest OpenSSL chooses the cipher a second time, then by the named server's preference: where
    // that is the client's, a client that prefers AES-128 is refused.
    "ssl_protocols TLSv1.3; ssl_ecdh_curve secp384r1; ssl_conf_command Options ServerPreference,PrioritizeChaCha;",
    "ssl_protocols TLSv1.3; ssl_ecdh_curve secp521r1;",
    "ssl_protocols TLSv1.3; ssl_ecdh_curve X448;",
    "ssl_protocols TLSv1; ssl_ciphers ALL:!aNULL:@SECLEVEL=0;",
    "ssl_protocols TLSv1.1; ssl_ciphers ALL:!aNULL:@SECLEVEL=0;",
    "ssl_protocols TLSv1.2; ssl_ciphers kRSA:@SECLEVEL=0;",
    "ssl_protocols TLSv1.2; ssl_ciphers CAMELLIA:!aNULL:@SECLEVEL=0;",
    "ssl_protocols TLSv1.2; ssl_ciphers AESCCM8:!PSK;",
    "ssl_protocols TLSv1.2; ssl_conf_command SignatureAlgorithms RSA+SHA1:ECDSA+SHA1; ssl_ciphers ALL:!aNULL:@SECLEVEL=0;",
    "ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_CCM_SHA256;",
];

impl Maker {
    /// Settings of `http`, or of one of its servers.
    pub(super) fn http_options(&mut self) -> String {
        let mut text = self.options();
        if text.contains("ssl_verify_client on;") && self.chance(50) {
            text += "ssl_ocsp leaf; ssl_ocsp_responder http://127.0.0.1:1/; ssl_ocsp_cache off;\n";
        }
        if self.wants(Theme::Stapling, 6) {
            text += "ssl_stapling on; ssl_stapling_responder http://127.0.0.1:1/;\n";
        }
        if self.wants(Theme::Sessions, 10) {
            text += self.pick(&SESSIONS);
        }
        text + "\n"
    }

    /// Settings of `stream`, or of one of its servers.
    fn options(&mut self) -> String {
        let mut text = String::new();
        if self.wants(Theme::BeyondTheProbe, 3) {
            text += self.pick(&BEYOND);
        } else if self.wants(Theme::Protocols, 20) {
            text += self.pick(&PROTOCOLS);
        }
        if self.wants(Theme::ClientCertificates, 8) {
            let leaf = self.leaf(None);
            let authority = format!("clients/{leaf}.crt");
            self.add_file(&format!("conf/{authority}"), pool()[leaf].certificate.clone());
            let verify = self.pick(&["on", "optional", "optional_no_ca"]);
            text += &format!("ssl_verify_client {verify}; ssl_verify_depth {};\n", self.rng.u32(..4));
            text += &self.line(&["ssl_client_certificate", &authority]);
            text += &self.line(&["ssl_trusted_certificate", &authority]);
        }
        text + "\n"
    }

    /// A location that goes on to servers over TLS: their certificates belong to no site here.
    pub(super) fn upstream_location(&mut self) -> String {
        let leaf = self.leaf(None);
        let (certificate, key) = self.place(leaf);
        let module = self.pick(&["proxy", "grpc", "uwsgi"]);
        let pass = match module {
            "proxy" => "proxy_pass https://127.0.0.1:1;",
            "grpc" => "grpc_pass grpcs://127.0.0.1:1;",
            _ => "uwsgi_pass suwsgi://127.0.0.1:1;",
        };
        let certificate = self.line(&[&format!("{module}_ssl_certificate"), &certificate]);
        let key = self.line(&[&format!("{module}_ssl_certificate_key"), &key]);
        format!(
            "location /up {{\n{pass}\n{certificate}{key}{module}_ssl_password_file password;\n\
             {module}_ssl_name a.test; {module}_ssl_server_name on; {module}_ssl_verify off; }}\n"
        )
    }

    pub(super) fn stream(&mut self, terminates: bool, preread_to: Option<u16>) -> String {
        let mut text = "stream {\nssl_password_file password;\n".to_owned();
        if terminates {
            let outer = self.leaves();
            let inherits = self.chance(40);
            if inherits {
                text += &self.pairs(&outer);
                text += &self.options();
            }
            for number in 0..self.rng.usize(1..4) {
                let port = free_port();
                let own = self.own_pairs(inherits, number, &outer);
                let header = if self.wants(Theme::ProxyProtocol, 5) { " proxy_protocol" } else { "" };
                let address = self.pick(&["127.0.0.1", "[::1]", "127.0.0.3"]);
                let options = if inherits { String::new() } else { self.options() };
                let end = self.pick(&[
                    "return ok;",
                    "proxy_pass 127.0.0.1:1;",
                    "proxy_pass 127.0.0.1:1; proxy_ssl on;",
                ]);
                text += &format!("server {{ listen {address}:{port} ssl{header};\n{own}{options}{end} }}\n");
                self.add_dial(format!("{address}:{port}{header}"));
            }
        }
        if let Some(behind) = preread_to {
            let port = free_port();
            text += &format!(
                "map $ssl_preread_server_name $behind {{ hostnames; *.a.test 127.0.0.2:{behind}; default 127.0.0.1:{behind}; }}\n\
                 server {{ listen 127.0.0.1:{port}; ssl_preread on; proxy_pass $behind; }}\n"
            );
            let endpoint = format!("127.0.0.1:{port}");
            self.made.dials.push(Dial { endpoint, is_wild: false, passes_on: true, starttls: None });
        }
        text + "}\n"
    }

    /// What a server names itself: beside what it inherits by chance only, else the outer leaves in the first one.
    fn own_pairs(&mut self, inherits: bool, number: usize, outer: &[usize]) -> String {
        match (inherits, number) {
            (true, _) if self.chance(60) => String::new(),
            (false, 0) => self.pairs(outer),
            _ => {
                let leaves = self.leaves();
                self.pairs(&leaves)
            }
        }
    }

    pub(super) fn mail(&mut self) -> String {
        let mut text =
            "mail {\nauth_http 127.0.0.1:1;\nssl_password_file password;\nserver_name mail.a.test;\n"
                .to_owned();
        let outer = self.leaves();
        let inherits = self.chance(50);
        if inherits {
            text += &self.pairs(&outer);
        }
        for number in 0..self.rng.usize(1..4) {
            let port = free_port();
            let own = self.own_pairs(inherits, number, &outer);
            let protocol = self.pick(&["imap", "pop3", "smtp"]);
            let starttls = self.chance(35);
            let (ssl, command) = match starttls {
                true => ("", self.pick(&["starttls on;", "starttls only;"])),
                false => (" ssl", ""),
            };
            text += &format!(
                "server {{ listen 127.0.0.1:{port}{ssl}; protocol {protocol}; {command}\n{own} }}\n"
            );
            let endpoint = format!("127.0.0.1:{port}");
            let starttls = starttls.then_some(protocol);
            self.made.dials.push(Dial { endpoint, is_wild: false, passes_on: false, starttls });
        }
        text + "}\n"
    }
}
