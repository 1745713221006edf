/*
 * What must be true after a run of bad input: no 500 was given, nothing was sold by it, and the
 * service still sells. For the executables that throw bad input at the shared stack.
 */
#ifndef HOLDFAST_TESTS_AFTERMATH_H
#define HOLDFAST_TESTS_AFTERMATH_H

#include "harness/sale.h"

#define STACK stack_shared()

/* Set by start(): an item of 777 units that the bad input may name and must not get. */
static const char *sku;

static void no_input_has_earned_a_500(void **state)
{
    (void)state;
    web_answer_t metrics = ADMIN(STACK, .path = "/metrics");
    EXPECT_STATUS(metrics, 200);
    for (const char *line = metrics.body; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *end = strchrnul(line, '\n'), *status = strstr(line, "status=\"");
        if (status == NULL || status > end)
            continue;
        status += strlen("status=\"");
        EXPECT(*status != '5' || strncmp(status, "503", 3) == 0, "%.*s", (int)(end - line), line);
        EXPECT(*status != '0', "a status that nobody knows: %.*s", (int)(end - line), line);
    }
}

static void the_service_still_sells(void **state)
{
    (void)state;
    EXPECT(!process_is_gone(STACK->pid), "the service is gone");
    EXPECT_NUMBER(sale_live_orders(STACK, sku), 0);
    WAIT_UNTIL(sale_available(STACK, sku) == 777);
    web_answer_t order = sale_buy(STACK, sku, "at last", 777, NULL);
    EXPECT_STATUS(order, 201);
    EXPECT_SOUND(STACK, sku, 0);
    EXPECT_GATE_AGREES(STACK, sku);
}

static int start(void **state)
{
    (void)state;
    static char name[80];
    snprintf(name, sizeof(name), "%s",
             sale_item(STACK, "bad", "\"total\":777,\"strategy\":\"lua\""));
    sku = name;
    return 0;
}

#endif
