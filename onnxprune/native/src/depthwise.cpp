// DepthwiseConv: one filter a channel, on plain NCHW tensors, so that no change of layout is needed between sparse layers.
#include <algorithm>

#include "kernels.h"
#include "operators.h"
#include "scratch.h"
#include "split.h"
#include "window.h"

namespace onnxprune {
namespace {

constexpr int64_t kLargestStride = 1024;  // reads beyond a row are in proportion to it

constexpr size_t kStripe = 2048;  // floats of a padded copy: it stays in the first cache

// Rows of the output are computed a few at a time, from a padded copy of the rows of the input that they read: so reading
// an image, which may come from far away, and computing take turns.
struct Stripe {
  int first, last;          // rows of the output
  int64_t source;           // row of the input of which
  size_t above, rows, all;  // the copy has `rows`, after `above` rows of zeros, of `all` rows
};

struct Stripes {
  std::vector<Stripe> all;
  size_t width, size;  // of the copy: of a row, and in all, with what is read beyond the last row

  Stripes(const Window& window, const Frame& frame, int lanes)
      : width(static_cast<size_t>(frame.width + window.x.before + window.x.after)) {
    const Axis& y = window.y;
    const int height = frame.out_height;
    const int64_t fitting = (static_cast<int64_t>(kStripe / width) - y.reach()) / y.stride + 1;
    const int64_t most = std::clamp<int64_t>(fitting, std::min(4, height), height), count = (height + most - 1) / most;
    for (int64_t s = 0; s < count; ++s) {
      const int64_t first = height * s / count, last = height * (s + 1) / count;
      const int64_t start = first * y.stride - y.before, rows = (last - first - 1) * y.stride + y.reach();
      const int64_t above = std::clamp<int64_t>(-start, 0, rows);
      const int64_t below = std::clamp<int64_t>(frame.height - start, above, rows);
      all.push_back({static_cast<int>(first), static_cast<int>(last), start + above, static_cast<size_t>(above),
                     static_cast<size_t>(below - above), static_cast<size_t>(rows)});
    }
    size = static_cast<size_t>((most - 1) * y.stride + y.reach()) * width +
           8 * static_cast<size_t>(lanes) * static_cast<size_t>(window.x.stride);
  }
};

class DepthwiseConv : public Kernel {
 public:
  DepthwiseConv(const Node& node, Fusion fusion)
      : window_(window_of(node)), range_(range_of(node, fusion.activation)), pool_(Pool::shared()) {
    const Tensor<float> weight = node.constant<float>(1, "the weight"), bias = node.constant<float>(2, "the bias");
    require(window_.depth == 1, "DepthwiseConv: a filter must have one input channel");
    require(window_.x.stride <= kLargestStride, "DepthwiseConv: the stride is too large");
    require(weight.size() == window_.rows * window_.taps(), "DepthwiseConv: the weight does not fit weight_shape");
    require(bias.shape.size() == 1 && bias.size() == window_.rows, "DepthwiseConv: bias must have one value a channel");
    weight_.assign(weight.data, weight.data + weight.size());
    bias_.assign(bias.data, bias.data + bias.size());
  }

  void compute(const Call& call) override {
    const Tensor<float> x = call.input<float>(0);
    const Frame frame = frame_of(window_, x.shape);
    const Kernels& k = kernels_up_to(frame.out_width);
    float* y = call.output<float>(frame.out_shape);
    const size_t channels = static_cast<size_t>(frame.channels), images = channels * static_cast<size_t>(frame.batch);
    const size_t in = static_cast<size_t>(frame.height) * frame.width;
    const size_t out = static_cast<size_t>(frame.out_height) * frame.out_width;
    if (images == 0 || out == 0) return;

    const Stripes stripes(window_, frame, k.vector);
    std::vector<int32_t> offset;
    for (int64_t i = 0; i < window_.y.kernel; ++i)
      for (int64_t j = 0; j < window_.x.kernel; ++j)
        offset.push_back(static_cast<int32_t>(i * window_.y.dilation * static_cast<int64_t>(stripes.width) +
                                              j * window_.x.dilation));

    const bool neighbours = window_.x.stride == 1 && window_.y.stride == 1 && window_.x.dilation == 1 &&
                            window_.y.dilation == 1 && window_.x.kernel == window_.y.kernel;
    const int dense = neighbours ? static_cast<int>(window_.x.kernel) : 0;

    const size_t row_size = static_cast<size_t>(frame.width);
    const size_t parts = std::min<size_t>(images, kTasks), filters = static_cast<size_t>(window_.rows) / channels;
    const Scratch scratch(*pool_, parts * stripes.size * sizeof(float));
    call.parallel(parts, [&](size_t part) {
      float* copy = scratch.as<float>() + part * stripes.size;
      std::fill(copy, copy + stripes.size, 0.f);
      for (size_t i = images * part / parts; i < images * (part + 1) / parts; ++i)
        for (const Stripe& s : stripes.all) {
          if (stripes.all.size() > 1) {  // columns beside the image are zero from the start, and stay so
            std::fill(copy, copy + s.above * stripes.width, 0.f);
            std::fill(copy + (s.above + s.rows) * stripes.width, copy + s.all * stripes.width, 0.f);
          }
          if (s.rows > 0)
            k.copy_rows(x.data + i * in + static_cast<size_t>(s.source) * row_size, row_size, static_cast<int>(s.rows),
                        frame.width, copy + s.above * stripes.width + window_.x.before, stripes.width);
          for (size_t f = 0; f < filters; ++f) {
            const size_t row = i % channels * filters + f;
            float* to = y + (i * filters + f) * out + static_cast<size_t>(s.first) * static_cast<size_t>(frame.out_width);
            k.depthwise({copy, offset.data(), weight_.data() + row * offset.size(), static_cast<int>(offset.size()),
                         s.last - s.first, frame.out_width, static_cast<int>(window_.x.stride), dense,
                         stripes.width * static_cast<size_t>(window_.y.stride), to, bias_[row], range_.low,
                         range_.high});
          }
        }
    });
  }

 private:
  Window window_;
  std::vector<float> weight_, bias_;
  Range range_;
  std::shared_ptr<Pool> pool_;
};

}  // namespace

std::unique_ptr<Kernel> make_depthwise_conv(const Node& node, Fusion fusion) {
  return std::make_unique<DepthwiseConv>(node, fusion);
}

}  // namespace onnxprune
