"""Right answers to exercise 4.6.6, each written differently."""


def two_rows_with_a_tail() -> str:
    return r"""
typedef int32_t lanes __attribute__((vector_size(64)));
static inline lanes load(const int8_t* w) { lanes quad; memcpy(&quad, w, 64); return quad; }
template <int kRows> static void rows(const uint8_t* x, const int8_t* w, int32_t* y, int n, int left, int k) {
  lanes sum[kRows] = {};
  int p = 0;
  for (; p + 4 <= k; p += 4, w += 64) {
    const lanes quad = load(w), b0 = quad << 24 >> 24, b1 = quad << 16 >> 24, b2 = quad << 8 >> 24, b3 = quad >> 24;
    for (int r = 0; r < kRows; ++r) {
      const uint8_t* a = x + r * k + p;
      sum[r] += b0 * a[0] + b1 * a[1] + b2 * a[2] + b3 * a[3];
    }
  }
  for (int t = 0; p + t < k; ++t)
    for (int r = 0; r < kRows; ++r) sum[r] += (load(w) << (24 - 8 * t) >> 24) * x[r * k + p + t];
  for (int r = 0; r < kRows; ++r)
    for (int c = 0; c < left; ++c) y[r * n + c] = sum[r][c];
}
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  for (int j = 0; j < n; j += 16, w += (k + 63) / 64 * 1024) {
    const int left = n - j < 16 ? n - j : 16;
    int i = 0;
    for (; i + 4 <= m; i += 4) rows<4>(x + i * k, w, y + i * n + j, n, left, k);
    for (; i < m; ++i) rows<1>(x + i * k, w, y + i * n + j, n, left, k);
  }
}
"""


def left_to_the_compiler() -> str:
    return r"""
#pragma GCC optimize("tree-vectorize")
#if defined(__clang__)
#define VECTORS _Pragma("clang loop vectorize(enable)")
#else
#define VECTORS
#endif
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  const int depth = (k + 63) / 64 * 64;
  for (int j = 0; j < n; j += 16)
    for (int c = 0; c < 16 && j + c < n; ++c) {
      int8_t row[4096];  // the channel, unpacked once for all rows of x
      for (int p = 0; p < k; ++p) row[p] = w[j * depth + p / 4 * 64 + 4 * c + p % 4];
      for (int i = 0; i < m; ++i) {
        const uint8_t* a = x + i * k;
        int32_t sum = 0;
        VECTORS for (int p = 0; p < k; ++p) sum += a[p] * row[p];
        y[i * n + j + c] = sum;
      }
    }
}
"""


def six_rows_by_recursion() -> str:
    return r"""
typedef int32_t lanes __attribute__((vector_size(64)));
template <int kRows> struct Block {
  static void run(const uint8_t* x, const int8_t* w, int32_t* y, int rows, int n, int live, int k) {
    if (rows < kRows) return Block<kRows - 1>::run(x, w, y, rows, n, live, k);
    lanes sum[kRows] = {};
    for (int p = 0; p < k; p += 4, w += 64) {
      lanes quad;
      memcpy(&quad, w, sizeof quad);
      const lanes b[4] = {quad << 24 >> 24, quad << 16 >> 24, quad << 8 >> 24, quad >> 24};
      for (int r = 0; r < kRows; ++r) {
        uint8_t a[4] = {};
        memcpy(a, x + r * k + p, k - p < 4 ? k - p : 4);
        sum[r] += b[0] * a[0] + b[1] * a[1] + (b[2] * a[2] + b[3] * a[3]);
      }
    }
    for (int r = 0; r < kRows; ++r) memcpy(y + r * n, &sum[r], live * sizeof(int32_t));
  }
};
template <> struct Block<0> { static void run(const uint8_t*, const int8_t*, int32_t*, int, int, int, int) {} };
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  const int panel = (k + 63) / 64 * 1024;
  for (int i = 0; i < m; i += 6)
    for (int j = 0; j < n; j += 16)
      Block<6>::run(x + i * k, w + j / 16 * panel, y + i * n + j, m - i, n, n - j < 16 ? n - j : 16, k);
}
"""


def narrower_vectors() -> str:
    return r"""
typedef int32_t four __attribute__((vector_size(32)));  // eight channels: half a panel
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  const int depth = (k + 63) / 64 * 64;
  for (int j = 0; j < n; j += 8) {
    const int8_t* half = w + j / 16 * depth * 16 + j % 16 * 4;
    for (int i = 0; i < m; i += 3) {
      const uint8_t* a[3] = {x + i * k, x + (i + 1 < m ? i + 1 : i) * k, x + (i + 2 < m ? i + 2 : i) * k};
      four s0 = {}, s1 = {}, s2 = {};
      for (int p = 0; p < k; p += 4) {
        four quad;
        memcpy(&quad, half + p * 16, 32);
        const int last = k - p < 4 ? k - p : 4;
        const four b[4] = {quad << 24 >> 24, quad << 16 >> 24, quad << 8 >> 24, quad >> 24};
        for (int t = 0; t < last; ++t) {
          s0 += b[t] * a[0][p + t];
          s1 += b[t] * a[1][p + t];
          s2 += b[t] * a[2][p + t];
        }
      }
      for (int c = 0; c < 8 && j + c < n; ++c) {
        y[i * n + j + c] = s0[c];
        if (i + 1 < m) y[(i + 1) * n + j + c] = s1[c];
        if (i + 2 < m) y[(i + 2) * n + j + c] = s2[c];
      }
    }
  }
}
"""
