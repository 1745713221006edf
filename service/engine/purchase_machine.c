#include "engine/purchase_machine.h"

#include <assert.h>

#ifdef NDEBUG
#error "the asserts of the purchase stay on in every build"
#endif

/* First backoff when the gate is frozen, a row is locked, or the buyer is being loaded: the same
   call is made again. */
#define DELAY_BASE_MS 8
/* First backoff when an answer was lost or a server is away. */
#define RETRY_BASE_MS 16

#define TO(state_) (1U << PURCHASE_##state_)

/* clang-format off */
static const unsigned allowed[PURCHASE_STATES] = {
    [PURCHASE_ROUTING]        = TO(PARKED) | TO(ADMITTING) | TO(ENDED),
    [PURCHASE_PARKED]         = TO(ROUTING) | TO(COMMITTING) | TO(ENDED),
    [PURCHASE_ADMITTING]      = TO(ROUTING) | TO(CHECKING_KEY) | TO(CHECKING_EPOCH) |
                                TO(FINDING_FIRST) | TO(COMMITTING) | TO(ENDED),
    [PURCHASE_CHECKING_KEY]   = TO(ROUTING) | TO(COMMITTING) | TO(ENDED),
    [PURCHASE_CHECKING_EPOCH] = TO(ROUTING) | TO(ENDED),
    [PURCHASE_FINDING_FIRST]  = TO(FINDING_FIRST) | TO(AWAITING_FIRST) | TO(ENDED),
    [PURCHASE_AWAITING_FIRST] = TO(FINDING_FIRST) | TO(ENDED),
    [PURCHASE_COMMITTING]     = TO(ROUTING) | TO(FINDING_FIRST) | TO(ENDED),
    [PURCHASE_ENDED]          = 0,
};
/* clang-format on */

/* --- what must hold --- */

/* The purchase goes on to an admission or to a row: its buyer has no final answer, and the row does
   not exist. */
static void check_on_the_way(const purchase_machine_t *m)
{
    assert(m->buyer != BUYER_HAS_ANSWER);
    assert(m->known != KNOWN_IN_ROW);
}

static void check_invariant(const purchase_machine_t *m)
{
    /* A gate gets no call without a permit. An adopted order had its call from another process. */
    assert(m->has_permit || m->known == KNOWN_NOT_SENT || m->adopted);
    assert(!m->adopted || (m->known >= KNOWN_ADMITTED && m->buyer == BUYER_ACCEPTED));
    switch (m->state) {
    case PURCHASE_ROUTING:
    case PURCHASE_PARKED:
        check_on_the_way(m);
        assert(m->known != KNOWN_SENT && m->first == FIRST_NONE);
        break;
    case PURCHASE_ADMITTING:
        check_on_the_way(m);
        assert(m->has_permit && m->first == FIRST_NONE);
        break;
    case PURCHASE_CHECKING_KEY:
        assert(m->key == KEY_UNCHECKED && m->known != KNOWN_SENT && m->known != KNOWN_IN_ROW);
        assert(m->buyer != BUYER_HAS_ANSWER || m->known == KNOWN_NOT_SENT);
        break;
    case PURCHASE_CHECKING_EPOCH:
        assert(m->key != KEY_NONE && !purchase_must_end_in_row(m) && m->known == KNOWN_NOT_SENT);
        break;
    case PURCHASE_FINDING_FIRST:
    case PURCHASE_AWAITING_FIRST:
        assert(m->key != KEY_NONE && m->first != FIRST_NONE);
        assert(m->known == KNOWN_IN_ROW ||
               (m->known == KNOWN_NOT_SENT && !purchase_must_end_in_row(m)));
        break;
    case PURCHASE_COMMITTING:
        check_on_the_way(m);
        assert(m->has_permit && purchase_must_end_in_row(m));
        break;
    case PURCHASE_ENDED:
        /* The promise: an order that must end in a row has one. The exception is an orphan that got
           no permit; the reconciler hands it over again. */
        assert(m->known == KNOWN_IN_ROW || !purchase_must_end_in_row(m) ||
               (m->adopted && !m->has_permit));
        break;
    default:
        assert(!"a state of a purchase");
    }
}

/* --- moves --- */

static void enter(purchase_machine_t *m, purchase_effects_t *out, purchase_state_t state)
{
    assert(allowed[m->state] & (1U << state));
    m->state = state;
    out->enter = true;
}

static void route(purchase_machine_t *m, purchase_effects_t *out)
{
    enter(m, out, PURCHASE_ROUTING);
    out->at_once = true;
}

static void retry(purchase_machine_t *m, purchase_effects_t *out, uint32_t base_ms)
{
    enter(m, out, PURCHASE_ROUTING);
    out->backoff_base_ms = base_ms;
    out->backoff_tries = m->tries++;
}

/* The item, strategy or epoch that the attempt was made with has changed. */
static void route_anew(purchase_machine_t *m, purchase_effects_t *out)
{
    out->invalidate = true;
    route(m, out);
}

/* Writes the order: live if `why` is PROBLEM_NONE, else rejected. A rejected row holds no key: a
   later request with the key is a new one. */
static void write_row(purchase_machine_t *m, purchase_effects_t *out, problem_t why)
{
    enter(m, out, PURCHASE_COMMITTING);
    out->problem = why;
}

static void find_first(purchase_machine_t *m, purchase_effects_t *out, purchase_first_t first)
{
    m->first = first;
    enter(m, out, PURCHASE_FINDING_FIRST);
}

static void end(purchase_machine_t *m, purchase_effects_t *out, purchase_answer_t answer)
{
    enter(m, out, PURCHASE_ENDED);
    out->answer = answer;
}

/* Ends without a row. The buyer gets the refusal, unless he has an answer already. */
static void end_refused(purchase_machine_t *m, purchase_effects_t *out, problem_t why)
{
    end(m, out, m->buyer == BUYER_HAS_ANSWER ? ANSWER_NONE : ANSWER_WITH_REFUSAL);
    out->problem = why;
}

/* The row is in MySQL. If `unsettled` may contain the order, the gate has to be notified. */
static void note_row(purchase_machine_t *m, purchase_effects_t *out, bool rejected)
{
    if (m->known == KNOWN_MAYBE_ADMITTED || m->known == KNOWN_ADMITTED)
        out->notify_gate = rejected ? NOTIFY_REJECTED : NOTIFY_SETTLED;
    m->known = KNOWN_IN_ROW;
}

static void raise_known(purchase_machine_t *m, purchase_known_t known)
{
    if (m->known < known)
        m->known = known;
}

/* --- one function a state --- */

static void routing(purchase_machine_t *m, const purchase_event_t *event, purchase_effects_t *out)
{
    switch (event->kind) {
    case EVENT_ITEM_UNKNOWN:
        enter(m, out, PURCHASE_PARKED);
        break;
    case EVENT_PERMIT:
        m->has_permit = true;
        enter(m, out, PURCHASE_ADMITTING);
        break;
    default:
        assert(event->kind == EVENT_NO_PERMIT && !m->has_permit);
        end_refused(m, out, PROBLEM_UNAVAILABLE);
    }
}

/* The item was deleted while the order was on its way. The order still ends as a row: its buyer may
   have its id, and `unsettled` may contain it. */
static void end_without_item(purchase_machine_t *m, bool permit, purchase_effects_t *out)
{
    m->has_permit = permit;
    if (permit)
        write_row(m, out, PROBLEM_UNKNOWN_ITEM);
    else
        retry(m, out, RETRY_BASE_MS);
}

static void parked(purchase_machine_t *m, const purchase_event_t *event, purchase_effects_t *out)
{
    switch (event->kind) {
    case EVENT_ITEM_READY:
        route(m, out);
        break;
    case EVENT_ITEM_GONE:
        if (purchase_must_end_in_row(m))
            end_without_item(m, event->permit, out);
        else
            end_refused(m, out, PROBLEM_UNKNOWN_ITEM);
        break;
    case EVENT_ITEM_BUSY:
        retry(m, out, RETRY_BASE_MS);
        break;
    default:
        assert(event->kind == EVENT_ITEM_AWAY);
        if (purchase_must_end_in_row(m))
            retry(m, out, RETRY_BASE_MS);
        else
            end_refused(m, out, PROBLEM_UNAVAILABLE);
    }
}

static void admitted(purchase_machine_t *m, const purchase_event_t *event, purchase_effects_t *out)
{
    /* A gate that has seen the buyer may not have the key of his order any more: only MySQL can
       show that this is a repeat. */
    bool maybe_repeat = event->seen && m->key != KEY_NONE;
    raise_known(m, KNOWN_ADMITTED);
    if (event->accepted && !maybe_repeat && m->buyer == BUYER_WAITS) {
        /* An attempt may have taken effect, so the order ends in a row: the buyer gets its id and
           can read how it ended. */
        m->buyer = BUYER_ACCEPTED;
        out->answer = ANSWER_WITH_ID;
    }
    write_row(m, out, PROBLEM_NONE);
}

/* No gate admits a late order any more, so its lost attempt can no longer take effect afterwards:
   all that is left is to write how it ended. But a rebuild may have carried an order into the
   present gate. Its buyer was promised its units if he was accepted, and only an answer of the gate
   shows that it does not have the order. */
static bool is_over(const purchase_machine_t *m, const purchase_event_t *event)
{
    return event->late && (event->of_answer || !event->of_gate || m->buyer != BUYER_ACCEPTED);
}

static void refused(purchase_machine_t *m, const purchase_event_t *event, purchase_effects_t *out)
{
    bool away = event->problem == PROBLEM_UNAVAILABLE;
    if (purchase_must_end_in_row(m) && away && !is_over(m, event)) {
        retry(m, out, RETRY_BASE_MS);
    } else if (purchase_must_end_in_row(m)) {
        if (m->key != KEY_NONE)
            m->first = FIRST_POSSIBLE;
        write_row(m, out, event->problem);
    } else if (m->key != KEY_NONE && !event->seen && !away && event->of_gate) {
        m->refusal = event->problem;
        enter(m, out, PURCHASE_CHECKING_EPOCH);
    } else if (m->key != KEY_NONE && event->seen) {
        m->refusal = event->problem;
        find_first(m, out, FIRST_POSSIBLE);
    } else {
        end_refused(m, out, event->problem);
    }
}

static void repeat(purchase_machine_t *m, bool has_row, purchase_effects_t *out)
{
    m->first = FIRST_NAMED;
    if (purchase_must_end_in_row(m)) {
        write_row(m, out, PROBLEM_DUPLICATE_REQUEST);
    } else if (has_row) {
        end(m, out, ANSWER_WITH_FIRST_ROW);
    } else {
        m->refusal = PROBLEM_UNAVAILABLE;
        find_first(m, out, FIRST_NAMED);
    }
}

static void unknown(purchase_machine_t *m, const purchase_event_t *event, purchase_effects_t *out)
{
    raise_known(m, event->of_gate ? KNOWN_MAYBE_ADMITTED : KNOWN_MAYBE_IN_ROW);
    if (is_over(m, event))
        write_row(m, out, PROBLEM_UNAVAILABLE);
    else
        retry(m, out, RETRY_BASE_MS);
}

static void note_outcome(purchase_machine_t *m, const purchase_event_t *event)
{
    if (event->lost_commit)
        raise_known(m, KNOWN_MAYBE_IN_ROW);
    if (m->known == KNOWN_SENT && event->outcome != OUTCOME_ADMITTED &&
        event->outcome != OUTCOME_UNKNOWN)
        m->known = KNOWN_NOT_SENT;
}

static void outcome(purchase_machine_t *m, const purchase_event_t *event, purchase_effects_t *out)
{
    note_outcome(m, event);
    switch (event->outcome) {
    case OUTCOME_ADMITTED:
        admitted(m, event, out);
        break;
    case OUTCOME_REFUSED:
        refused(m, event, out);
        break;
    case OUTCOME_KEY_UNCHECKED:
        enter(m, out, PURCHASE_CHECKING_KEY);
        break;
    case OUTCOME_REPEAT:
        repeat(m, event->has_row, out);
        break;
    case OUTCOME_STALE:
        route_anew(m, out);
        break;
    case OUTCOME_DELAYED:
        m->tries = 0;
        retry(m, out, DELAY_BASE_MS);
        break;
    case OUTCOME_NOT_LOADED:
        retry(m, out, DELAY_BASE_MS);
        break;
    case OUTCOME_UNKNOWN:
        unknown(m, event, out);
        break;
    default:
        assert(event->outcome == OUTCOME_DECIDED);
        note_row(m, out, event->rejected);
        end(m, out, ANSWER_WITH_ROW);
    }
}

static void admitting(purchase_machine_t *m, const purchase_event_t *event, purchase_effects_t *out)
{
    if (event->kind == EVENT_SENT) {
        raise_known(m, KNOWN_SENT);
        return;
    }
    assert(event->kind == EVENT_OUTCOME);
    outcome(m, event, out);
}

static void checking_key(purchase_machine_t *m, const purchase_event_t *event,
                         purchase_effects_t *out)
{
    bool must_end = purchase_must_end_in_row(m);
    switch (event->kind) {
    case EVENT_KEY_IS_OWN:
        note_row(m, out, false); /* a rejected row has no key */
        end(m, out, ANSWER_WITH_ROW);
        break;
    case EVENT_KEY_TAKEN:
        repeat(m, true, out);
        break;
    case EVENT_KEY_FREE:
        m->key = KEY_FREE;
        if (m->buyer == BUYER_HAS_ANSWER)
            end(m, out, ANSWER_NONE);
        else
            route(m, out);
        break;
    default:
        assert(event->kind == EVENT_NO_READ || event->kind == EVENT_READ_FAILED);
        if (m->buyer == BUYER_HAS_ANSWER || (event->kind == EVENT_NO_READ && !must_end))
            end_refused(m, out, PROBLEM_UNAVAILABLE);
        else
            retry(m, out, RETRY_BASE_MS);
    }
}

static void checking_epoch(purchase_machine_t *m, const purchase_event_t *event,
                           purchase_effects_t *out)
{
    if (m->buyer == BUYER_HAS_ANSWER || event->kind == EVENT_READ_FAILED) {
        end_refused(m, out, PROBLEM_UNAVAILABLE);
    } else if (event->kind == EVENT_EPOCH_VALID) {
        end_refused(m, out, m->refusal);
    } else {
        assert(event->kind == EVENT_EPOCH_OVER);
        route_anew(m, out);
    }
}

static void finding_first(purchase_machine_t *m, const purchase_event_t *event,
                          purchase_effects_t *out)
{
    bool by_key = m->first == FIRST_POSSIBLE;
    switch (event->kind) {
    case EVENT_FIRST_FOUND:
        end(m, out, ANSWER_WITH_FIRST_ROW);
        break;
    case EVENT_FIRST_LOST_KEY:
        find_first(m, out, FIRST_NAMED);
        break;
    case EVENT_NO_READ:
        end_refused(m, out, PROBLEM_UNAVAILABLE);
        break;
    default:
        assert(event->kind == EVENT_NOT_FOUND || event->kind == EVENT_READ_FAILED);
        if (by_key && event->kind == EVENT_NOT_FOUND && m->known == KNOWN_IN_ROW)
            end(m, out, ANSWER_WITH_ROW); /* written before this read */
        else if (by_key && event->kind == EVENT_NOT_FOUND)
            end_refused(m, out, m->refusal);
        else if (m->buyer != BUYER_WAITS)
            end(m, out, ANSWER_NONE);
        else
            enter(m, out, PURCHASE_AWAITING_FIRST);
    }
}

static void awaiting_first(purchase_machine_t *m, const purchase_event_t *event,
                           purchase_effects_t *out)
{
    assert(event->kind == EVENT_DUE);
    if (m->buyer != BUYER_WAITS)
        end(m, out, ANSWER_NONE);
    else
        find_first(m, out, m->first);
}

static void committing(purchase_machine_t *m, const purchase_event_t *event,
                       purchase_effects_t *out)
{
    if (event->kind == EVENT_WRITE_STALE) {
        /* The writer checks the epoch of live orders only. */
        assert(m->known == KNOWN_ADMITTED && m->first == FIRST_NONE);
        route_anew(m, out);
        return;
    }
    assert(event->kind == EVENT_WRITTEN);
    note_row(m, out, event->rejected);
    out->rebuild = event->drift;
    if (event->has_first) {
        end(m, out, ANSWER_WITH_FIRST_ROW);
    } else if (event->rejected && m->first != FIRST_NONE && m->buyer == BUYER_WAITS) {
        m->refusal = event->problem;
        find_first(m, out, m->first); /* its row is written; its buyer gets the first order */
    } else {
        end(m, out, ANSWER_WITH_ROW);
    }
}

/* In these states the purchase only reads MySQL. A refusal is known already, or a repeat of an
   order that is still on its way; nothing is taken that would have to end in a row. */
static bool only_reads(const purchase_machine_t *m)
{
    return m->state == PURCHASE_CHECKING_KEY || m->state == PURCHASE_CHECKING_EPOCH ||
           m->state == PURCHASE_FINDING_FIRST || m->state == PURCHASE_AWAITING_FIRST;
}

static void deadline(purchase_machine_t *m, purchase_effects_t *out)
{
    assert(m->buyer == BUYER_WAITS && m->state != PURCHASE_ENDED);
    /* The purchase ends when its present wait is over; the buyer gets his answer now. */
    if (only_reads(m) && !purchase_must_end_in_row(m)) {
        m->buyer = BUYER_HAS_ANSWER;
        out->answer = m->first == FIRST_NAMED ? ANSWER_WITH_FIRST_ID : ANSWER_WITH_REFUSAL;
        out->problem = PROBLEM_UNAVAILABLE;
    } else if (m->known == KNOWN_NOT_SENT) {
        /* Nothing was sent, and from now on nothing may be: units must not be taken for a buyer who
           was refused. */
        out->withdraw = m->state == PURCHASE_ADMITTING;
        end_refused(m, out, PROBLEM_UNAVAILABLE);
    } else {
        m->buyer = BUYER_HAS_ID;
        out->answer = ANSWER_WITH_ID;
    }
}

/* --- from outside --- */

purchase_machine_t purchase_machine_new(bool has_key)
{
    return (purchase_machine_t){.state = PURCHASE_ROUTING,
                                .key = has_key ? KEY_UNCHECKED : KEY_NONE};
}

purchase_machine_t purchase_machine_adopted(bool has_key)
{
    purchase_machine_t m = purchase_machine_new(has_key);
    m.adopted = true;
    m.known = KNOWN_ADMITTED;
    m.buyer = BUYER_ACCEPTED;
    return m;
}

purchase_effects_t purchase_step(purchase_machine_t *m, const purchase_event_t *event)
{
    static void (*const step[PURCHASE_STATES])(purchase_machine_t *, const purchase_event_t *,
                                               purchase_effects_t *) = {
        [PURCHASE_ROUTING] = routing,
        [PURCHASE_PARKED] = parked,
        [PURCHASE_ADMITTING] = admitting,
        [PURCHASE_CHECKING_KEY] = checking_key,
        [PURCHASE_CHECKING_EPOCH] = checking_epoch,
        [PURCHASE_FINDING_FIRST] = finding_first,
        [PURCHASE_AWAITING_FIRST] = awaiting_first,
        [PURCHASE_COMMITTING] = committing,
    };
    purchase_effects_t out = {0};
    assert(m->state < PURCHASE_ENDED);
    if (event->kind == EVENT_DEADLINE)
        deadline(m, &out);
    else
        step[m->state](m, event, &out);
    check_invariant(m);
    return out;
}
