//! No file of the shared library has descriptor 0, 1 or 2, whenever the program closes them.
//!
//! The system gives a new file the lowest number that is free. In a program that closed its stdout
//! the journal would be number 1, and the next line that anything prints would be written into it.
//! So the linker puts the functions below in the place of those that open files (build.rs), in
//! damo's own code and in RocksDB's. They look which of the three are free, and only then fill
//! these for as long as the opening takes, with descriptors that can be neither read nor written
//! (`O_PATH`: EBADF, as of a closed one). The numbers are the program's again when it opens its own
//! files.
//!
//! Threads that open at once share what fills the places; the last one empties them. A program may
//! close or replace one of the three meanwhile: then the file is given another number at once, and
//! what is not damo's any more is not closed. The C and C++ libraries' functions that open a file
//! for themselves, as to count the processors, are called with the places filled.

#![cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The first descriptor that damo may have.
const FIRST: c_int = 3;

/// Who fills which of the places: the process, a lock for changing this, a bit for each place, and
/// how many openings are under way. In one word, since a process may be forked at any moment: the
/// child finds another process's number, and begins anew.
static STATE: AtomicU64 = AtomicU64::new(0);
const LOCKED: u64 = 1 << 31;
const PLACES: u32 = 28;
const ONE_PLACE: u64 = 1 << PLACES;
const ALL_PLACES: u64 = 0b111 << PLACES;
const OPENINGS: u64 = ONE_PLACE - 1;

/// Takes the lock; the state without it.
fn lock() -> u64 {
    let process = u64::from(std::process::id()) << 32;
    loop {
        let found = STATE.load(Ordering::Relaxed);
        let is_ours = found & !0xffff_ffff == process;
        if is_ours && found & LOCKED != 0 {
            std::thread::yield_now();
            continue;
        }
        // Of what was filled when the process was forked the child has a copy, and nobody else to
        // empty it.
        let free = if is_ours { found } else { process | found & ALL_PLACES };
        if STATE.compare_exchange(found, free | LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return free;
        }
    }
}

fn unlock(state: u64) {
    STATE.store(state, Ordering::Release);
}

/// The places below `FIRST` that were free are filled while this is there.
struct Filled {
    is_needed: bool,
}

impl Filled {
    fn begin() -> Filled {
        let mut state = lock();
        while let Some(place) = open_root_in_a_free_place() {
            state |= ONE_PLACE << place;
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
        // In a child forked meanwhile none is under way but this one.
        if state & OPENINGS > 0 {
            state -= 1;
        }
        if state & OPENINGS == 0 {
            for place in 0..FIRST {
                // Whatever the program has put there since is the program's.
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

/// Fills one of the places, if one is free; which one.
fn open_root_in_a_free_place() -> Option<c_int> {
    // SAFETY: F_GETFD takes any number, and has no effect.
    let is_free = |place| unsafe { libc::fcntl(place, libc::F_GETFD) } == -1;
    while (0..FIRST).any(is_free) {
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        // SAFETY: the path ends with a zero.
        let opened = unsafe { system_open(libc::AT_FDCWD, c"/".as_ptr(), flags, 0) };
        if opened < FIRST {
            return (opened >= 0).then_some(opened);
        }
        // The program was faster.
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

/// # Safety `path` is a string of C.
unsafe fn system_open(dir: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // Not the C library's function, in whose place this is.
    // SAFETY: the caller's promise; the other arguments are numbers.
    unsafe {
        libc::syscall(libc::SYS_openat, c_long::from(dir), path, c_long::from(flags), c_long::from(mode))
            as c_int
    }
}

/// Moves a descriptor above the places.
fn raise(fd: c_int, flags: c_int) -> c_int {
    if !(0..FIRST).contains(&fd) {
        return fd;
    }
    let how = if flags & libc::O_CLOEXEC != 0 { libc::F_DUPFD_CLOEXEC } else { libc::F_DUPFD };
    // SAFETY: the descriptor was opened a moment ago, and nobody else knows it.
    unsafe {
        let raised = libc::fcntl(fd, how, FIRST);
        let error = errno();
        libc::close(fd);
        set_errno(error);
        raised
    }
}

/// # Safety As `openat` of the C library.
unsafe extern "C" fn open_at(dir: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // Callers give a mode only where one is needed, and the system looks at it only then.
    let filled = Filled::begin();
    // SAFETY: the caller's promise.
    let opened = raise(unsafe { system_open(dir, path, flags, mode) }, flags);
    drop(filled);
    opened
}

/// # Safety As `open` of the C library.
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }
}

/// # Safety As `creat` of the C library.
unsafe extern "C" fn create(path: *const c_char, mode: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { open(path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode) }
}

/// # Safety As `opendir` of the C library.
unsafe extern "C" fn open_dir(path: *const c_char) -> *mut libc::DIR {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // SAFETY: the caller's promise; the descriptor was opened here, and is the stream's from then
    // on.
    unsafe { as_stream(open(path, flags, 0), |fd| libc::fdopendir(fd)) }
}

/// # Safety As `fopen` of the C library.
unsafe extern "C" fn open_file(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
    // SAFETY: the caller's promise.
    let letters = unsafe { CStr::from_ptr(mode) }.to_bytes();
    // What follows a comma is the encoding.
    let letters = letters.split(|letter| *letter == b',').next().unwrap_or_default();
    let has = |letter: u8| letters.contains(&letter);
    let (mut flags, one_way) = match letters.first() {
        Some(b'r') => (0, libc::O_RDONLY),
        Some(b'w') => (libc::O_CREAT | libc::O_TRUNC, libc::O_WRONLY),
        Some(b'a') => (libc::O_CREAT | libc::O_APPEND, libc::O_WRONLY),
        _ => {
            set_errno(libc::EINVAL);
            return std::ptr::null_mut();
        }
    };
    flags |= if has(b'+') { libc::O_RDWR } else { one_way };
    flags |= if has(b'x') { libc::O_EXCL } else { 0 };
    flags |= if has(b'e') { libc::O_CLOEXEC } else { 0 };
    // SAFETY: the caller's promise; the descriptor was opened here, and is the stream's from then
    // on.
    unsafe { as_stream(open(path, flags, 0o666), |fd| libc::fdopen(fd, mode)) }
}

/// Hands a descriptor to a stream, or closes it.
fn as_stream<T>(fd: c_int, make: impl FnOnce(c_int) -> *mut T) -> *mut T {
    if fd < 0 {
        return std::ptr::null_mut();
    }
    let stream = make(fd);
    if stream.is_null() {
        let error = errno();
        // SAFETY: nobody else has it.
        unsafe { libc::close(fd) };
        set_errno(error);
    }
    stream
}

/// # Safety As `dup` of the C library.
unsafe extern "C" fn duplicate(fd: c_int) -> c_int {
    // SAFETY: any number may be given.
    unsafe { libc::fcntl(fd, libc::F_DUPFD, FIRST) }
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

/// Functions of other libraries that open files inside: done with the places filled.
macro_rules! with_places_filled {
    ($($function:ident($($argument:ident: $type:ty),*) -> $result:ty = $name:literal;)*) => { $(
        /// # Safety
        /// As the function in whose place it is.
        unsafe extern "C" fn $function($($argument: $type),*) -> $result {
            static FOUND: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
            let _filled = Filled::begin();
            let mut found = FOUND.load(Ordering::Relaxed);
            if found.is_null() {
                // By its name, since the linker would lead a call back here.
                // SAFETY: the name ends with a zero.
                found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, concat!($name, "\0").as_ptr().cast()) };
                FOUND.store(found, Ordering::Relaxed);
            }
            // SAFETY: the library is linked to the one that has it, so it was found; its arguments
            // and its result are numbers or pointers, as here.
            unsafe {
                let real: unsafe extern "C" fn($($type),*) -> $result = std::mem::transmute(found);
                real($($argument),*)
            }
        }
    )* };
}

with_places_filled! {
    ask_system(name: c_int) -> c_long = "sysconf";
    local_time(time: *const c_void, result: *mut c_void) -> *mut c_void = "localtime_r";
    count_processors() -> c_uint = "_ZNSt6thread20hardware_concurrencyEv";
    open_buffer(buffer: *mut c_void, path: *const c_char, mode: c_int) -> *mut c_void
        = "_ZNSt13basic_filebufIcSt11char_traitsIcEE4openEPKcSt13_Ios_Openmode";
}

/// What build.rs has the linker put in the place of a function; nobody else sees it. Functions with
/// a variable number of arguments get them where others do, on both processors.
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
    "open64" => open,
    "__open_2" => open,
    "__open64_2" => open,
    "openat" => open_at,
    "openat64" => open_at,
    "__openat_2" => open_at,
    "__openat64_2" => open_at,
    "creat" => create,
    "creat64" => create,
    "fopen" => open_file,
    "fopen64" => open_file,
    "opendir" => open_dir,
    "dup" => duplicate,
    "sysconf" => ask_system,
    "localtime_r" => local_time,
    "_ZNSt6thread20hardware_concurrencyEv" => count_processors,
    "_ZNSt13basic_filebufIcSt11char_traitsIcEE4openEPKcSt13_Ios_Openmode" => open_buffer,
}
