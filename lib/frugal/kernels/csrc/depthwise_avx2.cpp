// Depthwise convolution for AVX2: the loops of depthwise_loop.h, vectorised by the compiler for 256-bit registers.

#include <immintrin.h>

#include "depthwise_loop.h"

namespace frugal {

void depthwise_avx2(const Depthwise& layer, int first, int last, int32_t* acc) {
  layer.a_signed ? run_lines<int8_t>(layer, first, last, acc) : run_lines<uint8_t>(layer, first, last, acc);
  _mm256_zeroupper();  // the caller is compiled without AVX
}

}  // namespace frugal
