// Backward passes: depthwise_gradient, clip_gradient, sigmoid_gradient, squared_distance, scaled_difference.
#include "check.h"

namespace onnxprune {
namespace {

// Sums of 600 products of 63 * 63 stay below 2^24.
constexpr int kSize = 63, kMost = 600;

void fill(Buffer<float>& to, Random& random, bool specials = false) {
  for (size_t i = 0; i < to.size(); ++i) to[i] = specials && random.one_in(20) ? random.special() : random.whole(kSize);
}

size_t size(int n) { return static_cast<size_t>(n); }

std::string numbers(int count) { return std::to_string(count) + " numbers"; }

// Pointwise kernels: `each` makes one case of so many numbers.
template <class Each>
int for_sizes(const Kernels& k, Each each) {
  int count = 0;
  for (int n = 0; n <= 8 * k.vector + 3; ++n)
    for (int i = 0; i < 4; ++i, ++count) each(n);
  return count;
}

}  // namespace

int check_depthwise_gradient(const Kernels& k, Random& random) {
  int count = 0;
  for (int stride : {1, 2, 3})
    for (int kernel : {1, 2, 3, 5})
      for (int i = 0; i < 24; ++i, ++count) {
        const int columns = random.between(1, 3 * k.vector), rows = random.between(1, std::max(1, kMost / columns / 2));
        const int dilation = random.between(1, 2), taps = kernel * kernel;
        const int width = (columns - 1) * stride + (kernel - 1) * dilation + 1 + random.between(0, 3);
        Buffer<int32_t> offset(size(taps), random);
        for (int t = 0; t < taps; ++t) offset[size(t)] = t / kernel * dilation * width + t % kernel * dilation;
        const size_t row_stride = size(width * stride);
        const size_t needed = size(rows - 1) * row_stride + size((columns - 1) * stride + offset[size(taps - 1)]) + 1;
        Buffer<float> plane(needed + size(k.vector * stride), random), dy(size(rows * columns), random);
        fill(plane, random);
        fill(dy, random);
        Buffer<double> sum(size(taps), random);
        Buffer<float> found(size(taps), random);
        std::vector<float> expected(size(taps));
        for (int t = 0; t < taps; ++t) {
          sum[size(t)] = 1000.0 * t;  // which it adds to
          double total = sum[size(t)];
          for (int y = 0; y < rows; ++y)
            for (int x = 0; x < columns; ++x)
              total += static_cast<double>(dy[size(y * columns + x)]) *
                       static_cast<double>(plane[size(y) * row_stride + size(x * stride + offset[size(t)])]);
          expected[size(t)] = static_cast<float>(total);
        }
        k.depthwise_gradient(
            {plane.data(), offset.data(), taps, rows, columns, stride, row_stride, dy.data(), sum.data()});
        for (int t = 0; t < taps; ++t) found[size(t)] = static_cast<float>(sum[size(t)]);
        compare(std::to_string(rows) + " by " + std::to_string(columns) + ", stride " + std::to_string(stride) +
                    ", window " + std::to_string(kernel) + ", dilation " + std::to_string(dilation),
                found, expected);
      }
  return count;
}

int check_clip_gradient(const Kernels& k, Random& random) {
  return for_sizes(k, [&](int n) {
    Buffer<float> y(size(n), random), dy(size(n), random), found(size(n), random);
    fill(y, random);
    fill(dy, random, true);
    const float low = random.one_in(3) ? -kInfinity : random.whole(9), high = random.one_in(3) ? kInfinity : low + 20.f;
    std::vector<float> expected(size(n));
    for (size_t i = 0; i < expected.size(); ++i) expected[i] = dy[i] * (y[i] > low && y[i] < high ? 1.f : 0.f);
    k.clip_gradient(y.data(), dy.data(), n, low, high, found.data());
    compare(numbers(n), found, expected);
  });
}

int check_sigmoid_gradient(const Kernels& k, Random& random) {
  return for_sizes(k, [&](int n) {
    Buffer<float> y(size(n), random), dy(size(n), random), found(size(n), random);
    fill(y, random);
    fill(dy, random, true);
    std::vector<float> expected(size(n));
    for (size_t i = 0; i < expected.size(); ++i) expected[i] = dy[i] * (y[i] * (1.f - y[i]));
    k.sigmoid_gradient(y.data(), dy.data(), n, found.data());
    compare(numbers(n), found, expected);
  });
}

int check_squared_distance(const Kernels& k, Random& random) {
  return for_sizes(k, [&](int n) {
    Buffer<float> a(size(n), random), b(size(n), random), weight(size(n), random), found(1, random);
    for (Buffer<float>* one : {&a, &b, &weight}) fill(*one, random);
    const bool weighted = random.one_in(2);
    double total = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const double apart = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      total += apart * apart * (weighted ? static_cast<double>(weight[i]) : 1.0);
    }
    found[0] = static_cast<float>(k.squared_distance(a.data(), b.data(), weighted ? weight.data() : nullptr, n));
    compare(numbers(n) + (weighted ? ", weighted" : ""), found, {static_cast<float>(total)});
  });
}

int check_scaled_difference(const Kernels& k, Random& random) {
  return for_sizes(k, [&](int n) {
    Buffer<float> a(size(n), random), b(size(n), random), weight(size(n), random), more(size(n), random);
    Buffer<float> found(size(n), random);
    for (Buffer<float>* one : {&a, &b, &weight, &more}) fill(*one, random, true);
    const bool weighted = random.one_in(2), adds = random.one_in(2);
    const float scale = random.whole(9);
    std::vector<float> expected(size(n));
    for (size_t i = 0; i < expected.size(); ++i)
      expected[i] = (weighted ? scale * weight[i] : scale) * (a[i] - b[i]) + (adds ? more[i] : 0.f);
    k.scaled_difference(a.data(), b.data(), weighted ? weight.data() : nullptr, n, scale, adds ? more.data() : nullptr,
                        found.data());
    compare(numbers(n) + (weighted ? ", weighted" : "") + (adds ? ", adds" : ""), found, expected);
  });
}

}  // namespace onnxprune
