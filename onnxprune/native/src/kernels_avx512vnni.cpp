// As AVX-512, with products of bytes by VNNI.
#define LANES 16
#include "vector.inc"
#include "integer.inc"
#include "qspmm.inc"

namespace onnxprune {

const Kernels& kernels_avx512vnni() {
  static const Kernels kernels = [] {
    Kernels k = kernels_avx512();
    k.words = kWords;
    k.pack = pack_four;
    k.widest_integer = widest_integer;
    k.qspmm_bytes = find_qspmm<ToBytes>;
    k.qspmm_floats = find_qspmm<ToFloats>;
    return k;
  }();
  return kernels;
}

}  // namespace onnxprune
