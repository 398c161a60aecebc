//! Whatever happens in whatever order, nobody is told too much, too early, or not at all.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// One of three things stands so: a code, well, or unknown.
    See(usize, Option<Option<&'static str>>),
    Wait(i64),
    Restart,
    /// The command fails from here on, or works again.
    Fail(bool),
    /// The command takes until the next wait from here on, or ends at once.
    Slow(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let standing = prop_oneof![
        Just(Some(Some("stale"))),
        Just(Some(Some("expired"))),
        Just(Some(None)),
        Just(Some(None)),
        Just(None),
    ];
    prop_oneof![
        4 => (0..3_usize, standing).prop_map(|(which, how)| Step::See(which, how)),
        3 => prop_oneof![0..100_i64, 800..1000_i64].prop_map(Step::Wait),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Fail),
        1 => any::<bool>().prop_map(Step::Slow),
    ]
}

/// What anybody outside can tell of one thing.
#[derive(Debug, Clone, Default)]
struct Known {
    stands: Option<Option<&'static str>>,
    /// Since when it was not seen well.
    begun: Option<i64>,
    told: Option<String>,
}

struct World {
    alerts: Alerts,
    now: i64,
    fails: bool,
    slow: bool,
    running: Vec<Telling>,
    last_run: Option<i64>,
    known: HashMap<String, Known>,
}

fn subject(which: usize) -> String {
    format!("site {which}")
}

impl World {
    fn see(&mut self, which: usize, how: Option<Option<&'static str>>) {
        let known = self.known.entry(subject(which)).or_default();
        known.stands = how;
        match how {
            Some(Some(_)) => known.begun = known.begun.or(Some(self.now)),
            Some(None) => known.begun = None,
            None => {}
        }
        self.show();
    }

    fn show(&mut self) {
        let finding = |(subject, known): (&String, &Known)| Finding {
            subject: subject.clone(),
            site: subject.clone(),
            server: String::new(),
            standing: match known.stands {
                None => Standing::Unknown,
                Some(None) => Standing::Well,
                Some(Some(code)) => Standing::since_now(code, "words", "more"),
            },
        };
        let findings = self.known.iter().map(finding).collect();
        self.alerts.see(findings, true, at(self.now));
    }

    fn wait(&mut self, until: i64) {
        self.end_run();
        loop {
            if let Some(tellings) = self.alerts.begin(at(self.now)) {
                self.told(&tellings);
                self.running = tellings;
                if !self.slow {
                    self.end_run();
                }
            }
            match self.alerts.next_deadline().filter(|next| *next <= at(until)) {
                Some(next) => self.now = (next.as_second() - at(0).as_second()).max(self.now),
                None => break,
            }
        }
        self.now = until;
    }

    fn told(&mut self, tellings: &[Telling]) {
        assert!(self.last_run.is_none_or(|last| self.now - last >= INTERVAL), "too soon after the last run");
        self.last_run = Some(self.now);
        for telling in tellings {
            let known = &self.known[&telling.subject];
            match telling.state {
                Kind::Problem => {
                    assert_eq!(known.stands, Some(Some(telling.code.as_str())), "it is so now");
                    assert!(self.now - known.begun.unwrap() >= AFTER, "told too early");
                    assert_ne!(known.told.as_ref(), Some(&telling.code), "told twice");
                }
                Kind::Well => {
                    assert_eq!(known.stands, Some(None), "it is not well");
                    assert!(known.told.is_some(), "nobody knew that it was not");
                }
            }
        }
    }

    fn end_run(&mut self) {
        let running = std::mem::take(&mut self.running);
        if running.is_empty() {
            return;
        }
        self.alerts.ended(!self.fails, at(self.now));
        for telling in running.into_iter().filter(|_| !self.fails) {
            let known = self.known.get_mut(&telling.subject).unwrap();
            known.told = (telling.state == Kind::Problem).then_some(telling.code);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nobody_is_told_too_much_or_too_little(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World {
            alerts: new(),
            now: 0,
            fails: false,
            slow: false,
            running: Vec::new(),
            last_run: None,
            known: HashMap::new(),
        };
        for step in steps {
            match step {
                Step::See(which, how) => world.see(which, how),
                Step::Wait(seconds) => world.wait(world.now + seconds),
                Step::Fail(fails) => world.fails = fails,
                Step::Slow(slow) => world.slow = slow,
                Step::Restart => {
                    world.end_run();
                    let kept = world.alerts.cases();
                    world.alerts = new();
                    world.alerts.remember(kept);
                    world.last_run = None;
                    // Nothing is looked at yet.
                    world.alerts.see(Vec::new(), false, at(world.now));
                    world.show();
                }
            }
        }
        // In the end everything is told as it is.
        (world.fails, world.slow) = (false, false);
        world.wait(world.now + 100_000);
        for known in world.known.values() {
            if let Some(code) = known.stands {
                prop_assert_eq!(known.told.as_deref(), code);
            }
        }
    }
}
