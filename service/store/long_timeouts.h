/*
 * Connections for slow work: migrations, audits.
 *
 * mysql.timeout_ms bounds every statement of the service, because a buyer waits for it. The CREATE
 * INDEX of a migration, or sums over a million orders, may take longer. An audit locks no row, so
 * it may also pause for longer inside its snapshot.
 *
 * Pure; any thread may call.
 */
#ifndef HOLDFAST_STORE_LONG_TIMEOUTS_H
#define HOLDFAST_STORE_LONG_TIMEOUTS_H

#include "config/config.h"

/* Returns a copy of `config` with time-outs of at least `seconds`. The copy borrows the content of
   `config`: it does not outlive it and is never passed to config_free(). */
static inline config_t config_with_long_timeouts(const config_t *config, uint32_t seconds)
{
    config_t copy = *config;
    if (copy.mysql.timeout_ms < seconds * 1000)
        copy.mysql.timeout_ms = seconds * 1000;
    if (copy.mysql.idle_transaction_timeout_s < seconds)
        copy.mysql.idle_transaction_timeout_s = seconds;
    return copy;
}

#endif
