#include "kernels.h"

#include "isa.h"

namespace onnxprune {

const Kernels& kernels() {
#if defined(__x86_64__)
  if (isa() >= Isa::kAvx512Vnni) return kernels_avx512vnni();
  if (isa() >= Isa::kAvx512) return kernels_avx512();
  if (isa() >= Isa::kAvx2) return kernels_avx2();
#endif
  return kernels_base();
}

const Kernels& kernels_up_to(int columns) {
#if defined(__x86_64__)
  if (isa() >= Isa::kAvx512 && columns <= kernels_avx2().vector) return kernels_avx2();
#endif
  (void)columns;
  return kernels();
}

}  // namespace onnxprune
