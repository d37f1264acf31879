//! System calls that no VMM makes, refused (seccomp(2)). The invariant: this is the outermost of the filters, for what the
//! kernel offers to anybody; a VMM adds its own, which only allows what it needs (Firecracker's, QEMU's `-sandbox`).
//!
//! It is what keeps a VMM that runs as root from user namespaces (see `namespaces`), and any from files without a name
//! in the folders that it shares with knaller, and from rights to its own files that were taken from it.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::Error;

/// Calls that give a file another mode, or an access control list that says the same. What a VMM has written for a snapshot
/// nobody may write to any more (see [`crate::sealed`]), though it is the file's owner. The last are of Linux 6.6, 6.13 and 6.17.
const RIGHTS: [c_long; 8] = [
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    452, // fchmodat2
    463, // setxattrat
    469, // file_setattr
];

/// Namespaces and mounts, other processes' memory, the kernel's own programs, keys and modules, files by handle; and links:
/// in the folders that it shares with knaller a VMM makes files and sockets, and nothing that leads elsewhere.
const REFUSED: [c_long; 36] = [
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_reboot,
    libc::SYS_quotactl,
];

/// The older forms of some, where there are any.
#[cfg(target_arch = "x86_64")]
const OLDER: [c_long; 3] = [libc::SYS_symlink, libc::SYS_link, libc::SYS_chmod];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: [c_long; 0] = [];

/// Calls whose flags are in memory, where no filter looks, and the ring by which others are made past all filters.
const HIDDEN: [c_long; 3] = [libc::SYS_clone3, libc::SYS_openat2, libc::SYS_io_uring_setup];

/// Calls that open files, with the place of their flags.
const OPENING: &[(c_long, u8)] = &[
    (libc::SYS_openat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1),
];

/// Refuses them from here on, to this process and all that it becomes or starts. Needs no privilege, but that none can be
/// gained any more.
pub(crate) fn refuse() -> Result<(), Error> {
    install().map_err(Error::Calls)
}

fn install() -> Result<(), seccompiler::Error> {
    // Whoever asks hears that he may not.
    seccompiler::apply_filter(&program(refused()?, libc::EPERM)?)?;
    // And here, as on a kernel that does not have it, so that what is older is used.
    let hidden = HIDDEN.map(|call| (call, Vec::new())).into();
    seccompiler::apply_filter(&program(hidden, libc::ENOSYS)?)
}

fn refused() -> Result<BTreeMap<c_long, Vec<SeccompRule>>, seccompiler::Error> {
    let calls = REFUSED.iter().chain(&RIGHTS).chain(&OLDER);
    let mut rules: BTreeMap<_, _> = calls.map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, vec![with(0, libc::CLONE_NEWUSER)?]);
    for (call, flags) in OPENING {
        // landlock lets a file be made without a name where files may be written (open(2): O_TMPFILE).
        rules.insert(*call, vec![with(*flags, libc::O_TMPFILE & !libc::O_DIRECTORY)?]);
    }
    Ok(rules)
}

/// A call with this flag in its argument of this number.
fn with(argument: u8, flag: libc::c_int) -> Result<SeccompRule, seccompiler::Error> {
    let flag = u64::from(flag.cast_unsigned());
    let asks = SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(flag),
        flag,
    )?;
    Ok(SeccompRule::new(vec![asks])?)
}

fn program(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    number: libc::c_int,
) -> Result<BpfProgram, seccompiler::Error> {
    let here = std::env::consts::ARCH.try_into()?;
    let refuse = SeccompAction::Errno(number.cast_unsigned());
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refuse, here)?.try_into()?)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    #[test]
    fn files_without_a_name_and_ways_past_the_filter_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let nameless = || {
            let file = OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_TMPFILE)
                .open(temp.path());
            file.map(drop).map_err(|error| error.raw_os_error().unwrap())
        };
        let hidden = || {
            // SAFETY: the call is asked for no entries and no place to put them: it fails wherever it is known.
            let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 0, std::ptr::null::<u8>()) };
            assert_eq!(ring, -1);
            std::io::Error::last_os_error().raw_os_error().unwrap()
        };
        assert_eq!(nameless(), Ok(()));
        // A filter is its thread's alone.
        let refused = std::thread::scope(|scope| {
            let filtered = scope.spawn(|| {
                rustix::thread::set_no_new_privs(true).unwrap();
                refuse().unwrap();
                File::create(temp.path().join("named")).unwrap();
                (nameless(), hidden())
            });
            filtered.join().unwrap()
        });
        assert_eq!(refused, (Err(libc::EPERM), libc::ENOSYS));
    }
}
