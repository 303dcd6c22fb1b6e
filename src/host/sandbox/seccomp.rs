//! The system call filter of the sandbox (seccomp(2)).
//!
//! In: nothing. Out: a filter on this process and everything it starts. Syncing answers 0 at once: the scratch
//! filesystem needs none, and package managers sync after every file. What reaches past the sandbox, or what the
//! kernel keeps apart from namespaces (keys, its log, its modules), answers EPERM.

use crate::error::{OrCannot, Result};

/// Calls that do nothing and succeed.
const SILENT: [i64; 6] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_msync,
    libc::SYS_sync_file_range,
];

/// Calls that fail with EPERM, whatever capabilities a process has.
const REFUSED: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
];

/// [`SILENT`] for 32-bit programs (Linux, arch/x86/entry/syscalls/syscall_32.tbl).
#[cfg(target_arch = "x86_64")]
const SILENT_32: [u32; 6] = [118, 148, 36, 344, 144, 314];

/// [`REFUSED`] for 32-bit programs, in numerical order: mount, umount, stime, ptrace, acct, umount2, settimeofday,
/// swapon, reboot, ioperm, syslog, iopl, swapoff, adjtimex, init_module, delete_module, quotactl, pivot_root,
/// clock_settime, kexec_load, add_key, request_key, keyctl, unshare, perf_event_open, fanotify_init, open_by_handle_at,
/// clock_adjtime, setns, process_vm_readv, process_vm_writev, finit_module, bpf, userfaultfd, clock_settime64,
/// clock_adjtime64, io_uring_setup, io_uring_enter, io_uring_register, open_tree, move_mount, fsopen, fsconfig, fsmount,
/// fspick, pidfd_getfd, mount_setattr, quotactl_fd.
#[cfg(target_arch = "x86_64")]
const REFUSED_32: [u32; 48] = [
    21, 22, 25, 26, 51, 52, 79, 87, 88, 101, 103, 110, 115, 124, 128, 129, 131, 217, 264, 283, 286, 287, 288, 310, 336,
    338, 342, 343, 346, 347, 348, 350, 357, 374, 404, 405, 425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442, 443,
];

/// Offsets in `struct seccomp_data` (linux/seccomp.h); the low half of the first argument, little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
/// `AUDIT_ARCH_I386` (linux/audit.h).
#[cfg(target_arch = "x86_64")]
const COMPAT: u32 = 0x4000_0003;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

fn fail_with(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

/// Puts the filter on this process. It needs CAP_SYS_ADMIN, and so no `no_new_privs`, which would disarm the setuid
/// programs of the image. Everything it starts inherits it.
pub(super) fn install() -> Result<()> {
    let program = program();
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program during the call (seccomp(2)).
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    let result = if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    result.or_cannot(|| "install the system call filter")
}

/// Classic BPF. Each test is followed by its answer, so that no jump is longer than two instructions except between
/// the architectures.
fn program() -> Vec<libc::sock_filter> {
    let mut native = vec![load(NUMBER)];
    // The x32 calls are a second door to the same calls.
    #[cfg(target_arch = "x86_64")]
    native.extend([jump(libc::BPF_JGE, 0x4000_0000, 0, 1), answer(fail_with(libc::ENOSYS))]);
    for number in SILENT {
        native.extend(when(number as u32, fail_with(0)));
    }
    for number in REFUSED {
        native.extend(when(*number as u32, fail_with(libc::EPERM)));
    }
    // A user namespace would give back the capabilities; clone3 hides its flags, so programs must fall back to clone.
    native.extend(when(libc::SYS_clone3 as u32, fail_with(libc::ENOSYS)));
    let new_user = [
        load(FIRST_ARGUMENT),
        jump(libc::BPF_JSET, libc::CLONE_NEWUSER as u32, 0, 1),
        answer(fail_with(libc::EPERM)),
        answer(ALLOW),
    ];
    for number in [libc::SYS_unshare, libc::SYS_clone] {
        native.push(jump(libc::BPF_JEQ, number as u32, 0, new_user.len() as u8));
        native.extend(new_user);
    }
    native.push(answer(ALLOW));

    let mut whole = vec![load(ARCHITECTURE), jump(libc::BPF_JEQ, NATIVE, 0, 1), skip(other().len() as u32)];
    // The order is: [other architectures][native]; the native test above falls through to the skip over the first.
    whole.extend(other());
    whole.extend(native);
    whole
}

/// What programs of another architecture than the kernel's own get.
fn other() -> Vec<libc::sock_filter> {
    let mut other = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        other.extend([jump(libc::BPF_JEQ, COMPAT, 1, 0), answer(fail_with(libc::ENOSYS)), load(NUMBER)]);
        for number in SILENT_32 {
            other.extend(when(number, fail_with(0)));
        }
        for number in REFUSED_32 {
            other.extend(when(number, fail_with(libc::EPERM)));
        }
        const CLONE: u32 = 120;
        const CLONE3: u32 = 435;
        other.extend(when(CLONE3, fail_with(libc::ENOSYS)));
        other.extend([
            jump(libc::BPF_JEQ, CLONE, 0, 3),
            load(FIRST_ARGUMENT),
            jump(libc::BPF_JSET, libc::CLONE_NEWUSER as u32, 0, 1),
            answer(fail_with(libc::EPERM)),
            answer(ALLOW),
        ]);
    }
    #[cfg(not(target_arch = "x86_64"))]
    other.push(answer(fail_with(libc::ENOSYS)));
    other
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

fn load(offset: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

fn jump(test: u32, value: u32, yes: u8, no: u8) -> libc::sock_filter {
    instruction(libc::BPF_JMP | test | libc::BPF_K, value, yes, no)
}

fn skip(count: u32) -> libc::sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JA, count, 0, 0)
}

fn answer(value: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, value, 0, 0)
}

fn when(number: u32, value: u32) -> [libc::sock_filter; 2] {
    [jump(libc::BPF_JEQ, number, 0, 1), answer(value)]
}
