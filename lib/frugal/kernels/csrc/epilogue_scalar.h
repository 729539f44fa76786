// From sums to outputs, one value at a time: the definition that every vector epilogue repeats bit for bit.
//
// Compiled with -ffp-contract=off: a fused multiply-add would round once where the definition rounds twice.

#ifndef FRUGAL_EPILOGUE_SCALAR_H
#define FRUGAL_EPILOGUE_SCALAR_H

#include <float.h>

#include "format.h"

static_assert(FLT_EVAL_METHOD == 0, "float arithmetic must round to float at every step");

namespace frugal {
namespace {  // each file that includes this gets a copy of its own: their compiler flags differ

// Below 2^22. A float at 2^23 has no bit left for a fraction, so adding 1.5 * 2^23 makes the processor round (halves to
// even), and subtracting it leaves the integer. Any compiler turns this into vector code, which nearbyint() is not.
inline float round_half_even(float x) {
  constexpr float kNoFraction = 12582912.0f;
  return (x + kNoFraction) - kNoFraction;
}

// Written so that nan becomes low, as in maxps and minps.
inline float clamp_real(float x, float low, float high) {
  x = x > low ? x : low;
  return x < high ? x : high;
}

// round(acc * multiplier / 2^(31 + shift)), halves up; exact in 64 bits because |acc * multiplier| < 2^62.
inline int64_t fixed_point(int32_t acc, int32_t multiplier, int32_t shift) {
  const int right = 31 + shift;  // 1 to 62
  return (int64_t{acc} * multiplier + (int64_t{1} << (right - 1))) >> right;
}

inline void write_fixed_point(const int32_t* acc, int n, const Epilogue& e, uint8_t* y) {
  for (int i = 0; i < n; ++i) {
    const int64_t code = fixed_point(acc[i], e.multiplier[i], e.shift[i]) + e.zero_point;
    y[i] = static_cast<uint8_t>(code < e.low ? e.low : code > e.high ? e.high : code);
  }
}

// A function of its own with restrict pointers: inside a larger loop GCC does not vectorise it.
template <bool kResidual, bool kSigned>
inline void write_codes(const int32_t* __restrict acc, const float* __restrict scale, int n, const Epilogue& e,
                        const uint8_t* __restrict residual, uint8_t* __restrict y) {
  const float low = static_cast<float>(e.low - e.zero_point), high = static_cast<float>(e.high - e.zero_point);
  const float residual_scale = e.residual_scale;
  const int zero_point = e.zero_point, residual_zero_point = e.residual_zero_point;
  for (int i = 0; i < n; ++i) {
    float real = static_cast<float>(acc[i]) * scale[i];
    if (kResidual) {
      const int code = kSigned ? static_cast<int8_t>(residual[i]) : residual[i];
      real = real + static_cast<float>(code - residual_zero_point) * residual_scale;
    }
    const float code = round_half_even(clamp_real(real, low, high));
    y[i] = static_cast<uint8_t>(static_cast<int32_t>(code) + zero_point);
  }
}

// One row of n outputs; `residual` is that row's, or null.
inline void write_row(const int32_t* acc, int n, const Epilogue& e, const uint8_t* residual, void* y) {
  uint8_t* codes = static_cast<uint8_t*>(y);
  switch (e.output) {
    case Output::kS32:
      for (int i = 0; i < n; ++i) static_cast<int32_t*>(y)[i] = acc[i];
      return;
    case Output::kF32:
      for (int i = 0; i < n; ++i) static_cast<float*>(y)[i] = static_cast<float>(acc[i]) * e.scale[i];
      return;
    default:
      if (e.multiplier) return write_fixed_point(acc, n, e, codes);
      if (!residual) return write_codes<false, false>(acc, e.scale, n, e, nullptr, codes);
      if (e.output == Output::kS8) return write_codes<true, true>(acc, e.scale, n, e, residual, codes);
      return write_codes<true, false>(acc, e.scale, n, e, residual, codes);
  }
}

// acc holds the sums of a block, bias included, in rows of acc_stride.
inline void epilogue_scalar(const int32_t* acc, int acc_stride, const Block& block) {
  const Epilogue& e = block.epilogue;
  for (int i = 0; i < block.m; ++i) {
    const ptrdiff_t row = output_row(block, i);
    if (row < 0) continue;
    const uint8_t* residual = e.residual ? e.residual + row * e.residual_stride : nullptr;
    char* y = static_cast<char*>(block.y) + row * block.y_stride * bytes_of(e.output);
    write_row(acc + i * acc_stride, block.n, e, residual, y);
  }
}

}  // namespace
}  // namespace frugal

#endif
