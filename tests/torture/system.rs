//! What the campaigns ask of the operating system: processes, shared memory, limits, file systems.
//! Everything unsafe is here.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// How a child ended.
#[derive(Debug)]
pub enum End {
    /// It returned this.
    Returned(Vec<u8>),
    /// It panicked, with this message.
    Panicked(String),
    Signal(i32),
    Exit(i32),
    /// It did not end in time, and was killed.
    Hung,
}

/// A forked child that computes some bytes.
pub struct Child {
    pid: libc::pid_t,
    pipe: std::fs::File,
}

const PANICKED: i32 = 101;

impl Child {
    /// Forks. The caller has one thread, and has never opened a storage: damo refuses to work in a
    /// child of one that has.
    pub fn start(run: impl FnOnce() -> Vec<u8>) -> Child {
        let mut ends = [0; 2];
        // SAFETY: pipe2 fills the two numbers that it is given.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0, "no pipe");
        // SAFETY: both descriptors are new, and nobody else has them.
        let (reader, writer) =
            unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // SAFETY: this process has one thread, so the child has everything that it had.
        match unsafe { libc::fork() } {
            -1 => panic!("fork failed: {}", std::io::Error::last_os_error()),
            0 => {
                drop(reader);
                // SAFETY: a request with one number. A child must not outlive whoever waits for it.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                run_and_exit(run, &writer)
            }
            pid => Child { pid, pipe: std::fs::File::from(reader) },
        }
    }

    /// Waits until it has ended. What it returned is read first, since a pipe holds little.
    pub fn finish(mut self, timeout: Duration) -> End {
        let deadline = Instant::now() + timeout;
        let mut bytes = Vec::new();
        let mut hung = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut poll =
                libc::pollfd { fd: self.pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one pollfd, which lives until the call returns.
            if unsafe { libc::poll(&mut poll, 1, left.as_millis() as i32) } <= 0 {
                hung = true;
                break;
            }
            let mut piece = [0; 1 << 16];
            match self.pipe.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
                Err(error) => panic!("a child's answer cannot be read: {error}"),
            }
        }
        if hung {
            self.kill();
        }
        let status = self.wait();
        if hung {
            End::Hung
        } else if libc::WIFSIGNALED(status) {
            End::Signal(libc::WTERMSIG(status))
        } else {
            match libc::WEXITSTATUS(status) {
                0 => End::Returned(bytes),
                PANICKED => End::Panicked(String::from_utf8_lossy(&bytes).into_owned()),
                code => End::Exit(code),
            }
        }
    }

    pub fn kill(&self) {
        // SAFETY: the process is a child that was not waited for, so the number is still its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
    }

    /// Stops it. When this returns, none of its threads does more than end the system call that it
    /// is in.
    pub fn stop(&self) {
        // SAFETY: as above.
        unsafe { libc::kill(self.pid, libc::SIGSTOP) };
        while self.threads().iter().any(|state| matches!(state, 'R' | 'S')) {
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Waits until it has stopped itself or has ended; false if it has done neither in time.
    pub fn wait_for_stop(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        // A thread of a process that is gone, or a zombie, is not stopped.
        let is_at_work = |states: &[char]| {
            !states.contains(&'T') && states.iter().any(|state| matches!(state, 'R' | 'S' | 'D'))
        };
        while is_at_work(&self.threads()) {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        true
    }

    /// The state of each thread, a letter of proc(5).
    fn threads(&self) -> Vec<char> {
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
        stats.filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next()).collect()
    }

    fn wait(&self) -> i32 {
        let mut status = 0;
        // SAFETY: waitpid writes the status into a number that lives.
        while unsafe { libc::waitpid(self.pid, &mut status, 0) } < 0 {}
        status
    }
}

fn run_and_exit(run: impl FnOnce() -> Vec<u8>, writer: &OwnedFd) -> ! {
    // Nobody should see the message of this thread's panic twice; that of another may be its last.
    let this = std::thread::current().id();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() != this {
            eprintln!("{panic}");
        }
    }));
    let (bytes, code) = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(bytes) => (bytes, 0),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text =
                text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
            (text.as_bytes().to_vec(), PANICKED)
        }
    };
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        // SAFETY: the bytes live until the call returns.
        match unsafe { libc::write(writer.as_raw_fd(), rest.as_ptr().cast(), rest.len()) } {
            count if count > 0 => rest = &rest[count as usize..],
            _ => break,
        }
    }
    // SAFETY: ends the process at once; no handler of the parent runs twice.
    unsafe { libc::_exit(code) }
}

/// Runs `run` in a child of its own.
pub fn in_child(timeout: Duration, run: impl FnOnce() -> Vec<u8>) -> End {
    Child::start(run).finish(timeout)
}

/// Ends this process as the out-of-memory killer does.
pub fn kill_self() -> ! {
    // SAFETY: raise takes a number and touches no memory.
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!("SIGKILL cannot be survived")
}

/// Stops this process. Whoever waits for that ends it.
pub fn stop_self() -> ! {
    // SAFETY: as above.
    unsafe { libc::raise(libc::SIGSTOP) };
    unreachable!("nobody lets a stopped process go on")
}

/// Types of which zeroed memory is a value, and that several processes may use at once.
///
/// # Safety
/// The type has atomics only.
pub unsafe trait AllAtomic: Sync {}

/// A zeroed value in memory that children share. It stays for as long as the process does.
pub fn shared<T: AllAtomic>() -> &'static T {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping; it begins at a page and is never given back.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<T>(), protection, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED, "no shared memory");
    // SAFETY: of the right size, aligned to a page, zeroed, which is a value of T, and all access
    // is atomic.
    unsafe { &*at.cast::<T>() }
}

/// A function of a library that was preloaded, which takes one address.
pub fn preloaded(name: &str) -> Option<unsafe extern "C" fn(*const libc::c_void)> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name ends with a zero.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: the caller names a function of the shim, which has this type; null is None.
    (!found.is_null()).then(|| unsafe { std::mem::transmute(found) })
}

/// Sets how much of something this process may have. Returns how much it might have before.
pub fn set_limit(resource: u32, amount: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct lives until each call returns.
    unsafe {
        libc::getrlimit(resource, &mut limit);
        let before = limit.rlim_cur;
        limit.rlim_cur = amount.min(limit.rlim_max);
        libc::setrlimit(resource, &limit);
        before
    }
}

/// A file that becomes too large is an error then, and no signal.
pub fn ignore_size_signal() {
    // SAFETY: no handler, so nothing that could run at a wrong moment.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

pub fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// This process, which is root's, becomes another user's: root has as many threads as it likes.
pub fn become_user(user: u32) {
    // SAFETY: numbers only.
    unsafe {
        assert_eq!(libc::setgid(user), 0, "setgid failed");
        assert_eq!(libc::setuid(user), 0, "setuid failed");
    }
}

/// `_IOR('X', 125, u32)` of linux/fs.h.
const SHUTDOWN: u64 = 0x8004_587d;
const WITHOUT_LOG_FLUSH: u32 = 2;

/// Stops a file system: what it has not written is lost. False where it cannot be.
pub fn cut_power(mount: &Path) -> bool {
    let Ok(root) = std::fs::File::open(mount) else { return false };
    let how = WITHOUT_LOG_FLUSH;
    // SAFETY: the request reads one number, which lives.
    unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN as _, &how) == 0 }
}

/// Brings everything of the file system to disk.
pub fn sync_file_system(mount: &Path) {
    let root = std::fs::File::open(mount).expect("a mounted file system");
    // SAFETY: syncfs takes a descriptor, which is open.
    assert_eq!(unsafe { libc::syncfs(root.as_raw_fd()) }, 0, "syncfs failed");
}

/// A path as C has it.
pub fn c_path(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
