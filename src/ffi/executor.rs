//! Executors: the host's threads, on which damo's work runs.

use std::ffi::c_void;
use std::hint;
use std::sync::atomic::{AtomicUsize, Ordering};

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
/// - work, work_context: call work(work_context) on up to so many threads at the same time, the
///   present one among them. Each call takes pieces of the work until none is left.
///
/// It must return once all these calls have returned, and not before. It may make fewer calls, or
/// none: damo then does the rest on the caller's thread. Calls beyond threads return at once. With
/// OpenMP it is
///
/// ```text
///     #pragma omp parallel
///     work(work_context);
/// ```
///
/// (without num_threads: GNU's OpenMP ends and starts threads when the number changes.)
///
/// Several threads may call it at once. It runs in the host's floating-point state. It must not
/// throw. It must not call damo, not even a _free: such a call could wait for the call that runs
/// this, and returns BUSY. In some libraries (TBB) a thread that waits takes other work, which may
/// call damo; tbb::this_task_arena::isolate prevents that. The threads need 256 KiB of stack.
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
/// Large calls then run on these threads, and no longer on damo's. Lend them if the host computes
/// with a pool whose threads spin while they wait (OpenMP, TBB, PyTorch): a second pool beside it
/// makes both slow. Calls have the same results, to the bit.
///
/// - run: NULL takes the threads back. The executor before is no longer used when this returns, and
///   its context may be freed.
/// - context: passed to run.
/// - threads: how many threads run has at most; 0: as many as the option threads of a storage says.
///   A call never uses more than that option says, and uses none of the host's where it says 1.
///
/// Only calls of the host use it, and not damo's own threads. A forked child uses damo's threads.
/// damo_executor_openmp is an executor for OpenMP.
///
/// Errors, after which the executor is the one before:
/// - INVALID_ARGUMENT: threads above 1024.
/// - FORKED: the parent of this process has lent threads before, and run is not NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_executor_set(
    run: damo_executor,
    context: *mut c_void,
    threads: usize,
) -> damo_status {
    guard::status("damo_executor_set", || OF_PROCESS.set(host(run, context, threads)?))
}

/// An executor for OpenMP, in hosts that are not compiled with it: pass this function as run, and
/// the address of the function GOMP_parallel as context. GNU's OpenMP library has it, and LLVM's
/// and Intel's have it, too.
///
/// A call within a parallel region runs on its own thread, unless nested regions are on.
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
    guard::note_executor();
    Ok(run.map(|run| Box::new(Host { run, context, threads }) as Box<dyn Executor>))
}

struct Host {
    run: unsafe extern "C" fn(*mut c_void, usize, damo_work, *mut c_void),
    context: *mut c_void,
    threads: usize,
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
        self.threads
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
    // SAFETY: `Host::run` has given out this address, and waits until all who got it have returned.
    let offer = unsafe { &*offer.cast_const().cast::<Offer<'_>>() };
    offer.at_work.fetch_add(1, Ordering::Relaxed);
    let one_fewer = |wanted: usize| wanted.checked_sub(1);
    if offer.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_fewer).is_ok() {
        guard::lent(offer.work);
    }
    offer.at_work.fetch_sub(1, Ordering::Release);
}
