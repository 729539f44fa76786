// The loops of the small operators, written so that a compiler vectorises them. Included by one file per width.
//
// Each loop is a function of its own with restrict pointers: inside a larger one GCC does not vectorise it.

#include <float.h>
#include <string.h>

#include "epilogue_scalar.h"
#include "pointwise.h"

namespace frugal {
namespace {

template <typename Code>
const Code* codes(const uint8_t* x) {
  return reinterpret_cast<const Code*>(x);
}

template <typename Code>
Code* codes(uint8_t* x) {
  return reinterpret_cast<Code*>(x);
}

// The range of an output code before its zero-point is added.
struct Range {
  float low, high;
  int zero_point;
};

inline Range range_of(const FrugalRescale& r) {
  return {static_cast<float>(r.low - r.zero_point), static_cast<float>(r.high - r.zero_point), r.zero_point};
}

inline int code_of(float real, const Range& range) {
  return static_cast<int>(round_half_even(clamp_real(real, range.low, range.high))) + range.zero_point;
}

template <typename Code>
void keep_larger_loop(const Code* __restrict x, Code* __restrict y, size_t count) {
  for (size_t i = 0; i < count; ++i) y[i] = x[i] > y[i] ? x[i] : y[i];
}

template <typename Code>
void add_to_loop(const Code* __restrict x, int32_t* __restrict sum, int count) {
  for (int i = 0; i < count; ++i) sum[i] += x[i];
}

template <typename Code>
void write_average_loop(const int32_t* __restrict sum, int offset, float scale, Range range, int count,
                        Code* __restrict y) {
  for (int i = 0; i < count; ++i) y[i] = static_cast<Code>(code_of(static_cast<float>(sum[i] - offset) * scale, range));
}

template <typename Code>
void add_loop(const FrugalRescale& r, const Code* __restrict a, const Code* __restrict b, Code* __restrict y,
              size_t count) {
  const Range range = range_of(r);
  const float scale_a = r.scale_a, scale_b = r.scale_b;
  const int zero_point_a = r.zero_point_a, zero_point_b = r.zero_point_b;
  for (size_t i = 0; i < count; ++i) {
    const float left = static_cast<float>(a[i] - zero_point_a) * scale_a;
    const float right = static_cast<float>(b[i] - zero_point_b) * scale_b;
    y[i] = static_cast<Code>(code_of(left + right, range));
  }
}

template <typename Code>
void multiply_loop(const FrugalRescale& r, const Code* __restrict a, const Code* __restrict b, Code* __restrict y,
                   int count) {
  const Range range = range_of(r);
  const float scale = r.scale_a;
  const int zero_point_a = r.zero_point_a, zero_point_b = r.zero_point_b;
  for (int i = 0; i < count; ++i) {
    const int product = (a[i] - zero_point_a) * (b[i] - zero_point_b);  // at most 255 * 255
    y[i] = static_cast<Code>(code_of(static_cast<float>(product) * scale, range));
  }
}

// Returns a bit that is set where a value is not finite.
int quantize_loop(const float* __restrict x, int count, float scale, Range range, uint8_t* __restrict y) {
  int strange = 0;
  for (int i = 0; i < count; ++i) {
    strange |= !(__builtin_fabsf(x[i]) <= FLT_MAX);
    y[i] = static_cast<uint8_t>(code_of(x[i] / scale, range));
  }
  return strange;
}

void join_three_loop(const uint8_t* __restrict a, const uint8_t* __restrict b, const uint8_t* __restrict c, int count,
                     uint8_t* __restrict y) {
  for (int i = 0; i < count; ++i) {
    y[3 * i] = a[i];
    y[3 * i + 1] = b[i];
    y[3 * i + 2] = c[i];
  }
}

// A copy may be longer than its row: the next one overwrites the rest. kBytes = 0: a length that is known at run time.
template <size_t kBytes>
void gather_loop(const Gather& g, const uint8_t* from, uint8_t* to) {
  for (int x = 0; x < g.pixels; ++x, from += g.pixel_step, to += g.to_step) {
    const uint8_t* row = from;
    uint8_t* next = to;
    for (int i = 0; i < g.rows; ++i, row += g.line_step, next += g.row_bytes) {
      memcpy(next, row, kBytes ? kBytes : g.row_bytes);
    }
  }
}

// The same for callers that know the type of codes at run time only. FRUGAL_DONE leaves the registers clean.

void keep_larger(bool is_signed, const uint8_t* x, uint8_t* y, size_t count) {
  is_signed ? keep_larger_loop(codes<int8_t>(x), codes<int8_t>(y), count) : keep_larger_loop(x, y, count);
  FRUGAL_DONE();
}

void add_to(bool is_signed, const uint8_t* x, int32_t* sum, int count) {
  is_signed ? add_to_loop(codes<int8_t>(x), sum, count) : add_to_loop(x, sum, count);
  FRUGAL_DONE();
}

void write_average(bool is_signed, const int32_t* sum, int offset, float scale, const FrugalRescale& r, int count,
                   uint8_t* y) {
  const Range range = range_of(r);
  is_signed ? write_average_loop(sum, offset, scale, range, count, codes<int8_t>(y))
            : write_average_loop(sum, offset, scale, range, count, y);
  FRUGAL_DONE();
}

void add(bool is_signed, const FrugalRescale& r, const uint8_t* a, const uint8_t* b, uint8_t* y, size_t count) {
  is_signed ? add_loop(r, codes<int8_t>(a), codes<int8_t>(b), codes<int8_t>(y), count) : add_loop(r, a, b, y, count);
  FRUGAL_DONE();
}

void multiply(bool is_signed, const FrugalRescale& r, const uint8_t* a, const uint8_t* b, uint8_t* y, int count) {
  is_signed ? multiply_loop(r, codes<int8_t>(a), codes<int8_t>(b), codes<int8_t>(y), count)
            : multiply_loop(r, a, b, y, count);
  FRUGAL_DONE();
}

bool quantize(const float* x, int count, float scale, const FrugalRescale& r, uint8_t* y) {
  const int strange = quantize_loop(x, count, scale, range_of(r), y);
  FRUGAL_DONE();
  return strange == 0;
}

void join_three(const uint8_t* const* channels, int count, uint8_t* y) {
  join_three_loop(channels[0], channels[1], channels[2], count, y);
  FRUGAL_DONE();
}

void gather(const Gather& g, const uint8_t* from, uint8_t* to) {
  if (g.row_bytes <= 16) {
    gather_loop<16>(g, from, to);
  } else if (g.row_bytes <= 32) {
    gather_loop<32>(g, from, to);
  } else {
    gather_loop<0>(g, from, to);
  }
  FRUGAL_DONE();
}

}  // namespace
}  // namespace frugal

#define FRUGAL_POINTWISE(path) \
  { path, keep_larger, add_to, write_average, add, multiply, quantize, join_three, gather }
