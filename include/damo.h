/*
 * damo: sparse embedding tables larger than memory, on one machine.
 *
 * Generated from src/ffi by cbindgen; do not edit. This header is the reference manual. Below, BUSY
 * stands for DAMO_STATUS_BUSY, and so on.
 *
 * Errors
 * ------
 * A function that can fail returns a damo_status: DAMO_STATUS_OK (0) for success. A function that
 * makes a handle (_new, and damo_table_open) returns NULL on failure. damo_last_error_message()
 * then tells, for this thread, which argument had which value and what would be accepted.
 *
 * After an error nothing stored is lost or half-written. Only a damo_storage_import may leave a
 * part of its rows. No function exits, aborts, prints or throws.
 *
 * A failed call also leaves the number of its failure in errno, for programs that may ask on
 * another thread: see damo_failure_message. Any call may return PANIC, any call on a storage,
 * embedding or iterator EXITING, and any call from within a damo_executor BUSY. The functions below
 * do not list these three.
 *
 * Handles
 * -------
 * Each kind of handle has a function that makes it and a _free. _free of NULL is a no-op. Handles
 * may be freed in any order: a handle keeps what it needs of another one.
 *
 * Free all handles before the process exits, and do not unload the library. A call that comes too
 * late, from a destructor that runs after damo's exit handler, returns EXITING. A storage that is
 * freed then is not closed, which is as safe as a crash and no safer.
 *
 * A handle of another kind is refused like NULL, and _free leaves it alone. So is a freed handle,
 * but only until something else uses its memory.
 *
 * Buffers
 * -------
 * A buffer is a pointer, followed by its number of elements. It belongs to the caller. (NULL, 0) is
 * an empty buffer.
 *
 * Threads
 * -------
 * A function that takes a const handle may be called from many threads at once. The others need the
 * handle for themselves. _free must not race with any use of the same handle.
 *
 * Floating point
 * --------------
 * A call computes in the default state, whatever rounding mode, traps or flushing of denormals the
 * host has set. When it returns, the host's state is restored, including the exceptions that
 * fetestexcept tells.
 *
 * Stack
 * -----
 * A call needs at most 32 KiB of stack. Opening a storage and loading a checkpoint need more, so
 * they run on a thread of damo's own. Where no thread can be had, they take 64 KiB of the caller's
 * stack.
 *
 * Signals
 * -------
 * damo installs no handlers and changes none. A write beyond the process's limit of file sizes
 * (RLIMIT_FSIZE) returns IO and raises no SIGXFSZ, if the limit was set before
 * - a handle (a storage, a filter ...) was last made or freed, or
 * - a long call (a flush, checkpoint, dump, import ...) last began.
 *
 * The threads that damo starts never get this signal, whenever the limit is set.
 *
 * Memory
 * ------
 * A call that needs more memory than there is returns OUT_OF_MEMORY and does nothing. Only where
 * memory is exhausted altogether can RocksDB's own small allocations still end the process.
 *
 * Forks
 * -----
 * Open storages after forking, or in processes that are started anew.
 *
 * In a child that was forked after its parent had opened a storage, opening a storage returns
 * FORKED. So does every call on a storage, embedding or iterator, except damo_embedding_group.
 * Freeing inherited handles is safe and leaves the parent's files alone.
 * - With glibc such a child may exit in any way. It keeps its exit code and C's streams. Static
 *   destructors and exit handlers from before the parent's first storage do not run in it, and C++
 *   streams that are not synchronised with C's are not flushed.
 * - Elsewhere it must end with _exit.
 *
 * A filter, too, belongs to its process: in children every call on it returns FORKED. Children may
 * open filters of their own.
 *
 * Input and output errors
 * -----------------------
 * After IO a call has changed nothing, and can be tried again once there is room. There are three
 * exceptions:
 * - With durability "power" a failed fsync leaves it open whether the call is on disk. The storage
 *   then refuses further writes, and damo_embedding_step tells once it is opened again.
 * - damo_storage_import may leave a part of its rows.
 * - damo_storage_load_from_checkpoint says so if the storage must be opened again. Until then every
 *   call on it returns IO.
 */

#ifndef DAMO_H
#define DAMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version of this header; damo_version() gives that of the loaded library. */
#define DAMO_VERSION_MAJOR 0
#define DAMO_VERSION_MINOR 1
#define DAMO_VERSION_PATCH 0

/**
 * The number of the binary interface that this header describes.
 *
 * It rises when a function is removed or changes its meaning; new functions do not raise it.
 * Compare it with damo_abi_version() after loading the library at run time.
 *
 * Define DAMO_CASE_INSENSITIVE to leave the constant out, for languages that ignore case, such
 * as Ada: for them it has the name of that function.
 */
#ifndef DAMO_CASE_INSENSITIVE
#define DAMO_ABI_VERSION 1
#endif

/**
 * The number of the first failure of a process. Later failures count up from it.
 *
 * It is above every errno of the operating system.
 */
#define DAMO_FAILURE_FIRST 1073741824

/**
 * As the group of damo_embedding_new: the group whose name is the option name.
 *
 * A name that no group has gets the lowest free number.
 */
#define DAMO_GROUP_BY_NAME 4294967294

/**
 * As the global step that a call expects: any step will do.
 */
#define DAMO_ANY_STEP 9223372036854775807

/**
 * As a group: all groups.
 */
#define DAMO_ALL_GROUPS 4294967295

/**
 * The outcome of a call.
 *
 * The numbers are explicit and never reused. A later release may add a number: treat one that you
 * do not know as an error.
 */
typedef enum {
  /**
   * The call succeeded.
   */
  DAMO_STATUS_OK = 0,
  /**
   * An argument, a parameter name or a value is not accepted. Nothing was done.
   */
  DAMO_STATUS_INVALID_ARGUMENT = 1,
  /**
   * What the call asks for does not exist.
   */
  DAMO_STATUS_NOT_FOUND = 2,
  /**
   * What the call would make exists already, or exists with other properties.
   */
  DAMO_STATUS_ALREADY_EXISTS = 3,
  /**
   * Another handle or call, here or in another process, is using the directory or the file. Or
   * the call came from within a damo_executor.
   */
  DAMO_STATUS_BUSY = 4,
  /**
   * The operating system refused: a full disk, a missing permission, a failed read, no more
   * threads.
   */
  DAMO_STATUS_IO = 5,
  /**
   * Stored bytes are not what damo wrote: they are damaged, truncated or foreign.
   */
  DAMO_STATUS_CORRUPTION = 6,
  /**
   * Not available in this version, for this kind of object, or in a storage that is open with
   * read_only.
   */
  DAMO_STATUS_NOT_SUPPORTED = 7,
  /**
   * An earlier panic left this group in doubt. It refuses writes until the storage is opened
   * again.
   */
  DAMO_STATUS_POISONED = 8,
  /**
   * A bug in damo: the call panicked and was stopped at the C boundary.
   */
  DAMO_STATUS_PANIC = 9,
  /**
   * The storage or filter belongs to the process from which this one was forked. A child that
   * was forked after its parent had opened a storage cannot open one.
   */
  DAMO_STATUS_FORKED = 10,
  /**
   * There is not enough memory for the call. Nothing was done.
   */
  DAMO_STATUS_OUT_OF_MEMORY = 11,
  /**
   * The process is ending: the call came from a destructor or handler that runs after damo's
   * own.
   */
  DAMO_STATUS_EXITING = 12,
  /**
   * The caller's progress function ended the call.
   */
  DAMO_STATUS_CANCELLED = 13,
  /**
   * A group's global step is not the one that the call expects. Nothing was done.
   */
  DAMO_STATUS_STEP_MISMATCH = 14,
} damo_status;

/**
 * One group of a storage with its optimizer and initializer: what a trainer calls.
 *
 * Keeps its storage open. May be used by many threads at once: each gradient is applied exactly
 * once, and two calls on the same key follow each other in an unspecified order.
 */
typedef struct damo_embedding damo_embedding;

/**
 * A counting Bloom filter in a file: how often each key has been seen.
 *
 * Attach it with damo_embedding_set_filter, or use it by itself. It takes a few bytes a key
 * (damo_filter_new lists how many). The price: a small share of keys pass for seen too early. No
 * key passes too late.
 *
 * The counters are in the file, mapped into memory. They survive anything that kills the process
 * and, after damo_filter_sync, a power failure of the machine.
 *
 * A file is open in one handle at a time, over all processes. The handle may be used by many
 * threads at once: no addition is lost.
 *
 * A checkpoint has a copy of each filter of the embeddings that were open. After it was loaded, or
 * opened as a storage, the copies whose counts no attached filter has taken wait in the
 * directory's folder filters:
 * - The first filter that is attached to a group of that copy takes its counts in place of its
 *   own, whatever the path of either.
 * - A filter gets no counts of a copy that its group did not have.
 * - If the group had several filters, the filter gets the counts of the one at the same path, if
 *   there is one.
 * - A filter takes the counts of one copy only: groups that had a filter each need a filter each
 *   again.
 * - A storage that is open with read_only gives no counts.
 *
 * A filter's file says whose counts it has taken. A filter that is made anew at the same path has
 * taken none, and gets the counts that still wait. A copy of the file has what the file had.
 */
typedef struct damo_filter damo_filter;

/**
 * The first weights of a row: a pure function of (seed, group, key).
 *
 * Names and parameters (defaults):
 *
 * ```text
 *     zeros
 *     ones
 *     constant         value (0)
 *     random_uniform   min (-1), max (1), seed (0)      alias uniform
 *     random_normal    mean (0), stddev (1), seed (0)   alias normal
 *     truncate_normal  mean (0), stddev (1), seed (0)   within 2 stddev; alias truncated_normal
 *     xavier_uniform   seed (0)                         within sqrt(3 / dim); alias xavier
 * ```
 *
 * May be used by many threads at once.
 */
typedef struct damo_initializer damo_initializer;

/**
 * Every row of a group, or of all groups, of one moment, in order of group and key.
 *
 * Keeps its storage open. While it lives, rows that are deleted or overwritten keep their disk
 * space, and no checkpoint can be loaded.
 *
 * May be used by many threads, which each get different rows. See damo_iterator_next for how long
 * data is valid.
 */
typedef struct damo_iterator damo_iterator;

/**
 * A lookup that damo_embedding_begin_lookup has begun and damo_embedding_finish_lookup finishes.
 *
 * Keeps nothing open: it can be freed before or after its embedding.
 */
typedef struct damo_lookup damo_lookup;

/**
 * How a gradient changes a row: dim weights followed by the optimizer's state.
 *
 * Names, parameters (defaults) and state:
 *
 * ```text
 *     sgd              gamma (1e-3), lambda (0)                             none
 *     ftrl             alpha (5e-3), beta (0), lambda1 (0), lambda2 (0)     z, n
 *     adagrad          gamma (1e-2), lambda (0), eta (0), epsilon (1e-10)   n
 *     rowwise_adagrad  gamma (1e-2), lambda (0), epsilon (1e-8)             1 float
 *     adam             gamma (1e-3), beta1 (.9), beta2 (.999), lambda (0),  m, v
 *                      epsilon (1e-8)
 *     amsgrad          as adam                                              m, v, v_max
 *     adamw            as adam, but lambda (1e-2)                           m, v
 *     lion             eta (3e-4), beta1 (.9), beta2 (.99), lambda (1e-2)   m
 *     none             state (0): a number of floats                        these
 * ```
 *
 * - The learning rate is gamma, alpha for ftrl, and eta for lion. Every optimizer but none also
 *   accepts it as learning_rate; ftrl and lion accept it as gamma, too.
 * - lambda is weight decay. adamw and lion decouple it; the others add it to the gradient. ftrl
 *   has lambda1 and lambda2 instead.
 * - ftrl, adagrad and rowwise_adagrad also take initial_accumulator_value (0). It is the first
 *   value of n, or of the 1 float. For none it is the first value of every float of state.
 * - none has no learning rate, and refuses gradients with INVALID_ARGUMENT. It is for a trainer
 *   that changes rows itself (damo_rows_pin). state is 0 to 786432 floats a row. A group's state
 *   never changes its length.
 * - Bias corrections use the row's own update count.
 *
 * Under ftrl a weight is a function of its gradients alone. From the first gradient on its initial
 * value no longer counts, and after gradients of 0 only it is 0. A weight that was inserted is an
 * exception: steps continue from it.
 *
 * May be used by many threads at once.
 */
typedef struct damo_optimizer damo_optimizer;

/**
 * A typed key/value bag that configures everything else.
 *
 * A function that takes a const damo_params * copies what it needs, so the bag can be freed right
 * after the call. NULL stands for an empty bag: every default holds. The function refuses unknown
 * keys, wrong types and values out of range, by an error that lists what is accepted.
 *
 * A damo_params must not be used by two threads at once, nor may a damo_pin or a damo_step.
 */
typedef struct damo_params damo_params;

/**
 * Rows that damo_rows_pin has copied for the caller to change. damo_pin_commit brings them back.
 *
 * For one thread at a time. Keeps its embedding's storage open.
 */
typedef struct damo_pin damo_pin;

/**
 * A learning rate as a function of a base rate and the group's global step.
 *
 * The formulas and names are TensorFlow's. Names and parameters (defaults; a parameter without one
 * must be given):
 *
 * ```text
 *     exponential_decay     decay_steps, decay_rate, staircase (false)
 *     natural_exp_decay     decay_steps, decay_rate, staircase (false)
 *                           alias nature_exponential_decay
 *     inverse_time_decay    decay_steps, decay_rate, staircase (false)
 *     polynomial_decay      decay_steps, end_learning_rate (1e-4), power (1), cycle (false)
 *     cosine_decay          decay_steps, alpha (0)
 *     linear_cosine_decay   decay_steps, num_periods (0.5), alpha (0), beta (1e-3)
 *                           alias liner_cosine_decay
 * ```
 *
 * Each also takes warmup_steps (0): the rate rises linearly from 0 over that many steps, and then
 * the decay starts.
 *
 * May be used by many threads at once.
 */
typedef struct damo_scheduler damo_scheduler;

/**
 * A training step over several features: one lookup for all of them, and one transaction for all
 * of their gradients.
 *
 * A step has parts, numbered 0, 1, and so on. Each is an embedding with keys, and has one row of
 * floats a key (damo_step_add_keys) or one a bag of keys (damo_step_add_bags). The rows are looked
 * up together, and their gradients applied together: all groups and their global steps change, or
 * none does. That survives a kill with durability "process", and a power failure with "power".
 * With "checkpoint" it is not promised.
 *
 * Make one step for a loop. damo_step_clear removes its parts; the next ones use their memory.
 *
 * Keeps its storage open, and its parts their embeddings. For one thread at a time.
 */
typedef struct damo_step damo_step;

/**
 * A directory that holds everything: rows, optimizer state, groups, steps.
 *
 * One process at a time has it open for writing. It stays open until its handle and those of all
 * its embeddings and iterators are freed, in any order. Free them before the process exits.
 *
 * May be used by many threads at once.
 */
typedef struct damo_storage damo_storage;

/**
 * A table that damo_storage_dump wrote in the format "table", open for lookups.
 *
 * It needs no storage. Any number of processes and threads may have the same file open; they share
 * its memory. A forked process may continue to use it.
 */
typedef struct damo_table damo_table;

/**
 * damo's work, which an executor calls with work_context.
 */
typedef void (*damo_work)(void *work_context);

/**
 * Runs damo's work on the host's threads.
 *
 * - context: the pointer that was given with this function.
 * - threads: how many threads the work is worth.
 * - work, work_context: call work(work_context) on at most so many threads at the same time. The
 *   thread that runs this function may be one of them. Each call takes pieces of the work until
 *   none is left.
 *
 * Return after all these calls have returned. Fewer calls, or none, are allowed: damo does the
 * rest itself. Surplus calls return at once. An executor for OpenMP, which has no num_threads
 * because GNU's OpenMP ends and starts threads when that number changes:
 *
 * ```text
 *     #pragma omp parallel
 *     work(work_context);
 * ```
 *
 * Several threads may call it at once. It runs in the host's floating-point state. It must not
 * throw. The threads need 256 KiB of stack.
 *
 * It must not call damo, not even a _free: that could wait for the call which runs the executor.
 * On that call's thread, functions that can fail are refused with BUSY. A _free, and calls on
 * other threads, are not refused and may hang. In some libraries (TBB) a thread that waits takes
 * other work, which may call damo; tbb::this_task_arena::isolate prevents that.
 */
typedef void (*damo_executor)(void *context, size_t threads, damo_work work, void *work_context);

/**
 * Called from time to time during a long call, on its thread.
 *
 * - user: the pointer that was given to the call.
 * - rows: the number of rows that are done.
 * - rows_estimate: an estimate of all rows.
 *
 * Return true to go on. Returning false ends the call with CANCELLED, and what it was making is
 * removed.
 *
 * It must not throw, and must not free the handle that the call is on.
 */
typedef bool (*damo_progress)(void *user, uint64_t rows, uint64_t rows_estimate);

/**
 * Rows of floats in the caller's memory, such as some columns of a matrix.
 */
typedef struct {
  /**
   * The first float of the first row. May be NULL if there are no rows.
   */
  float *floats;
  /**
   * The length of the buffer in floats, which says how many rows there are: as many as begin
   * within it. The gap behind the last row may be missing. For the columns from c on of a matrix
   * with n floats this is n - c.
   */
  size_t floats_len;
  /**
   * The floats from the beginning of a row to that of the next one. The floats between rows are
   * neither read nor written.
   */
  size_t stride;
} damo_rows;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns the version of the loaded library, such as "0.1.0". Never NULL; do not free it.
 */
const char *damo_version(void);

/**
 * Returns the number of the loaded library's binary interface. See DAMO_ABI_VERSION.
 */
uint32_t damo_abi_version(void);

/**
 * Returns the name of a status, such as "BUSY", or "UNKNOWN" for a number that is no status.
 *
 * Takes any int, so that it is safe to ask about a number from a newer library. Never NULL; do not
 * free it.
 */
const char *damo_status_name(int32_t status);

/**
 * Returns the status of the last call that failed on this thread, or OK if none has failed.
 *
 * Read it right after a call has returned NULL or a status other than OK. Calls that succeed do
 * not change it, and neither does any _free function.
 */
damo_status damo_last_error_code(void);

/**
 * Returns the message of the last call that failed on this thread, or "" if none has failed.
 *
 * The message is UTF-8. It names the function, the argument, its value and what would be accepted.
 * A message of more than 8 KiB lacks its middle, and says so.
 *
 * Never NULL; do not free it. It stays valid until the next call that fails on this thread, or
 * until the thread ends.
 */
const char *damo_last_error_message(void);

/**
 * Forgets the last failure of this thread: the code becomes OK and the message "".
 *
 * This is for wrappers that do not know which functions can fail, such as generated ones. They
 * call it before a function, and damo_last_error_code after it.
 */
void damo_last_error_clear(void);

/**
 * Returns the status of the failed call that left this number in errno.
 *
 * Returns OK if no failure has this number, or if it is no longer kept: the process keeps the
 * latest 4096.
 *
 * Every call that fails leaves the number of its failure in errno, DAMO_FAILURE_FIRST or above. A
 * call that succeeds may leave anything there. This is for hosts, such as Go without LockOSThread,
 * that may run a call and the question after it on two threads. Their languages read errno
 * together with the call: cgo's second result, .NET's SetLastError, Java's captureCallState,
 * ctypes' use_errno. In C damo_last_error_code and damo_last_error_message are enough.
 *
 * May be called on any thread, any number of times.
 */
damo_status damo_failure_code(int32_t failure);

/**
 * Writes the message of the failed call that left this number in errno into buffer.
 *
 * - buffer: gets the message and a NUL. NULL with buffer_len 0 asks for the length only.
 * - message_len: becomes the length without the NUL, also when the buffer is too small. May be
 *   NULL.
 *
 * Errors:
 * - NOT_FOUND: no failure that is kept has this number.
 * - INVALID_ARGUMENT: a NULL buffer with a length; a buffer that is too small, which is left
 *   unchanged.
 */
damo_status damo_failure_message(int32_t failure,
                                 char *buffer,
                                 size_t buffer_len,
                                 size_t *message_len);

/**
 * Makes an empty bag. Never returns NULL. Free it with damo_params_free.
 */
damo_params *damo_params_new(void);

/**
 * Frees a bag. NULL is a no-op.
 */
void damo_params_free(damo_params *params);

/**
 * Sets key to an integer, which is also accepted wherever a float is needed.
 *
 * A key that is set twice keeps the last value. The key is copied.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL bag; a key that is NULL, empty or not UTF-8.
 */
damo_status damo_params_set_int(damo_params *params, const char *key, int64_t value);

/**
 * Sets key to a float.
 *
 * Errors: as damo_params_set_int, and
 * - INVALID_ARGUMENT: NaN or an infinity.
 */
damo_status damo_params_set_float(damo_params *params, const char *key, double value);

/**
 * Sets key to a boolean.
 *
 * Errors: as damo_params_set_int.
 */
damo_status damo_params_set_bool(damo_params *params, const char *key, bool value);

/**
 * Sets key to a string, which is copied.
 *
 * Errors: as damo_params_set_int, and
 * - INVALID_ARGUMENT: a value that is NULL or not UTF-8.
 */
damo_status damo_params_set_str(damo_params *params, const char *key, const char *value);

/**
 * Writes the bag as a JSON object, with its keys sorted, into buffer.
 *
 * - buffer: gets the JSON and a NUL. NULL with buffer_len 0 asks for the length only; then
 *   buffer_len = *json_len + 1 is enough.
 * - json_len: becomes the length without the NUL, also when the buffer is too small. May be NULL.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL bag; a NULL buffer with a length; a buffer that is too small, which
 *   is left unchanged.
 */
damo_status damo_params_to_json(const damo_params *params,
                                char *buffer,
                                size_t buffer_len,
                                size_t *json_len);

/**
 * Makes an initializer by name. Free it with damo_initializer_free.
 *
 * params may be NULL.
 *
 * Returns NULL on failure and sets the last error:
 * - INVALID_ARGUMENT: a NULL name; an unknown name (the message lists the known ones); a parameter
 *   that is unknown, of a wrong type or out of range.
 */
damo_initializer *damo_initializer_new(const char *name, const damo_params *params);

/**
 * Frees an initializer. NULL is a no-op. Embeddings made with it keep what they need.
 */
void damo_initializer_free(damo_initializer *initializer);

/**
 * Writes the first weights of the row (group, key) into weights.
 *
 * weights_len is the row's dim. group is at most 65535.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a group above 65535.
 */
damo_status damo_initializer_fill(const damo_initializer *initializer,
                                  uint32_t group,
                                  int64_t key,
                                  float *weights,
                                  size_t weights_len);

/**
 * Makes a scheduler by name. Free it with damo_scheduler_free.
 *
 * params may be NULL.
 *
 * Returns NULL on failure and sets the last error:
 * - INVALID_ARGUMENT: a NULL name; an unknown name (the message lists the known ones); a parameter
 *   that is missing, unknown, of a wrong type or out of range.
 */
damo_scheduler *damo_scheduler_new(const char *name, const damo_params *params);

/**
 * Frees a scheduler. NULL is a no-op. Optimizers made with it keep what they need.
 */
void damo_scheduler_free(damo_scheduler *scheduler);

/**
 * Writes the learning rate at a step to *rate.
 *
 * - learning_rate: the base rate, 0 or more.
 * - step: 0 or more.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle or rate; a negative step; a learning_rate that is negative,
 *   NaN or infinite.
 */
damo_status damo_scheduler_rate(const damo_scheduler *scheduler,
                                double learning_rate,
                                int64_t step,
                                double *rate);

/**
 * Makes an optimizer by name. Free it with damo_optimizer_free.
 *
 * params and scheduler may be NULL. The scheduler can be freed afterwards.
 *
 * Returns NULL on failure and sets the last error:
 * - INVALID_ARGUMENT: a NULL name; an unknown name (the message lists the known ones); a parameter
 *   that is unknown, of a wrong type or out of range.
 */
damo_optimizer *damo_optimizer_new(const char *name,
                                   const damo_params *params,
                                   const damo_scheduler *scheduler);

/**
 * Frees an optimizer. NULL is a no-op. Embeddings made with it keep what they need.
 */
void damo_optimizer_free(damo_optimizer *optimizer);

/**
 * Writes the number of floats in a row of dim weights to *row_len: the weights and the state.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle or row_len; a dim of 0, or one whose row no memory can hold.
 */
damo_status damo_optimizer_row_len(const damo_optimizer *optimizer, size_t dim, size_t *row_len);

/**
 * Applies one gradient to one row that the caller keeps.
 *
 * - row: row_len floats, the weights first, then the state. row_len is what damo_optimizer_row_len
 *   gives for gradients_len. The state of a fresh row is zeros, except that n, or the 1 float, is
 *   initial_accumulator_value.
 * - gradients: gradients_len floats, the row's dim.
 * - step: the number of gradients that this row has had before, 0 for the first. It is also the
 *   step of the scheduler, if there is one.
 *
 * Errors, after which the row is unchanged:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; lengths that do not fit
 *   together; overlapping buffers; a negative step; a gradient that is NaN, infinite or beyond
 *   1e18 in size.
 */
damo_status damo_optimizer_apply(const damo_optimizer *optimizer,
                                 float *row,
                                 size_t row_len,
                                 const float *gradients,
                                 size_t gradients_len,
                                 int64_t step);

/**
 * Sets the learning rate, before any schedule, of every embedding made with this optimizer.
 *
 * It holds for calls that start from now on. It is not stored with the table.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle; a rate that is negative, NaN or beyond float32.
 */
damo_status damo_optimizer_set_learning_rate(const damo_optimizer *optimizer, double learning_rate);

/**
 * Writes the learning rate, before any schedule, to *learning_rate.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle or learning_rate.
 */
damo_status damo_optimizer_learning_rate(const damo_optimizer *optimizer, double *learning_rate);

/**
 * Opens a filter, and makes its file if there is none. Free the handle with damo_filter_free.
 *
 * Parameters (defaults):
 *
 * ```text
 *     path       the file, in a folder that exists. While the file is being made, <path>.damo-new
 *                exists, too
 *     capacity   the number of keys to be counted, 1..2^40 (2^28). Beyond it nothing fails, but
 *                more keys pass for seen
 *     count      the number of additions after which damo_filter_check admits a key, 1..15 (15)
 *     fpr        the false positive rate: the share of keys that pass though they were never
 *                added, once capacity keys were added count times, 1e-6..0.5 (1e-3)
 *     reload     true: open a file that exists; false: replace it by a fresh one, whatever it is
 *                (true)
 *     verify     true: freeing the filter writes a checksum of the counters into the file, and
 *                opening compares it; false: neither (true). Each of the two reads the file, which
 *                takes 0.1 to 0.5 seconds a gigabyte
 * ```
 *
 * The checksum protects the counters while the filter is closed, and in checkpoints. While the
 * filter is open, and after the process was killed, nothing tells whether a counter is what was
 * written. If a disk changes one unnoticed, some keys are admitted earlier or later than they
 * should be. There is no other harm.
 *
 * Size: each key of the capacity takes 5.4 bytes for an fpr of 1e-2, 8.7 for 1e-3, 12.9 for 1e-4
 * and 25.7 for 1e-6. The defaults take 2.3 GB.
 * - Disk space is reserved at once, so that a disk that fills up later does no harm.
 * - Memory is taken as keys are added. It is the system's page cache and does not count towards
 *   cache_bytes.
 *
 * Do not truncate a file that is open: the system then ends the process, as it does when the disk
 * cannot read a page of the file.
 *
 * Returns NULL on failure and sets the last error. A file that is refused stays as it is.
 * - INVALID_ARGUMENT: a wrong parameter; a path that is no file, or the file of something else
 *   than a filter; a filter with another capacity, count or fpr; a path that a storage keeps for
 *   its own files (in its folders journal and incoming, or a name like those of its files).
 * - BUSY: another handle, here or in another process, has the file open.
 * - CORRUPTION: the file is damaged, truncated or empty, or the counters differ from those with
 *   which it was closed.
 * - NOT_SUPPORTED: the format is of a later release.
 * - IO: the file cannot be created or read, or the disk is full.
 * - OUT_OF_MEMORY.
 */
damo_filter *damo_filter_new(const damo_params *params);

/**
 * Frees a filter. NULL is a no-op. The file is closed once no embedding uses it any more.
 */
void damo_filter_free(damo_filter *filter);

/**
 * Adds num to the count of key in group. A count ends at the parameter count.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle; a group above 65535.
 * - FORKED.
 */
damo_status damo_filter_add(const damo_filter *filter, uint32_t group, int64_t key, uint32_t num);

/**
 * Adds num to the count of each of keys. Several times as fast as one call a key.
 *
 * - keys: keys_len keys of group. A key that is given twice is added twice.
 *
 * Errors, after which nothing was added:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a group above 65535.
 * - FORKED.
 */
damo_status damo_filter_add_batch(const damo_filter *filter,
                                  uint32_t group,
                                  const int64_t *keys,
                                  size_t keys_len,
                                  uint32_t num);

/**
 * Adds nums[i] to the count of keys[i], for each key.
 *
 * - keys: keys_len keys of group. A key that is given twice gets both numbers.
 * - nums: keys_len numbers.
 *
 * After an error nothing was added.
 *
 * Errors: as damo_filter_add_batch, and
 * - INVALID_ARGUMENT: a nums_len that is not keys_len.
 */
damo_status damo_filter_add_counts(const damo_filter *filter,
                                   uint32_t group,
                                   const int64_t *keys,
                                   size_t keys_len,
                                   const uint32_t *nums,
                                   size_t nums_len);

/**
 * Writes to *admitted whether key of group has been seen often enough.
 *
 * - A key that was added count times: always true.
 * - Any other key: true with a probability of at most fpr, as long as no more than capacity keys
 *   were added.
 *
 * Errors, after which nothing is written:
 * - INVALID_ARGUMENT: a NULL handle or admitted; a group above 65535.
 * - FORKED.
 */
damo_status damo_filter_check(const damo_filter *filter,
                              uint32_t group,
                              int64_t key,
                              bool *admitted);

/**
 * Checks each of keys as damo_filter_check does, and writes the answers to admitted.
 *
 * - keys: keys_len keys of group.
 * - admitted: keys_len bytes. Each becomes 1 or 0.
 *
 * Errors, after which nothing is written:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; overlapping buffers; an
 *   admitted_len that is not keys_len; a group above 65535.
 * - FORKED.
 */
damo_status damo_filter_check_batch(const damo_filter *filter,
                                    uint32_t group,
                                    const int64_t *keys,
                                    size_t keys_len,
                                    uint8_t *admitted,
                                    size_t admitted_len);

/**
 * Makes every addition that returned before this call durable, also against a power failure.
 *
 * The system writes the file by itself, too, within a minute or so. damo_storage_flush does the
 * same for the filters of the storage's embeddings.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle.
 * - IO: the disk refuses.
 * - FORKED.
 */
damo_status damo_filter_sync(const damo_filter *filter);

/**
 * Opens the directory data_dir, or creates it. Free the handle with damo_storage_free.
 *
 * - data_dir: the directory. Parents that do not exist are created, too.
 * - ttl_seconds: the time to live (TTL) of a row; 0: rows never expire.
 * - options: may be NULL. Names (defaults):
 *
 * ```text
 *     cache_bytes   memory for rows, indexes and filters, at least 64 KiB (a quarter of the
 *                   memory that the process may have: docs/parameters.md). It is taken as rows
 *                   come. The library stays within it and a constant (docs/performance.md),
 *                   however large the table is. A running call needs memory beside it for its
 *                   keys and gradients, and for its rows if they are more than the cache holds
 *     durability    "process": a call that returned survives anything that kills the process (the
 *                   default);
 *                   "power": and a power failure of the machine;
 *                   "checkpoint": only what damo_storage_flush or closing has written is sure to
 *                   survive; the fastest
 *     threads       threads that share the work of a large call, 1..1024 (the number of cores).
 *                   Beside them there are one that writes, one that prefetches, the readers, and
 *                   RocksDB's
 *     readers       the most threads that read rows from disk for a call, 1..1024 (64). The
 *                   calling thread is one of them. The others are made when calls need rows that
 *                   are not in memory. With 1 a call reads for itself. A process with several
 *                   storages may give each 64 divided by their number
 *     mapped_reads  "auto", the default: rows are read from mapped files where the page cache has
 *                   them. That takes less of the processor. The pages that are mapped count as the
 *                   process's memory, up to a quarter of the memory that it may have: the
 *                   machine's, or the smallest limit of its cgroups;
 *                   "off": all rows are read by system calls
 *     io_uring      "auto", the default: what is not in the page cache is read by io_uring, with
 *                   many reads in flight for each thread;
 *                   "off", and where the system refuses io_uring: each of the readers' threads has
 *                   one read in flight
 *     read_only     true: nothing in data_dir is changed, see below (false)
 * ```
 *
 * A row that has not been updated for ttl_seconds is gone, at once and for every call: lookup
 * makes a fresh one. Its disk space comes back as files are merged. The TTL belongs to this
 * opening, not to the data: under a longer TTL, rows that a merge has not dropped yet become
 * visible again.
 *
 * With read_only not one byte of data_dir changes.
 * - data_dir may be a checkpoint, a directory without write permission, a storage whose process
 *   was killed, or one that is open elsewhere.
 * - The storage shows what opening finds on disk, together with the calls in the journal.
 *   damo_storage_describe tells as of which time.
 * - Lookups create no rows: a key without a row reads as its first weights. Calls that change rows
 *   return NOT_SUPPORTED.
 * - A group may be opened with other parameters, which damo_storage_describe does not show. It
 *   gets no name.
 * - Links to the files, and what the journal's calls change, are kept in the folder for temporary
 *   files (TMPDIR).
 * - Each SST file takes a descriptor, through which it stays readable when another process merges
 *   it away. If the limit of descriptors is too low for all, the oldest files go without. A call
 *   that needs such a file after it was merged away returns IO, and the message says so.
 *
 * A process that has the storage open with durability "checkpoint" keeps no journal. Then
 * read_only shows what a kill would leave at that moment. Each row is as it was at some moment
 * since the last flush: a call may be there with some of its rows only, and the global step is an
 * older one. damo_storage_checkpoint refuses to make a checkpoint of that. With the other
 * durabilities each call is there whole or not at all.
 *
 * Returns NULL on failure and sets the last error:
 * - INVALID_ARGUMENT: data_dir is NULL, a file, holds something else than a damo storage, or is
 *   where another storage has its own files; a negative ttl_seconds; a wrong option.
 * - BUSY: another handle, here or in another process, has it open. With read_only: another process
 *   was making it, or was changing it during each look, for 5 seconds; open it again in a moment.
 * - NOT_FOUND: with read_only, there is no storage.
 * - IO: it cannot be created, read or written, or threads cannot be made.
 * - CORRUPTION: its files are damaged.
 * - NOT_SUPPORTED: its format is of a later release.
 * - FORKED: this process was forked after its parent had opened a storage.
 * - OUT_OF_MEMORY.
 */
damo_storage *damo_storage_new(const char *data_dir,
                               int64_t ttl_seconds,
                               const damo_params *options);

/**
 * Frees a storage handle. NULL is a no-op.
 *
 * The directory is closed, and its lock released, once the handles of its embeddings and iterators
 * are freed, too. Closing cannot report an error. Call damo_storage_flush before, which can.
 */
void damo_storage_free(damo_storage *storage);

/**
 * Makes every call that returned before this one durable, whatever the option durability.
 *
 * It also makes durable what the filters of the storage's embeddings have counted. Other calls go
 * on meanwhile.
 *
 * After an error nothing that was stored before is lost. Flushing can be tried again.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle.
 * - IO: the disk refuses.
 * - POISONED: a group is; its rows are then not written.
 * - OUT_OF_MEMORY, FORKED.
 */
damo_status damo_storage_flush(const damo_storage *storage);

/**
 * As damo_executor_set, for this storage alone. It takes precedence over the executor of the
 * process; run NULL returns to that one.
 *
 * The executor stays set, and needs its context, until all handles of the storage, its embeddings
 * and its iterators are freed.
 *
 * Errors: as damo_executor_set, and
 * - INVALID_ARGUMENT: a NULL handle.
 * - FORKED: in a forked child, for run NULL, too.
 */
damo_status damo_storage_set_executor(const damo_storage *storage,
                                      damo_executor run,
                                      void *context,
                                      size_t threads);

/**
 * Writes what has changed, and then merges everything on disk into one sorted run.
 *
 * Rows that were overwritten or deleted then take no more space, and a row that is not in memory
 * takes one read. It takes as long as reading and writing the table; other calls go on meanwhile.
 * The storage merges in parts by itself while the table changes, so nobody needs to call this.
 *
 * Errors: as damo_storage_flush, and
 * - NOT_SUPPORTED: the storage is open with read_only.
 */
damo_status damo_storage_compact(const damo_storage *storage);

/**
 * Writes everything the storage holds except its rows, as a JSON object, into buffer.
 *
 * ```text
 *     dir           the directory, absolute
 *     read_only     null, or with the option read_only an object of
 *                   - as_of_ms: the latest time on record in the storage, milliseconds since 1970;
 *                     what came later is not seen
 *                   - is_open_elsewhere: whether the storage was open when it was looked at, here
 *                     or in another process, which may then have more in memory
 *     checkpoint    the checkpoint id: of the checkpoint last made, loaded, or opened as this
 *                   storage. 32 hexadecimal digits, different for each checkpoint; null if there
 *                   was none
 *     groups        a list, one object a group, in order of number:
 *                   - group: the number
 *                   - name: a string, or null
 *                   - dim
 *                   - row_len: floats of a row, with the optimizer's state
 *                   - step
 *                   - optimizer, initializer, scheduler (or null): what the group was last opened
 *                     with, each an object of name and params
 *                   - max_norm: the option that the group was last opened with, or null
 *                   - clients: a list of those that are not forgotten, each an object of client,
 *                     sequence, and time (of its latest call, milliseconds since 1970). See
 *                     damo_embedding_apply_gradients_once
 * ```
 *
 * - buffer: gets the JSON and a NUL. NULL with buffer_len 0 asks for the length only; then
 *   buffer_len = *json_len + 1 is enough, unless other threads open groups or train meanwhile
 *   (steps get longer).
 * - json_len: becomes the length without the NUL, also when the buffer is too small. May be NULL.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a buffer that is too small,
 *   which is left unchanged.
 * - IO, CORRUPTION, FORKED.
 */
damo_status damo_storage_describe(const damo_storage *storage,
                                  char *buffer,
                                  size_t buffer_len,
                                  size_t *json_len);

/**
 * Forgets a client of damo_embedding_apply_gradients_once and damo_step_apply_gradients_once, in
 * all groups. Its next call counts as its first one, whatever its number.
 *
 * - client: the number that it has given itself. No call of it may be under way.
 * - forgotten: becomes whether a group knew the client. May be NULL.
 *
 * It survives what any call survives that changes rows: see the option durability.
 *
 * Errors, after which nothing has changed:
 * - INVALID_ARGUMENT: a NULL handle.
 * - NOT_SUPPORTED: the storage is open with read_only.
 * - POISONED, OUT_OF_MEMORY, IO, FORKED.
 */
damo_status damo_storage_forget_client(const damo_storage *storage,
                                       uint64_t client,
                                       bool *forgotten);

/**
 * Counts the rows that a group has now, and writes their number to *rows.
 *
 * - group: a number in 0..65535, or DAMO_ALL_GROUPS.
 *
 * It reads all rows; damo_storage_stat has a quick estimate. Other calls go on meanwhile.
 *
 * Errors: as damo_iterator_new, and
 * - INVALID_ARGUMENT: a NULL rows.
 * - CORRUPTION: a row is damaged (the message names it).
 */
damo_status damo_storage_row_count(const damo_storage *storage, uint32_t group, uint64_t *rows);

/**
 * Writes one statistic to *value.
 *
 * Names (those from rows_read to writer_waited_us count since the storage was opened):
 *
 * ```text
 *     groups            groups registered
 *     rows_estimate     rows on disk, all groups: RocksDB's estimate. It counts a row each time it
 *                       is written, until a merge (damo_storage_compact makes it exact)
 *     rows_in_memory    rows in the cache, and keys that are known to have no row
 *     dirty_rows        those of them that are not on disk as they are
 *     rows_read         keys asked for by lookup and peek
 *     rows_created      rows made by lookup and apply_gradients
 *     rows_updated      optimizer steps taken
 *     steps_skipped     calls of apply_gradients that the option non_finite "skip" skipped; a call
 *                       of a damo_step counts once
 *     rows_loaded       keys looked for on disk
 *     rows_loaded_by_rocksdb
 *                       of these, keys that RocksDB was asked for, since damo's own reader cannot
 *                       read a file, or has no memory for its index and filter. The first 1,024
 *                       keys after opening are among them
 *     blocks_read_mapped
 *                       blocks of SST files that were read from mapped files
 *     blocks_read_by_io_uring
 *                       blocks that were read by io_uring
 *     blocks_read_by_pread
 *                       blocks that were read by pread, a system call for each
 *     rows_written      rows written back to disk in the background
 *     rows_merged       rows that merges have written. Divided by rows_written it tells how often
 *                       a row is rewritten
 *     expired_rows      rows whose time to live was over, made anew or dropped by a merge
 *     cache_hits        keys of lookup and peek that were in memory
 *     cache_misses      keys of lookup and peek that were not: read from disk or created
 *     evictions         rows that left the cache for others
 *     waited_us         microseconds that calls waited for the background writer: the sum of the
 *                       next four
 *     waited_for_journal_us
 *                       until the journal was shorter (durability "process" and "power")
 *     waited_for_room_us
 *                       until rows that were being written could leave the cache
 *     waited_for_cut_us
 *                       until rows were on disk that a dump, a checkpoint, an iterator or a count
 *                       reads, since copies of those that changed meanwhile took too much memory
 *     slowed_us         in short pauses, since calls bring rows in faster than they are written
 *     writer_waited_us  microseconds that the background writer waited for merges
 *     sorted_runs       sorted runs of files on disk. A row that is not in memory may be in any of
 *                       them
 *     index_bytes       bytes that indexes and filters of SST files take now, and RocksDB's cache.
 *                       They may take up to half of cache_bytes
 *     cache_bytes       the value of the option cache_bytes: the given one, or else the default
 *     bytes_in_memory   bytes held for rows, indexes and filters
 *     bytes_on_disk     the sizes of the files in data_dir, also with read_only
 *     journal_bytes     the journal's part of these, which the next opening after a kill needs
 * ```
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle, name or value; an unknown name (the message lists the known
 *   ones).
 * - IO, FORKED.
 */
damo_status damo_storage_stat(const damo_storage *storage, const char *name, uint64_t *value);

/**
 * Reads everything that is stored, and checks every checksum and the form of every row.
 *
 * - rows: becomes the number of rows. May be NULL.
 *
 * Other calls go on meanwhile.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle.
 * - CORRUPTION: a file or row is damaged (the message names it).
 * - IO, OUT_OF_MEMORY, POISONED, FORKED.
 */
damo_status damo_storage_verify(const damo_storage *storage, uint64_t *rows);

/**
 * Makes a checkpoint: a directory with everything as it is at one moment, to continue training.
 *
 * - path: the directory. It must not exist yet, but its parent must.
 *
 * A checkpoint has every call that returned before: rows, optimizer state, groups with their
 * names, global steps, and the filters of embeddings that are open (in the folder filters). Other
 * calls go on meanwhile. The directory appears under its name only when it is whole.
 *
 * Files of rows are hard links. So a large table takes no longer than a small one, beyond writing
 * what has changed. On another file system the files are copied.
 *
 * A storage that is open with read_only gives checkpoints, too. The hard links change no byte of
 * its files. What the file system records about them changes: the number of links, and the time
 * (ctime) of that change.
 *
 * damo_storage_load_from_checkpoint loads a checkpoint; damo_storage_new opens one as a storage.
 * The checkpoint id is in its checkpoint.json. damo_storage_describe tells it, too, both here and
 * in a storage that was made of the checkpoint.
 *
 * Errors, after which there is no such directory:
 * - INVALID_ARGUMENT: a NULL handle or path; a path without a name, or inside a storage's
 *   directory.
 * - ALREADY_EXISTS: path exists.
 * - BUSY: with read_only, another handle had the storage open with durability "checkpoint" when it
 *   was opened here, so that it may have parts of calls.
 * - IO, OUT_OF_MEMORY, POISONED, FORKED.
 */
damo_status damo_storage_checkpoint(const damo_storage *storage, const char *path);

/**
 * Replaces everything that is stored by the content of a checkpoint.
 *
 * - path: a checkpoint, or a storage that was closed. It stays as it is.
 *
 * Embeddings that are open continue with the checkpoint's groups. A group that the checkpoint does
 * not have is empty then. The checkpoint is first read through and compared with its checksums;
 * then all calls wait for a moment.
 *
 * After an error everything is as it was. There is one exception: if the message says that the
 * storage must be opened again, the checkpoint has taken its place, and opening finishes that.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle or path; a path that is a file, or a database that damo did
 *   not write.
 * - NOT_FOUND: path does not exist.
 * - CORRUPTION: path is no checkpoint, or one that is damaged or not whole.
 * - NOT_SUPPORTED: another format; a storage that was not closed. Also: this storage is open with
 *   read_only.
 * - BUSY: the checkpoint is open somewhere; a dump or an iterator of this storage is under way.
 * - ALREADY_EXISTS: a group that is open here has another dim, optimizer or name there.
 * - IO: a failed read or write; something that is no file of damo's, such as a file called
 *   filters, lies where one of the checkpoint belongs.
 * - OUT_OF_MEMORY, FORKED.
 */
damo_status damo_storage_load_from_checkpoint(const damo_storage *storage, const char *path);

/**
 * Writes the weights of all rows, as they are at one moment, to the file path for serving.
 *
 * - path: a file, which is replaced if it exists.
 * - condition: may be NULL. Names (defaults):
 *
 * ```text
 *     format         "classic": dims, counts, then key, group and float32 weights of each row (the
 *                    default);
 *                    "counted": the same, but the header lists only the groups that are dumped, as
 *                    damo-embedding from 1.0.6 on writes it;
 *                    "table": what damo_table_open maps into memory
 *     expire_days    leave out rows not updated for so many days, fractions too (0: no limit)
 *     min_count      leave out rows that were updated fewer times (0)
 *     group          only this group (all)
 *     header_groups  classic: the number of groups the header has place for (256); readers for 128
 *                    and 1024 exist, too
 *     value_type     table: "float32" (the default), "float16" or "int8" (a scale and bias a row)
 *     since          table: the number of a base dump. The file is then an increment: the rows
 *                    changed since that dump, and the keys that are gone
 * ```
 *
 * The file appears under its name only when it is whole and on disk. Other calls go on meanwhile.
 * docs/formats.md has the bytes of all formats.
 *
 * An increment has the group and min_count of its base dump. A table dump can be the base of
 * increments for 30 days, if it is one of the latest 256. Loading a checkpoint, or clearing a
 * group of the dump, ends that earlier. A storage that is open with read_only remembers no dump.
 *
 * Errors, after which the file at path is as it was:
 * - INVALID_ARGUMENT: a NULL handle or path; a path that cannot be a file's, or is inside a
 *   storage's directory; a wrong condition; groups that the classic header has no place for (the
 *   message names them).
 * - NOT_FOUND: the group is not registered; no base dump with the number since is remembered for
 *   this group and min_count, or one of its groups was cleared.
 * - BUSY: path is being written, here or in another process.
 * - IO, CORRUPTION, OUT_OF_MEMORY, POISONED, FORKED.
 */
damo_status damo_storage_dump(const damo_storage *storage,
                              const char *path,
                              const damo_params *condition);

/**
 * As damo_storage_dump, and reports its progress and its result.
 *
 * - progress: called with user from time to time. May be NULL.
 * - number: becomes the number of this dump, which the next increment has as since
 *   (damo_table_number of the file). May be NULL.
 * - rows: becomes the number of rows in the file. May be NULL.
 * - removed: becomes the number of keys that an increment says are gone. May be NULL.
 *
 * After an error the file at path is as it was, and number, rows and removed are unchanged.
 *
 * Errors: as damo_storage_dump, and
 * - CANCELLED: progress returned false.
 */
damo_status damo_storage_dump_with_progress(const damo_storage *storage,
                                            const char *path,
                                            const damo_params *condition,
                                            damo_progress progress,
                                            void *user,
                                            uint64_t *number,
                                            uint64_t *rows,
                                            uint64_t *removed);

/**
 * Imports the rows of a file that damo-embedding, the earlier C++ implementation, wrote.
 *
 * - path: a checkpoint of any release from 1.0.5 to 1.1.12, or a dump, classic or counted.
 *
 * docs/formats.md has the bytes of these files, docs/migrating.md the whole way over.
 *
 * The groups of the file must have been opened in this storage once (damo_embedding_new), each
 * with the dim and the optimizer that it had. A row that exists is replaced.
 * - A row of a checkpoint keeps its update_time and update_num.
 * - A row of a dump gets the time of the import and the update count 0.
 * - A record without state gets the state of an inserted row.
 * - A record that does not fit is left out. damo_storage_import_counted tells how many there were,
 *   damo_storage_import_report why. If no record fits, the call fails.
 *
 * The file is read through first, and nothing changes unless it is whole. When the call returns
 * OK, the rows are on disk, whatever the durability. Memory does not grow with the file. Other
 * calls go on meanwhile, but the import may replace what they do to rows of the file: train
 * afterwards.
 *
 * If the file is refused, nothing has changed. After a later error or a kill a part of the rows
 * may be there: import the file again.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle or path; a path that is not a file; a file with records of
 *   which none fits the groups of this storage.
 * - NOT_FOUND: path does not exist.
 * - CORRUPTION: the file is truncated, longer than it says, or neither a checkpoint nor a dump
 *   (the message names the record and the byte); the layout of its records cannot be told; no
 *   record is sound.
 * - NOT_SUPPORTED: the storage is open with read_only.
 * - POISONED: a group is.
 * - IO, OUT_OF_MEMORY, FORKED.
 */
damo_status damo_storage_import(const damo_storage *storage, const char *path);

/**
 * As damo_storage_import, and reports how many records came in and how many were left out.
 *
 * - imported: becomes the number of records that came in. May be NULL.
 * - refused: becomes the number of records that were left out. May be NULL.
 *
 * If the file has a key twice, both records count as imported, and the last one is the row.
 *
 * After an error the counts are unchanged.
 *
 * Errors: as damo_storage_import.
 */
damo_status damo_storage_import_counted(const damo_storage *storage,
                                        const char *path,
                                        uint64_t *imported,
                                        uint64_t *refused);

/**
 * Writes what became of the records of the latest import, as a JSON object, into buffer.
 *
 * ```text
 *     records         records in the file
 *     imported        of these, records that came in; after an error, those that are known to have
 *                     come in before it
 *     without_state   of the imported ones, those with weights only
 *     other_groups    records of other groups than the option group
 *     format          "checkpoint", or "classic" or "counted" for a dump
 *     value_header    bytes before the floats of a checkpoint's value: 32 or 40; 0 for a dump
 *     order           which is first in a record, update_time or update_num:
 *                     "time_first", "num_first";
 *                     "assumed": no record shows it, and update_time is taken for the first;
 *                     "absent": a dump, which has neither
 *     refused         a list, one object a reason:
 *                     - reason: unknown_group, key_mismatch (the value names another group or
 *                       key), wrong_dim, wrong_length, not_finite, negative_square, bad_time or
 *                       expired
 *                     - records: how many there were
 *                     - first: what was wrong with the first of them
 * ```
 *
 * - buffer: gets the JSON and a NUL. NULL with buffer_len 0 asks for the length only; then
 *   buffer_len = *json_len + 1 is enough.
 * - json_len: becomes the length without the NUL, also when the buffer is too small. May be NULL.
 *
 * An import whose file was refused while it was read through leaves the report as it was.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a buffer that is too small,
 *   which is left unchanged.
 * - NOT_FOUND: nothing has been imported since the storage was opened.
 * - FORKED.
 */
damo_status damo_storage_import_report(const damo_storage *storage,
                                       char *buffer,
                                       size_t buffer_len,
                                       size_t *json_len);

/**
 * As damo_storage_import_counted, with options.
 *
 * - options: may be NULL. Names (defaults):
 *
 * ```text
 *     format         "auto": what the file looks like (the default); "checkpoint"; "classic" or
 *                    "counted", which are dumps
 *     header_groups  classic: the width of the header (256, 1024 or 128, whichever adds up)
 *     group          only this group (all)
 * ```
 *
 * After an error the counts are unchanged.
 *
 * Errors: as damo_storage_import, and
 * - INVALID_ARGUMENT: a wrong option; a file with records of which none is of the option group.
 */
damo_status damo_storage_import_with(const damo_storage *storage,
                                     const char *path,
                                     const damo_params *options,
                                     uint64_t *imported,
                                     uint64_t *refused);

/**
 * Frees a lookup, finished or not. NULL is a no-op.
 */
void damo_lookup_free(damo_lookup *lookup);

/**
 * Opens a group of a storage, and registers it if it is new. Free it with damo_embedding_free.
 *
 * - storage, optimizer, initializer: can be freed before the embedding.
 * - dim: the number of weights in a row, 1..262144.
 * - group: a number in 0..65535, or DAMO_GROUP_BY_NAME.
 * - options: may be NULL. Names (defaults):
 *
 * ```text
 *     duplicates    what damo_embedding_apply_gradients does with a key that is given twice:
 *                   "sequential": one step for each occurrence, in order (the default);
 *                   "sum", "mean": one step with the sum or mean of its gradients, as PyTorch and
 *                   FBGEMM do
 *     name          the group's name: 1 to 255 bytes of UTF-8 without control characters. A group
 *                   without a name gets it, for good. It is stored, and part of checkpoints (none)
 *     padding_key   a key that reads as zeros, never has a row, and whose gradients are dropped
 *                   (none)
 *     clip_value, clip_row_norm, clip_norm
 *                   limits > 0 of the gradients of a call, applied in this order (none): of each
 *                   float; of the 2-norm of each key's gradient; of the 2-norm of the gradients of
 *                   all keys of the call together
 *     max_norm      a limit > 0 of the 2-norm of a row's weights (none). Not with the optimizer
 *                   "none", which takes no steps
 *     non_finite    what a call does with gradients that are NaN, infinite or beyond 1e18.
 *                   "refuse": it is an error (the default). "skip": the call returns OK, changes
 *                   nothing, and is counted (damo_storage_stat: steps_skipped)
 * ```
 *
 * Gradients are clipped after those of a key were merged. When duplicates is "sequential", the
 * gradient of each occurrence is clipped by itself. A gradient whose norm is beyond its limit is
 * multiplied by limit / (norm + 1e-6), as torch.nn.utils.clip_grad_norm_ does. In a damo_step each
 * embedding's limits come first, and then those of the step.
 *
 * The weights of a row whose norm is beyond max_norm are multiplied by max_norm / (norm + 1e-7):
 * after every step of the row, and when it is made, before its first step. torch.nn.Embedding
 * scales rows when they are looked up; here a lookup changes no row. Lookups read the same in both
 * if a model is trained with max_norm from the start. Rows that were inserted, imported, committed
 * from a pin or stored without the option stay as they are until their next step. The optimizer's
 * state is never scaled.
 *
 * A group keeps its dim and its optimizer's name for good. Hyper-parameters, scheduler,
 * initializer and max_norm may differ at the next opening. Embeddings that have a group open at
 * the same time should have one initializer and one max_norm: after a crash, a row that one of
 * them made and another one trained is made with the other's.
 *
 * Returns NULL on failure and sets the last error:
 * - INVALID_ARGUMENT: a NULL handle; a dim or group out of range; a wrong option; max_norm with
 *   the optimizer "none"; DAMO_GROUP_BY_NAME without a name.
 * - ALREADY_EXISTS: the group has another dim, optimizer or name; the name is another group's; all
 *   65536 groups are taken.
 * - NOT_FOUND: the group does not exist, and the storage is open with read_only.
 * - NOT_SUPPORTED: a name for a group without one, and the storage is open with read_only.
 * - IO, OUT_OF_MEMORY, FORKED.
 */
damo_embedding *damo_embedding_new(const damo_storage *storage,
                                   const damo_optimizer *optimizer,
                                   const damo_initializer *initializer,
                                   size_t dim,
                                   uint32_t group,
                                   const damo_params *options);

/**
 * Frees an embedding, and closes its storage if no other handle has it. NULL is a no-op.
 */
void damo_embedding_free(damo_embedding *embedding);

/**
 * Begins a lookup, for a trainer that knows its next batch. damo_embedding_finish_lookup finishes
 * it. Free it with damo_lookup_free.
 *
 * - keys: keys_len keys, which are copied.
 * - weights: keys_len x dim floats, in key order. They are written as damo_embedding_peek writes
 *   them: a key without a row reads as zeros.
 *
 * Creates no row, and no filter counts the keys; statistics count them as those of a peek. Other
 * calls may use the same keys meanwhile. The weights can be sent to a GPU at once; finishing tells
 * which of them have changed since.
 *
 * Returns NULL on failure and sets the last error; weights may be partly written:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; overlapping buffers; a
 *   weights_len that is not keys_len x dim.
 * - OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
 */
damo_lookup *damo_embedding_begin_lookup(const damo_embedding *embedding,
                                         const int64_t *keys,
                                         size_t keys_len,
                                         float *weights,
                                         size_t weights_len);

/**
 * Finishes a lookup: makes its weights what damo_embedding_lookup of its keys writes now.
 *
 * - embedding: the one that began the lookup.
 * - weights: keys_len x dim floats, as damo_embedding_begin_lookup has written them.
 * - positions: keys_len numbers. Gets the positions of the keys whose weights were written, in
 *   ascending order; the weights of all other keys are as they were.
 * - positions_len: keys_len.
 * - changed: gets how many positions there are. The rest of positions may be written, too.
 *
 * Rows that were changed, deleted, made or loaded from a checkpoint since, by whomever, are read
 * again. Rows are made, and a filter counts, as in a lookup. So training is bit for bit what it is
 * with damo_embedding_lookup here and no begun lookup. This costs less where few rows have
 * changed. With a filter, in a storage that is open with read_only, and for at most 256 keys or
 * more than 2^20, all keys are looked up again, and weights that have not changed are left alone.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; overlapping buffers; a lookup
 *   that is finished, that another thread is finishing, or that was begun with another embedding;
 *   a weights_len that is not keys_len x dim; a positions_len that is not keys_len. The lookup is
 *   as it was.
 * - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED. Weights may be partly written, and the lookup
 *   may be finished: call damo_embedding_lookup instead.
 */
damo_status damo_embedding_finish_lookup(const damo_embedding *embedding,
                                         const damo_lookup *lookup,
                                         float *weights,
                                         size_t weights_len,
                                         int64_t *positions,
                                         size_t positions_len,
                                         size_t *changed);

/**
 * Writes the weights of keys into weights, and creates the rows that are missing.
 *
 * - keys: keys_len keys. A key given twice gives its row twice. The padding key reads as zeros.
 * - weights: keys_len x dim floats, in key order.
 *
 * With a filter (damo_embedding_set_filter) only keys that were seen often enough get rows. In a
 * storage that is open with read_only no key gets one. A key that gets no row reads as its first
 * weights.
 *
 * Errors, after which weights may be partly written:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; overlapping buffers; a
 *   weights_len that is not keys_len x dim.
 * - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
 */
damo_status damo_embedding_lookup(const damo_embedding *embedding,
                                  const int64_t *keys,
                                  size_t keys_len,
                                  float *weights,
                                  size_t weights_len);

/**
 * Looks up a batch that has each key as often as occurrences says, but gives each key's row once.
 *
 * For callers that make their keys distinct before they call. damo_keys_partition writes
 * distinct_keys and occurrences.
 *
 * - keys: keys_len keys.
 * - occurrences: keys_len numbers, 1 or more each: how often the key occurs.
 * - weights: keys_len x dim floats, in key order.
 *
 * Rows, the statistics and a filter (damo_embedding_set_filter) are then as after a
 * damo_embedding_lookup of a batch that has each key that many times, one after the other. If a
 * key is given twice, its numbers are added.
 *
 * Errors, after which weights may be partly written:
 * - INVALID_ARGUMENT: those of damo_embedding_lookup; an occurrences_len that is not keys_len; an
 *   occurrence of 0. Nothing is counted or written.
 * - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
 */
damo_status damo_embedding_lookup_counted(const damo_embedding *embedding,
                                          const int64_t *keys,
                                          size_t keys_len,
                                          const uint32_t *occurrences,
                                          size_t occurrences_len,
                                          float *weights,
                                          size_t weights_len);

/**
 * As damo_embedding_lookup, but creates nothing: a key without a row reads as zeros.
 *
 * - keys: keys_len keys.
 * - weights: keys_len x dim floats, in key order.
 * - found: keys_len bytes, or NULL. Each becomes 1 for a key with a row and 0 for one without.
 *
 * After an error weights may be partly written.
 *
 * Errors: as damo_embedding_lookup, without POISONED.
 */
damo_status damo_embedding_peek(const damo_embedding *embedding,
                                const int64_t *keys,
                                size_t keys_len,
                                float *weights,
                                size_t weights_len,
                                uint8_t *found);

/**
 * Brings the rows of keys into memory in the background, for a trainer that knows its next batch.
 *
 * - keys: keys_len keys, which are copied.
 *
 * Returns at once. It creates no row and changes none. Rows stay in memory until they are evicted,
 * so ask for a batch ahead, not for the whole table. It is a hint. If more than 2^24 (16 million)
 * keys would be waiting, these are left out. What goes wrong while reading comes out when the rows
 * are used.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length.
 * - IO: the background thread cannot be made.
 * - OUT_OF_MEMORY, FORKED.
 */
damo_status damo_embedding_prefetch(const damo_embedding *embedding,
                                    const int64_t *keys,
                                    size_t keys_len);

/**
 * Steps the optimizer: applies gradients to the rows of keys.
 *
 * - keys: keys_len keys. A key without a row gets one first. The option duplicates says what
 *   happens to a key that is given twice.
 * - gradients: keys_len x dim floats, in key order. The options clip_value, clip_row_norm and
 *   clip_norm limit them (damo_embedding_new).
 *
 * The group's global step rises by one a call. All rows of the call and the step change together
 * or not at all.
 *
 * With the option non_finite "skip" a call with a gradient that is NaN, infinite or beyond 1e18 in
 * size is skipped: it returns OK, and neither rows nor the global step have changed. The statistic
 * steps_skipped counts such calls. To know whether a call was skipped, use a damo_step with one
 * part (damo_step_skipped).
 *
 * Errors, after which nothing has changed (for IO see "Input and output errors" above):
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a gradients_len that is not
 *   keys_len x dim; a gradient that is NaN, infinite or beyond 1e18 in size (the message names its
 *   key).
 * - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED; NOT_SUPPORTED with read_only.
 */
damo_status damo_embedding_apply_gradients(const damo_embedding *embedding,
                                           const int64_t *keys,
                                           size_t keys_len,
                                           const float *gradients,
                                           size_t gradients_len);

/**
 * Sums the gradients of a batch by key, as damo_embedding_apply_gradients does before it steps.
 *
 * This is for trainers that need the norm of the sums before they step (to clip by the global
 * norm), or that add up several batches. When the option duplicates is "sum", a step with the sums
 * gives the same rows, bit for bit, as a step with the gradients. The sums are not clipped: only a
 * step clips them.
 *
 * - keys: keys_len keys.
 * - gradients: keys_len x dim floats, in key order. Those of the padding key may be any floats.
 * - summed_keys: room for keys_len keys. Gets each key except the padding key once, in an
 *   unspecified order.
 * - sums: room for keys_len x dim floats. Gets the sum of each key's gradients, dim floats, at the
 *   same place. Sums are float32, added in the order of occurrence. When duplicates is "mean", the
 *   mean is written. When it is "sequential", the sum is written, although
 *   damo_embedding_apply_gradients takes one step for each occurrence.
 * - summed: becomes the number of keys that were written.
 * - norm: becomes the 2-norm of all sums together, added up in double precision. May be NULL.
 * - largest: becomes the largest absolute value among the sums. May be NULL.
 *
 * Room that is not needed is left as it is. Nothing in the storage changes: no row is made, and no
 * filter counts. The storage may be open with read_only. Any number of threads may call this at
 * once, also beside calls that change rows.
 *
 * Errors, after which nothing is written:
 * - INVALID_ARGUMENT: a NULL handle or summed; a NULL buffer with a length; overlapping buffers; a
 *   gradients_len that is not keys_len x dim; too little room; a gradient or sum that is NaN,
 *   infinite or beyond 1e18 in size (the message names its key).
 * - IO: the storage has lost its database.
 * - OUT_OF_MEMORY, FORKED.
 */
damo_status damo_embedding_sum_gradients(const damo_embedding *embedding,
                                         const int64_t *keys,
                                         size_t keys_len,
                                         const float *gradients,
                                         size_t gradients_len,
                                         int64_t *summed_keys,
                                         size_t summed_keys_len,
                                         float *sums,
                                         size_t sums_len,
                                         size_t *summed,
                                         double *norm,
                                         double *largest);

/**
 * Stores weights as fresh rows, for pretrained tables.
 *
 * - keys: keys_len keys. Rows that exist are replaced. Of a key given twice the last one counts.
 * - weights: keys_len x dim floats, in key order.
 *
 * A fresh row has the update count 0 and the optimizer's first state. With that state adam,
 * adagrad and their kin take large steps at first, which can ruin what was trained;
 * damo_embedding_insert_records stores the state, too. Under ftrl the weights follow from the
 * state: it is set so that steps continue from these weights.
 *
 * Errors, after which nothing has changed:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a weights_len that is not
 *   keys_len x dim; a weight that is NaN or infinite; the padding key.
 * - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED; NOT_SUPPORTED with read_only.
 */
damo_status damo_embedding_insert(const damo_embedding *embedding,
                                  const int64_t *keys,
                                  size_t keys_len,
                                  const float *weights,
                                  size_t weights_len);

/**
 * Stores whole rows, weights and optimizer state, as damo_embedding_record reads them.
 *
 * - keys: keys_len keys. Rows that exist are replaced. Of a key given twice the last one counts.
 * - rows: keys_len x row_len floats: for each key the dim weights and the optimizer's state.
 *   row_len is what damo_optimizer_row_len gives for dim.
 * - update_nums: the number of gradients that each row has had; (NULL, 0): 0 for all.
 *
 * Training continues as it would have where the rows come from. Their update_time is now.
 *
 * After an error nothing has changed.
 *
 * Errors: as damo_embedding_insert, for whole rows, and
 * - INVALID_ARGUMENT: an update_nums_len that is neither 0 nor keys_len; an update_num that is
 *   negative or above 2^56 - 1; a negative float where the optimizer's state has a sum or mean of
 *   squares.
 */
damo_status damo_embedding_insert_records(const damo_embedding *embedding,
                                          const int64_t *keys,
                                          size_t keys_len,
                                          const float *rows,
                                          size_t rows_len,
                                          const int64_t *update_nums,
                                          size_t update_nums_len);

/**
 * Reads everything stored of one row, without creating it.
 *
 * - update_time: becomes the time of the row's last write, milliseconds since 1970. May be NULL.
 * - update_num: becomes the number of gradients applied so far. May be NULL.
 * - data: gets the dim weights and the optimizer's state. data_len is what damo_optimizer_row_len
 *   gives for dim. (NULL, 0) leaves it out.
 *
 * Errors, after which nothing is written:
 * - NOT_FOUND: the key has no row.
 * - INVALID_ARGUMENT: a NULL handle; a wrong data_len; data that overlaps update_time or
 *   update_num.
 * - IO, CORRUPTION, OUT_OF_MEMORY, FORKED.
 */
damo_status damo_embedding_record(const damo_embedding *embedding,
                                  int64_t key,
                                  int64_t *update_time,
                                  int64_t *update_num,
                                  float *data,
                                  size_t data_len);

/**
 * Removes all rows of the group at once, and sets its global step to 0.
 *
 * Use it to train a new model on the same group: schedules start anew. The group keeps its dim,
 * optimizer and name. Other groups do not change.
 *
 * - Atomicity: every other call on the group, from any thread and handle, happens wholly before or
 *   wholly after. An iterator, dump or checkpoint that began before has the rows of its moment.
 * - Durability: as damo_embedding_apply_gradients.
 * - Time: it writes as little for many rows as for few, and gives back the memory that they took.
 *   It waits while changed rows are being written to disk, by damo_storage_flush for instance.
 * - Disk space: comes back at the next flush, or when files are merged (damo_storage_compact).
 * - Filters keep their counts: a key that was seen often enough gets a row at its next lookup. To
 *   count anew, attach a new filter (reload false).
 * - Increments: none can follow a dump that was made before the clear. damo_storage_dump with the
 *   number of such a dump as since returns NOT_FOUND. Make a full dump.
 *
 * Errors, after which nothing has changed (for IO see "Input and output errors" above):
 * - INVALID_ARGUMENT: a NULL handle.
 * - POISONED, IO, FORKED; NOT_SUPPORTED with read_only.
 */
damo_status damo_embedding_clear(const damo_embedding *embedding);

/**
 * Deletes the rows of keys. A later lookup makes a fresh row.
 *
 * - keys: keys_len keys. A key without a row is not an error.
 *
 * Errors, after which nothing has changed:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length.
 * - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED; NOT_SUPPORTED with read_only.
 */
damo_status damo_embedding_delete(const damo_embedding *embedding,
                                  const int64_t *keys,
                                  size_t keys_len);

/**
 * Writes the group's number, which DAMO_GROUP_BY_NAME leaves open, to *group.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle or group.
 */
damo_status damo_embedding_group(const damo_embedding *embedding, uint32_t *group);

/**
 * Writes the group's global step to *step.
 *
 * It is the number of damo_embedding_apply_gradients calls so far, over all openings, or continues
 * from what it was last set to. It drives the scheduler.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle or step.
 * - FORKED.
 */
damo_status damo_embedding_step(const damo_embedding *embedding, int64_t *step);

/**
 * Attaches a filter in place of the one that is attached; NULL attaches none.
 *
 * The embedding keeps what it needs, so the handle can be freed. A filter may serve many
 * embeddings, of any group: keys of different groups are different keys. Which filter an embedding
 * has is not stored: attach it each time the group is opened. It may get the counts of a
 * checkpoint: see damo_filter.
 *
 * From then on:
 * - damo_embedding_lookup first counts every occurrence of a key, except of the padding key. Then
 *   it makes rows for the keys that have been counted often enough (the filter's parameter count).
 *   All other keys read as their first weights, and take no row and no disk space. A lookup that
 *   fails may have counted.
 * - damo_embedding_apply_gradients drops the gradients of those other keys, which must be valid
 *   nevertheless. The global step rises as ever.
 * - A key that has a row is treated as without a filter: attaching one hides nothing trained.
 * - All other calls are as before: insert makes rows; peek, record and prefetch count nothing;
 *   delete removes a row and leaves the count.
 *
 * May be called while other threads use the embedding: calls under way may still use the filter
 * before. Attaching waits until a checkpoint that is being made or loaded is done.
 *
 * After an error nothing is attached. The filter is as it was, unless the message says that it has
 * the counts: then attach it again.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL embedding; a filter whose file is in the folder filters of a storage
 *   or checkpoint, where damo deletes files. When counts wait for this group: a filter with
 *   another capacity, count or fpr; a filter that has counts of other groups, which they would
 *   replace.
 * - CORRUPTION: the counts that wait are damaged.
 * - IO, OUT_OF_MEMORY, FORKED.
 */
damo_status damo_embedding_set_filter(const damo_embedding *embedding, const damo_filter *filter);

/**
 * Sets the group's global step, and stores it.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle; a negative step.
 * - POISONED, IO, FORKED; NOT_SUPPORTED with read_only.
 */
damo_status damo_embedding_set_step(const damo_embedding *embedding, int64_t step);

/**
 * As damo_embedding_lookup, if the group's global step is step. It is for callers that send calls
 * again: see damo_embedding_apply_gradients_once.
 *
 * - step: a number >= 0; or DAMO_ANY_STEP, which makes this damo_embedding_lookup.
 * - the others: as in damo_embedding_lookup.
 *
 * All rows are then of that step: calls that change the group wait until this one is over, and so
 * do other such lookups of the group.
 *
 * Errors: as damo_embedding_lookup, and
 * - STEP_MISMATCH: the group has another global step (the message has it). Nothing is written.
 * - INVALID_ARGUMENT: a step that is negative. Nothing is written.
 */
damo_status damo_embedding_lookup_at(const damo_embedding *embedding,
                                     int64_t step,
                                     const int64_t *keys,
                                     size_t keys_len,
                                     float *weights,
                                     size_t weights_len);

/**
 * As damo_embedding_apply_gradients, once: a call that is stored already is not made again.
 *
 * A caller that gets no answer does not know whether its call was made. It sends the call again,
 * with the same client and sequence, until it gets an answer.
 *
 * - client: a number that the caller has given itself. No other caller has it.
 * - sequence: which of the client's calls this is. It rises over all of the client's calls, on
 *   whatever groups; gaps are allowed.
 * - expected: the global step that the group must have before the call, a number >= 0, or
 *   DAMO_ANY_STEP.
 * - keys, gradients: as in damo_embedding_apply_gradients.
 * - applied: becomes true when the call was made now. It becomes false, and nothing changes, when
 *   the group already has this call of the client, or a later one; expected and gradients do not
 *   matter then. It also becomes false when the call is skipped (option non_finite), which stores
 *   nothing. May be NULL.
 *
 * The client and its sequence are stored with the call, whole or not at all. They are part of
 * checkpoints, and damo_storage_describe lists them. 30 days after its latest call on a group a
 * client is forgotten there; damo_storage_forget_client forgets it at once. damo_embedding_clear
 * forgets no client.
 *
 * A client has one call on a group under way at a time. Once a call is stored, an earlier one of
 * the client is not made any more.
 *
 * With durability "checkpoint" a kill may leave rows that are newer than what is stored of
 * clients. Load the last checkpoint then.
 *
 * A filter counts what lookups see. A lookup that is sent again is counted again.
 *
 * Errors: as damo_embedding_apply_gradients, and
 * - STEP_MISMATCH: the call is not stored, and the group has another global step than is expected
 *   (the message has it).
 * - INVALID_ARGUMENT: an expected step that is negative.
 */
damo_status damo_embedding_apply_gradients_once(const damo_embedding *embedding,
                                                uint64_t client,
                                                uint64_t sequence,
                                                int64_t expected,
                                                const int64_t *keys,
                                                size_t keys_len,
                                                const float *gradients,
                                                size_t gradients_len,
                                                bool *applied);

/**
 * Makes a step without parts. Free it with damo_step_free.
 *
 * - options: may be NULL. Names, none of which has a default; the first three are limits > 0:
 *
 * ```text
 *     clip_value      of each float of a gradient, as torch.nn.utils.clip_grad_value_
 *     clip_row_norm   of the 2-norm of each key's gradient
 *     clip_norm       of the 2-norm of the gradients of all keys together, over all groups, as
 *                     torch.nn.utils.clip_grad_norm_; damo_step_gradient_norm returns the norm
 *     non_finite      what damo_step_apply_gradients does if a gradient is NaN, infinite or beyond
 *                     1e18. "refuse": it is an error. "skip": it returns OK, no row or global step
 *                     has changed, and damo_step_skipped says 1. Without this option it skips if
 *                     all embeddings with such gradients have "skip", and otherwise refuses
 * ```
 *
 * Gradients are clipped in this order, after those of a key were added up and the options of their
 * embedding have clipped them. A gradient whose norm is beyond its limit is multiplied by
 * limit / (norm + 1e-6), as in torch.
 *
 * Returns NULL on failure and sets the last error:
 * - INVALID_ARGUMENT: a NULL storage; a wrong option.
 * - FORKED.
 */
damo_step *damo_step_new(const damo_storage *storage, const damo_params *options);

/**
 * Frees a step, and closes its storage if no other handle has it. NULL is a no-op.
 */
void damo_step_free(damo_step *step);

/**
 * Adds a part with one row a key, behind the others.
 *
 * - embedding: of the step's storage. Several parts may have one embedding, but not two embeddings
 *   of one group. It can be freed before the step.
 * - keys: keys_len keys, which are copied.
 *
 * Errors, after which the step has the parts that it had:
 * - INVALID_ARGUMENT: a NULL handle; an embedding of another storage; another embedding of a group
 *   than an earlier part's; a NULL buffer with a length.
 * - OUT_OF_MEMORY, FORKED.
 * - BUSY: another thread is using the step.
 */
damo_status damo_step_add_keys(damo_step *step,
                               const damo_embedding *embedding,
                               const int64_t *keys,
                               size_t keys_len);

/**
 * Adds a part with one row a key, as damo_step_add_keys does, with how often each key occurs.
 *
 * - embedding, keys: as for damo_step_add_keys.
 * - occurrences: keys_len numbers, 1 or more each, which are copied.
 *
 * damo_step_lookup and damo_step_peek count every occurrence, as damo_embedding_lookup_counted
 * does. damo_step_apply_gradients takes one gradient a key: the sum of those of its occurrences
 * (damo_gradients_sum). With the option duplicates "mean" it divides the sum by their number, over
 * all parts with the key. So rows are those of parts with every occurrence.
 *
 * Errors, after which the step has the parts that it had:
 * - INVALID_ARGUMENT: those of damo_step_add_keys; an occurrences_len that is not keys_len; an
 *   occurrence of 0.
 * - OUT_OF_MEMORY, FORKED.
 * - BUSY: another thread is using the step.
 */
damo_status damo_step_add_keys_counted(damo_step *step,
                                       const damo_embedding *embedding,
                                       const int64_t *keys,
                                       size_t keys_len,
                                       const uint32_t *occurrences,
                                       size_t occurrences_len);

/**
 * Adds a part with one row a bag. A bag is some consecutive keys. Their rows are pooled to one, as
 * torch.nn.functional.embedding_bag does.
 *
 * - embedding: as for damo_step_add_keys. The padding key is left out of bags: it is in no sum,
 *   mean or largest value, and gets no gradient.
 * - keys: keys_len keys. A key may occur several times.
 * - offsets: the index of each bag's first key, in ascending order. The first is 0. Two that are
 *   equal make a bag without keys, whose row is zeros.
 * - has_last_offset: whether offsets has one more number behind those of the bags: keys_len.
 * - pooling: "sum", "mean" or "max". If several keys of a bag have the largest value of a column,
 *   the first one counts.
 * - weights: keys_len floats that rows are multiplied with, for "sum" only; or NULL.
 *
 * Keys, offsets and weights are copied. Sums are float32, added in the order of keys.
 *
 * Errors, after which the step has the parts that it had:
 * - INVALID_ARGUMENT: those of damo_step_add_keys; offsets that are not those of bags (the message
 *   has the index and value); an unknown pooling; weights with another pooling than "sum".
 * - OUT_OF_MEMORY, FORKED.
 * - BUSY: another thread is using the step.
 */
damo_status damo_step_add_bags(damo_step *step,
                               const damo_embedding *embedding,
                               const int64_t *keys,
                               size_t keys_len,
                               const int64_t *offsets,
                               size_t offsets_len,
                               bool has_last_offset,
                               const char *pooling,
                               const float *weights);

/**
 * Writes the rows of all parts. Keys without a row get one, as in damo_embedding_lookup.
 *
 * - outputs: parts_len of them, in the order of the parts. outputs[i] gets the rows of part i, of
 *   dim floats each: one for each key, or one for each bag. With a stride they may be columns of
 *   one matrix.
 * - parts_len: the number of parts.
 *
 * A key that a filter does not admit reads as its initial weights, also in a bag.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle; another number of outputs than parts; outputs whose number of
 *   rows is not that of keys or bags; a stride below dim; overlapping rows; a NULL buffer with a
 *   length. Nothing is written.
 * - BUSY: another thread is using the step.
 * - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED. Outputs may be partly written.
 */
damo_status damo_step_lookup(damo_step *step, const damo_rows *outputs, size_t parts_len);

/**
 * Writes the rows of all parts as damo_step_lookup does, but creates none: a key without a row
 * reads as zeros, also in a bag. No filter counts the keys.
 *
 * - outputs, parts_len: as for damo_step_lookup.
 *
 * Errors: as damo_step_lookup, but never POISONED.
 */
damo_status damo_step_peek(damo_step *step, const damo_rows *outputs, size_t parts_len);

/**
 * Steps all groups with the gradients of the parts' rows, as one transaction.
 *
 * - gradients: parts_len of them, in the order of the parts: the gradients of what
 *   damo_step_lookup writes, in the same layout. They are only read, and may overlap.
 * - parts_len: the number of parts.
 *
 * A bag's gradient goes to its keys. With pooling "sum" each gets it, times its weight; with
 * "mean" each gets it divided by their number; with "max" each column goes to the key that had the
 * largest value in the latest damo_step_lookup or damo_step_peek of these parts. The gradients of
 * a key are added up over all bags and parts; with the option duplicates "mean", their mean is
 * taken. Then each key takes one optimizer step.
 *
 * The global step of each group with a part rises by one. All groups change together or not at
 * all: in the journal (one entry and, with durability "power", one fsync), in checkpoints, dumps
 * and iterators. A lookup meanwhile may see some rows changed and others not.
 *
 * With the option non_finite "skip" gradients that are NaN, infinite or beyond 1e18 are no error:
 * nothing changes, and damo_step_skipped says 1.
 *
 * Keys without a row get one first, and those that a filter does not admit are left out, as in
 * damo_embedding_apply_gradients.
 *
 * Errors, after which nothing has changed in any group:
 * - INVALID_ARGUMENT: a NULL handle; another number of gradients than parts; gradients whose
 *   number of rows is not that of keys or bags; a stride below dim; a NULL buffer with a length; a
 *   float that is NaN, infinite or beyond 1e18, if it goes to a key (the message has its part, row
 *   and column); gradients of a key that add up to more than 1e18; pooling "max" without a lookup
 *   or peek since the part was added.
 * - NOT_SUPPORTED: the storage is open with read_only.
 * - BUSY: another thread is using the step.
 * - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
 */
damo_status damo_step_apply_gradients(damo_step *step,
                                      const damo_rows *gradients,
                                      size_t parts_len);

/**
 * Writes the 2-norm of the gradients of all keys together to *norm: that of the latest
 * damo_step_apply_gradients, before the option clip_norm made them smaller, and after the other
 * limits did; NaN if that call was skipped. It is added up in double precision, over the sums of
 * each key. For the norm alone, give a limit such as 1e300.
 *
 * Errors, after which nothing is written:
 * - INVALID_ARGUMENT: a NULL handle or norm; a step without the option clip_norm; the latest
 *   damo_step_apply_gradients has failed, or its call was stored already, or there was none.
 * - BUSY: another thread is using the step.
 */
damo_status damo_step_gradient_norm(damo_step *step, double *norm);

/**
 * Writes 1 to *skipped if the option non_finite "skip" made the latest damo_step_apply_gradients
 * skip its gradients. Writes 0 if that call applied them or failed, or if there was none.
 *
 * A trainer that scales its loss makes the scale smaller after a skipped step. damo_storage_stat
 * has the number of skipped steps, as steps_skipped.
 *
 * Errors, after which nothing is written:
 * - INVALID_ARGUMENT: a NULL handle or skipped.
 * - BUSY: another thread is using the step.
 */
damo_status damo_step_skipped(damo_step *step, uint8_t *skipped);

/**
 * As damo_step_lookup, if the parts' groups are at the given global steps. It is for callers that
 * send calls again: see damo_step_apply_gradients_once.
 *
 * - steps: parts_len global steps, in the order of the parts, each a number >= 0 or DAMO_ANY_STEP.
 *   NULL: any. Parts of one group have the same step, or DAMO_ANY_STEP.
 * - outputs, parts_len: as in damo_step_lookup.
 *
 * All rows of a group with a step are then of that step: calls that change the group wait until
 * this one is over, and so do other such lookups of the group.
 *
 * Errors: as damo_step_lookup, and
 * - STEP_MISMATCH: a group has another global step (the message has both). Nothing is written.
 * - INVALID_ARGUMENT: a step that is negative; different steps for one group. Nothing is written.
 */
damo_status damo_step_lookup_at(damo_step *step,
                                const int64_t *steps,
                                const damo_rows *outputs,
                                size_t parts_len);

/**
 * As damo_step_apply_gradients, once: a call that is stored already is not made again.
 *
 * A caller that gets no answer does not know whether its call was made. It sends the call again,
 * with the same client and sequence, until it gets an answer.
 *
 * - client: a number that the caller has given itself. No other caller has it.
 * - sequence: which of the client's calls this is. It rises over all of the client's calls, on
 *   whatever groups; gaps are allowed.
 * - expected: parts_len global steps, in the order of the parts: the steps that the groups must
 *   have before the call, each a number >= 0 or DAMO_ANY_STEP. NULL: any. Parts of one group have
 *   the same step, or DAMO_ANY_STEP.
 * - gradients, parts_len: as in damo_step_apply_gradients.
 * - applied: becomes true when the call was made now. It becomes false, and nothing changes, when
 *   the groups already have this call of the client, or a later one; expected and gradients do not
 *   matter then. It also becomes false when the call is skipped (see damo_step_skipped), which
 *   stores nothing. May be NULL.
 *
 * The client and its sequence are stored with the call, whole or not at all, for each group. They
 * are part of checkpoints, and damo_storage_describe lists them. 30 days after its latest call on
 * a group a client is forgotten there; damo_storage_forget_client forgets it at once.
 * damo_embedding_clear forgets no client.
 *
 * A client has one call on a group under way at a time. Once a call is stored, an earlier one of
 * the client is not made any more.
 *
 * With durability "checkpoint" a kill may leave rows that are newer than what is stored of
 * clients. Load the last checkpoint then.
 *
 * Errors: as damo_step_apply_gradients, and
 * - STEP_MISMATCH: the call is not stored, and a group has another global step than is expected
 *   (the message has both).
 * - INVALID_ARGUMENT: an expected step that is negative; different ones for one group; a sequence
 *   that only some of the groups have stored, or a later one.
 */
damo_status damo_step_apply_gradients_once(damo_step *step,
                                           uint64_t client,
                                           uint64_t sequence,
                                           const int64_t *expected,
                                           const damo_rows *gradients,
                                           size_t parts_len,
                                           bool *applied);

/**
 * Removes all parts of a step. Their memory is kept for the next ones.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle.
 * - BUSY: another thread is using the step.
 */
damo_status damo_step_clear(damo_step *step);

/**
 * Frees a pin. Rows that were not committed stay as they are in the storage. NULL is a no-op.
 */
void damo_pin_free(damo_pin *pin);

/**
 * Changes the pinned rows in the storage as the caller has changed them. The pin is then without
 * rows: what damo_rows_pin wrote to rows is of no use any more.
 *
 * - conflicts: what becomes of a row that another call has changed since it was pinned. NULL is
 *   "add". A row that has the same floats again counts as not changed.
 *
 * ```text
 *     add       each float gets what the caller has added to it: now + (committed - pinned). So no
 *               change is lost, whoever made it. A row that was deleted begins again with its
 *               first floats, to which the changes are added
 *     refuse    BUSY: pin the rows again
 * ```
 *
 * A row that nobody else has changed becomes what the caller has made of it, bit for bit. A key
 * without a row gets one. The padding key and keys that the filter does not admit are left out.
 * Each row counts an update (update_num) and gets the present time, whether it was changed or not.
 * The group's global step stays.
 *
 * All rows change together or not at all, and survive what those of damo_embedding_apply_gradients
 * survive. Commits of up to 256 keys go on side by side with other calls on the group. Three kinds
 * have the group alone for a moment: larger ones, those of rows that have left memory since, and
 * those with durability "power".
 *
 * Errors, after which nothing has changed, and the rows are still pinned (for IO see "Input and
 * output errors" above):
 * - INVALID_ARGUMENT: a NULL handle; a pin without rows; an unknown word; a row with a float that
 *   is NaN or infinite, or negative where the optimizer's state has a sum or mean of squares.
 * - BUSY: a row was changed, and conflicts is "refuse" (the message names its key); another thread
 *   is using the pin.
 * - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
 */
damo_status damo_pin_commit(damo_pin *pin, const char *conflicts);

/**
 * Begins to read all rows as they are now. Free the iterator with damo_iterator_free.
 *
 * - group: a number in 0..65535, or DAMO_ALL_GROUPS.
 *
 * Later changes are not seen. Other calls go on.
 *
 * Returns NULL on failure and sets the last error:
 * - INVALID_ARGUMENT: a NULL handle; a group above 65535.
 * - NOT_FOUND: the group is not registered (the message names those that are).
 * - IO, OUT_OF_MEMORY, POISONED, FORKED.
 */
damo_iterator *damo_iterator_new(const damo_storage *storage, uint32_t group);

/**
 * Frees an iterator. NULL is a no-op.
 */
void damo_iterator_free(damo_iterator *iterator);

/**
 * Reads the next row.
 *
 * - found: becomes true, or false at the end, where nothing else is written.
 *
 * Every other pointer may be NULL:
 * - group, key: become those of the row.
 * - update_time: becomes the time of the row's last write, milliseconds since 1970.
 * - update_num: becomes the number of gradients applied so far.
 * - dim: becomes the number of weights.
 * - data: becomes the address of *data_len floats: the dim weights, then the optimizer's state (m
 *   or z, v or n, v_max). They belong to the iterator and are valid until its next use or its end.
 * - data_len: becomes the number of these floats.
 *
 * After IO, CORRUPTION and OUT_OF_MEMORY every later call returns the same error, since the rows
 * that come next are not known.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL iterator or found.
 * - CORRUPTION: a row is damaged (the message names it).
 * - IO, OUT_OF_MEMORY, FORKED.
 */
damo_status damo_iterator_next(const damo_iterator *iterator,
                               bool *found,
                               uint32_t *group,
                               int64_t *key,
                               int64_t *update_time,
                               int64_t *update_num,
                               size_t *dim,
                               const float **data,
                               size_t *data_len);

/**
 * Opens the table in the file path. Free it with damo_table_free.
 *
 * It maps the file into memory and reads all of it once, to compare it with its checksums: several
 * GB a second once it is in memory.
 *
 * A new file may replace the file, as a dump does, or the file may be deleted: the handle keeps
 * what it has opened. Nobody may write to the file or truncate it in place: that ends the process
 * with a signal, or gives wrong weights.
 *
 * Returns NULL on failure and sets the last error:
 * - NOT_FOUND: no such file.
 * - INVALID_ARGUMENT: a NULL or empty path; a directory; a file that is no table; an increment,
 *   which damo_table_merge makes a table of.
 * - CORRUPTION: the file is empty, truncated or changed (the message says where).
 * - NOT_SUPPORTED: a table of a later version.
 * - IO: the file cannot be read.
 * - OUT_OF_MEMORY.
 */
damo_table *damo_table_open(const char *path);

/**
 * Frees a table. NULL is a no-op.
 */
void damo_table_free(damo_table *table);

/**
 * Writes the weights of keys into weights. A key without a row reads as zeros.
 *
 * - keys: keys_len keys of group.
 * - weights: keys_len x dim floats, in key order.
 * - found: keys_len bytes, or NULL. Each becomes 1 for a key with a row and 0 for one without.
 *
 * Errors, after which nothing is written:
 * - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; overlapping buffers; a
 *   weights_len that is not keys_len x dim.
 * - NOT_FOUND: the table does not have the group (the message lists those it has).
 */
damo_status damo_table_lookup(const damo_table *table,
                              uint32_t group,
                              const int64_t *keys,
                              size_t keys_len,
                              float *weights,
                              size_t weights_len,
                              uint8_t *found);

/**
 * Writes the number of weights in a row of the group to *dim.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle or dim.
 * - NOT_FOUND: the table does not have the group (the message lists those it has).
 */
damo_status damo_table_dim(const damo_table *table, uint32_t group, size_t *dim);

/**
 * Writes the number of rows of the group to *rows.
 *
 * Errors: as damo_table_dim, for rows.
 */
damo_status damo_table_rows(const damo_table *table, uint32_t group, uint64_t *rows);

/**
 * Writes the table's number to *number: the sequence number of the last call that it has.
 *
 * An increment since this number can be merged into the table.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle or number.
 */
damo_status damo_table_number(const damo_table *table, uint64_t *number);

/**
 * Merges a table and the increment after it into a new table.
 *
 * - base: a table.
 * - increment: the changes since base's number. Merge several increments one after the other, in
 *   order.
 * - path: the file to write. It may be base: handles that have base open keep what they have
 *   opened.
 *
 * The new table is, byte for byte, what a dump of the whole storage would have been. It appears
 * under its name only when it is whole. Merging needs some tens of MB of memory, however large the
 * files are.
 *
 * After an error the file at path is as it was.
 *
 * Errors: as damo_table_open for base and increment, but increment must be an increment, and
 * - INVALID_ARGUMENT: increment continues another number (the message names both); value types or
 *   dims differ; a path that cannot be a file's, or is inside a storage's directory.
 * - BUSY: path is being written, here or in another process.
 * - IO.
 */
damo_status damo_table_merge(const char *base, const char *increment, const char *path);

/**
 * Lends the host's threads to all storages of the process that have no executor of their own.
 *
 * Large calls then run on these threads. Work that may have to wait for another call, such as
 * apply_gradients on a group that others are changing, still runs on damo's own. Lend threads if
 * the host computes with a pool whose threads spin while they wait (OpenMP, TBB, PyTorch): a
 * second pool beside it makes both slow. Calls have the same results, to the bit.
 *
 * - run: NULL takes the threads back. When this returns, the previous executor is no longer used,
 *   and its context may be freed.
 * - context: passed to run.
 * - threads: how many threads run has at most; 0: as many as the option threads of a storage says.
 *   A call never uses more than that option says, and uses none of the host's where it says 1.
 *
 * Only calls that the host makes use the executor. damo's background threads never do. A forked
 * child uses damo's threads. damo_executor_openmp is an executor for OpenMP.
 *
 * After an error the previous executor stays set.
 *
 * Errors:
 * - INVALID_ARGUMENT: threads above 1024.
 * - FORKED: run is not NULL, and threads were lent before this process was forked.
 */
damo_status damo_executor_set(damo_executor run, void *context, size_t threads);

/**
 * An executor for OpenMP, for hosts that are not compiled with it. Pass this function as run, and
 * the address of GOMP_parallel as context. GNU's, LLVM's and Intel's libraries have it.
 *
 * If the host calls damo inside a parallel region, the calling thread does the work alone, unless
 * nested regions are on. While omp_set_num_threads says 1, damo's own threads are used.
 */
void damo_executor_openmp(void *context, size_t threads, damo_work work, void *work_context);

/**
 * Writes the key of a string to *key: XXH64 with seed 0, as a signed number of the same bits.
 *
 * - bytes: bytes_len bytes, of any values.
 *
 * The key is the same in every language and release. Among a billion strings, the probability that
 * any two get the same key is about 3 %.
 *
 * Errors, after which nothing is written:
 * - INVALID_ARGUMENT: a NULL buffer with a length; a NULL key; a key that lies within bytes.
 */
damo_status damo_key_hash(const uint8_t *bytes, size_t bytes_len, int64_t *key);

/**
 * Writes the keys of many strings, as damo_key_hash, to keys.
 *
 * - bytes: the strings, one after the other.
 * - ends: ends_len numbers. String i ends before byte ends[i], where the next one begins.
 * - keys: ends_len keys.
 *
 * After an error nothing is written.
 *
 * Errors: as damo_key_hash, and
 * - INVALID_ARGUMENT: a keys_len that is not ends_len; an end that is below the one before it or
 *   above bytes_len; keys that overlap ends or bytes.
 */
damo_status damo_key_hash_batch(const uint8_t *bytes,
                                size_t bytes_len,
                                const uint64_t *ends,
                                size_t ends_len,
                                int64_t *keys,
                                size_t keys_len);

/**
 * Writes to *shard which of so many shards owns a key: 0 to shards - 1.
 *
 * - shards: 1 to 65536.
 *
 * This is for callers that divide the keys of a table over several storages. The shard is a
 * function of the key and the number of shards, the same in every language and release:
 *
 * ```text
 *     h     = XXH64 of the key's 8 bytes, little-endian, with seed 42
 *     shard = (h / 2^32) x shards / 2^32, each rounded down
 * ```
 *
 * docs/formats.md has examples. Within a shard, damo spreads keys as evenly as if there were one.
 * With twice as many shards, the keys of shard s are those of 2s and 2s + 1.
 *
 * Errors, after which nothing is written:
 * - INVALID_ARGUMENT: a number of shards that is not 1 to 65536; a NULL shard.
 */
damo_status damo_key_shard(int64_t key, uint32_t shards, uint32_t *shard);

/**
 * Writes the shards that own keys, as damo_key_shard, to owners.
 *
 * - keys: keys_len keys.
 * - shards: 1 to 65536.
 * - owners: keys_len numbers, 0 to shards - 1.
 *
 * Errors, after which nothing is written:
 * - INVALID_ARGUMENT: a number of shards that is not 1 to 65536; a NULL buffer with a length; an
 *   owners_len that is not keys_len; overlapping buffers.
 */
damo_status damo_key_shard_batch(const int64_t *keys,
                                 size_t keys_len,
                                 uint32_t shards,
                                 uint32_t *owners,
                                 size_t owners_len);

/**
 * Writes each key of a batch once, grouped by the shard that owns it (damo_key_shard).
 *
 * - keys: keys_len keys, at most 2^32 - 2.
 * - shards: 1 to 65536.
 * - distinct_keys: room for keys_len keys. Gets those of shard 0, then those of shard 1, and so
 *   on; within a shard in the order in which they first occur in keys.
 * - starts: shards + 1 numbers. The keys of shard s are distinct_keys[starts[s]] to
 *   distinct_keys[starts[s + 1] - 1]. starts[shards] is the number of distinct keys.
 * - positions: keys_len numbers. keys[i] is distinct_keys[positions[i]].
 * - occurrences: room for keys_len numbers. Gets how often each distinct key occurs in keys.
 *
 * A trainer sends each shard its distinct keys, and gets a row for each. damo_rows_gather makes a
 * row for each key of them, by the positions. damo_gradients_sum makes the gradients of distinct
 * keys of those of keys. damo_embedding_lookup_counted takes the occurrences, so that a filter
 * counts each of them. For distinct keys only, call it with one shard.
 *
 * Room that is not needed is left as it is. The same arguments give the same result. The call
 * works on the caller's thread alone. It allocates up to 16 bytes a key, and frees them.
 *
 * Errors, after which nothing is written:
 * - INVALID_ARGUMENT: a number of shards that is not 1 to 65536; a NULL buffer with a length; a
 *   starts_len that is not shards + 1, a positions_len that is not keys_len, or less room than
 *   said above; overlapping buffers; too many keys.
 * - OUT_OF_MEMORY.
 */
damo_status damo_keys_partition(const int64_t *keys,
                                size_t keys_len,
                                uint32_t shards,
                                int64_t *distinct_keys,
                                size_t distinct_keys_len,
                                uint64_t *starts,
                                size_t starts_len,
                                uint32_t *positions,
                                size_t positions_len,
                                uint32_t *occurrences,
                                size_t occurrences_len);

/**
 * Copies the row at each position: row i of outputs becomes row positions[i] of rows.
 *
 * - rows: rows of dim floats. The next row begins rows_stride floats after the beginning of a row.
 *   rows_len says how many there are; what lies behind the last row may be missing.
 * - dim: 1 to 262144.
 * - positions: positions_len numbers, each that of a row, as damo_keys_partition writes them.
 * - outputs: positions_len rows of dim floats, with their stride and length likewise. The floats
 *   between them are neither read nor written.
 *
 * With a stride, outputs may be some columns of a matrix, such as those of one feature: pass the
 * address of the first one. Several threads may fill different columns of it at once. The call
 * works on the caller's thread alone.
 *
 * Errors, after which nothing is written:
 * - INVALID_ARGUMENT: a position that is no row's (the message has its index and value); a wrong
 *   dim; a stride below dim; a length that ends within a row; another number of outputs than
 *   positions; a NULL buffer with a length; overlapping buffers, also where their rows do not.
 */
damo_status damo_rows_gather(const float *rows,
                             size_t rows_len,
                             size_t rows_stride,
                             size_t dim,
                             const uint32_t *positions,
                             size_t positions_len,
                             float *outputs,
                             size_t outputs_len,
                             size_t outputs_stride);

/**
 * Pins rows: copies them for the caller to change, until damo_pin_commit brings them back.
 *
 * - keys: keys_len keys, at most 2^20.
 * - rows: room for keys_len addresses. Gets the address of each key's row: row_len floats, the dim
 *   weights and then the optimizer's state. row_len is what damo_optimizer_row_len gives for dim.
 *   A key given twice gives the same address twice. The rows lie one behind the other, in the
 *   order in which their keys first occur in keys.
 * - created: keys_len bytes: 1 for a key whose row the commit makes, 0 for others. May be NULL.
 * - pin: the address of a pin, or of NULL, which becomes a new pin. A pin that has rows already
 *   loses them, and its memory is used again: a trainer has one pin a thread. Free it with
 *   damo_pin_free.
 *
 * A key without a row gets the floats that its row begins with. The padding key reads as zeros. A
 * filter counts the keys as in damo_embedding_lookup. Nothing is made and nothing is locked before
 * the commit: other calls go on, any number of pins can have the same rows, and a pin that is not
 * committed has changed nothing.
 *
 * The addresses are valid until the pin is committed, used again or freed. They belong to the pin,
 * and only one thread at a time may use them.
 *
 * Errors, after which the pin may have lost the rows that it had:
 * - INVALID_ARGUMENT: a NULL handle or pin; a NULL buffer with a length; overlapping buffers; too
 *   many keys.
 * - NOT_SUPPORTED: the storage is open with read_only.
 * - BUSY: another thread is using the pin.
 * - OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
 */
damo_status damo_rows_pin(const damo_embedding *embedding,
                          const int64_t *keys,
                          size_t keys_len,
                          float **rows,
                          uint8_t *created,
                          damo_pin **pin);

/**
 * Sums the gradients at each position: row p of sums becomes the sum of those rows i of gradients
 * whose positions[i] is p, or zeros if there are none.
 *
 * - gradients: positions_len rows of dim floats. The next row begins gradients_stride floats after
 *   the beginning of a row. What lies behind the last row may be missing from gradients_len.
 * - dim: 1 to 262144.
 * - positions: positions_len numbers, each that of a row of sums, as damo_keys_partition writes
 *   them.
 * - sums: rows of dim floats, with their stride and length likewise. sums_len says how many there
 *   are. The floats between them are neither read nor written.
 *
 * Sums are float32, added in the order of gradients, as damo adds those of a key that occurs
 * several times. So damo_embedding_apply_gradients with the distinct keys and these sums gives the
 * same rows, bit for bit, as with all keys and gradients that it accepts when the option
 * duplicates is "sum". damo_embedding_sum_gradients does the same for keys that nobody has made
 * distinct.
 *
 * Floats are not checked. A NaN goes into its sum, which damo_embedding_apply_gradients refuses.
 * Gradients beyond 1e18 may add up to one that it accepts. The call works on the caller's thread
 * alone.
 *
 * Errors, after which nothing is written:
 * - INVALID_ARGUMENT: a position that is no sum's (the message has its index and value); a wrong
 *   dim; a stride below dim; a length that ends within a row; another number of gradients than
 *   positions; a NULL buffer with a length; overlapping buffers, also where their rows do not.
 * - OUT_OF_MEMORY.
 */
damo_status damo_gradients_sum(const float *gradients,
                               size_t gradients_len,
                               size_t gradients_stride,
                               size_t dim,
                               const uint32_t *positions,
                               size_t positions_len,
                               float *sums,
                               size_t sums_len,
                               size_t sums_stride);

/**
 * Fails on purpose, as a bug in damo would, to test a program's own error handling. Returns PANIC.
 *
 * - embedding: the panic happens while its group is being written. The group then refuses writes,
 *   this call among them, with POISONED until its storage is opened again. Nothing stored is lost.
 *   NULL: the call only panics.
 *
 * Errors:
 * - FORKED: in a forked child, with an embedding.
 */
damo_status damo_test_panic(const damo_embedding *embedding);

/**
 * Sets the clock of this storage, by which rows are stamped and expire, to test expiry.
 *
 * - time_ms: milliseconds since 1970, at most 2^48 - 1. The clock stands still until the next call
 *   of this function. 0 gives the storage the system's clock again.
 *
 * A storage's time never goes back: after a time was used, an earlier one counts as that time.
 *
 * Errors:
 * - INVALID_ARGUMENT: a NULL handle; a time that is negative or above 2^48 - 1.
 * - FORKED.
 */
damo_status damo_test_set_clock(const damo_storage *storage, int64_t time_ms);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DAMO_H */
