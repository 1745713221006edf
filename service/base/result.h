/*
 * What becomes of a call that can fail: one set of kinds for the whole program. Pure.
 *
 *   kind      what has happened            what the caller may do
 *   done      what was asked for           go on
 *   retry     nothing: another was in the  the whole again, reading anew: at once, or after a
 * backoff way, or it moved meanwhile away      nothing: the server cannot   wait until it is back;
 * say nothing about what was asked be reached, or takes no such calls now refused   nothing, and
 * the same call   give it up, or ask for something else is refused again unknown   nobody knows:
 * all of it, a   look it up; never ask for it a second time blindly part, or nothing
 *
 * An error that is in no list is `away` where the call cannot have changed anything, and `unknown`
 * where it can: never a verdict on what was asked for.
 *
 * The layer that meets an error logs it and counts it, once, with the server's own words, and hands
 * up a kind. Those above hand the kind on, or say in their own words what follows from it; they do
 * not turn one kind into another without a reason that is written there. What a caller needs to
 * know beyond the kind is a named outcome of the module: a value beside the result (`found`, an
 * enum), or a question to the connection (db_error_is_lock()).
 */
#ifndef HOLDFAST_BASE_RESULT_H
#define HOLDFAST_BASE_RESULT_H

typedef enum {
    RESULT_DONE = 0,
    RESULT_RETRY,
    RESULT_AWAY,
    RESULT_REFUSED,
    RESULT_UNKNOWN
} result_t;

/* For log lines: "done", "retry", "away", "refused", "unknown". */
const char *result_name(result_t result);

#endif
