"""Wrong answers to exercise 4.6.6: vectors."""

_RIGHT = r"""
typedef int32_t lanes __attribute__((vector_size(64)));
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  const int depth = (k + 63) / 64 * 64;
  for (int j = 0; j < n; j += 16, w += depth * 16) {
    for (int i = 0; i < m; i += 4) {
      const uint8_t* row[4];
      for (int r = 0; r < 4; ++r) row[r] = x + (i + r < m ? i + r : m - 1) * k;
      lanes sum[4] = {};
      for (int p = 0; p < k; p += 4) {
        lanes quad;
        memcpy(&quad, w + p * 16, 64);
        for (int t = 0; t < 4; ++t) {
          const lanes byte = quad << (24 - 8 * t) >> 24;
          const int at = p + t < k ? p + t : k - 1;
          for (int r = 0; r < 4; ++r) sum[r] += byte * row[r][at];
        }
      }
      for (int r = 0; r < 4 && i + r < m; ++r)
        for (int c = 0; c < 16 && j + c < n; ++c) y[(i + r) * n + j + c] = sum[r][c];
    }
  }
}
"""

_BLOCKED = r"""
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  const int depth = (k + 63) / 64 * 64;
  for (int j = 0; j < n; j += 16, w += depth * 16) {
    for (int i = 0; i < m; ++i) {
      int32_t sum[16] = {};
      for (int p = 0; p < k; ++p) {
        const int8_t* quad = w + p / 4 * 64 + p % 4;
        for (int c = 0; c < 16; ++c) sum[c] += x[i * k + p] * quad[4 * c];
      }
      for (int c = 0; c < 16 && j + c < n; ++c) y[i * n + j + c] = sum[c];
    }
  }
}
"""


def no_vectors() -> str:
    """Your kernel is right and has no vectors: it is no faster than sixteen plain sums."""
    return _BLOCKED


def one_channel_after_the_other() -> str:
    """Your kernel is right and goes through the panel once for each channel."""
    through = "int32_t sum[16] = {};\n      for (volatile int d = 0; d < 16; d = d + 1)"
    return _BLOCKED.replace("int32_t sum[16] = {};", through).replace(
        "for (int c = 0; c < 16; ++c) sum[c] +=", "const int c = d; sum[c] +="
    )


def unsigned_lanes() -> str:
    """Your lanes have no sign, so shifting down brings zeros: negative weights come out large."""
    return _RIGHT.replace("typedef int32_t lanes", "typedef uint32_t lanes")


def masked_bytes() -> str:
    """You cut the byte out with a mask and lose its sign."""
    return _RIGHT.replace("quad << (24 - 8 * t) >> 24", "(quad >> (8 * t)) & 255")


def bytes_backwards() -> str:
    """You take the bytes of a quad from the wrong end; the first stands in the lowest bits."""
    return _RIGHT.replace("quad << (24 - 8 * t) >> 24", "quad << (8 * t) >> 24")


def first_byte_only() -> str:
    """You use the first byte of each quad for all four terms."""
    return _RIGHT.replace("quad << (24 - 8 * t) >> 24", "quad << 24 >> 24")


def top_byte_not_brought_down() -> str:
    """You shift the byte to the top and leave it there."""
    return _RIGHT.replace("quad << (24 - 8 * t) >> 24", "quad << (24 - 8 * t)")


def reads_behind_the_row() -> str:
    """You read four values of x also where fewer are left: behind its last row nothing may be read."""
    return _RIGHT.replace("p + t < k ? p + t : k - 1", "p + t")


def reads_rows_that_do_not_exist() -> str:
    """You read four rows of x also where fewer are left."""
    return _RIGHT.replace("(i + r < m ? i + r : m - 1) * k", "(i + r) * k")


def stores_rows_that_do_not_exist() -> str:
    """You store four rows of y also where fewer are left."""
    return _RIGHT.replace("r < 4 && i + r < m", "r < 4")


def stores_all_channels() -> str:
    """You store all sixteen lanes, also where y has fewer columns left."""
    return _RIGHT.replace("c < 16 && j + c < n", "c < 16")


def rows_dropped() -> str:
    """You leave out the last rows, where they are fewer than four."""
    return _RIGHT.replace("i < m; i += 4", "i + 4 <= m; i += 4")


def channels_dropped() -> str:
    """You leave out a last panel of fewer than sixteen channels."""
    return _RIGHT.replace("j < n;", "j + 16 <= n;")


def short_lanes() -> str:
    """You add in lanes of 16 bits, which the sum of two products overflows."""
    return (
        _RIGHT.replace("lanes sum[4] = {};", "shorts sum[4] = {};")
        .replace("void gemm", "typedef int16_t shorts __attribute__((vector_size(32)));\nvoid gemm")
        .replace("sum[r] += byte * row[r][at]", "sum[r] += __builtin_convertvector(byte * row[r][at], shorts)")
    )


def saturating_pairs() -> str:
    """You add two products in 16 bits that saturate, as vpmaddubsw does: large products come out small."""
    return _RIGHT.replace(
        "for (int r = 0; r < 4; ++r) sum[r] += byte * row[r][at];",
        "if (t % 2 == 0) for (int r = 0; r < 4; ++r) { const lanes next = quad << (16 - 8 * t) >> 24;"
        "const lanes pair = byte * row[r][at] + next * row[r][at + 1 < k ? at + 1 : k - 1];"
        "sum[r] += pair > 32767 ? lanes{} + 32767 : pair < -32768 ? lanes{} - 32768 : pair; }",
    )


def first_panel_only() -> str:
    """You read the first panel for every sixteen channels."""
    return _RIGHT.replace(", w += depth * 16", "")


def panels_of_k() -> str:
    """Your panels have k rows; packed ones have k filled up to a multiple of 64."""
    return _RIGHT.replace("(k + 63) / 64 * 64", "k")


def the_same_row_four_times() -> str:
    """You compute the first of four rows four times."""
    return _RIGHT.replace("(i + r < m ? i + r : m - 1) * k", "i * k")


def sums_not_cleared() -> str:
    """Your sums go on from one block of rows to the next."""
    return _RIGHT.replace("      lanes sum[4] = {};\n", "").replace(
        "  for (int j = 0;", "  lanes sum[4] = {};\n  for (int j = 0;", 1
    )


def plain_weights() -> str:
    """You take sixteen neighbours of w for sixteen channels; four neighbours belong to one channel."""
    return _RIGHT.replace(
        "const lanes byte = quad << (24 - 8 * t) >> 24;",
        "lanes byte; for (int c = 0; c < 16; ++c) byte[c] = w[p * 16 + 16 * t + c];",
    )


def nothing() -> None:
    """You return nothing; Returns asks for the text."""
