//! What systemd knows of nginx, asked by `systemctl`.

use std::path::Path;
use std::time::Duration;

use super::ask::ask;
use super::process::Master;
use crate::files::{self, MOST_BYTES};

/// For an answer of systemd's.
const PATIENCE: Duration = Duration::from_secs(5);

/// The unit's main process; `None` where it has none, or there is no systemd.
pub(super) fn main_pid(unit: &str) -> Option<i32> {
    let said = ask(&["systemctl", "show", "--property=MainPID", "--value", "--", unit], PATIENCE)?;
    said.trim().parse().ok().filter(|pid| *pid > 1)
}

/// The unit that a master runs in, else the usual one.
pub(super) fn unit_of(master: &Master) -> String {
    let groups = format!("/proc/{}/cgroup", master.pid);
    let groups = files::read_beside_writers(Path::new(&groups), MOST_BYTES).map(|content| content.bytes);
    unit_in(&String::from_utf8_lossy(groups.as_deref().map_or(&[][..], |bytes| bytes)))
        .unwrap_or_else(|| usual_unit(&master.title.kind))
}

/// What a package calls its unit.
pub(super) fn usual_unit(kind: &str) -> String {
    format!("{kind}.service")
}

/// `systemctl reload UNIT`
pub(super) fn reload(unit: &str) -> [String; 5] {
    ["systemctl", "--no-ask-password", "reload", "--", unit].map(str::to_owned)
}

/// As the journal names it.
pub(super) fn full_name(unit: &str) -> String {
    if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") }
}

/// `0::/system.slice/nginx.service`; with older groups a line for each, one of them systemd's own.
fn unit_in(groups: &str) -> Option<String> {
    let own = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let mut units = groups.lines().filter(own).filter_map(|line| line.rsplit('/').next());
    units.find(|unit| unit.ends_with(".service")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_read_from_the_control_groups() {
        let found = |groups| unit_in(groups).unwrap_or_default();
        assert_eq!(found("0::/system.slice/nginx.service\n"), "nginx.service");
        assert_eq!(found("0::/system.slice/system-nginx.slice/nginx@a.service\n"), "nginx@a.service");
        let older = "3:cpu:/other.service\n1:name=systemd:/system.slice/angie.service\n0::/\n";
        assert_eq!(found(older), "angie.service");
        assert_eq!(found("0::/user.slice/user-0.slice/session-1.scope\n"), "");
        assert_eq!(found("0::/\n"), "");
    }

    #[test]
    fn the_journal_knows_whole_names() {
        assert_eq!(full_name("nginx"), "nginx.service");
        assert_eq!(full_name("nginx@a.service"), "nginx@a.service");
    }
}
