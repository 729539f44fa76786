// A whole network in one call: the loop over its prepared operators.
//
// Between two operators nothing is checked and nothing is allocated: who prepared the program (program.py) did both.

#include "kernels.h"

namespace {

// Stand-ins for the two addresses that change from run to run.
constexpr uintptr_t kInput = 1, kOutput = 2;

// The addresses of one round.
struct Round {
  int number;
  const void* input;
  void* output;

  const uint8_t* read(const void* address, int64_t step) const {
    if (!address) return nullptr;
    const bool is_input = reinterpret_cast<uintptr_t>(address) == kInput;
    return static_cast<const uint8_t*>(is_input ? input : address) + number * step;
  }

  uint8_t* write(void* address, int64_t step) const {
    const bool is_output = reinterpret_cast<uintptr_t>(address) == kOutput;
    return static_cast<uint8_t*>(is_output ? output : address) + number * step;
  }
};

int run_one(int threads, const FrugalCall& call, const Round& round) {
  const uint8_t* a = round.read(call.a, call.a_step);
  const uint8_t* b = round.read(call.b, call.b_step);
  uint8_t* y = round.write(call.y, call.y_step);
  const FrugalConv* c = call.window;
  const FrugalRescale* r = call.rescale;
  switch (call.kind) {
    case FRUGAL_CALL_GEMM: {
      const int depth = call.layer->depth, n = call.layer->n;
      return frugal_gemm(call.path, threads, call.layer, a, depth, static_cast<int>(call.count), y, n, b, n);
    }
    case FRUGAL_CALL_CONV:
      return frugal_conv(call.path, threads, call.plan, call.layer, a, y, b, static_cast<uint8_t*>(call.scratch));
    case FRUGAL_CALL_DEPTHWISE:
      return frugal_depthwise(call.path, threads, c, call.layer, a, y, b);
    case FRUGAL_CALL_QUANTIZE:
      return frugal_quantize(threads, reinterpret_cast<const float*>(a), y, c->batch, c->channels, c->h, c->w,
                             r->scale_a, r->zero_point, r->low, r->high);
    case FRUGAL_CALL_MAX_POOL:
      return frugal_max_pool(threads, c, call.is_signed, a, y);
    case FRUGAL_CALL_AVERAGE_POOL:
      return frugal_average_pool(threads, c, r, call.is_signed, a, y);
    case FRUGAL_CALL_ADD:
      return frugal_add(threads, r, call.is_signed, a, b, y, static_cast<size_t>(call.count));
    case FRUGAL_CALL_TABLE:
      return frugal_table(threads, b, a, y, static_cast<size_t>(call.count));
    case FRUGAL_CALL_PAD:
      return frugal_pad(threads, call.pad, a, y);
    default:
      return frugal_multiply(threads, r, call.is_signed, call.one_row, a, b, y, c->batch, c->h * c->w, c->channels);
  }
}

}  // namespace

int frugal_run_program(int threads, const FrugalCall* calls, int count, int rounds, const void* input, void* output) {
  for (int number = 0; number < rounds; ++number) {
    const Round round{number, input, output};
    for (int i = 0; i < count; ++i) {
      const int status = run_one(threads, calls[i], round);
      if (status) return status;
    }
  }
  return 0;
}
