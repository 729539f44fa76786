// Depthwise convolution for any processor: the definition.

#include "depthwise_loop.h"

namespace frugal {

void depthwise_scalar(const Depthwise& layer, int first, int last, int32_t* acc) {
  layer.a_signed ? run_lines<int8_t>(layer, first, last, acc) : run_lines<uint8_t>(layer, first, last, acc);
}

}  // namespace frugal
