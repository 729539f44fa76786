// Depthwise convolution, NHWC: every channel has a filter of its own, so there is no matrix to multiply.
//
// Two weight layouts: natural [kernel_h * kernel_w][channels] for the loops that any compiler vectorises, and one for
// the 3x3 kernel on AVX-512 VNNI (depthwise_avx512_vnni.cpp), with bias and scale in the same order.

#ifndef FRUGAL_DEPTHWISE_H
#define FRUGAL_DEPTHWISE_H

#include "format.h"
#include "shape.h"

namespace frugal {

struct Depthwise {
  FrugalConv c;
  const int8_t* weights;
  const uint8_t* x;
  uint8_t* y;
  const uint8_t* border;  // [channels] the code of real 0: what lies outside the image
  bool a_signed;
  Epilogue epilogue;
};

// Fills output lines [first, last) of batch * out_h. acc: memory for channels sums, this thread's own.
using DepthwiseKernel = void(const Depthwise& layer, int first, int last, int32_t* acc);
DepthwiseKernel depthwise_scalar;
DepthwiseKernel depthwise_avx2;
DepthwiseKernel depthwise_avx512_vnni;  // 3x3, dilation 1, u8 and s8 out, scale

}  // namespace frugal

#endif
