/* `holdfast serve`: the process from start to drain. */
#ifndef HOLDFAST_SERVE_H
#define HOLDFAST_SERVE_H

#include "config/config.h"

/* After signals_set_up(). Returns the exit status. */
int serve(const config_t *config);

#endif
