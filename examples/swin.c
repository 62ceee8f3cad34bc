#define SWIN_IMPLEMENTATION
#include "swin.h"
