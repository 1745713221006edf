#include "base/fatal.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

void fatal_at(const char *file, int line, const char *what, int error)
{
    log_write(LOG_LEVEL_ERROR, file, line, "the process cannot continue", LOG_STR("failed", what),
              LOG_STR("error", error == 0 ? NULL : strerror(error)), LOG_END_);
    log_flush();
    abort();
}
