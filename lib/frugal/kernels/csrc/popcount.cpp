// Products of signs: the loops around a count, the ladder of processors, and the definition.

#include "popcount.h"

#include <atomic>
#include <bit>
#include <cstring>

#include "pool.h"

namespace frugal {
namespace {

constexpr int kRows = 4;

void count(const BitBlock& block) {
  for (int i = 0; i < block.rows; ++i) {
    uint64_t counts[kBitPanel] = {};
    for (int w = 0; w < block.words; ++w) {
      for (int j = 0; j < kBitPanel; ++j) {
        const uint64_t differ = block.a[i * block.stride + w] ^ block.panel[w * kBitPanel + j];
        counts[j] += static_cast<uint64_t>(std::popcount(differ));
      }
    }
    std::memcpy(block.counts + i * kBitPanel, counts, sizeof counts);
  }
}

struct Path {
  const BitKernel* kernel;
  const char* features[2];
};

const Path kPaths[] = {
#if defined(FRUGAL_WITH_BITS_AVX512)
    {&kBitsAvx512, {"avx512f", "avx512_vpopcntdq"}},  // Intel Ice Lake 2019; AMD Zen 4 2022
#endif
#if defined(FRUGAL_WITH_BITS_AVX2)
    {&kBitsAvx2, {"avx2"}},
#endif
#if defined(FRUGAL_WITH_BITS_NEON)
    {&kBitsNeon, {}},  // every arm64
#endif
    {&kBitsScalar, {}},
};

constexpr int kPathCount = sizeof kPaths / sizeof kPaths[0];

bool has(const char* feature) {
  for (int i = 0; i < frugal_cpu_feature_count(); ++i) {
    if (std::strcmp(feature, frugal_cpu_feature_name(i)) == 0) return frugal_cpu_has(i) == 1;
  }
  return false;
}

int words_of(int k) { return (k + kWord - 1) / kWord; }

}  // namespace

bool pack_signs(const float* x, uint64_t* bits, int k) {
  bool numbers = true;
  for (int first = 0; first < k; first += kWord) {
    uint64_t word = 0;
    const int left = k - first < kWord ? k - first : kWord;
    for (int i = 0; i < left; ++i) {
      numbers &= x[first + i] == x[first + i];  // nan alone differs from itself
      word |= uint64_t{x[first + i] >= 0} << i;
    }
    bits[first / kWord] = word;
  }
  return numbers;
}

const BitKernel kBitsScalar = {"scalar", kRows, count, pack_signs};

}  // namespace frugal

using namespace frugal;

const char* frugal_bits_path_name(int path) {
  return path < 0 || path >= kPathCount ? nullptr : kPaths[path].kernel->name;
}

int frugal_bits_path_available(int path) {
  if (path < 0 || path >= kPathCount) return -1;
  for (const char* feature : kPaths[path].features) {
    if (feature && !has(feature)) return 0;
  }
  return 1;
}

void frugal_bits_gemm(int path, int threads, const uint64_t* a, const uint64_t* panels, int32_t* y, int m, int n,
                      int k) {
  constexpr int kMostRows = 8;
  const BitKernel& kernel = *kPaths[path].kernel;
  const int words = words_of(k), panel_count = (n + kBitPanel - 1) / kBitPanel;
  const int blocks = (m + kernel.rows - 1) / kernel.rows;
  const auto product = [&](int block, int panel) {
    uint64_t counts[kMostRows * kBitPanel];
    const int first = block * kernel.rows, rows = m - first < kernel.rows ? m - first : kernel.rows;
    kernel.count({a + ptrdiff_t{first} * words, words, panels + ptrdiff_t{panel} * words * kBitPanel, rows, words,
                  counts});
    const int live = n - panel * kBitPanel < kBitPanel ? n - panel * kBitPanel : kBitPanel;
    for (int i = 0; i < rows; ++i) {
      int32_t* out = y + ptrdiff_t{first + i} * n + panel * kBitPanel;
      for (int j = 0; j < live; ++j) out[j] = k - 2 * static_cast<int32_t>(counts[i * kBitPanel + j]);
    }
  };
  // Panels are the outer loop where they are many, so that one stays in the nearest cache while all rows pass.
  if (panel_count >= blocks) {
    spread(panel_count, threads, [&](int first, int last, int) {
      for (int panel = first; panel < last; ++panel) {
        for (int block = 0; block < blocks; ++block) product(block, panel);
      }
    });
  } else {
    spread(blocks, threads, [&](int first, int last, int) {
      for (int panel = 0; panel < panel_count; ++panel) {
        for (int block = first; block < last; ++block) product(block, panel);
      }
    });
  }
}

int frugal_bits_pack(int path, int threads, const float* x, ptrdiff_t stride, uint64_t* bits, int m, int k) {
  constexpr int kNotANumber = 2;
  const BitKernel& kernel = *kPaths[path].kernel;
  std::atomic<bool> numbers{true};
  spread(m, threads, [&](int first, int last, int) {
    for (int i = first; i < last; ++i) {
      if (!kernel.pack(x + i * stride, bits + ptrdiff_t{i} * words_of(k), k)) numbers = false;
    }
  });
  return numbers ? 0 : kNotANumber;
}
