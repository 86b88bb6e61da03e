/* options.h - moved: both programs use it. Include kernels/base/options.h. */
#include "kernels/base/options.h"
