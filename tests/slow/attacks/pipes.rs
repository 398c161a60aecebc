//! A tenant puts a pipe, a socket, a device or a directory in the place of a file that nginx opens at a reload: nginx
//! is not signalled meanwhile, since its master would wait in `open()` for good, and the neighbour is served as soon as
//! the file is there again. With `stage` the neighbour is served at once.
//!
//! nginx 1.22.1 opens every file of `ROLES` when it loads its configuration, and waits in each of them if it is a pipe.
//! It opens the file of `auth_basic_user_file` for each request.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use certhook_test_support::nginx::{NginxSite, RunMode};
use certhook_test_support::writers::Writer;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::tenant::{TENANT, Thing, alone, give, run_as_service};
use crate::host::{Extra, Host, PATIENCE, codes, states};
use crate::machine;

/// A file that nginx opens, by its directive, with the line that names it; the certificate and the key have one already.
const ROLES: [(&str, &str); 14] = [
    ("ssl_certificate", ""),
    ("ssl_certificate_key", ""),
    ("include", "include FILE;"),
    ("ssl_password_file", "ssl_password_file FILE;"),
    ("ssl_dhparam", "ssl_dhparam FILE;"),
    ("ssl_crl", "ssl_crl FILE;"),
    ("ssl_trusted_certificate", "ssl_trusted_certificate FILE;"),
    ("ssl_client_certificate", "ssl_verify_client optional; ssl_client_certificate FILE;"),
    ("ssl_session_ticket_key", "ssl_session_ticket_key FILE;"),
    ("access_log", "access_log FILE;"),
    ("error_log", "error_log FILE;"),
    ("proxy_ssl_certificate", "proxy_ssl_certificate FILE;"),
    ("proxy_ssl_certificate_key", "proxy_ssl_certificate_key FILE;"),
    (
        "proxy_ssl_trusted_certificate",
        "proxy_ssl_trusted_certificate FILE; proxy_ssl_verify on; location /p { proxy_pass https://127.0.0.1:1; }",
    ),
];

/// The tenant's site, the first one, names a file for each role; they are all the tenant's.
struct Scene {
    host: Host,
    wrong: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let extra = Extra { no_portal: true, discovered: true, ..Extra::unlimited() };
        let mut host = Host::with(&[Writer::AcmeSh, Writer::AcmeSh], extra);
        let mut lines = String::new();
        for (role, line) in ROLES {
            let file = file_of(&host, role);
            if !line.is_empty() {
                fs::write(&file, content(&host, role)).unwrap();
                writeln!(lines, "{}", line.replace("FILE", file.to_str().unwrap())).unwrap();
            }
            give(&file, TENANT);
        }
        give(file_of(&host, "ssl_certificate").parent().unwrap(), TENANT);
        set_lines(&mut host, &lines);
        run_as_service(&mut host);
        host.start_agent_and_settle();
        Self { host, wrong: Vec::new() }
    }

    fn play(&mut self, role: &str, thing: Thing) {
        let file = file_of(&self.host, role);
        let good = fs::read(&file).unwrap();
        let before = self.host.nginx.log().hups;
        thing.replace(&file);
        self.host.renew(1, Duration::ZERO);
        let outcome = self.wait_until_blocked(&file, before);
        if let Err(why) = &outcome {
            self.wrong.push(format!("{role}, {thing:?}: {why}"));
        }
        thing.put_back(&file, &good);
        if outcome.is_err() {
            // It may wait in open().
            for pid in self.host.nginx.processes() {
                machine::signal(u32::try_from(pid).unwrap(), Signal::SIGKILL);
            }
            self.host.nginx.stop();
            self.host.nginx.start_again();
            self.host.kill_agent();
            self.host.start_agent();
        }
        self.host.wait_until_served(1);
        self.host.wait_for("well", |status| codes(status).is_empty() && states(status) == ["current"; 2]);
        self.host.nginx.wait_idle();
    }

    fn wait_until_blocked(&self, file: &Path, hups: usize) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            if self.host.nginx.log().hups > hups {
                return Err("nginx was SIGNALLED".into());
            }
            let status = self.host.agent_status().unwrap_or_default();
            let blocked = problems(&status).into_iter().find(|problem| {
                problem["code"] == "blocked" && problem.to_string().contains(file.to_str().unwrap())
            });
            if let Some(problem) = blocked {
                let message = problem["message"].as_str().unwrap_or_default();
                let named =
                    [TENANT.to_string(), "site0.test".into()].iter().all(|word| message.contains(word));
                return named.then_some(()).ok_or(format!("owner and site are not named: {message}"));
            }
            if Instant::now() > until {
                return Err(format!("not told: {status}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(mut self) {
        self.host.stop_agent();
        assert!(self.wrong.is_empty(), "\n{}", self.wrong.join("\n"));
    }
}

/// The file that has a role.
fn file_of(host: &Host, role: &str) -> PathBuf {
    let layout = &host.sites[0].layout;
    match role {
        "ssl_certificate" => layout.certificate.clone(),
        "ssl_certificate_key" => layout.key.clone(),
        role => layout.certificate.with_file_name(role),
    }
}

fn content(host: &Host, role: &str) -> Vec<u8> {
    match role {
        "ssl_dhparam" => include_bytes!("../../proofs/wire/dh.pem").to_vec(),
        "ssl_crl" => include_bytes!("empty.crl").to_vec(),
        "ssl_session_ticket_key" => vec![7; 80],
        "proxy_ssl_certificate" => host.sites[0].pair.fullchain_pem.clone().into_bytes(),
        "proxy_ssl_certificate_key" => host.sites[0].pair.key_pem.clone().into_bytes(),
        role if role.ends_with("_certificate") => host.ca.root_pem().to_owned().into_bytes(),
        _ => b"# nothing\n".to_vec(),
    }
}

/// Adds lines to the first site's block.
fn set_lines(host: &mut Host, lines: &str) {
    let blocks = host.sites.iter().enumerate().map(|(index, site)| {
        let block = NginxSite::new(&[site.name.as_str()], &site.layout.certificate, &site.layout.key);
        if index == 0 { block.extra(lines) } else { block }
    });
    let blocks = blocks.collect();
    host.nginx.set_sites(blocks);
    host.nginx.hup();
    host.nginx.wait_idle();
    assert_eq!(host.nginx.log().emergencies, [] as [String; 0]);
}

/// All problems of a status, wherever they are.
fn problems(value: &Value) -> Vec<&Value> {
    let below = |value| problems(value);
    match value {
        Value::Object(map) if map.contains_key("code") && map.contains_key("message") => vec![value],
        Value::Object(map) => map.values().flat_map(below).collect(),
        Value::Array(list) => list.iter().flat_map(below).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_pipe_in_any_files_place_blocks_the_reload() {
    alone(concat!(module_path!(), "::a_pipe_in_any_files_place_blocks_the_reload"), || {
        let mut scene = Scene::new();
        for (role, _) in ROLES {
            scene.play(role, Thing::Pipe);
        }
        scene.end();
    });
}

#[test]
fn sockets_devices_and_directories_block_the_reload() {
    alone(concat!(module_path!(), "::sockets_devices_and_directories_block_the_reload"), || {
        let mut scene = Scene::new();
        for role in ["ssl_certificate", "ssl_certificate_key", "include", "ssl_dhparam"] {
            for thing in [Thing::Socket, Thing::Device, Thing::Directory] {
                scene.play(role, thing);
            }
        }
        scene.end();
    });
}

#[test]
fn with_stage_a_pipe_blocks_nothing() {
    alone(concat!(module_path!(), "::with_stage_a_pipe_blocks_nothing"), || {
        let mut host = crate::staged::staged(&[Writer::AcmeSh, Writer::AcmeSh]);
        for role in ["ssl_certificate", "ssl_certificate_key"] {
            for thing in Thing::ALL {
                let file = file_of(&host, role);
                let good = fs::read(&file).unwrap();
                thing.replace(&file);
                host.renew(1, Duration::ZERO);
                host.wait_until_done(1);
                thing.put_back(&file, &good);
                host.wait_for("well", |status| codes(status).is_empty() && states(status) == ["current"; 2]);
            }
        }
        assert_eq!(host.nginx.log().emergencies, [] as [String; 0]);
        host.stop_agent();
    });
}

#[test]
fn a_file_that_nginx_opens_for_each_request_blocks_nothing() {
    alone(concat!(module_path!(), "::a_file_that_nginx_opens_for_each_request_blocks_nothing"), || {
        let extra = Extra { no_portal: true, discovered: true, ..Extra::unlimited() };
        let mut host = Host::with(&[Writer::AcmeSh, Writer::AcmeSh], extra);
        let users = file_of(&host, "users");
        fs::write(&users, "").unwrap();
        let lines = format!("location /x {{ auth_basic x; auth_basic_user_file {}; }}", users.display());
        set_lines(&mut host, &lines);
        run_as_service(&mut host);
        host.start_agent_and_settle();
        Thing::Pipe.replace(&users);
        host.renew(1, Duration::ZERO);
        host.wait_until_served(1);
        host.stop_agent();
    });
}

#[test]
fn standard_streams_and_the_null_device_block_nothing() {
    alone(concat!(module_path!(), "::standard_streams_and_the_null_device_block_nothing"), || {
        let extra = Extra { no_portal: true, discovered: true, ..Extra::unlimited() };
        let mut host = Host::with(&[Writer::AcmeSh, Writer::AcmeSh], extra);
        let lines = "include /dev/null;\naccess_log /dev/stdout;\nerror_log /dev/stderr;\n\
                     location /n { access_log /dev/null; error_log /dev/null; }";
        set_lines(&mut host, lines);
        run_as_service(&mut host);
        host.start_agent_and_settle();
        host.renew(1, Duration::ZERO);
        host.wait_until_served(1);
        // Where its standard output is a pipe, as a container's is.
        host.nginx.stop();
        host.nginx.set_mode(RunMode::Foreground);
        host.nginx.start_again();
        host.renew(1, Duration::ZERO);
        host.wait_until_served(1);
        host.stop_agent();
    });
}
