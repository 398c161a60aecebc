use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;

use super::*;

#[test]
fn the_end_cuts_nothing_that_acts() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "state_dir = {:?}\n[server.a]\nkind = \"command\"\nreload = [{:?}]\n[[site]]\nname = \"a\"\n\
         certificate = {:?}\nkey = {:?}\nverify = [\"127.0.0.1:443\"]\n",
        folder.path().join("state"),
        folder.path().join("reload"),
        folder.path().join("a.pem"),
        folder.path().join("a.key"),
    );
    let config = Config::parse(&folder.path().join("certhook.toml"), &text).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let daemon = Daemon::new(config, None, Arc::new(Shared::new(Timestamp::now())), None);
        let whole = Arc::new(AtomicBool::new(false));
        let (hold, done) = (daemon.acting.hold(), Arc::clone(&whole));
        std::thread::spawn(move || {
            while !hold.is_to_end() {
                sleep(Duration::from_millis(1));
            }
            // It has begun, and has still something to do.
            sleep(Duration::from_millis(50));
            done.store(true, Ordering::SeqCst);
        });
        daemon.end().await;
        assert!(whole.load(Ordering::SeqCst), "it was cut");
    });
}
