// Products with a sparse matrix: the loops around a kernel, and the ladder of processors.

#include "sparse.h"

#include <cstring>

#include "pool.h"

namespace frugal {
namespace {

constexpr int kFewRows = 4;  // so many make strips

struct Path {
  const SparseKernel* kernel;
  const char* features[3];
};

const Path kPaths[] = {
#if defined(FRUGAL_WITH_SPARSE_AVX512)
    {&kSparseAvx512, {"avx512f", "avx512bw", "avx512vl"}},  // Intel Skylake-X 2017; AMD Zen 4 2022
#endif
#if defined(FRUGAL_WITH_SPARSE_AVX2)
    {&kSparseAvx2, {"avx2", "fma"}},
#endif
#if defined(FRUGAL_WITH_SPARSE_NEON)
    {&kSparseNeon, {}},  // every arm64
#endif
    {&kSparseScalar, {}},
};

constexpr int kPathCount = sizeof kPaths / sizeof kPaths[0];

bool has(const char* feature) {
  for (int i = 0; i < frugal_cpu_feature_count(); ++i) {
    if (std::strcmp(feature, frugal_cpu_feature_name(i)) == 0) return frugal_cpu_has(i) == 1;
  }
  return false;
}

}  // namespace
}  // namespace frugal

using namespace frugal;

const char* frugal_sparse_path_name(int path) {
  return path < 0 || path >= kPathCount ? nullptr : kPaths[path].kernel->name;
}

int frugal_sparse_path_available(int path) {
  if (path < 0 || path >= kPathCount) return -1;
  for (const char* feature : kPaths[path].features) {
    if (feature && !has(feature)) return 0;
  }
  return 1;
}

int64_t frugal_sparse_scratch(int m, int in) {
  if (m < kFewRows) return 0;
  return int64_t{filled_up(m, kSparseVectors * kMostSparseLanes)} * filled_up(in, kSparseWord);
}

void frugal_sparse_multiply(int path, int threads, const FrugalSparse* w, const float* bias, const float* x,
                            ptrdiff_t x_stride, float* scratch, float* y, ptrdiff_t y_stride, int m) {
  const SparseKernel& kernel = *kPaths[path].kernel;
  const int panels = filled_up(w->out, kSparsePanel) / kSparsePanel;
  if (m < kFewRows) {
    spread(panels, threads, [&](int first, int last, int) {
      for (int i = 0; i < m; ++i) {
        for (int panel = first; panel < last; ++panel) {
          kernel.multiply_row(*w, bias, panel, x + i * x_stride, y + i * y_stride + panel * kSparsePanel);
        }
      }
    });
    return;
  }
  const int width = kSparseVectors * kernel.lanes, strips = filled_up(m, width) / width;
  const ptrdiff_t strip_size = ptrdiff_t{width} * filled_up(w->in, kSparseWord);
  const auto rows_of = [&](int strip) { return m - strip * width < width ? m - strip * width : width; };
  spread(strips, threads, [&](int first, int last, int) {
    for (int strip = first; strip < last; ++strip) {
      kernel.pack(x + ptrdiff_t{strip} * width * x_stride, x_stride, rows_of(strip), w->in,
                  scratch + strip * strip_size);
    }
  });
  const auto product = [&](int strip, int panel) {
    float* out = y + ptrdiff_t{strip} * width * y_stride + panel * kSparsePanel;
    kernel.multiply_strip(*w, bias, panel, scratch + strip * strip_size, {out, y_stride, rows_of(strip)});
  };
  // A strip stays in the near caches while all of W passes. With few strips, threads share the panels instead.
  if (strips >= 4 * threads) {
    spread(strips, threads, [&](int first, int last, int) {
      for (int strip = first; strip < last; ++strip) {
        for (int panel = 0; panel < panels; ++panel) product(strip, panel);
      }
    });
  } else {
    spread(panels, threads, [&](int first, int last, int) {
      for (int strip = 0; strip < strips; ++strip) {
        for (int panel = first; panel < last; ++panel) product(strip, panel);
      }
    });
  }
}
