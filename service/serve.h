/* `holdfast serve`: the whole process, from the start to the end of the drain. */
#ifndef HOLDFAST_SERVE_H
#define HOLDFAST_SERVE_H

#include "config/config.h"

/* Call on the main thread, after signals_set_up() and before there are other threads. Blocks until
   the process is to end (signals.h). Returns the exit status: 0, or 1 if it could not start; the
   reason is then on stderr. `config` must outlive the call. If the drain exceeds
   shutdown.deadline_ms, or a thread of an audit is left behind, it ends the process itself. */
int serve(const config_t *config);

#endif
