"""Right answers to exercise 4.6.5, each written differently."""


def rows_outside() -> str:
    return r"""
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  const int quads = (k + 63) / 64 * 16;
  for (int i = 0; i < m; ++i)
    for (int panel = 0; panel * 16 < n; ++panel) {
      int32_t sum[16];
      for (int c = 0; c < 16; ++c) sum[c] = 0;
      const int8_t* at = w + panel * quads * 64;
      for (int p = 0; p < k; ++p)
        for (int c = 0; c < 16; ++c) sum[c] += x[i * k + p] * at[(p / 4) * 64 + c * 4 + (p & 3)];
      const int live = n - panel * 16 < 16 ? n - panel * 16 : 16;
      memcpy(y + i * n + panel * 16, sum, live * sizeof(int32_t));
    }
}
"""


def quads_then_the_rest() -> str:
    return r"""
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  const long panel_bytes = ((k + 63L) / 64) * 1024;
  for (int i = 0; i < m; ++i, x += k) {
    for (int j = 0; j < n; j += 16) {
      const int8_t* b = w + j / 16 * panel_bytes;
      int acc[16] = {0};
      int p = 0;
      for (; p + 4 <= k; p += 4, b += 64)
        for (int c = 0; c < 16; ++c)
          acc[c] += x[p] * b[4*c] + x[p+1] * b[4*c+1] + x[p+2] * b[4*c+2] + x[p+3] * b[4*c+3];
      for (int t = 0; p + t < k; ++t)
        for (int c = 0; c < 16; ++c) acc[c] += x[p + t] * b[4 * c + t];
      for (int c = 0; c < 16; ++c) if (j + c < n) y[i * n + j + c] = acc[c];
    }
  }
}
"""


def two_rows() -> str:
    return r"""
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  const int depth = (k + 63) & ~63;
  for (int j = 0; j < n; j += 16)
    for (int i = 0; i < m; i += 2) {
      const uint8_t* a = x + i * k;
      const uint8_t* b = i + 1 < m ? a + k : a;
      int32_t one[16] = {}, two[16] = {};
      for (int p = 0; p < k; ++p)
        for (int c = 0; c < 16; ++c) {
          const int8_t weight = w[j * depth + p / 4 * 64 + 4 * c + p % 4];
          one[c] += a[p] * weight;
          two[c] += b[p] * weight;
        }
      for (int c = 0; c < 16 && j + c < n; ++c) {
        y[i * n + j + c] = one[c];
        if (i + 1 < m) y[(i + 1) * n + j + c] = two[c];
      }
    }
}
"""


def on_vectors() -> str:
    return r"""
typedef int32_t Lanes __attribute__((vector_size(64)));
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  for (int j = 0; j < n; j += 16, w += (k + 63) / 64 * 1024)
    for (int i = 0; i < m; ++i) {
      Lanes sum = {};
      for (int p = 0; p < k; ++p) {
        Lanes quad;
        memcpy(&quad, w + p / 4 * 64, 64);
        sum += (quad << (24 - p % 4 * 8) >> 24) * x[i * k + p];
      }
      for (int c = 0; c < 16 && j + c < n; ++c) y[i * n + j + c] = sum[c];
    }
}
"""
