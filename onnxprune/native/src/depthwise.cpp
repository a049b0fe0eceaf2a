// DepthwiseConv: one filter a channel, on plain NCHW tensors, so that no change of layout is needed between sparse layers.
#include <algorithm>

#include "kernels.h"
#include "operators.h"
#include "planes.h"
#include "scratch.h"
#include "split.h"
#include "window.h"

namespace onnxprune {
namespace {

class DepthwiseConv : public Kernel {
 public:
  DepthwiseConv(const Node& node, Fusion fusion)
      : window_(window_of(node)), range_(range_of(node, fusion.activation)), pool_(Pool::shared()) {
    const Tensor<float> weight = node.constant<float>(1, "the weight"), bias = node.constant<float>(2, "the bias");
    require(window_.depth == 1, "DepthwiseConv: a filter must have one input channel");
    require(weight.size() == window_.rows * window_.taps(), "DepthwiseConv: the weight does not fit weight_shape");
    require(bias.shape.size() == 1 && bias.size() == window_.rows, "DepthwiseConv: bias must have one value a channel");
    weight_.assign(weight.data, weight.data + weight.size());
    bias_.assign(bias.data, bias.data + bias.size());
  }

  void compute(const Call& call) override {
    const Kernels& k = kernels();
    const Tensor<float> x = call.input<float>(0);
    const Frame frame = frame_of(window_, x.shape);
    float* y = call.output<float>(frame.out_shape);
    const Planes planes = planes_of(window_, frame);
    const size_t channels = static_cast<size_t>(frame.channels), images = channels * static_cast<size_t>(frame.batch);
    const size_t in = static_cast<size_t>(frame.height) * frame.width;
    const size_t out = static_cast<size_t>(frame.out_height) * frame.out_width;
    if (images == 0 || out == 0) return;
    const size_t size = static_cast<size_t>(planes.channel + 8 * k.vector);  // the last vector may read beyond
    const size_t parts = std::min<size_t>(images, kTasks), filters = static_cast<size_t>(window_.rows) / channels;
    const Scratch scratch(*pool_, parts * size * sizeof(float));
    call.parallel(parts, [&](size_t part) {
      float* copy = scratch.as<float>() + part * size;
      std::fill(copy + planes.channel, copy + size, 0.f);
      for (size_t i = images * part / parts; i < images * (part + 1) / parts; ++i) {
        fill_planes(planes, window_, frame, x.data + i * in, 0.f, copy);
        for (size_t f = 0; f < filters; ++f) {
          const size_t row = i % channels * filters + f;
          k.depthwise({copy, planes.taps.data(), weight_.data() + row * planes.taps.size(),
                       static_cast<int>(planes.taps.size()), frame.out_height, frame.out_width,
                       static_cast<size_t>(planes.width), y + (i * filters + f) * out, bias_[row], range_.low, range_.high});
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
