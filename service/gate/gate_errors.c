#include "gate/gate_errors.h"

/* Source: Redis 7.0, processCommand() in server.c, getNodeByQuery() in cluster.c,
   scriptPrepareForRun() in script.c and fcallCommandGeneric() in functions.c. */
static const struct {
    const char *start;
    gate_error_t means;
} errors[] = {
    {"OOM ", GATE_ERROR_REFUSED},
    {"NOREPLICAS ", GATE_ERROR_REFUSED},
    {"READONLY ", GATE_ERROR_REFUSED},
    {"MISCONF ", GATE_ERROR_REFUSED},
    {"BUSY ", GATE_ERROR_REFUSED},
    {"LOADING ", GATE_ERROR_REFUSED},
    {"MASTERDOWN ", GATE_ERROR_REFUSED},
    {"NOAUTH ", GATE_ERROR_REFUSED},
    {"WRONGPASS ", GATE_ERROR_REFUSED},
    {"DENIED ", GATE_ERROR_REFUSED}, /* protected mode: the connection is closed */
    {"ERR max number of clients", GATE_ERROR_REFUSED}, /* likewise */
    {"CLUSTERDOWN ", GATE_ERROR_REFUSED},
    {"MOVED ", GATE_ERROR_REFUSED},
    {"ASK ", GATE_ERROR_REFUSED},
    {"TRYAGAIN ", GATE_ERROR_REFUSED},
    {"CROSSSLOT ", GATE_ERROR_REFUSED},
    {"NOPERM ", GATE_ERROR_FORBIDDEN},
    {"ERR unknown command", GATE_ERROR_FORBIDDEN},
    {"ERR Function not found", GATE_ERROR_FORBIDDEN},
    {"ERR Can not run script on cluster", GATE_ERROR_FORBIDDEN},
    {"EXECABORT ", GATE_ERROR_FORBIDDEN}, /* nothing of a transaction ran */
};

static bool has(str_t text, str_t part)
{
    return memmem(text.p, text.n, part.p, part.n) != NULL;
}

/* Redis adds the place to an error that a command raises inside a function: "... script:
   holdfast_reserve, on @user_function:361." */
static bool is_from_inside(str_t text)
{
    return has(text, STR(" script: ")) && has(text, STR(", on @"));
}

gate_error_t gate_classify(str_t text)
{
    if (is_from_inside(text))
        return GATE_ERROR_UNKNOWN;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); ++i) {
        str_t start = str_of(errors[i].start);
        if (text.n >= start.n && memcmp(text.p, start.p, start.n) == 0)
            return errors[i].means;
    }
    return GATE_ERROR_UNKNOWN;
}
