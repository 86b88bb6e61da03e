/* term.h - moved: both programs use it. Include kernels/base/term.h. */
#include "kernels/base/term.h"
