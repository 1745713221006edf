/*
 * The results of a call about an item that uses both servers: the kinds of base/result.h, with the
 * server that failed. Pure; any thread.
 *
 * The connection that met the failure has logged and counted it; a caller does neither.
 */
#ifndef HOLDFAST_RECONCILE_OUTCOME_H
#define HOLDFAST_RECONCILE_OUTCOME_H

#include "base/result.h"

typedef enum {
    SYNC_READY,        /* done */
    SYNC_UNKNOWN_ITEM, /* there is no such row */
    SYNC_GATE_AWAY,    /* Redis does not answer, or returns an error */
    SYNC_STORE_AWAY,   /* MySQL does not answer, or takes no such statements now */
    SYNC_REFUSED,      /* MySQL refuses the values of the row, and would do so again */
    SYNC_BUSY          /* retry: another transaction has the row, or the item keeps changing */
} sync_result_t;

/* Maps the result of a statement about the item's row. A COMMIT with an unknown outcome is
   SYNC_BUSY: the next read shows whether it happened. */
sync_result_t sync_of_store(result_t result);
/* A text for people; NULL for SYNC_READY. Static. */
const char *sync_result_text(sync_result_t result);

#endif
