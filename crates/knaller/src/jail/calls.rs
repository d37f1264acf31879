//! System calls that no VMM makes, refused (seccomp(2)). The invariant: this is the outermost of the filters, for what the
//! kernel offers to anybody; a VMM adds its own, which only allows what it needs (Firecracker's, QEMU's `-sandbox`).
//!
//! It is the only thing that keeps root's machines from user namespaces: see `namespaces`.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::Error;

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
const OLDER: [c_long; 2] = [libc::SYS_symlink, libc::SYS_link];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: [c_long; 0] = [];

/// Refuses them from here on, to this process and all that it becomes or starts. Needs no privilege, but that none can be
/// gained any more.
pub(super) fn refuse() -> Result<(), Error> {
    install().map_err(Error::Calls)
}

fn install() -> Result<(), seccompiler::Error> {
    // Whoever asks hears that he may not.
    seccompiler::apply_filter(&program(refused()?, libc::EPERM)?)?;
    // Its flags are in memory, where no filter looks: without it clone(2) is used (Linux: kernel/fork.c).
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    seccompiler::apply_filter(&program(clone3, libc::ENOSYS)?)
}

fn refused() -> Result<BTreeMap<c_long, Vec<SeccompRule>>, seccompiler::Error> {
    let calls = REFUSED.iter().chain(&OLDER);
    let mut rules: BTreeMap<_, _> = calls.map(|call| (*call, Vec::new())).collect();
    let user = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    let asks = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(user), user)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![asks])?]);
    Ok(rules)
}

fn program(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    number: libc::c_int,
) -> Result<BpfProgram, seccompiler::Error> {
    let here = std::env::consts::ARCH.try_into()?;
    let refuse = SeccompAction::Errno(number.cast_unsigned());
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refuse, here)?.try_into()?)
}
