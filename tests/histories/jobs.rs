//! Jobs: producers, workers that pause for longer than their claim or die over it, and a sweeper.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::claims;
use super::plays::Play;
use super::recorder::{map, Actor};
use super::replay::{Moment, Specification};

const TABLE: &str = "miroir:jobs";
const QUEUED: &str = "miroir:jobs:_queued";
const ALL: &str = "miroir:jobs:_index";
const TYPES: &[&str] = &["dump", "reindex", "backup"];
const PRODUCERS: usize = 3;
/// How many jobs each of them has.
const EACH: usize = 60;
/// A sweeper looks at one in so many jobs at a time.
const SHARES: usize = 6;
const FIELDS: &str = "state attempts claimed_by claim_token claim_expires_at finished_at progress error";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Queued,
    InProgress,
    Completed,
    Failed,
}

impl State {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Queued, "queued"),
        (Self::InProgress, "in_progress"),
        (Self::Completed, "completed"),
        (Self::Failed, "failed"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).unwrap().1
    }

    fn named(name: &str) -> Self {
        Self::ALL.iter().find(|(_, text)| *text == name).unwrap().0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    kind: String,
    created_at: i64,
    pub state: State,
    progress: String,
    attempts: i64,
    holder: Option<String>,
    end: Option<i64>,
    token: Option<i64>,
    finished_at: Option<i64>,
    /// With `…` at its end where only the beginning is promised.
    error: Option<String>,
}

impl Job {
    fn is_held(&self, at: Moment) -> bool {
        self.state == State::InProgress && self.end.is_some_and(|end| at.clock < end)
    }

    fn ran_out(&self, at: Moment) -> bool {
        self.state == State::InProgress && !self.is_held(at)
    }

    fn is_held_by(&self, holder: &str, token: &str, at: Moment) -> bool {
        let token = token.parse().ok();
        self.is_held(at) && self.holder.as_deref() == Some(holder) && self.token == token
    }

    fn queue(&mut self) {
        self.state = State::Queued;
        self.holder = None;
        self.end = None;
    }

    fn finish(&mut self, state: State, at: Moment) {
        self.state = state;
        self.end = None;
        self.finished_at = Some(at.clock);
    }

    /// Fails the job if it was tried often enough.
    fn is_spent(&mut self, most: Option<i64>, at: Moment) -> bool {
        let spent = most.is_some_and(|most| self.attempts >= most);
        if spent {
            self.finish(State::Failed, at);
            self.error = Some(SPENT.to_owned());
        }
        spent
    }

    fn row(&self, id: &str) -> String {
        let mut pairs = vec![
            ("id", id.to_owned()),
            ("type", self.kind.clone()),
            ("params", "{}".to_owned()),
            ("state", self.state.name().to_owned()),
            ("progress", self.progress.clone()),
            ("created_at", self.created_at.to_string()),
            ("attempts", self.attempts.to_string()),
        ];
        pairs.extend(self.holder.clone().map(|holder| ("claimed_by", holder)));
        pairs.extend(self.end.map(|end| ("claim_expires_at", end.to_string())));
        pairs.extend(self.token.map(|token| ("claim_token", token.to_string())));
        pairs.extend(self.finished_at.map(|time| ("finished_at", time.to_string())));
        pairs.extend(self.error.clone().map(|error| ("error", error)));
        map(pairs.iter().map(|(name, value)| (*name, value.as_str())))
    }

    fn fields(&self) -> String {
        let number = |number: Option<i64>| number.map_or("nil".to_owned(), |number| number.to_string());
        let error = self.error.as_deref().unwrap_or("nil");
        let text = format!(
            "[{}, {}, {}, {}, {}, {}, {}, {error}",
            self.state.name(),
            self.attempts,
            self.holder.as_deref().unwrap_or("nil"),
            number(self.token),
            number(self.end),
            number(self.finished_at),
            self.progress,
        );
        if error.ends_with('…') {
            text
        } else {
            text + "]"
        }
    }
}

/// How the error of a job begins that was tried too often.
const SPENT: &str = "gave up…";

pub type World = BTreeMap<String, Rc<Job>>;

/// The options of CLAIM and RECLAIM.
#[derive(Default)]
struct Options<'a> {
    kinds: Vec<&'a str>,
    id: Option<&'a str>,
    count: Option<usize>,
    most: Option<i64>,
}

impl<'a> Options<'a> {
    fn new(words: &[&'a str]) -> Self {
        let mut options = Self::default();
        for pair in words.chunks(2) {
            match pair[0] {
                "TYPE" => options.kinds.push(pair[1]),
                "ID" => options.id = Some(pair[1]),
                "COUNT" | "LIMIT" => options.count = pair[1].parse().ok(),
                "MAXATTEMPTS" => options.most = pair[1].parse().ok(),
                other => panic!("{other}"),
            }
        }
        options
    }

    fn wants(&self, id: &str, job: &Job) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&job.kind.as_str()))
            && self.id.is_none_or(|wanted| wanted == id)
    }
}

/// The ids of the jobs that pass, in order.
fn sorted<K: Ord>(world: &World, test: impl Fn(&str, &Job) -> bool, key: impl Fn(&Job) -> K) -> Vec<String> {
    let mut found: Vec<(K, &String)> =
        world.iter().filter(|(id, job)| test(id, job)).map(|(id, job)| (key(job), id)).collect();
    found.sort();
    found.into_iter().map(|(_, id)| id.clone()).collect()
}

fn claim(world: &mut World, holder: &str, ttl: &str, options: &Options<'_>, at: Moment) -> String {
    let eligible =
        |id: &str, job: &Job| (job.state == State::Queued || job.ran_out(at)) && options.wants(id, job);
    let mut claimed = Vec::new();
    for id in sorted(world, eligible, |job| job.created_at) {
        if claimed.len() == options.count.unwrap_or(1) {
            break;
        }
        let job = Rc::make_mut(world.get_mut(&id).unwrap());
        if job.is_spent(options.most, at) {
            continue;
        }
        job.state = State::InProgress;
        job.attempts += 1;
        job.token = Some(job.token.unwrap_or(0) + 1);
        job.holder = Some(holder.to_owned());
        job.end = Some(at.clock + ttl.parse::<i64>().unwrap());
        claimed.push(format!("[{id}, {}, {}]", job.token.unwrap(), job.row(&id)));
    }
    format!("[{}]", claimed.join(", "))
}

fn reclaim(world: &mut World, options: &Options<'_>, at: Moment) -> String {
    let mut count = 0;
    // Longest expired first.
    let mut ran_out = sorted(world, |_, job| job.ran_out(at), |job| job.end);
    ran_out.truncate(options.count.unwrap_or(1000));
    for id in ran_out {
        let job = Rc::make_mut(world.get_mut(&id).unwrap());
        if !job.is_spent(options.most, at) {
            job.queue();
            count += 1;
        }
    }
    count.to_string()
}

fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1])
}

pub struct Jobs;

impl Specification for Jobs {
    type World = World;

    fn begin(&self) -> World {
        World::new()
    }

    fn step(&self, world: &mut World, words: &[&str], at: Moment) -> String {
        match *words {
            ["PING"] => "PONG".to_owned(),
            ["MIROIR.PUT", key, "type", kind, "created_at", created_at] => {
                let id = key.strip_prefix("miroir:jobs:").unwrap();
                let before = world.get(id).cloned();
                if before.as_ref().is_some_and(|job| job.state != State::Queued) {
                    return "0".to_owned();
                }
                let job = Job {
                    kind: kind.to_owned(),
                    created_at: created_at.parse().unwrap(),
                    state: State::Queued,
                    progress: "{}".to_owned(),
                    attempts: 0,
                    holder: None,
                    end: None,
                    // It goes on rising when a job is put again.
                    token: before.as_ref().and_then(|job| job.token),
                    finished_at: None,
                    error: None,
                };
                world.insert(id.to_owned(), Rc::new(job));
                if before.is_some() { "2" } else { "1" }.to_owned()
            }
            ["MIROIR.JOB.CLAIM", TABLE, holder, ttl, ref options @ ..] => {
                claim(world, holder, ttl, &Options::new(options), at)
            }
            ["MIROIR.JOB.RECLAIM", TABLE, ref options @ ..] => reclaim(world, &Options::new(options), at),
            ["MIROIR.JOB.RENEW", key, holder, token, ttl, ref options @ ..] => {
                let job = world.get_mut(key.strip_prefix("miroir:jobs:").unwrap());
                let Some(job) = job else { return "-2".to_owned() };
                if !job.is_held_by(holder, token, at) {
                    return "0".to_owned();
                }
                let job = Rc::make_mut(job);
                job.end = Some(at.clock + ttl.parse::<i64>().unwrap());
                if let Some(progress) = option(options, "PROGRESS") {
                    progress.clone_into(&mut job.progress);
                }
                "1".to_owned()
            }
            ["MIROIR.JOB.FINISH", key, holder, token, state, ref options @ ..] => {
                let job = world.get_mut(key.strip_prefix("miroir:jobs:").unwrap());
                let Some(job) = job else { return "-2".to_owned() };
                if matches!(job.state, State::Completed | State::Failed) {
                    return "-1".to_owned();
                }
                if !job.is_held_by(holder, token, at) {
                    return "0".to_owned();
                }
                let job = Rc::make_mut(job);
                match State::named(state) {
                    State::Queued => job.queue(),
                    state => job.finish(state, at),
                }
                if let Some(progress) = option(options, "PROGRESS") {
                    progress.clone_into(&mut job.progress);
                }
                match option(options, "ERROR") {
                    Some(error) => job.error = Some(error.to_owned()),
                    None if job.state == State::Completed => job.error = None,
                    None => {}
                }
                "1".to_owned()
            }
            ["MIROIR.COUNT", TABLE, "BY", "state"] => {
                let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
                world.values().for_each(|job| *counts.entry(job.state.name()).or_default() += 1);
                let counts: Vec<_> = counts.into_iter().map(|(state, n)| (state, n.to_string())).collect();
                map(counts.iter().map(|(state, count)| (*state, count.as_str())))
            }
            ["MIROIR.LIST", TABLE, "WHERE", "state", state, "LIMIT", "0", limit, "IDS"] => {
                let state = State::named(state);
                let mut ids = sorted(world, |_, job| job.state == state, |job| job.created_at);
                ids.truncate(limit.parse().unwrap());
                format!("[{}]", ids.join(", "))
            }
            _ => panic!("{words:?}"),
        }
    }

    fn look(&self, world: &World, words: &[&str], _: Moment) -> String {
        let ids = |test: &dyn Fn(&Job) -> bool| {
            let ids = world.iter().filter(|(_, job)| test(job)).map(|(id, _)| id.as_str());
            ids.collect::<Vec<_>>().join(", ")
        };
        match *words {
            ["SMEMBERS", QUEUED] => format!("[{}]", ids(&|job| job.state == State::Queued)),
            ["SMEMBERS", ALL] => format!("[{}]", ids(&|_| true)),
            ["HMGET", key, ..] => world
                .get(key.strip_prefix("miroir:jobs:").unwrap())
                .map_or_else(|| format!("[{}]", ["nil"; 8].join(", ")), |job| job.fields()),
            _ => panic!("{words:?}"),
        }
    }
}

fn about_queue() -> Vec<String> {
    vec![format!("SMEMBERS {QUEUED}")]
}

fn about_job(id: &str) -> Vec<String> {
    vec![format!("HMGET miroir:jobs:{id} {FIELDS}"), format!("SMEMBERS {QUEUED}")]
}

fn produce(actor: &mut Actor<'_>) {
    let producer = actor.number % PRODUCERS;
    let mut next = 0;
    while actor.plays() {
        actor.pause(0..60);
        // Sometimes one is put again, whatever became of it.
        let again = next == EACH || next > 0 && actor.chance(6);
        let number = if again { actor.random.usize(..next) } else { next };
        if !again {
            next += 1;
        }
        let id = format!("job-{producer}-{number}");
        // Few different times, so that also the ids decide.
        let (kind, created_at) = (actor.choose(TYPES), actor.random.u32(1..40));
        let line = format!("MIROIR.PUT miroir:jobs:{id} type {kind} created_at {created_at}");
        actor.call(&line, &about_job(&id));
    }
}

/// Claims jobs, and often does not notice that a claim ran out.
fn work(actor: &mut Actor<'_>) {
    while actor.plays() {
        actor.pause(0..15);
        // Several threads of one pod claim in one name; then only the token tells whose a claim is.
        let holder = if actor.chance(2) { "pod-shared".to_owned() } else { actor.name.clone() };
        let mut claim = format!("MIROIR.JOB.CLAIM {TABLE} {holder} {}", actor.random.u32(20..70));
        for _ in 0..[0, 0, 1, 2][actor.random.usize(..4)] {
            claim += &format!(" TYPE {}", actor.choose(TYPES));
        }
        if actor.chance(3) {
            claim += &format!(" COUNT {}", actor.random.u32(1..4));
        }
        if actor.chance(10) {
            let (producer, number) = (actor.random.usize(..PRODUCERS), actor.random.usize(..EACH));
            claim += &format!(" ID job-{producer}-{number}");
        }
        if actor.chance(2) {
            claim += " MAXATTEMPTS 4";
        }
        let Some(answer) = actor.call(&claim, &about_queue()) else { continue };
        let held: Vec<(String, String)> = claims::claimed(&answer)
            .into_iter()
            .map(|claim| (claim.id.to_owned(), claim.token.to_string()))
            .collect();
        for (id, token) in held {
            carry_on(actor, &format!("miroir:jobs:{id} {holder} {token}"), &id);
        }
        if actor.chance(8) {
            actor.die();
        }
    }
}

/// `job` is the key, the holder and the token.
fn carry_on(actor: &mut Actor<'_>, job: &str, id: &str) {
    loop {
        let longer_than_the_claim = actor.chance(5);
        actor.pause(if longer_than_the_claim { 50..110 } else { 0..15 });
        let progress = actor.random.u32(..100);
        let line = match actor.random.u32(..12) {
            0..=2 => format!("MIROIR.JOB.RENEW {job} {}", actor.random.u32(20..70)),
            3 => format!(
                "MIROIR.JOB.RENEW {job} {} PROGRESS {{\"done\":{progress}}}",
                actor.random.u32(20..70)
            ),
            4 | 5 => format!("MIROIR.JOB.FINISH {job} completed"),
            6 => format!("MIROIR.JOB.FINISH {job} completed PROGRESS {{\"done\":{progress}}}"),
            7 => format!("MIROIR.JOB.FINISH {job} failed ERROR disk-full-{progress}"),
            8 => format!("MIROIR.JOB.FINISH {job} failed"),
            9 => format!("MIROIR.JOB.FINISH {job} queued"),
            10 => format!("MIROIR.JOB.FINISH {job} queued ERROR later-{progress}"),
            // Forgets it.
            _ => return,
        };
        actor.call(&line, &about_job(id));
        // Sometimes it does not trust the answer, and says the same again.
        if line.contains("FINISH") && !actor.chance(4) {
            return;
        }
    }
}

/// Puts back what ran out, and looks at everything.
fn sweep(actor: &mut Actor<'_>) {
    while actor.plays() {
        actor.pause(0..60);
        let line = match actor.random.u32(..5) {
            0 => format!("MIROIR.JOB.RECLAIM {TABLE}"),
            1 => format!("MIROIR.JOB.RECLAIM {TABLE} LIMIT 2 MAXATTEMPTS 5"),
            2 => format!("MIROIR.COUNT {TABLE} BY state"),
            _ => {
                let state = State::ALL[actor.random.usize(..4)].1;
                format!("MIROIR.LIST {TABLE} WHERE state {state} LIMIT 0 20 IDS")
            }
        };
        let some = actor.random.usize(..SHARES);
        let looks: Vec<String> = survey().into_iter().skip(some).step_by(SHARES).collect();
        actor.call(&line, &looks);
    }
}

/// When all others have gone: finishes every job.
fn drain(actor: &mut Actor<'_>) {
    let left = |counts: &str| counts.contains("queued: ") || counts.contains("in_progress: ");
    while left(&actor.call(&format!("MIROIR.COUNT {TABLE} BY state"), &about_queue()).unwrap()) {
        let claim = format!("MIROIR.JOB.CLAIM {TABLE} {} 60000 COUNT 5", actor.name);
        let answer = actor.call(&claim, &about_queue()).unwrap();
        for claim in claims::claimed(&answer) {
            let finish = format!(
                "MIROIR.JOB.FINISH miroir:jobs:{} {} {} completed",
                claim.id, actor.name, claim.token
            );
            assert_eq!(actor.call(&finish, &about_job(claim.id)).unwrap(), "1", "{finish}");
        }
        // What others hold has to run out.
        actor.pause(1..5);
    }
}

/// The raw reads that show all jobs and the queue.
fn survey() -> Vec<String> {
    let of_one =
        |producer| (0..EACH).map(move |number| format!("HMGET miroir:jobs:job-{producer}-{number} {FIELDS}"));
    let sets = [format!("SMEMBERS {QUEUED}"), format!("SMEMBERS {ALL}")];
    (0..PRODUCERS).flat_map(of_one).chain(sets).collect()
}

/// Three producers, seven workers, two sweepers.
pub fn play() -> Play<Jobs> {
    Play {
        specification: Jobs,
        cast: vec![(PRODUCERS, produce), (7, work), (2, sweep)],
        afterwards: Some(drain),
        survey: survey(),
        invariants: claims::check,
    }
}
