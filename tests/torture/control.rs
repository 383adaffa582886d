//! The shim's control block (shim.h has its twin), and the board on which a worker tells how far it
//! is.

use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};

use damo::kill_points::{self, Countdown};

use crate::system::{AllAtomic, c_path, preloaded, shared};

type Text = [AtomicU8; 256];

#[repr(C)]
pub struct Control {
    mode: AtomicI32,
    kinds: AtomicU32,
    error: AtomicI32,
    again: AtomicI32,
    part: AtomicU32,
    fired: AtomicU32,
    countdown: AtomicI64,
    seen: AtomicI64,
    lottery: AtomicU32,
    first_kind: AtomicU32,
    path: Text,
    boot_id: Text,
    log: Text,
    first_path: Text,
}

// SAFETY: atomics only.
unsafe impl AllAtomic for Control {}

/// Kinds of system calls, as in shim.h.
pub const KINDS: [&str; 18] = [
    "write", "sync", "truncate", "rename", "remove", "link", "create", "mkdir", "allocate",
    "flush", "read", "open", "stat", "list", "map", "lock", "memory", "thread",
];
/// Those that change what is stored.
pub const CHANGES: u32 = (1 << 10) - 1;
pub const ALL: u32 = (1 << 18) - 1;

/// The kind that has this name.
pub fn kind(name: &str) -> u32 {
    1 << KINDS.iter().position(|known| *known == name).unwrap_or_else(|| panic!("no kind '{name}'"))
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Kill,
    /// It fails with this error number.
    Fail(i32),
    /// The process stops, and the driver cuts the power of its file system.
    Stop,
}

/// Which call meets its fate.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub fate: Fate,
    pub kinds: u32,
    /// The n-th call of these kinds, from 1.
    pub nth: i64,
    /// How many later calls meet the same; -1 for all.
    pub again: i32,
    /// Of a write, this many 256ths are made first.
    pub part: u32,
}

impl Control {
    /// The block that the preloaded shim looks at. None without the shim.
    pub fn attach() -> Option<&'static Control> {
        let attach = preloaded("torture_attach")?;
        let control = shared::<Control>();
        // SAFETY: the block has the layout of shim.h and stays for as long as the process does.
        unsafe { attach(std::ptr::from_ref(control).cast()) };
        Some(control)
    }

    /// Only calls on paths that contain this one are counted.
    pub fn watch(&self, path: &Path) {
        set(&self.path, &c_path(path));
    }

    pub fn set_boot_id(&self, file: Option<&Path>) {
        set(&self.boot_id, &file.map(c_path).unwrap_or_default());
    }

    /// Records every change into this file from now on.
    pub fn record_into(&self, log: Option<&Path>) {
        set(&self.log, &log.map(c_path).unwrap_or_default());
    }

    /// How many of a million writes reach the disk early.
    pub fn set_lottery(&self, of_a_million: u32) {
        self.lottery.store(of_a_million, SeqCst);
    }

    pub fn arm(&self, plan: Plan) {
        self.disarm();
        let (mode, error) = match plan.fate {
            Fate::Kill => (1, 0),
            Fate::Fail(error) => (2, error),
            Fate::Stop => (3, 0),
        };
        self.kinds.store(plan.kinds, SeqCst);
        self.error.store(error, SeqCst);
        self.again.store(plan.again, SeqCst);
        self.part.store(plan.part, SeqCst);
        self.fired.store(0, SeqCst);
        self.seen.store(0, SeqCst);
        self.countdown.store(plan.nth, SeqCst);
        self.mode.store(mode, SeqCst);
    }

    pub fn disarm(&self) {
        self.mode.store(0, SeqCst);
    }

    /// How many calls met their fate since it was armed.
    pub fn fired(&self) -> u32 {
        self.fired.load(SeqCst)
    }

    /// How many calls were counted since it was armed.
    pub fn seen(&self) -> i64 {
        self.seen.load(SeqCst)
    }

    /// The kind and the path of the first call that met its fate.
    pub fn first(&self) -> String {
        let kind = self.first_kind.load(SeqCst);
        let name = KINDS.get(kind.trailing_zeros() as usize).copied().unwrap_or("nothing");
        let bytes: Vec<u8> = self
            .first_path
            .iter()
            .map(|byte| byte.load(SeqCst))
            .take_while(|byte| *byte != 0)
            .collect();
        let path = String::from_utf8_lossy(&bytes).into_owned();
        // What comes after the trial's directory says enough.
        let short = path.rsplit_once("/trial/").map_or(path.as_str(), |(_, rest)| rest);
        format!("{name} {short}")
    }
}

fn set(text: &Text, bytes: &[u8]) {
    assert!(bytes.len() < text.len(), "the path of the scratch directory is too long");
    for (index, byte) in text.iter().enumerate() {
        byte.store(bytes.get(index).copied().unwrap_or(0), SeqCst);
    }
}

/// The countdown of compiled-in points, in memory that the driver shares with its workers.
pub struct Points(Countdown);

// SAFETY: atomics only.
unsafe impl AllAtomic for Points {}

impl Points {
    pub fn reset(&self) {
        self.0.left.store(0, SeqCst);
        self.0.at.store(0, SeqCst);
    }

    /// In a worker: the `nth` point from now on kills.
    pub fn arm(&'static self, nth: i64) {
        self.0.left.store(nth, SeqCst);
        kill_points::arm(&self.0);
    }

    /// The number of the point that killed; 0 if none did.
    pub fn at(&self) -> u32 {
        self.0.at.load(SeqCst)
    }
}

/// How far a worker is.
#[derive(Default)]
pub struct Board {
    started: AtomicU64,
    acknowledged: AtomicU64,
}

// SAFETY: atomics only.
unsafe impl AllAtomic for Board {}

impl Board {
    pub fn reset(&self) {
        self.started.store(0, SeqCst);
        self.acknowledged.store(0, SeqCst);
    }

    /// Operation number `index` of the session begins.
    pub fn start(&self, index: usize) {
        self.started.store(index as u64 + 1, SeqCst);
    }

    /// It has returned.
    pub fn acknowledge(&self, index: usize) {
        self.acknowledged.store(index as u64 + 1, SeqCst);
    }

    /// Operations that have returned.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(SeqCst) as usize
    }

    /// The operation under way.
    pub fn under_way(&self) -> Option<usize> {
        let (started, acknowledged) = (self.started.load(SeqCst), self.acknowledged.load(SeqCst));
        (started > acknowledged).then_some(acknowledged as usize)
    }
}
