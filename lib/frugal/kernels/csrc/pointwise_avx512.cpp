// The small operators for AVX-512: the loops of pointwise_loop.h, vectorised by the compiler for 512-bit registers.

#include <immintrin.h>

#define FRUGAL_DONE() _mm256_zeroupper()  // the caller is compiled without AVX

#include "pointwise_loop.h"

namespace frugal {

const Pointwise kPointwiseAvx512 = FRUGAL_POINTWISE("avx512_vnni");

}  // namespace frugal
