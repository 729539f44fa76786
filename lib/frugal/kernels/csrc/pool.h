// Threads that share a list of tasks.
//
// Tasks are claimed, not assigned: a thread that wakes late finds nothing left, and nobody waits for it. The caller
// claims too, and returns when the last task is done; so a run ends even where no other thread ever wakes.
//
//   ticket   epoch (24 bits) | workers (8) | tasks (16) | next task (16)
//
//   A claim is one compare-exchange of next -> next + 1. Whatever a thread must know to claim is in that one word, so a
//   late thread cannot mix an old job with a new one.
//
// One job at a time: a second caller runs its tasks alone instead of waiting. After a fork the child, which has none of
// the parent's threads, starts with a fresh pool.

#ifndef FRUGAL_POOL_H
#define FRUGAL_POOL_H

#include <stdint.h>

#include <atomic>
#include <mutex>

namespace frugal {

class Pool {
 public:
  static constexpr int kMostThreads = 256, kMostTasks = 0xffff;

  // Calls task(i, thread) for i = 0 .. tasks - 1 on at most `threads` threads; the caller is thread 0.
  template <typename Task>
  void run(int tasks, int threads, const Task& task) {
    const Call call = [](const void* context, int i, int thread) { (*static_cast<const Task*>(context))(i, thread); };
    run_calls(tasks, threads, call, &task);
  }

  static Pool& shared();

 private:
  using Call = void (*)(const void* context, int i, int thread);

  void run_calls(int tasks, int threads, Call call, const void* context);
  void start_workers(int count);
  bool claim_all(int thread);
  void work(int thread);

  std::mutex busy_;
  int workers_ = 0;
  Call call_ = nullptr;
  const void* context_ = nullptr;
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int> done_{0};
  alignas(64) std::atomic<int> asleep_{0};
};

// The first of `total` things that belong to part i of `parts`; the last one is before share(total, i + 1, parts).
inline int share(int64_t total, int i, int parts) { return static_cast<int>(total * i / parts); }

// Calls work(first, last, thread) on ranges of `lines`, a few for each thread, so that a late one costs little.
template <typename Work>
void spread(int lines, int threads, const Work& work) {
  const int most = threads <= 1 ? 1 : 4 * (threads < Pool::kMostThreads ? threads : Pool::kMostThreads);
  const int tasks = lines < most ? lines : most;
  Pool::shared().run(tasks, threads, [&](int task, int thread) {
    work(share(lines, task, tasks), share(lines, task + 1, tasks), thread);
  });
}

}  // namespace frugal

#endif
