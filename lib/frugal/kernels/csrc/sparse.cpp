// Products with a sparse matrix: the loops around a kernel, and the ladder of processors.

#include "sparse.h"

#include <cstring>

#include "pool.h"

namespace frugal {
namespace {

constexpr int kFewRows = 4;         // so many make strips
constexpr int kRowsTogether = 480;  // for each thread: what is laid out anew stays in the second cache, however long x is

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

int rows_together(int threads, int m) {
  const int64_t most = int64_t{kRowsTogether} * (threads < 1 ? 1 : threads);
  return m < most ? m : static_cast<int>(most);
}

// What rows of x and y a call is about.
struct Rows {
  const float* x;
  ptrdiff_t x_stride;
  float* y;
  ptrdiff_t y_stride;
  int count;
};

void multiply_rows(const SparseKernel& kernel, int threads, const FrugalSparse& w, const float* bias, const Rows& r) {
  spread(filled_up(w.out, kSparsePanel) / kSparsePanel, threads, [&](int first, int last, int) {
    for (int i = 0; i < r.count; ++i) {
      for (int panel = first; panel < last; ++panel) {
        kernel.multiply_row(w, bias, panel, r.x + i * r.x_stride, r.y + i * r.y_stride + panel * kSparsePanel);
      }
    }
  });
}

void multiply_strips(const SparseKernel& kernel, int threads, const FrugalSparse& w, const float* bias, const Rows& r,
                     float* scratch) {
  const int panels = filled_up(w.out, kSparsePanel) / kSparsePanel;
  const int width = kSparseVectors * kernel.lanes, strips = filled_up(r.count, width) / width;
  const ptrdiff_t strip_size = ptrdiff_t{width} * filled_up(w.in, kSparseWord);
  const auto rows_of = [&](int strip) { return r.count - strip * width < width ? r.count - strip * width : width; };
  spread(strips, threads, [&](int first, int last, int) {
    for (int strip = first; strip < last; ++strip) {
      kernel.pack(r.x + strip * width * r.x_stride, r.x_stride, rows_of(strip), w.in, scratch + strip * strip_size);
    }
  });
  const auto product = [&](int strip, int panel) {
    float* out = r.y + strip * width * r.y_stride + panel * kSparsePanel;
    kernel.multiply_strip(w, bias, panel, scratch + strip * strip_size, {out, r.y_stride, rows_of(strip)});
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

int64_t frugal_sparse_scratch(int threads, int m, int in) {
  if (m < kFewRows) return 0;
  return int64_t{filled_up(rows_together(threads, m), kSparseVectors * kMostSparseLanes)} * filled_up(in, kSparseWord);
}

void frugal_sparse_multiply(int path, int threads, const FrugalSparse* w, const float* bias, const float* x,
                            ptrdiff_t x_stride, float* scratch, float* y, ptrdiff_t y_stride, int m) {
  const SparseKernel& kernel = *kPaths[path].kernel;
  const int together = rows_together(threads, m);
  for (int first = 0; first < m; first += together) {
    const int count = m - first < together ? m - first : together;
    const Rows rows{x + first * x_stride, x_stride, y + first * y_stride, y_stride, count};
    if (m < kFewRows) {
      multiply_rows(kernel, threads, *w, bias, rows);
    } else {
      multiply_strips(kernel, threads, *w, bias, rows, scratch);
    }
  }
}
