"""Right answers to exercise 4.6.4, each written differently."""


def pointers_that_walk() -> str:
    return r"""
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  for (; m > 0; --m, x += k) {
    const int8_t* row = w;
    for (int j = 0; j < n; ++j) {
      int32_t total = 0;
      for (int p = 0; p < k; ++p) total += int32_t{x[p]} * int32_t{*row++};
      *y++ = total;
    }
  }
}
"""


def columns_outside() -> str:
    return """
#include <numeric>
static int dot(const uint8_t* a, const int8_t* b, int k) { return std::inner_product(a, a + k, b, 0); }
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
    for (int j = 0; j < n; j++)
        for (int i = 0; i < m; i++) y[i*n+j] = dot(x + i*k, w + j*k, k);
}
"""


def clears_first() -> str:
    return (
        "void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {\n"
        "  memset(y, 0, sizeof(int32_t) * m * n);\n"
        "  for (int p = 0; p < k; ++p) for (int i = 0; i < m; ++i) for (int j = 0; j < n; ++j)\n"
        "    y[i * n + j] += x[i * k + p] * w[j * k + p];\n}\n"
    )


def four_at_a_time() -> str:
    return r"""
template <typename Number> void multiply(const uint8_t* x, const int8_t* w, Number* y, int m, int n, int k) {
  for (int at = 0; at < m * n; ++at) {
    auto a = x + at / n * k; auto b = w + at % n * k;
    Number s0 = 0, s1 = 0; int p = 0;
    for (; p + 1 < k; p += 2) { s0 += a[p] * b[p]; s1 += a[p + 1] * b[p + 1]; }
    if (p < k) s0 += a[p] * b[p];
    y[at] = s0 + s1;
  }
}
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) { multiply(x, w, y, m, n, k); }
"""
