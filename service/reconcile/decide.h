/*
 * The reconciler's decisions: from snapshots of a gate and its row to a finding and an action.
 * Pure: no I/O, and time is a value.
 *
 * A snapshot is taken without stopping anybody, in this order: gate, row, gate. Then, of one
 * epoch, settled (before) <= committed in MySQL <= reserved - unreserved (after); the gate has
 * been told of no more releases than MySQL had made, and some seconds later of all of them; what
 * the counters call unsettled is what `unsettled` really holds, and so many buyers are known
 * as `buyers` has fields. A snapshot that breaks a rule may be a moment of the traffic: only a
 * second one in a row, of the same epoch, is drift. No counter is ever set from a difference: the
 * one remedy is a rebuild.
 */
#ifndef HOLDFAST_RECONCILE_DECIDE_H
#define HOLDFAST_RECONCILE_DECIDE_H

#include "gate/gate_sync.h"

typedef enum {
    FINDING_AGREE,
    FINDING_NOT_BUILT, /* no gate, another Redis, another epoch, or open against closed */
    FINDING_TERMS,     /* limit or window are not the row's, or it is frozen for too long */
    FINDING_CAPACITY,  /* capacity is not what was left when the epoch began */
    FINDING_COUNTERS,  /* counters and `unsettled` differ */
    FINDING_BUYERS,    /* `buyers` has lost or gained fields */
    FINDING_UNDERSOLD, /* settled more than MySQL has */
    FINDING_OVERSOLD,  /* MySQL has more than was reserved */
    FINDING_RELEASES,  /* released more than MySQL has */
    FINDING_LEAKED,    /* units that MySQL freed seconds ago, or that nobody holds, are missing */
    FINDING_GATE_BACK, /* a SQL strategy stands in for the gate, and Redis answers again */
    FINDING_COUNT
} finding_t;

const char *finding_name(finding_t finding);

typedef enum {
    ACTION_NONE,
    ACTION_LOOK_AGAIN, /* in some tens of milliseconds */
    ACTION_SYNC,       /* make the gate that of the row's epoch */
    ACTION_REBUILD,    /* a new epoch, and a gate from MySQL */
    ACTION_RESTORE     /* a new epoch under which the gate admits again */
} action_t;

typedef struct {
    gate_state_t before;
    item_t row;
    gate_state_t after;
    uint64_t now_ms; /* monotonic */
    bool by_hand; /* somebody asked for this look, and answers for it that Redis is back for good */
} snapshot_t;

/* What is kept of an item between looks; all zero before the first. */
typedef struct {
    uint64_t epoch;   /* of what follows */
    unsigned misses;  /* looks in a row that found something */
    int64_t released; /* units that MySQL had freed under this epoch, and when that was seen */
    uint64_t released_at_ms; /* monotonic; 0: nothing kept */
    uint64_t short_since_ms; /* monotonic: since when a quiet gate has other units left than MySQL;
                                0: it has not */
    uint64_t gate_back_ms;   /* monotonic: since when Redis answers again; 0: it does not matter */
} memory_t;

typedef struct {
    finding_t finding;
    action_t action;
} decision_t;

decision_t reconcile_decide(memory_t *memory, const snapshot_t *snapshot);

#endif
