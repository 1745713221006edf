/* Tokens and keys that are read again: SIGHUP, what each loop then answers, what the log says. For
   suites whose stack is their own (harness/suite.h). */
#ifndef HOLDFAST_INTEGRATION_RELOAD_H
#define HOLDFAST_INTEGRATION_RELOAD_H

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "harness/sale.h"
#include "harness/suite.h"

static inline void hangup(void)
{
    process_signal(stack->pid, SIGHUP);
}

/* Each loop has its own: so several in a row. */
static inline bool all_answer(const char *token, long status)
{
    for (unsigned i = 0; i < 16; ++i) {
        web_answer_t answer = WEB(.base = stack->url, .path = "/v1/orders", .body = "{}",
                                  .token = token, .sent_once = true);
        EXPECT(answer.status == 400 || answer.status == 401, "%s", web_show(&answer));
        if (answer.status != status)
            return false;
    }
    return true;
}

static inline unsigned count_in_log(const char *words)
{
    char line[8192];
    unsigned count = 0;
    FILE *in = fopen(stack_log(stack), "re");
    EXPECT(in != NULL, "no log");
    while (fgets(line, sizeof(line), in) != NULL)
        count += strstr(line, words) != NULL;
    fclose(in);
    return count;
}

#endif
