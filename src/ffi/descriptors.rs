//! Descriptors 0, 1 and 2 are never those of damo's files, even if the program closes them.
//!
//! The system gives a new file the lowest number that is free. In a program that closed its stdout
//! the journal would get 1, and the next line that anything prints would be written into it. So the
//! linker puts the functions below in the place of those that open files (build.rs), in damo's code
//! and in RocksDB's.
//!
//! They fill those of the three places that are free, for as long as the opening takes. The
//! descriptors that fill them can be neither read nor written (`O_PATH`: EBADF, as for a closed
//! one). When the program opens its own files, it gets these numbers as always.
//!
//! - Threads that open files at once share the filled places. The last one empties them.
//! - The program may close or replace one of the three meanwhile. Then damo's file is moved to
//!   another number at once, and a descriptor that is no longer damo's is not closed.
//! - Some functions of the C and C++ libraries open files themselves, to count the processors or to
//!   name a thread. They are called with the places filled.

#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use super::memory_maps::map;

/// The first descriptor that damo may have.
const FIRST: c_int = 3;

/// Which of the places are filled: the process's id, a lock for changing this word, a bit for each
/// place, and the number of openings under way. It is one word, since a process may be forked at
/// any moment: the child finds another process's id, and starts anew.
static STATE: AtomicU64 = AtomicU64::new(0);
const LOCKED: u64 = 1 << 31;
const PLACES: u32 = 28;
const ONE_PLACE: u64 = 1 << PLACES;
const ALL_PLACES: u64 = 0b111 << PLACES;
const OPENINGS: u64 = ONE_PLACE - 1;

/// Takes the lock; returns the state without it.
fn lock() -> u64 {
    loop {
        if let Some(state) = try_lock() {
            return state;
        }
        std::thread::yield_now();
    }
}

/// Takes the lock if it is free.
fn try_lock() -> Option<u64> {
    let process = u64::from(std::process::id()) << 32;
    loop {
        let found = STATE.load(Ordering::Relaxed);
        let is_ours = found & !0xffff_ffff == process;
        if is_ours && found & LOCKED != 0 {
            return None;
        }
        // The child has a copy of each place that was filled at the fork, and must empty it itself.
        let free = if is_ours { found } else { process | found & ALL_PLACES };
        if STATE
            .compare_exchange(found, free | LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            return Some(free);
        }
    }
}

fn unlock(state: u64) {
    STATE.store(state, Ordering::Release);
}

/// Keeps the places below `FIRST` that were free filled, until it is dropped.
struct Filled {
    is_needed: bool,
}

impl Filled {
    fn begin() -> Filled {
        if has_a_free_place() {
            empty_places_after_forks();
        }
        let mut state = lock();
        if has_a_free_place() {
            // A child that is forked now does not know which: it looks at all.
            STATE.store(state | LOCKED | ALL_PLACES, Ordering::Relaxed);
            while let Some(place) = open_root_in_a_free_place() {
                state |= ONE_PLACE << place;
            }
        }
        let is_needed = state & ALL_PLACES != 0;
        unlock(state + u64::from(is_needed));
        Filled { is_needed }
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        if !self.is_needed {
            return;
        }
        let error = errno();
        let mut state = lock();
        // In a child that was forked meanwhile only this opening is under way.
        if state & OPENINGS > 0 {
            state -= 1;
        }
        if state & OPENINGS == 0 {
            for place in 0..FIRST {
                // A file that the program has put there since is the program's.
                if state & ONE_PLACE << place != 0 && is_path_only(place) {
                    // SAFETY: the descriptor is one that `begin` has opened.
                    unsafe { libc::close(place) };
                }
            }
            state &= !ALL_PLACES;
        }
        unlock(state);
        set_errno(error);
    }
}

/// Empties the places in processes that are forked while they are filled. The lock is held during a
/// fork: the system copies descriptors and memory one after the other.
fn empty_places_after_forks() {
    static IS_HELD: AtomicBool = AtomicBool::new(false);
    extern "C" fn before() {
        // Gives up after a while: a signal handler may fork in the thread that has the lock.
        let is_held = (0..10_000).any(|_| {
            let is_held = try_lock().is_some();
            if !is_held {
                std::thread::yield_now();
            }
            is_held
        });
        IS_HELD.store(is_held, Ordering::Relaxed);
    }
    extern "C" fn in_parent() {
        if IS_HELD.swap(false, Ordering::Relaxed) {
            unlock(STATE.load(Ordering::Relaxed) & !LOCKED);
        }
    }
    extern "C" fn in_child() {
        let filled = STATE.load(Ordering::Relaxed) & ALL_PLACES;
        for place in (0..FIRST).filter(|place| filled & ONE_PLACE << place != 0) {
            if is_path_only(place) {
                // SAFETY: the parent's `Filled` has opened it, and nobody here knows of it.
                unsafe { libc::close(place) };
            }
        }
        STATE.store(0, Ordering::Relaxed);
    }
    static IS_SET: AtomicBool = AtomicBool::new(false);
    if !IS_SET.swap(true, Ordering::Relaxed) {
        // SAFETY: the handlers only do what a signal handler may, and go when the library does.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    }
}

fn has_a_free_place() -> bool {
    // SAFETY: F_GETFD takes any number, and has no effect.
    (0..FIRST).any(|place| unsafe { libc::fcntl(place, libc::F_GETFD) } == -1)
}

/// Fills one of the places, if one is free; returns which one.
fn open_root_in_a_free_place() -> Option<c_int> {
    while has_a_free_place() {
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        // A system call: the C library's function is replaced by one of those below.
        // SAFETY: the path ends with a zero.
        let opened =
            unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, c"/".as_ptr(), flags) }
                as c_int;
        if opened < FIRST {
            return (opened >= 0).then_some(opened);
        }
        // The program has filled the place meanwhile.
        // SAFETY: the descriptor was opened here.
        unsafe { libc::close(opened) };
    }
    None
}

fn is_path_only(fd: c_int) -> bool {
    // SAFETY: F_GETFL takes any number, and has no effect.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags != -1 && flags & libc::O_PATH != 0
}

fn errno() -> c_int {
    // SAFETY: the place is this thread's.
    unsafe { *libc::__errno_location() }
}

fn set_errno(error: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = error }
}

/// Moves a descriptor above the places.
fn raise(fd: c_int) -> c_int {
    if !(0..FIRST).contains(&fd) {
        return fd;
    }
    // SAFETY: the descriptor was opened a moment ago, and nobody else knows it.
    unsafe {
        let raised = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, FIRST);
        let error = errno();
        libc::close(fd);
        set_errno(error);
        raised
    }
}

/// The original of a function that is replaced here. It is looked up by its name, since the linker
/// would lead a call back here. The lookup finds what any caller would: a function that a program
/// puts before the C library's still counts.
macro_rules! real {
    ($name:literal as $type:ty) => {{
        static FOUND: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
        let mut found = FOUND.load(Ordering::Relaxed);
        if found.is_null() {
            let name = concat!($name, "\0");
            // SAFETY: the name ends with a zero.
            found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr().cast()) };
            FOUND.store(found, Ordering::Relaxed);
        }
        // SAFETY: it is there, since this library was linked to it, and it has this type.
        unsafe { std::mem::transmute::<*mut c_void, $type>(found) }
    }};
}

/// Functions that return a descriptor. They set O_CLOEXEC, which RocksDB omits here and there, so
/// that programs that the host starts do not inherit it. Callers give a mode only where one is
/// needed, and the system reads it only then.
macro_rules! opening {
    ($($function:ident($($argument:ident: $type:ty),*) with $flags:ident, $name:literal;)*) => { $(
        /// # Safety
        /// As the C library's function of the name.
        unsafe extern "C" fn $function($($argument: $type,)* mode: c_uint) -> c_int {
            let _filled = Filled::begin();
            let $flags = $flags | libc::O_CLOEXEC;
            let real = real!($name as unsafe extern "C" fn($($type,)* ...) -> c_int);
            // SAFETY: the caller's promise.
            raise(unsafe { real($($argument,)* mode) })
        }
    )* };
}

opening! {
    open(path: *const c_char, flags: c_int) with flags, "open";
    open64(path: *const c_char, flags: c_int) with flags, "open64";
    open_checked(path: *const c_char, flags: c_int) with flags, "__open_2";
    open64_checked(path: *const c_char, flags: c_int) with flags, "__open64_2";
    open_at(dir: c_int, path: *const c_char, flags: c_int) with flags, "openat";
    open64_at(dir: c_int, path: *const c_char, flags: c_int) with flags, "openat64";
    open_at_checked(dir: c_int, path: *const c_char, flags: c_int) with flags, "__openat_2";
    open64_at_checked(dir: c_int, path: *const c_char, flags: c_int) with flags, "__openat64_2";
}

/// # Safety
/// As `creat` of the C library.
unsafe extern "C" fn create(path: *const c_char, mode: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { open64(path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode) }
}

/// # Safety
/// As `dup` of the C library, but closed in programs that the host starts.
unsafe extern "C" fn duplicate(fd: c_int) -> c_int {
    // SAFETY: any number may be given.
    unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, FIRST) }
}

/// Functions of other libraries that open files themselves. They are called with the places filled.
/// Their arguments and results are numbers or pointers.
macro_rules! with_places_filled {
    ($($function:ident($($argument:ident: $type:ty),*) -> $result:ty, $name:literal;)*) => { $(
        /// # Safety
        /// As the function in whose place it is.
        unsafe extern "C" fn $function($($argument: $type),*) -> $result {
            let _filled = Filled::begin();
            let real = real!($name as unsafe extern "C" fn($($type),*) -> $result);
            // SAFETY: the caller's promise.
            unsafe { real($($argument),*) }
        }
    )* };
}

with_places_filled! {
    open_file(path: *const c_char, mode: *const c_char) -> *mut c_void, "fopen";
    open_file64(path: *const c_char, mode: *const c_char) -> *mut c_void, "fopen64";
    open_dir(path: *const c_char) -> *mut c_void, "opendir";
    ask_system(name: c_int) -> c_long, "sysconf";
    local_time(time: *const c_void, result: *mut c_void) -> *mut c_void, "localtime_r";
    name_thread(thread: usize, name: *const c_char) -> c_int, "pthread_setname_np";
    thread_attributes(thread: usize, result: *mut c_void) -> c_int, "pthread_getattr_np";
    error_text(error: c_int, buffer: *mut c_char, room: usize) -> *mut c_char, "strerror_r";
    error_text_posix(error: c_int, buffer: *mut c_char, room: usize) -> c_int, "__xpg_strerror_r";
    seed_random(device: *mut c_void, kind: *const c_void) -> (),
        "_ZNSt13random_device7_M_initERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE";
    count_processors() -> c_uint, "_ZNSt6thread20hardware_concurrencyEv";
    open_buffer(buffer: *mut c_void, path: *const c_char, mode: c_int) -> *mut c_void,
        "_ZNSt13basic_filebufIcSt11char_traitsIcEE4openEPKcSt13_Ios_Openmode";
}

#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    () => {
        "jmp {function}"
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    () => {
        "b {function}"
    };
}

/// The symbol that the linker puts in the place of another function (build.rs). It is hidden. On
/// both processors a variadic function gets its arguments where others do.
macro_rules! in_place_of {
    ($($name:literal => $function:ident),* $(,)?) => { $(
        std::arch::global_asm!(
            concat!(".globl __wrap_", $name),
            concat!(".hidden __wrap_", $name),
            concat!(".type __wrap_", $name, ", %function"),
            concat!("__wrap_", $name, ":"),
            jump!(),
            function = sym $function,
        );
    )* };
}

in_place_of! {
    "open" => open,
    "open64" => open64,
    "__open_2" => open_checked,
    "__open64_2" => open64_checked,
    "openat" => open_at,
    "openat64" => open64_at,
    "__openat_2" => open_at_checked,
    "__openat64_2" => open64_at_checked,
    "creat" => create,
    "creat64" => create,
    "fopen" => open_file,
    "fopen64" => open_file64,
    "opendir" => open_dir,
    "dup" => duplicate,
    "mmap" => map,
    "sysconf" => ask_system,
    "localtime_r" => local_time,
    "pthread_setname_np" => name_thread,
    "pthread_getattr_np" => thread_attributes,
    "strerror_r" => error_text,
    "__xpg_strerror_r" => error_text_posix,
    "_ZNSt13random_device7_M_initERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
        => seed_random,
    "_ZNSt6thread20hardware_concurrencyEv" => count_processors,
    "_ZNSt13basic_filebufIcSt11char_traitsIcEE4openEPKcSt13_Ios_Openmode" => open_buffer,
}
