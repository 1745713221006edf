/*
 * The reconciler's decisions: from a snapshot of a gate and its row to a finding and an action.
 * Pure: no I/O, and time is a parameter. Any thread; the caller owns the memory_t.
 *
 * The traffic goes on while a snapshot is taken, so it is read in this order: gate, row, gate. Then
 * these rules hold within one epoch:
 *
 *   - settled (before) <= committed in MySQL <= reserved - unreserved (after)
 *   - the gate was notified of no more releases than MySQL has made, and some seconds later of all
 *     of them
 *   - the counters' number of unsettled orders is what `unsettled` contains
 *   - the number of buyers is the number of fields of `buyers`
 *
 * A snapshot that breaks a rule may be a moment of the traffic. Only a second one in a row, of the
 * same epoch, is drift. No counter is ever set from a difference: the only remedy is a rebuild.
 */
#ifndef HOLDFAST_RECONCILE_DECIDE_H
#define HOLDFAST_RECONCILE_DECIDE_H

#include "gate/gate_sync.h"

typedef enum {
    FINDING_AGREE,
    FINDING_NOT_BUILT, /* no gate of an item that was sold and uses it, another Redis, another
                          epoch, or only one of the two is closed */
    FINDING_TERMS,     /* limit or window differ from the row's, or it is frozen for too long */
    FINDING_CAPACITY,  /* capacity is not what was left when the epoch began */
    FINDING_COUNTERS,  /* counters and `unsettled` differ */
    FINDING_BUYERS,    /* `buyers` has lost or gained fields */
    FINDING_UNDERSOLD, /* more is settled than MySQL has */
    FINDING_OVERSOLD,  /* MySQL has more than was reserved */
    FINDING_RELEASES,  /* more is released than MySQL has */
    FINDING_LEAKED,    /* units are missing that MySQL freed seconds ago, or that no order holds */
    FINDING_GATE_BACK, /* the fallback is active, and Redis answers again */
    FINDING_COUNT
} finding_t;

const char *finding_name(finding_t finding);

typedef enum {
    ACTION_NONE,
    ACTION_COMPARE_AGAIN, /* compare again, in some tens of milliseconds */
    ACTION_SYNC,          /* make the gate agree with the row's epoch */
    ACTION_REBUILD,       /* a new epoch, and a gate from MySQL */
    ACTION_RESTORE        /* a new epoch, under which the gate admits again: the fallback ends */
} action_t;

typedef struct {
    gate_state_t before;
    item_t row;
    gate_state_t after;
    uint64_t now_ms; /* monotonic */
    bool by_hand;    /* an operator requested this comparison: Redis counts as back for good */
} snapshot_t;

/* The state of an item that is kept between comparisons; all zero before the first. */
typedef struct {
    uint64_t epoch;          /* of the members below */
    unsigned misses;         /* comparisons in a row that found something */
    int64_t released;        /* units that MySQL had freed under this epoch at `released_at_ms` */
    uint64_t released_at_ms; /* monotonic; 0: nothing kept */
    uint64_t short_since_ms; /* monotonic: since when a quiet gate has had other units left than
                                MySQL; 0: it has the same */
    uint64_t gate_back_ms;   /* monotonic: since when Redis answers again; 0: not in question */
} memory_t;

typedef struct {
    finding_t finding;
    action_t action;
    bool open; /* the memory is needed: a finding, a rebuild or a release has not ended yet */
} decision_t;

/* Decides, and updates *memory. Time must not go back between calls with one memory_t. No
   errors. */
decision_t reconcile_decide(memory_t *memory, const snapshot_t *snapshot);

#endif
