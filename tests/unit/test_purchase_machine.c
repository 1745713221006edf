/*
 * The rules of a purchase, one short story each: which event comes, what state follows, and what
 * is said, told and written. Then all of it at once: every state that can be reached, with every
 * event that may come in it.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/purchase_machine.h"

static purchase_machine_t m;
static purchase_effects_t out;

/* clang-format off */
#define ON(...) (out = purchase_step(&m, &(purchase_event_t){__VA_ARGS__}))
#define OUTCOME(kind_, ...) ON(EVENT_OUTCOME, .outcome = OUTCOME_##kind_, .of_gate = true, __VA_ARGS__)
#define SQL_OUTCOME(kind_, ...) ON(EVENT_OUTCOME, .outcome = OUTCOME_##kind_, __VA_ARGS__)
/* clang-format on */

static void is_in(purchase_state_t state)
{
    assert_int_equal(m.state, state);
}

static void answers(purchase_answer_t answer, problem_t problem)
{
    assert_int_equal(out.answer, answer);
    if (answer == ANSWER_WITH_REFUSAL)
        assert_int_equal(out.problem, problem);
}

static void ends_answering(purchase_answer_t answer, problem_t problem)
{
    is_in(PURCHASE_ENDED);
    assert_true(out.enter);
    answers(answer, problem);
}

static void writes(problem_t why)
{
    is_in(PURCHASE_COMMITTING);
    assert_true(out.enter);
    assert_int_equal(out.problem, why);
}

static void retries(uint32_t base_ms, unsigned tries)
{
    is_in(PURCHASE_ROUTING);
    assert_true(out.enter && !out.at_once);
    assert_int_equal(out.backoff_base_ms, base_ms);
    assert_int_equal(out.backoff_tries, tries);
}

static void routes_at_once(void)
{
    is_in(PURCHASE_ROUTING);
    assert_true(out.enter && out.at_once);
}

/* An attempt of a purchase is with its strategy, which has not sent it. */
static void attempted(bool has_key)
{
    m = purchase_machine_new(has_key);
    is_in(PURCHASE_ROUTING);
    ON(EVENT_PERMIT);
    is_in(PURCHASE_ADMITTING);
}

static void sent(bool has_key)
{
    attempted(has_key);
    ON(EVENT_SENT);
    assert_int_equal(m.known, KNOWN_SENT);
}

static void sent_again(void)
{
    ON(EVENT_PERMIT);
    ON(EVENT_SENT);
}

/* Its answer was lost; the next attempt is out. */
static void maybe_admitted(bool has_key)
{
    sent(has_key);
    OUTCOME(UNKNOWN);
    sent_again();
    assert_int_equal(m.known, KNOWN_MAYBE_ADMITTED);
}

/* --- admitted --- */

static void test_admitted_then_committed(void **state)
{
    (void)state;
    sent(false);
    OUTCOME(ADMITTED);
    writes(PROBLEM_NONE);
    answers(ANSWER_NONE, 0);
    ON(EVENT_WRITTEN);
    ends_answering(ANSWER_WITH_ROW, 0);
    assert_int_equal(out.notify_gate, NOTIFY_SETTLED);
    assert_false(out.rebuild);
}

static void test_accepted_is_answered_before_its_commit(void **state)
{
    (void)state;
    sent(false);
    OUTCOME(ADMITTED, .accepted = true);
    writes(PROBLEM_NONE);
    answers(ANSWER_WITH_ID, 0);
    assert_int_equal(m.buyer, BUYER_ACCEPTED);
}

/* Only the row shows whether it is a repeat. */
static void test_accepted_with_a_key_that_may_repeat_waits_for_its_row(void **state)
{
    (void)state;
    sent(true);
    OUTCOME(ADMITTED, .accepted = true, .seen = true);
    writes(PROBLEM_NONE);
    answers(ANSWER_NONE, 0);
    ON(EVENT_WRITTEN, .rejected = true, .problem = PROBLEM_DUPLICATE_REQUEST, .has_first = true);
    ends_answering(ANSWER_WITH_FIRST_ROW, 0);
    assert_int_equal(out.notify_gate, NOTIFY_REJECTED);
}

static void test_a_row_without_units_has_the_gate_rebuilt(void **state)
{
    (void)state;
    sent(false);
    OUTCOME(ADMITTED);
    ON(EVENT_WRITTEN, .rejected = true, .problem = PROBLEM_SOLD_OUT, .drift = true);
    ends_answering(ANSWER_WITH_ROW, 0);
    assert_true(out.rebuild);
    assert_int_equal(out.notify_gate, NOTIFY_REJECTED);
}

static void test_a_stale_commit_is_admitted_again_or_rejected_in_a_row(void **state)
{
    (void)state;
    sent(false);
    OUTCOME(ADMITTED);
    ON(EVENT_WRITE_STALE);
    routes_at_once();
    assert_true(out.invalidate);
    ON(EVENT_PERMIT);
    OUTCOME(REFUSED, .problem = PROBLEM_SOLD_OUT);
    writes(PROBLEM_SOLD_OUT);
    ON(EVENT_WRITTEN, .rejected = true, .problem = PROBLEM_SOLD_OUT);
    ends_answering(ANSWER_WITH_ROW, 0);
    assert_int_equal(out.notify_gate, NOTIFY_REJECTED);
}

/* --- refused --- */

static void test_refused_without_a_key_ends_at_once(void **state)
{
    (void)state;
    sent(false);
    OUTCOME(REFUSED, .problem = PROBLEM_SOLD_OUT, .seen = true);
    ends_answering(ANSWER_WITH_REFUSAL, PROBLEM_SOLD_OUT);
    assert_int_equal(out.notify_gate, NOTIFY_NOTHING);
}

static void test_refused_with_a_key_checks_the_epoch(void **state)
{
    (void)state;
    sent(true);
    OUTCOME(REFUSED, .problem = PROBLEM_SOLD_OUT);
    is_in(PURCHASE_CHECKING_EPOCH);
    ON(EVENT_EPOCH_VALID);
    ends_answering(ANSWER_WITH_REFUSAL, PROBLEM_SOLD_OUT);
}

static void test_refused_under_an_epoch_that_is_over_is_routed_anew(void **state)
{
    (void)state;
    sent(true);
    OUTCOME(REFUSED, .problem = PROBLEM_SOLD_OUT);
    ON(EVENT_EPOCH_OVER);
    routes_at_once();
    assert_true(out.invalidate);
}

static void test_an_epoch_that_nobody_knows_refuses_nothing_but_503(void **state)
{
    (void)state;
    sent(true);
    OUTCOME(REFUSED, .problem = PROBLEM_SOLD_OUT);
    ON(EVENT_READ_FAILED);
    ends_answering(ANSWER_WITH_REFUSAL, PROBLEM_UNAVAILABLE);
}

static void test_sql_and_503_need_no_check_of_the_epoch(void **state)
{
    (void)state;
    sent(true);
    SQL_OUTCOME(REFUSED, .problem = PROBLEM_SOLD_OUT);
    ends_answering(ANSWER_WITH_REFUSAL, PROBLEM_SOLD_OUT);
    sent(true);
    OUTCOME(REFUSED, .problem = PROBLEM_UNAVAILABLE);
    ends_answering(ANSWER_WITH_REFUSAL, PROBLEM_UNAVAILABLE);
}

static void test_a_seen_buyer_with_a_key_gets_its_first_order(void **state)
{
    (void)state;
    sent(true);
    OUTCOME(REFUSED, .problem = PROBLEM_BUYER_LIMIT_EXCEEDED, .seen = true);
    is_in(PURCHASE_FINDING_FIRST);
    assert_int_equal(m.first, FIRST_POSSIBLE);
    ON(EVENT_FIRST_FOUND);
    ends_answering(ANSWER_WITH_FIRST_ROW, 0);
}

static void test_a_seen_buyer_without_a_first_order_is_refused(void **state)
{
    (void)state;
    sent(true);
    OUTCOME(REFUSED, .problem = PROBLEM_BUYER_LIMIT_EXCEEDED, .seen = true);
    ON(EVENT_NOT_FOUND);
    ends_answering(ANSWER_WITH_REFUSAL, PROBLEM_BUYER_LIMIT_EXCEEDED);
}

static void test_no_permit_is_503(void **state)
{
    (void)state;
    m = purchase_machine_new(false);
    ON(EVENT_NO_PERMIT);
    ends_answering(ANSWER_WITH_REFUSAL, PROBLEM_UNAVAILABLE);
}

/* --- repeats --- */

static void test_a_repeat_waits_for_the_first_order(void **state)
{
    (void)state;
    sent(true);
    OUTCOME(REPEAT);
    is_in(PURCHASE_FINDING_FIRST);
    ON(EVENT_NOT_FOUND);
    is_in(PURCHASE_AWAITING_FIRST);
    ON(EVENT_DUE);
    is_in(PURCHASE_FINDING_FIRST);
    ON(EVENT_READ_FAILED);
    is_in(PURCHASE_AWAITING_FIRST);
    ON(EVENT_DUE);
    ON(EVENT_FIRST_LOST_KEY);
    is_in(PURCHASE_FINDING_FIRST);
    assert_true(out.enter);
    ON(EVENT_FIRST_FOUND);
    ends_answering(ANSWER_WITH_FIRST_ROW, 0);
}

static void test_a_repeat_of_a_row_gets_it_at_once(void **state)
{
    (void)state;
    sent(true);
    SQL_OUTCOME(REPEAT, .has_row = true);
    ends_answering(ANSWER_WITH_FIRST_ROW, 0);
}

static void test_a_repeat_that_may_be_admitted_leaves_a_row_first(void **state)
{
    (void)state;
    maybe_admitted(true);
    OUTCOME(REPEAT);
    writes(PROBLEM_DUPLICATE_REQUEST);
    ON(EVENT_WRITTEN, .rejected = true, .problem = PROBLEM_DUPLICATE_REQUEST);
    is_in(PURCHASE_FINDING_FIRST);
    assert_int_equal(m.first, FIRST_NAMED);
    assert_int_equal(out.notify_gate, NOTIFY_REJECTED);
    ON(EVENT_FIRST_FOUND);
    ends_answering(ANSWER_WITH_FIRST_ROW, 0);
}

static void test_a_refused_one_that_may_be_a_repeat_reads_the_first_after_its_row(void **state)
{
    (void)state;
    maybe_admitted(true);
    OUTCOME(REFUSED, .problem = PROBLEM_SOLD_OUT);
    writes(PROBLEM_SOLD_OUT);
    ON(EVENT_WRITTEN, .rejected = true, .problem = PROBLEM_SOLD_OUT);
    is_in(PURCHASE_FINDING_FIRST);
    assert_int_equal(m.first, FIRST_POSSIBLE);
    ON(EVENT_NOT_FOUND);
    ends_answering(ANSWER_WITH_ROW, 0);
}

static void test_a_key_is_checked_before_a_unit_is_taken(void **state)
{
    (void)state;
    sent(true);
    OUTCOME(KEY_UNCHECKED);
    is_in(PURCHASE_CHECKING_KEY);
    ON(EVENT_KEY_FREE);
    routes_at_once();
    assert_int_equal(m.key, KEY_FREE);
    assert_int_equal(m.known, KNOWN_NOT_SENT);
}

static void test_a_key_that_is_taken_leaves_no_row(void **state)
{
    (void)state;
    sent(true);
    OUTCOME(KEY_UNCHECKED);
    ON(EVENT_KEY_TAKEN);
    ends_answering(ANSWER_WITH_FIRST_ROW, 0);
    maybe_admitted(true); /* but one that may be admitted does */
    OUTCOME(KEY_UNCHECKED);
    ON(EVENT_KEY_TAKEN);
    writes(PROBLEM_DUPLICATE_REQUEST);
}

static void test_a_key_may_turn_out_to_be_its_own(void **state)
{
    (void)state;
    maybe_admitted(true);
    OUTCOME(KEY_UNCHECKED);
    ON(EVENT_KEY_IS_OWN);
    ends_answering(ANSWER_WITH_ROW, 0);
    assert_int_equal(out.notify_gate, NOTIFY_SETTLED);
}

static void test_a_key_that_cannot_be_checked(void **state)
{
    (void)state;
    sent(true);
    OUTCOME(KEY_UNCHECKED);
    ON(EVENT_READ_FAILED);
    retries(16, 0);
    sent(true);
    OUTCOME(KEY_UNCHECKED);
    ON(EVENT_NO_READ);
    ends_answering(ANSWER_WITH_REFUSAL, PROBLEM_UNAVAILABLE);
    maybe_admitted(true);
    OUTCOME(KEY_UNCHECKED);
    ON(EVENT_NO_READ);
    retries(16, 1);
}

/* --- unknown is not failed --- */

static void test_unknown_is_tried_again_and_ends_in_a_row(void **state)
{
    (void)state;
    maybe_admitted(false);
    OUTCOME(REFUSED, .problem = PROBLEM_SOLD_OUT);
    writes(PROBLEM_SOLD_OUT);
    ON(EVENT_WRITTEN, .rejected = true, .problem = PROBLEM_SOLD_OUT);
    ends_answering(ANSWER_WITH_ROW, 0);
    assert_int_equal(out.notify_gate, NOTIFY_REJECTED);
}

static void test_unknown_and_away_is_tried_until_it_is_late(void **state)
{
    (void)state;
    maybe_admitted(false);
    OUTCOME(REFUSED, .problem = PROBLEM_UNAVAILABLE);
    retries(16, 1);
    sent_again();
    OUTCOME(REFUSED, .problem = PROBLEM_UNAVAILABLE, .late = true);
    writes(PROBLEM_UNAVAILABLE);
}

static void test_unknown_and_late_is_written_down(void **state)
{
    (void)state;
    sent(false);
    OUTCOME(UNKNOWN, .late = true);
    writes(PROBLEM_UNAVAILABLE);
}

/* A rebuild may have carried it into the gate that is now silent. */
static void test_an_accepted_order_that_is_late_is_the_gates_to_refuse(void **state)
{
    (void)state;
    sent(false);
    OUTCOME(ADMITTED, .accepted = true);
    ON(EVENT_WRITE_STALE);
    sent_again();
    OUTCOME(REFUSED, .problem = PROBLEM_UNAVAILABLE, .late = true);
    retries(16, 0);
    sent_again();
    OUTCOME(UNKNOWN, .late = true);
    retries(16, 1);
    sent_again();
    OUTCOME(REFUSED, .problem = PROBLEM_UNAVAILABLE, .late = true, .of_answer = true);
    writes(PROBLEM_UNAVAILABLE);
}

/* No gate has it, so none is told. */
static void test_a_lost_commit_of_sql_ends_in_a_row(void **state)
{
    (void)state;
    sent(false);
    SQL_OUTCOME(REFUSED, .problem = PROBLEM_SOLD_OUT, .lost_commit = true);
    writes(PROBLEM_SOLD_OUT);
    ON(EVENT_WRITTEN);
    ends_answering(ANSWER_WITH_ROW, 0);
    assert_int_equal(out.notify_gate, NOTIFY_NOTHING);
}

static void test_a_gate_is_notified_of_what_sql_decides_after_it(void **state)
{
    (void)state;
    maybe_admitted(false);
    SQL_OUTCOME(DECIDED);
    ends_answering(ANSWER_WITH_ROW, 0);
    assert_int_equal(out.notify_gate, NOTIFY_SETTLED);
    sent(false);
    SQL_OUTCOME(DECIDED);
    assert_int_equal(out.notify_gate, NOTIFY_NOTHING);
}

/* --- once more --- */

static void test_stale_reads_the_item_again(void **state)
{
    (void)state;
    sent(false);
    OUTCOME(STALE);
    routes_at_once();
    assert_true(out.invalidate);
    assert_int_equal(m.known, KNOWN_NOT_SENT);
    ON(EVENT_ITEM_UNKNOWN);
    is_in(PURCHASE_PARKED);
    ON(EVENT_ITEM_READY);
    routes_at_once();
}

static void test_a_delay_is_short_however_often_it_comes(void **state)
{
    (void)state;
    sent(false);
    for (unsigned i = 0; i < 5; ++i) {
        OUTCOME(DELAYED);
        retries(8, 0);
        sent_again();
    }
}

static void test_retries_back_off(void **state)
{
    (void)state;
    sent(false);
    for (unsigned i = 0; i < 5; ++i) {
        OUTCOME(UNKNOWN);
        retries(16, i);
        sent_again();
    }
}

static void test_an_item_that_cannot_be_read(void **state)
{
    (void)state;
    m = purchase_machine_new(false);
    ON(EVENT_ITEM_UNKNOWN);
    ON(EVENT_ITEM_BUSY);
    retries(16, 0);
    ON(EVENT_ITEM_UNKNOWN);
    ON(EVENT_ITEM_AWAY);
    ends_answering(ANSWER_WITH_REFUSAL, PROBLEM_UNAVAILABLE);
    m = purchase_machine_new(false);
    ON(EVENT_ITEM_UNKNOWN);
    ON(EVENT_ITEM_GONE);
    ends_answering(ANSWER_WITH_REFUSAL, PROBLEM_UNKNOWN_ITEM);
}

static void test_an_item_that_is_deleted_under_an_order(void **state)
{
    (void)state;
    maybe_admitted(false);
    OUTCOME(STALE);
    ON(EVENT_ITEM_UNKNOWN);
    ON(EVENT_ITEM_AWAY);
    retries(16, 1);
    ON(EVENT_ITEM_UNKNOWN);
    ON(EVENT_ITEM_GONE, .permit = true);
    writes(PROBLEM_UNKNOWN_ITEM);
}

/* --- the answer deadline --- */

static void test_what_was_not_sent_is_withdrawn(void **state)
{
    (void)state;
    attempted(false);
    ON(EVENT_DEADLINE);
    ends_answering(ANSWER_WITH_REFUSAL, PROBLEM_UNAVAILABLE);
    assert_true(out.withdraw);
}

static void test_what_was_sent_is_202_and_ends_in_a_row(void **state)
{
    (void)state;
    sent(false);
    ON(EVENT_DEADLINE);
    is_in(PURCHASE_ADMITTING);
    answers(ANSWER_WITH_ID, 0);
    assert_false(out.enter || out.withdraw);
    OUTCOME(REFUSED, .problem = PROBLEM_SOLD_OUT);
    writes(PROBLEM_SOLD_OUT);
    ON(EVENT_WRITTEN, .rejected = true, .problem = PROBLEM_SOLD_OUT);
    ends_answering(ANSWER_WITH_ROW, 0);
    assert_int_equal(out.notify_gate, NOTIFY_NOTHING); /* no gate has it */
}

static void test_a_buyer_answered_503_gets_no_unit(void **state)
{
    (void)state;
    sent(true);
    OUTCOME(KEY_UNCHECKED);
    ON(EVENT_DEADLINE);
    answers(ANSWER_WITH_REFUSAL, PROBLEM_UNAVAILABLE);
    is_in(PURCHASE_CHECKING_KEY);
    ON(EVENT_KEY_FREE);
    ends_answering(ANSWER_NONE, 0);
    sent(true);
    OUTCOME(REFUSED, .problem = PROBLEM_SOLD_OUT);
    ON(EVENT_DEADLINE);
    answers(ANSWER_WITH_REFUSAL, PROBLEM_UNAVAILABLE);
    ON(EVENT_EPOCH_OVER);
    ends_answering(ANSWER_NONE, 0);
}

static void test_a_repeat_is_202_with_the_first_id(void **state)
{
    (void)state;
    sent(true);
    OUTCOME(REPEAT);
    ON(EVENT_NOT_FOUND);
    ON(EVENT_DEADLINE);
    answers(ANSWER_WITH_FIRST_ID, 0);
    is_in(PURCHASE_AWAITING_FIRST);
    ON(EVENT_DUE);
    ends_answering(ANSWER_NONE, 0);
}

/* --- orders whose owner is gone --- */

static void test_an_adopted_order_ends_in_a_row(void **state)
{
    (void)state;
    m = purchase_machine_adopted(false);
    ON(EVENT_PERMIT);
    OUTCOME(REFUSED, .problem = PROBLEM_SALE_ENDED);
    writes(PROBLEM_SALE_ENDED);
    ON(EVENT_WRITTEN, .rejected = true, .problem = PROBLEM_SALE_ENDED);
    ends_answering(ANSWER_WITH_ROW, 0);
    assert_int_equal(out.notify_gate, NOTIFY_REJECTED);
}

static void test_an_adopted_order_without_a_permit_is_left_as_it_is(void **state)
{
    (void)state;
    m = purchase_machine_adopted(true);
    ON(EVENT_NO_PERMIT);
    is_in(PURCHASE_ENDED);
    assert_int_equal(out.notify_gate, NOTIFY_NOTHING);
}

static void test_an_adopted_order_of_a_deleted_item_waits_for_a_permit(void **state)
{
    (void)state;
    m = purchase_machine_adopted(false);
    ON(EVENT_ITEM_UNKNOWN);
    ON(EVENT_ITEM_GONE);
    retries(16, 0);
    ON(EVENT_ITEM_UNKNOWN);
    ON(EVENT_ITEM_GONE, .permit = true);
    writes(PROBLEM_UNKNOWN_ITEM);
}

/* --- every state that can be reached --- */

#define SEEN_MAX (PURCHASE_STATES * 6 * 4 * 3 * 3 * 4)

static bool was_reached[SEEN_MAX];
static purchase_machine_t reached[SEEN_MAX];
static unsigned reached_count;
static bool was_taken[PURCHASE_STATES][PURCHASE_STATES];

static void reach(purchase_machine_t machine)
{
    unsigned index = machine.state;
    index = index * 6 + machine.known;
    index = index * 4 + machine.buyer;
    index = index * 3 + machine.key;
    index = index * 3 + machine.first;
    index = index * 4 + 2 * machine.adopted + machine.has_permit;
    assert_true(index < SEEN_MAX);
    if (was_reached[index])
        return;
    was_reached[index] = true;
    machine.tries = 0;
    reached[reached_count++] = machine;
}

/* Asks for what must hold of an end, besides what the machine asserts itself. */
static void check_end(const purchase_machine_t *before, const purchase_machine_t *after,
                      const purchase_effects_t *effects)
{
    bool refused = effects->answer == ANSWER_WITH_REFUSAL && before->buyer != BUYER_HAS_ID &&
                   before->buyer != BUYER_ACCEPTED;
    if (refused)
        assert_true(after->known == KNOWN_NOT_SENT || after->known == KNOWN_IN_ROW);
    if (after->state == PURCHASE_ENDED && before->buyer == BUYER_WAITS)
        assert_int_not_equal(effects->answer, ANSWER_NONE);
    if (before->buyer == BUYER_HAS_ANSWER)
        assert_true(effects->answer != ANSWER_WITH_REFUSAL && effects->answer != ANSWER_WITH_ID);
    if (effects->notify_gate != NOTIFY_NOTHING)
        assert_int_equal(after->known, KNOWN_IN_ROW);
}

static void try(const purchase_machine_t *from, const purchase_event_t *event)
{
    purchase_machine_t to = *from;
    purchase_effects_t effects = purchase_step(&to, event);
    check_end(from, &to, &effects);
    if (effects.enter)
        was_taken[from->state][to.state] = true;
    else
        assert_int_equal(to.state, from->state);
    reach(to);
}

/* Every combination of the facts that come with an event. */
static void try_all(const purchase_machine_t *from, purchase_event_t event)
{
    bool *const facts[] = {&event.permit,   &event.seen,    &event.lost_commit,
                           &event.has_row,  &event.late,    &event.accepted,
                           &event.rejected, &event.of_gate, &event.of_answer};
    for (unsigned bits = 0; bits < 512; ++bits) {
        for (unsigned i = 0; i < sizeof(facts) / sizeof(facts[0]); ++i)
            *facts[i] = bits >> i & 1;
        event.problem = event.outcome == OUTCOME_REFUSED ? PROBLEM_SOLD_OUT : PROBLEM_NONE;
        if (from->state == PURCHASE_COMMITTING)
            event.problem = event.rejected ? PROBLEM_SOLD_OUT : PROBLEM_NONE;
        event.has_first = event.rejected && event.seen && from->key != KEY_NONE;
        event.drift = event.late;
        if (event.lost_commit && event.of_gate)
            continue; /* only SQL strategies have a COMMIT */
        try(from, &event);
        if (event.outcome == OUTCOME_REFUSED && from->state == PURCHASE_ADMITTING) {
            event.problem = PROBLEM_UNAVAILABLE;
            try(from, &event);
        }
    }
}

static bool may_come_out(const purchase_machine_t *from, outcome_kind_t outcome)
{
    if (from->known == KNOWN_NOT_SENT) /* it is still in its strategy's queue */
        return outcome == OUTCOME_REFUSED;
    if (outcome == OUTCOME_KEY_UNCHECKED)
        return from->key == KEY_UNCHECKED;
    return outcome != OUTCOME_REPEAT || from->key != KEY_NONE;
}

static void try_admitting(const purchase_machine_t *from)
{
    try_all(from, (purchase_event_t){EVENT_SENT});
    for (int i = OUTCOME_ADMITTED; i <= OUTCOME_DECIDED; ++i)
        if (may_come_out(from, (outcome_kind_t)i))
            try_all(from, (purchase_event_t){EVENT_OUTCOME, .outcome = (outcome_kind_t)i});
}

static const int may_come[PURCHASE_STATES][8] = {
    [PURCHASE_PARKED] = {EVENT_ITEM_READY, EVENT_ITEM_BUSY, EVENT_ITEM_AWAY, -1},
    [PURCHASE_CHECKING_KEY] = {EVENT_NO_READ, EVENT_KEY_IS_OWN, EVENT_KEY_TAKEN, EVENT_KEY_FREE,
                               EVENT_READ_FAILED, -1},
    [PURCHASE_CHECKING_EPOCH] = {EVENT_EPOCH_VALID, EVENT_EPOCH_OVER, EVENT_READ_FAILED, -1},
    [PURCHASE_FINDING_FIRST] = {EVENT_NO_READ, EVENT_FIRST_FOUND, EVENT_FIRST_LOST_KEY,
                                EVENT_NOT_FOUND, EVENT_READ_FAILED, -1},
    [PURCHASE_AWAITING_FIRST] = {EVENT_DUE, -1},
    [PURCHASE_COMMITTING] = {EVENT_WRITTEN, -1},
    [PURCHASE_ROUTING] = {EVENT_ITEM_UNKNOWN, EVENT_PERMIT, -1},
    [PURCHASE_ADMITTING] = {-1},
};

static void try_each(const purchase_machine_t *from)
{
    if (from->state == PURCHASE_ADMITTING)
        try_admitting(from);
    for (unsigned i = 0; may_come[from->state][i] >= 0; ++i)
        try_all(from, (purchase_event_t){(purchase_event_kind_t)may_come[from->state][i]});
    if (from->state == PURCHASE_ROUTING && !from->has_permit)
        try_all(from, (purchase_event_t){EVENT_NO_PERMIT});
    if (from->state == PURCHASE_PARKED && !from->has_permit)
        try_all(from, (purchase_event_t){EVENT_ITEM_GONE});
    if (from->state == PURCHASE_PARKED)
        try(from, &(purchase_event_t){EVENT_ITEM_GONE, .permit = true});
    if (from->state == PURCHASE_COMMITTING && from->known == KNOWN_ADMITTED &&
        from->first == FIRST_NONE)
        try_all(from, (purchase_event_t){EVENT_WRITE_STALE});
    if (from->buyer == BUYER_WAITS)
        try_all(from, (purchase_event_t){EVENT_DEADLINE});
}

/* The machine asserts its invariant at each of these moves; each move that it allows is made. */
static void test_every_state_and_event(void **state)
{
    (void)state;
    static const unsigned moves[PURCHASE_STATES] = {3, 3, 6, 3, 2, 3, 2, 3, 0};
    reach(purchase_machine_new(false));
    reach(purchase_machine_new(true));
    reach(purchase_machine_adopted(false));
    reach(purchase_machine_adopted(true));
    for (unsigned i = 0; i < reached_count; ++i)
        if (reached[i].state != PURCHASE_ENDED)
            try_each(&reached[i]);
    for (unsigned from = 0; from < PURCHASE_STATES; ++from) {
        unsigned count = 0;
        for (unsigned to = 0; to < PURCHASE_STATES; ++to)
            count += was_taken[from][to];
        assert_int_equal(count, moves[from]);
    }
    print_message("%u states of the machine\n", reached_count);
}

/* --- asserts stay on --- */

static void test_what_cannot_happen_ends_the_process(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        static const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        m = purchase_machine_new(false);
        ON(EVENT_WRITTEN);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_admitted_then_committed),
        cmocka_unit_test(test_accepted_is_answered_before_its_commit),
        cmocka_unit_test(test_accepted_with_a_key_that_may_repeat_waits_for_its_row),
        cmocka_unit_test(test_a_row_without_units_has_the_gate_rebuilt),
        cmocka_unit_test(test_a_stale_commit_is_admitted_again_or_rejected_in_a_row),
        cmocka_unit_test(test_refused_without_a_key_ends_at_once),
        cmocka_unit_test(test_refused_with_a_key_checks_the_epoch),
        cmocka_unit_test(test_refused_under_an_epoch_that_is_over_is_routed_anew),
        cmocka_unit_test(test_an_epoch_that_nobody_knows_refuses_nothing_but_503),
        cmocka_unit_test(test_sql_and_503_need_no_check_of_the_epoch),
        cmocka_unit_test(test_a_seen_buyer_with_a_key_gets_its_first_order),
        cmocka_unit_test(test_a_seen_buyer_without_a_first_order_is_refused),
        cmocka_unit_test(test_no_permit_is_503),
        cmocka_unit_test(test_a_repeat_waits_for_the_first_order),
        cmocka_unit_test(test_a_repeat_of_a_row_gets_it_at_once),
        cmocka_unit_test(test_a_repeat_that_may_be_admitted_leaves_a_row_first),
        cmocka_unit_test(test_a_refused_one_that_may_be_a_repeat_reads_the_first_after_its_row),
        cmocka_unit_test(test_a_key_is_checked_before_a_unit_is_taken),
        cmocka_unit_test(test_a_key_that_is_taken_leaves_no_row),
        cmocka_unit_test(test_a_key_may_turn_out_to_be_its_own),
        cmocka_unit_test(test_a_key_that_cannot_be_checked),
        cmocka_unit_test(test_unknown_is_tried_again_and_ends_in_a_row),
        cmocka_unit_test(test_unknown_and_away_is_tried_until_it_is_late),
        cmocka_unit_test(test_unknown_and_late_is_written_down),
        cmocka_unit_test(test_an_accepted_order_that_is_late_is_the_gates_to_refuse),
        cmocka_unit_test(test_a_lost_commit_of_sql_ends_in_a_row),
        cmocka_unit_test(test_a_gate_is_notified_of_what_sql_decides_after_it),
        cmocka_unit_test(test_stale_reads_the_item_again),
        cmocka_unit_test(test_a_delay_is_short_however_often_it_comes),
        cmocka_unit_test(test_retries_back_off),
        cmocka_unit_test(test_an_item_that_cannot_be_read),
        cmocka_unit_test(test_an_item_that_is_deleted_under_an_order),
        cmocka_unit_test(test_what_was_not_sent_is_withdrawn),
        cmocka_unit_test(test_what_was_sent_is_202_and_ends_in_a_row),
        cmocka_unit_test(test_a_buyer_answered_503_gets_no_unit),
        cmocka_unit_test(test_a_repeat_is_202_with_the_first_id),
        cmocka_unit_test(test_an_adopted_order_ends_in_a_row),
        cmocka_unit_test(test_an_adopted_order_without_a_permit_is_left_as_it_is),
        cmocka_unit_test(test_an_adopted_order_of_a_deleted_item_waits_for_a_permit),
        cmocka_unit_test(test_every_state_and_event),
        cmocka_unit_test(test_what_cannot_happen_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
