// The ladder of processors, widest first. A path may be taken when the processor has all of its features, the operating
// system saves the registers (cpu.cpp), and, for AMX, Linux grants the process tile memory. The build leaves out what
// the compiler does not know.

#include "dispatch.h"

#include <cstring>
#include <initializer_list>

#include "engine.h"

namespace frugal {

#if defined(FRUGAL_WITH_AMX)
bool amx_permitted();
#endif

namespace {

bool always() { return true; }

struct Path {
  const Kernel* kernel;
  const char* features[6];
  bool (*permitted)();
};

const Path kPaths[] = {
#if defined(FRUGAL_WITH_AMX)
    // Intel Sapphire Rapids 2023, Granite Rapids 2024
    {&kGemmAmx, {"amx_tile", "amx_int8", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"}, amx_permitted},
#endif
#if defined(FRUGAL_WITH_AVX512_VNNI)
    // Intel Cascade Lake 2019, Ice Lake 2019; AMD Zen 4 2022
    {&kGemmAvx512Vnni, {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"}, always},
#endif
#if defined(FRUGAL_WITH_AVX_VNNI)
    // Intel Alder Lake 2021, Arrow Lake 2024; AMD Zen 5 2024
    {&kGemmAvxVnni, {"avx2", "avx_vnni"}, always},
#endif
#if defined(FRUGAL_WITH_AVX2)
    // Intel Haswell 2013; AMD Zen 2017
    {&kGemmAvx2, {"avx2"}, always},
#endif
#if defined(FRUGAL_WITH_I8MM)
    // Arm Neoverse V1 2020, Cortex-A710 2021; Apple M2 2022
    {&kGemmI8mm, {"i8mm"}, always},
#endif
#if defined(FRUGAL_WITH_DOTPROD)
    // Arm Cortex-A76 2018, Neoverse N1 2019; Apple M1 2020
    {&kGemmDotprod, {"dotprod"}, always},
#endif
    // any processor
    {&kGemmScalar, {}, always},
};

constexpr int kPathCount = sizeof kPaths / sizeof kPaths[0];

bool has(const char* feature) {
  for (int i = 0; i < frugal_cpu_feature_count(); ++i) {
    if (std::strcmp(feature, frugal_cpu_feature_name(i)) == 0) return frugal_cpu_has(i) == 1;
  }
  return false;
}

}  // namespace

const Kernel& kernel_of(int path) { return *kPaths[path].kernel; }

Epilogue epilogue_of(const FrugalLayer& layer, const uint8_t* residual, ptrdiff_t residual_stride) {
  Epilogue e;
  e.bias = layer.bias;
  e.scale = layer.scale;
  e.multiplier = layer.multiplier;
  e.shift = layer.shift;
  e.zero_point = layer.zero_point;
  e.low = layer.low;
  e.high = layer.high;
  e.output = static_cast<Output>(layer.output);
  e.residual = residual;
  e.residual_stride = residual_stride;
  e.residual_scale = layer.residual_scale;
  e.residual_zero_point = layer.residual_zero_point;
  return e;
}

}  // namespace frugal

using namespace frugal;

const char* frugal_path_name(int path) { return path < 0 || path >= kPathCount ? nullptr : kPaths[path].kernel->name; }

int frugal_path_available(int path) {
  if (path < 0 || path >= kPathCount) return -1;
  for (const char* feature : kPaths[path].features) {
    if (feature && !has(feature)) return 0;
  }
  return kPaths[path].permitted() ? 1 : 0;
}

int frugal_gemm(int path, int threads, const FrugalLayer* layer, const uint8_t* a, ptrdiff_t a_stride, int m, void* y,
                ptrdiff_t y_stride, const uint8_t* residual, ptrdiff_t residual_stride) {
  static constexpr ptrdiff_t kNoTap = 0;
  Rows rows;
  rows.a = a;
  rows.a_signed = layer->a_signed != 0;
  rows.row_stride = a_stride;
  rows.tap = &kNoTap;
  rows.rows_per_image = m;
  rows.end = a + (m - 1) * a_stride + layer->depth;
  const Weights weights{layer->weights, layer->column_sums, layer->n, 1, layer->depth};
  const Epilogue epilogue = epilogue_of(*layer, residual, residual_stride);
  return guarded([&] { multiply(kernel_of(path), rows, weights, y, y_stride, epilogue, threads); });
}
