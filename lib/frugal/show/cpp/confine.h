// What a kernel may ask of Linux: next to nothing. It reads and writes its tensors, and what it is linked with.
//
//   Landlock   files below the system's folders and the kernel's own may be read, none written
//   seccomp    what a computation asks for; so no new process or thread, no program, no socket, no signal to others
//
// Both hold for the kernel's static initializers as well. A system without one of them goes on without it: this is a
// second lock, for tests that run a stranger's kernel. Elsewhere than on Linux there is none.

#ifndef FRUGAL_CONFINE_H
#define FRUGAL_CONFINE_H

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

// From linux/landlock.h, which older systems do not have.
struct Ruleset {
  uint64_t handled;
};
struct __attribute__((packed)) PathBeneath {
  uint64_t allowed;
  int32_t folder;
};
constexpr long kCreateRuleset = 444, kAddRule = 445, kRestrictSelf = 446;
constexpr uint64_t kExecute = 1, kReadFile = 1 << 2, kReadFolder = 1 << 3, kEverything = (1 << 13) - 1;

void read_only(const char* kernel) {
  const Ruleset handled = {kEverything};
  const int rules = static_cast<int>(syscall(kCreateRuleset, &handled, sizeof handled, 0));
  if (rules < 0) return;
  const char* const places[] = {"/usr", "/lib", "/lib64", "/etc/ld.so.cache", kernel};
  for (const char* place : places) {
    PathBeneath rule = {kReadFile, open(place, O_PATH | O_CLOEXEC)};
    if (rule.folder < 0) continue;
    const PathBeneath folder = {kExecute | kReadFile | kReadFolder, rule.folder};
    if (syscall(kAddRule, rules, 1, &folder, 0) != 0) syscall(kAddRule, rules, 1, &rule, 0);  // a single file
    close(rule.folder);
  }
  syscall(kRestrictSelf, rules, 0);
  close(rules);
}

void few_calls() {
#if defined(__x86_64__)
  constexpr uint32_t kMachine = AUDIT_ARCH_X86_64;
#else
  constexpr uint32_t kMachine = AUDIT_ARCH_AARCH64;
#endif
  const int allowed[] = {
      // what a computation and the loader ask for; every other call is refused
      SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_lseek, SYS_openat, SYS_close, SYS_fstat, SYS_faccessat,
      SYS_readlinkat, SYS_getcwd, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_brk, SYS_futex,
      SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_exit, SYS_exit_group, SYS_getpid,
      SYS_gettid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_uname, SYS_sysinfo, SYS_getrandom,
      SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_times,
      SYS_getrusage, SYS_sched_yield, SYS_sched_getaffinity, SYS_set_tid_address, SYS_set_robust_list,
#if defined(__x86_64__)
      262, 332, 334,
      SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_arch_prctl, SYS_time, SYS_pause,
#else
      79, 291, 293,
#endif
  };  // numbers that older headers lack: newfstatat, statx, rseq
  constexpr uint32_t kNewNumbering = 0x40000000;
  sock_filter code[160];
  unsigned short n = 0;
  const auto add = [&](sock_filter step) { code[n++] = step; };
  const auto refuse = [&](int error) { add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error)); };
  add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
  add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kMachine, 1, 0));
  refuse(EPERM);
  add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  add(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kNewNumbering, 0, 1));
  refuse(EPERM);
  for (const int call : allowed) {
    add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1));
    add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  }
  add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 0, 3));  // abort() signals this process itself
  add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)));
  add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(getpid()), 0, 1));
  add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  refuse(EPERM);
  const sock_fprog program = {n, code};
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

void confine(const char* kernel) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return;
  read_only(kernel);
  few_calls();
}

}  // namespace

#else
namespace {
void confine(const char*) {}
}  // namespace
#endif

#endif
