// Threads that share a list of tasks: see pool.h for the idea.

#include "pool.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace frugal {
namespace {

using Clock = std::chrono::steady_clock;

// Layers of a network follow each other faster than a thread wakes: wait awake for a moment before sleeping.
constexpr std::chrono::microseconds kAwake{20};

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

// Waits for ready() without sleeping; false where that took too long.
template <typename Ready>
bool wait_awake(const Ready& ready) {
  if (ready()) return true;
  const Clock::time_point end = Clock::now() + kAwake;
  do {
    relax();
    if (ready()) return true;
  } while (Clock::now() < end);
  return false;
}

int next_of(uint64_t ticket) { return static_cast<int>(ticket & 0xffff); }
int tasks_of(uint64_t ticket) { return static_cast<int>(ticket >> 16 & 0xffff); }
int workers_of(uint64_t ticket) { return static_cast<int>(ticket >> 32 & 0xff); }

}  // namespace

void Pool::run_calls(int tasks, int threads, Call call, const void* context) {
  threads = std::min({threads, tasks, int{kMostThreads}});
  std::unique_lock<std::mutex> mine(busy_, std::defer_lock);
  if (threads <= 1 || !mine.try_lock()) {
    for (int i = 0; i < tasks; ++i) call(context, i, 0);
    return;
  }
  start_workers(threads - 1);
  call_ = call;
  context_ = context;
  done_.store(0, std::memory_order_relaxed);
  const uint64_t epoch = (ticket_.load(std::memory_order_relaxed) >> 40) + 1;
  ticket_.store(epoch << 40 | uint64_t(threads - 1) << 32 | uint64_t(tasks) << 16);
  if (asleep_.load() > 0) ticket_.notify_all();
  claim_all(0);
  const auto finished = [&] { return done_.load(std::memory_order_acquire) == tasks; };
  while (!wait_awake(finished)) std::this_thread::yield();
}

void Pool::start_workers(int count) {
  for (; workers_ < count; ++workers_) {
    try {
      std::thread([this, thread = workers_ + 1] { work(thread); }).detach();
    } catch (const std::system_error&) {
      return;  // the system gives no more threads: those that there are do the work
    }
  }
}

// Claims and runs tasks until none is left; false where there was none for this thread.
bool Pool::claim_all(int thread) {
  for (bool any = false;; any = true) {
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    do {
      if (next_of(ticket) >= tasks_of(ticket) || thread > workers_of(ticket)) return any;
    } while (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel));
    call_(context_, next_of(ticket), thread);  // a claim keeps the job alive: run() waits for every task
    done_.fetch_add(1, std::memory_order_release);
  }
}

void Pool::work(int thread) {
  for (;;) {
    const uint64_t ticket = ticket_.load(std::memory_order_acquire);
    if (claim_all(thread)) continue;
    if (wait_awake([&] { return ticket_.load(std::memory_order_acquire) != ticket; })) continue;
    ++asleep_;
    ticket_.wait(ticket);
    --asleep_;
  }
}

// A pool lives as long as its process: its threads are never joined.
Pool& Pool::shared() {
  static std::atomic<Pool*> current{nullptr};
#if !defined(_WIN32)
  [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, [] { current = nullptr; });
#endif
  Pool* pool = current.load(std::memory_order_acquire);
  if (!pool) {
    Pool* fresh = new Pool;
    if (current.compare_exchange_strong(pool, fresh)) return *fresh;
    delete fresh;  // another thread was first
  }
  return *pool;
}

}  // namespace frugal
