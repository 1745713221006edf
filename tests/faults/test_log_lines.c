/*
 * A fault that lasts does not fill the log: of each kind of line one a second is written, and says
 * how many were held back. A reader of the log that has stopped stops nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

#include "harness/chance.h"
#include "harness/crowd.h"
#include "harness/fault.h"
#include "harness/redis_view.h"
#include "harness/suite.h"

/* A fault lasts until so many lines have been held back, however long that takes. */
#define HELD_BACK_MIN 1000
#define KINDS_MAX 64

/* --- the log, by kinds --- */

typedef struct {
    char at[64], msg[80];
    unsigned lines;
    long long first_ms, last_ms; /* by the log's own clock */
    long long held_back;
} kind_t;

typedef struct {
    kind_t all[KINDS_MAX];
    unsigned count, lines;
    long long held_back;
} kinds_t;

static kind_t *kind_of(kinds_t *kinds, const char *at, const char *msg)
{
    unsigned i = 0;
    while (i < kinds->count && strcmp(kinds->all[i].at, at) != 0)
        ++i;
    EXPECT(i < KINDS_MAX, "more than %d kinds of lines", KINDS_MAX);
    if (i == kinds->count) {
        snprintf(kinds->all[i].at, sizeof(kinds->all[i].at), "%s", at);
        snprintf(kinds->all[i].msg, sizeof(kinds->all[i].msg), "%s", msg);
        ++kinds->count;
    }
    return &kinds->all[i];
}

static void take_line(kinds_t *kinds, const char *line)
{
    cJSON *json = cJSON_Parse(line);
    EXPECT(json != NULL, "no JSON: %s", line);
    const char *at = cJSON_GetStringValue(cJSON_GetObjectItem(json, "at"));
    const char *msg = cJSON_GetStringValue(cJSON_GetObjectItem(json, "msg"));
    const char *ts = cJSON_GetStringValue(cJSON_GetObjectItem(json, "ts"));
    EXPECT(at != NULL && msg != NULL && ts != NULL, "no line of the log: %s", line);
    kind_t *kind = kind_of(kinds, at, msg);
    long long at_ms = sale_parse_time(ts);
    if (kind->lines == 0 || at_ms < kind->first_ms)
        kind->first_ms = at_ms;
    if (kind->lines == 0 || at_ms > kind->last_ms)
        kind->last_ms = at_ms;
    double held_back = cJSON_GetNumberValue(cJSON_GetObjectItem(json, "held_back"));
    ++kind->lines;
    kind->held_back += held_back > 0 ? (long long)held_back : 0;
    cJSON_Delete(json);
}

static FILE *open_log(void)
{
    const char *path = test_text("%s/log/holdfast.log", stack->dir);
    FILE *in = fopen(path, "re");
    EXPECT(in != NULL, "cannot read %s", path);
    return in;
}

/* What was written since the log was so long; *end: how long it is now. */
static kinds_t read_log(long from, long *end)
{
    kinds_t kinds = {.count = 0};
    char *line = NULL;
    size_t room = 0;
    FILE *in = open_log();
    fseek(in, from, SEEK_SET);
    while (getline(&line, &room, in) > 0)
        if (line[0] == '{')
            take_line(&kinds, line);
    free(line);
    *end = ftell(in);
    fclose(in);
    for (unsigned i = 0; i < kinds.count; ++i) {
        kinds.lines += kinds.all[i].lines;
        kinds.held_back += kinds.all[i].held_back;
    }
    return kinds;
}

/* --- the faults --- */

typedef struct {
    const char *begin, *end; /* commands of Redis */
} refusal_t;

/* What was kept is written by itself. */
static kinds_t await_log(long from, double held_back_before)
{
    kinds_t kinds;
    long end;
    WAIT_UNTIL((kinds = read_log(from, &end),
                (double)kinds.held_back ==
                    fault_metric(stack, "log_lines_held_back_total") - held_back_before));
    return kinds;
}

/* How long the log is when it has every line that was held back until now: a line that is counted
   before this moment and written after it would be missing for ever. */
static long await_whole_log(double *held_back)
{
    long end;
    WAIT_UNTIL((double)read_log(0, &end).held_back ==
               (*held_back = fault_metric(stack, "log_lines_held_back_total")));
    return end;
}

/* One a second by the times in the lines, whatever the speed of the machine. A line that was kept
   has the time of its event, which may be a second before it was written: so the last one may have
   the time of the one before it. One more for a thread that was paused before it noted the time. */
static void expect_bounded(const kind_t *kind)
{
    long long ms = kind->last_ms - kind->first_ms;
    print_message("    %u lines of %s (%s) in %lld ms, %lld held back\n", kind->lines, kind->at,
                  kind->msg, ms, kind->held_back);
    EXPECT(kind->lines <= ms / 1000 + 3, "%u lines of %s in %lld ms", kind->lines, kind->at, ms);
}

/* Connections are opened anew, too: what is said of each of them is a line of its own kind. */
static void the_log_is_bounded(void **state)
{
    const refusal_t *refusal = *state;
    const char *skus[] = {
        sale_item(stack, "lua", "\"total\":100000,\"strategy\":\"lua\""),
        sale_item(stack, "watch", "\"total\":100000,\"strategy\":\"watch\""),
        sale_item(stack, "accepted", "\"total\":100000,\"acknowledge\":\"accepted\""),
    };
    crowd_t *crowd = crowd_start(&(crowd_plan_t){.nodes = (const test_stack_t *const[]){stack},
                                                 .nodes_count = 1,
                                                 .skus = skus,
                                                 .skus_count = TEST_COUNT(skus),
                                                 .connections = 64,
                                                 .per_second = 1000});
    crowd_await(crowd, CROWD_CREATED, 50);
    double before;
    long from = await_whole_log(&before);
    redis_run(stack, refusal->begin);
    WAIT_UNTIL(({
        redis_run(stack, "CLIENT KILL TYPE normal SKIPME yes");
        fault_metric(stack, "log_lines_held_back_total") - before >= HELD_BACK_MIN;
    }));
    redis_run(stack, refusal->end);
    crowd_await(crowd, CROWD_CREATED, 50);
    crowd_stop(crowd);
    kinds_t kinds = await_log(from, before);
    for (unsigned i = 0; i < kinds.count; ++i)
        expect_bounded(&kinds.all[i]);
    print_message("%s: %u lines, %lld held back; %s\n", refusal->begin, kinds.lines,
                  kinds.held_back, crowd_show(crowd));
}

/* --- a reader that has stopped --- */

#define LOOKS 4000
/* Long paths fill the log sooner. */
#define PATH_BYTES 1000

/* A second service, whose log is a pipe that nobody reads. */
static struct {
    char path[256];
    int reader;
    test_stack_t *node;
} mute = {.reader = -1};

/* As seen from a request: the access log is on. */
static void mute_start(const char *setting)
{
    snprintf(mute.path, sizeof(mute.path), "%s/log/holdfast-2.log", stack->dir);
    unlink(mute.path);
    EXPECT(mkfifo(mute.path, 0600) == 0, "%s: %s", mute.path, strerror(errno));
    mute.reader = open(mute.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    EXPECT(mute.reader >= 0, "%s: %s", mute.path, strerror(errno));
    mute.node = STACK_NODE_START(stack, 2, "log.access=true", setting);
}

/* A log that is a pipe would stop whoever looks at it later. */
static int mute_teardown(void **state)
{
    for (unsigned i = 0; i < stack->shards; ++i)
        kill(stack->mysql_pids[i], SIGCONT);
    if (mute.reader >= 0)
        close(mute.reader);
    mute.reader = -1;
    unlink(mute.path);
    return test_teardown(state);
}

typedef struct {
    const char *path;
    unsigned answered;
} looks_t;

static web_request_t next_read(void *context, unsigned i)
{
    (void)i;
    return (web_request_t){.base = mute.node->url, .path = ((looks_t *)context)->path};
}

static bool take_read(void *context, unsigned i, const web_answer_t *answer)
{
    (void)i;
    ((looks_t *)context)->answered += answer->status != 0;
    return true;
}

static void fill_the_log(void)
{
    looks_t looks = {.path = test_text("/%s", test_repeat("x", PATH_BYTES))};
    web_crowd(&(web_crowd_t){.connections = 16,
                             .count = LOOKS,
                             .request = next_read,
                             .answered = take_read,
                             .context = &looks});
    EXPECT_NUMBER(looks.answered, LOOKS);
    EXPECT(fault_metric(mute.node, "log_lines_dropped_total") > 0, "there was room for all of it");
}

/* Reads until a line says how many were dropped; that many or more. */
static bool reports_dropped(char **rest, double *dropped)
{
    char bytes[65536];
    ssize_t n = read(mute.reader, bytes, sizeof(bytes));
    char *text = test_text("%s%.*s", *rest, n < 0 ? 0 : (int)n, bytes);
    char *at = strstr(text, "\"dropped\":"), *line = strrchr(text, '\n');
    *rest = line == NULL ? text : line + 1;
    if (at != NULL && line > at)
        *dropped = strtod(at + strlen("\"dropped\":"), NULL);
    return *dropped > 0;
}

static void requests_do_not_wait_for_the_log(void **state)
{
    (void)state;
    double said = 0;
    char *rest = test_text("%s", "");
    mute_start("shutdown.readiness_delay_ms=0");
    fill_the_log();
    double dropped = fault_metric(mute.node, "log_lines_dropped_total");
    WAIT_UNTIL(reports_dropped(&rest, &said));
    EXPECT(said >= dropped, "%.0f said, %.0f counted", said, dropped);
    print_message("a reader stops: %d requests answered, %.0f lines dropped\n", LOOKS, said);
    stack_node_stop(mute.node); /* whose reader has stopped again */
}

static void *buy_in_vain(void *sku)
{
    WEB(.base = mute.node->url, .path = "/v1/orders",
        .body = test_text("{\"sku\":\"%s\",\"buyer_id\":\"b\",\"quantity\":1}", (char *)sku));
    return NULL;
}

static void the_deadline_of_shutdown_holds_without_a_reader(void **state)
{
    (void)state;
    pthread_t buyer;
    const char *sku = sale_item(stack, "vain", "\"total\":100,\"strategy\":\"optimistic\"");
    mute_start("shutdown.deadline_ms=1000");
    pid_t pid = mute.node->pid;
    fill_the_log();
    for (unsigned i = 0; i < stack->shards; ++i)
        process_signal(stack->mysql_pids[i], SIGSTOP);
    EXPECT_NUMBER(pthread_create(&buyer, NULL, buy_in_vain, (void *)sku), 0);
    WAIT_UNTIL(fault_metric(mute.node, "purchases_in_flight") > 0);
    process_signal(pid, SIGTERM);
    long long begun = test_clock_ms();
    WAIT_UNTIL(process_is_gone(pid));
    print_message("a reader stops: ended %lld ms after SIGTERM\n", test_clock_ms() - begun);
    pthread_join(buyer, NULL);
    for (unsigned i = 0; i < stack->shards; ++i)
        process_signal(stack->mysql_pids[i], SIGCONT);
    stack_node_stop(mute.node);
}

#define REFUSES(name_, begin_, end_)                                                               \
    {                                                                                              \
        name_, the_log_is_bounded, NULL, NULL, &(refusal_t)                                        \
        {                                                                                          \
            begin_, end_                                                                           \
        }                                                                                          \
    }

static const suite_t suite = {
    .name = "log_lines", .settings = {"redis.timeout_ms=500"}, .repeats = true};

int main(void)
{
    const struct CMUnitTest tests[] = {
        REFUSES("redis is out of memory", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        REFUSES("redis is a replica of nobody", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
        REFUSES("redis forbids functions", "ACL SETUSER default -fcall -function",
                "ACL SETUSER default +@all"),
        cmocka_unit_test_teardown(requests_do_not_wait_for_the_log, mute_teardown),
        cmocka_unit_test_teardown(the_deadline_of_shutdown_holds_without_a_reader, mute_teardown),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
