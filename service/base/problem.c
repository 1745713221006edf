#include "base/problem.h"

static const struct {
    int status;
    const char *code;
    const char *title;
} problems[PROBLEM_COUNT] = {
#define X(name_, status_, code_, title_) {status_, code_, title_},
    PROBLEM_TABLE(X)
#undef X
};

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
