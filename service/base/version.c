#include "base/version.h"

const char holdfast_version[] = HOLDFAST_VERSION;
