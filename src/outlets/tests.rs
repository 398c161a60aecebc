use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::config::Config;
use crate::status::Site;
use crate::status::samples::{at, site, status, trouble};

/// A loop that answers with what was set, and notes when.
struct World {
    folder: tempfile::TempDir,
    status: Arc<Mutex<Status>>,
    asked: Arc<Mutex<Vec<Instant>>>,
    said: Arc<Mutex<Vec<String>>>,
    shared: Arc<Shared>,
    changes: Option<watch::Sender<u64>>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    /// `FOLDER` in the text is a folder of its own.
    fn new(text: &str) -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            status: Arc::new(Mutex::new(status(&[site("a.test")]))),
            asked: Arc::default(),
            said: Arc::default(),
            shared: Arc::new(Shared::new(at(0))),
            changes: None,
            task: None,
        };
        world.start(text)
    }

    fn start(mut self, text: &str) -> Self {
        let text = text.replace("FOLDER", &self.folder.path().display().to_string().replace('\\', "/"));
        let text = format!("{text}\n[server.nginx]\ndiscover = true\n");
        let config = Config::parse(Path::new("/c.toml"), &text).unwrap();
        let (calls, mut called) = mpsc::unbounded_channel::<Call>();
        let (sender, changes) = watch::channel(0);
        let (status, asked, shared) =
            (Arc::clone(&self.status), Arc::clone(&self.asked), Arc::clone(&self.shared));
        tokio::spawn(async move {
            while let Some(call) = called.recv().await {
                asked.lock().unwrap().push(Instant::now());
                let mut status = status.lock().unwrap().clone();
                status.metrics_problem = shared.metrics_problem();
                status.alert_problem = shared.alert_problem();
                let _ = call.answer.send(status);
            }
        });
        let ledger = Arc::new(Ledger::at(self.folder.path()));
        let outlets = Outlets::new(
            config.metrics.as_ref(),
            config.alert.as_ref(),
            calls,
            ledger,
            Arc::clone(&self.shared),
            None,
        );
        let said = Arc::clone(&self.said);
        let announce = move |line: &str| said.lock().unwrap().push(line.to_owned());
        (self.changes, self.task) = (Some(sender), Some(tokio::spawn(outlets.run(changes, announce))));
        self
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap());
        self.changes.as_ref().unwrap().send_modify(|count| *count += 1);
    }

    fn is_wrong(&self, code: &str) {
        let problem = Some(trouble(code, 5));
        self.change(|status| status.sites[0] = Site { problem, state: "waiting".into(), ..site("a.test") });
    }

    async fn stop(&mut self) {
        self.changes = None;
        self.task.take().unwrap().await.unwrap();
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn until(what: &str, reached: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !reached() {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// On a runtime of one thread, as the agent's is.
fn play(play: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play);
}

/// Runs a test whose clock stands still while anything works: how busy the machine is makes no difference.
fn play_in_virtual_time(play: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(play);
}

const FILE: &str = "[metrics]\nfile = \"FOLDER/c.prom\"\n";
/// Appends what it is told to `told`, an entry a line.
const ALERT: &str = "[alert]\nafter = \"1ms\"\nmin_interval = \"1ms\"\ncommand = [\"/bin/sh\", \"-c\", \
                     \"cat >>FOLDER/told; echo \\\" $CERTHOOK_STATE\\\" >>FOLDER/told; [ ! -e FOLDER/broken ]\"]\n";

#[test]
fn what_changes_is_written_soon_and_then_once_a_second_with_the_last_word() {
    play_in_virtual_time(async {
        let mut world = World::new(FILE);
        // A pause of its own, and what it changes comes first. The file is read when all writing is over: wine renames
        // over no file that is open.
        tokio::time::sleep(PAUSE).await;
        assert!(world.file("c.prom").contains("certhook_sites{state=\"current\"} 1"));
        let (begun, before) = (Instant::now(), world.asked());
        for second in 0..250 {
            world.change(|status| status.sites[0].certificate.not_after = Some(at(second)));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.is_wrong("stale");
        tokio::time::sleep(PAUSE * 2).await;
        let asked: Vec<Duration> =
            world.asked.lock().unwrap()[before..].iter().map(|asked| *asked - begun).collect();
        assert_eq!(asked, [100, 1100, 2100, 3100].map(Duration::from_millis));
        let written = world.file("c.prom");
        assert!(written.contains("code=\"stale\"") && !written.contains("certhook_up 0"), "{written}");
        assert_eq!(*world.said.lock().unwrap(), ["1 site: 1 current", "1 site: 1 waiting; a.test: stale"]);
        world.stop().await;
        let left = world.file("c.prom");
        assert!(left.contains("\ncerthook_up 0\n") && !left.contains("a.test"), "{left}");
    });
}

/// Every user may ask the manager for its line; the alerts' command is the administrator's.
#[test]
#[cfg_attr(windows, ignore = "the command is a script of the shell's")]
fn the_manager_s_line_is_coarse_and_alerts_are_exact() {
    play(async {
        let mut world = World::new(ALERT);
        world.is_wrong("not_a_file");
        until("the alert", || world.file("told").ends_with(" problem\n")).await;
        let told = world.file("told");
        assert!(told.contains("\"not_a_file\"") && told.contains("because of not_a_file"), "{told}");
        let said = world.said.lock().unwrap().concat();
        assert!(said.contains("a.test: not_whole") && !said.contains("not_a_file"), "{said}");
        world.stop().await;
    });
}

#[test]
#[cfg_attr(windows, ignore = "the command is a script of the shell's")]
fn nothing_wakes_up_while_nothing_changes() {
    play_in_virtual_time(async {
        let mut world = World::new(&format!("{FILE}{ALERT}"));
        until("the first look", || !world.file("c.prom").is_empty()).await;
        // Long enough for what the first look changes.
        tokio::time::sleep(PAUSE * 2).await;
        let before = world.asked();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(world.asked(), before);
        world.stop().await;
    });
}

#[test]
fn a_file_that_cannot_be_written_is_a_problem_until_it_can() {
    play(async {
        let mut world = World::new("[metrics]\nfile = \"FOLDER/later/c.prom\"\n");
        until("the problem", || world.shared.metrics_problem().is_some()).await;
        assert_eq!(world.shared.metrics_problem().unwrap().code, "metrics_file");
        until("it is announced", || {
            world.said.lock().unwrap().iter().any(|line| line.contains("metrics_file"))
        })
        .await;
        std::fs::create_dir(world.folder.path().join("later")).unwrap();
        world.change(|_| ());
        until("its end", || world.shared.metrics_problem().is_none()).await;
        world.stop().await;
    });
}

#[test]
fn an_address_that_is_taken_is_listened_on_when_it_is_free() {
    play(async {
        // An address of this process alone: while the port is free, no other test is given it.
        let [.., high, low] = std::process::id().to_be_bytes();
        let taken = std::net::TcpListener::bind((Ipv4Addr::new(127, 77, high, low), 0)).unwrap();
        let address = taken.local_addr().unwrap();
        let mut world = World::new(&format!("[metrics]\nlisten = \"{address}\"\n"));
        until("the problem", || world.shared.metrics_problem().is_some()).await;
        assert_eq!(world.shared.metrics_problem().unwrap().code, "metrics_listen");
        drop(taken);
        until("its end", || world.shared.metrics_problem().is_none()).await;
        let page = tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).unwrap();
            page
        });
        let page = page.await.unwrap();
        assert!(page.starts_with("HTTP/1.0 200") && page.contains("certhook_up 1"), "{page}");
        world.stop().await;
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
    });
}

#[test]
#[cfg_attr(windows, ignore = "the command is a script of the shell's")]
fn the_command_is_told_and_what_it_was_told_outlives_the_agent() {
    play(async {
        let mut world = World::new(ALERT);
        world.is_wrong("stale");
        until("the alert", || world.file("told").ends_with(" problem\n")).await;
        let told: serde_json::Value =
            serde_json::from_str(world.file("told").rsplit_once(" problem").unwrap().0).unwrap();
        assert_eq!((&told[0]["site"], &told[0]["code"]), (&"a.test".into(), &"stale".into()));
        assert_eq!(told[0]["since"], at(5).to_string());
        world.stop().await;
        let kept = Ledger::at(world.folder.path()).cases().unwrap();
        assert_eq!((kept.len(), kept[0].told.as_deref()), (1, Some("stale")));

        let before = world.asked();
        let mut world = world.start(ALERT);
        until("a look", || world.asked() > before).await;
        world.change(|status| status.sites[0] = site("a.test"));
        until("the good news", || world.file("told").ends_with(" well\n")).await;
        assert_eq!(world.file("told").matches(" problem\n").count(), 1);
        world.stop().await;
        assert!(Ledger::at(world.folder.path()).cases().unwrap().is_empty());
    });
}

#[test]
#[cfg_attr(windows, ignore = "the command is a script of the shell's")]
fn a_command_that_fails_is_a_problem_and_is_run_again() {
    play(async {
        let mut world = World::new(ALERT);
        std::fs::write(world.folder.path().join("broken"), "").unwrap();
        world.is_wrong("stale");
        until("the problem", || world.shared.alert_problem().is_some()).await;
        let problem = world.shared.alert_problem().unwrap();
        assert!(
            problem.code == "alert_command" && problem.message.contains("/bin/sh ended with"),
            "{problem}"
        );
        std::fs::remove_file(world.folder.path().join("broken")).unwrap();
        until("its end", || world.shared.alert_problem().is_none()).await;
        world.stop().await;
        let kept = Ledger::at(world.folder.path()).cases().unwrap();
        assert_eq!(kept[0].told.as_deref(), Some("stale"));
    });
}

#[test]
#[cfg_attr(windows, ignore = "the command is a script of the shell's")]
fn without_a_ledger_somebody_is_told_all_the_same() {
    play(async {
        let mut world = World::new(ALERT);
        std::fs::create_dir(Ledger::path(world.folder.path())).unwrap();
        world.is_wrong("stale");
        until("the alert", || world.file("told").ends_with(" problem\n")).await;
        std::fs::remove_dir(Ledger::path(world.folder.path())).unwrap();
        // It is noted when it can be.
        let kept = || Ledger::at(world.folder.path()).cases().unwrap();
        until("the note", || {
            world.change(|_| ());
            kept().first().is_some_and(|case| case.told.as_deref() == Some("stale"))
        })
        .await;
        world.stop().await;
    });
}
