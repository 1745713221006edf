/*
 * The result of a call that can fail: one set of kinds for the whole program. Pure; any thread.
 */
/* clang-format off */
/*
 *   kind      what has happened                    what the caller may do
 *   done      the call did its work                go on
 *   retry     nothing: a competitor was in the     repeat the whole, reading anew: at once, or
 *             way, or has changed the data         after a backoff
 *   away      nothing: the server cannot be        wait until it is back; decide nothing about
 *             reached, or takes no such calls now  the request
 *   refused   nothing, and the same call is        give it up, or request something else
 *             refused again
 *   unknown   not known: all of it, a part,        look it up; never repeat it blindly
 *             or nothing
 */
/* clang-format on */
/*
 * An error that is in no list is `away` where the call cannot have changed anything, and `unknown`
 * where it can. It is never a verdict on the request.
 *
 * The layer that meets an error logs it and counts it, once, with the server's own words, and
 * returns a kind. The layers above return the same kind, or a named outcome of their own that
 * follows from it. They do not turn one kind into another without a reason that is written there.
 * Information beyond the kind is a named outcome of the module: a value beside the result (`found`,
 * an enum), or a query to the connection (db_error_is_lock()).
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
