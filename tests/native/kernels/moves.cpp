// What only moves values: transposes, copies, interleaving. No bit may change, whatever it stands for.
#include "check.h"

namespace onnxprune {
namespace {

template <class T>
void fill_bits(Buffer<T>& to, Random& random) {
  for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<T>(random.bits());
}

const float* floats(Buffer<uint32_t>& bits) { return reinterpret_cast<const float*>(bits.data()); }
float* floats_out(Buffer<uint32_t>& bits) { return reinterpret_cast<float*>(bits.data()); }

size_t size(int n) { return static_cast<size_t>(n); }

std::string by(int a, int b) { return std::to_string(a) + " by " + std::to_string(b); }

}  // namespace

int check_transpose_in(const Kernels& k, Random& random) {
  int count = 0;
  for (int width = k.vector; width <= 6 * k.vector; width += k.vector)
    for (int i = 0; i < 24; ++i, ++count) {
      const int rows = i % 4 == 0 ? width : random.between(1, width), depth = random.between(1, 70);
      const int stride = depth + random.between(0, 5);
      Buffer<uint32_t> x(size((rows - 1) * stride + depth), random), panel(size(depth * width), random);
      fill_bits(x, random);
      fill_bits(panel, random);
      std::vector<uint32_t> expected(panel.size());
      for (int r = 0; r < rows; ++r)
        for (int c = 0; c < depth; ++c) expected[size(c * width + r)] = x[size(r * stride + c)];
      k.transpose_in(floats(x), size(stride), rows, depth, floats_out(panel), width);
      compare(by(rows, depth) + ", width " + std::to_string(width), panel, expected);
    }
  return count;
}

int check_transpose_out(const Kernels& k, Random& random) {
  int count = 0;
  for (int width = k.vector; width <= 6 * k.vector; width += k.vector)
    for (int i = 0; i < 24; ++i, ++count) {
      const int rows = i % 4 == 0 ? width : random.between(1, width), depth = random.between(1, 40);
      const int stride = depth + random.between(0, 5);
      Buffer<uint32_t> panel(size((depth - 1) * width + rows), random), y(size((rows - 1) * stride + depth), random);
      fill_bits(panel, random);
      fill_bits(y, random);
      std::vector<uint32_t> expected = y.copy();
      for (int r = 0; r < rows; ++r)
        for (int n = 0; n < depth; ++n) expected[size(r * stride + n)] = panel[size(n * width + r)];
      k.transpose_out(floats(panel), width, rows, depth, floats_out(y), size(stride));
      compare(by(rows, depth) + ", width " + std::to_string(width), y, expected);
    }
  return count;
}

int check_copy_rows(const Kernels& k, Random& random) {
  int count = 0;
  for (int columns = 0; columns <= 5 * k.vector; ++columns)
    for (int rows : {0, 1, 2, 5}) {
      const int from_stride = columns + random.between(0, 3), to_stride = columns + random.between(0, 3);
      const int last = rows > 0 ? rows - 1 : 0;
      Buffer<uint32_t> from(size(last * from_stride + columns), random), to(size(last * to_stride + columns), random);
      fill_bits(from, random);
      fill_bits(to, random);
      std::vector<uint32_t> expected = to.copy();
      for (int r = 0; r < rows; ++r)
        for (int c = 0; c < columns; ++c) expected[size(r * to_stride + c)] = from[size(r * from_stride + c)];
      k.copy_rows(floats(from), size(from_stride), rows, columns, floats_out(to), size(to_stride));
      compare(by(rows, columns), to, expected);
      ++count;
    }
  return count;
}

int check_every_second(const Kernels& k, Random& random) {
  int count = 0;
  for (int columns = 1; columns <= 6 * k.vector + 1; ++columns)
    for (int i = 0; i < 4; ++i, ++count) {
      Buffer<uint32_t> from(size(2 * columns - 1), random), to(size(columns), random);
      fill_bits(from, random);
      fill_bits(to, random);
      std::vector<uint32_t> expected;
      for (int c = 0; c < columns; ++c) expected.push_back(from[size(2 * c)]);
      k.every_second(floats(from), columns, floats_out(to));
      compare(std::to_string(columns) + " columns", to, expected);
    }
  return count;
}

int check_interleave(const Kernels& k, Random& random) {
  int count = 0;
  for (size_t length = 0; length <= 100; ++length)
    for (int i = 0; i < 4; ++i, ++count) {
      Buffer<uint8_t> a(length, random), b(length, random), c(length, random), d(length, random), to(4 * length, random);
      for (Buffer<uint8_t>* buffer : {&a, &b, &c, &d, &to}) fill_bits(*buffer, random);
      std::vector<uint8_t> expected;
      for (size_t at = 0; at < length; ++at)
        for (Buffer<uint8_t>* buffer : {&a, &b, &c, &d}) expected.push_back((*buffer)[at]);
      const uint8_t* const from[4] = {a.data(), b.data(), c.data(), d.data()};
      k.interleave(from, to.data(), length);
      compare(std::to_string(length) + " positions", to, expected);
    }
  return count;
}

}  // namespace onnxprune
