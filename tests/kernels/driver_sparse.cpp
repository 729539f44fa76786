// Compares every way to multiply with plain loops, on buffers that end exactly where they must.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "sparse.h"

namespace {

std::mt19937_64 rng{0};

int between(int low, int high) { return std::uniform_int_distribution<int>{low, high}(rng); }

// Whole numbers this small have exact sums in float, whatever their order.
float small() { return static_cast<float>(between(-8, 8)); }

// A copy on the heap of exactly this size: the sanitizer sees a read past its end.
template <typename T>
std::unique_ptr<T[]> exact(const std::vector<T>& values) {
  auto copy = std::make_unique<T[]>(values.size());
  for (size_t i = 0; i < values.size(); ++i) copy[i] = values[i];
  return copy;
}

struct Matrix {
  std::vector<float> dense, values;
  std::vector<int16_t> columns;
  std::vector<uint32_t> places;
  std::vector<int32_t> starts;
};

Matrix csr(int out, int in, int tile) {
  const int share = between(0, 100);
  Matrix w{std::vector<float>(size_t(out) * in), {}, {}, {}, {0}};
  for (int o = 0; o < out; ++o) {
    for (int k = 0; k < in; ++k) {
      if (between(1, 100) <= share) {
        w.values.push_back(w.dense[size_t(o) * in + k] = small());
        w.columns.push_back(static_cast<int16_t>(k));
      }
      if ((k + 1) % tile == 0 || k + 1 == in) w.starts.push_back(static_cast<int32_t>(w.values.size()));
    }
  }
  return w;
}

Matrix two_four(int out, int in) {
  const int words = (in + 31) / 32;
  Matrix w{std::vector<float>(size_t(out) * in), std::vector<float>(size_t(out) * words * 16), {},
           std::vector<uint32_t>(size_t(out) * words), {}};
  for (int o = 0; o < out; ++o) {
    for (int i = 0; i < in / 2; ++i) {
      const int first = between(0, 2), place = i % 2 ? between(2, 3) : first > 1 ? 0 : first;
      const int column = i / 2 * 4 + place;
      w.dense[size_t(o) * in + column] = w.values[size_t(o) * words * 16 + i] = small();
      w.places[size_t(o) * words + i / 16] |= uint32_t(place) << (2 * (i % 16));
    }
  }
  return w;
}

Matrix blocks(int out, int in) {
  const int share = between(0, 100), panels = (out + 15) / 16;
  Matrix w{std::vector<float>(size_t(out) * in), {}, {}, {}, {0}};
  for (int panel = 0; panel < panels; ++panel) {
    for (int k = 0; k < in; ++k) {
      if (between(1, 100) > share) continue;
      for (int j = 0; j < 16; ++j) {
        const int o = panel * 16 + j;
        w.values.push_back(o < out ? small() : 0);
        if (o < out) w.dense[size_t(o) * in + k] = w.values.back();
      }
      w.columns.push_back(static_cast<int16_t>(k));
    }
    w.starts.push_back(static_cast<int32_t>(w.columns.size()));
  }
  return w;
}

bool run_case(int path, int threads) {
  const int kind = between(0, 2), edges[] = {1, 2, 3, 4, 15, 16, 17, 31, 33, 47, 48, 49, 96, 97, between(1, 200)};
  const int m = between(0, 19) ? edges[between(0, 14)] : between(470, 2000);  // 480 are laid out together
  const int out = edges[between(0, 14)];
  int in = edges[between(0, 14)];
  if (kind == FRUGAL_SPARSE_TWO_FOUR) in = (in + 3) / 4 * 4;
  const int tile = 32 * between(1, 4);
  const Matrix w = kind == FRUGAL_SPARSE_CSR      ? csr(out, in, tile)
                   : kind == FRUGAL_SPARSE_BLOCKS ? blocks(out, in)
                                                  : two_four(out, in);
  const int gap = between(0, 3), padded = (out + 15) / 16 * 16;
  std::vector<float> x(size_t(m - 1) * (in + gap) + in), bias(padded), y(size_t(m - 1) * (out + gap) + out, -77);
  for (float& each : x) each = small();
  for (int o = 0; o < out; ++o) bias[o] = small();
  const auto values = exact(w.values), inputs = exact(x), biases = exact(bias), outputs = exact(y);
  const auto columns = exact(w.columns);
  const auto places = exact(w.places);
  const auto starts = exact(w.starts);
  const int64_t room = frugal_sparse_scratch(threads, m, in);
  const auto scratch = std::make_unique<float[]>(room);
  for (int64_t i = 0; i < room; ++i) scratch[i] = NAN;  // nothing may count on what was there
  const FrugalSparse sparse{kind, out, in, tile, values.get(), columns.get(), places.get(), starts.get()};
  frugal_sparse_multiply(path, threads, &sparse, biases.get(), inputs.get(), in + gap, scratch.get(), outputs.get(),
                         out + gap, m);
  for (int i = 0; i < m; ++i) {
    for (int o = 0; o < out + (i + 1 < m ? gap : 0); ++o) {
      float wanted = -77;  // between the rows nothing is written
      if (o < out) {
        wanted = bias[o];
        for (int k = 0; k < in; ++k) wanted += x[size_t(i) * (in + gap) + k] * w.dense[size_t(o) * in + k];
      }
      const float got = outputs[size_t(i) * (out + gap) + o];
      if (got == wanted) continue;
      std::printf("%s: kind %d m %d out %d in %d, row %d output %d: %g, not %g\n", frugal_sparse_path_name(path), kind, m,
                  out, in, i, o, got, wanted);
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int, char** argv) {
  const int rounds = std::atoi(argv[1]), threads = std::atoi(argv[2]);
  for (int path = 0; const char* name = frugal_sparse_path_name(path); ++path) {
    if (frugal_sparse_path_available(path) != 1) {
      std::printf("%s absent\n", name);
      continue;
    }
    for (int i = 0; i < rounds; ++i) {
      if (!run_case(path, threads)) return 1;
    }
    std::printf("%s %d\n", name, rounds);
  }
  return frugal_sparse_path_available(-1) == -1 ? 0 : 1;
}
