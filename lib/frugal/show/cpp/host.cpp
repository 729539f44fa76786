// The process in which a student's kernel runs: whatever it does, the notebook lives on and learns what happened.
//
//   notebook                                   this process
//   shared file: control page, buffers  <--->  the same pages, each buffer between two walls that nothing may touch
//   one byte "go"                        --->  call the kernel `repeats` times
//                                       <---   one byte "done", or the end of this process and a note in the control page
//
//   wall (no access) | lead | buffer | wall (no access)
//                      ^^^^   the buffer ends at its last page's end, so the first byte behind it is the wall;
//                             the lead fills up its first page and is looked at afterwards by the notebook
//
// Used as: host KERNEL.so CONTROL_FD OUTPUT_FD; child.py is the other side, and puts confine.h in front of this text.

#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace {

constexpr int kBuffers = 32, kSets = 4, kParameters = 12;
constexpr int64_t kWall = int64_t{16} << 20;  // a stride too far lands in it as well; it costs addresses, not memory
constexpr rlim_t kOutputBytes = 1 << 16;
constexpr rlim_t kAddresses = rlim_t{4} << 30;  // buffers and walls are mapped before; a kernel needs a few MB

struct Buffer {
  int64_t offset, bytes;  // in the shared file, whole pages
  int64_t lead;           // bytes of the first page before the buffer begins
  int64_t writable;
};

// child.py holds the same structure.
struct Control {
  int64_t buffers, sets, parameters, repeats;
  int64_t state;                   // 0 starting, 1 ready, 2 running, 3 could not be loaded
  int64_t signal;                  // what ended it, 0: nothing so far
  int64_t buffer, place, has_place;  // where memory was touched: bytes from the buffer's start; -1: near no buffer
  Buffer buffer_at[kBuffers];
  int64_t index[kSets][kParameters];  // which buffer a parameter is, -1: a number
  double number[kParameters];
  char message[512];
};

using Call = void (*)(void* const* pointers, const double* numbers);

Control* control;
char* start[kBuffers];  // where each buffer begins

void fell(int signal, siginfo_t* info, void*) {
  control->signal = signal;
  const char* at = static_cast<const char*>(info->si_addr);
  control->buffer = -1;
  control->has_place = (signal == SIGSEGV || signal == SIGBUS) && at != nullptr;
  for (int b = 0; control->has_place && b < control->buffers; ++b) {
    const Buffer& buffer = control->buffer_at[b];
    if (at >= start[b] - buffer.lead - kWall && at < start[b] - buffer.lead + buffer.bytes + kWall) {
      control->buffer = b;
      control->place = at - start[b];
    }
  }
  _exit(99);
}

void catch_signals() {
  static char stack[1 << 16];  // a stack that overflowed cannot serve its own handler
  stack_t other = {};
  other.ss_sp = stack;
  other.ss_size = sizeof stack;
  sigaltstack(&other, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = fell;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  const int caught[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGXFSZ};
  for (int signal : caught) sigaction(signal, &action, nullptr);
}

bool map_buffer(int b, int file) {
  const Buffer& buffer = control->buffer_at[b];
  char* room = static_cast<char*>(
      mmap(nullptr, buffer.bytes + 2 * kWall, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (room == MAP_FAILED) return false;
  const int access = buffer.writable ? PROT_READ | PROT_WRITE : PROT_READ;
  if (mmap(room + kWall, buffer.bytes, access, MAP_SHARED | MAP_FIXED, file, buffer.offset) == MAP_FAILED) return false;
  start[b] = room + kWall + buffer.lead;
  return true;
}

void limit(int what, rlim_t most) {
  const struct rlimit both = {most, most};
  setrlimit(what, &both);
}

int refuse(const char* why) {
  snprintf(control->message, sizeof control->message, "%s", why ? why : "unknown");
  control->state = 3;
  return 98;
}

}  // namespace

int main(int, char** arguments) {
  const int file = atoi(arguments[2]), output = atoi(arguments[3]);
  void* page = mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (page == MAP_FAILED) return 97;
  control = static_cast<Control*>(page);
  for (int b = 0; b < control->buffers; ++b) {
    if (!map_buffer(b, file)) return refuse("no memory for the buffers");
  }
  const int go = dup(0), done = dup(1);  // the kernel's own printing goes elsewhere
  dup2(output, 1);
  dup2(output, 2);
  close(0);
  close(file);
  close(output);
  setvbuf(stdout, nullptr, _IONBF, 0);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, kOutputBytes);
  limit(RLIMIT_AS, kAddresses);
  catch_signals();

  confine(arguments[1]);
  void* library = dlopen(arguments[1], RTLD_NOW);
  if (!library) return refuse(dlerror());
  const Call call = reinterpret_cast<Call>(dlsym(library, "frugal_call"));
  if (!call) return refuse(dlerror());

  void* pointers[kSets][kParameters] = {};
  for (int s = 0; s < control->sets; ++s) {
    for (int p = 0; p < control->parameters; ++p) {
      if (control->index[s][p] >= 0) pointers[s][p] = start[control->index[s][p]];
    }
  }
  control->state = 1;
  char byte = 0;
  while (read(go, &byte, 1) == 1) {
    control->state = 2;
    for (int64_t r = 0; r < control->repeats; ++r) call(pointers[r % control->sets], control->number);
    control->state = 1;
    if (write(done, &byte, 1) != 1) break;
  }
  _exit(0);
}
