#define LANES 4
#define ENTRY kernels_base
#include "kernels.inc"
