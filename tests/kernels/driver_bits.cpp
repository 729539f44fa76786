// Compares every way to count that this processor runs with plain loops, on buffers that end exactly where they must.

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "popcount.h"

namespace {

std::mt19937_64 rng{0};

int between(int low, int high) { return std::uniform_int_distribution<int>{low, high}(rng); }

// A copy on the heap of exactly this size: the sanitizer sees a read past its end.
template <typename T>
std::unique_ptr<T[]> exact(const std::vector<T>& values) {
  auto copy = std::make_unique<T[]>(values.size());
  for (size_t i = 0; i < values.size(); ++i) copy[i] = values[i];
  return copy;
}

bool run_case(int path, int threads) {
  const int edges[] = {1, 2, 63, 64, 65, 127, 128, 129, 31 * 64, 31 * 64 + 1, 32 * 64, between(1, 4000)};
  const int m = between(1, 19), n = between(1, 19), k = edges[between(0, 11)], words = (k + 63) / 64;
  std::vector<float> x(size_t(m) * k), w(size_t(n) * k);
  for (float& each : x) each = std::uniform_real_distribution<float>{-1, 1}(rng);
  for (float& each : w) each = between(0, 9) ? std::uniform_real_distribution<float>{-1, 1}(rng) : -0.0f;
  const auto a = exact(x), b = exact(w);
  const auto a_bits = std::make_unique<uint64_t[]>(size_t(m) * words);
  const auto b_bits = std::make_unique<uint64_t[]>(size_t(n) * words);
  if (frugal_bits_pack(path, threads, a.get(), k, a_bits.get(), m, k)) return false;
  if (frugal_bits_pack(path, threads, b.get(), k, b_bits.get(), n, k)) return false;
  std::vector<uint64_t> panels(size_t(n + 7) / 8 * words * 8);
  for (int j = 0; j < n; ++j) {
    for (int t = 0; t < words; ++t) panels[(size_t(j / 8) * words + t) * 8 + j % 8] = b_bits[size_t(j) * words + t];
  }
  const auto p = exact(panels);
  const auto y = std::make_unique<int32_t[]>(size_t(m) * n);
  frugal_bits_gemm(path, threads, a_bits.get(), p.get(), y.get(), m, n, k);
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      int sum = 0;
      for (int t = 0; t < k; ++t) sum += (x[size_t(i) * k + t] >= 0) == (w[size_t(j) * k + t] >= 0) ? 1 : -1;
      if (sum == y[size_t(i) * n + j]) continue;
      std::printf("%s: m %d n %d k %d\n", frugal_bits_path_name(path), m, n, k);
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int, char** argv) {
  const int rounds = std::atoi(argv[1]), threads = std::atoi(argv[2]);
  for (int path = 0; const char* name = frugal_bits_path_name(path); ++path) {
    if (frugal_bits_path_available(path) != 1) {
      std::printf("%s absent\n", name);
      continue;
    }
    for (int i = 0; i < rounds; ++i) {
      if (!run_case(path, threads)) return 1;
    }
    std::printf("%s %d\n", name, rounds);
  }
}
