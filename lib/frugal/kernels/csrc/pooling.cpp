// The small operators between convolutions: quantize, add, multiply, pool, pad, any table. Codes in, codes out, NHWC.
//
// Here are the walks over images and threads; the loops over neighbouring bytes stand in pointwise_loop.h, compiled
// once for each width of registers.

#include <algorithm>
#include <atomic>
#include <cstring>

#include "dispatch.h"
#include "engine.h"
#include "pointwise.h"
#include "pool.h"
#include "shape.h"

namespace frugal {
namespace {

const Pointwise* const kVersions[] = {
#if defined(FRUGAL_WITH_AVX512_VNNI)
    &kPointwiseAvx512,
#endif
#if defined(FRUGAL_WITH_AVX2)
    &kPointwiseAvx2,
#endif
    &kPointwiseScalar,
};

bool may_run(const Pointwise& version) {
  if (!*version.path) return true;
  for (int path = 0; frugal_path_name(path); ++path) {
    if (std::strcmp(frugal_path_name(path), version.path) == 0) return frugal_path_available(path) == 1;
  }
  return false;
}

}  // namespace

const Pointwise& pointwise() {
  static const Pointwise& chosen = [&]() -> const Pointwise& {
    for (const Pointwise* version : kVersions) {
      if (may_run(*version)) return *version;
    }
    return kPointwiseScalar;
  }();
  return chosen;
}

namespace {

uint8_t* scratch(size_t bytes) {
  static thread_local Scratch memory;
  return memory.get(bytes);
}

// Max pooling in two steps: the largest of the window's rows for a whole line, then the largest of neighbours in it.
// A window that holds no pixel keeps the lowest code, as the maximum of nothing.
void max_pool_line(const FrugalConv& c, bool is_signed, const uint8_t* image, int line_y, uint8_t* line, uint8_t* to) {
  const Pointwise& loop = pointwise();
  const size_t channels = c.channels, row_bytes = c.w * channels;
  const uint8_t lowest = is_signed ? 0x80 : 0;
  std::memset(line, lowest, row_bytes);
  for (int i = 0; i < c.kernel_h; ++i) {
    const int y = line_y * c.stride_h - c.pad_h + i * c.dilation_h;
    if (y >= 0 && y < c.h) loop.keep_larger(is_signed, image + y * row_bytes, line, row_bytes);
  }
  const int width = out_w(c);
  for (int column = 0; column < width; ++column, to += channels) {
    std::memset(to, lowest, channels);
    for (int j = 0; j < c.kernel_w; ++j) {
      const int x = column * c.stride_w - c.pad_w + j * c.dilation_w;
      if (x >= 0 && x < c.w) loop.keep_larger(is_signed, line + x * channels, to, channels);
    }
  }
}

// The part of a window, along one direction, that lies inside an image of `size` pixels.
struct Span {
  int first, count;
};

Span inside(int at, int size, int kernel, int stride, int pad) {
  const int start = at * stride - pad;
  const int first = std::max(start, 0), last = std::min(start + kernel, size);
  return {first, std::max(last - first, 0)};
}

// y = code(float(sum - pixels * zero_point_a) * (scale_a / divisor)), one rounding for each of the three operations.
void average_pool_line(const FrugalConv& c, const FrugalRescale& r, bool is_signed, const uint8_t* image, int line_y,
                       int32_t* sum, uint8_t* to) {
  const Pointwise& loop = pointwise();
  const size_t channels = c.channels;
  const Span rows = inside(line_y, c.h, c.kernel_h, c.stride_h, c.pad_h);
  const int width = out_w(c);
  for (int column = 0; column < width; ++column, to += channels) {
    const Span columns = inside(column, c.w, c.kernel_w, c.stride_w, c.pad_w);
    std::memset(sum, 0, channels * sizeof *sum);
    for (int y = rows.first; y < rows.first + rows.count; ++y) {
      const uint8_t* pixel = image + (size_t(y) * c.w + columns.first) * channels;
      for (int x = 0; x < columns.count; ++x, pixel += channels) loop.add_to(is_signed, pixel, sum, c.channels);
    }
    const int pixels = rows.count * columns.count;
    const int divisor = r.count_border ? c.kernel_h * c.kernel_w : std::max(pixels, 1);
    const float scale = r.scale_a / static_cast<float>(divisor);
    loop.write_average(is_signed, sum, pixels * r.zero_point_a, scale, r, c.channels, to);
  }
}

// One line of all channels, [channels][w] reals -> [w][channels] codes. `room`: channels * w bytes.
bool quantize_line(const float* x, size_t channel_stride, int channels, int w, float scale, const FrugalRescale& r,
                   uint8_t* room, uint8_t* y) {
  const Pointwise& loop = pointwise();
  if (channels == 1) return loop.quantize(x, w, scale, r, y);
  bool finite = true;
  for (int n = 0; n < channels; ++n) finite &= loop.quantize(x + n * channel_stride, w, scale, r, room + size_t(n) * w);
  if (channels == 3) {
    const uint8_t* const lines[] = {room, room + w, room + 2 * size_t(w)};
    loop.join_three(lines, w, y);
  } else {
    for (int n = 0; n < channels; ++n) {
      for (int i = 0; i < w; ++i) y[size_t(i) * channels + n] = room[size_t(n) * w + i];
    }
  }
  return finite;
}

// One line of the result: border, or every so many pixels of a line of the input.
void pad_line(const FrugalPad& p, const uint8_t* image, int line, uint8_t* to) {
  const int channels = (p.channels + p.step[2] - 1) / p.step[2], columns = (p.w + p.step[1] - 1) / p.step[1];
  const int y = (line - p.before[0]) * p.step[0];
  std::memset(to, p.zero_point, size_t(p.out[1]) * p.out[2]);
  if (line < p.before[0] || y >= p.h) return;
  const uint8_t* from = image + size_t(y) * p.w * p.channels;
  to += size_t(p.before[1]) * p.out[2] + p.before[2];
  for (int x = 0; x < columns; ++x, from += size_t(p.step[1]) * p.channels, to += p.out[2]) {
    if (p.step[2] == 1) {
      std::memcpy(to, from, channels);
    } else {
      for (int n = 0; n < channels; ++n) to[n] = from[n * p.step[2]];
    }
  }
}

constexpr size_t kLine = 4096;  // values that threads take at once where there are no lines

// Calls work(first, size) on pieces of `count` neighbours.
template <typename Work>
void spread_values(size_t count, int threads, const Work& work) {
  spread(static_cast<int>((count + kLine - 1) / kLine), threads, [&](int first, int last, int) {
    const size_t begin = first * kLine;
    work(begin, std::min(count, last * kLine) - begin);
  });
}

}  // namespace
}  // namespace frugal

using namespace frugal;

int frugal_quantize(int threads, const float* x, uint8_t* y, int batch, int channels, int h, int w, float scale,
                    int zero_point, int low, int high) {
  FrugalRescale range{};
  range.zero_point = zero_point, range.low = low, range.high = high;
  std::atomic<bool> finite{true};
  const int failed = guarded([&] {
    spread(batch * h, threads, [&](int first, int last, int) {
      uint8_t* room = scratch(size_t(channels) * w);
      for (int line = first; line < last; ++line) {
        const float* from = x + (size_t(line / h) * channels * h + line % h) * w;
        uint8_t* to = y + size_t(line) * w * channels;
        if (!quantize_line(from, size_t(h) * w, channels, w, scale, range, room, to)) finite = false;
      }
    });
  });
  return failed ? failed : finite ? 0 : FRUGAL_NOT_FINITE;
}

int frugal_max_pool(int threads, const FrugalConv* c, int is_signed, const uint8_t* x, uint8_t* y) {
  return guarded([&] {
    const int height = out_h(*c), width = out_w(*c);
    const size_t row_bytes = size_t(c->w) * c->channels;
    spread(c->batch * height, threads, [&](int first, int last, int) {
      uint8_t* line = scratch(row_bytes);
      for (int i = first; i < last; ++i) {
        uint8_t* to = y + size_t(i) * width * c->channels;
        max_pool_line(*c, is_signed != 0, x + i / height * c->h * row_bytes, i % height, line, to);
      }
    });
  });
}

int frugal_average_pool(int threads, const FrugalConv* c, const FrugalRescale* r, int is_signed, const uint8_t* x,
                        uint8_t* y) {
  return guarded([&] {
    const int height = out_h(*c), width = out_w(*c);
    const size_t row_bytes = size_t(c->w) * c->channels;
    spread(c->batch * height, threads, [&](int first, int last, int) {
      int32_t* sum = reinterpret_cast<int32_t*>(scratch(c->channels * sizeof(int32_t)));
      for (int i = first; i < last; ++i) {
        uint8_t* to = y + size_t(i) * width * c->channels;
        average_pool_line(*c, *r, is_signed != 0, x + i / height * c->h * row_bytes, i % height, sum, to);
      }
    });
  });
}

int frugal_add(int threads, const FrugalRescale* r, int is_signed, const uint8_t* a, const uint8_t* b, uint8_t* y,
               size_t count) {
  return guarded([&] {
    spread_values(count, threads, [&](size_t first, size_t size) {
      pointwise().add(is_signed != 0, *r, a + first, b + first, y + first, size);
    });
  });
}

int frugal_table(int threads, const uint8_t* table, const uint8_t* a, uint8_t* y, size_t count) {
  return guarded([&] {
    spread_values(count, threads, [&](size_t first, size_t size) {
      for (size_t i = first; i < first + size; ++i) y[i] = table[a[i]];
    });
  });
}

int frugal_multiply(int threads, const FrugalRescale* r, int is_signed, int one_row, const uint8_t* a,
                    const uint8_t* b, uint8_t* y, int pictures, int pixels, int channels) {
  return guarded([&] {
    spread(pictures * pixels, threads, [&](int first, int last, int) {
      for (int i = first; i < last; ++i) {
        const size_t at = size_t(i) * channels, at_b = one_row ? size_t(i / pixels) * channels : at;
        pointwise().multiply(is_signed != 0, *r, a + at, b + at_b, y + at, channels);
      }
    });
  });
}

int frugal_pad(int threads, const FrugalPad* p, const uint8_t* x, uint8_t* y) {
  const int height = p->out[0];
  return guarded([&] {
    spread(p->batch * height, threads, [&](int first, int last, int) {
      for (int i = first; i < last; ++i) {
        const uint8_t* image = x + size_t(i / height) * p->h * p->w * p->channels;
        pad_line(*p, image, i % height, y + size_t(i) * p->out[1] * p->out[2]);
      }
    });
  });
}
