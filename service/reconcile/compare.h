/*
 * Do a gate and its row agree? Pure: snapshots in, a finding out.
 *
 * The three snapshots are taken in this order, without stopping anybody: gate, row, gate. Then, of
 * one epoch, settled (before) <= committed in MySQL <= reserved - unreserved (after); the gate has
 * been told of no more releases than MySQL had made; and what the counters call unsettled is what
 * `unsettled` really holds.
 */
#ifndef HOLDFAST_RECONCILE_COMPARE_H
#define HOLDFAST_RECONCILE_COMPARE_H

#include "gate/gate_sync.h"

typedef enum {
    FINDING_AGREE,
    FINDING_NOT_BUILT, /* no gate, another run id, another epoch, or open against closed */
    FINDING_TERMS,     /* limit or window are not the row's, or it is frozen for too long */
    FINDING_COUNTERS,  /* counters and `unsettled` differ */
    FINDING_UNDERSOLD, /* settled more than MySQL has */
    FINDING_OVERSOLD,  /* MySQL has more than was reserved */
    FINDING_RELEASES,  /* released more than MySQL has */
    FINDING_LEAKED     /* quiet, and yet units that MySQL freed are missing at the gate */
} finding_t;

const char *finding_name(finding_t finding);

finding_t compare_gate(const gate_state_t *before, const item_t *row, const gate_state_t *after);

#endif
