#define LANES 16
#define ENTRY kernels_avx512
#include "kernels.inc"
