// What the processor under us can do, asked at run time: one binary serves every machine.
//
// A plain C interface: Python reaches it through ctypes (native.py), a C test through the linker.

#ifndef FRUGAL_CPU_H
#define FRUGAL_CPU_H

#if defined(_WIN32)
#define FRUGAL_API __declspec(dllexport)
#else
#define FRUGAL_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

// The number of this interface. native.py refuses a library that answers another one:
// it was built from older sources.
FRUGAL_API int frugal_interface(void);

// How many features this library knows by name, on any processor.
FRUGAL_API int frugal_cpu_feature_count(void);

// The name of a feature ("avx512_vnni"), or NULL where index is out of range.
FRUGAL_API const char* frugal_cpu_feature_name(int index);

// 1: the processor has it and the operating system saves its registers; 0: not; -1: index is out of range.
FRUGAL_API int frugal_cpu_has(int index);

// The compiler that built this library, for reports.
FRUGAL_API const char* frugal_compiler(void);

#ifdef __cplusplus
}
#endif

#endif
