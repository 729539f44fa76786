// The loops of the small operators, once for each width of registers.
//
// Codes travel as bytes; `is_signed` says what they mean. Every version rounds alike, so a version is a matter of speed.

#ifndef FRUGAL_POINTWISE_H
#define FRUGAL_POINTWISE_H

#include "kernels.h"

namespace frugal {

// One output line of a convolution with few channels: for each of `pixels`, the `rows` rows of the kernel one behind the
// other. Steps are in bytes.
struct Gather {
  static constexpr size_t kOverread = 64;  // behind what it copies, it may read and write so many bytes
  ptrdiff_t pixel_step, line_step;
  size_t row_bytes;
  int rows, pixels;
  ptrdiff_t to_step;
};

struct Pointwise {
  const char* path;  // the first one (from the widest on) that may use this version

  // y [i] = max(y [i], x [i])
  void (*keep_larger)(bool is_signed, const uint8_t* x, uint8_t* y, size_t count);
  // sum [i] += x [i]
  void (*add_to)(bool is_signed, const uint8_t* x, int32_t* sum, int count);
  // y [i] = code(float(sum [i] - offset) * scale)
  void (*write_average)(bool is_signed, const int32_t* sum, int offset, float scale, const FrugalRescale& r, int count,
                        uint8_t* y);
  // y [i] = code(float(a [i] - zero_point_a) * scale_a + float(b [i] - zero_point_b) * scale_b)
  void (*add)(bool is_signed, const FrugalRescale& r, const uint8_t* a, const uint8_t* b, uint8_t* y, size_t count);
  // y [i] = code(float((a [i] - zero_point_a) * (b [i] - zero_point_b)) * scale_a)
  void (*multiply)(bool is_signed, const FrugalRescale& r, const uint8_t* a, const uint8_t* b, uint8_t* y, int count);
  // y [i] = code(x [i] / scale); false where an x is not finite
  bool (*quantize)(const float* x, int count, float scale, const FrugalRescale& r, uint8_t* y);
  // y [3 * i + channel] = channels [channel] [i]
  void (*join_three)(const uint8_t* const* channels, int count, uint8_t* y);
  void (*gather)(const Gather& g, const uint8_t* from, uint8_t* to);
};

// The version for this processor.
const Pointwise& pointwise();

extern const Pointwise kPointwiseScalar;
extern const Pointwise kPointwiseAvx2;
extern const Pointwise kPointwiseAvx512;

}  // namespace frugal

#endif
