// What a kernel may ask of Linux: next to nothing. It reads and writes its tensors, and what it is linked with.
//
//   Landlock   files below the system's folders and the kernel's own may be read, none written
//   seccomp    no new process or thread, no program, no socket, no look into or signal to another process
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
  const int refused[] = {
      SYS_execve, SYS_execveat, SYS_clone,  SYS_socket,           SYS_socketpair,        SYS_connect,    SYS_ptrace,
      SYS_kill,   SYS_tkill,    SYS_bpf,    SYS_process_vm_readv, SYS_process_vm_writev, SYS_prlimit64,  SYS_setsid,
      SYS_unshare, SYS_mount,   SYS_keyctl, SYS_perf_event_open,  SYS_userfaultfd,       434, 438, 424, 425,
      SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_shmget, SYS_semget, SYS_msgget, SYS_memfd_create, SYS_setpriority,
#if defined(__x86_64__)
      SYS_fork,   SYS_vfork,
#endif
  };  // 434 pidfd_open, 438 pidfd_getfd, 424 pidfd_send_signal, 425 io_uring_setup
  constexpr uint32_t kClone3 = 435, kNewNumbering = 0x40000000;
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
  for (const int call : refused) {
    add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1));
    refuse(EPERM);
  }
  add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kClone3, 0, 1));
  refuse(ENOSYS);
  add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 0, 3));  // abort() signals this process itself
  add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)));
  add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(getpid()), 1, 0));
  refuse(EPERM);
  add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
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
