// Sums of products of bytes: pack, qspmm_bytes, qspmm_floats. Sums are exact; only scaling rounds.
#include <cmath>

#include "check.h"

namespace onnxprune {
namespace {

struct Scaling {
  std::vector<int32_t> bias;
  std::vector<float> scale, shift;
};

Scaling random_scaling(int rows, bool floats, Random& random) {
  Scaling s;
  for (int r = 0; r < rows; ++r) {
    // Powers of two give ties, which must go to the even number; large sums lose bits already as floats.
    const float power = std::ldexp(1.f, -random.between(1, 14)), any = random.whole(10000) * 1e-6f;
    s.bias.push_back(floats && random.one_in(4) ? static_cast<int32_t>(random.bits() >> 2) : random.between(-9999, 9999));
    s.scale.push_back(random.one_in(8) ? 1000.f : random.one_in(2) ? power : any);
    s.shift.push_back(random.whole(1000) * 0.01f);
  }
  return s;
}

int64_t sum_of(const QspmmTask& t, const std::vector<int8_t>& weight, int block, int row, int column) {
  int64_t sum = t.bias[row];
  for (int i = t.start[row / block]; i < t.start[row / block + 1]; ++i) {
    const uint8_t* x = t.panel + 4 * (static_cast<size_t>(t.index[i]) * t.stride + static_cast<size_t>(column));
    for (int c = 0; c < 4; ++c) sum += weight[static_cast<size_t>((i * block + row % block) * 4 + c)] * x[c];
  }
  return sum;
}

uint8_t reference_byte(const QspmmTask& t, int row, int64_t sum) {
  const double rounded = std::nearbyint(static_cast<double>(static_cast<float>(sum) * t.scale[row]));
  return static_cast<uint8_t>(std::fmin(std::fmax(rounded + t.zero, 0.), 255.));
}

// Instruction sets with a fused multiply-add round once, the others twice: both are right.
float reference_float(const QspmmTask& t, int row, int64_t sum, float found) {
  const float fused = std::fma(static_cast<float>(sum), t.scale[row], t.shift[row]);
  volatile float product = static_cast<float>(sum) * t.scale[row];
  return found == fused ? fused : product + t.shift[row];
}

struct Case {
  int block, vectors, number;
};

// Weights of random blocks, packed; those of another slice are never read.
struct Weights {
  std::vector<int8_t> value;
  Buffer<int32_t> word;

  Weights(const Kernels& k, size_t fours, bool extreme, Random& random)
      : word(fours * static_cast<size_t>(k.words), random) {
    for (size_t i = 0; i < 4 * fours; ++i)
      value.push_back(static_cast<int8_t>(extreme ? (random.one_in(2) ? 127 : -128) : random.between(-128, 127)));
    for (size_t i = 0; i < fours; ++i) k.pack(value.data() + 4 * i, word.data() + i * static_cast<size_t>(k.words));
  }
};

template <class Out>
void run(const Kernels& k, const Case& c, Random& random) {
  constexpr bool floats = sizeof(Out) == 4;
  const Pattern p = random_pattern(c.block, random);
  const size_t width = static_cast<size_t>(c.vectors * k.vector);
  const int columns = c.number % 4 == 0 ? static_cast<int>(width) : random.between(1, static_cast<int>(width));
  const size_t strides[] = {width, width + static_cast<size_t>(random.between(1, 9)), static_cast<size_t>(columns), 1};
  const bool extreme = random.one_in(4);
  QspmmTask t{};
  t.stride = strides[c.number / 4 % 4];
  t.first = p.first;
  t.last = p.last;
  t.rows = p.rows;
  t.columns = columns;
  t.out_stride = columns + random.between(0, 5);
  t.zero = floats ? 0 : random.one_in(2) ? random.between(0, 255) : 255 * random.between(0, 1);

  Buffer<uint8_t> panel(4 * (static_cast<size_t>(p.depth - 1) * t.stride + width), random);
  for (size_t i = 0; i < panel.size(); ++i) panel[i] = static_cast<uint8_t>(extreme ? 255 : random.between(0, 255));
  Weights weights(k, p.index.size() * static_cast<size_t>(c.block), extreme, random);
  const Scaling s = random_scaling(p.rows, floats, random);
  Buffer<int32_t> index(p.index.size(), random), start(p.start.size(), random), bias(s.bias.size(), random);
  Buffer<float> scale(s.scale.size(), random), shift(s.shift.size(), random);
  std::copy(p.index.begin(), p.index.end(), index.data());
  std::copy(p.start.begin(), p.start.end(), start.data());
  std::copy(s.bias.begin(), s.bias.end(), bias.data());
  std::copy(s.scale.begin(), s.scale.end(), scale.data());
  std::copy(s.shift.begin(), s.shift.end(), shift.data());
  Buffer<Out> out(static_cast<size_t>((p.rows - 1) * t.out_stride + columns), random);
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<Out>(random.between(0, 255));
  t.panel = panel.data();
  t.word = weights.word.data();
  t.index = index.data();
  t.start = start.data();
  t.bias = bias.data();
  t.scale = scale.data();
  t.shift = floats ? shift.data() : nullptr;
  t.out = out.data();

  std::vector<Out> expected = out.copy();
  (floats ? k.qspmm_floats : k.qspmm_bytes)(c.block, c.vectors)(t);
  for (int row = p.first * c.block; row < std::min(p.rows, p.last * c.block); ++row)
    for (int column = 0; column < columns; ++column) {
      const size_t at = static_cast<size_t>(row * t.out_stride + column);
      const int64_t sum = sum_of(t, weights.value, c.block, row, column);
      if constexpr (floats)
        expected[at] = reference_float(t, row, sum, out[at]);
      else
        expected[at] = reference_byte(t, row, sum);
    }
  compare("blocks of " + std::to_string(c.block) + ", " + std::to_string(c.vectors) + " vectors, " +
              std::to_string(columns) + " columns, " + std::to_string(p.rows) + " rows, zero " +
              std::to_string(t.zero) + (extreme ? ", extremes" : ""),
          out, expected);
}

template <class Out>
int run_all(const Kernels& k, Qspmm (*find)(int, int), Random& random) {
  constexpr int kCases = 40;
  int count = 0;
  for (int block : {1, 2, 4}) {
    if (k.widest_integer(block) < 1) fail("widest_integer", "no panel for blocks of " + std::to_string(block));
    if (find(block, 0) || find(block, k.widest_integer(block) + 1)) fail("qspmm", "a kernel for a width that has none");
    for (int vectors = 1; vectors <= k.widest_integer(block); ++vectors)
      for (int i = 0; i < kCases; ++i, ++count) run<Out>(k, {block, vectors, i}, random);
  }
  if (find(8, 1)) fail("qspmm", "a kernel for blocks of 8");
  return count;
}

}  // namespace

int check_qspmm_bytes(const Kernels& k, Random& random) { return run_all<uint8_t>(k, k.qspmm_bytes, random); }

int check_qspmm_floats(const Kernels& k, Random& random) { return run_all<float>(k, k.qspmm_floats, random); }

}  // namespace onnxprune
