#define LANES 8
#define ENTRY kernels_avx2
#include "kernels.inc"
