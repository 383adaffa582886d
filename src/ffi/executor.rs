//! Executors: the host's threads, on which damo's work runs.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{hint, ptr};

use super::guard;
use crate::error::{Error, Result, damo_status};
use crate::executor::{Executor, OF_PROCESS};
use crate::limits::MAX_THREADS;

/// damo's work, which an executor calls with work_context.
pub type damo_work = Option<unsafe extern "C" fn(work_context: *mut c_void)>;

/// Runs damo's work on the host's threads.
///
/// - context: the pointer that was given with this function.
/// - threads: how many threads the work is worth.
/// - work, work_context: call work(work_context) on at most so many threads at the same time. The
///   thread that runs this function may be one of them. Each call takes pieces of the work until
///   none is left.
///
/// Return after all these calls have returned. Fewer calls, or none, are allowed: damo does the
/// rest itself. Surplus calls return at once. An executor for OpenMP, which has no num_threads
/// because GNU's OpenMP ends and starts threads when that number changes:
///
/// ```text
///     #pragma omp parallel
///     work(work_context);
/// ```
///
/// Several threads may call it at once. It runs in the host's floating-point state. It must not
/// throw. The threads need 256 KiB of stack.
///
/// It must not call damo, not even a _free: that could wait for the call which runs the executor.
/// On that call's thread, functions that can fail are refused with BUSY. A _free, and calls on
/// other threads, are not refused and may hang. In some libraries (TBB) a thread that waits takes
/// other work, which may call damo; tbb::this_task_arena::isolate prevents that.
pub type damo_executor = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        threads: usize,
        work: damo_work,
        work_context: *mut c_void,
    ),
>;

/// Lends the host's threads to all storages of the process that have no executor of their own.
///
/// Large calls then run on these threads. Work that may have to wait for another call, such as
/// apply_gradients on a group that others are changing, still runs on damo's own. Lend threads if
/// the host computes with a pool whose threads spin while they wait (OpenMP, TBB, PyTorch): a
/// second pool beside it makes both slow. Calls have the same results, to the bit.
///
/// - run: NULL takes the threads back. When this returns, the previous executor is no longer used,
///   and its context may be freed.
/// - context: passed to run.
/// - threads: how many threads run has at most; 0: as many as the option threads of a storage says.
///   A call never uses more than that option says, and uses none of the host's where it says 1.
///
/// Only calls that the host makes use the executor. damo's background threads never do. A forked
/// child uses damo's threads. damo_executor_openmp is an executor for OpenMP.
///
/// After an error the previous executor stays set.
///
/// Errors:
/// - INVALID_ARGUMENT: threads above 1024.
/// - FORKED: run is not NULL, and threads were lent before this process was forked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_executor_set(
    run: damo_executor,
    context: *mut c_void,
    threads: usize,
) -> damo_status {
    guard::status("damo_executor_set", || OF_PROCESS.set(host(run, context, threads)?))
}

/// An executor for OpenMP, for hosts that are not compiled with it. Pass this function as run, and
/// the address of GOMP_parallel as context. GNU's, LLVM's and Intel's libraries have it.
///
/// If the host calls damo inside a parallel region, the calling thread does the work alone, unless
/// nested regions are on. While omp_set_num_threads says 1, damo's own threads are used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_executor_openmp(
    context: *mut c_void,
    threads: usize,
    work: damo_work,
    work_context: *mut c_void,
) {
    type Parallel = unsafe extern "C" fn(
        work: damo_work,
        work_context: *mut c_void,
        num_threads: u32,
        flags: u32,
    );
    // A region has as many threads as the host's own: see `damo_executor`.
    let _ = threads;
    if context.is_null() {
        return;
    }
    // SAFETY: the caller says that this is the address of GOMP_parallel, which has this type.
    let parallel: Parallel = unsafe { std::mem::transmute(context) };
    // SAFETY: it calls `work` with `work_context` on each thread, and returns once all have ended.
    unsafe { parallel(work, work_context, 0, 0) };
}

/// The executor of a host, or None if it is taken back.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(super) fn host(
    run: damo_executor,
    context: *mut c_void,
    threads: usize,
) -> Result<Option<Box<dyn Executor>>> {
    if threads > MAX_THREADS {
        return Err(Error::invalid(format!("threads is {threads}; 0..{MAX_THREADS} is accepted")));
    }
    let threads = if threads == 0 { MAX_THREADS } else { threads };
    Ok(run.map(|run| {
        guard::note_executor();
        let is_openmp = ptr::fn_addr_eq(run, damo_executor_openmp as Run);
        let width = if is_openmp { width_of(context) } else { None };
        Box::new(Host { run, context, threads, width }) as Box<dyn Executor>
    }))
}

/// The function omp_get_max_threads of the library that has GOMP_parallel.
fn width_of(parallel: *const c_void) -> Option<Width> {
    let mut found = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: it takes any address, and writes about the library that has it.
    if unsafe { libc::dladdr(parallel, found.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: it was written. The name is that of a library which is loaded; the library stays
    // loaded, as the handle is never closed. The function has this type in every OpenMP library.
    unsafe {
        let library =
            libc::dlopen(found.assume_init().dli_fname, libc::RTLD_NOW | libc::RTLD_NOLOAD);
        if library.is_null() {
            return None;
        }
        let function = libc::dlsym(library, c"omp_get_max_threads".as_ptr());
        std::mem::transmute::<*mut c_void, Option<Width>>(function)
    }
}

type Run = unsafe extern "C" fn(*mut c_void, usize, damo_work, *mut c_void);
/// omp_get_max_threads: how many threads a region of the calling thread would have.
type Width = unsafe extern "C" fn() -> c_int;

struct Host {
    run: Run,
    context: *mut c_void,
    threads: usize,
    width: Option<Width>,
}

// SAFETY: the header says that `run` is called by several threads at once, with the same context.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// Work that is offered to a host's threads.
struct Offer<'a> {
    work: &'a (dyn Fn() + Sync),
    /// How many threads may still begin.
    wanted: AtomicUsize,
    /// How many are at work.
    at_work: AtomicUsize,
}

impl Executor for Host {
    fn threads(&self) -> usize {
        // SAFETY: a function of this type, which any thread may call.
        match self.width.map(|width| unsafe { width() }) {
            // OpenMP's threads are turned off: they are in nobody's way.
            Some(..=1) => 0,
            _ => self.threads,
        }
    }

    fn run(&self, threads: usize, work: &(dyn Fn() + Sync)) {
        let offer = Offer { work, wanted: AtomicUsize::new(threads), at_work: AtomicUsize::new(0) };
        let address = (&raw const offer).cast_mut().cast();
        // SAFETY: a function of this type. As the header says, it gives the offer's address to
        // `help` alone, and returns once all these calls have.
        guard::executor(|| unsafe { (self.run)(self.context, threads, Some(help), address) });
        // A host that returns too early must not take the offer away from threads that have begun.
        while offer.at_work.load(Ordering::Acquire) > 0 {
            hint::spin_loop();
        }
    }
}

/// What a host's thread calls.
unsafe extern "C" fn help(offer: *mut c_void) {
    // SAFETY: `Host::run` has given out this address. The executor returns only after all its calls
    // of this function have; `Host::run` waits, in addition, for those that have begun.
    let offer = unsafe { &*offer.cast_const().cast::<Offer<'_>>() };
    offer.at_work.fetch_add(1, Ordering::Relaxed);
    let one_fewer = |wanted: usize| wanted.checked_sub(1);
    if offer.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_fewer).is_ok() {
        guard::lent(offer.work);
    }
    offer.at_work.fetch_sub(1, Ordering::Release);
}
