// What this machine can do at most: int8 operations per second with everything in registers, and bytes per second read.
//
// Compiled when `bench roofline` asks for it (roofline.py), with -O2 -march=native. A loop of independent instructions,
// enough of them in flight that none waits for the last: a core that starts two vpdpbusd in a cycle and has each result
// four cycles later needs eight sums.
//
//   peak("avx512_vnni", 4, 0.1)    four threads, a tenth of a second: operations per second, a multiply-add being two
//   read_rate(bytes, 4, 0.1)       the same of a sum over an array of so many bytes for each thread

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__aarch64__)
#include <arm_neon.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define PEAK_API extern "C" __attribute__((visibility("default")))

using Clock = std::chrono::steady_clock;

static double now() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

constexpr int kRepeats = 2000;  // of a loop's body, between two looks at the clock

// Repeat body() until the time is up; what it does, per second.
template <class Body>
static double rate(double seconds, double per_body, Body body) {
  body();
  double count = 0;
  const double start = now();
  double end = start;
  while (end - start < seconds) {
    body();
    count += per_body;
    end = now();
  }
  return count / (end - start);
}

// Twelve sums in twelve registers, step(sum) on each in turn: more than any core has in flight. An empty asm makes the
// compiler believe that a register changes, so that no step is saved.
template <class Vector, class Step>
static double chains(double seconds, double products, Step step) {
  Vector a{}, b{}, c{}, d{}, e{}, f{}, g{}, h{}, i{}, j{}, k{}, l{};
  double count = 0;
  const double start = now();
  double end = start;
  while (end - start < seconds) {
    for (int r = 0; r < kRepeats; ++r) {
      step(a), step(b), step(c), step(d), step(e), step(f), step(g), step(h), step(i), step(j), step(k), step(l);
    }
    count += 2 * products * 12 * kRepeats;
    end = now();
  }
  return count / (end - start);
}

#if defined(__AVX512VNNI__)
#define HAS_AVX512_VNNI 1
static double avx512_vnni(double seconds) {
  const __m512i x = _mm512_set1_epi8(1), w = _mm512_set1_epi8(2);
  return chains<__m512i>(seconds, 64, [=](__m512i& sum) {
    sum = _mm512_dpbusd_epi32(sum, x, w);
    asm volatile("" : "+v"(sum));
  });
}
#endif

#if defined(__AVXVNNI__)
#define HAS_AVX_VNNI 1
static double avx_vnni(double seconds) {
  const __m256i x = _mm256_set1_epi8(1), w = _mm256_set1_epi8(2);
  return chains<__m256i>(seconds, 32, [=](__m256i& sum) {
    sum = _mm256_dpbusd_avx_epi32(sum, x, w);
    asm volatile("" : "+x"(sum));
  });
}
#endif

#if defined(__AVX2__)
#define HAS_AVX2 1
// Exact int8 on AVX2: bytes widened to 16 bits (once for many uses, so not counted), then vpmaddwd and vpaddd.
static double avx2(double seconds) {
  const __m256i x = _mm256_set1_epi16(1), w = _mm256_set1_epi16(2);
  return chains<__m256i>(seconds, 16, [=](__m256i& sum) {
    __m256i product;
    asm volatile("vpmaddwd %1, %2, %0" : "=x"(product) : "x"(x), "x"(w));  // an intrinsic would be done once for all
    sum = _mm256_add_epi32(sum, product);
  });
}
#endif

#if defined(__AMX_INT8__) && defined(__linux__)
#define HAS_AMX_INT8 1
struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Four sums of 16 x 16, two tiles of activations, two of weights: the block of our kernel, without its loads.
static double amx_int8(double seconds) {
  constexpr long kAskPermission = 0x1023, kTileData = 18;
  if (syscall(SYS_arch_prctl, kAskPermission, kTileData) != 0) return 0;
  TileShapes shapes;
  for (int i = 0; i < 8; ++i) shapes.row_bytes[i] = 64, shapes.rows[i] = 16;
  _tile_loadconfig(&shapes);
  const double found = rate(seconds, 2.0 * 16 * 16 * 64 * 4 * kRepeats, [] {
    for (int r = 0; r < kRepeats; ++r) {
      _tile_dpbusd(0, 4, 6);
      _tile_dpbusd(1, 4, 7);
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    }
  });
  _tile_release();
  return found;
}
#endif

#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#define HAS_DOTPROD 1
static double dotprod(double seconds) {
  const int8x16_t x = vdupq_n_s8(1), w = vdupq_n_s8(2);
  return chains<int32x4_t>(seconds, 16, [=](int32x4_t& sum) {
    sum = vdotq_s32(sum, x, w);
    asm volatile("" : "+w"(sum));
  });
}
#endif

typedef uint64_t Line __attribute__((vector_size(64)));  // a cache line, in whatever registers there are

// Read every line once, on eight registers.
static Line read_all(const Line* line, size_t lines) {
  Line a{}, b{}, c{}, d{}, e{}, f{}, g{}, h{};
  for (const Line* end = line + lines; line < end; line += 8) {
    a ^= line[0], b ^= line[1], c ^= line[2], d ^= line[3];
    e ^= line[4], f ^= line[5], g ^= line[6], h ^= line[7];
  }
  return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h;
}

static double read_lines(size_t bytes, double seconds) {
  const size_t lines = (bytes / sizeof(Line) + 7) / 8 * 8, read = lines * sizeof(Line);
  std::unique_ptr<char[]> room(new char[read + sizeof(Line)]);
  auto* first = reinterpret_cast<Line*>((reinterpret_cast<uintptr_t>(room.get()) + 63) / 64 * 64);
  std::memset(first, 1, read);
  const size_t passes = read < (1 << 20) ? (1 << 20) / read : 1;
  return rate(seconds, double(passes) * read, [=] {
    for (size_t pass = 0; pass < passes; ++pass) {
      const Line sum = read_all(first, lines);
      asm volatile("" : : "m"(sum) : "memory");  // every pass reads again
    }
  });
}

// The sum over threads that begin together.
template <class Work>
static double together(int threads, Work work) {
  std::vector<double> rates(threads);
  std::atomic<int> ready{0};
  std::vector<std::thread> others;
  const auto run = [&](int i) {
    for (++ready; ready < threads;) {
    }
    rates[i] = work();
  };
  for (int i = 1; i < threads; ++i) others.emplace_back(run, i);
  run(0);
  for (auto& each : others) each.join();
  double sum = 0;
  for (const double each : rates) sum += each;
  return sum;
}

// Operations per second; 0 where this program was built without that instruction set. The caller knows that the
// processor has it.
PEAK_API double peak(const char* isa, int threads, double seconds) {
  double (*probe)(double) = nullptr;
#if defined(HAS_AMX_INT8)
  if (!std::strcmp(isa, "amx_int8")) probe = amx_int8;
#endif
#if defined(HAS_AVX512_VNNI)
  if (!std::strcmp(isa, "avx512_vnni")) probe = avx512_vnni;
#endif
#if defined(HAS_AVX_VNNI)
  if (!std::strcmp(isa, "avx_vnni")) probe = avx_vnni;
#endif
#if defined(HAS_AVX2)
  if (!std::strcmp(isa, "avx2")) probe = avx2;
#endif
#if defined(HAS_DOTPROD)
  if (!std::strcmp(isa, "dotprod")) probe = dotprod;
#endif
  return probe ? together(threads, [=] { return probe(seconds); }) : 0;
}

// Bytes per second, read by threads with an array each.
PEAK_API double read_rate(size_t bytes, int threads, double seconds) {
  return together(threads, [=] { return read_lines(bytes, seconds); });
}
