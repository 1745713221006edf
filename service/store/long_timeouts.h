/*
 * Connections for work that takes its time: migrations, audits.
 *
 * mysql.timeout_ms bounds every statement of the service, because a buyer waits for it. The
 * CREATE INDEX of a migration or the sums over a million orders may take longer and are right
 * to; and an audit, which locks no row, may think for more than a moment inside its snapshot.
 */
#ifndef HOLDFAST_STORE_LONG_TIMEOUTS_H
#define HOLDFAST_STORE_LONG_TIMEOUTS_H

#include "config/config.h"

/* Borrows all that `config` owns: is never given to config_free() and does not outlive it. */
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
