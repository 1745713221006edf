/* clang-format off */
/*
 * What a purchase does next: a pure machine. An event goes in, the state changes, and effects come
 * out for engine/purchase.c to carry out. Nothing here does I/O, reads a clock, allocates or
 * blocks: the event contains what depends on the world. The owner of a machine is its purchase, on
 * the thread of the item's owner loop. An event that may not come in a state, and a move that is
 * not in the table below, fail an assert in every build; there is no error to return.
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
 *   ROUTING          the item's row has to be read                        PARKED
 *                    there is a permit                                    ADMITTING
 *                    there is no permit                                   ENDED
 *   PARKED           the item is ready                                    ROUTING, at once
 *                    it is busy; away, if the order must end in a row     ROUTING
 *                    it is gone, and the order must end in a row          COMMITTING (no permit: ROUTING)
 *                    it is gone; away                                     ENDED
 *   ADMITTING        admitted                                             COMMITTING
 *                    stale                                                ROUTING, at once
 *                    delayed; not loaded; unknown; away, if it must end
 *                      in a row                                           ROUTING
 *                    refused; a repeat; unknown and late;
 *                      each if it must end in a row                       COMMITTING
 *                    its key may have an order: nothing was taken yet     CHECKING_KEY
 *                    refused by a gate that has not seen its buyer, a key CHECKING_EPOCH
 *                    refused by a gate that has seen its buyer, a key;
 *                      a repeat of an order that is on its way            FINDING_FIRST
 *                    refused; a repeat of an order in MySQL; decided      ENDED
 *   CHECKING_KEY     the key is free                                      ROUTING, at once
 *                    MySQL gives no answer                                ROUTING
 *                    another order has it, and it must end in a row       COMMITTING
 *                    its own order has it; another has it; its buyer
 *                      has an answer                                      ENDED
 *   CHECKING_EPOCH   the epoch is over                                    ROUTING, at once
 *                    it is still the item's; MySQL gives no answer;
 *                      its buyer has an answer                            ENDED
 *   FINDING_FIRST    the order found has lost the key to another          FINDING_FIRST
 *                    it is not in MySQL yet, or MySQL gives no answer     AWAITING_FIRST
 *                    found; there is none; its buyer has an answer        ENDED
 *   AWAITING_FIRST   due                                                  FINDING_FIRST
 *                    due, and its buyer has an answer                     ENDED
 *   COMMITTING       its epoch is over                                    ROUTING, at once
 *                    rejected, and an order of its key may have been first FINDING_FIRST
 *                    its row is in MySQL                                  ENDED
 *   any but ENDED    the answer deadline: the buyer gets what is known    the same; ENDED if no attempt
 *                                                                         was sent
 *
 * A state is named after what the purchase waits for; entering the state starts that wait.
 *
 * Two rules carry the promises:
 *   - An order ends in a row in MySQL if an attempt may have been admitted, or if the buyer has its
 *     id. It is refused without a row only if no attempt can have been admitted. (An adopted order
 *     that gets no permit is left as it is: the reconciler hands it over again.)
 *   - The buyer gets one answer: at the end, or 202 earlier.
 */
/* clang-format on */
#ifndef HOLDFAST_ENGINE_PURCHASE_MACHINE_H
#define HOLDFAST_ENGINE_PURCHASE_MACHINE_H

#include "strategies/strategy.h"

typedef enum {
    PURCHASE_ROUTING,        /* its timer, or nothing: then it decides at once */
    PURCHASE_PARKED,         /* the item's row is being read */
    PURCHASE_ADMITTING,      /* a strategy has its attempt */
    PURCHASE_CHECKING_KEY,   /* a read: has its key an order? If not, the order is admitted */
    PURCHASE_CHECKING_EPOCH, /* a read: is the epoch of the refusal still the item's? */
    PURCHASE_FINDING_FIRST,  /* a read: the first order of its key */
    PURCHASE_AWAITING_FIRST, /* its timer: that order is not in MySQL yet */
    PURCHASE_COMMITTING,     /* the writer has its order, live or rejected */
    PURCHASE_ENDED,
    PURCHASE_STATES
} purchase_state_t;

/* The knowledge about the attempts. A refused attempt sets SENT back to NOT_SENT; a value above
   SENT never falls. */
typedef enum {
    KNOWN_NOT_SENT, /* none is under way, and none can have been admitted */
    KNOWN_SENT,     /* one is under way, and no earlier one can have been admitted */
    /* the answer to a COMMIT was lost: MySQL may have its row, no gate has it */
    KNOWN_MAYBE_IN_ROW,
    KNOWN_MAYBE_ADMITTED, /* an answer of the gate was lost: `unsettled` may contain it */
    KNOWN_ADMITTED,       /* `unsettled` contains it, or did */
    KNOWN_IN_ROW          /* its row is in MySQL, live or rejected */
} purchase_known_t;

typedef enum {
    BUYER_WAITS,
    BUYER_HAS_ID,    /* has a 202 with its id */
    BUYER_ACCEPTED,  /* has a 202 because the gate has the order, or (adopted) may have */
    BUYER_HAS_ANSWER /* has another answer: no order may be admitted for him any more */
} purchase_buyer_t;

typedef enum {
    KEY_NONE,
    KEY_UNCHECKED,
    KEY_FREE /* MySQL had no order with it */
} purchase_key_t;

/* The order that came first with its key. */
typedef enum {
    FIRST_NONE,     /* there is no sign of one */
    FIRST_POSSIBLE, /* it is read by the key */
    FIRST_NAMED     /* it is read by its id */
} purchase_first_t;

typedef struct {
    purchase_state_t state;
    purchase_known_t known;
    purchase_buyer_t buyer;
    purchase_key_t key;
    purchase_first_t first;
    bool adopted;      /* taken over from a process that is gone */
    bool has_permit;   /* of the writer's queue; kept until the end */
    problem_t refusal; /* CHECKING_EPOCH, FINDING_FIRST: the answer if no order is found */
    unsigned tries;    /* for the backoff */
} purchase_machine_t;

typedef enum {
    EVENT_DEADLINE, /* the answer deadline has passed */

    /* ROUTING: the item's entry was read */
    EVENT_ITEM_UNKNOWN, /* its row has to be read */
    EVENT_NO_PERMIT,    /* the writer's queue is full, or the order would wait in it */
    EVENT_PERMIT,       /* the purchase has one */

    /* PARKED: the row was read */
    EVENT_ITEM_READY,
    EVENT_ITEM_GONE, /* there is none; `permit` */
    EVENT_ITEM_BUSY, /* it is being changed: try again */
    EVENT_ITEM_AWAY, /* MySQL or Redis gives no answer */

    /* ADMITTING */
    EVENT_SENT,    /* the attempt has left this loop */
    EVENT_OUTCOME, /* `outcome` and its members */

    /* CHECKING_KEY, CHECKING_EPOCH, FINDING_FIRST */
    EVENT_NO_READ,    /* the pool takes no job */
    EVENT_KEY_IS_OWN, /* the order of the key is this one */
    EVENT_KEY_TAKEN,  /* another order has the key */
    EVENT_KEY_FREE,
    EVENT_EPOCH_VALID,
    EVENT_EPOCH_OVER,
    EVENT_FIRST_FOUND,
    EVENT_FIRST_LOST_KEY, /* the order found lost its key to another, which is named now */
    EVENT_NOT_FOUND,      /* MySQL has no such row */
    EVENT_READ_FAILED,

    EVENT_DUE, /* AWAITING_FIRST: read again */

    /* COMMITTING */
    EVENT_WRITTEN,    /* `rejected`, `drift`, `has_first` */
    EVENT_WRITE_STALE /* nothing was written: its epoch is over */
} purchase_event_kind_t;

typedef struct {
    purchase_event_kind_t kind;
    bool permit;            /* ITEM_GONE: there is a permit for its rejected row */
    outcome_kind_t outcome; /* OUTCOME, with: */
    problem_t problem;      /* REFUSED; of WRITTEN: the reject code */
    bool seen, lost_commit; /* see outcome_t */
    bool has_row;           /* REPEAT: the first order's row was read */
    bool of_gate;           /* the strategy uses the gate */
    bool late;              /* it is past its commit deadline: no gate admits it any more */
    bool of_answer;         /* REFUSED: see outcome_t */
    /* ADMITTED: the item's buyers get 202 once the gate has admitted them */
    bool accepted;
    bool rejected;  /* WRITTEN, OUTCOME_DECIDED: the row is rejected */
    bool drift;     /* WRITTEN: the gate admitted it and the row had no units */
    bool has_first; /* WRITTEN: it lost its key to an order whose row was read */
} purchase_event_t;

/* The answer to the buyer, if he waits for one. The end of an order whose buyer has an answer
   already has a value too, because it is counted. */
typedef enum {
    ANSWER_NONE,
    ANSWER_WITH_ID,        /* 202, its own id */
    ANSWER_WITH_FIRST_ID,  /* 202, the first order's id */
    ANSWER_WITH_ROW,       /* the contents of its row */
    ANSWER_WITH_FIRST_ROW, /* the contents of the first order's row */
    ANSWER_WITH_REFUSAL    /* `problem`, without a row */
} purchase_answer_t;

typedef enum { NOTIFY_NOTHING, NOTIFY_SETTLED, NOTIFY_REJECTED } purchase_notice_t;

/* Carried out in this order. */
typedef struct {
    /* invalidate the loop's copy of the item, if it still has the order's epoch */
    bool invalidate;
    /* take the attempt back from its strategy, which has not sent it */
    bool withdraw;
    purchase_notice_t notify_gate; /* NOTIFY_REJECTED: its units return */
    bool rebuild;                  /* the gate is wrong: request its rebuild */
    purchase_answer_t answer;
    /* ANSWER_WITH_REFUSAL; entering COMMITTING: the reject code, NONE: a live order */
    problem_t problem;
    bool enter;               /* enter the state (perhaps the same one): start its wait */
    bool at_once;             /* entering ROUTING: without a timer */
    uint32_t backoff_base_ms; /* else: the backoff's base */
    unsigned backoff_tries;   /* and the number of tries so far */
} purchase_effects_t;

/* A new purchase, in ROUTING. The caller starts its timer. */
purchase_machine_t purchase_machine_new(bool has_key);
/* A purchase for an orphan: an order in `unsettled` whose process is gone. */
purchase_machine_t purchase_machine_adopted(bool has_key);

/* Handles one event. Asserts that the event may come in this state, that the move is in `allowed`,
   and the invariant of the new state. */
purchase_effects_t purchase_step(purchase_machine_t *machine, const purchase_event_t *event);

/* True if the order must end in a row: an attempt may have been admitted, or the buyer has its
   id. */
static inline bool purchase_must_end_in_row(const purchase_machine_t *m)
{
    return m->known >= KNOWN_MAYBE_IN_ROW || m->buyer == BUYER_HAS_ID || m->buyer == BUYER_ACCEPTED;
}

#endif
