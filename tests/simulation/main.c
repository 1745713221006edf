/*
 * The simulation: the real core of the service, thousands of short histories a second, under a
 * scheduler that delays, drops, repeats and crashes; the promises are checked in each.
 *
 *   real      engine/, strategies/, reconcile/ (but the audit), store/ (but db.c), gate/, lua/,
 * sql/, http/orders.c; threads as coroutines (seams.h), virtual time (world.h) models    MySQL
 * (mysql_*.c), Redis and hiredis (redis_*.c), libh2o's loop (loop_model.c), the answers of HTTP
 * (http_model.c). Each says in its header what it leaves out. not here  HTTP itself, configuration,
 * shutdown in good order, more than one shard, SERIALIZABLE, the real memory model of threads: see
 * the integration tests for those.
 *
 * A seed is a history. One that breaks a promise is run again with its trace, and the seed is
 * printed. Everything is on one thread; nothing is read from the machine but the first seed and
 * the time that has passed.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/embedded.h"
#include "base/order_id.h"
#include "check_changes.h"
#include "checks.h"
#include "history.h"
#include "mysql_table.h"
#include "redis_lua.h"

/* Run first, every time: with one guard or another taken out (see mutate) these find it. */
static const uint64_t fixed_seeds[] = {
    8,         13,      20,       34,        46,        58,        129,       190,
    240,       272,     306,      339,       449,       751,       861,       1368,
    1758,      1764,    2913,     3817,      4429,      7575,      11519,     1000318,
    5055818,   1102710, 1175551,  1181964,   500071625, 500181428, 121531056, 420849922,
    758115771, 7002232, 30064543, 408823729, 930014371, 950001183};

/* With HOLDFAST_LONG=1 in the environment, and no --seconds. */
#define LONG_SECONDS 600

typedef struct {
    uint64_t seed;
    bool has_seed, trace;
    unsigned long histories, every;
    double seconds, processor_seconds;
    const char *library;
} options_t;

static uint64_t seed_now;

static void usage(FILE *out)
{
    fputs(
        "simulation [--seed S] [--histories N] [--seconds T] [--processor T] [--trace] "
        "[--library FILE]\n"
        "  --seed S       the first seed, the next are S+1...; default: a random one\n"
        "  --every N      each N-th seed only; default 1. Those of one scenario: see plan_rare.h\n"
        "  --histories N  so many at most; default 1000000, or 1 with --trace\n"
        "  --seconds T    and no longer than this; default 10, or 600 with HOLDFAST_LONG=1\n"
        "  --processor T  and for T seconds of processor time at most; then --seconds has no "
        "default\n"
        "  --trace        tells what happens\n"
        "  --library FILE in the place of the library in lua/\n",
        out);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t random_seed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return ((uint64_t)now.tv_sec * 1000003 + (uint64_t)now.tv_nsec + (uint64_t)getpid()) %
           1000000000;
}

static options_t read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"seed", required_argument, NULL, 's'},
        {"histories", required_argument, NULL, 'n'},
        {"every", required_argument, NULL, 'e'},
        {"seconds", required_argument, NULL, 't'},
        {"processor", required_argument, NULL, 'p'},
        {"trace", no_argument, NULL, 'v'},
        {"library", required_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    options_t options = {.seconds = 10, .every = 1, .processor_seconds = HUGE_VAL};
    bool has_seconds = false;
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (option) {
        case 's':
            options.seed = strtoull(optarg, NULL, 10);
            options.has_seed = true;
            break;
        case 'e':
            options.every = strtoul(optarg, NULL, 10);
            break;
        case 'n':
            options.histories = strtoul(optarg, NULL, 10);
            break;
        case 't':
            options.seconds = strtod(optarg, NULL);
            has_seconds = true;
            break;
        case 'p':
            options.processor_seconds = strtod(optarg, NULL);
            break;
        case 'v':
            options.trace = true;
            break;
        case 'l':
            options.library = optarg;
            break;
        default:
            usage(option == 'h' ? stdout : stderr);
            exit(option == 'h' ? 0 : 2);
        }
    }
    const char *is_long = getenv("HOLDFAST_LONG");
    if (!has_seconds && is_long != NULL && strcmp(is_long, "1") == 0)
        options.seconds = LONG_SECONDS;
    if (!has_seconds && options.processor_seconds != HUGE_VAL)
        options.seconds = HUGE_VAL;
    if (options.histories == 0)
        options.histories = options.trace ? 1 : 1000000;
    if (!options.has_seed)
        options.seed = random_seed();
    return options;
}

static double processor_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static str_t read_file(const char *path)
{
    static char text[1 << 20];
    FILE *file = fopen(path, "re");
    size_t n = file == NULL ? 0 : fread(text, 1, sizeof(text), file);
    if (file == NULL || n == 0) {
        fprintf(stderr, "simulation: %s: %s\n", path, strerror(errno));
        exit(2);
    }
    fclose(file);
    return (str_t){text, n};
}

/* An assertion of the service, a history that does not end within one event, or a fault of the
   simulation itself: say where. */
static void on_abort(int number)
{
    char text[96];
    int n =
        snprintf(text, sizeof(text), "simulation: signal %d in seed %llu (--seed %llu --trace)\n",
                 number, (unsigned long long)seed_now, (unsigned long long)seed_now);
    ssize_t ignored = write(STDOUT_FILENO, text, (size_t)n);
    (void)ignored;
    signal(number, SIG_DFL);
    raise(number);
}

/* Of processor time, for one history; they take some ms. */
#define HISTORY_SECONDS_MAX 30

static void watch(void)
{
    static const struct itimerval limit = {.it_value.tv_sec = HISTORY_SECONDS_MAX};
    setitimer(ITIMER_PROF, &limit, NULL);
}

/* 0: all promises were kept. */
static int run_one(uint64_t seed)
{
    seed_now = seed;
    watch();
    const char *failure = history_run(seed);
    if (failure == NULL)
        return 0;
    printf("seed %llu: %s\n", (unsigned long long)seed, failure);
    if (!world_tracing) {
        world_tracing = true;
        history_run(seed);
    }
    printf("seed %llu failed; again with: simulation --seed %llu --trace\n",
           (unsigned long long)seed, (unsigned long long)seed);
    return 1;
}

static int run_all(const options_t *options)
{
    double begun = seconds_now(), passed = 0;
    unsigned long done = 0;
    int status = 0;
    printf("first seed %llu\n", (unsigned long long)options->seed);
    if (!options->has_seed)
        for (size_t i = 0; i < sizeof(fixed_seeds) / sizeof(fixed_seeds[0]) && status == 0; ++i)
            status = run_one(fixed_seeds[i]);
    while (status == 0 && done < options->histories && passed < options->seconds &&
           processor_seconds() < options->processor_seconds) {
        status = run_one(options->seed + options->every * done++);
        passed = seconds_now() - begun;
    }
    printf("%lu histories in %.2f s; %.0f a second of processor time\n", done, passed,
           (double)done / processor_seconds());
    return status;
}

int main(int argc, char **argv)
{
    static const char key[] = "a key of the simulation";
    options_t options = read_options(argc, argv);
    world_tracing = options.trace;
    signal(SIGABRT, on_abort);
    signal(SIGPROF, on_abort);
    order_id_set_key(str_of(key));
    redis_lua_init(options.library != NULL ? read_file(options.library) : embedded_lua_library());
    sql_words_init();
    mysql_schema_init();
    checks_init();
    check_changes_init();
    int status = run_all(&options);
    redis_lua_exit();
    return status;
}
