/* clang-format off */
/*
 * What a purchase does next: a pure machine. An event goes in, the state changes, and effects come
 * out for engine/purchase.c to carry out. Nothing here does I/O, reads a clock or allocates: what
 * depends on the world is in the event.
 *
 *   the common path:
 *
 *                     ┌───────────────── stale, delayed, unknown ────────────────┐
 *                     ▼                                                          │
 *       start ──▶ ROUTING ──────────▶ ADMITTING ──admitted──▶ COMMITTING ──stale─┤
 *                   │  ▲                │  │                    │                │
 *                   ▼  │ read           │  │ refused            │ row            │
 *                 PARKED                │  └──────▶ ENDED ◀─────┘                │
 *                                       ▼                                        │
 *                     CHECKING_KEY, CHECKING_EPOCH ──free, over──────────────────┘
 *                     FINDING_FIRST ⇄ AWAITING_FIRST ──▶ ENDED
 *
 *   every move:
 *
 *   state            event                                                to
 *   ROUTING          the item was looked at: its row has to be read       PARKED
 *                    there is a permit                                    ADMITTING
 *                    there is none                                        ENDED
 *   PARKED           the item is ready                                    ROUTING, at once
 *                    it is busy; away, if it must end in a row            ROUTING
 *                    it is gone, and the order must end in a row          COMMITTING (no permit: ROUTING)
 *                    it is gone; away                                     ENDED
 *   ADMITTING        admitted                                             COMMITTING
 *                    stale                                                ROUTING, at once
 *                    delayed; unknown; away, if it must end in a row      ROUTING
 *                    refused; a repeat; unknown and late;
 *                      each if it must end in a row                       COMMITTING
 *                    its key may have an order: nothing was taken yet     CHECKING_KEY
 *                    refused by a gate that has not seen its buyer, a key CHECKING_EPOCH
 *                    refused by a gate that has seen its buyer, a key;
 *                      a repeat of an order that is on its way            FINDING_FIRST
 *                    refused; a repeat of an order in MySQL; decided      ENDED
 *   CHECKING_KEY     the key is free                                      ROUTING, at once
 *                    MySQL does not say                                   ROUTING
 *                    another order has it, and it must end in a row       COMMITTING
 *                    it is its own; another has it; its buyer has heard   ENDED
 *   CHECKING_EPOCH   the epoch is over                                    ROUTING, at once
 *                    it rules; MySQL does not say; its buyer has heard    ENDED
 *   FINDING_FIRST    what was found has lost the key to another           FINDING_FIRST
 *                    it is not in MySQL yet, or MySQL does not say        AWAITING_FIRST
 *                    found; there is none; its buyer has heard            ENDED
 *   AWAITING_FIRST   due                                                  FINDING_FIRST
 *                    due, and its buyer has heard                         ENDED
 *   COMMITTING       its epoch is over                                    ROUTING, at once
 *                    rejected, and an order of its key may have been first FINDING_FIRST
 *                    its row is in MySQL                                  ENDED
 *   any but ENDED    the answer deadline: the buyer hears what is known   the same; ENDED if no attempt
 *                                                                         was sent
 *
 * A state is what the purchase waits for; entering it starts that.
 *
 * Two rules carry the promises:
 *   - What may have been admitted, or what its buyer has an id of, ends in a row in MySQL. Without a
 *     row it is refused only if no attempt can have been admitted. (An adopted order that gets no
 *     permit is left as it is: the reconciler hands it over again.)
 *   - The buyer hears one answer: at the end, or 202 earlier.
 *
 * On its owner loop; never blocks.
 */
/* clang-format on */
#ifndef HOLDFAST_ENGINE_PURCHASE_MACHINE_H
#define HOLDFAST_ENGINE_PURCHASE_MACHINE_H

#include "strategies/strategy.h"

typedef enum {
    PURCHASE_ROUTING,        /* its timer, or nothing: then the item is looked at */
    PURCHASE_PARKED,         /* the item's row is being read */
    PURCHASE_ADMITTING,      /* a strategy has its attempt */
    PURCHASE_CHECKING_KEY,   /* a read: has its key an order? If not it is admitted */
    PURCHASE_CHECKING_EPOCH, /* a read: was it refused under the epoch that rules? */
    PURCHASE_FINDING_FIRST,  /* a read: the first order of its key */
    PURCHASE_AWAITING_FIRST, /* its timer: that order is not in MySQL yet */
    PURCHASE_COMMITTING,     /* the writer has its order, live or rejected */
    PURCHASE_ENDED,
    PURCHASE_STATES
} purchase_state_t;

/* What is known of its attempts. An attempt that was refused falls back to NOT_SENT; what is above
   SENT never falls. */
typedef enum {
    KNOWN_NOT_SENT,       /* none is out, and none can have been admitted */
    KNOWN_SENT,           /* one is out, the first that counts */
    KNOWN_MAYBE_IN_ROW,   /* a COMMIT was lost: it may be in MySQL, no gate has it */
    KNOWN_MAYBE_ADMITTED, /* an answer of the gate was lost: `unsettled` may have it */
    KNOWN_ADMITTED,       /* `unsettled` has, or had, it */
    KNOWN_IN_ROW          /* its row is in MySQL, live or rejected */
} purchase_known_t;

typedef enum {
    BUYER_WAITS,
    BUYER_HAS_ID,    /* has heard 202 with its id, or (adopted) may have */
    BUYER_HAS_ANSWER /* has heard something else: nothing may be admitted for it any more */
} purchase_buyer_t;

typedef enum {
    KEY_NONE,
    KEY_UNCHECKED,
    KEY_FREE /* MySQL had no order of it */
} purchase_key_t;

/* Which order came first with its key? */
typedef enum {
    FIRST_NONE,     /* nothing speaks for one */
    FIRST_POSSIBLE, /* it is looked for by the key */
    FIRST_NAMED     /* it is looked for by its id */
} purchase_first_t;

typedef struct {
    purchase_state_t state;
    purchase_known_t known;
    purchase_buyer_t buyer;
    purchase_key_t key;
    purchase_first_t first;
    bool adopted;      /* from an owner that is gone */
    bool has_permit;   /* of the writer's queue; kept until the end */
    problem_t refusal; /* CHECKING_EPOCH, FINDING_FIRST: what is said if nothing else is found */
    unsigned tries;    /* for the backoff */
} purchase_machine_t;

typedef enum {
    EVENT_DEADLINE, /* the buyer has waited long enough */

    /* ROUTING: the item was looked at */
    EVENT_ITEM_UNKNOWN, /* its row has to be read */
    EVENT_NO_PERMIT,    /* the writer's queue is full, or what comes would wait in it */
    EVENT_PERMIT,       /* the purchase has one */

    /* PARKED: the row was read */
    EVENT_ITEM_READY,
    EVENT_ITEM_GONE, /* there is none; `permit` */
    EVENT_ITEM_BUSY, /* it is being changed: ask again */
    EVENT_ITEM_AWAY, /* MySQL or Redis does not answer */

    /* ADMITTING */
    EVENT_SENT,    /* the attempt has left this loop */
    EVENT_OUTCOME, /* `outcome`, and what belongs to it */

    /* CHECKING_KEY, CHECKING_EPOCH, FINDING_FIRST */
    EVENT_NO_READ,    /* the pool takes no job */
    EVENT_KEY_IS_OWN, /* the order of the key is this one */
    EVENT_KEY_TAKEN,  /* another order has the key */
    EVENT_KEY_FREE,
    EVENT_EPOCH_RULES,
    EVENT_EPOCH_OVER,
    EVENT_FIRST_FOUND,
    EVENT_FIRST_LOST_KEY, /* what was found lost its key to another, which is named now */
    EVENT_NOT_FOUND,      /* MySQL says so */
    EVENT_READ_FAILED,

    EVENT_DUE, /* AWAITING_FIRST: look again */

    /* COMMITTING */
    EVENT_WRITTEN,    /* `rejected`, `drift`, `has_first` */
    EVENT_WRITE_STALE /* nothing happened: its epoch is over */
} purchase_event_kind_t;

typedef struct {
    purchase_event_kind_t kind;
    bool permit;            /* ITEM_GONE: there is a permit for its rejected row */
    outcome_kind_t outcome; /* OUTCOME, with: */
    problem_t problem;      /* REFUSED; of WRITTEN: the reject code */
    bool seen, lost_commit; /* see outcome_t */
    bool has_row;           /* REPEAT: the first order's row is known */
    bool of_gate;           /* the strategy is one that asks the gate */
    bool late;              /* no gate admits it any more: it is past its commit deadline */
    bool accepted;          /* ADMITTED: the item's buyers hear 202 on the gate's word */
    bool rejected;          /* WRITTEN, OUTCOME_DECIDED: so says the row */
    bool drift;             /* WRITTEN: the gate admitted it and the row had no units */
    bool has_first;         /* WRITTEN: it lost its key, to an order whose row is known */
} purchase_event_t;

/* What the buyer is told, if it waits. The end of an order whose buyer has heard already says so
   too: it is counted. */
typedef enum {
    SAY_NOTHING,
    SAY_PENDING,       /* 202, its own id */
    SAY_PENDING_FIRST, /* 202, the first order's id */
    SAY_OWN_ROW,       /* what its row says */
    SAY_FIRST_ROW,     /* what the first order's row says */
    SAY_REFUSED        /* `problem`, without a row */
} purchase_say_t;

typedef enum { NOTIFY_NOTHING, NOTIFY_SETTLED, NOTIFY_REJECTED } purchase_notice_t;

/* In the order in which they are carried out. */
typedef struct {
    bool invalidate;               /* the copy of the item, if it is still of the order's epoch */
    bool withdraw;                 /* the attempt from its strategy, which has not sent it */
    purchase_notice_t notify_gate; /* NOTIFY_REJECTED: its units return */
    bool rebuild;                  /* the gate is wrong: ask for it */
    purchase_say_t say;
    problem_t problem; /* SAY_REFUSED; entering COMMITTING: the reject code, NONE: a live order */
    bool enter;        /* the state, anew: start what it waits for */
    bool at_once;      /* entering ROUTING: without a timer */
    uint32_t backoff_base_ms; /* else: for so long, */
    unsigned backoff_tries;   /* after so many tries */
} purchase_effects_t;

/* In ROUTING; its timer is to be started. */
purchase_machine_t purchase_machine_new(bool has_key);
/* An order that an owner left behind in `unsettled`. */
purchase_machine_t purchase_machine_adopted(bool has_key);

/* Asserts that the event may come in this state, that the move is an allowed one, and what must
   hold after it. */
purchase_effects_t purchase_step(purchase_machine_t *machine, const purchase_event_t *event);

/* It ends in a row, whatever comes: an attempt may have been admitted, or its buyer has its id. */
static inline bool purchase_must_end_in_row(const purchase_machine_t *m)
{
    return m->known >= KNOWN_MAYBE_IN_ROW || m->buyer == BUYER_HAS_ID;
}

#endif
