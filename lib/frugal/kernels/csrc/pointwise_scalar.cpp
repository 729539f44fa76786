// The small operators for any processor; on x86 the compiler makes SSE2 of them, on arm64 NEON.

#define FRUGAL_DONE()

#include "pointwise_loop.h"

namespace frugal {

const Pointwise kPointwiseScalar = FRUGAL_POINTWISE("");

}  // namespace frugal
