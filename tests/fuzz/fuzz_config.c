/*
 * The configuration file: never a crash, a leak or a hang; a refusal names each mistake on a line
 * of its own, and what is taken keeps its bounds.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "config/config.h"
#include "fuzz/fuzz.h"
#include "sale/shard_map.h"

static void check_config(const config_t *config)
{
    bool held[SLOT_COUNT] = {false};
    EXPECT(config->admin.token != NULL && strlen(config->admin.token) >= 16);
    EXPECT(config->orders.id_key != NULL && strlen(config->orders.id_key) >= 16);
    EXPECT((unsigned)config->orders.default_strategy < STRATEGY_COUNT);
    EXPECT(config->http.connections_max != 0 && config->redis.batch_max != 0);
    EXPECT(config->redis.socket != NULL || config->redis.host != NULL);
    EXPECT((config->http.tls.certificate_file == NULL) == (config->http.tls.key_file == NULL));
    EXPECT((config->admin.tls.certificate_file == NULL) == (config->admin.tls.key_file == NULL));
    for (unsigned i = 0; i < config->shards_count; ++i) {
        const config_shard_t *shard = &config->shards[i];
        EXPECT(shard->slot_first <= shard->slot_last && shard->slot_last < SLOT_COUNT);
        EXPECT(shard_primary(shard) != NULL);
        for (unsigned slot = shard->slot_first; slot <= shard->slot_last; ++slot) {
            EXPECT(!held[slot]);
            held[slot] = true;
        }
    }
    for (unsigned slot = 0; slot < SLOT_COUNT; ++slot)
        EXPECT(held[slot]);
}

static void check_diagnostics(const char *path, const char *said, int mistakes)
{
    int lines = 0;
    for (const char *at = said; *at != '\0'; at = strchr(at, '\n') + 1) {
        EXPECT(strncmp(at, path, strlen(path)) == 0 && strchr(at, '\n') != NULL);
        ++lines;
    }
    EXPECT(lines == mistakes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    char *said = NULL;
    size_t said_n = 0;
    config_t *config = NULL;
    if (fd == -1) {
        fd = memfd_create("config", MFD_CLOEXEC);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    EXPECT(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    FILE *diagnostics = open_memstream(&said, &said_n);
    EXPECT(diagnostics != NULL);
    int mistakes = config_load(path, &config, diagnostics);
    fclose(diagnostics);
    EXPECT((mistakes == 0) == (config != NULL));
    check_diagnostics(path, said, mistakes);
    if (config != NULL)
        check_config(config);
    config_free(config);
    free(said);
    return 0;
}
