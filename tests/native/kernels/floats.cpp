// Sums of floats: spmm, spmv, depthwise.
#include "check.h"

namespace onnxprune {
namespace {

// 40 products of 255 * 63 and two summands stay below 2^24.
constexpr int kInput = 255, kWeight = 63, kSummand = 1000;

// Whole numbers; with `specials`, now and then a NaN or an infinity.
void fill(Buffer<float>& to, int size, bool specials, Random& random) {
  for (size_t i = 0; i < to.size(); ++i) to[i] = specials && random.one_in(20) ? random.special() : random.whole(size);
}

struct Limits {
  float low, high;
};

Limits random_limits(Random& random) {
  const Limits all[] = {{-kInfinity, kInfinity}, {0.f, kInfinity}, {-1000.f, 2000.f}};
  return all[random.between(0, 2)];
}

std::string flags(bool accumulate, bool residual, bool specials) {
  return std::string(accumulate ? ", accumulates" : "") + (residual ? ", residual" : "") +
         (specials ? ", with NaN and infinities" : "");
}

// Column `column` of row `row`, from the definition in kernels.h.
float reference(const SpmmTask& t, int block, int row, int column, float before) {
  float sum = t.accumulate ? before : t.bias[row];
  const int b = row / block;
  for (int i = t.start[b]; i < t.start[b + 1]; ++i)
    sum += t.value[i * block + row % block] * t.panel[static_cast<size_t>(t.index[i]) * t.stride + static_cast<size_t>(column)];
  if (t.residual) sum += t.residual[static_cast<size_t>(row) * t.out_stride + static_cast<size_t>(column)];
  return clipped(sum, t.low, t.high);
}

// One case of spmm; of spmv where `vectors` is 0.
void run_sparse(const Kernels& k, int block, int vectors, int number, Random& random) {
  const Pattern p = random_pattern(block, random);
  const size_t width = vectors ? static_cast<size_t>(vectors * k.vector) : 1;
  const bool specials = random.one_in(4);
  const int columns = number % 4 == 0 ? static_cast<int>(width) : random.between(1, static_cast<int>(width));
  // Packed panels, images, and shifted views.
  const size_t strides[] = {width, width + static_cast<size_t>(random.between(1, 9)), static_cast<size_t>(columns), 1};
  SpmmTask t{};
  t.stride = strides[vectors ? number / 4 % 4 : 0];
  t.columns = columns;
  t.first = p.first;
  t.last = p.last;
  t.rows = p.rows;
  t.out_stride = static_cast<size_t>(columns + (vectors ? random.between(0, 5) : 0));
  t.accumulate = random.one_in(2);
  const bool residual = vectors && random.one_in(2);
  const Limits limits = random_limits(random);
  t.low = limits.low;
  t.high = limits.high;

  Buffer<float> panel(static_cast<size_t>(p.depth - 1) * t.stride + width, random);
  fill(panel, kInput, specials, random);
  if (t.stride >= width)  // columns that are only computed must not matter
    for (size_t i = 0; i < panel.size(); ++i)
      if (i % t.stride >= static_cast<size_t>(columns)) panel[i] = random.special();
  Buffer<float> value(p.index.size() * static_cast<size_t>(block), random), bias(static_cast<size_t>(p.rows), random);
  fill(value, kWeight, false, random);
  for (int i = 0; i < p.start[0] * block; ++i) value[static_cast<size_t>(i)] = random.special();
  fill(bias, kSummand, specials, random);
  Buffer<int32_t> index(p.index.size(), random), start(p.start.size(), random);
  std::copy(p.index.begin(), p.index.end(), index.data());
  std::copy(p.start.begin(), p.start.end(), start.data());
  const size_t size = static_cast<size_t>(p.rows - 1) * t.out_stride + static_cast<size_t>(columns);
  Buffer<float> out(size, random), z(size, random);
  fill(out, kSummand, specials, random);
  for (size_t i = 0; i < size; ++i)
    if (!t.accumulate || i % t.out_stride >= static_cast<size_t>(columns)) out[i] = kUntouched;
  fill(z, kSummand, specials, random);
  t.panel = panel.data();
  t.value = value.data();
  t.bias = bias.data();
  t.index = index.data();
  t.start = start.data();
  t.residual = residual ? z.data() : nullptr;
  t.out = out.data();

  std::vector<float> expected = out.copy();
  for (int row = p.first * block; row < std::min(p.rows, p.last * block); ++row)
    for (int c = 0; c < columns; ++c) {
      float& to = expected[static_cast<size_t>(row) * t.out_stride + static_cast<size_t>(c)];
      to = reference(t, block, row, c, to);
    }
  if (vectors)
    k.spmm(block, vectors)(t);
  else
    k.spmv(block, t);
  compare("blocks of " + std::to_string(block) + ", " + std::to_string(vectors) + " vectors, " +
              std::to_string(columns) + " columns, " + std::to_string(p.rows) + " rows, blocks " +
              std::to_string(p.first) + " to " + std::to_string(p.last) + ", out_stride " +
              std::to_string(t.out_stride) + flags(t.accumulate, residual, specials),
          out, expected);
}

// Taps of a window, and what the kernel is told about it.
struct Shape {
  int rows, columns, stride, kernel_rows, kernel_columns, dilation, dense;
};

void run_depthwise(const Kernels& k, const Shape& s, Random& random) {
  const bool specials = random.one_in(4);
  const int width = (s.columns - 1) * s.stride + (s.kernel_columns - 1) * s.dilation + 1 + random.between(0, 3);
  Buffer<int32_t> offset(static_cast<size_t>(s.kernel_rows * s.kernel_columns), random);
  for (int i = 0; i < s.kernel_rows; ++i)
    for (int j = 0; j < s.kernel_columns; ++j)
      offset[static_cast<size_t>(i * s.kernel_columns + j)] = i * s.dilation * width + j * s.dilation;
  Buffer<float> weight(offset.size(), random), out(static_cast<size_t>(s.rows * s.columns), random);
  fill(weight, kWeight, false, random);
  std::fill(out.data(), out.data() + out.size(), kUntouched);
  const size_t row_stride = static_cast<size_t>(width * s.stride);
  const size_t needed = static_cast<size_t>(s.rows - 1) * row_stride + static_cast<size_t>((s.columns - 1) * s.stride) +
                        static_cast<size_t>(offset[offset.size() - 1]) + 1;
  Buffer<float> plane(needed + static_cast<size_t>(8 * k.vector * s.stride), random);
  fill(plane, kInput, specials, random);
  for (size_t i = needed; i < plane.size(); ++i) plane[i] = __builtin_nanf("");
  const Limits limits = random_limits(random);
  const DepthwiseTask t{plane.data(), offset.data(), weight.data(),          static_cast<int>(offset.size()),
                        s.rows,       s.columns,     s.stride,               s.dense,
                        row_stride,   out.data(),    random.whole(kSummand), limits.low,
                        limits.high};
  std::vector<float> expected(out.size());
  for (int y = 0; y < s.rows; ++y)
    for (int x = 0; x < s.columns; ++x) {
      float sum = t.bias;
      for (int i = 0; i < t.taps; ++i)
        sum += t.weight[i] * t.plane[static_cast<size_t>(y) * row_stride + static_cast<size_t>(x * s.stride + t.offset[i])];
      expected[static_cast<size_t>(y * s.columns + x)] = clipped(sum, t.low, t.high);
    }
  k.depthwise(t);
  compare(std::to_string(s.rows) + " by " + std::to_string(s.columns) + ", stride " + std::to_string(s.stride) +
              ", window " + std::to_string(s.kernel_rows) + " by " + std::to_string(s.kernel_columns) + ", dilation " +
              std::to_string(s.dilation) + ", dense " + std::to_string(s.dense) + flags(false, false, specials),
          out, expected);
}

}  // namespace

int check_spmm(const Kernels& k, Random& random) {
  constexpr int kCases = 32;
  int count = 0;
  for (int block : {1, 2, 4, 8}) {
    if (k.widest(block) < 1) fail("widest", "no panel for blocks of " + std::to_string(block));
    if (k.spmm(block, 0) || k.spmm(block, k.widest(block) + 1)) fail("spmm", "a kernel for a width that has none");
    for (int vectors = 1; vectors <= k.widest(block); ++vectors)
      for (int i = 0; i < kCases; ++i, ++count) run_sparse(k, block, vectors, i, random);
  }
  if (k.spmm(3, 1)) fail("spmm", "a kernel for blocks of 3");
  return count;
}

int check_spmv(const Kernels& k, Random& random) {
  constexpr int kCases = 50;
  int count = 0;
  for (int block : {1, 2, 4, 8})
    for (int i = 0; i < kCases; ++i, ++count) run_sparse(k, block, 0, i, random);
  return count;
}

int check_depthwise(const Kernels& k, Random& random) {
  int count = 0;
  const int widest = 5 * k.vector + 3;
  for (int columns = 1; columns <= widest; columns += columns < 2 * k.vector + 2 ? 1 : 5)
    for (int rows : {1, 2, 3, 4, 5, 9}) {
      for (int dense : {1, 3, 5, 7}) {
        run_depthwise(k, {rows, columns, 1, dense, dense, 1, dense}, random);
        ++count;
      }
      for (int stride : {1, 2, 3, 5}) {
        run_depthwise(k, {rows, columns, stride, random.between(1, 5), random.between(1, 5), random.between(1, 3), 0},
                      random);
        ++count;
      }
    }
  return count;
}

}  // namespace onnxprune
