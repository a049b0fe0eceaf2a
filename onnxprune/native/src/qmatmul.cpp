// SparseQMatMul: bytes in, floats out, as MatMulInteger with the scales and the bias behind it:
// y[..., n] = x_scale * scale[n] * (sum over k of weight[n, k] * (x[..., k] - x_zero)) + bias[n].
#include <algorithm>
#include <cstring>

#include "integers.h"
#include "operators.h"
#include "scratch.h"
#include "split.h"

namespace onnxprune {
namespace {

constexpr int kStageRows = 16;
constexpr int kStage = kStageRows * 6 * 16;

class SparseQMatMul : public Kernel {
 public:
  explicit SparseQMatMul(const Node& node) : pool_(Pool::shared()) {
    const auto shape = node.integers("weight_shape");
    require(shape.size() == 2 && shape[0] > 0 && shape[1] > 0, "SparseQMatMul: bad weight_shape");
    depth_ = shape[1];
    weight_ = decode_integers(node.constant<int8_t>(3, "the sparse values"), node.constant<uint8_t>(4, "the gaps"),
                              shape[0], (shape[1] - 1) / 4 + 1, node.integer("block"));
    const Tensor<float> scale = node.constant<float>(5, "the scale of the weight");
    const Tensor<float> bias = node.constant<float>(6, "the bias");
    require(scale.shape.size() == 1 && scale.size() == shape[0], "SparseQMatMul: scale must have one value a row");
    require(bias.shape.size() == 1 && bias.size() == shape[0], "SparseQMatMul: bias must have one value a row");
    scale_.assign(scale.data, scale.data + shape[0]);
    bias_.assign(bias.data, bias.data + shape[0]);
  }

  void compute(const Call& call) override {
    const Tensor<uint8_t> x = call.input<uint8_t>(0);
    const Tensor<float> x_scale = call.input<float>(1);
    const Tensor<uint8_t> x_zero = call.input<uint8_t>(2);
    require(x_scale.size() == 1 && x_zero.size() == 1, "SparseQMatMul: one scale and one zero point for the input");
    require(!x.shape.empty() && x.shape.back() == depth_, "SparseQMatMul: the last axis of the input does not fit");
    Shape out = x.shape;
    out.back() = weight_.rows;
    float* y = call.output<float>(out);
    const int64_t tokens = x.size() / depth_;
    require(tokens < (int64_t{1} << 31) - 1024, "SparseQMatMul: the input is too large");
    if (tokens == 0) return;

    const size_t rows = static_cast<size_t>(weight_.rows);
    std::vector<float> scale(rows);
    std::vector<int32_t> start(rows);
    for (size_t r = 0; r < rows; ++r) {
      scale[r] = scale_[r] * x_scale.data[0];
      start[r] = -static_cast<int32_t>(x_zero.data[0]) * weight_.row_sum[r];
    }
    QspmmTask t{};
    t.index = weight_.index.data();
    t.word = weight_.word.data();
    t.start = weight_.start.data();
    t.rows = weight_.rows;
    t.bias = start.data();
    t.scale = scale.data();
    t.shift = bias_.data();
    multiply(call, t, x.data, static_cast<int>(tokens), y);
  }

 private:
  void multiply(const Call& call, const QspmmTask& base, const uint8_t* x, int tokens, float* y) const {
    const Kernels& k = kernels();
    const std::vector<Panel> cut = panels(tokens, k.vector, k.widest_integer(weight_.block));
    const std::vector<Chunk> rows = chunks(weight_.work, 0, weight_.row_blocks, chunks_for(cut.size()));
    const size_t fours = static_cast<size_t>(weight_.fours), depth = static_cast<size_t>(depth_);
    const Scratch packed(*pool_, (static_cast<size_t>(tokens) + static_cast<size_t>(k.vector)) * fours * 4);
    // Tokens whose length is no multiple of four are copied to rows that are.
    const bool even = depth % 4 == 0;
    const Scratch padded(*pool_, even ? 0 : static_cast<size_t>(tokens) * fours * 4);
    if (!even) {
      for (size_t r = 0; r < static_cast<size_t>(tokens); ++r) {
        std::memcpy(padded.as<uint8_t>() + r * fours * 4, x + r * depth, depth);
        std::memset(padded.as<uint8_t>() + r * fours * 4 + depth, 0, fours * 4 - depth);
      }
      x = padded.as<uint8_t>();
    }

    // Four bytes move as one float: transposing looks at no value.
    constexpr size_t kDepth = 64;
    const size_t parts = (fours + kDepth - 1) / kDepth;
    call.parallel(cut.size() * parts, [&](size_t i) {
      const Panel& p = cut[i / parts];
      const size_t from = i % parts * kDepth, wide = static_cast<size_t>(p.vectors * k.vector);
      k.transpose_in(reinterpret_cast<const float*>(x) + static_cast<size_t>(p.first) * fours + from, fours, p.columns,
                     static_cast<int>(std::min(kDepth, fours - from)),
                     packed.as<float>() + static_cast<size_t>(p.first) * fours + from * wide, static_cast<int>(wide));
    });

    call.parallel(cut.size() * rows.size(), [&](size_t i) {
      const Panel& p = cut[i / rows.size()];
      QspmmTask t = base;
      t.stride = static_cast<size_t>(p.vectors * k.vector);
      t.panel = packed.as<uint8_t>() + static_cast<size_t>(p.first) * fours * 4;
      t.columns = static_cast<int>(t.stride);
      multiply_chunk(k, t, p, rows[i % rows.size()], y);
    });
  }

  void multiply_chunk(const Kernels& k, QspmmTask t, const Panel& p, const Chunk& chunk, float* y) const {
    alignas(64) float stage[kStage];
    const Qspmm qspmm = k.qspmm_floats(weight_.block, p.vectors);
    const int step = kStageRows / weight_.block, width = static_cast<int>(t.stride);
    t.out_stride = width;
    for (int block = chunk.first; block < chunk.last; block += step) {
      t.first = block;
      t.last = std::min(block + step, chunk.last);
      const int row = block * weight_.block, end = std::min(t.last * weight_.block, weight_.rows);
      t.out = stage - static_cast<ptrdiff_t>(width) * row;
      qspmm(t);
      k.transpose_out(stage, width, p.columns, end - row, y + static_cast<size_t>(p.first) * weight_.rows + row,
                      static_cast<size_t>(weight_.rows));
    }
  }

  int64_t depth_ = 0;
  SparseIntegers weight_;
  std::vector<float> scale_, bias_;
  std::shared_ptr<Pool> pool_;
};

}  // namespace

std::unique_ptr<Kernel> make_sparse_qmatmul(const Node& node, Fusion) { return std::make_unique<SparseQMatMul>(node); }

}  // namespace onnxprune
