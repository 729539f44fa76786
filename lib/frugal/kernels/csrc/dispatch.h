// Which kernels this library holds, and which of them this processor runs.

#ifndef FRUGAL_DISPATCH_H
#define FRUGAL_DISPATCH_H

#include "format.h"
#include "kernels.h"

namespace frugal {

// The kernel of a path that frugal_path_available() allows.
const Kernel& kernel_of(int path);

Epilogue epilogue_of(const FrugalLayer& layer, const uint8_t* residual, ptrdiff_t residual_stride);

}  // namespace frugal

#endif
