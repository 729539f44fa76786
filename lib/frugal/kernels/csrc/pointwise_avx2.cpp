// The small operators for AVX2: the loops of pointwise_loop.h, vectorised by the compiler for 256-bit registers.

#include <immintrin.h>

#define FRUGAL_DONE() _mm256_zeroupper()  // the caller is compiled without AVX

#include "pointwise_loop.h"

namespace frugal {

const Pointwise kPointwiseAvx2 = FRUGAL_POINTWISE("avx2");

}  // namespace frugal
