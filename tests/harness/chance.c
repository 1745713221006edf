#include "chance.h"

#include <sys/random.h>

#define SECONDS_DEFAULT 600

static uint64_t seed;

uint64_t chance_seed(void)
{
    const char *given = getenv("HOLDFAST_SEED");
    if (seed != 0)
        return seed;
    if (given != NULL)
        seed = strtoull(given, NULL, 0);
    else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        abort();
    seed %= 1000000000; /* short enough to be typed */
    seed += seed == 0;
    print_message("HOLDFAST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

/* splitmix64 */
static uint64_t next(chance_t *chance)
{
    uint64_t z = chance->state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

chance_t chance_of(const char *name)
{
    chance_t chance = {chance_seed()};
    for (; *name != '\0'; ++name) {
        chance.state ^= (unsigned char)*name;
        next(&chance);
    }
    return chance;
}

unsigned chance_below(chance_t *chance, unsigned below)
{
    return (unsigned)(next(chance) % below);
}

bool chance_percent(chance_t *chance, unsigned percent)
{
    return chance_below(chance, 100) < percent;
}

bool chance_is_long(void)
{
    const char *is_long = getenv("HOLDFAST_LONG");
    return is_long != NULL && strcmp(is_long, "1") == 0;
}

int chance_run(const char *group, const struct CMUnitTest *tests, size_t count,
               CMFixtureFunction setup, CMFixtureFunction teardown)
{
    const char *seconds = getenv("HOLDFAST_FAULT_SECONDS");
    long long end = test_clock_ms();
    if (chance_is_long())
        end += 1000LL * (seconds == NULL ? SECONDS_DEFAULT : atoi(seconds));
    chance_seed();
    int failed = test_run(group, tests, count, setup, teardown);
    while (failed == 0 && test_clock_ms() < end) {
        print_message("HOLDFAST_SEED=%llu\n", (unsigned long long)++seed);
        failed = test_run(group, tests, count, setup, teardown);
    }
    return failed;
}
