#include "gate/gate_errors.h"

/* Source: Redis 7.0, processCommand() in server.c, getNodeByQuery() in cluster.c,
   scriptPrepareForRun() in script.c and fcallCommandGeneric() in functions.c. */
static const struct {
    const char *start;
    result_t means;
} errors[] = {
    {"OOM ", RESULT_AWAY},
    {"NOREPLICAS ", RESULT_AWAY},
    {"READONLY ", RESULT_AWAY},
    {"MISCONF ", RESULT_AWAY},
    {"BUSY ", RESULT_AWAY},
    {"LOADING ", RESULT_AWAY},
    {"MASTERDOWN ", RESULT_AWAY},
    {"NOAUTH ", RESULT_AWAY},
    {"WRONGPASS ", RESULT_AWAY},
    {"DENIED ", RESULT_AWAY},                   /* protected mode: Redis closes the connection */
    {"ERR max number of clients", RESULT_AWAY}, /* Redis closes the connection too */
    {"CLUSTERDOWN ", RESULT_AWAY},
    {"MOVED ", RESULT_AWAY},
    {"ASK ", RESULT_AWAY},
    {"TRYAGAIN ", RESULT_AWAY},
    {"CROSSSLOT ", RESULT_AWAY},
    {"NOPERM ", RESULT_REFUSED},
    {"ERR unknown command", RESULT_REFUSED},
    {"ERR Function not found", RESULT_REFUSED},
    {"ERR Can not run script on cluster", RESULT_REFUSED},
    {"EXECABORT ", RESULT_REFUSED}, /* no command of the transaction ran */
};

static bool has(str_t text, str_t part)
{
    return memmem(text.p, text.n, part.p, part.n) != NULL;
}

/* Does the error come from a command inside a function? Redis then appends the place: "... script:
   holdfast_reserve, on @user_function:361." Such an error does not prove that the call changed
   nothing. */
static bool is_from_inside(str_t text)
{
    return has(text, STR(" script: ")) && has(text, STR(", on @"));
}

result_t gate_classify(str_t text)
{
    if (is_from_inside(text))
        return RESULT_UNKNOWN;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); ++i) {
        str_t start = str_of(errors[i].start);
        if (text.n >= start.n && memcmp(text.p, start.p, start.n) == 0)
            return errors[i].means;
    }
    return RESULT_UNKNOWN;
}
