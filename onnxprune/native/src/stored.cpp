#include "stored.h"

#include <algorithm>

namespace onnxprune {
namespace {

constexpr int64_t kMostBlocks = (int64_t{1} << 31) - 1;

bool all_zero(const float* values, int count) {
  return std::all_of(values, values + count, [](float v) { return v == 0.f; });
}

}  // namespace

std::vector<int64_t> positions(const Tensor<uint8_t>& gaps, int64_t limit) {
  require(gaps.shape.size() == 1, "sparse weights: gaps must be one row of bytes");
  std::vector<int64_t> found(static_cast<size_t>(gaps.size()));
  int64_t position = -1;
  for (size_t i = 0; i < found.size(); ++i) {
    require(gaps.data[i] > 0, "sparse weights: a gap of 0 names a block twice");
    position += gaps.data[i];
    require(position < limit, "sparse weights: a block lies outside of the weight");
    found[i] = position;
  }
  return found;
}

Sparse decode(const Tensor<float>& values, const Tensor<uint8_t>& gaps, const Tensor<float>& bias, int64_t rows,
              int64_t depth, int64_t block, int slice) {
  require(block == 1 || block == 2 || block == 4 || block == 8, "sparse weights: blocks of 1, 2, 4 or 8 rows only");
  require(rows > 0 && depth > 0 && rows <= kMostBlocks && depth <= kMostBlocks, "sparse weights: bad shape");
  const int64_t row_blocks = (rows + block - 1) / block;
  require(row_blocks <= kMostBlocks / depth, "sparse weights: too large");
  require(bias.shape.size() == 1 && bias.size() == rows, "sparse weights: bias must have one value a row");
  require(values.shape.size() == 1 && values.size() == gaps.size() * block,
          "sparse weights: values and gaps disagree");
  const std::vector<int64_t> position = positions(gaps, row_blocks * depth);

  Sparse sparse;
  sparse.rows = static_cast<int>(rows);
  sparse.depth = static_cast<int>(depth);
  sparse.block = static_cast<int>(block);
  sparse.row_blocks = static_cast<int>(row_blocks);
  sparse.bias.assign(bias.data, bias.data + rows);
  const size_t per_block = static_cast<size_t>(block);
  const int64_t slices = (depth + slice - 1) / slice;
  for (int64_t s = 0; s < slices; ++s) {
    std::vector<int32_t> start(static_cast<size_t>(row_blocks) + 1);
    for (size_t i = 0; i < position.size(); ++i) {
      const int64_t row = position[i] / depth, column = position[i] % depth;
      const float* block_values = values.data + i * per_block;
      if (column / slice != s || all_zero(block_values, static_cast<int>(block))) continue;
      sparse.index.push_back(static_cast<int32_t>(column));
      sparse.value.insert(sparse.value.end(), block_values, block_values + block);
      start[static_cast<size_t>(row) + 1] = static_cast<int32_t>(sparse.index.size());
    }
    // A row block without non-zeros starts where the one before ends; the first where the slice before ends.
    start[0] = sparse.start.empty() ? 0 : sparse.start.back().back();
    for (size_t r = 1; r < start.size(); ++r) start[r] = std::max(start[r], start[r - 1]);
    sparse.start.push_back(std::move(start));
  }
  constexpr int64_t kRowCost = 3;  // starting and storing a row takes as long as some non-zeros
  for (int64_t r = 0; r <= row_blocks; ++r) {
    int64_t work = kRowCost * r;
    for (const auto& start : sparse.start) work += start[static_cast<size_t>(r)] - start[0];
    sparse.work.push_back(work);
  }
  return sparse;
}

}  // namespace onnxprune
