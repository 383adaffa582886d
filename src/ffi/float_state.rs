//! The host's floating-point state: it does not change what damo computes, and damo does not change
//! it.
//!
//! Pascal, Fortran and some Lisps turn traps on: a NaN that damo should refuse would raise a
//! signal. Other hosts round upwards, or flush denormals to zero: rows would differ from those of
//! other machines. So each call, and each thread that it starts, runs in the state in which a C
//! program starts.

/// A thread's floating-point state as the host had set it.
#[derive(Clone, Copy)]
pub(super) struct HostState {
    #[cfg(target_arch = "x86_64")]
    sse: u32,
    /// The x87 environment; None for the usual one.
    #[cfg(target_arch = "x86_64")]
    x87: Option<[u32; 7]>,
    #[cfg(target_arch = "aarch64")]
    control: u64,
    /// The exceptions so far, which fetestexcept tells.
    #[cfg(target_arch = "aarch64")]
    seen: u64,
}

/// The caller's state, which is restored on drop. Until then damo's is in force.
pub(super) struct FloatState(HostState);

/// While this lives, the host's state is in force. Drop brings damo's back.
pub(super) struct HostStateGuard;

impl FloatState {
    /// What drop will restore.
    pub(super) fn of_host(&self) -> HostState {
        self.0
    }
}

impl HostState {
    /// Puts this state in force, within a call of damo, until the guard is dropped.
    pub(super) fn enter(self) -> HostStateGuard {
        drop(FloatState(self));
        HostStateGuard
    }
}

impl Drop for HostStateGuard {
    fn drop(&mut self) {
        std::mem::forget(FloatState::enter());
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::asm;

    use super::{FloatState, HostState};

    /// All exceptions masked, none raised, rounding to nearest.
    const SSE: u32 = 0x1f80;
    /// The same, with 64 bits of mantissa.
    static X87: u16 = 0x037f;
    /// The bits of MXCSR that say which exceptions were raised.
    const SSE_FLAGS: u32 = 0x3f;

    impl FloatState {
        #[inline]
        pub(in crate::ffi) fn enter() -> FloatState {
            let (mut sse, mut x87) = (0u32, 0u16);
            // SAFETY: they store a register each in the variable whose address they get.
            unsafe {
                asm!("stmxcsr [{}]", in(reg) &raw mut sse, options(nostack, preserves_flags));
                asm!("fnstcw [{}]", in(reg) &raw mut x87, options(nostack, preserves_flags));
            }
            if sse & !SSE_FLAGS != SSE {
                load_sse(SSE);
            }
            let x87 = (x87 != X87).then(|| {
                let mut environment = [0u32; 7];
                // SAFETY: stores 28 bytes, and masks all exceptions; then loads two.
                unsafe {
                    asm!(
                        "fnstenv [{}]",
                        in(reg) &raw mut environment,
                        options(nostack, preserves_flags),
                    );
                    asm!("fldcw [{}]", in(reg) &raw const X87, options(nostack, preserves_flags));
                }
                environment
            });
            FloatState(HostState { sse, x87 })
        }
    }

    impl Drop for FloatState {
        #[inline]
        fn drop(&mut self) {
            // This also forgets the exceptions that the call has raised: the caller did not raise
            // them.
            load_sse(self.0.sse);
            if let Some(environment) = &self.0.x87 {
                // SAFETY: loads what `enter` has stored.
                unsafe {
                    asm!(
                        "fldenv [{}]",
                        in(reg) environment.as_ptr(),
                        options(nostack, preserves_flags),
                    );
                }
            }
        }
    }

    #[inline]
    fn load_sse(sse: u32) {
        // SAFETY: the value is the usual one, or came from the register: no reserved bit is set.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const sse, options(nostack, preserves_flags)) }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use std::arch::asm;

    use super::{FloatState, HostState};

    impl FloatState {
        #[inline]
        pub(in crate::ffi) fn enter() -> FloatState {
            let (control, seen): (u64, u64);
            // SAFETY: they read registers that every program may read.
            unsafe {
                asm!("mrs {}, fpcr", out(reg) control, options(nomem, nostack, preserves_flags));
                asm!("mrs {}, fpsr", out(reg) seen, options(nomem, nostack, preserves_flags));
            }
            if control != 0 {
                load(0);
            }
            FloatState(HostState { control, seen })
        }
    }

    impl Drop for FloatState {
        #[inline]
        fn drop(&mut self) {
            if self.0.control != 0 {
                load(self.0.control);
            }
            // This forgets the exceptions that the call has raised: the caller did not raise them.
            // SAFETY: the value came from the register.
            unsafe {
                asm!("msr fpsr, {}", in(reg) self.0.seen, options(nomem, nostack, preserves_flags))
            };
        }
    }

    fn load(control: u64) {
        // SAFETY: the value is the usual one, or came from the register.
        unsafe { asm!("msr fpcr, {}", in(reg) control, options(nomem, nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
impl FloatState {
    pub(super) fn enter() -> FloatState {
        FloatState(HostState {})
    }
}
