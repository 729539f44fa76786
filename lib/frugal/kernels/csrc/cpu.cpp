// Ask the processor, then ask the operating system.
//
//   x86     cpuid  says which instructions exist     leaf 1, leaf 7.0, leaf 7.1
//           xgetbv says which registers are saved    xcr0:  bit 1 xmm | 2 ymm | 5 6 7 zmm and masks | 17 18 tiles
//           An instruction may be used only when both agree: without the second, a task switch would lose
//           half of our registers.
//   arm64   the operating system answers for both    Linux: auxiliary vector, macOS: sysctl
//
// Linux hands out tile memory (AMX) per process: a kernel that uses tiles asks arch_prctl for it first.

#include "cpu.h"

#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__) || defined(_M_IX86)
#define FRUGAL_X86 1
#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(__aarch64__) || defined(_M_ARM64)
#define FRUGAL_ARM64 1
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>
#endif
#endif

namespace {

enum Feature {
  kAvx2,
  kFma,
  kAvxVnni,
  kAvx512f,
  kAvx512bw,
  kAvx512vl,
  kAvx512Vnni,
  kAvx512Vpopcntdq,
  kAmxTile,
  kAmxInt8,
  kAmxBf16,
  kDotprod,
  kI8mm,
  kCount
};

// Linux's words, except that arm64's asimddp goes by the name people use for it: dotprod.
constexpr const char* kNames[kCount] = {"avx2",     "fma",         "avx_vnni",         "avx512f",  "avx512bw",
                                        "avx512vl", "avx512_vnni", "avx512_vpopcntdq", "amx_tile", "amx_int8",
                                        "amx_bf16", "dotprod",     "i8mm"};

constexpr uint32_t mask(Feature feature) { return uint32_t{1} << feature; }

#if defined(FRUGAL_X86)

struct Registers {
  uint32_t eax, ebx, ecx, edx;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r{0, 0, 0, 0};
#if defined(_MSC_VER)
  int out[4];
  __cpuidex(out, static_cast<int>(leaf), static_cast<int>(subleaf));
  r = {static_cast<uint32_t>(out[0]), static_cast<uint32_t>(out[1]), static_cast<uint32_t>(out[2]),
       static_cast<uint32_t>(out[3])};
#else
  __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
#endif
  return r;
}

uint64_t saved_registers() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
#endif
}

constexpr bool bit(uint32_t word, int index) { return word >> index & 1; }

uint32_t detect() {
  const uint32_t last_leaf = cpuid(0, 0).eax;
  const Registers basic = cpuid(1, 0);
  if (last_leaf < 7 || !bit(basic.ecx, 27)) return 0;  // bit 27, OSXSAVE: xgetbv may be called

  const uint64_t saved = saved_registers();
  const bool ymm = (saved & 0x6) == 0x6;                 // xmm and the upper halves of ymm
  const bool zmm = (saved & 0xe6) == 0xe6;               // those, mask registers, both parts of zmm
  const bool tiles = (saved & 0x60000) == 0x60000;       // tile shapes and tile data
  const Registers wide = cpuid(7, 0);
  const Registers more = wide.eax >= 1 ? cpuid(7, 1) : Registers{0, 0, 0, 0};

  uint32_t found = 0;
  const auto add = [&found](Feature feature, bool present) { found |= present ? mask(feature) : 0; };
  add(kAvx2, ymm && bit(wide.ebx, 5));
  add(kFma, ymm && bit(basic.ecx, 12));
  add(kAvxVnni, ymm && bit(more.eax, 4));
  add(kAvx512f, zmm && bit(wide.ebx, 16));
  add(kAvx512bw, zmm && bit(wide.ebx, 30));
  add(kAvx512vl, zmm && bit(wide.ebx, 31));
  add(kAvx512Vnni, zmm && bit(wide.ecx, 11));
  add(kAvx512Vpopcntdq, zmm && bit(wide.ecx, 14));
  add(kAmxTile, tiles && bit(wide.edx, 24));
  add(kAmxInt8, tiles && bit(wide.edx, 25));
  add(kAmxBf16, tiles && bit(wide.edx, 22));
  return found;
}

#elif defined(FRUGAL_ARM64) && defined(__linux__)

uint32_t detect() {
  const bool dotprod = getauxval(AT_HWCAP) >> 20 & 1;  // HWCAP_ASIMDDP
  const bool i8mm = getauxval(AT_HWCAP2) >> 13 & 1;    // HWCAP2_I8MM
  return (dotprod ? mask(kDotprod) : 0) | (i8mm ? mask(kI8mm) : 0);
}

#elif defined(FRUGAL_ARM64) && defined(__APPLE__)

bool sysctl_says(const char* name) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value == 1;
}

uint32_t detect() {
  return (sysctl_says("hw.optional.arm.FEAT_DotProd") ? mask(kDotprod) : 0) |
         (sysctl_says("hw.optional.arm.FEAT_I8MM") ? mask(kI8mm) : 0);
}

#elif defined(FRUGAL_ARM64) && defined(_WIN32)

uint32_t detect() {
  constexpr int kDotprodInstructions = 43;  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE; i8mm has no such number
  return IsProcessorFeaturePresent(kDotprodInstructions) ? mask(kDotprod) : 0;
}

#else

uint32_t detect() { return 0; }

#endif

uint32_t features() {
  static const uint32_t found = detect();  // C++ makes the first call wait for one answer
  return found;
}

}  // namespace

int frugal_interface(void) { return 3; }

int frugal_cpu_feature_count(void) { return kCount; }

const char* frugal_cpu_feature_name(int index) { return index < 0 || index >= kCount ? nullptr : kNames[index]; }

int frugal_cpu_has(int index) {
  if (index < 0 || index >= kCount) return -1;
  return static_cast<int>(features() >> index & 1);
}

const char* frugal_compiler(void) {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#elif defined(_MSC_VER)
  return "msvc";
#else
  return "unknown compiler";
#endif
}
