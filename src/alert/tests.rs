use super::*;
use crate::problem::Problem;
use crate::status::samples::{at, server, site, status, trouble};
use crate::status::{Renewal, Renewed, Report, Site, Status};

mod any_order;

const AFTER: i64 = 900;
const INTERVAL: i64 = 60;

fn new() -> Alerts {
    Alerts::new(SignedDuration::from_secs(AFTER), SignedDuration::from_secs(INTERVAL))
}

/// Alerts, a status, and what was told so far.
struct Play {
    alerts: Alerts,
    now: i64,
    told: Vec<String>,
    status: Status,
}

impl Play {
    fn new(sites: &[Site]) -> Self {
        Self { alerts: new(), now: 0, told: Vec::new(), status: status(sites) }
    }

    /// The status is seen at this second, and what is due until then is told.
    fn see(&mut self, now: i64) -> &mut Self {
        self.run_until(now, true);
        let (found, all) = findings(&self.status);
        self.alerts.see(found, all, at(now));
        self.run(true);
        self
    }

    fn site_is(&mut self, site: usize, state: &str, code: Option<&str>, now: i64) -> &mut Self {
        self.status.sites[site].state = state.to_owned();
        self.status.sites[site].problem = code.map(|code| trouble(code, now));
        self.see(now)
    }

    /// Time passes.
    fn run_until(&mut self, now: i64, succeeds: bool) -> &mut Self {
        while let Some(next) = self.alerts.next_deadline().filter(|next| *next <= at(now)) {
            self.now = self.now.max(next.max(at(self.now)).as_second() - at(0).as_second());
            self.run(succeeds);
        }
        self.now = now;
        self
    }

    fn run(&mut self, succeeds: bool) {
        if let Some(tellings) = self.alerts.begin(at(self.now)) {
            for telling in &tellings {
                let whose = telling.site.as_ref().or(telling.server.as_ref());
                let whose = whose.map_or("agent", String::as_str);
                self.told.push(format!("{} {:?} {whose} {}", self.now, telling.state, telling.code));
            }
            self.alerts.ended(succeeds, at(self.now));
        }
    }

    /// What was told since the last time.
    fn assert_told(&mut self, wanted: &[&str]) -> &mut Self {
        assert_eq!(std::mem::take(&mut self.told), wanted);
        self
    }

    /// Another process goes on.
    fn restart(&mut self) -> &mut Self {
        let kept = self.alerts.cases();
        self.alerts = new();
        self.alerts.remember(kept);
        self
    }
}

fn one() -> Play {
    Play::new(&[site("a.test")])
}

#[test]
fn a_problem_that_lasts_is_told_once_and_its_end_once() {
    one()
        .see(0)
        .site_is(0, "waiting", Some("stale"), 10)
        .run_until(909, true)
        .assert_told(&[])
        .run_until(910, true)
        .assert_told(&["910 Problem a.test stale"])
        .see(2000)
        .run_until(90_000, true)
        .assert_told(&[])
        .site_is(0, "verifying", None, 90_001)
        .assert_told(&[])
        .site_is(0, "current", None, 90_002)
        .assert_told(&["90002 Well a.test stale"])
        .see(90_100)
        .run_until(99_999, true)
        .assert_told(&[]);
}

#[test]
fn what_comes_and_goes_within_its_time_is_told_to_nobody() {
    let mut play = one();
    for begin in (0..10_000).step_by(1000) {
        play.site_is(0, "waiting", Some("stale"), begin).site_is(0, "current", None, begin + 899);
    }
    play.run_until(99_999, true).assert_told(&[]);
    assert!(play.alerts.cases().is_empty(), "nothing is left to remember");
}

#[test]
fn a_problem_that_becomes_another_is_told_again_when_that_one_lasts() {
    one()
        .site_is(0, "waiting", Some("stale"), 0)
        .run_until(1000, true)
        .assert_told(&["900 Problem a.test stale"])
        .site_is(0, "waiting", Some("expired"), 1000)
        // Back and forth is nothing new.
        .site_is(0, "waiting", Some("stale"), 1500)
        .site_is(0, "waiting", Some("expired"), 2000)
        .run_until(2899, true)
        .assert_told(&[])
        .run_until(2900, true)
        .assert_told(&["2900 Problem a.test expired"])
        .site_is(0, "current", None, 3000)
        .assert_told(&["3000 Well a.test expired"]);
}

#[test]
fn a_site_that_changes_its_problems_is_one_that_has_one() {
    one()
        .site_is(0, "waiting", Some("not_running"), 0)
        .site_is(0, "waiting", Some("stale"), 600)
        .run_until(900, true)
        .assert_told(&["900 Problem a.test stale"]);
}

#[test]
fn what_comes_within_the_interval_is_told_together() {
    let mut play = Play::new(&["a.test", "b.test", "c.test"].map(site));
    play.site_is(0, "waiting", Some("stale"), 0)
        .site_is(1, "waiting", Some("stale"), 10)
        .site_is(2, "waiting", Some("expired"), 40)
        .run_until(930, true)
        .assert_told(&["900 Problem a.test stale"])
        .site_is(0, "current", None, 931)
        .run_until(2000, true)
        .assert_told(&["960 Problem b.test stale", "960 Problem c.test expired", "960 Well a.test stale"]);
}

#[test]
fn a_command_that_fails_is_run_again_with_growing_pauses() {
    let mut play = one();
    play.site_is(0, "waiting", Some("stale"), 0).run_until(20_000, false);
    let at: Vec<i64> =
        play.told.iter().map(|told| told.split(' ').next().unwrap().parse().unwrap()).collect();
    let pauses: Vec<i64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]);
    play.told.clear();
    play.run_until(30_000, true);
    assert_eq!(play.told.len(), 1, "{:?}", play.told);
    // The next problem finds the usual pause again.
    play.told.clear();
    play.site_is(0, "current", None, 40_000).assert_told(&["40000 Well a.test stale"]);
}

#[test]
fn a_restart_forgets_nothing() {
    let mut play = one();
    play.site_is(0, "waiting", Some("stale"), 0).run_until(300, true).restart();
    // The new process has not looked yet, and then finds it anew.
    play.site_is(0, "unknown", None, 310)
        .site_is(0, "verifying", None, 311)
        .site_is(0, "waiting", Some("stale"), 312)
        .run_until(899, true)
        .assert_told(&[])
        .run_until(900, true)
        .assert_told(&["900 Problem a.test stale"])
        .restart()
        .site_is(0, "unknown", None, 1000)
        .site_is(0, "waiting", Some("stale"), 1001)
        .run_until(9000, true)
        .assert_told(&[]);
    assert_eq!(play.alerts.cases()[0].since, at(0));
    play.restart().site_is(0, "unknown", None, 9001).assert_told(&[]);
    play.site_is(0, "current", None, 9002).assert_told(&["9002 Well a.test stale"]);
    assert!(play.alerts.cases().is_empty());
}

#[test]
fn what_the_ledger_tells_late_is_still_known() {
    let mut play = one();
    play.site_is(0, "waiting", Some("stale"), 0).run_until(900, true);
    let kept = play.alerts.cases();
    play.alerts = new();
    play.told.clear();
    play.site_is(0, "waiting", Some("stale"), 1000);
    play.alerts.remember(kept);
    play.run_until(9000, true).assert_told(&[]);
    assert_eq!(play.alerts.cases()[0].since, at(0));
}

#[test]
fn what_happens_while_the_command_runs_is_told_after_it() {
    let mut play = one();
    play.status.sites[0].problem = Some(trouble("stale", 0));
    let (wrong, all) = findings(&play.status);
    play.alerts.see(wrong, all, at(0));
    let told = play.alerts.begin(at(900)).unwrap();
    assert_eq!((told.len(), play.alerts.next_deadline(), play.alerts.begin(at(900))), (1, None, None));
    play.status.sites[0].problem = None;
    let (well, all) = findings(&play.status);
    play.alerts.see(well.clone(), all, at(905));
    play.alerts.ended(true, at(910));
    play.run_until(2000, true).assert_told(&["960 Well a.test stale"]);
    // The other way round.
    play.status.sites[0].problem = Some(trouble("stale", 3000));
    let (wrong, all) = findings(&play.status);
    play.alerts.see(wrong, all, at(3000));
    play.run_until(4000, true).assert_told(&["3900 Problem a.test stale"]);
    play.alerts.see(well.clone(), all, at(4000));
    assert_eq!(play.alerts.begin(at(4000)).unwrap()[0].state, Kind::Well);
    play.status.sites[0].problem = Some(trouble("stale", 4005));
    let (wrong, all) = findings(&play.status);
    play.alerts.see(wrong, all, at(4005));
    play.alerts.ended(true, at(4010));
    play.run_until(9000, true).assert_told(&["4905 Problem a.test stale"]);
    // Nobody was told in the end, and there is nothing to tell.
    let mut play = one();
    play.site_is(0, "waiting", Some("stale"), 0);
    play.alerts.begin(at(900)).unwrap();
    play.alerts.see(well, true, at(905));
    play.alerts.ended(false, at(910));
    play.run_until(9000, true).assert_told(&[]);
}

#[test]
fn a_clock_that_is_set_holds_nobody_up() {
    let mut play = one();
    play.site_is(0, "waiting", Some("stale"), 1_000_000).see(0).run_until(900, true);
    play.assert_told(&["900 Problem a.test stale"]);
    // Right after a run far in the future.
    play.site_is(0, "waiting", Some("expired"), 1_000_000).run_until(2_000_000, true);
    play.told.clear();
    play.now = 10;
    play.status.sites[0] = site("a.test");
    let (found, all) = findings(&play.status);
    play.alerts.see(found, all, at(10));
    play.run_until(10 + 3600, true);
    assert_eq!(play.told.len(), 1, "{:?}", play.told);
}

#[test]
fn reports_renewals_servers_and_the_agent_are_told_of_too() {
    let mut play = one();
    let error = Some("HTTP 400: no such record".to_owned());
    play.status.sites[0].report = Report { state: "held".into(), error: error.clone(), ..Report::none() };
    play.see(0).run_until(900, true).assert_told(&["900 Problem a.test report_held"]);
    play.status.sites[0].report = Report { state: "pending".into(), ..Report::none() };
    play.see(1000).run_until(3000, true).assert_told(&[]);
    play.status.sites[0].report = Report { state: "delivered".into(), ..Report::none() };
    play.see(3000).assert_told(&["3000 Well a.test report_held"]);
    play.status.sites[0].report = Report { state: "pending".into(), error, ..Report::none() };
    play.see(4000).run_until(5000, true).assert_told(&["4900 Problem a.test report_failed"]);
    // Without the ledger nobody knows.
    play.status.sites[0].report = Report::none();
    play.status.ledger_problem = Some(Problem::new("disk_full", "x", "y"));
    play.see(5000).run_until(6000, true).assert_told(&["5900 Problem agent disk_full"]);
    play.status.ledger_problem = None;
    play.see(6000).assert_told(&["6000 Well agent disk_full", "6000 Well a.test report_failed"]);

    play.status.servers[0] = server("nginx", Some(trouble("nginx_refused", 7000)));
    play.site_is(0, "waiting", Some("blocked"), 7000).run_until(8000, true);
    play.assert_told(&["7900 Problem nginx nginx_refused", "7900 Problem a.test blocked"]);
    // After a restart it has not refused anything yet.
    play.status.servers[0].problem = None;
    play.restart().site_is(0, "unknown", None, 8001).site_is(0, "reloading", None, 8002).assert_told(&[]);
    play.site_is(0, "current", None, 8100);
    play.assert_told(&["8100 Well nginx nginx_refused", "8100 Well a.test blocked"]);

    let one = Renewed { name: "b.test".into(), state: "failed".into(), error: Some("too late".into()) };
    let renewal = Renewal {
        asked_at: at(0),
        state: "done".into(),
        next_at: at(99_999),
        error: None,
        certificates: vec![one],
    };
    play.status.renewal = Some(renewal);
    play.see(9000).run_until(10_000, true).assert_told(&["9900 Problem agent renewal_failed"]);
    let case = play.alerts.cases().remove(0);
    assert_eq!(case.message, "b.test: too late");
}

#[test]
fn a_site_that_is_gone_is_well_unless_it_only_cannot_be_seen() {
    let mut play = Play::new(&["a.test", "b.test"].map(site));
    play.site_is(0, "waiting", Some("stale"), 0).run_until(1000, true);
    play.told.clear();
    play.status.sites.remove(0);
    play.status.servers[0].problem = Some(trouble("nginx_config", 1000));
    play.see(1000).assert_told(&[]);
    play.status.servers[0].problem = None;
    play.status.sites[0].state = "unknown".into();
    play.see(1001).assert_told(&[]);
    play.site_is(0, "current", None, 1002).assert_told(&["1002 Well a.test stale"]);
}

#[test]
fn two_sites_that_cannot_be_told_apart_are_as_the_worse_one() {
    let mut play = Play::new(&["a.test", "a.test"].map(site));
    play.site_is(0, "waiting", Some("stale"), 0).see(10).run_until(2000, true);
    play.assert_told(&["900 Problem a.test stale"]);
}

#[test]
fn the_command_is_told_in_tame_words() {
    let mut play = Play::new(&[site("a\u{1b}[31m\n.test")]);
    play.site_is(0, "waiting", Some("stale"), 0);
    play.status.sites[0].problem.as_mut().unwrap().message = format!("\0\u{202e}{}", "x".repeat(5000));
    play.see(1);
    let tellings = play.alerts.begin(at(900)).unwrap();
    let json = serde_json::to_value(&tellings).unwrap();
    let keys: Vec<&String> = json[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "message", "remedy", "server", "since", "site", "state"]);
    assert_eq!((&json[0]["state"], &json[0]["since"]), (&"problem".into(), &"2023-11-14T22:13:20Z".into()));
    let environment = environment(&tellings);
    let names: Vec<&str> = environment.iter().map(|(name, _)| *name).collect();
    let words = ["STATE", "SITE", "SERVER", "CODE", "MESSAGE", "REMEDY", "SINCE", "COUNT"];
    assert_eq!(names, words.map(|word| format!("CERTHOOK_{word}")));
    for (name, value) in environment {
        assert!(!value.contains(|c: char| c.is_control() || c == '\u{202e}'), "{name}: {value:?}");
        assert!(value.chars().count() < 600, "{name}");
    }
    assert_eq!(json[0]["site"], "a\\u{1b}[31m\\u{a}.test");
}
