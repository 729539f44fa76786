// The small operators between convolutions: quantize, add, pool. Codes in, codes out, NHWC.
//
// Plain loops over neighbouring bytes, which compilers vectorise.

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <limits>
#include <vector>

#include "dispatch.h"
#include "engine.h"
#include "epilogue_scalar.h"
#include "pool.h"
#include "shape.h"

namespace frugal {
namespace {

// The range of an output code before its zero-point is added.
struct Range {
  float low, high;
  int zero_point;
};

Range range_of(int low, int high, int zero_point) {
  return {static_cast<float>(low - zero_point), static_cast<float>(high - zero_point), zero_point};
}

inline int code_of(float real, const Range& range) {
  return static_cast<int>(round_half_even(clamp_real(real, range.low, range.high))) + range.zero_point;
}

// Calls work(pixel) for the pixels of the image under the window of one output pixel.
template <typename Code, typename Work>
void each_pixel(const FrugalConv& c, const Code* image, int y, int x, const Work& work) {
  const int top = y * c.stride_h - c.pad_h, left = x * c.stride_w - c.pad_w;
  for (int i = 0; i < c.kernel_h; ++i) {
    const int source_y = top + i * c.dilation_h;
    if (source_y < 0 || source_y >= c.h) continue;
    for (int j = 0; j < c.kernel_w; ++j) {
      const int source_x = left + j * c.dilation_w;
      if (source_x >= 0 && source_x < c.w) work(image + (size_t(source_y) * c.w + source_x) * c.channels);
    }
  }
}

template <typename Code>
void keep_larger(const Code* __restrict x, Code* __restrict y, size_t count) {
  for (size_t i = 0; i < count; ++i) y[i] = x[i] > y[i] ? x[i] : y[i];
}

// A window that holds no pixel keeps the lowest code, as the maximum of nothing.
template <typename Code>
void max_pool(const FrugalConv& c, const Code* x, Code* y, int first, int last) {
  const size_t channels = c.channels;
  const int height = out_h(c), width = out_w(c);
  for (int line = first; line < last; ++line) {
    const Code* image = x + size_t(line / height) * c.h * c.w * channels;
    for (int column = 0; column < width; ++column) {
      Code* to = y + (size_t(line) * width + column) * channels;
      std::fill_n(to, channels, std::numeric_limits<Code>::lowest());
      each_pixel(c, image, line % height, column, [&](const Code* pixel) { keep_larger(pixel, to, channels); });
    }
  }
}

template <typename Code>
void add_to(const Code* __restrict x, int32_t* __restrict sum, int count) {
  for (int i = 0; i < count; ++i) sum[i] += x[i];
}

template <typename Code>
void write_average(const int32_t* __restrict sum, int offset, float scale, const Range& range, int count,
                   Code* __restrict y) {
  for (int i = 0; i < count; ++i) y[i] = static_cast<Code>(code_of(static_cast<float>(sum[i] - offset) * scale, range));
}

// y = code(float(sum - pixels * zero_point_a) * (scale_a / divisor)), one rounding for each of the three operations.
template <typename Code>
void average_pool(const FrugalConv& c, const FrugalRescale& r, const Code* x, Code* y, int first, int last,
                  int32_t* sum) {
  const Range range = range_of(r.low, r.high, r.zero_point);
  const int height = out_h(c), width = out_w(c);
  const size_t channels = c.channels;
  for (int line = first; line < last; ++line) {
    const Code* image = x + size_t(line / height) * c.h * c.w * channels;
    for (int column = 0; column < width; ++column) {
      std::fill_n(sum, channels, 0);
      int pixels = 0;
      each_pixel(c, image, line % height, column, [&](const Code* pixel) {
        add_to(pixel, sum, c.channels);
        ++pixels;
      });
      const int divisor = r.count_border ? c.kernel_h * c.kernel_w : std::max(pixels, 1);
      const float scale = r.scale_a / static_cast<float>(divisor);
      Code* to = y + (size_t(line) * width + column) * channels;
      write_average(sum, pixels * r.zero_point_a, scale, range, c.channels, to);
    }
  }
}

// y = code(float(a - zero_point_a) * scale_a + float(b - zero_point_b) * scale_b)
template <typename Code>
void add_codes(const FrugalRescale& r, const Code* __restrict a, const Code* __restrict b, Code* __restrict y,
               size_t count) {
  const Range range = range_of(r.low, r.high, r.zero_point);
  const float scale_a = r.scale_a, scale_b = r.scale_b;
  const int zero_point_a = r.zero_point_a, zero_point_b = r.zero_point_b;
  for (size_t i = 0; i < count; ++i) {
    const float left = static_cast<float>(a[i] - zero_point_a) * scale_a;
    const float right = static_cast<float>(b[i] - zero_point_b) * scale_b;
    y[i] = static_cast<Code>(code_of(left + right, range));
  }
}

// Codes of neighbouring reals, `stride` bytes apart. Returns false where one is not finite.
bool quantize_row(const float* __restrict x, int count, float scale, const Range& range, uint8_t* __restrict y,
                  size_t stride) {
  constexpr int kChunk = 256;  // the arithmetic on neighbours is vectorised, the scattered stores are not
  uint8_t codes[kChunk];
  int strange = 0;
  for (int start = 0; start < count; start += kChunk) {
    const int n = std::min(kChunk, count - start);
    for (int i = 0; i < n; ++i) {
      const float real = x[start + i];
      strange |= !(std::fabs(real) <= FLT_MAX);
      codes[i] = static_cast<uint8_t>(code_of(real / scale, range));
    }
    for (int i = 0; i < n; ++i) y[(start + i) * stride] = codes[i];
  }
  return strange == 0;
}

}  // namespace
}  // namespace frugal

using namespace frugal;

int frugal_quantize(int threads, const float* x, uint8_t* y, int batch, int channels, int h, int w, float scale,
                    int zero_point, int low, int high) {
  const Range range = range_of(low, high, zero_point);
  std::atomic<bool> finite{true};
  const int failed = guarded([&] {
    spread(batch * h, threads, [&](int first, int last, int) {
      for (int line = first; line < last; ++line) {
        uint8_t* to = y + size_t(line) * w * channels;
        for (int n = 0; n < channels; ++n) {
          const float* from = x + ((size_t(line / h) * channels + n) * h + line % h) * w;
          if (!quantize_row(from, w, scale, range, to + n, channels)) finite = false;
        }
      }
    });
  });
  return failed ? failed : finite ? 0 : FRUGAL_NOT_FINITE;
}

int frugal_max_pool(int threads, const FrugalConv* c, int is_signed, const uint8_t* x, uint8_t* y) {
  return guarded([&] {
    spread(c->batch * out_h(*c), threads, [&](int first, int last, int) {
      if (is_signed) {
        max_pool(*c, reinterpret_cast<const int8_t*>(x), reinterpret_cast<int8_t*>(y), first, last);
      } else {
        max_pool(*c, x, y, first, last);
      }
    });
  });
}

int frugal_average_pool(int threads, const FrugalConv* c, const FrugalRescale* r, int is_signed, const uint8_t* x,
                        uint8_t* y) {
  return guarded([&] {
    threads = std::clamp(threads, 1, int{Pool::kMostThreads});
    std::vector<int32_t> sums(size_t(c->channels) * threads);
    spread(c->batch * out_h(*c), threads, [&](int first, int last, int thread) {
      int32_t* sum = sums.data() + size_t(c->channels) * thread;
      if (is_signed) {
        average_pool(*c, *r, reinterpret_cast<const int8_t*>(x), reinterpret_cast<int8_t*>(y), first, last, sum);
      } else {
        average_pool(*c, *r, x, y, first, last, sum);
      }
    });
  });
}

int frugal_add(int threads, const FrugalRescale* r, int is_signed, const uint8_t* a, const uint8_t* b, uint8_t* y,
               size_t count) {
  constexpr size_t kLine = 4096;
  return guarded([&] {
    spread(static_cast<int>((count + kLine - 1) / kLine), threads, [&](int first, int last, int) {
      const size_t begin = first * kLine, size = std::min(count, last * kLine) - begin;
      if (is_signed) {
        add_codes(*r, reinterpret_cast<const int8_t*>(a) + begin, reinterpret_cast<const int8_t*>(b) + begin,
                  reinterpret_cast<int8_t*>(y) + begin, size);
      } else {
        add_codes(*r, a + begin, b + begin, y + begin, size);
      }
    });
  });
}
