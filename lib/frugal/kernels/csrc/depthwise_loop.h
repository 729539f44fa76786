// The depthwise loops, written so that a compiler vectorises over channels. Included by one file per instruction set.

#include <string.h>

#include "depthwise.h"
#include "epilogue_scalar.h"

namespace frugal {
namespace {

// A function of its own with restrict pointers: inside a larger loop GCC does not vectorise it.
template <typename Activation>
void add_products(const Activation* __restrict x, const int8_t* __restrict w, int32_t* __restrict acc, int channels) {
  for (int n = 0; n < channels; ++n) acc[n] += static_cast<int32_t>(x[n]) * w[n];
}

// The sums of the output pixel at line y, column x of one image.
template <typename Activation>
void sum_window(const Depthwise& d, const uint8_t* image, int y, int x, int32_t* acc) {
  const FrugalConv& c = d.c;
  for (int i = 0; i < c.kernel_h; ++i) {
    const int source_y = y * c.stride_h + i * c.dilation_h - c.pad_h;
    for (int j = 0; j < c.kernel_w; ++j) {
      const int source_x = x * c.stride_w + j * c.dilation_w - c.pad_w;
      const bool inside = source_y >= 0 && source_y < c.h && source_x >= 0 && source_x < c.w;
      const uint8_t* pixel = inside ? image + (size_t(source_y) * c.w + source_x) * c.channels : d.border;
      const int8_t* w = d.weights + size_t(i * c.kernel_w + j) * c.channels;
      add_products(reinterpret_cast<const Activation*>(pixel), w, acc, c.channels);
    }
  }
}

template <typename Activation>
void run_lines(const Depthwise& d, int first, int last, int32_t* acc) {
  const Epilogue& e = d.epilogue;
  const int height = out_h(d.c), width = out_w(d.c);
  const size_t channels = d.c.channels;
  for (int line = first; line < last; ++line) {
    const uint8_t* image = d.x + size_t(line / height) * d.c.h * d.c.w * channels;
    for (int x = 0; x < width; ++x) {
      if (e.bias) {
        memcpy(acc, e.bias, channels * sizeof *acc);
      } else {
        memset(acc, 0, channels * sizeof *acc);
      }
      sum_window<Activation>(d, image, line % height, x, acc);
      const size_t at = (size_t(line) * width + x) * channels;
      write_row(acc, d.c.channels, e, e.residual ? e.residual + at : nullptr, d.y + at * bytes_of(e.output));
    }
  }
}

}  // namespace
}  // namespace frugal
