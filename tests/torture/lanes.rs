//! Lanes: processes that run the trials of a campaign side by side, each with a stage of its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::control::{Board, Control, Fate, Plan, Points};
use crate::disk::Disk;
use crate::engine::Opening;
use crate::judge::{encode, patience};
use crate::options::Options;
use crate::scenes::{Scene, scenes};
use crate::stage::Stage;
use crate::system::{Child, End, in_child};
use crate::tally::{Tally, Verdict};

pub struct Lane {
    pub options: Options,
    pub campaign: &'static str,
    pub control: &'static Control,
    pub board: &'static Board,
    pub points: &'static Points,
    pub stage: Stage,
    pub tally: Tally,
    pub index: u64,
    deadline: Option<Instant>,
    calls: HashMap<(&'static str, &'static str, u32), i64>,
    pub disk: Option<Disk>,
}

/// What a campaign consists of.
pub struct Campaign {
    pub name: &'static str,
    /// Every case once.
    pub exhaustive: fn(&mut Lane),
    /// One random trial, a function of the seed and its number; None if `--only` leaves it out.
    pub trial: fn(&mut Lane, u64) -> Option<Verdict>,
    /// One case of `exhaustive`, by its name.
    pub repeat: fn(&mut Lane, &str) -> Verdict,
}

/// Longer than any campaign.
const NEVER: Duration = Duration::from_secs(30 * 86_400);

/// Runs a campaign on all lanes.
pub fn run(campaign: &'static Campaign, options: &Options, control: &'static Control) -> Tally {
    let started = Instant::now();
    let deadline = options.time_for(campaign.name).map(|time| started + time);
    let lanes = if options.repeat.is_some() { 1 } else { options.jobs };
    let children: Vec<Child> = (0..lanes)
        .map(|index| {
            Child::start(|| encode(&run_lane(campaign, options, control, index, deadline)))
        })
        .collect();
    let mut tally = Tally::default();
    for child in children {
        match child.finish(NEVER) {
            End::Returned(bytes) => {
                tally.merge(serde_json::from_slice(&bytes).expect("a lane's tally"))
            }
            end => panic!("a lane of {} failed: {end:?}", campaign.name),
        }
    }
    println!("{}", tally.summary(campaign.name, started.elapsed().as_secs()));
    tally
}

fn run_lane(
    campaign: &'static Campaign,
    options: &Options,
    control: &'static Control,
    index: u64,
    deadline: Option<Instant>,
) -> Tally {
    let scratch = options.scratch.join(format!("{}-{index}", campaign.name));
    // The control block of the parent is every lane's, so each needs its own.
    let own = Control::attach().unwrap_or(control);
    let mut lane = Lane {
        options: options.clone(),
        campaign: campaign.name,
        control: own,
        board: crate::system::shared(),
        points: crate::system::shared(),
        stage: Stage::new(&scratch, options.seed),
        tally: Tally::default(),
        index,
        deadline,
        calls: HashMap::new(),
        disk: None,
    };
    if let Some(case) = &options.repeat {
        let verdict = match case.parse() {
            Ok(number) => (campaign.trial)(&mut lane, number),
            Err(_) => Some((campaign.repeat)(&mut lane, case)),
        };
        if let Some(verdict) = verdict {
            lane.record(&verdict, &format!("--repeat {case}"));
        }
        println!("{} is in {}", case, scratch.display());
        return lane.tally;
    }
    if options.is_random() {
        let most = options.trials.unwrap_or(u64::MAX);
        let mut number = index;
        while number < most && !lane.is_over() {
            if let Some(verdict) = (campaign.trial)(&mut lane, number) {
                let only = if options.only.is_empty() {
                    String::new()
                } else {
                    format!(" --only {}", options.only)
                };
                lane.record(&verdict, &format!("--seed {}{only} --repeat {number}", options.seed));
            }
            number += options.jobs;
        }
    } else {
        (campaign.exhaustive)(&mut lane);
    }
    drop(lane.disk.take());
    let _ = std::fs::remove_dir_all(&scratch);
    lane.tally
}

impl Lane {
    /// The disk that can lose its power, made when it is first needed.
    pub fn disk(&mut self) -> &Disk {
        let (scratch, may_mount) = (&self.stage.scratch, !self.options.is_unmounted);
        self.disk.get_or_insert_with(|| Disk::new(scratch, may_mount))
    }

    /// Whether the case with this number is for this lane.
    pub fn is_mine(&self, number: u64) -> bool {
        number % self.options.jobs == self.index
    }

    /// The numbers of calls, from 1, that are for this lane. All lanes share each operation, so
    /// that one operation keeps all cores at work.
    pub fn share(&self) -> impl Iterator<Item = i64> + use<> {
        (1 + self.index as i64..).step_by(self.options.jobs as usize)
    }

    pub fn is_wanted(&self, name: &str) -> bool {
        name.contains(&self.options.only)
    }

    /// Scenes that `--only` has, with this durability.
    pub fn wanted_scenes(&self, durability: &str) -> Vec<Scene> {
        let is_wanted = |scene: &Scene| self.is_wanted(&format!("{}:{durability}", scene.name));
        scenes().into_iter().filter(is_wanted).collect()
    }

    /// Whether a trial is one of random moments and random operations: one in three.
    pub fn draws_moments(
        &self,
        wanted: &[Scene],
        durability: &str,
        random: &mut ChaCha8Rng,
    ) -> bool {
        let may = self.is_wanted(&format!("moments:{durability}"));
        may && (wanted.is_empty() || random.random_range(0..3) == 0)
    }

    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() > deadline)
    }

    pub fn record(&mut self, verdict: &Verdict, repeat: &str) {
        self.tally.add(verdict, self.campaign, repeat);
    }

    /// How many calls of these kinds a scene makes.
    pub fn count_calls(&mut self, scene: &Scene, durability: &'static str, kinds: u32) -> i64 {
        let key = (scene.name, durability, kinds);
        if let Some(calls) = self.calls.get(&key) {
            return *calls;
        }
        let opening = Opening { durability, threads: 2 };
        let (places, _) = self.stage.set_up(scene.start, opening);
        self.control.watch(&places.root);
        let (board, control) = (self.board, self.control);
        let plan = Plan { fate: Fate::Kill, kinds, nth: i64::MAX, again: 0, part: 0 };
        let end = in_child(patience(), || {
            drop(scene.play(&places, opening, board, &|| control.arm(plan), &|| control.disarm()));
            Vec::new()
        });
        assert!(matches!(end, End::Returned(_)), "{} without a fault: {end:?}", scene.name);
        let calls = control.seen();
        self.calls.insert(key, calls);
        calls
    }
}
