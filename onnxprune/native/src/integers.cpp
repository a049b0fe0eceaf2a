#include "integers.h"

#include "stored.h"

namespace onnxprune {

SparseIntegers decode_integers(const Tensor<int8_t>& values, const Tensor<uint8_t>& gaps, int64_t rows, int64_t fours,
                               int64_t block) {
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  constexpr int64_t kMostColumns = int64_t{1} << 16;  // beyond, sums of 32 bits could overflow
  require(block == 1 || block == 2 || block == 4, "sparse weights: integer blocks have 1, 2 or 4 rows");
  require(rows > 0 && rows <= kMost && fours > 0 && fours <= kMostColumns / 4, "sparse weights: bad shape");
  const int64_t row_blocks = (rows + block - 1) / block;
  require(row_blocks <= kMost / fours, "sparse weights: too large");
  require(values.shape.size() == 1 && values.size() == gaps.size() * block * 4,
          "sparse weights: values and gaps disagree");
  const std::vector<int64_t> position = positions(gaps, row_blocks * fours);

  const Kernels& k = kernels();
  SparseIntegers sparse;
  sparse.rows = static_cast<int>(rows);
  sparse.fours = static_cast<int>(fours);
  sparse.block = static_cast<int>(block);
  sparse.row_blocks = static_cast<int>(row_blocks);
  sparse.row_sum.assign(static_cast<size_t>(row_blocks * block), 0);
  sparse.word.resize(position.size() * static_cast<size_t>(block * k.words));
  std::vector<int32_t> count(static_cast<size_t>(row_blocks));
  int32_t* word = sparse.word.data();
  const int8_t* value = values.data;
  for (int64_t at : position) {
    const int64_t row_block = at / fours;
    ++count[static_cast<size_t>(row_block)];
    sparse.index.push_back(static_cast<int32_t>(at % fours));
    for (int64_t b = 0; b < block; ++b, value += 4, word += k.words) {
      k.pack(value, word);
      sparse.row_sum[static_cast<size_t>(row_block * block + b)] += value[0] + value[1] + value[2] + value[3];
    }
  }
  constexpr int64_t kRowCost = 3;  // starting and storing a row takes as long as some non-zeros
  sparse.start.push_back(0);
  sparse.work.push_back(0);
  for (int32_t non_zeros : count) {
    sparse.start.push_back(sparse.start.back() + non_zeros);
    sparse.work.push_back(sparse.work.back() + non_zeros + kRowCost);
  }
  return sparse;
}

}  // namespace onnxprune
