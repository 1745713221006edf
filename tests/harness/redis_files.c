#include "redis_files.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>

void redis_files_kill(const test_stack_t *stack)
{
    process_signal(stack->redis_pid, SIGKILL);
    WAIT_UNTIL(process_is_gone(stack->redis_pid));
}

/* The file to which it appends, as the manifest names it: "file NAME seq N type i". */
static const char *aof_path(const test_stack_t *stack)
{
    char line[256], name[200] = "", type;
    const char *dir = test_text("%s/redis/appendonlydir", stack->dir);
    FILE *in = fopen(test_text("%s/appendonly.aof.manifest", dir), "re");
    EXPECT(in != NULL, "no manifest in %s", dir);
    while (fgets(line, sizeof(line), in) != NULL) {
        char file[200];
        if (sscanf(line, "file %199s seq %*u type %c", file, &type) == 2 && type == 'i')
            snprintf(name, sizeof(name), "%s", file);
    }
    fclose(in);
    EXPECT(name[0] != '\0', "nothing is appended to in %s", dir);
    return test_text("%s/%s", dir, name);
}

/* Skips one command, "*N" and N times "$LENGTH" with its bytes; NULL: it is not whole. */
static const char *skip_entry(const char *at, const char *end)
{
    char *after;
    if (at == end || *at != '*')
        return NULL;
    long words = strtol(at + 1, &after, 10);
    for (at = after + 2; words > 0; --words) {
        if (at >= end || *at != '$')
            return NULL;
        long length = strtol(at + 1, &after, 10);
        at = after + 2 + length + 2;
    }
    return at <= end ? at : NULL;
}

/* Offsets at which commands begin, and the end of the last one that is whole. */
static long *boundaries(const char *path, size_t *count)
{
    struct stat about;
    FILE *in = fopen(path, "re");
    EXPECT(in != NULL && fstat(fileno(in), &about) == 0, "cannot read %s", path);
    char *bytes = test_bytes((size_t)about.st_size + 1);
    size_t size = fread(bytes, 1, (size_t)about.st_size, in);
    fclose(in);
    long *offsets = test_bytes((size / 8 + 2) * sizeof(*offsets)); /* none is shorter */
    *count = 0;
    for (const char *at = bytes; at != NULL; at = skip_entry(at, bytes + size))
        offsets[(*count)++] = at - bytes;
    return offsets;
}

unsigned redis_files_cut(const test_stack_t *stack, unsigned entries, bool torn)
{
    size_t count;
    const char *path = aof_path(stack);
    const long *offsets = boundaries(path, &count);
    unsigned taken = entries < count - 1 ? entries : (unsigned)count - 1;
    long end = offsets[count - 1 - taken];
    if (torn && taken + 1 < count)
        end -= (end - offsets[count - 2 - taken]) / 2;
    EXPECT(truncate(path, end) == 0, "cannot cut %s: %s", path, strerror(errno));
    return taken;
}

static void copy_files(const char *from, const char *to)
{
    const char *command = test_text("rm -rf '%s' && cp -a '%s' '%s'", to, from, to);
    EXPECT(system(command) == 0, "failed: %s", command);
}

void redis_files_save(const test_stack_t *stack)
{
    copy_files(test_text("%s/redis/appendonlydir", stack->dir),
               test_text("%s/redis-saved", stack->dir));
}

void redis_files_restore(const test_stack_t *stack)
{
    copy_files(test_text("%s/redis-saved", stack->dir),
               test_text("%s/redis/appendonlydir", stack->dir));
}
