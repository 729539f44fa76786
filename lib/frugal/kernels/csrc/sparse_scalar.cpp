// Sparse products for any processor: four floats side by side, which a compiler may turn into what it has.

#include "sparse_loop.h"

namespace frugal {
namespace {

struct Lanes {
  struct Register {
    float v[4];
  };
  static constexpr int kLanes = 4;
  static constexpr bool kManyRegisters = false;

  static Register zero() { return {}; }
  static Register all(float value) { return {{value, value, value, value}}; }
  static Register load(const float* x) { return {{x[0], x[1], x[2], x[3]}}; }
  static void store(float* y, const Register& a) { memcpy(y, a.v, sizeof a.v); }
  static Register add(const Register& a, const Register& b) {
    return {{a.v[0] + b.v[0], a.v[1] + b.v[1], a.v[2] + b.v[2], a.v[3] + b.v[3]}};
  }
  static Register fma(const Register& a, const Register& b, const Register& sum) {
    return {{a.v[0] * b.v[0] + sum.v[0], a.v[1] * b.v[1] + sum.v[1], a.v[2] * b.v[2] + sum.v[2],
             a.v[3] * b.v[3] + sum.v[3]}};
  }
  static void transpose(const float* from, ptrdiff_t pitch, float* to, ptrdiff_t to_pitch) {
    transpose_plain<kLanes>(from, pitch, to, to_pitch);
  }
  static float dot(const float* values, const int16_t* columns, int count, const float* x) {
    return dot_plain(values, columns, count, x);
  }
  static float dot_two_four(const float* values, const uint32_t* places, int words, const float* x) {
    return dot_two_four_plain(values, places, words, x);
  }
  static void done() {}
};

}  // namespace

const SparseKernel kSparseScalar = {"scalar", Lanes::kLanes, pack<Lanes>, multiply_strip<Lanes>, multiply_row<Lanes>};

}  // namespace frugal
