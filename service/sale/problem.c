#include "sale/problem.h"

#define BODY(status_, code_, title_)                                                               \
    "{\"type\":\"about:blank\",\"title\":\"" title_ "\",\"status\":" #status_ ",\"code\":\"" code_ \
    "\"}"

static const struct {
    int status;
    const char *code;
    const char *title;
    str_t body;
} problems[PROBLEM_COUNT] = {
#define X(name_, status_, code_, title_)                                                           \
    {status_,                                                                                      \
     code_,                                                                                        \
     title_,                                                                                       \
     {BODY(status_, code_, title_), sizeof(BODY(status_, code_, title_)) - 1}},
    PROBLEM_TABLE(X)
#undef X
};

#define X(name_, status_, code_, title_)                                                           \
    _Static_assert(sizeof(BODY(status_, code_, title_)) <= PROBLEM_BODY_MAX, code_);
PROBLEM_TABLE(X)
#undef X

str_t problem_body(problem_t problem)
{
    return problems[problem].body;
}

int problem_status(problem_t problem)
{
    return problems[problem].status;
}

const char *problem_code(problem_t problem)
{
    return problems[problem].code;
}

const char *problem_title(problem_t problem)
{
    return problems[problem].title;
}

problem_t problem_of_code(str_t code)
{
    for (problem_t i = PROBLEM_NONE + 1; i < PROBLEM_COUNT; ++i)
        if (str_eq(code, str_of(problems[i].code)))
            return i;
    return PROBLEM_UNAVAILABLE;
}
